import type { Logs } from './logs.ts';

/** Linear probing stays short below this share of used slots; above it the table is rebuilt. */
const SOFT_LOAD = 0.75;
/** No slot is taken above this share, so that every probe meets an empty slot soon. */
const HARD_LOAD = 0.875;
/** Slots allocated in one go: 1 or 2 MB, so that zeroing it is no pause. */
const SEGMENT_BITS = 16;
const SEGMENT_SIZE = 2 ** SEGMENT_BITS;
const SEGMENT_MASK = SEGMENT_SIZE - 1;
/** Slots that lie side by side for what is asked for together: a key under several rules, ids that follow each other. */
const BLOCK = 8;
/** What the last three bits of a position are before the tag of a fingerprint is cut off. */
export const LANE_SHIFT = 5;
export const BLOCK_MASK: number = ~(BLOCK * 2 ** LANE_SHIFT - 1);
export const LANE_MASK: number = (BLOCK - 1) << LANE_SHIFT;
/** The low bits of a fingerprint say how the slot is read: in a narrow one, ticks per microsecond - 1. */
export const TAG_MASK = 31;
/** Tags of wide slots. */
export const TAG_TIME = 0;
/** The end is in Unix microseconds, not engine time. */
export const TAG_WALL = 1;
/** The last column leads to a log, which goes with the slot. */
export const TAG_LOG = 2;
/** What open holds cover of a rate. */
export const TAG_HELD = 3;
/** The last column leads to the holds that have slots in use. */
export const TAG_CHAIN = 4;

/** Doubles a slot has: the fingerprint, the end, and in wide ones two columns more. */
export type Width = 2 | 4;

/** The two clocks that say whether a slot is dead: engine time and Unix time, in microseconds. */
export interface Clock {
  now: number;
  wall: number;
}

/**
 * Packed open addressing: 16 or 32 bytes a slot (two lanes of a fingerprint, then doubles), no strings, no objects.
 * The low lane says where a slot is sought: a block of eight, and a place in it. Probing goes on at the same place of
 * the next block, then through the other places: so what fills a block together is also found together in the next one,
 * and a key under seven rules costs two or three lines of the processor's cache, not seven.
 * Column 1 is the end: a slot whose end is past means the same as no slot, so dead slots are taken over by new keys
 * without any clean-up, and nothing is lost by it.
 * So a place that was found dead may be another key's after the next `insert`: write it first, then it lives.
 */
export class Slots {
  readonly size: number;
  readonly width: Width;
  /** Slots that have ever been taken, dead ones included. */
  used = 0;
  readonly #softLimit: number;
  readonly #hardLimit: number;
  readonly #mask: number;
  /** Shifts from a slot to its first double. */
  readonly #shift: number;
  readonly #logs: Logs | undefined;
  readonly #lanes: Int32Array[] = [];
  readonly #values: Float64Array[] = [];

  /** `size` is a power of two. To be used once `allocate` has said true. */
  constructor(size: number, width: Width, logs?: Logs) {
    this.size = size;
    this.width = width;
    this.#mask = size - 1;
    this.#shift = width === 2 ? 1 : 2;
    this.#softLimit = Math.floor(size * SOFT_LOAD);
    this.#hardLimit = Math.floor(size * HARD_LOAD);
    this.#logs = logs;
  }

  /** Allocates up to one segment more. True: the table is complete. */
  allocate(): boolean {
    const slots = Math.min(this.size, SEGMENT_SIZE);
    const segments = this.size / slots;
    if (this.#lanes.length < segments) {
      const buffer = new ArrayBuffer(slots * this.width * 8);
      this.#lanes.push(new Int32Array(buffer));
      this.#values.push(new Float64Array(buffer));
    }
    return this.#lanes.length === segments;
  }

  get crowded(): boolean {
    return this.used >= this.#softLimit;
  }

  /** False: so many keys more are sure to find room. */
  tight(keys: number): boolean {
    return this.used + keys > this.#hardLimit;
  }

  /** Place of a key, or -1. `high` is never 0. */
  find(high: number, low: number): number {
    const mask = this.#mask;
    const shift = this.#shift + 1;
    let at = (low >>> LANE_SHIFT) & mask;
    for (;;) {
      const lanes = this.#lanes[at >>> SEGMENT_BITS]!;
      const lane = (at & SEGMENT_MASK) << shift;
      const found = lanes[lane]!;
      if (found === high && lanes[lane + 1]! === low) return at;
      if (found === 0) return -1;
      at += BLOCK;
      if (at > mask) at = (at + 1) & (BLOCK - 1);
    }
  }

  high(at: number): number {
    return this.#lanes[at >>> SEGMENT_BITS]![(at & SEGMENT_MASK) << (this.#shift + 1)]!;
  }

  low(at: number): number {
    return this.#lanes[at >>> SEGMENT_BITS]![((at & SEGMENT_MASK) << (this.#shift + 1)) + 1]!;
  }

  value(at: number): number {
    return this.#values[at >>> SEGMENT_BITS]![((at & SEGMENT_MASK) << this.#shift) + 1]!;
  }

  column(at: number, column: number): number {
    return this.#values[at >>> SEGMENT_BITS]![((at & SEGMENT_MASK) << this.#shift) + column]!;
  }

  page(at: number): Float64Array {
    return this.#values[at >>> SEGMENT_BITS]!;
  }

  /** First double of a slot in its page. */
  base(at: number): number {
    return (at & SEGMENT_MASK) << this.#shift;
  }

  set(at: number, value: number): void {
    this.#values[at >>> SEGMENT_BITS]![((at & SEGMENT_MASK) << this.#shift) + 1] = value;
  }

  setWide(at: number, end: number, second: number, third: number): void {
    const values = this.#values[at >>> SEGMENT_BITS]!;
    const base = (at & SEGMENT_MASK) << 2;
    values[base + 1] = end;
    values[base + 2] = second;
    values[base + 3] = third;
  }

  /** Takes a slot for a key that is not there and sets its end; its place, or -1: no dead slot on its way, no free one left. */
  insert(high: number, low: number, value: number, clock: Clock): number {
    const mask = this.#mask;
    let at = (low >>> LANE_SHIFT) & mask;
    for (;;) {
      const lanes = this.#lanes[at >>> SEGMENT_BITS]!;
      const lane = (at & SEGMENT_MASK) << (this.#shift + 1);
      const empty = lanes[lane] === 0;
      if (empty && this.used >= this.#hardLimit) return -1;
      if (empty || !this.live(at, clock)) {
        if (empty) this.used++;
        else this.#reclaim(at);
        lanes[lane] = high;
        lanes[lane + 1] = low;
        this.set(at, value);
        return at;
      }
      at += BLOCK;
      if (at > mask) at = (at + 1) & (BLOCK - 1);
    }
  }

  live(at: number, clock: Clock): boolean {
    const tag = this.low(at) & TAG_MASK;
    const value = this.value(at);
    if (this.width === 2) return value > clock.now * (tag + 1);
    return value > (tag === TAG_WALL ? clock.wall : clock.now);
  }

  /** Moves a live slot into another table and leaves a dead one. False: no room there, nothing done. */
  move(at: number, to: Slots, clock: Clock): boolean {
    if (!this.live(at, clock)) {
      this.#reclaim(at);
      return true;
    }
    const place = to.insert(this.high(at), this.low(at), this.value(at), clock);
    if (place < 0) return false;
    if (this.width === 4) to.setWide(place, this.value(at), this.column(at, 2), this.column(at, 3));
    this.leave(at);
    return true;
  }

  /** Makes a slot dead whose content lives on elsewhere. */
  leave(at: number): void {
    if (this.width === 4) this.setWide(at, 0, 0, 0);
    else this.set(at, 0);
  }

  /** Estimated number of live slots, from at most 1024 evenly spread ones. */
  estimateLive(clock: Clock): number {
    // Odd, so that every place of the blocks is looked at.
    const step = (this.size >>> 10) | 1;
    let live = 0;
    for (let at = 0; at < this.size; at += step) if (this.live(at, clock)) live++;
    return live * step;
  }

  #reclaim(at: number): void {
    if (this.width === 2) return;
    if ((this.low(at) & TAG_MASK) === TAG_LOG) this.#logs!.free(this.column(at, 3));
    this.setWide(at, 0, 0, 0);
  }
}
