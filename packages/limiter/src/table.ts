import type { Logs } from './logs.ts';
import { type Clock, Slots, type Width } from './slots.ts';

/** Room for every rule of one decision between the soft and the hard load. */
const FIRST_SIZE = 2048;
/** Slots of the old table carried over per key written to the new one: ends well before the new one fills. */
const MIGRATION_STEP = 8;
/** When a full table is looked at again for dead slots to win back: after so many new keys, or microseconds. */
const RECHECK_KEYS = 1024;
const RECHECK_TIME = 1_000_000;

/** Told of slots that change their place, so that a reader going over the table misses none. */
export interface Mover {
  moved(table: Table, at: number): void;
}

/**
 * A table of slots that grows, shrinks and is cleaned a few slots at a time, so that no single call pays for it.
 * A place is that of a slot: from 0 in the current table, from -2 down in the old one that is being carried over
 * (-2 - at); -1 is none. Places hold until `maintain`.
 */
export class Table {
  readonly width: Width;
  readonly #maxSize: number;
  readonly #clock: Clock;
  readonly #logs: Logs | undefined;
  #slots: Slots;
  /** The next table while its memory is allocated, a segment per call; not in use yet. */
  #coming: Slots | undefined;
  /** The table being carried over into `#slots`, and how far that is. */
  #old: Slots | undefined;
  #cursor = 0;
  #recheckKeys = 0;
  #recheckTime = 0;
  /** Keys added since the last `maintain`. */
  #added = 0;
  mover: Mover | undefined = undefined;

  constructor(width: Width, maxKeys: number, clock: Clock, logs?: Logs) {
    this.width = width;
    let size = FIRST_SIZE;
    while (size * 0.75 < maxKeys) size *= 2;
    this.#maxSize = size;
    this.#clock = clock;
    this.#logs = logs;
    this.#slots = new Slots(FIRST_SIZE, width, logs);
    this.#slots.allocate();
  }

  find(high: number, low: number): number {
    const at = this.#slots.find(high, low);
    if (at >= 0 || this.#old === undefined) return at;
    const before = this.#old.find(high, low);
    // Behind the cursor everything has been moved or is dead.
    return before < this.#cursor ? -1 : -2 - before;
  }

  /** True: this is where a key is that was there before, or that came since. */
  has(place: number, high: number, low: number): boolean {
    const slots = this.#slots;
    return place >= 0 && place < slots.size && slots.low(place) === low && slots.high(place) === high;
  }

  high(place: number): number {
    return place >= 0 ? this.#slots.high(place) : this.#old!.high(-2 - place);
  }

  low(place: number): number {
    return place >= 0 ? this.#slots.low(place) : this.#old!.low(-2 - place);
  }

  /** Column 1 of a place that is not -1. */
  value(place: number): number {
    return place >= 0 ? this.#slots.value(place) : this.#old!.value(-2 - place);
  }

  column(place: number, column: number): number {
    return place >= 0 ? this.#slots.column(place, column) : this.#old!.column(-2 - place, column);
  }

  set(place: number, value: number): void {
    if (place >= 0) this.#slots.set(place, value);
    else this.#old!.set(-2 - place, value);
  }

  setWide(place: number, end: number, second: number, third: number): void {
    if (place >= 0) this.#slots.setWide(place, end, second, third);
    else this.#old!.setWide(-2 - place, end, second, third);
  }

  /** The doubles that a place is among, and where it begins there: for several columns at once. */
  page(place: number): Float64Array {
    return place >= 0 ? this.#slots.page(place) : this.#old!.page(-2 - place);
  }

  base(place: number): number {
    return place >= 0 ? this.#slots.base(place) : this.#old!.base(-2 - place);
  }

  /** Room for so many keys more, if any can be made: after a flood that has passed, nobody need share a state. */
  makeRoom(keys: number): void {
    if (this.#old === undefined && this.#slots.tight(keys)) this.maintain();
  }

  /** Adds a key that is not there, with its end; its place, or -1: there is no room. The other columns are 0. */
  add(high: number, low: number, value: number): number {
    const at = this.#slots.insert(high, low, value, this.#clock);
    if (at >= 0) this.#added++;
    return at;
  }

  maintain(): void {
    const written = this.#added;
    this.#added = 0;
    const old = this.#old;
    if (old !== undefined) {
      // Also without new keys: two tables are slower than one.
      const end = Math.min(this.#cursor + Math.max(1, written) * MIGRATION_STEP, old.size);
      for (; this.#cursor < end; this.#cursor++) {
        const found = this.mover !== undefined && old.live(this.#cursor, this.#clock);
        const [high, low] = found ? [old.high(this.#cursor), old.low(this.#cursor)] : [0, 0];
        if (!old.move(this.#cursor, this.#slots, this.#clock)) return;
        if (found) this.mover!.moved(this, this.#slots.find(high, low));
      }
      if (this.#cursor === old.size) this.#old = undefined;
      return;
    }
    if (this.#coming === undefined && !this.#plan(written)) return;
    try {
      if (!this.#coming!.allocate()) return;
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      // No memory for a larger table now: this one goes on, at the worst as a full one.
      this.#coming = undefined;
      this.#postpone();
      return;
    }
    this.#old = this.#slots;
    this.#cursor = 0;
    this.#slots = this.#coming!;
    this.#coming = undefined;
  }

  /** True: a table is being carried over, and `maintain` is to be called. */
  get moving(): boolean {
    return this.#old !== undefined;
  }

  get slots(): number {
    return this.#slots.size + (this.#old?.size ?? 0) + (this.#coming?.size ?? 0);
  }

  get keys(): number {
    return this.#slots.estimateLive(this.#clock) + (this.#old?.estimateLive(this.#clock) ?? 0);
  }

  /** The tables as they are now, for a reader that goes over them. */
  parts(): Slots[] {
    return this.#old === undefined ? [this.#slots] : [this.#old, this.#slots];
  }

  /** Chooses the next table when the current one is getting full. False: none is needed or it would not help. */
  #plan(written: number): boolean {
    if (!this.#slots.crowded) return false;
    if (this.#recheckKeys > 0 && this.#clock.now < this.#recheckTime) {
      this.#recheckKeys -= written;
      return false;
    }
    const { size } = this.#slots;
    const live = this.#slots.estimateLive(this.#clock);
    let target = size;
    if (live > size * 0.375) target = Math.min(size * 2, this.#maxSize);
    else if (live < size * 0.1) target = Math.max(size / 2, FIRST_SIZE);
    if (target === size && live > size * 0.6) {
      this.#postpone();
      return false;
    }
    this.#coming = new Slots(target, this.width, this.#logs);
    return true;
  }

  #postpone(): void {
    this.#recheckKeys = RECHECK_KEYS;
    this.#recheckTime = this.#clock.now + RECHECK_TIME;
  }
}
