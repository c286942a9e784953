import { type AccessOptions, type ObjectKind, readWho } from '../access/options.ts';
import { canonicalPattern } from './globs.ts';
import type { Config } from './schema.ts';
import { asList } from './values.ts';

const KIND_OF: Readonly<Record<string, ObjectKind>> = {
  'tools/call': 'tool',
  'resources/read': 'resource',
  'prompts/get': 'prompt',
};

/** The rules of `access` as the access room takes them. */
export function compileAccessRules({ access }: Pick<Config, 'access'>): AccessOptions {
  return access?.map(({ who, may, on, endpoint, when }) => ({
    who: asList(who)!.map((one) => readWho(one)!),
    may: asList(may)!.map(canonicalPattern),
    kinds: asList(on)?.map((method) => KIND_OF[method]!),
    endpoint: asList(endpoint),
    when,
  }));
}
