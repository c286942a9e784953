import type { Ask } from './ask.ts';

interface RuleBase {
  /** Shown in outcomes. */
  readonly name: string;
  /**
   * What the counters are kept by. Default `name`. Rules of one id and shape (algorithm, period, time zone) are
   * variants: they share what a key has used whatever their numbers are, so that a key can move between tiers. Units
   * used of a token bucket come back at the rate of the variant that was charged last; the next charge under another
   * variant carries the rest over, rounded up, also where it is more than that one holds.
   */
  readonly id?: string;
  /** What limit and costs are counted in; settlements name it. Default `requests`. */
  readonly unit?: string;
  /**
   * Counts on its own, never refuses, and is left out of every verdict. Charged when the decision is admitted and it
   * has room itself, so that it refuses as often as it would in force. Default false.
   */
  readonly shadow?: boolean;
  /** The cost is an estimate: held under the id of the ask until it is settled. Needs `ask.hold`. Default false. */
  readonly settles?: boolean;
  /** Amounts of use, ascending; an outcome reports each that a charge reached from below. Default none. */
  readonly marks?: readonly number[];
  /** What a store that cannot be reached means for this rule; nothing to a limiter in memory. Default `local`. */
  readonly onError?: 'local' | 'open' | 'closed';
  /** True: keys of this rule are shared between tenants, so that a cluster keeps them in another slot. Default false. */
  readonly crossTenant?: boolean;
}

/** A token bucket: `limit` units per period come back, `limit + burst` fit. */
export interface TokenBucketOptions extends RuleBase {
  readonly algorithm: 'token-bucket';
  /** Units per period; an integer of at least 1. */
  readonly limit: number;
  /** Milliseconds, with microseconds as decimals; more than 0. */
  readonly periodMs: number;
  /** Units that may be taken at once beyond `limit`. Default 0. */
  readonly burst?: number;
}

/** Never more than `limit` in any window of `periodMs`, wherever it begins. */
export interface SlidingWindowOptions extends RuleBase {
  readonly algorithm: 'sliding-window';
  readonly limit: number;
  readonly periodMs: number;
}

/** `limit` per window of `periodMs` that begins with a key's first charge. */
export interface FixedWindowOptions extends RuleBase {
  readonly algorithm: 'fixed-window';
  readonly limit: number;
  readonly periodMs: number;
}

/** `limit` per minute, hour, day, week (from Monday) or month of a time zone's calendar. */
export interface CalendarWindowOptions extends RuleBase {
  readonly algorithm: 'calendar-window';
  readonly limit: number;
  readonly period: 'minute' | 'hour' | 'day' | 'week' | 'month';
  /** IANA name. Default `UTC`. */
  readonly timezone?: string;
}

/** `limit` in all, until it is reset. */
export interface TotalOptions extends RuleBase {
  readonly algorithm: 'total';
  readonly limit: number;
}

/** `limit` units in use at once, from the decision until its hold is settled, released or expires. Needs `ask.hold`. */
export interface ConcurrencyOptions extends RuleBase {
  readonly algorithm: 'concurrency';
  readonly limit: number;
}

/** No single cost above `limit`; keeps no state. */
export interface PerCallOptions extends RuleBase {
  readonly algorithm: 'per-call';
  readonly limit: number;
}

/** Everything that can be limited; told apart by `algorithm`. Numbers are integers in the rule's own unit. */
export type RuleOptions =
  | TokenBucketOptions
  | SlidingWindowOptions
  | FixedWindowOptions
  | CalendarWindowOptions
  | TotalOptions
  | ConcurrencyOptions
  | PerCallOptions;

/** A rule made known to a limiter. Opaque: ask with it only the limiter that made it. */
export interface Rule {
  readonly name: string;
  readonly options: RuleOptions;
  /** Units that can be taken at once from a full rule, without grants. */
  readonly capacity: number;
}

/**
 * Where one rule stands in a decision.
 * `passed`: it has room. `exhausted`: room comes back with time. `busy`: room comes back when calls end.
 * `cost_above_capacity`: no waiting can help. `unavailable`: its store cannot be reached and it fails closed.
 */
export interface Standing {
  readonly rule: Rule;
  readonly verdict: 'passed' | 'exhausted' | 'busy' | 'cost_above_capacity' | 'unavailable';
  /** What the call costs under this rule. */
  readonly cost: number;
  /** Capacity with what was granted on top (`ask.extra`). */
  readonly limit: number;
  /** Units in use before this charge, holds included. Above `limit` after a debt. */
  readonly used: number;
  /** The part of `used` that open holds cover. 0 for rules that do not settle. */
  readonly held: number;
  /** Units that can be taken now. Never negative. */
  readonly remaining: number;
  /**
   * Microseconds until this cost fits, without other traffic: exact. 0: it fits now. Infinity: never.
   * When `busy`: until the first slot in use expires, at the latest.
   */
  readonly retryAfter: number;
  /** Microseconds until the rule is full again; of a window until it ends; Infinity where only a reset helps. */
  readonly resetAfter: number;
}

/** A mark that a charge reached. */
export interface Crossing {
  readonly rule: Rule;
  readonly mark: number;
  /** Use after the charge. */
  readonly used: number;
  /** Position of the rule in the ask; -1 when a settlement reached it. */
  readonly at: number;
}

/** How a store that could not be reached was stood in for. */
export type Degraded = 'local' | 'open' | 'closed';

export interface Admitted {
  readonly allowed: true;
  /** Microseconds to wait before the call runs; its place is taken already. 0 without `ask.patience`. */
  readonly wait: number;
  /** True: a hold of this id was open already; nothing was charged again. */
  readonly repeated: boolean;
  /** Shadow rules that would have refused. */
  readonly shadowed: readonly Standing[];
  readonly crossed: readonly Crossing[];
  /** Undefined: the store decided. */
  readonly degraded: Degraded | undefined;
}

export interface Refused {
  readonly allowed: false;
  /** Maximum over the violated rules: the first microsecond at which all of them pass. Undefined: waiting cannot help. */
  readonly retryAfter: number | undefined;
  /** True: a `busy` rule is in the way, so that nobody can know when; `retryAfter` then is the latest moment. */
  readonly estimated: boolean;
  /** Every rule in the way, in the order asked. */
  readonly violated: readonly Standing[];
  /** Every rule asked for, in order; shadow rules left out. */
  readonly standings: readonly Standing[];
  readonly shadowed: readonly Standing[];
  readonly degraded: Degraded | undefined;
}

export type Outcome = Admitted | Refused;

/** What a hold came to. Amounts by unit, integers; a unit left out is settled at what was held. */
export interface Settlement {
  readonly id: string;
  readonly amounts?: Readonly<Record<string, number>>;
}

/**
 * The state of a hold after a settlement or release, and whether this call changed it.
 * `unknown`: never opened, or closed so long ago that its id was forgotten.
 */
export interface HoldResult {
  readonly state: 'open' | 'settled' | 'released' | 'expired' | 'unknown';
  readonly changed: boolean;
  readonly crossed: readonly Crossing[];
}

/**
 * Decides over many rules in one step: all have room and all are charged, or nothing is written at all.
 * A limiter in this process answers at once; one behind a network answers with a promise.
 * `now` is in whole microseconds from any origin; only limiters that have no clock of their own use it.
 * An `Ask` has been read when a method returns, also when the answer is a promise.
 */
export interface Limiter {
  /**
   * Makes a rule known. Rules of one id and shape share their counters. With `previous`, a rule of another id or
   * shape that this one replaces, what its keys have used is carried over.
   * Throws a RangeError for numbers that cannot be kept exactly.
   */
  rule(options: RuleOptions, previous?: Rule): Rule;
  /**
   * Admits and charges, or refuses and changes nothing. With `ask.hold` every rule's charge belongs to the hold;
   * a hold of that id that is open already is answered as it was, charging nothing.
   */
  decide(ask: Ask, now: number): Outcome | Promise<Outcome>;
  /** Many decisions, one after the other, in one call; each sees what the earlier ones took. */
  decideAll(asks: readonly Ask[], now: number): readonly Outcome[] | Promise<readonly Outcome[]>;
  /** The outcome that `decide` would have; changes nothing. */
  check(ask: Ask, now: number): Outcome | Promise<Outcome>;
  /** Where every rule stands now, shadow rules included; changes nothing. */
  inspect(ask: Ask, now: number): readonly Standing[] | Promise<readonly Standing[]>;
  /**
   * Takes what there is: under every rule as much of its cost as fits; returns what was taken, in the order asked.
   * For work that can be cut to size. Opens no hold.
   */
  take(ask: Ask, now: number): readonly number[] | Promise<readonly number[]>;
  /**
   * Charges or gives back whatever the limits say: `ask.change` amounts, positive into debt, negative at most until
   * full. `at`: when the charge that is given back was made; what a window of that time no longer covers stays as it is,
   * and a token bucket takes back what has not come back by itself since. Slots of concurrency rules stay as they are.
   */
  adjust(ask: Ask, now: number, at?: number): void | Promise<void>;
  /** Ends a hold with what it came to, charged in full to the windows it was opened in. Once: a repeat changes nothing. */
  settle(settlement: Settlement, now: number): HoldResult | Promise<HoldResult>;
  /**
   * Ends a hold as if it had never been: everything its decision charged is given back. A token bucket takes back at
   * most what has not come back by itself: min(amount, units between now and the moment at which the charge had left
   * the bucket full again), so that giving back late never lets more through than limit and burst allow.
   */
  release(id: string, now: number): HoldResult | Promise<HoldResult>;
  /** Moves the expiry of an open hold to `now + ttl`: a sign of life of whoever runs the call. */
  renew(id: string, ttl: number, now: number): HoldResult | Promise<HoldResult>;
  /**
   * Forgets what the keys of the ask have used, held amounts and slots included. Open holds stay open, but what they
   * held of these keys is gone: settling or releasing them changes nothing of these keys any more.
   */
  reset(ask: Ask, now: number): void | Promise<void>;
}
