/** Linear probing stays short below this share of used slots; above it the table is rebuilt. */
const SOFT_LOAD = 0.75;
/** No slot is taken above this share, so that every probe meets an empty slot soon. */
const HARD_LOAD = 0.875;
/** Slots allocated in one go: 1 MB, so that zeroing it is no pause. */
const SEGMENT_BITS = 16;
const SEGMENT_SIZE = 2 ** SEGMENT_BITS;
const SEGMENT_MASK = SEGMENT_SIZE - 1;
/** The low bits of a fingerprint say how the value is counted (ticks per microsecond - 1). */
export const TAG_MASK = 31;

/**
 * Packed open addressing: 16 bytes a slot (two lanes of a fingerprint, one double), no strings, no objects.
 * The value is the tick at which the key is full again. A slot whose tick is past means the same as no slot, so
 * dead slots are taken over by new keys without any clean-up, and nothing is lost by it.
 * So a place that was found dead may be another key's after the next `insert`: write it first, then it lives.
 */
export class Slots {
  readonly size: number;
  /** Slots that have ever been taken, dead ones included. */
  used = 0;
  readonly #softLimit: number;
  readonly #hardLimit: number;
  readonly #mask: number;
  readonly #lanes: Uint32Array[] = [];
  readonly #values: Float64Array[] = [];

  /** `size` is a power of two. To be used once `allocate` has said true. */
  constructor(size: number) {
    this.size = size;
    this.#mask = size - 1;
    this.#softLimit = Math.floor(size * SOFT_LOAD);
    this.#hardLimit = Math.floor(size * HARD_LOAD);
  }

  /** Allocates up to one segment more. True: the table is complete. */
  allocate(): boolean {
    const slots = Math.min(this.size, SEGMENT_SIZE);
    const segments = this.size / slots;
    if (this.#lanes.length < segments) {
      const buffer = new ArrayBuffer(slots * 16);
      this.#lanes.push(new Uint32Array(buffer));
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
    for (let at = low >>> 5; ; at++) {
      at &= mask;
      const lanes = this.#lanes[at >>> SEGMENT_BITS]!;
      const lane = 4 * (at & SEGMENT_MASK);
      const found = lanes[lane]!;
      if (found === high && lanes[lane + 1]! === low) return at;
      if (found === 0) return -1;
    }
  }

  value(at: number): number {
    return this.#values[at >>> SEGMENT_BITS]![2 * (at & SEGMENT_MASK) + 1]!;
  }

  set(at: number, value: number): void {
    this.#values[at >>> SEGMENT_BITS]![2 * (at & SEGMENT_MASK) + 1] = value;
  }

  /** Adds a key that is not there. False: no dead slot on its way and no free one left. */
  insert(high: number, low: number, value: number, now: number): boolean {
    const mask = this.#mask;
    for (let at = low >>> 5; ; at++) {
      at &= mask;
      const lanes = this.#lanes[at >>> SEGMENT_BITS]!;
      const lane = 4 * (at & SEGMENT_MASK);
      const empty = lanes[lane] === 0;
      if (empty && this.used >= this.#hardLimit) return false;
      if (empty || !this.live(at, now)) {
        if (empty) this.used++;
        lanes[lane] = high;
        lanes[lane + 1] = low;
        this.set(at, value);
        return true;
      }
    }
  }

  live(at: number, now: number): boolean {
    const tag = this.#lanes[at >>> SEGMENT_BITS]![4 * (at & SEGMENT_MASK) + 1]! & TAG_MASK;
    return this.value(at) > now * (tag + 1);
  }

  /** Moves a live slot into another table and leaves a dead one. False: no room there, nothing done. */
  move(at: number, to: Slots, now: number): boolean {
    if (!this.live(at, now)) return true;
    const lanes = this.#lanes[at >>> SEGMENT_BITS]!;
    const lane = 4 * (at & SEGMENT_MASK);
    if (!to.insert(lanes[lane]!, lanes[lane + 1]!, this.value(at), now)) return false;
    this.set(at, 0);
    return true;
  }

  /** Estimated number of live slots, from at most 1024 evenly spread ones. */
  estimateLive(now: number): number {
    const step = Math.max(1, this.size >>> 10);
    let live = 0;
    // An empty slot holds 0 and is not live.
    for (let at = 0; at < this.size; at += step) if (this.live(at, now)) live++;
    return live * step;
  }
}
