/** Linear probing stays short below this share of used slots; above it the table is rebuilt. */
const SOFT_LOAD = 0.75;
/** No slot is taken above this share, so that every probe meets an empty slot soon. */
const HARD_LOAD = 0.875;
/** The low bits of a fingerprint say how the value is counted (ticks per microsecond - 1). */
export const TAG_MASK = 31;

/**
 * Packed open addressing: 16 bytes a slot (two lanes of a fingerprint, one double), no strings, no objects.
 * The value is the tick at which the key is full again. A slot whose tick is past means the same as no slot, so
 * dead slots are taken over by new keys without any clean-up, and nothing is lost by it.
 */
export class Slots {
  readonly size: number;
  /** Slots that have ever been taken, dead ones included. */
  used = 0;
  readonly #softLimit: number;
  readonly #hardLimit: number;
  readonly #mask: number;
  readonly #lanes: Uint32Array;
  readonly #values: Float64Array;

  /** `size` is a power of two. */
  constructor(size: number) {
    const buffer = new ArrayBuffer(size * 16);
    this.size = size;
    this.#mask = size - 1;
    this.#softLimit = Math.floor(size * SOFT_LOAD);
    this.#hardLimit = Math.floor(size * HARD_LOAD);
    this.#lanes = new Uint32Array(buffer);
    this.#values = new Float64Array(buffer);
  }

  get crowded(): boolean {
    return this.used >= this.#softLimit;
  }

  /** Place of a key, or -1. `high` is never 0. */
  find(high: number, low: number): number {
    const lanes = this.#lanes;
    const mask = this.#mask;
    for (let at = low >>> 5; ; at++) {
      at &= mask;
      const lane = lanes[4 * at]!;
      if (lane === high && lanes[4 * at + 1]! === low) return at;
      if (lane === 0) return -1;
    }
  }

  value(at: number): number {
    return this.#values[2 * at + 1]!;
  }

  set(at: number, value: number): void {
    this.#values[2 * at + 1] = value;
  }

  /** Adds a key that is not there. False: no dead slot on its way and no free one left. */
  insert(high: number, low: number, value: number, now: number): boolean {
    const lanes = this.#lanes;
    const mask = this.#mask;
    for (let at = low >>> 5; ; at++) {
      at &= mask;
      const empty = lanes[4 * at]! === 0;
      if (empty && this.used >= this.#hardLimit) return false;
      if (empty || !this.live(at, now)) {
        if (empty) this.used++;
        lanes[4 * at] = high;
        lanes[4 * at + 1] = low;
        this.#values[2 * at + 1] = value;
        return true;
      }
    }
  }

  live(at: number, now: number): boolean {
    return this.#values[2 * at + 1]! > now * ((this.#lanes[4 * at + 1]! & TAG_MASK) + 1);
  }

  /** Copies a live slot into another table and leaves a dead one. False: no room there, nothing done. */
  move(at: number, to: Slots, now: number): boolean {
    if (!this.live(at, now)) return true;
    if (!to.insert(this.#lanes[4 * at]!, this.#lanes[4 * at + 1]!, this.#values[2 * at + 1]!, now)) return false;
    this.#values[2 * at + 1] = 0;
    return true;
  }

  /** Estimated number of live slots, from at most 1024 evenly spread ones. */
  estimateLive(now: number): number {
    const step = Math.max(1, this.size >>> 10);
    let live = 0;
    for (let at = 0; at < this.size; at += step) if (this.#lanes[4 * at] !== 0 && this.live(at, now)) live++;
    return live * step;
  }
}
