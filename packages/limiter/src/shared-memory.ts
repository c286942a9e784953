import { mixHigh, mixLow } from './hash.ts';

export interface SharedSizes {
  /** Keys with anything used, over all rules. Rounded up to a power of two with room to spare; 80 bytes each. Default 16,384. */
  readonly keys?: number;
  /** Holds open or remembered. Rounded up likewise; 64 bytes each. Default 4096. */
  readonly holds?: number;
  /** Charges that holds and sliding windows remember; 112 bytes each. Default 65,536. */
  readonly charges?: number;
  /** Unix milliseconds of time 0, for calendar windows. Default 0. */
  readonly origin?: number;
}

const MAGIC = 0x746f6c31;
const HEADER_DOUBLES = 16;
export const ENTRY = 10;
export const HOLD = 8;
export const NODE = 14;
/** No place is taken above this share, so that every search meets an empty one soon. */
const FULLEST = 0.875;

// Words of the header.
const LOCK = 1;
const TURNS = 2;
const KEYS = 3;
const HOLDS = 4;
const SEED_HIGH = 5;
const SEED_LOW = 6;
// Doubles of the header, behind the words.
const TIME = 4;
const NEXT_EXPIRY = 5;
const FREE = 6;
const FRESH = 7;
const ENTRIES_USED = 8;
const HOLDS_USED = 9;
const ORIGIN = 10;
const LEFT = 11;
const GENERATIONS = 12;
const SWEEP_AT = 13;
const SWEEP_HOLDS_AT = 14;
/** Microseconds between two attempts to win back places in a table that is full. */
const SWEEP_EVERY = 1_000_000;

/** Attempts before a worker sleeps: a decision of another takes about as long. */
const SPINS = 2000;
const SLEEP_MS = 5;
/** So many sleeps without anybody else getting on: who has the lock is dead. */
const MAX_SLEEPS = 200;

/** Field of an entry. What a, b and c are differs by algorithm; see `shared-counters.ts`. */
export const A = 3;
export const B = 4;
export const C = 5;
export const HELD = 6;
export const HEAD = 7;
export const DEAD_AT = 8;
/** Estimates that are open: what they come to must find the key. */
export const ESTIMATES = 9;
const GENERATION = 2;

/**
 * The memory that all workers share: a lock, a table of keys, a table of holds, and a pool of nodes for lists. Places
 * are offsets into one array of doubles. Everything but the lock is touched only by who has it.
 */
export class SharedMemory {
  readonly data: Float64Array;
  readonly seed: readonly [number, number];
  readonly #words: Int32Array;
  readonly #keys: number;
  readonly #holds: number;
  readonly #entriesAt: number = HEADER_DOUBLES;
  readonly #holdsAt: number;
  readonly #nodesAt: number;

  constructor(buffer: SharedArrayBuffer) {
    this.#words = new Int32Array(buffer, 0, 8);
    if (this.#words[0] !== MAGIC) throw new TypeError('the buffer was not made by sharedMemory()');
    this.data = new Float64Array(buffer);
    this.#keys = this.#words[KEYS]!;
    this.#holds = this.#words[HOLDS]!;
    this.seed = [this.#words[SEED_HIGH]!, this.#words[SEED_LOW]!];
    this.#holdsAt = this.#entriesAt + this.#keys * ENTRY;
    this.#nodesAt = this.#holdsAt + this.#holds * HOLD;
  }

  get time(): number {
    return this.data[TIME]!;
  }

  set time(time: number) {
    this.data[TIME] = time;
  }

  get origin(): number {
    return this.data[ORIGIN]!;
  }

  /** When the first open hold expires, or earlier; Infinity: none is open. */
  get nextExpiry(): number {
    return this.data[NEXT_EXPIRY]!;
  }

  set nextExpiry(time: number) {
    this.data[NEXT_EXPIRY] = time;
  }

  /**
   * Waits for the lock: spins, then sleeps where the thread may. Throws an Error when for a second nobody got on: the
   * worker that had the lock has ended inside, and what it left may be half written.
   */
  acquire(): void {
    const words = this.#words;
    let turns = Atomics.load(words, TURNS);
    let sleeps = 0;
    for (let spins = 1; Atomics.compareExchange(words, LOCK, 0, 1) !== 0; spins++) {
      if (spins % SPINS !== 0) continue;
      const latest = Atomics.load(words, TURNS);
      sleeps = latest === turns ? sleeps + 1 : 0;
      turns = latest;
      if (sleeps > MAX_SLEEPS) {
        throw new Error('the shared limiter is locked by a worker that has ended; make a new one for all workers');
      }
      sleep(words);
    }
  }

  release(): void {
    Atomics.add(this.#words, TURNS, 1);
    Atomics.store(this.#words, LOCK, 0);
    Atomics.notify(this.#words, LOCK, 1);
  }

  /** Place of a key, or -1. `high` is never 0. */
  find(high: number, low: number): number {
    return this.#find(this.#entriesAt, this.#keys, ENTRY, high, low);
  }

  /** Place of a key that is not there, empty or taken over from one that is dead; -1: all are in use. */
  insert(high: number, low: number, now: number): number {
    const { data } = this;
    const dead = (at: number) => data[at + DEAD_AT]! <= now;
    const insert = () => this.#insert(this.#entriesAt, this.#keys, ENTRY, high, low, ENTRIES_USED, dead);
    let at = insert();
    if (at < 0 && now >= data[SWEEP_AT]!) {
      data[SWEEP_AT] = now + SWEEP_EVERY;
      this.#sweep(this.#entriesAt, this.#keys, ENTRY, ENTRIES_USED, dead, HEAD);
      at = insert();
    }
    if (at >= 0) this.clear(at);
    return at;
  }

  /** Forgets what a key has used; holds that charged it do not find it any more. */
  clear(at: number): void {
    const { data } = this;
    this.freeList(data[at + HEAD]!);
    data[GENERATIONS] = data[GENERATIONS]! + 1;
    data[at + GENERATION] = data[GENERATIONS]!;
    for (let field = A; field < ENTRY; field++) data[at + field] = 0;
  }

  generation(at: number): number {
    return this.data[at + GENERATION]!;
  }

  findHold(high: number, low: number): number {
    return this.#find(this.#holdsAt, this.#holds, HOLD, high, low);
  }

  /** Place of a hold that is not there; `list` is the field of a hold that names its charges. */
  insertHold(high: number, low: number, reusable: (at: number) => boolean, list: number): number {
    const insert = () => this.#insert(this.#holdsAt, this.#holds, HOLD, high, low, HOLDS_USED, reusable);
    const at = insert();
    if (at >= 0 || this.time < this.data[SWEEP_HOLDS_AT]!) return at;
    this.data[SWEEP_HOLDS_AT] = this.time + SWEEP_EVERY;
    this.#sweep(this.#holdsAt, this.#holds, HOLD, HOLDS_USED, reusable, list);
    return insert();
  }

  /** Every hold open or remembered. */
  *holds(): Generator<number> {
    const end = this.#holdsAt + this.#holds * HOLD;
    for (let at = this.#holdsAt; at < end; at += HOLD) if (this.data[at] !== 0) yield at;
  }

  /** A node with everything 0, or 0: none is left. Field 0 names the next of its list. */
  node(): number {
    const { data } = this;
    if (data[LEFT] === 0) return 0;
    data[LEFT] = data[LEFT]! - 1;
    const free = data[FREE]!;
    if (free !== 0) {
      data[FREE] = data[free]!;
      data.fill(0, free, free + NODE);
      return free;
    }
    const fresh = data[FRESH]!;
    data[FRESH] = fresh + 1;
    return this.#nodesAt + fresh * NODE;
  }

  free(node: number): void {
    this.data[node] = this.data[FREE]!;
    this.data[FREE] = node;
    this.data[LEFT] = this.data[LEFT]! + 1;
  }

  freeList(first: number): void {
    for (let node = first; node !== 0; ) {
      const next = this.data[node]!;
      this.free(node);
      node = next;
    }
  }

  /** Nodes that can still be had. */
  get nodesLeft(): number {
    return this.data[LEFT]!;
  }

  #find(start: number, size: number, stride: number, high: number, low: number): number {
    const { data } = this;
    for (let slot = low & (size - 1); ; slot = (slot + 1) & (size - 1)) {
      const at = start + slot * stride;
      const found = data[at]!;
      if (found === high && data[at + 1] === low) return at;
      if (found === 0) return -1;
    }
  }

  /** Empties the places that are not in use, so that every key finds them. What is in use moves. */
  #sweep(
    start: number,
    size: number,
    stride: number,
    counter: number,
    dead: (at: number) => boolean,
    list: number,
  ): void {
    const { data } = this;
    const end = start + size * stride;
    const live: Float64Array[] = [];
    for (let at = start; at < end; at += stride) {
      if (data[at] === 0) continue;
      if (dead(at)) this.freeList(data[at + list]!);
      else live.push(data.slice(at, at + stride));
    }
    data.fill(0, start, end);
    data[counter] = 0;
    for (const record of live) {
      data.set(
        record,
        this.#insert(start, size, stride, record[0]!, record[1]!, counter, () => false),
      );
    }
  }

  #insert(
    start: number,
    size: number,
    stride: number,
    high: number,
    low: number,
    counter: number,
    reusable: (at: number) => boolean,
  ): number {
    const { data } = this;
    for (let slot = low & (size - 1); ; slot = (slot + 1) & (size - 1)) {
      const at = start + slot * stride;
      const empty = data[at] === 0;
      if (empty && data[counter]! >= Math.floor(size * FULLEST)) return -1;
      if (!empty && !reusable(at)) continue;
      if (empty) data[counter] = data[counter]! + 1;
      data[at] = high;
      data[at + 1] = low;
      return at;
    }
  }
}

/**
 * Memory for one limiter of many workers; hand it to each (`workerData`, `postMessage`) for its `SharedLimiter`.
 * Its size is fixed. Throws a RangeError for sizes that are not positive integers or above 2^24.
 */
export function sharedMemory(sizes: SharedSizes = {}): SharedArrayBuffer {
  const { keys = 16_384, holds = 4096, charges = 65_536, origin = 0 } = sizes;
  for (const [name, size] of Object.entries({ keys, holds, charges })) {
    if (!(Number.isInteger(size) && size >= 1 && size <= 2 ** 24)) {
      throw new RangeError(`${name} must be an integer from 1 to 2^24, got ${size}`);
    }
  }
  const [keySlots, holdSlots] = [slotsFor(keys), slotsFor(holds)];
  const doubles = HEADER_DOUBLES + keySlots * ENTRY + holdSlots * HOLD + charges * NODE;
  const buffer = new SharedArrayBuffer(doubles * 8);
  const words = new Int32Array(buffer, 0, 8);
  const data = new Float64Array(buffer);
  words[KEYS] = keySlots;
  words[HOLDS] = holdSlots;
  words[SEED_HIGH] = Math.floor(Math.random() * 2 ** 32);
  words[SEED_LOW] = Math.floor(Math.random() * 2 ** 32);
  data[NEXT_EXPIRY] = Infinity;
  data[ORIGIN] = origin;
  data[LEFT] = charges;
  words[0] = MAGIC;
  return buffer;
}

/** Two lanes of a text; the high one is never 0. */
export function lanesOf(text: string, seed: readonly [number, number]): [number, number] {
  let [high, low] = seed;
  for (let at = 0; at < text.length; at++) {
    high = mixHigh(high + 1, text.charCodeAt(at));
    low = mixLow(low ^ 0x5bd1e995, text.charCodeAt(at));
  }
  return [high >>> 0 || 1, low >>> 0];
}

function slotsFor(wanted: number): number {
  let slots = 64;
  while (Math.floor(slots * FULLEST) < wanted) slots *= 2;
  return slots;
}

function sleep(words: Int32Array): void {
  try {
    Atomics.wait(words, LOCK, 1, SLEEP_MS);
  } catch (error) {
    // A browser's main thread may not sleep: it goes on spinning, as long as the sleeps would have taken.
    if (!(error instanceof TypeError)) throw error;
    for (let i = 0; i < 100_000; i++) if (Atomics.load(words, LOCK) === 0) return;
  }
}
