import { type Ask, MAX_RULES } from './ask.ts';
import { mixHigh, mixLow } from './hash.ts';
import { intervalOf, MAX_TIME, quotient, quotientUp } from './interval.ts';
import { Slots, TAG_MASK } from './slots.ts';
import type { Admitted, Limiter, Outcome, Rule, RuleOptions, Standing } from './types.ts';

const ADMITTED: Admitted = Object.freeze({ allowed: true });
/** Room for every rule of one decision between the soft and the hard load. */
const FIRST_SIZE = 2048;
/** Slots of the old table carried over per key written to the new one: ends well before the new one fills. */
const MIGRATION_STEP = 8;
/** Writes to wait before looking again whether a full table has dead slots to win back. */
const FULL_RECHECK = 1024;

export interface MemoryLimiterOptions {
  /**
   * Keys with anything used that are told apart, over all rules; 16 bytes a slot, from 32 KB up as needed. When all are in
   * use at once, further keys of a rule share one state: they are limited together, never let through.
   * Default 1,000,000 (32 MB, while the table is rebuilt twice that).
   */
  readonly maxKeys?: number;
  /** Two 32-bit numbers that decide where keys are kept, so that nobody outside can aim at a slot. Default random. */
  readonly seed?: readonly [number, number];
}

class MemoryRule implements Rule {
  readonly name: string;
  readonly options: RuleOptions;
  readonly capacity: number;
  readonly resolution: number;
  readonly interval: number;
  readonly refill: number;
  readonly high: number;
  readonly low: number;
  /** Tick at which the keys without a slot of their own are full again. */
  shared = 0;
  /** Number of the last decision that met this rule, to see a second mention at once. */
  seenIn = 0;
  /** The rule this one replaced, while its state can still matter: until that microsecond. */
  previous: MemoryRule | undefined;
  previousUntil = 0;

  constructor(options: RuleOptions, high: number, low: number) {
    const { name, limit, periodMs, burst = 0 } = options;
    const period = Math.round(periodMs * 1000);
    if (!Number.isSafeInteger(limit) || limit < 1)
      throw new RangeError(`${name}: limit must be an integer of at least 1`);
    if (!Number.isSafeInteger(burst) || burst < 0)
      throw new RangeError(`${name}: burst must be a non-negative integer`);
    if (!Number.isSafeInteger(period) || period < 1) throw new RangeError(`${name}: periodMs must be at least 0.001`);
    this.name = name;
    this.options = options;
    this.capacity = limit + burst;
    const { resolution, interval, refill } = intervalOf(limit, period, this.capacity);
    this.resolution = resolution;
    this.interval = interval;
    this.refill = refill;
    this.high = high;
    this.low = low;
  }
}

/**
 * The limiter of one process. Synchronous from first to last line of a decision, so atomic without a lock; an
 * admission allocates nothing. State only ever moves forward: a `now` that goes back counts as the latest seen.
 */
export class MemoryLimiter implements Limiter {
  readonly #maxSize: number;
  readonly #seed: readonly [number, number];
  #generation = 0;
  #now = 0;
  #slots = new Slots(FIRST_SIZE);
  /** The table being carried over into `#slots`, and how far that is. */
  #old: Slots | undefined;
  #cursor = 0;
  #recheck = 0;
  #overflows = 0;
  #decision = 0;
  /** True when the ask at hand names a rule twice. */
  #repeats = false;
  // Scratch of the decision at hand, by position in the ask.
  readonly #high = new Uint32Array(MAX_RULES);
  readonly #low = new Uint32Array(MAX_RULES);
  readonly #place = new Int32Array(MAX_RULES);
  readonly #next = new Float64Array(MAX_RULES);

  constructor(options: MemoryLimiterOptions = {}) {
    const { maxKeys = 1_000_000, seed = [random32(), random32()] } = options;
    if (!(maxKeys >= 1 && maxKeys <= 2 ** 25)) throw new RangeError('maxKeys must be from 1 to 33,554,432');
    let size = FIRST_SIZE;
    while (size * 0.75 < maxKeys) size *= 2;
    this.#maxSize = size;
    this.#seed = seed;
  }

  rule(options: RuleOptions, previous?: Rule): Rule {
    const before = previous === undefined ? undefined : own(previous);
    if (before !== undefined && sameNumbers(before.options, options) && before.name === options.name) return before;
    const generation = ++this.#generation;
    const rule = new MemoryRule(options, mixHigh(this.#seed[0], generation), mixLow(this.#seed[1], generation));
    if (before !== undefined) {
      rule.previous = before;
      rule.previousUntil = this.#now + quotientUp(before.refill, before.resolution);
      rule.shared = convert(before.shared, before, rule, this.#now);
    }
    return rule;
  }

  decide(ask: Ask, now: number): Outcome {
    const time = this.#advance(now);
    if (this.#weigh(ask, time)) {
      this.#commit(ask, time);
      return ADMITTED;
    }
    return this.#refusal(ask, time);
  }

  check(ask: Ask, now: number): Outcome {
    const time = this.#advance(now);
    return this.#weigh(ask, time) ? ADMITTED : this.#refusal(ask, time);
  }

  inspect(ask: Ask, now: number): readonly Standing[] {
    const time = this.#advance(now);
    this.#weigh(ask, time);
    return this.#standings(ask, time);
  }

  /** For status and metrics. `overflows` counts charges to shared states since the start; it should stay 0. */
  stats(): { readonly keys: number; readonly slots: number; readonly bytes: number; readonly overflows: number } {
    const slots = this.#slots.size + (this.#old?.size ?? 0);
    const keys = this.#slots.estimateLive(this.#now) + (this.#old?.estimateLive(this.#now) ?? 0);
    return { keys, slots, bytes: slots * 16, overflows: this.#overflows };
  }

  #advance(now: number): number {
    if (now > this.#now) {
      if (now > MAX_TIME) throw new RangeError(`now must be at most 2^47 microseconds from its origin, got ${now}`);
      this.#now = Math.floor(now);
    }
    return this.#now;
  }

  /** First pass: where every rule would stand after the charge. Reads only. True: all have room. */
  #weigh(ask: Ask, time: number): boolean {
    const slots = this.#slots;
    const decision = ++this.#decision;
    let room = true;
    this.#repeats = false;
    for (let i = 0; i < ask.size; i++) {
      const rule = own(ask.rules[i]!);
      if (rule.seenIn === decision) this.#repeats = true;
      rule.seenIn = decision;
      // 0 marks an empty slot; the low bits of the other lane say how the value counts.
      const high = mixHigh(rule.high, ask.high[i]!) >>> 0 || 1;
      const low = ((mixLow(rule.low, ask.low[i]!) & ~TAG_MASK) | (rule.resolution - 1)) >>> 0;
      this.#high[i] = high;
      this.#low[i] = low;
      const start = time * rule.resolution;
      const place = slots.find(high, low);
      let full = place >= 0 ? slots.value(place) : this.#elsewhere(rule, ask, i, time);
      if (full < start) full = start;
      // The same key twice is charged once with the sum: the last mention carries it, the earlier ones cannot fail first.
      const cost = this.#repeats ? this.#costSoFar(ask, i) : ask.costs[i]!;
      const next = full + cost * rule.interval;
      this.#place[i] = place;
      this.#next[i] = next;
      if (cost > 0 && next - start > rule.refill) room = false;
    }
    return room;
  }

  /** Second pass: writes what the first found. */
  #commit(ask: Ask, time: number): void {
    let written = 0;
    for (let i = 0; i < ask.size; i++) {
      if (ask.costs[i] === 0) continue;
      const place = this.#place[i]!;
      if (place >= 0) this.#slots.set(place, this.#next[i]!);
      else {
        this.#add(ask, i, time);
        written++;
      }
    }
    if (written > 0) this.#maintain(written, time);
  }

  /** Gives a key its slot and clears what it came from; without room it is charged to the rule's shared state. */
  #add(ask: Ask, i: number, time: number): void {
    const rule = own(ask.rules[i]!);
    const high = this.#high[i]!;
    const low = this.#low[i]!;
    const next = this.#next[i]!;
    const again = this.#slots.find(high, low);
    if (again >= 0) {
      this.#slots.set(again, next);
      return;
    }
    const at = this.#old === undefined ? -1 : this.#old.find(high, low);
    if (this.#slots.insert(high, low, next, time)) {
      if (at >= 0) this.#old!.set(at, 0);
    } else if (at >= 0) {
      this.#old!.set(at, next);
    } else {
      this.#overflows++;
      rule.shared = next;
    }
    for (let from = rule.previous; from !== undefined; from = from.previous) this.#forget(from, ask, i);
  }

  /** State of a key that has no slot in the current table: in the old one, under a replaced rule, or shared. */
  #elsewhere(rule: MemoryRule, ask: Ask, i: number, time: number): number {
    if (this.#old !== undefined) {
      const at = this.#old.find(this.#high[i]!, this.#low[i]!);
      if (at >= 0) return this.#old.value(at);
    }
    // Keys that were counted together while there was no room must not start afresh now that there is.
    let full = rule.shared;
    if (rule.previous !== undefined) {
      if (time > rule.previousUntil) rule.previous = undefined;
      for (let from = rule.previous; from !== undefined; from = from.previous) {
        full = Math.max(full, convert(this.#lookup(from, ask, i), from, rule, time));
      }
    }
    return full;
  }

  #lookup(rule: MemoryRule, ask: Ask, i: number): number {
    const [high, low] = fingerprint(rule, ask, i);
    const at = this.#slots.find(high, low);
    if (at >= 0) return this.#slots.value(at);
    const before = this.#old?.find(high, low) ?? -1;
    return before >= 0 ? this.#old!.value(before) : 0;
  }

  #forget(rule: MemoryRule, ask: Ask, i: number): void {
    const [high, low] = fingerprint(rule, ask, i);
    const at = this.#slots.find(high, low);
    if (at >= 0) this.#slots.set(at, 0);
    const before = this.#old?.find(high, low) ?? -1;
    if (before >= 0) this.#old!.set(before, 0);
  }

  /** Grows, shrinks and cleans by carrying live slots over a few at a time, so that no single call pays for it. */
  #maintain(written: number, time: number): void {
    const old = this.#old;
    if (old !== undefined) {
      const end = Math.min(this.#cursor + written * MIGRATION_STEP, old.size);
      while (this.#cursor < end && old.move(this.#cursor, this.#slots, time)) this.#cursor++;
      if (this.#cursor === old.size) this.#old = undefined;
      return;
    }
    if (!this.#slots.crowded) return;
    if (this.#recheck > 0) {
      this.#recheck--;
      return;
    }
    const { size } = this.#slots;
    const live = this.#slots.estimateLive(time);
    let target = size;
    if (live > size * 0.375) target = Math.min(size * 2, this.#maxSize);
    else if (live < size * 0.1) target = Math.max(size / 2, FIRST_SIZE);
    if (target === size && live > size * 0.6) {
      this.#recheck = FULL_RECHECK;
      return;
    }
    this.#old = this.#slots;
    this.#cursor = 0;
    this.#slots = new Slots(target);
  }

  #refusal(ask: Ask, time: number): Outcome {
    const standings = this.#standings(ask, time);
    const violated = standings.filter((standing) => standing.verdict !== 'passed');
    let retryAfter = 0;
    for (const standing of violated) retryAfter = Math.max(retryAfter, standing.retryAfter);
    return { allowed: false, retryAfter: retryAfter === Infinity ? undefined : retryAfter, violated, standings };
  }

  /** Standings as of before the charge, from what the first pass left; one per distinct rule and key. */
  #standings(ask: Ask, time: number): Standing[] {
    const standings: Standing[] = [];
    for (let i = 0; i < ask.size; i++) {
      if (this.#repeated(ask, i)) continue;
      const rule = own(ask.rules[i]!);
      const cost = this.#costSoFar(ask, i);
      const start = time * rule.resolution;
      const place = this.#place[i]!;
      const state = place >= 0 ? this.#slots.value(place) : this.#elsewhere(rule, ask, i, time);
      const full = Math.max(state, start);
      const missing = full + cost * rule.interval - rule.refill;
      const never = cost > rule.capacity;
      const waits = cost > 0 && missing > start;
      standings.push({
        rule,
        verdict: never ? 'cost_above_capacity' : waits ? 'exhausted' : 'passed',
        cost,
        remaining: Math.max(0, quotient(start + rule.refill - full, rule.interval)),
        retryAfter: never ? Infinity : waits ? quotientUp(missing, rule.resolution) - time : 0,
        resetAfter: quotientUp(full, rule.resolution) - time,
      });
    }
    return standings;
  }

  /** Cost of a mention and of the earlier ones of the same rule and key. */
  #costSoFar(ask: Ask, i: number): number {
    let cost = ask.costs[i]!;
    for (let j = 0; j < i; j++) {
      if (this.#low[j] === this.#low[i] && this.#high[j] === this.#high[i]) cost += ask.costs[j]!;
    }
    return cost;
  }

  /** True when a later mention of the same rule and key stands for this one. */
  #repeated(ask: Ask, i: number): boolean {
    for (let j = i + 1; j < ask.size; j++) {
      if (this.#low[j] === this.#low[i] && this.#high[j] === this.#high[i]) return true;
    }
    return false;
  }
}

function own(rule: Rule): MemoryRule {
  if (!(rule instanceof MemoryRule)) throw new TypeError(`rule ${rule.name} was made by another limiter`);
  return rule;
}

function fingerprint(rule: MemoryRule, ask: Ask, i: number): [number, number] {
  const low = ((mixLow(rule.low, ask.low[i]!) & ~TAG_MASK) | (rule.resolution - 1)) >>> 0;
  return [mixHigh(rule.high, ask.high[i]!) >>> 0 || 1, low];
}

/** What is used under one rule, in units, as a state of another; never more than the other holds. */
function convert(full: number, from: MemoryRule, to: MemoryRule, time: number): number {
  const used = full - time * from.resolution;
  if (used <= 0) return 0;
  return time * to.resolution + Math.min(to.refill, Math.ceil((used / from.interval) * to.interval));
}

function sameNumbers(a: RuleOptions, b: RuleOptions): boolean {
  return (
    a.algorithm === b.algorithm && a.limit === b.limit && a.periodMs === b.periodMs && (a.burst ?? 0) === (b.burst ?? 0)
  );
}

function random32(): number {
  return Math.floor(Math.random() * 2 ** 32);
}
