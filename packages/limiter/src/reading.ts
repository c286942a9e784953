import { calendarWindow } from './calendar.ts';
import { mixHigh, mixLow } from './hash.ts';
import { convertUp, quotientUp } from './interval.ts';
import { Logs } from './logs.ts';
import { BUCKET, CALENDAR, CONCURRENCY, type Family, FIXED, type MemoryRule, PER_CALL, SLIDING } from './rule.ts';
import type { Sketch } from './sketch.ts';
import { BLOCK_MASK, type Clock, LANE_MASK, TAG_HELD, TAG_LOG, TAG_MASK } from './slots.ts';
import { Table } from './table.ts';

/** Debt that a slot can hold: beyond it ticks are no longer whole. */
export const MAX_TICKS: number = Number.MAX_SAFE_INTEGER;
export const MAX_UNITS: number = Number.MAX_SAFE_INTEGER;

export function fingerprintHigh(lane: number, key: number): number {
  // 0 marks an empty slot.
  return mixHigh(lane, key) || 1;
}

/**
 * The block follows from the key alone, `lane` being the same for all rules; the place in it also from `seat`, the
 * rule's, turned by the key, so that a rule with many keys uses all places alike.
 */
export function fingerprintLow(lane: number, key: number, seat: number): number {
  const mixed = mixLow(lane, key);
  return (mixed & BLOCK_MASK) | ((mixed + seat) & LANE_MASK) | (seat & TAG_MASK);
}

/**
 * What single keys have used: how it is found and measured. Answers are left in the fields below, so that nothing is
 * allocated. The decision over many rules has its own short way for what it meets most.
 */
export class Reading {
  readonly clock: Clock = { now: 0, wall: 0 };
  readonly logs: Logs = new Logs();
  readonly rates: Table;
  readonly wides: Table;

  // What `read` found.
  /** Rule under which the state was found: the one asked for, a variant, or one that was replaced. */
  source: MemoryRule | undefined;
  place = -1;
  /** Token bucket: tick of the source at which the key is full again, not before now. */
  full = 0;
  /** Units in use; not set for token buckets. */
  used = 0;
  /** When the window ends, in the clock of the rule; 0: no window is open. */
  end = 0;
  /** Microsecond at which a replaced rule has everything back, whatever its successor says; 0: none. */
  expires = 0;
  /** True: counted in the sketch only. */
  sketched = false;

  // What `measure` made of it.
  held = 0;
  remaining = 0;
  retry = 0;
  reset = 0;

  constructor(maxKeys: number) {
    this.rates = new Table(2, maxKeys, this.clock);
    this.wides = new Table(4, maxKeys, this.clock, this.logs);
  }

  /** End of the calendar window at hand, in Unix microseconds. */
  calendarEnd(family: Family): number {
    const { wall } = this.clock;
    if (wall < family.start || wall >= family.end) {
      const window = calendarWindow(family.calendar!, family.timezone, Math.floor(wall / 1000));
      family.start = window.start * 1000;
      family.end = window.end * 1000;
    }
    return family.end;
  }

  /** When a window that opens now will end. */
  windowEnd(rule: MemoryRule): number {
    switch (rule.kind) {
      case FIXED:
        return this.clock.now + rule.period;
      case CALENDAR:
        return this.calendarEnd(rule.family);
      default:
        return Infinity;
    }
  }

  /** Finds what a key has used under a rule, or else where it comes from. */
  read(rule: MemoryRule, keyHigh: number, keyLow: number): void {
    this.readOwn(rule, keyHigh, keyLow);
    if (this.full === 0 && this.used === 0 && this.end === 0 && rule.unsure) this.#readElsewhere(rule, keyHigh, keyLow);
  }

  readOwn(rule: MemoryRule, keyHigh: number, keyLow: number): void {
    const high = fingerprintHigh(rule.high, keyHigh);
    const low = fingerprintLow(rule.low, keyLow, rule.seat);
    this.source = rule;
    this.sketched = false;
    this.expires = 0;
    this.full = 0;
    this.used = 0;
    this.end = 0;
    this.place = -1;
    if (rule.kind === BUCKET) {
      const place = this.rates.find(high, low);
      this.place = place;
      if (place === -1) return;
      const full = this.rates.value(place);
      if (full > this.clock.now * rule.resolution) this.full = full;
      return;
    }
    if (rule.kind === PER_CALL) return;
    const place = this.wides.find(high, low);
    this.place = place;
    if (place === -1) return;
    const end = this.wides.value(place);
    if (end <= (rule.kind === CALENDAR ? this.clock.wall : this.clock.now)) return;
    this.end = end;
    this.used = this.wides.column(place, 2);
    if (rule.kind === SLIDING) {
      this.logs.open(this.wides.column(place, 3));
      for (let i = 0; i < this.logs.count && this.logs.leaves(i) <= this.clock.now; i++) {
        this.used -= this.logs.amount(i);
      }
    }
  }

  /** Under a variant, under a replaced rule, in the sketch: whichever is most. */
  #readElsewhere(rule: MemoryRule, keyHigh: number, keyLow: number): void {
    const own = this.place;
    const start = this.clock.now * rule.resolution;
    if (rule.kind === BUCKET) {
      for (const other of rule.family.rules) {
        if (other.latest <= this.clock.now * other.resolution || this.#sameSlots(rule, other)) continue;
        this.readOwn(other, keyHigh, keyLow);
        if (this.full > 0) return;
      }
    }
    let full = 0;
    let expires = 0;
    for (const { family, since } of rule.family.ancestors) {
      // Slots are held by calls, not used up: they come back to the rule that they were taken from.
      if (rule.kind === CONCURRENCY || family.kind === CONCURRENCY) continue;
      for (const other of family.rules) {
        this.readOwn(other, keyHigh, keyLow);
        if (this.full === 0 && this.used === 0 && family.ancestors.length > 0 && other === family.rules[0]) {
          this.#readElsewhere(other, keyHigh, keyLow);
        }
        if (this.full === 0 && this.used === 0) continue;
        const source = this.source!;
        if (rule.kind !== BUCKET || source.kind !== BUCKET) return;
        // What was used when this rule began comes back at the rate of this rule.
        const ticks = this.full - since * source.resolution;
        if (ticks <= 0) continue;
        full = Math.max(full, since * rule.resolution + convertUp(ticks, rule.interval, source.interval));
        expires = Math.max(expires, quotientUp(this.full, source.resolution));
      }
    }
    this.source = rule;
    this.place = own;
    this.full = full > start ? Math.min(full, MAX_TICKS) : 0;
    this.expires = expires;
    this.used = 0;
    this.end = 0;
    const sketch = this.sketchOf(rule);
    if (sketch === undefined || this.full > 0) return;
    const high = fingerprintHigh(rule.high, keyHigh);
    const low = fingerprintLow(rule.low, keyLow, rule.seat);
    if (rule.kind === BUCKET) {
      const value = sketch.value(high, low);
      if (value > start) this.full = value;
      this.sketched = value > start;
    } else {
      this.turn(rule, sketch);
      this.used = sketch.used(high, low);
      this.end = this.used > 0 ? sketch.end : 0;
      this.sketched = this.used > 0;
    }
  }

  #sameSlots(a: MemoryRule, b: MemoryRule): boolean {
    return a.high === b.high && a.seat === b.seat;
  }

  sketchOf(rule: MemoryRule): Sketch | undefined {
    return rule.kind === BUCKET ? rule.sketch : rule.family.sketch;
  }

  turn(rule: MemoryRule, sketch: Sketch): void {
    if (rule.kind === CALENDAR) sketch.turn(this.clock.wall, 0, this.calendarEnd(rule.family));
    else if (rule.kind === FIXED || rule.kind === SLIDING) {
      sketch.turn(this.clock.now, rule.period, this.clock.now + rule.period);
    }
  }

  /** True: the key that was read has room for a cost. */
  fits(cost: number, limit: number): boolean {
    const source = this.source!;
    if (source.kind !== BUCKET) return this.used + cost <= limit;
    const lead = this.full === 0 ? 0 : this.full - this.clock.now * source.resolution;
    return lead + cost * source.interval <= limit * source.interval;
  }

  /** Where the key that was read stands, for a cost under a limit. */
  measure(rule: MemoryRule, keyHigh: number, keyLow: number, cost: number, limit: number): void {
    const { now, wall } = this.clock;
    const source = this.source!;
    this.held = 0;
    this.retry = 0;
    this.reset = 0;
    if (source.kind === BUCKET) {
      const start = now * source.resolution;
      const lead = this.full === 0 ? 0 : this.full - start;
      this.used = quotientUp(lead, source.interval);
      const missing = start + lead + (cost - limit) * source.interval;
      if (cost > 0 && missing > start) this.retry = quotientUp(missing, source.resolution) - now;
      this.reset = lead === 0 ? 0 : quotientUp(start + lead, source.resolution) - now;
    } else {
      const over = cost > 0 ? this.used + cost - limit : 0;
      switch (source.kind) {
        case SLIDING:
          if (this.sketched) this.#measureSketch(source, keyHigh, keyLow, cost, limit);
          else if (this.end > 0) this.#measureLog(over);
          break;
        case FIXED:
          if (this.sketched) this.#measureSketch(source, keyHigh, keyLow, cost, limit);
          else if (this.end > 0) this.reset = this.end - now;
          if (over > 0 && !this.sketched) this.retry = this.reset;
          break;
        case CALENDAR:
          this.reset = (this.end > 0 ? this.end : this.calendarEnd(source.family)) - wall;
          if (over > 0) this.retry = this.reset;
          break;
        case PER_CALL:
          break;
        default:
          this.reset = this.used > 0 ? Infinity : 0;
          if (over > 0) this.retry = Infinity;
      }
    }
    if (this.expires > 0 && source === rule) {
      this.retry = Math.min(this.retry, this.expires - now);
      this.reset = Math.min(this.reset, this.expires - now);
    }
    this.remaining = Math.max(0, limit - this.used);
    if (cost > limit) this.retry = Infinity;
    if (rule.settles) this.held = Math.min(this.used, this.heldOf(rule, keyHigh, keyLow));
  }

  #measureLog(over: number): void {
    const { now } = this.clock;
    const { logs } = this;
    let missing = over;
    for (let i = 0; i < logs.count; i++) {
      const leaves = logs.leaves(i);
      if (leaves <= now) continue;
      if (missing > 0) {
        missing -= logs.amount(i);
        if (missing <= 0) this.retry = leaves - now;
      }
      if (logs.amount(i) > 0) this.reset = leaves - now;
    }
  }

  #measureSketch(rule: MemoryRule, keyHigh: number, keyLow: number, cost: number, limit: number): void {
    const sketch = this.sketchOf(rule)!;
    const high = fingerprintHigh(rule.high, keyHigh);
    const low = fingerprintLow(rule.low, keyLow, rule.seat);
    this.reset = sketch.end + rule.period - this.clock.now;
    if (cost > 0 && this.used + cost > limit) {
      this.retry = sketch.fitsAt(high, low, cost, limit, rule.period) - this.clock.now;
    }
  }

  /** First hold entry of a key's slots + 1; 0: none. */
  chainOf(rule: MemoryRule, keyHigh: number, keyLow: number): number {
    const place = this.wides.find(fingerprintHigh(rule.high, keyHigh), fingerprintLow(rule.low, keyLow, rule.seat));
    return place === -1 || this.wides.value(place) === 0 ? 0 : this.wides.column(place, 3);
  }

  /** What open holds cover of a key. */
  heldOf(rule: MemoryRule, keyHigh: number, keyLow: number): number {
    if (rule.kind !== BUCKET && rule.kind !== SLIDING) {
      if (this.source !== rule || this.sketched || this.place === -1 || this.end === 0) return 0;
      return this.wides.column(this.place, 3);
    }
    const { family } = rule;
    const sliding = rule.kind === SLIDING;
    const low = fingerprintLow(family.low, keyLow, family.seat | (sliding ? TAG_LOG : TAG_HELD));
    const place = this.wides.find(fingerprintHigh(~family.high, keyHigh), low);
    if (sliding && place !== -1) {
      const { logs } = this;
      let held = 0;
      logs.open(this.wides.value(place) > this.clock.now ? this.wides.column(place, 3) : 0);
      for (let i = 0; i < logs.count; i++) if (logs.leaves(i) > this.clock.now) held += logs.amount(i);
      return held;
    }
    return place === -1 || this.wides.value(place) === 0 ? 0 : this.wides.column(place, 2);
  }
}
