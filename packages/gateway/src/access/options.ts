/** Plain form of `access`, as the configuration compiles it. */
import { canonicalPrincipalId } from '../core/principal.ts';

/** What a rule allows to be used: what `tools/call`, `resources/read` and `prompts/get` name. */
export type ObjectKind = 'tool' | 'resource' | 'prompt';

export type WhoKind = 'everyone' | 'role' | 'tenant' | 'tier' | 'client' | 'entry' | 'principal';

/** One caller or group of callers; a caller without a value of this kind is never one of them. */
export interface Who {
  readonly kind: WhoKind;
  /** Pattern on the value; `*` for `everyone`. */
  readonly pattern: string;
}

export interface AccessRule {
  /** Any of them. */
  readonly who: readonly Who[];
  /** Patterns on canonical ids: `server/tool`, `server/uri`, `server/prompt`. */
  readonly may: readonly string[];
  /** Undefined: all kinds. */
  readonly kinds: readonly ObjectKind[] | undefined;
  /** Patterns on the paths of endpoints. Undefined: all. */
  readonly endpoint: readonly string[] | undefined;
  /** CEL that must be true. */
  readonly when: string | undefined;
}

/** Undefined: there are no rules, and everybody may use what scopes and endpoints allow. Empty: nobody may use anything. */
export type AccessOptions = readonly AccessRule[] | undefined;

const PREFIXED: ReadonlySet<string> = new Set(['role', 'tenant', 'tier', 'client', 'entry']);

/**
 * Reads one `who`: `everyone`, `role:x`, `tenant:x`, `tier:x`, `client:x`, `entry:x`, `anonymous`, or a principal id
 * `entry/subject` (in every tenant) or `entry@tenant/subject`; all but the first take patterns. Undefined for anything
 * else, so that a forgotten prefix is a mistake and not a rule for nobody.
 */
export function readWho(text: string): Who | undefined {
  if (text === 'everyone') return { kind: 'everyone', pattern: '*' };
  // Beyond loopback there is one anonymous principal for each address prefix; the word means all of them.
  if (text === 'anonymous') return { kind: 'entry', pattern: 'anonymous' };
  const colon = text.indexOf(':');
  const prefix = text.slice(0, colon);
  if (colon > 0 && PREFIXED.has(prefix)) {
    return colon === text.length - 1 ? undefined : { kind: prefix as WhoKind, pattern: text.slice(colon + 1) };
  }
  return text.indexOf('/') > 0 ? { kind: 'principal', pattern: text } : undefined;
}

/** A principal that is written with its tenant, as two patterns: no `*` of the first reaches into the subject. */
export interface TenantPattern {
  /** On `entry@tenant`. */
  readonly head: string;
  readonly subject: string;
}

/** Undefined: the pattern names no tenant, and is about the person in every tenant. */
export function readTenantPattern(pattern: string): TenantPattern | undefined {
  const at = pattern.indexOf('@');
  // No entry has an `@`; behind the first `/` it is the subject's.
  if (at < 1 || pattern.indexOf('/') < at) return undefined;
  const id = canonicalPrincipalId(pattern);
  const slash = id.indexOf('/');
  return { head: id.slice(0, slash), subject: id.slice(slash + 1) };
}

/** The same as it is written. */
export function formatWho({ kind, pattern }: Who): string {
  if (kind === 'everyone') return 'everyone';
  return kind === 'principal' ? pattern : `${kind}:${pattern}`;
}
