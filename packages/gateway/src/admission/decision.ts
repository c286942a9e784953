import type { Charge } from '../protocol/call.ts';
import type { LimitOptions, Quota } from './options.ts';

/** Why admission refuses: the closed list, told to callers as `reason`; `reasons.ts` says what each means. */
export type LimitReason =
  | 'rate_limited'
  | 'concurrency_limited'
  | 'cost_above_limit'
  | 'per_request_cost_exceeded'
  | 'hourly_cost_exceeded'
  | 'daily_cost_exceeded'
  | 'budget_exhausted'
  | 'price_above_max'
  | 'unpriced'
  | 'expression_failed'
  | 'stopped'
  | 'limit_unavailable';

/** One limit in the way of a call. Amounts are in micro-units. */
export interface ViolatedLimit {
  readonly limit: LimitOptions;
  /** The numbers in force for the caller's tier. */
  readonly quota: Quota;
  readonly reason: LimitReason;
  /** What the call takes under this limit. */
  readonly cost: number;
  /** What fits when nothing is in use, with what was granted on top. */
  readonly capacity: number;
  /** In use before this call, `held` included. */
  readonly used: number;
  /** The part of `used` that calls hold which still run. */
  readonly held: number;
  readonly remaining: number;
  /** Whole seconds until this limit has room for the call, rounded up; undefined: waiting cannot help. */
  readonly retryAfterSeconds: number | undefined;
  /** Wall time in milliseconds at which all of the limit is back; undefined: only a reset helps. */
  readonly resetAt: number | undefined;
}

/** The record of one refused admission. Nothing was charged and nothing ran. */
export interface Decision {
  readonly id: string;
  readonly reason: LimitReason;
  /** Wall time of the decision in milliseconds. */
  readonly at: number;
  /** The limit that the refusal speaks of: the one that takes longest. Undefined: no limit's numbers are in the way. */
  readonly binding: ViolatedLimit | undefined;
  /** Every limit in the way, `binding` included, in the order of the configuration. */
  readonly violated: readonly ViolatedLimit[];
  /** Whole seconds until all of them have room, rounded up, at least 1; undefined: waiting cannot help. */
  readonly retryAfterSeconds: number | undefined;
  /** True: slots are in the way, so that nobody knows when; `retryAfterSeconds` is the latest moment. */
  readonly estimated: boolean;
  /** The sentence of the reason where it is not about a limit's numbers. */
  readonly because: string | undefined;
  /** True: about money, so JSON-RPC code 402. */
  readonly money: boolean;
  /** What the call was about, for the words of the refusal. */
  readonly kind: 'tool' | 'resource' | 'prompt' | 'none';
  /** True when the caller has a session; `by: session` means the principal otherwise. */
  readonly inSession: boolean;
}

/** The pipeline keeps the charge on the call. Undefined: there is nothing to finish. */
export interface Allowed {
  readonly allowed: true;
  readonly charge: Charge | undefined;
}

export interface Denied {
  readonly allowed: false;
  readonly decision: Decision;
}

/** What admission says. Anything else, `undefined` included, is a deny: ask with `allowed === true`. */
export type Verdict = Allowed | Denied;

export const ALLOWED: Allowed = Object.freeze({ allowed: true, charge: undefined });
