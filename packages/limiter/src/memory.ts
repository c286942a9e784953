import { type Ask, MAX_RULES } from './ask.ts';
import { mixHigh, mixLow } from './hash.ts';
import { MAX_TIME, quotient, quotientUp } from './interval.ts';
import { MemoryRule, own, sameNumbers } from './rule.ts';
import { Slots, TAG_MASK } from './slots.ts';
import type { Admitted, HoldResult, Limiter, Outcome, Rule, RuleOptions, Standing } from './types.ts';

const ADMITTED: Admitted = Object.freeze({
  allowed: true,
  wait: 0,
  repeated: false,
  shadowed: [],
  crossed: [],
  degraded: undefined,
});
/** Room for every rule of one decision between the soft and the hard load. */
const FIRST_SIZE = 2048;
/** Slots of the old table carried over per key written to the new one: ends well before the new one fills. */
const MIGRATION_STEP = 8;
/** When a full table is looked at again for dead slots to win back: after so many new keys, or microseconds. */
const RECHECK_KEYS = 1024;
const RECHECK_TIME = 1_000_000;

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
  /** The next table while its memory is allocated, a segment per call; not in use yet. */
  #coming: Slots | undefined;
  /** The table being carried over into `#slots`, and how far that is. */
  #old: Slots | undefined;
  #cursor = 0;
  #recheckKeys = 0;
  #recheckTime = 0;
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
    this.#slots.allocate();
  }

  rule(options: RuleOptions, previous?: Rule): Rule {
    const before = previous === undefined ? undefined : own(previous);
    if (before !== undefined && sameNumbers(before.options, options) && before.name === options.name) return before;
    const generation = ++this.#generation;
    const rule = new MemoryRule(options, mixHigh(this.#seed[0], generation), mixLow(this.#seed[1], generation));
    if (before !== undefined) rule.replace(before, this.#now);
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

  decideAll(asks: readonly Ask[], now: number): readonly Outcome[] {
    return asks.map((ask) => this.decide(ask, now));
  }

  take(): readonly number[] {
    throw new RangeError('take is not available yet');
  }

  adjust(): void {
    throw new RangeError('adjust is not available yet');
  }

  settle(): HoldResult {
    throw new RangeError('holds are not available yet');
  }

  release(): HoldResult {
    throw new RangeError('holds are not available yet');
  }

  renew(): HoldResult {
    throw new RangeError('holds are not available yet');
  }

  reset(): void {
    throw new RangeError('reset is not available yet');
  }

  /** For status and metrics. `overflows` counts charges to shared states since the start; it should stay 0. */
  stats(): { readonly keys: number; readonly slots: number; readonly bytes: number; readonly overflows: number } {
    const slots = this.#slots.size + (this.#old?.size ?? 0) + (this.#coming?.size ?? 0);
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
      if (this.#repeats && place < 0 && slots.tight(ask.size)) {
        const together = this.#costTogether(ask, i);
        if (together > 0 && full + together * rule.interval - start > rule.refill) room = false;
      }
    }
    return room;
  }

  /**
   * Second pass: writes what the first found. Slots that were found come first: one found dead is alive then, so that
   * no key added afterwards takes it over and loses the charge.
   */
  #commit(ask: Ask, time: number): void {
    let missing = 0;
    for (let i = 0; i < ask.size; i++) {
      if (ask.costs[i] === 0) continue;
      const place = this.#place[i]!;
      if (place >= 0) this.#slots.set(place, this.#next[i]!);
      else missing++;
    }
    if (missing === 0) return;
    // Room first: after a flood that has passed, nobody need share a state.
    if (this.#old === undefined && this.#slots.tight(missing)) this.#maintain(0, time);
    for (let i = 0; i < ask.size; i++) if (this.#place[i]! < 0 && ask.costs[i] !== 0) this.#add(ask, i, time);
    this.#maintain(missing, time);
  }

  /** Gives a key its slot and clears what it came from; without room it is charged to the rule's shared state. */
  #add(ask: Ask, i: number, time: number): void {
    const rule = own(ask.rules[i]!);
    const high = this.#high[i]!;
    const low = this.#low[i]!;
    const next = this.#next[i]!;
    const again = this.#repeats ? this.#slots.find(high, low) : -1;
    if (again >= 0) {
      this.#slots.set(again, next);
      return;
    }
    const at = this.#old === undefined ? -1 : this.#old.find(high, low);
    if (this.#slots.insert(high, low, next, time)) {
      if (at >= 0) this.#old!.set(at, 0);
    } else if (at >= 0) {
      this.#old!.set(at, next);
      // Behind the cursor it would go with the old table.
      this.#cursor = Math.min(this.#cursor, at);
    } else {
      this.#overflows++;
      // Added up, because other keys of the rule may be charged to it in the same decision.
      const full = next - this.#costSoFar(ask, i) * rule.interval;
      rule.shared = Math.max(rule.shared, full) + ask.costs[i]! * rule.interval;
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
    return Math.max(rule.shared, this.#inherited(rule, ask, i, time));
  }

  /** What a key without state of its own has from the rules that this one replaced, step by step. */
  #inherited(rule: MemoryRule, ask: Ask, i: number, time: number): number {
    const from = rule.previous;
    if (from === undefined) return 0;
    if (time > rule.previousUntil) {
      rule.previous = undefined;
      return 0;
    }
    const full = Math.max(this.#lookup(from, ask, i), this.#inherited(from, ask, i, time));
    return rule.converted(full, from, time);
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
    if (this.#coming === undefined && !this.#plan(written, time)) return;
    try {
      if (!this.#coming!.allocate()) return;
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      // No memory for a larger table now: this one goes on, at the worst as a full one.
      this.#coming = undefined;
      this.#postpone(time);
      return;
    }
    this.#old = this.#slots;
    this.#cursor = 0;
    this.#slots = this.#coming!;
    this.#coming = undefined;
  }

  /** Chooses the next table when the current one is getting full. False: none is needed or it would not help. */
  #plan(written: number, time: number): boolean {
    if (!this.#slots.crowded) return false;
    if (this.#recheckKeys > 0 && time < this.#recheckTime) {
      this.#recheckKeys -= written;
      return false;
    }
    const { size } = this.#slots;
    const live = this.#slots.estimateLive(time);
    let target = size;
    if (live > size * 0.375) target = Math.min(size * 2, this.#maxSize);
    else if (live < size * 0.1) target = Math.max(size / 2, FIRST_SIZE);
    if (target === size && live > size * 0.6) {
      this.#postpone(time);
      return false;
    }
    this.#coming = new Slots(target);
    return true;
  }

  #postpone(time: number): void {
    this.#recheckKeys = RECHECK_KEYS;
    this.#recheckTime = time + RECHECK_TIME;
  }

  #refusal(ask: Ask, time: number): Outcome {
    const standings = this.#standings(ask, time);
    const violated = standings.filter((standing) => standing.verdict !== 'passed');
    let retryAfter = 0;
    for (const standing of violated) retryAfter = Math.max(retryAfter, standing.retryAfter);
    return {
      allowed: false,
      retryAfter: retryAfter === Infinity ? undefined : retryAfter,
      estimated: false,
      violated,
      standings,
      shadowed: [],
      degraded: undefined,
    };
  }

  /** Standings as of before the charge, from what the first pass left; one per distinct rule and key. */
  #standings(ask: Ask, time: number): Standing[] {
    const standings: Standing[] = [];
    for (let i = 0; i < ask.size; i++) {
      if (this.#repeated(ask, i)) continue;
      const rule = own(ask.rules[i]!);
      const cost = this.#costTogether(ask, i);
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
        limit: rule.capacity,
        used: quotientUp(full - start, rule.interval),
        held: 0,
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
    for (let j = 0; j < i; j++) if (this.#same(j, i)) cost += ask.costs[j]!;
    return cost;
  }

  /** The same, with the other keys that may have to share a state with this one. */
  #costTogether(ask: Ask, i: number): number {
    let cost = ask.costs[i]!;
    for (let j = 0; j < i; j++) if (this.#same(j, i) || this.#sharing(ask, j, i)) cost += ask.costs[j]!;
    return cost;
  }

  /** True when a later mention of the same rule and key stands for this one. */
  #repeated(ask: Ask, i: number): boolean {
    for (let j = i + 1; j < ask.size; j++) if (this.#same(i, j)) return true;
    return false;
  }

  #same(i: number, j: number): boolean {
    return this.#low[i] === this.#low[j] && this.#high[i] === this.#high[j];
  }

  /** Two keys of one rule for which the table may have no room: to be safe they are weighed as the one they may become. */
  #sharing(ask: Ask, i: number, j: number): boolean {
    return ask.rules[i] === ask.rules[j] && this.#place[i]! < 0 && this.#place[j]! < 0 && this.#slots.tight(ask.size);
  }
}

function fingerprint(rule: MemoryRule, ask: Ask, i: number): [number, number] {
  const low = ((mixLow(rule.low, ask.low[i]!) & ~TAG_MASK) | (rule.resolution - 1)) >>> 0;
  return [mixHigh(rule.high, ask.high[i]!) >>> 0 || 1, low];
}

function random32(): number {
  return Math.floor(Math.random() * 2 ** 32);
}
