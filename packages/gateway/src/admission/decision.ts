import type { LimitOptions } from './options.ts';

/** One limit in the way of a call. */
export interface ViolatedLimit {
  readonly limit: LimitOptions;
  readonly remaining: number;
  /** Whole seconds until this limit has room for the call, rounded up; undefined: waiting cannot help. */
  readonly retryAfterSeconds: number | undefined;
  /** Wall time in milliseconds at which all of the limit is back. */
  readonly resetAt: number;
}

/** The record of one refused admission. Nothing was charged and nothing ran. */
export interface Decision {
  readonly id: string;
  readonly reason: 'rate_limited' | 'cost_above_limit';
  /** The limit that takes longest; the refusal speaks of it. */
  readonly binding: ViolatedLimit;
  /** Every limit in the way, `binding` included, in the order of the configuration. */
  readonly violated: readonly ViolatedLimit[];
  /** Whole seconds until all of them have room, rounded up, at least 1; undefined: waiting cannot help. */
  readonly retryAfterSeconds: number | undefined;
  /** What the call was about, for the words of the refusal. */
  readonly kind: 'tool' | 'resource' | 'prompt' | 'none';
  /** True when the caller has a session; `by: session` means the principal otherwise. */
  readonly inSession: boolean;
}

export interface Allowed {
  readonly allowed: true;
}

export interface Denied {
  readonly allowed: false;
  readonly decision: Decision;
}

/** What admission says. Anything else, `undefined` included, is a deny: ask with `allowed === true`. */
export type Verdict = Allowed | Denied;

export const ALLOWED: Allowed = Object.freeze({ allowed: true });
