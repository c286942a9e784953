import { calendarWindow } from '../calendar.ts';
import type { RuleOptions } from '../types.ts';

/** One charge of a counter, so that a settlement finds the window it was made in. */
export interface Charge {
  readonly at: bigint;
  amount: bigint;
  /** What is left of it after giving back; the rest is gone. */
  live: bigint;
  /** Token bucket: the moment, in microseconds × limit, at which the charge left it full again; and that limit. */
  readonly full?: bigint;
  readonly limit?: bigint;
  /** Window: the one it went to, or for an amount of 0 the one that it would have begun. */
  readonly window?: readonly [start: bigint, end: bigint];
}

/** What one key of one rule has used. Times in microseconds. Written to be obviously right, not fast. */
export interface Counter {
  /** Units in use, a begun one counting whole. */
  used(now: bigint): bigint;
  /** First microsecond from `now` on at which `cost` fits under `limit`; undefined: never by waiting. */
  fitsAt(now: bigint, cost: bigint, limit: bigint): bigint | undefined;
  charge(at: bigint, amount: bigint): Charge;
  /** Makes a charge larger or smaller in the window it was made in. */
  amend(charge: Charge, by: bigint, now: bigint): void;
  /** Gives back, at most until full, what was charged at `at`. */
  giveBack(amount: bigint, now: bigint, at: bigint): void;
  /** Amounts of these open charges that are part of `used`. */
  held(now: bigint, open: readonly Charge[]): bigint;
  /** First microsecond at which nothing is in use, or at which the window ends; undefined: never by waiting. */
  emptyAt(now: bigint): bigint | undefined;
  /** Another variant of the rule asks from now on. */
  become(options: RuleOptions, now: bigint): void;
}

export function counterFor(options: RuleOptions, origin: number): Counter {
  switch (options.algorithm) {
    case 'token-bucket':
      return new BucketCounter(BigInt(options.limit), micros(options.periodMs));
    case 'sliding-window':
      return new LogCounter(micros(options.periodMs));
    case 'fixed-window': {
      const period = micros(options.periodMs);
      return new WindowCounter((at) => [at, at + period]);
    }
    case 'calendar-window': {
      const { period, timezone = 'UTC' } = options;
      return new WindowCounter((at) => {
        const { start, end } = calendarWindow(period, timezone, origin + Math.floor(Number(at) / 1000));
        return [BigInt(start - origin) * 1000n, BigInt(end - origin) * 1000n];
      });
    }
    case 'total':
      return new TotalCounter();
    case 'concurrency':
      return new TotalCounter();
    case 'per-call':
      return new NoCounter();
  }
}

export function micros(ms: number): bigint {
  return BigInt(Math.round(ms * 1000));
}

/**
 * A token bucket as its definition says: a level of used units that drains by `limit` per period. Levels are exact:
 * counted in units × period, time in microseconds × limit.
 */
export class BucketCounter implements Counter {
  #limit: bigint;
  readonly #period: bigint;
  /** Level at `#since`; `#since` may lie ahead after a charge for a later place. */
  #level = 0n;
  #since = 0n;

  constructor(limit: bigint, period: bigint) {
    this.#limit = limit;
    this.#period = period;
  }

  level(now: bigint): bigint {
    const left = this.#level - (now - this.#since) * this.#limit;
    return left > 0n ? left : 0n;
  }

  used(now: bigint): bigint {
    return roundUp(this.level(now), this.#period);
  }

  fitsAt(now: bigint, cost: bigint, limit: bigint): bigint | undefined {
    if (cost > limit) return undefined;
    const missing = this.level(now) + (cost - limit) * this.#period;
    return missing <= 0n ? now : now + roundUp(missing, this.#limit);
  }

  charge(at: bigint, amount: bigint): Charge {
    this.#set(at, this.level(at) + amount * this.#period);
    return { at, amount, live: amount, full: at * this.#limit + this.#level, limit: this.#limit };
  }

  amend(charge: Charge, by: bigint, now: bigint): void {
    charge.live += by;
    let change = by * this.#period;
    if (by < 0n) {
      // What has come back by itself is not given back a second time.
      const left = charge.full! - now * charge.limit!;
      change = -least(-change, most(0n, left));
    }
    this.#set(now, most(0n, this.level(now) + change));
  }

  giveBack(amount: bigint, now: bigint): void {
    const level = this.level(now) - amount * this.#period;
    this.#set(now, level > 0n ? level : 0n);
  }

  held(now: bigint, open: readonly Charge[]): bigint {
    return least(this.used(now), sum(open));
  }

  emptyAt(now: bigint): bigint {
    return now + roundUp(this.level(now), this.#limit);
  }

  become(options: RuleOptions, now: bigint): void {
    this.#set(now, this.level(now));
    if (options.algorithm === 'token-bucket') this.#limit = BigInt(options.limit);
  }

  #set(at: bigint, level: bigint): void {
    this.#level = level;
    this.#since = at;
  }
}

/** Every charge of the last period, one by one. A charge at t counts at every instant before t + period. */
export class LogCounter implements Counter {
  readonly #period: bigint;
  #charges: Charge[] = [];

  constructor(period: bigint) {
    this.#period = period;
  }

  used(now: bigint): bigint {
    return sum(this.#within(now));
  }

  fitsAt(now: bigint, cost: bigint, limit: bigint): bigint | undefined {
    if (cost > limit) return undefined;
    const moments = [now, ...this.#within(now).map(({ at }) => at + this.#period)].filter((at) => at >= now);
    return moments.sort((a, b) => (a < b ? -1 : 1)).find((at) => this.used(at) + cost <= limit);
  }

  charge(at: bigint, amount: bigint): Charge {
    const charge = { at, amount, live: amount };
    this.#charges.push(charge);
    return charge;
  }

  amend(charge: Charge, by: bigint): void {
    charge.live += by;
    if (charge.live < 0n) charge.live = 0n;
  }

  giveBack(amount: bigint, now: bigint, at: bigint): void {
    if (at + this.#period <= now) return;
    // Newest first: what is given back is what was charged last.
    for (const charge of this.#within(now).toReversed()) {
      const part = least(charge.live, amount);
      charge.live -= part;
      amount -= part;
    }
  }

  held(now: bigint, open: readonly Charge[]): bigint {
    const within = this.#within(now);
    return sum(open.filter((charge) => within.includes(charge)));
  }

  emptyAt(now: bigint): bigint {
    let last = now;
    for (const { at, live } of this.#within(now)) if (live > 0n && at + this.#period > last) last = at + this.#period;
    return last;
  }

  become(): void {}

  #within(now: bigint): Charge[] {
    return this.#charges.filter(({ at }) => at + this.#period > now);
  }
}

type Window = readonly [start: bigint, end: bigint];

/** A count that is forgotten where its window ends. A window begins with a charge, not with an amount of 0. */
export class WindowCounter implements Counter {
  /** The window that a charge at a time begins. */
  readonly #windowFrom: (at: bigint) => Window;
  #window: Window | undefined;
  #count = 0n;

  constructor(windowFrom: (at: bigint) => Window) {
    this.#windowFrom = windowFrom;
  }

  used(now: bigint): bigint {
    return this.#current(now) === undefined ? 0n : this.#count;
  }

  fitsAt(now: bigint, cost: bigint, limit: bigint): bigint | undefined {
    if (cost > limit) return undefined;
    return this.used(now) + cost <= limit ? now : this.#window![1];
  }

  charge(at: bigint, amount: bigint): Charge {
    const window = this.#current(at) ?? this.#windowFrom(at);
    if (amount > 0n) this.#add(window, amount, at);
    return { at, amount, live: amount, window };
  }

  amend(charge: Charge, by: bigint, now: bigint): void {
    charge.live += by;
    const [start, end] = charge.window!;
    const current = this.#current(now);
    // A window that began in between covers what was estimated at nothing before.
    if (current !== undefined && (current[0] === start || (by > 0n && end > current[0]))) {
      this.#count = most(0n, this.#count + by);
    } else if (current === undefined && by > 0n && end > now) this.#add([start, end], by, now);
  }

  giveBack(amount: bigint, now: bigint, at: bigint): void {
    const current = this.#current(now);
    if (current !== undefined && at >= current[0]) this.#count = most(0n, this.#count - amount);
  }

  held(now: bigint, open: readonly Charge[]): bigint {
    const current = this.#current(now);
    return least(this.used(now), sum(open.filter(({ window }) => window![0] === current?.[0])));
  }

  emptyAt(now: bigint): bigint {
    return this.#current(now)?.[1] ?? now;
  }

  become(): void {}

  #current(now: bigint): Window | undefined {
    return this.#window !== undefined && now < this.#window[1] ? this.#window : undefined;
  }

  #add(window: Window, amount: bigint, now: bigint): void {
    this.#count = amount + (this.#current(now) === undefined ? 0n : this.#count);
    this.#window = window;
  }
}

/** A count that only a reset, or the end of what it counts, makes smaller. */
export class TotalCounter implements Counter {
  #count = 0n;

  used(): bigint {
    return this.#count;
  }

  fitsAt(now: bigint, cost: bigint, limit: bigint): bigint | undefined {
    return this.#count + cost <= limit ? now : undefined;
  }

  charge(at: bigint, amount: bigint): Charge {
    this.#count += amount;
    return { at, amount, live: amount };
  }

  amend(charge: Charge, by: bigint): void {
    this.#count = most(0n, this.#count + by);
    charge.live += by;
  }

  giveBack(amount: bigint): void {
    this.#count = most(0n, this.#count - amount);
  }

  held(_now: bigint, open: readonly Charge[]): bigint {
    return least(this.#count, sum(open));
  }

  emptyAt(now: bigint): bigint | undefined {
    return this.#count === 0n ? now : undefined;
  }

  become(): void {}
}

class NoCounter implements Counter {
  used(): bigint {
    return 0n;
  }

  fitsAt(now: bigint, cost: bigint, limit: bigint): bigint | undefined {
    return cost <= limit ? now : undefined;
  }

  charge(at: bigint, amount: bigint): Charge {
    return { at, amount, live: amount };
  }

  amend(): void {}

  giveBack(): void {}

  held(): bigint {
    return 0n;
  }

  emptyAt(now: bigint): bigint {
    return now;
  }

  become(): void {}
}

function sum(charges: readonly Charge[]): bigint {
  return charges.reduce((total, { live }) => total + live, 0n);
}

function roundUp(dividend: bigint, divisor: bigint): bigint {
  return (dividend + divisor - 1n) / divisor;
}

function least(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}

function most(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}
