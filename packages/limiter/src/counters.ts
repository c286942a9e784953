import { calendarWindow } from './calendar.ts';
import { convertDown, convertUp, quotientUp } from './interval.ts';
import { fingerprintHigh, fingerprintLow, MAX_TICKS, MAX_UNITS } from './reading.ts';
import { BUCKET, CALENDAR, type Family, FIXED, type MemoryRule, PER_CALL, SLIDING, TOTAL } from './rule.ts';
import { Writing } from './writing.ts';

/** Everything that can be done to what a key has used: charged, given back, corrected, carried over, forgotten. */
export class Counters extends Writing {
  maintain(): void {
    this.rates.maintain();
    this.wides.maintain();
  }

  /** The window that a charge of a key would go to. */
  windowOf(rule: MemoryRule, keyHigh: number, keyLow: number, wait: number): number {
    if (rule.kind === BUCKET) return 0;
    if (rule.kind === SLIDING) return rule.leavesAt(this.clock.now + wait);
    this.read(rule, keyHigh, keyLow);
    return this.source === rule && !this.sketched && this.end > 0 ? this.end : this.windowEnd(rule);
  }

  /** Units of a key that are in use. */
  usedOf(rule: MemoryRule, keyHigh: number, keyLow: number): number {
    this.read(rule, keyHigh, keyLow);
    this.measure(rule, keyHigh, keyLow, 0, rule.capacity);
    return this.used;
  }

  /** The key that was read is charged, whatever its limit; `at`: the moment that a sliding window notes. */
  charge(rule: MemoryRule, keyHigh: number, keyLow: number, units: number, at: number, settles: boolean): void {
    const source = this.source!;
    const high = fingerprintHigh(rule.high, keyHigh);
    const low = fingerprintLow(rule.low, keyLow, rule.seat);
    // What was found elsewhere moves here with the charge.
    const carried = source === rule ? 0 : this.#carry(source, rule, keyHigh, keyLow);
    if (rule.kind === BUCKET) {
      const start = this.clock.now * rule.resolution;
      const lead = source === rule ? (this.full === 0 ? 0 : this.full - start) : carried;
      const own = source === rule ? this.place : this.rates.find(high, low);
      this.setRate(rule, high, low, own, Math.min(start + lead + units * rule.interval, MAX_TICKS));
      if (source === rule && rule.family.ancestors.length > 0) this.#forgetAncestors(rule.family, keyHigh, keyLow);
      if (settles) this.addHeld(rule, keyHigh, keyLow, units);
      return;
    }
    if (rule.kind === PER_CALL) return;
    const before = source === rule && this.sketched ? this.used : carried;
    const own = source === rule ? this.place : this.wides.find(high, low);
    const open = source === rule && !this.sketched && this.end > 0;
    if (rule.kind === SLIDING) {
      this.addToLog(rule, high, low, own, open, before, units, rule.leavesAt(at));
      if (settles) this.addHeldLog(rule, keyHigh, keyLow, this.window, units);
      return;
    }
    const end = open ? this.end : this.windowEnd(rule);
    const used = Math.min((open ? this.used : before) + units, MAX_UNITS);
    const held = (open ? this.wides.column(own, 3) : 0) + (settles ? units : 0);
    this.setWindow(rule, high, low, own, end, used, held, units + carried);
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
    const now = rule.kind === CALENDAR ? this.clock.wall : this.clock.now;
    if (this.end === 0) {
      if (by <= 0 || window <= now) return;
      const high = fingerprintHigh(rule.high, keyHigh);
      this.setWindow(rule, high, fingerprintLow(rule.low, keyLow, rule.seat), this.place, window, by, 0, by);
    } else if (this.end === window || (by > 0 && window > this.end - rule.period)) {
      // A window that began in between covers what was estimated at nothing before.
      this.#amendWindow(rule, keyHigh, keyLow, by);
    }
  }

  #amendLog(rule: MemoryRule, keyHigh: number, keyLow: number, window: number, by: number): void {
    const { logs, place } = this;
    const high = fingerprintHigh(rule.high, keyHigh);
    const low = fingerprintLow(rule.low, keyLow, rule.seat);
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
    if (this.journal !== undefined) this.noteLog(high, low, place, false, window);
  }

  #amendWindow(rule: MemoryRule, keyHigh: number, keyLow: number, by: number): void {
    const used = Math.min(Math.max(0, this.used + by), MAX_UNITS);
    this.writeWindow(rule, keyHigh, keyLow, this.end, used, this.wides.column(this.place, 3));
    this.used = used;
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
    this.noteLog(high, fingerprintLow(rule.low, keyLow, rule.seat), this.place, true, 0);
  }

  /** Forgets what a key has used, wherever it is. The sketch stays: it is not this key's alone. */
  forget(rule: MemoryRule, keyHigh: number, keyLow: number): void {
    // Twice is enough unless rules replaced each other in between.
    for (let turn = 0; turn < 8; turn++) {
      this.read(rule, keyHigh, keyLow);
      if (this.place === -1 || (this.full === 0 && this.end === 0)) break;
      this.kill(this.source!, keyHigh, keyLow);
    }
    if (rule.family.ancestors.length > 0) this.#forgetAncestors(rule.family, keyHigh, keyLow);
    if (rule.settles) this.dropHeld(rule, keyHigh, keyLow);
  }

  /** Use of the window at hand as it is known from elsewhere; what open holds cover stays on top. */
  assume(rule: MemoryRule, keyHigh: number, keyLow: number, used: number): void {
    this.read(rule, keyHigh, keyLow);
    if (this.source !== rule) this.kill(this.source!, keyHigh, keyLow);
    const open = this.source === rule && this.end > 0 && !this.sketched;
    const held = open ? this.wides.column(this.place, 3) : 0;
    const high = fingerprintHigh(rule.high, keyHigh);
    const low = fingerprintLow(rule.low, keyLow, rule.seat);
    const place = this.source === rule ? this.place : this.wides.find(high, low);
    this.setWindow(rule, high, low, place, open ? this.end : this.windowEnd(rule), used + held, held, used);
  }

  /** Gives slots back; `chain`: the new head of the chain. */
  freeSlots(rule: MemoryRule, keyHigh: number, keyLow: number, units: number, sketched: boolean, chain: number): void {
    const high = fingerprintHigh(rule.high, keyHigh);
    const low = fingerprintLow(rule.low, keyLow, rule.seat);
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

  /** Takes the state that was read away from its rule: ticks of a bucket for another, units for the rest, rounded up. */
  #carry(source: MemoryRule, rule: MemoryRule, keyHigh: number, keyLow: number): number {
    let carried = this.used;
    if (source.kind === BUCKET) {
      const lead = this.full - this.clock.now * source.resolution;
      carried =
        rule.kind === BUCKET ? convertUp(lead, rule.interval, source.interval) : quotientUp(lead, source.interval);
    } else if (rule.kind === BUCKET) carried = this.used * rule.interval;
    this.kill(source, keyHigh, keyLow);
    return carried;
  }

  #forgetAncestors(family: Family, keyHigh: number, keyLow: number): void {
    for (const { family: before } of family.ancestors) {
      for (const rule of before.rules) {
        this.readOwn(rule, keyHigh, keyLow);
        if (this.full > 0 || this.end > 0) this.kill(rule, keyHigh, keyLow);
      }
      if (before.ancestors.length > 0) this.#forgetAncestors(before, keyHigh, keyLow);
    }
  }
}
