import type { Journal } from './journal.ts';
import { fingerprintHigh, fingerprintLow, MAX_UNITS, Reading } from './reading.ts';
import { BUCKET, CALENDAR, CONCURRENCY, type MemoryRule, SLIDING } from './rule.ts';
import { Sketch } from './sketch.ts';
import { TAG_HELD, TAG_LOG } from './slots.ts';

/** How what a key has used is written, by kind of slot; each change also goes to the journal. */
export class Writing extends Reading {
  journal: Journal | undefined = undefined;
  /** Charges that found no room in a table. */
  overflows = 0;
  /** Window that the last charge went to: what a hold has to know to take it back. NaN: it is in the sketch. */
  window = 0;

  /** Writes a rate; without room it is counted in the sketch. */
  setRate(rule: MemoryRule, high: number, low: number, place: number, value: number): void {
    if (value > rule.latest) rule.latest = value;
    this.window = value;
    if (place !== -1) this.rates.set(place, value);
    else if (this.rates.add(high, low, value) < 0) {
      this.overflows++;
      this.newSketch(rule).raise(high, low, value);
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
    const sketch = this.newSketch(rule);
    this.turn(rule, sketch);
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
    if (this.journal !== undefined) this.noteLog(high, low, slot, !open || merges !== logs.merges, leaves);
  }

  /** A log is written entry by entry; as a whole where entries are gone before their time. */
  noteLog(high: number, low: number, slot: number, whole: boolean, leaves: number): void {
    const { logs } = this;
    const journal = this.journal!;
    journal.wide(high, low, this.wides.value(slot), this.wides.column(slot, 2), 0);
    if (whole) journal.entry(high, low, -Infinity, 0);
    for (let i = 0; i < logs.count; i++) {
      if (whole || logs.leaves(i) === leaves) journal.entry(high, low, logs.leaves(i), logs.amount(i));
    }
  }

  /** Writes the window that was read. */
  writeWindow(rule: MemoryRule, keyHigh: number, keyLow: number, end: number, used: number, third: number): void {
    this.wides.setWide(this.place, end, used, third);
    if (this.journal === undefined) return;
    const high = fingerprintHigh(rule.high, keyHigh);
    const low = fingerprintLow(rule.low, keyLow, rule.seat);
    this.journal.wide(high, low, end, used, rule.kind === CONCURRENCY || rule.kind === SLIDING ? 0 : third);
  }

  /** A hold of a window ends: what it covered is `by` more or less, and covered no more. */
  close(rule: MemoryRule, keyHigh: number, keyLow: number, by: number, held: number, window: number): void {
    const { wides, clock } = this;
    const high = fingerprintHigh(rule.high, keyHigh);
    const low = fingerprintLow(rule.low, keyLow, rule.seat);
    const place = wides.find(high, low);
    // Another window, or one that is over: nothing is left to correct.
    if (place === -1) return;
    const page = wides.page(place);
    const base = wides.base(place);
    if (page[base + 1] !== window) return;
    if (window <= (rule.kind === CALENDAR ? clock.wall : clock.now)) return;
    const used = Math.min(Math.max(0, page[base + 2]! + by), MAX_UNITS);
    const left = Math.max(0, page[base + 3]! - held);
    page[base + 2] = used;
    page[base + 3] = left;
    this.journal?.wide(high, low, window, used, left);
  }

  /** Notes what a hold covers of a rate. */
  hold(rule: MemoryRule, keyHigh: number, keyLow: number, units: number): void {
    this.addHeld(rule, keyHigh, keyLow, units);
  }

  /** The part of a key that holds cover grows by a charge of a rate, or shrinks where a hold ends. */
  unhold(rule: MemoryRule, keyHigh: number, keyLow: number, units: number, window: number): void {
    if (rule.kind === BUCKET) this.addHeld(rule, keyHigh, keyLow, -units);
    else if (rule.kind === SLIDING) this.addHeldLog(rule, keyHigh, keyLow, window, -units);
    else this.close(rule, keyHigh, keyLow, 0, units, window);
  }

  addHeld(rule: MemoryRule, keyHigh: number, keyLow: number, units: number): void {
    const { family } = rule;
    const high = fingerprintHigh(~family.high, keyHigh);
    const low = fingerprintLow(family.low, keyLow, family.seat | TAG_HELD);
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
  addHeldLog(rule: MemoryRule, keyHigh: number, keyLow: number, leaves: number, units: number): void {
    const { logs, wides } = this;
    const { family } = rule;
    const high = fingerprintHigh(~family.high, keyHigh);
    const low = fingerprintLow(family.low, keyLow, family.seat | TAG_LOG);
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
    if (this.journal !== undefined) this.noteLog(high, low, place, merges !== logs.merges, leaves);
  }

  dropHeld(rule: MemoryRule, keyHigh: number, keyLow: number): void {
    if (rule.kind === BUCKET) this.addHeld(rule, keyHigh, keyLow, -MAX_UNITS);
    if (rule.kind !== SLIDING) return;
    const high = fingerprintHigh(~rule.family.high, keyHigh);
    const low = fingerprintLow(rule.family.low, keyLow, rule.family.seat | TAG_LOG);
    const place = this.wides.find(high, low);
    if (place === -1) return;
    this.wides.setWide(place, 0, 0, this.wides.column(place, 3));
    this.journal?.wide(high, low, 0, 0, 0);
  }

  /** Makes the slot dead that was read. */
  kill(rule: MemoryRule, keyHigh: number, keyLow: number): void {
    if (this.place === -1) return;
    const high = fingerprintHigh(rule.high, keyHigh);
    const low = fingerprintLow(rule.low, keyLow, rule.seat);
    if (rule.kind === BUCKET) {
      this.rates.set(this.place, 0);
      this.journal?.rate(high, low, 0);
      return;
    }
    this.wides.setWide(this.place, 0, 0, rule.kind === SLIDING ? this.wides.column(this.place, 3) : 0);
    this.journal?.wide(high, low, 0, 0, 0);
  }

  newSketch(rule: MemoryRule): Sketch {
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
