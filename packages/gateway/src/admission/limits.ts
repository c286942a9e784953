import { createHash } from 'node:crypto';
import type { Rule } from '@tollgate/limiter';
import { compileCanonicalGlob, compileGlob, type Glob } from '../core/glob.ts';
import type { LimitOptions } from './options.ts';

/** What a call is about, as catalog and routing found it. */
export interface Target {
  /** `none`: the method has no object (lists, ping, initialize). */
  readonly kind: 'tool' | 'resource' | 'prompt' | 'none';
  /** `server/tool`, `server/uri` or `server/prompt`; undefined where there is none. */
  readonly canonicalId: string | undefined;
  /** The server that runs it; undefined when the gateway answers itself. */
  readonly server: string | undefined;
  readonly endpoint: string;
}

/** A rule without `on` covers these: what makes a server work. */
const COUNTED = new Set(['tools/call', 'resources/read', 'prompts/get', 'completion/complete']);

/** One limit with its patterns compiled and its rule known to the limiter. */
export class CompiledLimit {
  readonly options: LimitOptions;
  readonly rule: Rule;
  readonly byPrincipal: boolean;
  readonly bySession: boolean;
  readonly #on: readonly Glob[] | undefined;
  readonly #server: readonly Glob[] | undefined;
  readonly #endpoint: readonly Glob[] | undefined;
  /** By kind of object; undefined when the limit names no object at all. */
  readonly #objects: Readonly<Record<Target['kind'], readonly Glob[]>> | undefined;

  constructor(options: LimitOptions, rule: Rule) {
    this.options = options;
    this.rule = rule;
    this.byPrincipal = options.by.includes('principal');
    this.bySession = options.by.includes('session');
    this.#on = options.on?.map(compileGlob);
    this.#server = options.server?.map(compileGlob);
    this.#endpoint = options.endpoint?.map(compileGlob);
    const { tool, resource, prompt } = options;
    if (tool !== undefined || resource !== undefined || prompt !== undefined) {
      this.#objects = {
        tool: (tool ?? []).map(compileCanonicalGlob),
        resource: (resource ?? []).map(compileGlob),
        prompt: (prompt ?? []).map(compileCanonicalGlob),
        none: [],
      };
    }
  }

  /** Whether a request of this method on this target is covered. */
  covers(method: string, target: Target): boolean {
    if (this.#on === undefined ? !COUNTED.has(method) : !some(this.#on, method)) return false;
    if (this.#server !== undefined && (target.server === undefined || !some(this.#server, target.server))) return false;
    if (this.#endpoint !== undefined && !some(this.#endpoint, target.endpoint)) return false;
    return this.#objects === undefined || some(this.#objects[target.kind], objectName(target));
  }

  /**
   * The part of the key that the target decides, as numbers: two calls have the same numbers when tool, server and
   * endpoint are the same as far as the limit counts by them. A digest, so that a counter outlives every memo and
   * reload, and nobody can choose a URI whose counter is another's.
   */
  targetKey(target: Target): readonly number[] {
    const { by } = this.options;
    const parts: unknown[] = [];
    if (by.includes('tool')) parts.push('tool', target.kind, target.canonicalId ?? null);
    if (by.includes('server')) parts.push('server', target.server ?? null);
    if (by.includes('endpoint')) parts.push('endpoint', target.endpoint);
    if (parts.length === 0) return [];
    const digest = createHash('sha256').update(JSON.stringify(parts)).digest();
    return [digest.readUInt32LE(0), digest.readUInt32LE(4)];
  }
}

/** Resources are matched by their URI, tools and prompts by their canonical id. */
function objectName(target: Target): string {
  const id = target.canonicalId ?? '';
  return target.kind === 'resource' ? id.slice(id.indexOf('/') + 1) : id;
}

function some(globs: readonly Glob[], text: string): boolean {
  for (const glob of globs) if (glob.matches(text)) return true;
  return false;
}
