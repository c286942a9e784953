/**
 * What operators leave behind while the gateway runs: grants, stops, blocks. Shared by the rooms that act on them and
 * `store/`. Times are milliseconds since the epoch.
 */

/** More room under a limit for a while. */
export interface Grant {
  readonly id: string;
  /** Name of the limit. */
  readonly rule: string;
  /** The one key it is for, 16 hexadecimal digits. With neither `key` nor `principal`: every key. */
  readonly key?: string | undefined;
  /** The principal it is for; only of limits that count by principal. */
  readonly principal?: string | undefined;
  /** In the limit's own unit (micro-units for money): a positive safe integer. */
  readonly amount: number;
  readonly unit: string;
  readonly until: number;
  readonly reason: string;
  readonly by: string;
  readonly at: number;
}

/** What is stopped: all of it, a server, a tool pattern, a tenant, or what a limit covers. */
export type StopScope = 'everything' | `server:${string}` | `tool:${string}` | `tenant:${string}` | `rule:${string}`;

/** A stop of an operator, or of a limit that latched. */
export interface Stop {
  readonly id: string;
  readonly scope: StopScope;
  /** Of `rule:NAME`: the one key it holds for, 16 hexadecimal digits. Default: all. */
  readonly key?: string | undefined;
  readonly reason: string;
  readonly by: string;
  readonly at: number;
  /** Default: until it is lifted. */
  readonly until?: number | undefined;
}

/** Keeps a caller out. */
export interface Block {
  readonly id: string;
  /**
   * `entry/subject`: whoever the entry calls so, in every tenant, as a block must not miss whom it is for.
   * `entry@tenant/subject`: that one. Else `tenant:x`, `client:x` or `key:ID`. Exact, no pattern.
   */
  readonly who: string;
  readonly reason: string;
  readonly by: string;
  readonly at: number;
  /** Default: until it is lifted. */
  readonly until?: number | undefined;
}
