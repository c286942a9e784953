/**
 * `${vault:name}` in a configuration: what it stands for is put in place at the last moment. Until then a mark stands in
 * its place, so that a value which nobody resolved is useless rather than empty: it holds 128 random bits of this process.
 */
import { randomBytes } from 'node:crypto';

export interface SecretReference {
  /** `gateway`: one for all. `tenant`, `user`: of the caller for whom it is used. */
  readonly scope: 'gateway' | 'tenant' | 'user';
  readonly name: string;
}

const NONCE = randomBytes(16).toString('hex');
const BEGIN = `vault-reference-${NONCE}:`;
const MARK = new RegExp(`${BEGIN}(gateway|tenant|user):([A-Za-z0-9._-]+);`, 'g');

/** Letters, digits, dot, dash and underscore; a secret of another name cannot be referred to. */
export const REFERENCE_NAME: RegExp = /^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/;

/** What stands between `${vault:` and `}`; undefined: it cannot be read. */
export function parseReference(text: string): SecretReference | undefined {
  const [, scope = 'gateway', name] = /^(?:(tenant|user)\/)?(.+)$/.exec(text) ?? [];
  return name === undefined || !REFERENCE_NAME.test(name) ? undefined : { scope: scope as 'gateway', name };
}

export function formatReference({ scope, name }: SecretReference): string {
  return `\${vault:${scope === 'gateway' ? '' : `${scope}/`}${name}}`;
}

export function markOf({ scope, name }: SecretReference): string {
  return `${BEGIN}${scope}:${name};`;
}

export function hasReference(text: string): boolean {
  return text.includes(BEGIN);
}

export function referencesIn(text: string): SecretReference[] {
  return [...text.matchAll(MARK)].map(([, scope, name]) => ({ scope: scope as 'gateway', name: name! }));
}

/** The text with every mark replaced. */
export function fillReferences(text: string, textFor: (reference: SecretReference) => string): string {
  return text.replaceAll(MARK, (_, scope: string, name: string) => textFor({ scope: scope as 'gateway', name }));
}
