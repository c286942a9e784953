import type { Ask } from './ask.ts';

/** A token bucket: `limit` units per period come back, `limit + burst` fit. */
export interface TokenBucketOptions {
  readonly algorithm: 'token-bucket';
  /** Shown in outcomes; a limiter keeps state by it. */
  readonly name: string;
  /** Units per period; an integer of at least 1. */
  readonly limit: number;
  /** Milliseconds, with microseconds as decimals; more than 0. */
  readonly periodMs: number;
  /** Units that may be taken at once beyond `limit`. Default 0. */
  readonly burst?: number;
}

/** Everything that can be limited; told apart by `algorithm`. */
export type RuleOptions = TokenBucketOptions;

/** A rule made known to a limiter. Opaque: ask with it only the limiter that made it. */
export interface Rule {
  readonly name: string;
  readonly options: RuleOptions;
  /** Units that can be taken at once from a full rule. */
  readonly capacity: number;
}

/**
 * Where one rule stands in a decision.
 * `passed`: it has room. `exhausted`: room comes back with time. `cost_above_capacity`: no waiting can help.
 */
export interface Standing {
  readonly rule: Rule;
  readonly verdict: 'passed' | 'exhausted' | 'cost_above_capacity';
  /** What the call costs under this rule. */
  readonly cost: number;
  /** Units that can be taken now. Never negative. */
  readonly remaining: number;
  /** Microseconds until this cost fits, without other traffic: exact. 0: it fits now. Infinity: never. */
  readonly retryAfter: number;
  /** Microseconds until the rule is full again. */
  readonly resetAfter: number;
}

export interface Admitted {
  readonly allowed: true;
}

export interface Refused {
  readonly allowed: false;
  /** Maximum over the violated rules: the first microsecond at which all of them pass. Undefined: waiting cannot help. */
  readonly retryAfter: number | undefined;
  /** Every rule in the way, in the order asked. */
  readonly violated: readonly Standing[];
  /** Every rule asked for, in order. */
  readonly standings: readonly Standing[];
}

export type Outcome = Admitted | Refused;

/**
 * Decides over many rules in one step: all have room and all are charged, or nothing is written at all.
 * A limiter in this process answers at once; one behind a network answers with a promise.
 * `now` is in whole microseconds from any origin; only limiters that have no clock of their own use it.
 */
export interface Limiter {
  /**
   * Makes a rule known. With `previous`, the rule it replaces, what its keys have used is carried over.
   * Throws a RangeError for numbers that cannot be kept exactly.
   */
  rule(options: RuleOptions, previous?: Rule): Rule;
  /** Admits and charges, or refuses and changes nothing. */
  decide(ask: Ask, now: number): Outcome | Promise<Outcome>;
  /** The outcome that `decide` would have; changes nothing. */
  check(ask: Ask, now: number): Outcome | Promise<Outcome>;
  /** Where every rule stands now; changes nothing. */
  inspect(ask: Ask, now: number): readonly Standing[] | Promise<readonly Standing[]>;
}
