import { mixHigh, mixLow } from './hash.ts';
import type { Clock } from './slots.ts';
import { BLOCK_MASK, LANE_MASK, LANE_SHIFT } from './slots.ts';
import { Table } from './table.ts';
import type { HoldResult } from './types.ts';

/** Microseconds that the id of a closed hold is remembered at least, as far as MAX_CLOSED allows: 10 minutes. */
const REMEMBERED = 600_000_000;
/** Closed ids remembered at least, however old, and at most, however young. The oldest are forgotten first. */
const MIN_CLOSED = 131_072;
const MAX_CLOSED = 2 ** 20;
/** Expired holds kept for a late settlement. The oldest are forgotten first. */
const MAX_EXPIRED = 65_536;
/** Closed ids in one array of the queue. */
const QUEUED = 16_384;
/** Places in which open holds are looked for before their id is hashed; a power of two. */
const RECENT = 4096;
/** Open holds at most: beyond that somebody leaks them. */
export const MAX_HOLDS: number = 2 ** 20;
/** Entries allocated in one go: 512 KB. */
const SEGMENT_BITS = 14;
const SEGMENT_SIZE = 2 ** SEGMENT_BITS;
const SEGMENT_MASK = SEGMENT_SIZE - 1;
const CLASSES = 8;

/** States as small integers; those of closed holds are kept with the id. */
export const OPEN = 0;
export const SETTLED = 1;
export const RELEASED = 2;
export const EXPIRED = 3;
export const STATES: readonly HoldResult['state'][] = ['open', 'settled', 'released', 'expired'];

/** Values of ids: a hold with entries from here up, a closed one's state from there up; 0: forgotten. All are alive. */
const HELD = 2 ** 52;
const CLOSED = 2 ** 51;

/** Entry flag: the key had no slot, so its slots are counted in the sketch. */
export const IN_SKETCH = 1;

/**
 * Holds by id, with the charges of their decisions: rule, key lanes, amount, and the window that was charged. Entries
 * lie side by side in large arrays, 32 bytes each; ids in a table of fingerprints, so that a closed one takes 16 bytes.
 * What comes next to expire is on top of a heap.
 */
export class Holds {
  readonly #clock: Clock;
  #ids: Table;
  #seed: readonly [number, number];
  #size = 256;
  names: string[] = [];
  /** When it expires. */
  until: Float64Array = new Float64Array(256);
  ttl: Float64Array = new Float64Array(256);
  wait: Float64Array = new Float64Array(256);
  first: Int32Array = new Int32Array(256);
  count: Int32Array = new Int32Array(256);
  state: Uint8Array = new Uint8Array(256);
  /** 1: what it held is free when it expires. */
  free: Uint8Array = new Uint8Array(256);
  #high: Int32Array = new Int32Array(256);
  #low: Int32Array = new Int32Array(256);
  /** Position in the heap. */
  #position: Int32Array = new Int32Array(256);
  #heap: Int32Array = new Int32Array(256);
  /** Open holds: what the heap holds. */
  open = 0;
  /** Expired holds in the order they expired, and where the queue begins; a hold that was ended since is another. */
  #late: { readonly hold: number; readonly until: number }[] = [];
  #lateAt = 0;
  #expired = 0;
  #unused: number[] = [];
  #next = 0;
  readonly #integers: Int32Array[] = [];
  readonly #doubles: Float64Array[] = [];
  #nextEntry = 0;
  readonly #blocks: number[][] = Array.from({ length: CLASSES }, () => []);
  /** Closed ids in the order they were closed: lanes, and the second until which to remember them. */
  readonly #queue: Int32Array[] = [];
  #queueAt = 0;
  #queued = 0;
  /** Holds by the last characters of their ids, + 1: most calls end while theirs is still here, so no hash is needed. */
  readonly #recent: Int32Array = new Int32Array(RECENT);
  // Lanes of the id that was hashed last.
  #idHigh = 0;
  #idLow = 0;

  constructor(clock: Clock, seed: readonly [number, number]) {
    this.#clock = clock;
    this.#seed = seed;
    this.#ids = new Table(2, MAX_CLOSED + MAX_HOLDS, clock);
  }

  reseed(seed: readonly [number, number]): void {
    this.#seed = seed;
  }

  get bytes(): number {
    const entries = this.#integers.length * SEGMENT_SIZE * 32;
    return this.#ids.slots * 16 + this.#size * 50 + entries + this.#queue.length * QUEUED * 12 + RECENT * 4;
  }

  /** Indices below this may be holds; those without a name are none. */
  get end(): number {
    return this.#next;
  }

  /** Index of a hold with entries; -1: unknown; -1 - state: closed. */
  find(id: string): number {
    const recent = this.#recent[recentOf(id)]! - 1;
    // Closed holds have the empty name.
    if (recent < 0 || this.names[recent] !== id || id === '') return this.#search(id);
    this.#idHigh = this.#high[recent]!;
    this.#idLow = this.#low[recent]!;
    return recent;
  }

  #search(id: string): number {
    this.#hash(id);
    const place = this.#ids.find(this.#idHigh, this.#idLow);
    if (place === -1) return -1;
    const value = this.#ids.value(place);
    if (value >= HELD) return this.names[value - HELD] === id ? value - HELD : -1;
    return value === 0 ? -1 : -1 - (value - CLOSED);
  }

  /**
   * Both lanes of an id in one go, two characters at a time. Ids that differ in the last three bits only lie in one
   * block: those that somebody counts up find each other in the processor's cache.
   */
  #hash(id: string): void {
    const last = id.length - 1;
    let high = this.#seed[0] ^ last;
    let low = this.#seed[1];
    for (let at = 0; at < last; at += 2) {
      const pair = id.charCodeAt(at) | (at + 1 < last ? id.charCodeAt(at + 1) << 16 : 0);
      high = Math.imul(high ^ pair, 0x85ebca6b);
      high ^= high >>> 15;
      low = Math.imul((low ^ (low >>> 13)) + pair, 0x2c1b3c6d);
    }
    const end = id.charCodeAt(last);
    this.#idHigh = mixHigh(high, end) || 1;
    const block = mixLow(low ^ last, end >>> 3);
    // Turned, since few texts use all endings alike: a full place in all blocks would be a long way to go.
    this.#idLow = (block & BLOCK_MASK) | ((block + (end << LANE_SHIFT)) & LANE_MASK);
  }

  /** Opens the hold that `find` did not find, or found closed, with room for so many entries. Throws when too many are open. */
  add(id: string, ttl: number, until: number, free: boolean, wait: number, entries: number): number {
    if (this.open === MAX_HOLDS) throw new RangeError(`more than ${MAX_HOLDS} holds are open at once`);
    const hold = this.#unused.pop() ?? this.#next++;
    if (hold === this.#size) this.#enlarge();
    this.names[hold] = id;
    this.until[hold] = until;
    this.ttl[hold] = ttl;
    this.wait[hold] = wait;
    this.state[hold] = OPEN;
    this.free[hold] = free ? 1 : 0;
    this.count[hold] = entries;
    this.first[hold] = this.#block(entries);
    this.#high[hold] = this.#idHigh;
    this.#low[hold] = this.#idLow;
    this.#write(this.#idHigh, this.#idLow, HELD + hold);
    this.#recent[recentOf(id)] = hold + 1;
    this.#heap[this.open] = hold;
    this.#position[hold] = this.open;
    this.#up(this.open++);
    return hold;
  }

  /** Forgets the entries; the id is remembered with how it ended. */
  close(hold: number, state: number): void {
    this.#discard(hold);
    this.remember(this.#high[hold]!, this.#low[hold]!, state, this.ttl[hold]!);
  }

  #discard(hold: number): void {
    if (this.state[hold] === EXPIRED) this.#expired--;
    else this.#remove(this.#position[hold]!);
    this.#giveBlock(hold);
    this.#unused.push(hold);
    this.names[hold] = '';
  }

  /** Keeps a closed id, and how it ended. */
  remember(high: number, low: number, state: number, ttl: number): void {
    this.#write(high, low, CLOSED + state);
    const second = Math.floor(this.#clock.now / 1e6);
    const end = this.#queueAt + this.#queued++;
    if (Math.floor(end / QUEUED) === this.#queue.length) this.#queue.push(new Int32Array(QUEUED * 3));
    const last = this.#queue[Math.floor(end / QUEUED)]!;
    const at = (end % QUEUED) * 3;
    last[at] = high;
    last[at + 1] = low;
    last[at + 2] = second + Math.min(2 ** 30, Math.ceil(Math.max(REMEMBERED, ttl) / 1e6));
    // Two for one, so that a long queue becomes shorter again.
    for (let i = 0; i < 2 && this.#queued > MIN_CLOSED; i++) {
      const first = this.#queue[0]!;
      const from = this.#queueAt * 3;
      if (this.#queued <= MAX_CLOSED && first[from + 2]! > second) return;
      const place = this.#ids.find(first[from]!, first[from + 1]!);
      if (place !== -1 && this.#ids.value(place) < HELD) this.#ids.set(place, 0);
      this.#queued--;
      if (++this.#queueAt < QUEUED) continue;
      this.#queueAt = 0;
      this.#queue.shift();
    }
  }

  /** Hold that is due, or -1. */
  due(now: number): number {
    if (this.open === 0) return -1;
    const hold = this.#heap[0]!;
    return this.until[hold]! <= now ? hold : -1;
  }

  /** Microsecond at which the next hold expires; Infinity: none is open. */
  get next(): number {
    return this.open === 0 ? Infinity : this.until[this.#heap[0]!]!;
  }

  /** An open hold has expired: its entries are kept for a late settlement. Returns one that is too old for that now, or -1. */
  expire(hold: number): number {
    this.#remove(this.#position[hold]!);
    this.state[hold] = EXPIRED;
    this.#keepLate(hold);
    if (this.#expired <= MAX_EXPIRED) return -1;
    for (;;) {
      const oldest = this.#late[this.#lateAt++]!;
      if (this.#isLate(oldest.hold, oldest.until)) return oldest.hold;
    }
  }

  #keepLate(hold: number): void {
    this.#expired++;
    this.#late.push({ hold, until: this.until[hold]! });
    if (this.#late.length < 2 * MAX_EXPIRED) return;
    this.#late = this.#late.slice(this.#lateAt).filter(({ hold: late, until }) => this.#isLate(late, until));
    this.#lateAt = 0;
  }

  #isLate(hold: number, until: number): boolean {
    return this.names[hold] !== '' && this.state[hold] === EXPIRED && this.until[hold] === until;
  }

  move(hold: number, until: number): void {
    this.until[hold] = until;
    this.#up(this.#position[hold]!);
    this.#down(this.#position[hold]!);
  }

  lanes(hold: number): readonly [number, number] {
    return [this.#high[hold]!, this.#low[hold]!];
  }

  // For a store.

  /** Hold that a value of the table of ids stands for; -1: a closed one. */
  heldBy(value: number): number {
    return value >= HELD ? value - HELD : -1;
  }

  restoreHeld(
    name: string,
    state: number,
    until: number,
    ttl: number,
    wait: number,
    free: boolean,
    entries: number,
  ): number {
    const known = this.find(name);
    if (known >= 0) this.#discard(known);
    const hold = this.add(name, ttl, until, free, wait, entries);
    if (state === EXPIRED) {
      this.#remove(this.#position[hold]!);
      this.state[hold] = EXPIRED;
      this.#keepLate(hold);
    }
    return hold;
  }

  restoreClosed(high: number, low: number, state: number): void {
    const place = this.#ids.find(high, low);
    if (place !== -1 && this.#ids.value(place) >= HELD) this.#discard(this.#ids.value(place) - HELD);
    this.remember(high, low, state, 0);
  }

  /** The table of ids, for a store that reads what is remembered. */
  get ids(): Table {
    return this.#ids;
  }

  // Entries. Each is 8 integers of 4 bytes, the last four read as two doubles: amount and window.

  setEntry(
    entry: number,
    rule: number,
    high: number,
    low: number,
    flags: number,
    amount: number,
    window: number,
  ): void {
    const integers = this.#integers[entry >>> SEGMENT_BITS]!;
    const at = (entry & SEGMENT_MASK) << 3;
    integers[at] = rule;
    integers[at + 1] = high;
    integers[at + 2] = low;
    integers[at + 3] = flags;
    const doubles = this.#doubles[entry >>> SEGMENT_BITS]!;
    doubles[(at >>> 1) + 2] = amount;
    doubles[(at >>> 1) + 3] = window;
  }

  /** Number of its rule; -1: a reset has forgotten it. */
  rule(entry: number): number {
    return this.#integers[entry >>> SEGMENT_BITS]![(entry & SEGMENT_MASK) << 3]!;
  }

  setRule(entry: number, rule: number): void {
    this.#integers[entry >>> SEGMENT_BITS]![(entry & SEGMENT_MASK) << 3] = rule;
  }

  high(entry: number): number {
    return this.#integers[entry >>> SEGMENT_BITS]![((entry & SEGMENT_MASK) << 3) + 1]!;
  }

  low(entry: number): number {
    return this.#integers[entry >>> SEGMENT_BITS]![((entry & SEGMENT_MASK) << 3) + 2]!;
  }

  /** Flags in the low byte; above it the hold it belongs to. */
  flags(entry: number): number {
    return this.#integers[entry >>> SEGMENT_BITS]![((entry & SEGMENT_MASK) << 3) + 3]! & 0xff;
  }

  holdOf(entry: number): number {
    return this.#integers[entry >>> SEGMENT_BITS]![((entry & SEGMENT_MASK) << 3) + 3]! >>> 8;
  }

  amount(entry: number): number {
    return this.#doubles[entry >>> SEGMENT_BITS]![((entry & SEGMENT_MASK) << 2) + 2]!;
  }

  window(entry: number): number {
    return this.#doubles[entry >>> SEGMENT_BITS]![((entry & SEGMENT_MASK) << 2) + 3]!;
  }

  /** Slots of a concurrency rule have no window: there the entries of a key are chained. -1: none. */
  nextOf(entry: number): number {
    return this.#integers[entry >>> SEGMENT_BITS]![((entry & SEGMENT_MASK) << 3) + 6]!;
  }

  previousOf(entry: number): number {
    return this.#integers[entry >>> SEGMENT_BITS]![((entry & SEGMENT_MASK) << 3) + 7]!;
  }

  setNext(entry: number, next: number): void {
    this.#integers[entry >>> SEGMENT_BITS]![((entry & SEGMENT_MASK) << 3) + 6] = next;
  }

  setPrevious(entry: number, previous: number): void {
    this.#integers[entry >>> SEGMENT_BITS]![((entry & SEGMENT_MASK) << 3) + 7] = previous;
  }

  #write(high: number, low: number, value: number): void {
    const place = this.#ids.find(high, low);
    if (place !== -1) {
      this.#ids.set(place, value);
      return;
    }
    this.#ids.makeRoom(1);
    if (this.#ids.add(high, low, value) < 0) throw new RangeError('no room for another hold');
    this.#ids.maintain();
  }

  #block(entries: number): number {
    if (entries === 0) return 0;
    const kind = 32 - Math.clz32(entries - 1);
    const unused = this.#blocks[kind]!.pop();
    if (unused !== undefined) return unused;
    const size = 1 << kind;
    // Blocks are aligned to their size, so that none reaches into the next segment.
    const start = Math.ceil(this.#nextEntry / size) * size;
    this.#nextEntry = start + size;
    while (this.#integers.length << SEGMENT_BITS < this.#nextEntry) {
      const buffer = new ArrayBuffer(SEGMENT_SIZE * 32);
      this.#integers.push(new Int32Array(buffer));
      this.#doubles.push(new Float64Array(buffer));
    }
    return start;
  }

  #giveBlock(hold: number): void {
    const entries = this.count[hold]!;
    if (entries > 0) this.#blocks[32 - Math.clz32(entries - 1)]!.push(this.first[hold]!);
  }

  #remove(at: number): void {
    const last = this.#heap[--this.open]!;
    if (at === this.open) return;
    this.#heap[at] = last;
    this.#position[last] = at;
    this.#up(at);
    this.#down(this.#position[last]!);
  }

  #up(from: number): void {
    const heap = this.#heap;
    const hold = heap[from]!;
    const until = this.until[hold]!;
    let at = from;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = heap[parent]!;
      if (this.until[above]! <= until) break;
      heap[at] = above;
      this.#position[above] = at;
      at = parent;
    }
    heap[at] = hold;
    this.#position[hold] = at;
  }

  #down(from: number): void {
    const heap = this.#heap;
    const hold = heap[from]!;
    const until = this.until[hold]!;
    let at = from;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= this.open) break;
      if (child + 1 < this.open && this.until[heap[child + 1]!]! < this.until[heap[child]!]!) child++;
      const below = heap[child]!;
      if (this.until[below]! >= until) break;
      heap[at] = below;
      this.#position[below] = at;
      at = child;
    }
    heap[at] = hold;
    this.#position[hold] = at;
  }

  #enlarge(): void {
    this.#size *= 2;
    const size = this.#size;
    this.until = doubles(this.until, size);
    this.ttl = doubles(this.ttl, size);
    this.wait = doubles(this.wait, size);
    this.first = integers(this.first, size);
    this.count = integers(this.count, size);
    this.#position = integers(this.#position, size);
    this.#heap = integers(this.#heap, size);
    this.state = bytes(this.state, size);
    this.free = bytes(this.free, size);
    this.#high = integers(this.#high, size);
    this.#low = integers(this.#low, size);
  }
}

function recentOf(id: string): number {
  const last = id.length - 1;
  return (id.charCodeAt(last) + id.charCodeAt(last - 1) * 31 + id.charCodeAt(last - 2) * 961) & (RECENT - 1);
}

/** State of a closed hold, from the value of its id. */
export function stateOf(value: number): number {
  return value - CLOSED;
}

function doubles(from: Float64Array, size: number): Float64Array {
  const to = new Float64Array(size);
  to.set(from);
  return to;
}

function integers(from: Int32Array, size: number): Int32Array {
  const to = new Int32Array(size);
  to.set(from);
  return to;
}

function bytes(from: Uint8Array, size: number): Uint8Array {
  const to = new Uint8Array(size);
  to.set(from);
  return to;
}
