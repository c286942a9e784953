/** Why access refused a call, for the operator's record of it. What the caller is told is the error's. */

/**
 * What such a record is found by. `hidden`: the caller was told that the name does not exist, so that to it there is no
 * record either.
 */
export const ACCESS_REASONS = ['insufficient_scope', 'access_denied', 'blocked', 'hidden'] as const;
export type AccessReason = (typeof ACCESS_REASONS)[number];

/**
 * `scope`: the credential lacks one. `condition`: rules of `access` give the name, and the `when` of none of them held.
 * `rules`: no rule gives it. `endpoint`: its `tools` leave it out. `pin`: nobody has approved the definition. `block`: an
 * operator keeps the caller out.
 */
export const ACCESS_CHECKS = ['scope', 'condition', 'rules', 'endpoint', 'pin', 'block'] as const;

export interface AccessRefusal {
  readonly by: (typeof ACCESS_CHECKS)[number];
  /** Canonical id and server of what was asked for; undefined: it names nothing, or nothing that exists. */
  readonly object?: string | undefined;
  readonly server?: string | undefined;
  /** Of `scope`: all that the operation needs. */
  readonly scopes?: readonly string[] | undefined;
  /** Of `scope`: the route that needs one, by its place in the file, from 1. */
  readonly route?: number | undefined;
  /** Of `condition`: the rules that did not hold, by their places in the file, from 1. */
  readonly rules?: readonly { readonly rule: number; readonly when: string }[] | undefined;
  /** Of `block`. `until`: milliseconds since the epoch. */
  readonly block?:
    | { readonly id: string; readonly who: string; readonly reason: string; readonly until?: number | undefined }
    | undefined;
}

export function reasonOf({ by }: AccessRefusal): AccessReason {
  switch (by) {
    case 'scope':
      return 'insufficient_scope';
    case 'condition':
      return 'access_denied';
    case 'block':
      return 'blocked';
    default:
      return 'hidden';
  }
}
