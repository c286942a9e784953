import { calendarWindow } from './calendar.ts';
import { intervalOf, quotientUp } from './interval.ts';
import { A, B, C, DEAD_AT, ESTIMATES, HEAD, HELD, lanesOf, type SharedMemory } from './shared-memory.ts';
import type { Rule, RuleOptions } from './types.ts';

/** Largest number that is kept; a debt beyond it is for ever all the same. */
const MOST = Number.MAX_SAFE_INTEGER;
/** Charges of a sliding window told apart; the newest beyond are counted with the last, which then leaves later. */
const LONGEST_LOG = 128;

/** Rules before a rule from which a key's use is still carried over. */
const MOST_REPLACED = 16;

/** Fields of what a hold remembers of one charge. */
/** The key it was made to, by both lanes: places move. */
export const CHARGE_HIGH = 1;
export const CHARGE_GENERATION = 2;
export const CHARGE_KIND = 3;
export const CHARGE_ESTIMATE = 4;
export const CHARGE_LIVE = 5;
export const CHARGE_SETTLES = 6;
export const CHARGE_UNIT = 7;
export const CHARGE_AT = 8;
export const CHARGE_FULL = 9;
export const CHARGE_RESOLUTION = 10;
/** Ticks of a unit of a bucket; the period of a sliding window; where another window began, and in `FULL` ends. */
export const CHARGE_INTERVAL = 11;
export const CHARGE_RULE = 12;
export const CHARGE_LOW = 13;
/** Fields of an entry of a sliding window's log. */
const LEAVES = 1;
const AMOUNT = 2;
const LOG_HELD = 3;

/** In the order of what `CHARGE_KIND` holds. */
const KINDS = [
  'token-bucket',
  'sliding-window',
  'fixed-window',
  'calendar-window',
  'total',
  'concurrency',
  'per-call',
] as const;
const BUCKET = 0;
const SLIDING = 1;
const TOTAL = 4;
export const SLOTS = 5;

/** A rule as one worker knows it; workers that make the same one share its counters. */
export class SharedRule implements Rule {
  readonly name: string;
  readonly options: RuleOptions;
  readonly capacity: number;
  readonly shape: string;
  readonly kind: number;
  readonly high: number;
  readonly low: number;
  readonly unit: number;
  /** Names the rule in shared memory. */
  readonly tag: number;
  readonly settles: boolean;
  readonly shadow: boolean;
  /** Microseconds. */
  readonly period: number = 0;
  readonly resolution: number = 1;
  readonly interval: number = 1;
  readonly refill: number = 0;
  /** The rule that this one replaced, and whose keys it takes over when they are next asked for. */
  previous: SharedRule | undefined;
  windowStart = 0;
  windowEnd = 0;

  constructor(options: RuleOptions, seed: readonly [number, number]) {
    const { name, limit, id = name, unit = 'requests', settles = false, shadow = false } = options;
    const burst = options.algorithm === 'token-bucket' ? (options.burst ?? 0) : 0;
    if (!Number.isSafeInteger(limit) || limit < 1)
      throw new RangeError(`${name}: limit must be an integer of at least 1`);
    if (!Number.isSafeInteger(burst) || burst < 0)
      throw new RangeError(`${name}: burst must be a non-negative integer`);
    this.name = name;
    this.options = options;
    this.capacity = limit + burst;
    this.kind = KINDS.indexOf(options.algorithm);
    if (this.kind < 0) throw new RangeError(`${name}: unknown algorithm ${String(options.algorithm)}`);
    let span = '';
    if ('periodMs' in options) {
      this.period = Math.round(options.periodMs * 1000);
      if (!Number.isSafeInteger(this.period) || this.period < 1) {
        throw new RangeError(`${name}: periodMs must be at least 0.001`);
      }
      span = String(this.period);
    } else if (options.algorithm === 'calendar-window') {
      calendarWindow(options.period, options.timezone ?? 'UTC', 0);
      span = `${options.period} ${options.timezone ?? 'UTC'}`;
    }
    if (options.algorithm === 'token-bucket') {
      const { resolution, interval, refill } = intervalOf(limit, this.period, this.capacity);
      this.resolution = resolution;
      this.interval = interval;
      this.refill = refill;
    }
    this.shape = JSON.stringify([id, options.algorithm, span]);
    [this.high, this.low] = lanesOf(this.shape, seed);
    this.unit = tagOf(unit, seed);
    this.tag = tagOf(JSON.stringify([name, this.shape, limit, burst]), seed);
    this.settles = settles;
    this.shadow = shadow;
  }

  /** Takes the place of another rule, and of those that it took the place of; of the last few only. */
  replace(before: SharedRule): void {
    this.previous = before.shape === this.shape ? before.previous : before;
    let oldest = this.previous;
    for (let depth = 1; depth < MOST_REPLACED && oldest !== undefined; depth++) oldest = oldest.previous;
    if (oldest !== undefined) oldest.previous = undefined;
  }
}

/** A number that stands for a text in shared memory. */
export function tagOf(text: string, seed: readonly [number, number]): number {
  const [high, low] = lanesOf(text, seed);
  return high * 2 ** 20 + (low >>> 12);
}

/** What keys have used, by place in the table; -1: a key that is not there. Only for who has the lock. */
export class SharedCounters {
  readonly #memory: SharedMemory;
  readonly #data: Float64Array;

  constructor(memory: SharedMemory) {
    this.#memory = memory;
    this.#data = memory.data;
  }

  used(rule: SharedRule, at: number, now: number): number {
    if (at < 0) return 0;
    if (rule.kind === BUCKET) return quotientUp(this.#ticks(at, now), this.#data[at + C]! || 1);
    if (rule.kind === SLIDING) return this.#sum(at, now, AMOUNT);
    if (rule.kind >= TOTAL) return this.#data[at + B]!;
    return this.#current(at, now) ? this.#data[at + B]! : 0;
  }

  held(rule: SharedRule, at: number, now: number): number {
    if (at < 0 || !rule.settles) return 0;
    if (rule.kind === SLIDING) return this.#sum(at, now, LOG_HELD);
    return Math.min(this.used(rule, at, now), this.#data[at + HELD]!);
  }

  /** Units that can be taken now under `limit`. */
  remaining(rule: SharedRule, at: number, now: number, limit: number): number {
    return Math.max(0, limit - this.used(rule, at, now));
  }

  /** First microsecond at which a cost of at most `limit` fits; Infinity: no time helps. */
  fitsAt(rule: SharedRule, at: number, now: number, cost: number, limit: number): number {
    if (at < 0 || cost <= limit - this.used(rule, at, now)) return now;
    if (rule.kind === BUCKET) {
      // Until the next charge, units come back at the rate of the variant that was charged last.
      const missing = this.#ticks(at, now) - (limit - cost) * this.#data[at + C]!;
      return now + quotientUp(missing, this.#data[at + B]!);
    }
    if (rule.kind >= TOTAL) return Infinity;
    if (rule.kind !== SLIDING) return this.#data[at + C]!;
    let used = this.#sum(at, now, AMOUNT);
    for (let node = this.#data[at + HEAD]!; node !== 0; node = this.#data[node]!) {
      if (this.#data[node + LEAVES]! <= now) continue;
      used -= this.#data[node + AMOUNT]!;
      if (used + cost <= limit) return this.#data[node + LEAVES]!;
    }
    return now;
  }

  /** When nothing is in use any more, or the window ends. */
  emptyAt(rule: SharedRule, at: number, now: number): number {
    if (at < 0) return now;
    if (rule.kind === BUCKET) return now + quotientUp(this.#ticks(at, now), this.#data[at + B]! || 1);
    if (rule.kind >= TOTAL) return this.#data[at + B] === 0 ? now : Infinity;
    if (rule.kind !== SLIDING) return Math.max(now, this.#data[at + C]!);
    let last = now;
    for (let node = this.#data[at + HEAD]!; node !== 0; node = this.#data[node]!) {
      if (this.#data[node + AMOUNT]! > 0) last = Math.max(last, this.#data[node + LEAVES]!);
    }
    return last;
  }

  /** Charges a rate for `time`, which lies ahead for a place that has to be waited for; everything else for `now`. */
  charge(rule: SharedRule, at: number, now: number, time: number, amount: number, held: boolean): void {
    const data = this.#data;
    if (rule.kind === BUCKET) {
      const level = this.#level(rule, at, time);
      data[at + A] = Math.min(MOST, time * rule.resolution + level + amount * rule.interval);
      data[at + B] = rule.resolution;
      data[at + C] = rule.interval;
    } else if (rule.kind === SLIDING) {
      this.#prune(at, now);
      this.#log(at, time + rule.period, amount, held);
    } else {
      // A window begins with a charge, not with an estimate of nothing.
      const begins = amount > 0 && rule.kind < TOTAL && !this.#current(at, now);
      if (begins) this.#begin(at, this.windowAt(rule, at, now));
      data[at + B] = Math.min(MOST, data[at + B]! + amount);
    }
    if (held) data[at + ESTIMATES] = data[at + ESTIMATES]! + 1;
    if (held && rule.kind !== SLIDING) data[at + HELD] = data[at + HELD]! + amount;
    this.#touch(rule.kind, at);
  }

  /** Makes the charge that a hold remembers larger or smaller, in the window it was made in. */
  amend(charge: number, by: number, now: number): void {
    const data = this.#data;
    data[charge + CHARGE_LIVE] = data[charge + CHARGE_LIVE]! + by;
    const at = this.entryOf(charge);
    if (at < 0 || by === 0) return;
    const kind = data[charge + CHARGE_KIND]!;
    if (kind === BUCKET) this.#amendBucket(charge, at, by, now);
    else if (kind === SLIDING) {
      const leaves = data[charge + CHARGE_AT]! + data[charge + CHARGE_INTERVAL]!;
      const node = this.#logged(at, leaves);
      if (node !== 0) data[node + AMOUNT] = Math.max(0, data[node + AMOUNT]! + by);
      else if (by > 0 && leaves > now) this.#log(at, leaves, by, false);
    } else if (kind >= TOTAL) data[at + B] = Math.max(0, Math.min(MOST, data[at + B]! + by));
    else this.#amendWindow(charge, at, by, now);
    this.#touch(kind, at);
  }

  /** The estimate of a charge is no longer open. */
  unhold(charge: number, now: number): void {
    const data = this.#data;
    const at = this.entryOf(charge);
    if (at < 0 || data[charge + CHARGE_SETTLES] === 0) return;
    const kind = data[charge + CHARGE_KIND]!;
    const estimate = data[charge + CHARGE_ESTIMATE]!;
    data[at + ESTIMATES] = data[at + ESTIMATES]! - 1;
    if (kind === SLIDING) {
      const node = this.#logged(at, data[charge + CHARGE_AT]! + data[charge + CHARGE_INTERVAL]!);
      if (node !== 0) data[node + LOG_HELD] = Math.max(0, data[node + LOG_HELD]! - estimate);
    } else if (kind === BUCKET || this.#covers(kind, at, data[charge + CHARGE_AT]!, now)) {
      data[at + HELD] = Math.max(0, data[at + HELD]! - estimate);
    }
    this.#touch(kind, at);
  }

  /** Gives back, at most until full, what was charged at `when`. */
  giveBack(rule: SharedRule, at: number, amount: number, now: number, when: number): void {
    const data = this.#data;
    if (at < 0) return;
    if (rule.kind === BUCKET) {
      const level = Math.max(0, this.#level(rule, at, now) - amount * rule.interval);
      data[at + A] = now * rule.resolution + level;
      data[at + B] = rule.resolution;
      data[at + C] = rule.interval;
    } else if (rule.kind === SLIDING) {
      if (when + rule.period <= now) return;
      // The newest goes: what is given back is what was charged last.
      let keep = Math.max(0, this.#sum(at, now, AMOUNT) - amount);
      for (let node = data[at + HEAD]!; node !== 0; node = data[node]!) {
        if (data[node + LEAVES]! <= now) continue;
        data[node + AMOUNT] = Math.min(keep, data[node + AMOUNT]!);
        keep -= data[node + AMOUNT]!;
      }
    } else if (this.#covers(rule.kind, at, when, now)) data[at + B] = Math.max(0, data[at + B]! - amount);
    this.#touch(rule.kind, at);
  }

  /** The key that a charge was made to, or -1: it was forgotten since. */
  entryOf(charge: number): number {
    const at = this.#memory.find(this.#data[charge + CHARGE_HIGH]!, this.#data[charge + CHARGE_LOW]!);
    return at >= 0 && this.#memory.generation(at) === this.#data[charge + CHARGE_GENERATION] ? at : -1;
  }

  /** Ticks of this rule until the bucket is full; another variant's are carried over, rounded up. */
  #level(rule: SharedRule, at: number, now: number): number {
    const ticks = this.#ticks(at, now);
    const interval = this.#data[at + C]!;
    return ticks === 0 || interval === rule.interval ? ticks : scaledUp(ticks, rule.interval, interval);
  }

  /** Ticks of whichever variant was charged last. */
  #ticks(at: number, now: number): number {
    return Math.max(0, this.#data[at + A]! - now * this.#data[at + B]!);
  }

  #amendBucket(charge: number, at: number, by: number, now: number): void {
    const data = this.#data;
    const interval = data[at + C]!;
    let level = this.#ticks(at, now) + by * interval;
    if (by < 0) {
      const own = data[charge + CHARGE_INTERVAL]!;
      // What has come back by itself is not given back a second time.
      const left = Math.max(0, data[charge + CHARGE_FULL]! - now * data[charge + CHARGE_RESOLUTION]!);
      const back = Math.min(-by * own, left);
      level += -by * interval - (own === interval ? back : Math.floor((back / own) * interval));
    }
    data[at + A] = Math.min(MOST, now * data[at + B]! + Math.max(0, level));
  }

  /** `[start, end)` of the window that a charge goes to. */
  windowAt(rule: SharedRule, at: number, now: number): readonly [number, number] {
    if (this.#current(at, now)) return [this.#data[at + A]!, this.#data[at + C]!];
    if (rule.options.algorithm !== 'calendar-window') return [now, now + rule.period];
    if (now < rule.windowStart || now >= rule.windowEnd) {
      const { origin } = this.#memory;
      const { period, timezone = 'UTC' } = rule.options;
      const { start, end } = calendarWindow(period, timezone, origin + Math.floor(now / 1000));
      rule.windowStart = (start - origin) * 1000;
      rule.windowEnd = (end - origin) * 1000;
    }
    return [rule.windowStart, rule.windowEnd];
  }

  #begin(at: number, [start, end]: readonly [number, number]): void {
    const data = this.#data;
    data[at + A] = start;
    data[at + B] = 0;
    data[at + C] = end;
    data[at + HELD] = 0;
  }

  #amendWindow(charge: number, at: number, by: number, now: number): void {
    const data = this.#data;
    const start = data[charge + CHARGE_INTERVAL]!;
    const end = data[charge + CHARGE_FULL]!;
    if (!this.#current(at, now)) {
      if (by <= 0 || end <= now) return;
      this.#begin(at, [start, end]);
    } else if (start !== data[at + A] && (by < 0 || end <= data[at + A]!)) return;
    // Else also a window that began in between: it covers what was estimated at nothing before.
    data[at + B] = Math.max(0, Math.min(MOST, data[at + B]! + by));
  }

  #current(at: number, now: number): boolean {
    return now < this.#data[at + C]!;
  }

  #covers(kind: number, at: number, when: number, now: number): boolean {
    return kind >= TOTAL || (this.#current(at, now) && when >= this.#data[at + A]!);
  }

  /** Says from when on the place may be taken over. */
  #touch(kind: number, at: number): void {
    const data = this.#data;
    let deadAt = data[at + C]!;
    if (data[at + ESTIMATES]! > 0) deadAt = Infinity;
    else if (kind === BUCKET) deadAt = quotientUp(data[at + A]!, data[at + B]! || 1);
    else if (kind >= TOTAL) deadAt = data[at + B]! > 0 ? Infinity : 0;
    else if (kind === SLIDING) {
      deadAt = 0;
      for (let node = data[at + HEAD]!; node !== 0; node = data[node]!) deadAt = data[node + LEAVES]!;
    }
    data[at + DEAD_AT] = deadAt;
  }

  #sum(at: number, now: number, field: number): number {
    let sum = 0;
    for (let node = this.#data[at + HEAD]!; node !== 0; node = this.#data[node]!) {
      if (this.#data[node + LEAVES]! > now) sum += this.#data[node + field]!;
    }
    return sum;
  }

  #logged(at: number, leaves: number): number {
    let node = this.#data[at + HEAD]!;
    while (node !== 0 && this.#data[node + LEAVES] !== leaves) node = this.#data[node]!;
    return node;
  }

  /** Frees what has left the window. The log is in the order of leaving. */
  #prune(at: number, now: number): void {
    const data = this.#data;
    for (let node = data[at + HEAD]!; node !== 0 && data[node + LEAVES]! <= now; node = data[at + HEAD]!) {
      data[at + HEAD] = data[node]!;
      data[at + B] = data[at + B]! - 1;
      this.#memory.free(node);
    }
  }

  #log(at: number, leaves: number, amount: number, held: boolean): void {
    const data = this.#data;
    let before = at + HEAD;
    while (data[before] !== 0 && data[data[before]! + LEAVES]! < leaves) before = data[before]!;
    let node = data[before]!;
    if (node === 0 || data[node + LEAVES] !== leaves) {
      const made = data[at + B]! < LONGEST_LOG ? this.#memory.node() : 0;
      if (made !== 0) {
        data[made] = node;
        data[made + LEAVES] = leaves;
        data[before] = made;
        data[at + B] = data[at + B]! + 1;
        node = made;
      } else if (node === 0) {
        // No room: the newest charge leaves as late as this one. Too long is safe, too short is not.
        node = before === at + HEAD ? 0 : before;
        if (node === 0) throw new RangeError('the shared limiter has no room for charges; make it larger');
        data[node + LEAVES] = leaves;
      }
    }
    data[node + AMOUNT] = Math.min(MOST, data[node + AMOUNT]! + amount);
    if (held) data[node + LOG_HELD] = data[node + LOG_HELD]! + amount;
  }
}

/** `value × times / by`, rounded up, without losing digits. */
function scaledUp(value: number, times: number, by: number): number {
  const product = value * times;
  if (product <= MOST) return quotientUp(product, by);
  const exact = (BigInt(value) * BigInt(times) + BigInt(by) - 1n) / BigInt(by);
  return exact > BigInt(MOST) ? MOST : Number(exact);
}
