import { calendarWindow } from './calendar.ts';
import { mixHigh, mixLow } from './hash.ts';
import { convertDown, convertUp, quotientUp } from './interval.ts';
import type { Journal } from './journal.ts';
import { Logs } from './logs.ts';
import {
  BUCKET,
  CALENDAR,
  CONCURRENCY,
  type Family,
  FIXED,
  type MemoryRule,
  PER_CALL,
  SLIDING,
  TOTAL,
} from './rule.ts';
import { Sketch } from './sketch.ts';
import { type Clock, TAG_CHAIN, TAG_HELD, TAG_LOG, TAG_MASK, TAG_WALL } from './slots.ts';
import { Table } from './table.ts';

/** Debt that a slot can hold: beyond it ticks are no longer whole. */
const MAX_TICKS = Number.MAX_SAFE_INTEGER;
const MAX_UNITS = Number.MAX_SAFE_INTEGER;

export function fingerprintHigh(lane: number, key: number): number {
  // 0 marks an empty slot.
  return mixHigh(lane, key) >>> 0 || 1;
}

export function fingerprintLow(lane: number, key: number, tag: number): number {
  return ((mixLow(lane, key) & ~TAG_MASK) | tag) >>> 0;
}

/**
 * What single keys have used, one method for each thing that can be done to one. Answers are left in the fields below,
 * so that nothing is allocated. The decision over many rules has its own short way for what it meets most.
 */
export class Counters {
  readonly clock: Clock = { now: 0, wall: 0 };
  readonly logs: Logs = new Logs();
  readonly rates: Table;
  readonly wides: Table;
  journal: Journal | undefined = undefined;
  /** Charges that found no room in a table. */
  overflows = 0;

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

  /** Window that the last charge went to: what a hold has to know to take it back. */
  window = 0;

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
    this.#readOwn(rule, keyHigh, keyLow);
    if (this.full === 0 && this.used === 0 && this.end === 0 && rule.unsure) this.#readElsewhere(rule, keyHigh, keyLow);
  }

  #readOwn(rule: MemoryRule, keyHigh: number, keyLow: number): void {
    const high = fingerprintHigh(rule.high, keyHigh);
    const low = fingerprintLow(rule.low, keyLow, rule.tag);
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
        this.#readOwn(other, keyHigh, keyLow);
        if (this.full > 0) return;
      }
    }
    let full = 0;
    let expires = 0;
    for (const { family, since } of rule.family.ancestors) {
      // Slots are held by calls, not used up: they come back to the rule that they were taken from.
      if (rule.kind === CONCURRENCY || family.kind === CONCURRENCY) continue;
      for (const other of family.rules) {
        this.#readOwn(other, keyHigh, keyLow);
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
    const low = fingerprintLow(rule.low, keyLow, rule.tag);
    if (rule.kind === BUCKET) {
      const value = sketch.value(high, low);
      if (value > start) this.full = value;
      this.sketched = value > start;
    } else {
      this.#turn(rule, sketch);
      this.used = sketch.used(high, low);
      this.end = this.used > 0 ? sketch.end : 0;
      this.sketched = this.used > 0;
    }
  }

  #sameSlots(a: MemoryRule, b: MemoryRule): boolean {
    return a.high === b.high && a.low === b.low && a.tag === b.tag;
  }

  sketchOf(rule: MemoryRule): Sketch | undefined {
    return rule.kind === BUCKET ? rule.sketch : rule.family.sketch;
  }

  #turn(rule: MemoryRule, sketch: Sketch): void {
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
    if (rule.settles) this.held = Math.min(this.used, this.#heldOf(rule, keyHigh, keyLow));
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
    const low = fingerprintLow(rule.low, keyLow, rule.tag);
    this.reset = sketch.end + rule.period - this.clock.now;
    if (cost > 0 && this.used + cost > limit) {
      this.retry = sketch.fitsAt(high, low, cost, limit, rule.period) - this.clock.now;
    }
  }

  /** The key that was read is charged, whatever its limit; `at`: the moment that a sliding window notes. */
  charge(rule: MemoryRule, keyHigh: number, keyLow: number, units: number, at: number, settles: boolean): void {
    const source = this.source!;
    const high = fingerprintHigh(rule.high, keyHigh);
    const low = fingerprintLow(rule.low, keyLow, rule.tag);
    // What was found elsewhere moves here with the charge.
    const carried = source === rule ? 0 : this.#carry(source, rule, keyHigh, keyLow);
    if (rule.kind === BUCKET) {
      const start = this.clock.now * rule.resolution;
      const lead = source === rule ? (this.full === 0 ? 0 : this.full - start) : carried;
      const own = source === rule ? this.place : this.rates.find(high, low);
      this.setRate(rule, high, low, own, Math.min(start + lead + units * rule.interval, MAX_TICKS));
      if (source === rule && rule.family.ancestors.length > 0) this.#forgetAncestors(rule.family, keyHigh, keyLow);
      if (settles) this.#addHeld(rule, keyHigh, keyLow, units);
      return;
    }
    if (rule.kind === PER_CALL) return;
    const before = source === rule && this.sketched ? this.used : carried;
    const own = source === rule ? this.place : this.wides.find(high, low);
    const open = source === rule && !this.sketched && this.end > 0;
    if (rule.kind === SLIDING) {
      this.addToLog(rule, high, low, own, open, before, units, rule.leavesAt(at));
      if (settles) this.#addHeldLog(rule, keyHigh, keyLow, this.window, units);
      return;
    }
    const end = open ? this.end : this.windowEnd(rule);
    const used = Math.min((open ? this.used : before) + units, MAX_UNITS);
    const held = (open ? this.wides.column(own, 3) : 0) + (settles ? units : 0);
    this.setWindow(rule, high, low, own, end, used, held, units + carried);
  }

  /** Writes a rate; without room it is counted in the sketch. */
  setRate(rule: MemoryRule, high: number, low: number, place: number, value: number): void {
    if (value > rule.latest) rule.latest = value;
    this.window = value;
    if (place !== -1) this.rates.set(place, value);
    else if (this.rates.add(high, low, value) < 0) {
      this.overflows++;
      this.#newSketch(rule).raise(high, low, value);
      this.window = Number.NaN;
      return;
    }
    this.journal?.rate(high, low, value);
  }

  /** Writes a window; without room its `units` are counted in the sketch. Returns the place, or -1. */
  setWindow(
    rule: MemoryRule,
    high: number,
    low: number,
    place: number,
    end: number,
    used: number,
    third: number,
    units: number,
  ): number {
    this.window = end;
    let at = place;
    if (at === -1) {
      at = this.wides.add(high, low, end);
      if (at < 0) {
        this.overflow(rule, high, low, units);
        return -1;
      }
    }
    this.wides.setWide(at, end, used, third);
    this.journal?.wide(high, low, end, used, rule.kind === CONCURRENCY ? 0 : third);
    return at;
  }

  /** Counts units of a window in the sketch. */
  overflow(rule: MemoryRule, high: number, low: number, units: number): void {
    this.overflows++;
    const sketch = this.#newSketch(rule);
    this.#turn(rule, sketch);
    sketch.add(high, low, units, rule.kind === CONCURRENCY);
    this.window = Number.NaN;
  }

  /** Adds to a sliding window; `before`: units that come with the key from elsewhere. */
  addToLog(
    rule: MemoryRule,
    high: number,
    low: number,
    place: number,
    open: boolean,
    before: number,
    units: number,
    leaves: number,
  ): void {
    const { logs, clock } = this;
    this.window = leaves;
    let slot = place;
    if (slot === -1) {
      slot = this.wides.add(high, low, leaves);
      if (slot < 0) {
        this.overflow(rule, high, low, this.sketched ? units : units + before);
        return;
      }
    }
    logs.open(this.wides.column(slot, 3));
    let used = 0;
    if (open) used = this.wides.column(slot, 2) - logs.drop(clock.now);
    else logs.drop(Infinity);
    const merges = logs.merges;
    if (before > 0) logs.add(rule.leavesAt(clock.now), before);
    if (units > 0) logs.add(leaves, units);
    used = Math.min(used + before + units, MAX_UNITS);
    this.wides.setWide(slot, logs.last(), used, logs.pointer());
    if (this.journal !== undefined) this.#noteLog(high, low, slot, !open || merges !== logs.merges, leaves);
  }

  /** A log is written entry by entry; as a whole where entries are gone before their time. */
  #noteLog(high: number, low: number, slot: number, whole: boolean, leaves: number): void {
    const { logs } = this;
    const journal = this.journal!;
    journal.wide(high, low, this.wides.value(slot), this.wides.column(slot, 2), 0);
    if (whole) journal.entry(high, low, -Infinity, 0);
    for (let i = 0; i < logs.count; i++) {
      if (whole || logs.leaves(i) === leaves) journal.entry(high, low, logs.leaves(i), logs.amount(i));
    }
  }

  /** A hold of a window ends: what it covered is `by` more or less, and covered no more. */
  close(rule: MemoryRule, keyHigh: number, keyLow: number, by: number, held: number, window: number): void {
    this.#readOwn(rule, keyHigh, keyLow);
    if (this.place === -1 || this.end === 0 || this.end !== window) return;
    const used = Math.min(Math.max(0, this.used + by), MAX_UNITS);
    const left = Math.max(0, this.wides.column(this.place, 3) - held);
    this.#writeWindow(rule, keyHigh, keyLow, window, used, left);
  }

  /** Makes a charge of a hold larger or smaller, in the window it was made in; where that is gone, nothing is left to correct. */
  amend(rule: MemoryRule, keyHigh: number, keyLow: number, by: number, window: number, sketched: boolean): void {
    if (by === 0) return;
    this.read(rule, keyHigh, keyLow);
    if (sketched) {
      // A sketch may count too much, never too little.
      if (by > 0) this.charge(rule, keyHigh, keyLow, by, this.clock.now, false);
      return;
    }
    const source = this.source!;
    if (rule.kind === BUCKET) {
      if (by > 0) this.charge(source.kind === BUCKET ? source : rule, keyHigh, keyLow, by, this.clock.now, false);
      else this.giveBackRate(rule, -by, Math.max(0, window - this.clock.now * rule.resolution));
      return;
    }
    if (rule.kind === SLIDING) {
      if (window > this.clock.now) this.#amendLog(rule, keyHigh, keyLow, window, by);
      return;
    }
    if (source !== rule || this.sketched) return;
    if (this.end > 0 && this.end === window) this.#amendWindow(rule, keyHigh, keyLow, by);
  }

  #amendLog(rule: MemoryRule, keyHigh: number, keyLow: number, window: number, by: number): void {
    const { logs, place } = this;
    const high = fingerprintHigh(rule.high, keyHigh);
    const low = fingerprintLow(rule.low, keyLow, rule.tag);
    const open = this.source === rule && !this.sketched && this.end > 0;
    if (by > 0) {
      if (this.source === rule && !this.sketched) this.addToLog(rule, high, low, place, open, 0, by, window);
      return;
    }
    const at = open ? logs.indexOf(window) : -1;
    if (at < 0) return;
    const back = Math.min(-by, logs.amount(at));
    logs.setAmount(at, logs.amount(at) - back);
    this.wides.setWide(place, logs.last(), this.wides.column(place, 2) - back, logs.pointer());
    if (this.journal !== undefined) this.#noteLog(high, low, place, false, window);
  }

  #amendWindow(rule: MemoryRule, keyHigh: number, keyLow: number, by: number): void {
    const used = Math.min(Math.max(0, this.used + by), MAX_UNITS);
    this.#writeWindow(rule, keyHigh, keyLow, this.end, used, this.wides.column(this.place, 3));
    this.used = used;
  }

  /** Writes the window that was read. */
  #writeWindow(rule: MemoryRule, keyHigh: number, keyLow: number, end: number, used: number, third: number): void {
    this.wides.setWide(this.place, end, used, third);
    if (this.journal === undefined) return;
    const high = fingerprintHigh(rule.high, keyHigh);
    const low = fingerprintLow(rule.low, keyLow, rule.tag);
    this.journal.wide(high, low, end, used, rule.kind === CONCURRENCY || rule.kind === SLIDING ? 0 : third);
  }

  /** Gives units of the bucket that was read back, at most so many ticks of the rule that they were charged under. */
  giveBackRate(rule: MemoryRule, units: number, most: number): void {
    const source = this.source!;
    if (this.full === 0 || this.place === -1) return;
    const ticks = Math.min(units * rule.interval, most);
    const back = source === rule ? ticks : convertDown(ticks, source.interval, rule.interval);
    const full = Math.max(this.full - back, 0);
    this.rates.set(this.place, full);
    this.journal?.rate(this.rates.high(this.place), this.rates.low(this.place), full);
  }

  /** Gives units back at most until full; of a charge made at `at`, undefined: at any time. */
  giveBack(rule: MemoryRule, keyHigh: number, keyLow: number, units: number, at: number | undefined): void {
    this.read(rule, keyHigh, keyLow);
    const { now, wall } = this.clock;
    const source = this.source!;
    if (source.kind === BUCKET) {
      const most = at === undefined ? Infinity : units * rule.interval - Math.max(0, now - at) * rule.resolution;
      this.giveBackRate(rule, units, Math.max(0, most));
      return;
    }
    if (this.place === -1 || this.end === 0 || this.sketched) return;
    switch (source.kind) {
      case SLIDING:
        if (at !== undefined && at + source.period <= now) return;
        this.#giveBackLog(source, keyHigh, keyLow, units, at);
        return;
      case FIXED:
        if (at !== undefined && at < this.end - source.period) return;
        break;
      case CALENDAR:
        if (at !== undefined && at - now + wall < this.#calendarStart(source.family)) return;
        break;
      case TOTAL:
        break;
      default:
        return;
    }
    this.#amendWindow(source, keyHigh, keyLow, -units);
  }

  /** Begin of the window that was read. */
  #calendarStart(family: Family): number {
    if (this.end === family.end) return family.start;
    return calendarWindow(family.calendar!, family.timezone, this.end / 1000 - 1).start * 1000;
  }

  /** Charges of that moment first, then what leaves first: so the rest counts for as long as it can. */
  #giveBackLog(rule: MemoryRule, keyHigh: number, keyLow: number, units: number, at: number | undefined): void {
    const { logs } = this;
    let left = units;
    const take = (i: number) => {
      const part = Math.min(left, logs.amount(i));
      left -= part;
      logs.setAmount(i, logs.amount(i) - part);
    };
    const same = at === undefined ? -1 : logs.indexOf(rule.leavesAt(at));
    if (same >= 0) take(same);
    for (let i = 0; i < logs.count; i++) if (logs.leaves(i) > this.clock.now) take(i);
    this.wides.setWide(this.place, logs.last(), this.wides.column(this.place, 2) - (units - left), logs.pointer());
    if (this.journal === undefined) return;
    const high = fingerprintHigh(rule.high, keyHigh);
    this.#noteLog(high, fingerprintLow(rule.low, keyLow, rule.tag), this.place, true, 0);
  }

  /** Forgets what a key has used, wherever it is. The sketch stays: it is not this key's alone. */
  forget(rule: MemoryRule, keyHigh: number, keyLow: number): void {
    // Twice is enough unless rules replaced each other in between.
    for (let turn = 0; turn < 8; turn++) {
      this.read(rule, keyHigh, keyLow);
      if (this.place === -1 || (this.full === 0 && this.end === 0)) break;
      this.#kill(this.source!, keyHigh, keyLow);
    }
    if (rule.family.ancestors.length > 0) this.#forgetAncestors(rule.family, keyHigh, keyLow);
    if (rule.settles) this.#dropHeld(rule, keyHigh, keyLow);
  }

  /** Use of the window at hand as it is known from elsewhere; what open holds cover stays on top. */
  assume(rule: MemoryRule, keyHigh: number, keyLow: number, used: number): void {
    this.read(rule, keyHigh, keyLow);
    if (this.source !== rule) this.#kill(this.source!, keyHigh, keyLow);
    const open = this.source === rule && this.end > 0 && !this.sketched;
    const held = open ? this.wides.column(this.place, 3) : 0;
    const high = fingerprintHigh(rule.high, keyHigh);
    const low = fingerprintLow(rule.low, keyLow, rule.tag);
    const place = this.source === rule ? this.place : this.wides.find(high, low);
    this.setWindow(rule, high, low, place, open ? this.end : this.windowEnd(rule), used + held, held, used);
  }

  // For a store.

  /** Writes a wide slot as a change. */
  note(place: number): void {
    const { wides } = this;
    const high = wides.high(place);
    const low = wides.low(place);
    const tag = low & TAG_MASK;
    if (tag === TAG_LOG) {
      this.logs.open(wides.column(place, 3));
      this.#noteLog(high, low, place, true, 0);
      return;
    }
    const third = tag === TAG_CHAIN ? 0 : wides.column(place, 3);
    this.journal?.wide(high, low, wides.value(place), wides.column(place, 2), third);
  }

  putRate(high: number, low: number, value: number): void {
    const place = this.rates.find(high, low);
    if (place !== -1) this.rates.set(place, value);
    else if (value > 0) this.#put(this.rates, high, low, value);
  }

  /** A log keeps its own sum. */
  putWide(high: number, low: number, end: number, second: number, third: number): void {
    const log = (low & TAG_MASK) === TAG_LOG;
    let place = this.wides.find(high, low);
    if (place === -1) {
      if (end <= ((low & TAG_MASK) === TAG_WALL ? this.clock.wall : this.clock.now)) return;
      place = this.#put(this.wides, high, low, end);
      this.wides.setWide(place, end, log ? 0 : second, third);
    } else if (!log) this.wides.setWide(place, end, second, third);
    else this.wides.setWide(place, end, end === 0 ? 0 : this.wides.column(place, 2), this.wides.column(place, 3));
  }

  putEntry(high: number, low: number, leaves: number, amount: number): void {
    const place = this.wides.find(high, low);
    if (place === -1) return;
    const { logs } = this;
    logs.open(this.wides.column(place, 3));
    if (leaves === -Infinity) logs.drop(Infinity);
    else {
      const at = logs.indexOf(leaves);
      if (at >= 0) logs.setAmount(at, amount);
      else logs.add(leaves, amount);
    }
    let used = 0;
    for (let i = 0; i < logs.count; i++) used += logs.amount(i);
    this.wides.setWide(place, this.wides.value(place), used, logs.pointer());
  }

  /** Puts a hold entry in front of the chain of a key; returns the head before. */
  link(rule: MemoryRule, keyHigh: number, keyLow: number, head: number): number {
    const high = fingerprintHigh(rule.high, keyHigh);
    const place = this.wides.find(high, fingerprintLow(rule.low, keyLow, rule.tag));
    if (place === -1) return 0;
    const before = this.wides.column(place, 3);
    this.wides.setWide(place, this.wides.value(place), this.wides.column(place, 2), head);
    return before;
  }

  #put(table: Table, high: number, low: number, value: number): number {
    table.makeRoom(1);
    if (table.add(high, low, value) < 0) throw new Error('the state has more keys than maxKeys allows');
    table.maintain();
    return table.find(high, low);
  }

  // Slots of a concurrency rule. The chain of holds in the third column is the business of whoever holds them.

  /** Gives slots back; `chain`: the new head of the chain. */
  freeSlots(rule: MemoryRule, keyHigh: number, keyLow: number, units: number, sketched: boolean, chain: number): void {
    const high = fingerprintHigh(rule.high, keyHigh);
    const low = fingerprintLow(rule.low, keyLow, rule.tag);
    if (sketched) {
      this.sketchOf(rule)?.add(high, low, -units, true);
      return;
    }
    const place = this.wides.find(high, low);
    if (place === -1) return;
    const used = Math.max(0, this.wides.column(place, 2) - units);
    const end = used > 0 ? Infinity : 0;
    this.wides.setWide(place, end, used, used > 0 ? chain : 0);
    this.journal?.wide(high, low, end, used, 0);
  }

  /** First hold entry of a key's slots + 1; 0: none. */
  chainOf(rule: MemoryRule, keyHigh: number, keyLow: number): number {
    const place = this.wides.find(fingerprintHigh(rule.high, keyHigh), fingerprintLow(rule.low, keyLow, rule.tag));
    return place === -1 || this.wides.value(place) === 0 ? 0 : this.wides.column(place, 3);
  }

  /** Notes what a hold covers of a rate. */
  hold(rule: MemoryRule, keyHigh: number, keyLow: number, units: number): void {
    this.#addHeld(rule, keyHigh, keyLow, units);
  }

  /** What open holds cover of a key. */
  #heldOf(rule: MemoryRule, keyHigh: number, keyLow: number): number {
    if (rule.kind !== BUCKET && rule.kind !== SLIDING) {
      if (this.source !== rule || this.sketched || this.place === -1 || this.end === 0) return 0;
      return this.wides.column(this.place, 3);
    }
    const { family } = rule;
    const sliding = rule.kind === SLIDING;
    const low = fingerprintLow(~family.low, keyLow, sliding ? TAG_LOG : TAG_HELD);
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

  /** The part of a key that holds cover grows by a charge of a rate, or shrinks where a hold ends. */
  unhold(rule: MemoryRule, keyHigh: number, keyLow: number, units: number, window: number): void {
    if (rule.kind === BUCKET) return this.#addHeld(rule, keyHigh, keyLow, -units);
    if (rule.kind === SLIDING) return this.#addHeldLog(rule, keyHigh, keyLow, window, -units);
    this.close(rule, keyHigh, keyLow, 0, units, window);
  }

  #addHeld(rule: MemoryRule, keyHigh: number, keyLow: number, units: number): void {
    const { family } = rule;
    const high = fingerprintHigh(~family.high, keyHigh);
    const low = fingerprintLow(~family.low, keyLow, TAG_HELD);
    let place = this.wides.find(high, low);
    const before = place === -1 || this.wides.value(place) === 0 ? 0 : this.wides.column(place, 2);
    const held = Math.max(0, before + units);
    const end = held > 0 ? Infinity : 0;
    if (place === -1) {
      if (held === 0) return;
      place = this.wides.add(high, low, end);
      // Only what is shown suffers: the rate itself is charged.
      if (place < 0) return;
    }
    this.wides.setWide(place, end, held, 0);
    this.journal?.wide(high, low, end, held, 0);
  }

  /** The same of a sliding window, where it ends with the charge: a log beside the log. */
  #addHeldLog(rule: MemoryRule, keyHigh: number, keyLow: number, leaves: number, units: number): void {
    const { logs, wides } = this;
    const { family } = rule;
    const high = fingerprintHigh(~family.high, keyHigh);
    const low = fingerprintLow(~family.low, keyLow, TAG_LOG);
    let place = wides.find(high, low);
    if (place === -1) {
      if (units < 0) return;
      place = wides.add(high, low, leaves);
      if (place < 0) return;
    }
    logs.open(wides.column(place, 3));
    // Dead: whatever the log still says was forgotten.
    logs.drop(wides.value(place) > this.clock.now ? this.clock.now : Infinity);
    const { merges } = logs;
    const at = logs.indexOf(leaves);
    if (units > 0) logs.add(leaves, units);
    else if (at >= 0) logs.setAmount(at, Math.max(0, logs.amount(at) + units));
    wides.setWide(place, logs.last(), 0, logs.pointer());
    if (this.journal !== undefined) this.#noteLog(high, low, place, merges !== logs.merges, leaves);
  }

  #dropHeld(rule: MemoryRule, keyHigh: number, keyLow: number): void {
    if (rule.kind === BUCKET) this.#addHeld(rule, keyHigh, keyLow, -MAX_UNITS);
    if (rule.kind !== SLIDING) return;
    const high = fingerprintHigh(~rule.family.high, keyHigh);
    const low = fingerprintLow(~rule.family.low, keyLow, TAG_LOG);
    const place = this.wides.find(high, low);
    if (place === -1) return;
    this.wides.setWide(place, 0, 0, this.wides.column(place, 3));
    this.journal?.wide(high, low, 0, 0, 0);
  }

  /** Takes the state that was read away from its rule: ticks of a bucket for another, units for the rest, rounded up. */
  #carry(source: MemoryRule, rule: MemoryRule, keyHigh: number, keyLow: number): number {
    let carried = this.used;
    if (source.kind === BUCKET) {
      const lead = this.full - this.clock.now * source.resolution;
      carried =
        rule.kind === BUCKET ? convertUp(lead, rule.interval, source.interval) : quotientUp(lead, source.interval);
    } else if (rule.kind === BUCKET) carried = this.used * rule.interval;
    this.#kill(source, keyHigh, keyLow);
    return carried;
  }

  #forgetAncestors(family: Family, keyHigh: number, keyLow: number): void {
    for (const { family: before } of family.ancestors) {
      for (const rule of before.rules) {
        this.#readOwn(rule, keyHigh, keyLow);
        if (this.full > 0 || this.end > 0) this.#kill(rule, keyHigh, keyLow);
      }
      if (before.ancestors.length > 0) this.#forgetAncestors(before, keyHigh, keyLow);
    }
  }

  /** Makes the slot dead that was read. */
  #kill(rule: MemoryRule, keyHigh: number, keyLow: number): void {
    if (this.place === -1) return;
    const high = fingerprintHigh(rule.high, keyHigh);
    const low = fingerprintLow(rule.low, keyLow, rule.tag);
    if (rule.kind === BUCKET) {
      this.rates.set(this.place, 0);
      this.journal?.rate(high, low, 0);
      return;
    }
    this.wides.setWide(this.place, 0, 0, rule.kind === SLIDING ? this.wides.column(this.place, 3) : 0);
    this.journal?.wide(high, low, 0, 0, 0);
  }

  #newSketch(rule: MemoryRule): Sketch {
    const known = this.sketchOf(rule);
    if (known !== undefined) return known;
    const sketch = new Sketch();
    if (rule.kind === BUCKET) {
      rule.sketch = sketch;
      rule.unsure = true;
    } else {
      rule.family.sketch = sketch;
      for (const other of rule.family.rules) other.unsure = true;
    }
    return sketch;
  }
}
