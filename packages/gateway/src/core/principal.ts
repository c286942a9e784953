/**
 * The authenticated caller. `key` is a small integer that stands for `id` on the hot path
 * (limits, sessions, statistics), so that no string keys are built per call.
 */
export interface Principal {
  /** `entry/subject`, for example `ci/ci`, `local/ada` or `anonymous`. */
  readonly id: string;
  readonly key: number;
  readonly entry: string;
  readonly subject: string;
  readonly tenant: string | undefined;
  readonly tier: string | undefined;
  readonly roles: readonly string[];
  /** Granted scopes; `*` and `prefix:*` are wildcards. Undefined: the method knows no scopes (anonymous, stdio). */
  readonly scopes: readonly string[] | undefined;
  readonly clientId: string | undefined;
}
