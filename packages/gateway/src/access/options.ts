/** Plain form of `access`, as the configuration compiles it. */

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
 * `entry/subject`; all but the first take patterns. Undefined for anything else, so that a forgotten prefix is a
 * mistake and not a rule for nobody.
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

/** The same as it is written. */
export function formatWho({ kind, pattern }: Who): string {
  if (kind === 'everyone') return 'everyone';
  return kind === 'principal' ? pattern : `${kind}:${pattern}`;
}
