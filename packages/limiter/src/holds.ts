import { mixHigh, mixLow } from './hash.ts';
import { Schedule } from './schedule.ts';
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
const QUEUED_BITS = 14;
const QUEUED = 2 ** QUEUED_BITS;
/** Places in which open holds are looked for before their id is hashed; a power of two. */
const RECENT = 4096;
/** Open holds at most: beyond that somebody leaks them. */
export const MAX_HOLDS: number = 2 ** 20;
/** Entries allocated in one go: 512 KB. */
const SEGMENT_BITS = 14;
const SEGMENT_SIZE = 2 ** SEGMENT_BITS;
const SEGMENT_MASK = SEGMENT_SIZE - 1;
const CLASSES = 8;
/** Of a limiter that has no entries yet. */
const NO_WORDS = new Int32Array(0);
const NO_NUMBERS = new Float64Array(0);

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
  readonly #schedule = new Schedule();
  ttl: Float64Array = new Float64Array(256);
  wait: Float64Array = new Float64Array(256);
  first: Int32Array = new Int32Array(256);
  count: Int32Array = new Int32Array(256);
  state: Uint8Array = new Uint8Array(256);
  /** 1: what it held is free when it expires. */
  free: Uint8Array = new Uint8Array(256);
  #high: Int32Array = new Int32Array(256);
  #low: Int32Array = new Int32Array(256);
  /** Where its id was in the table last. */
  #place: Int32Array = new Int32Array(256);
  /** Size of its block of entries as a power of two, + 1; 0: it has none. */
  #kind: Uint8Array = new Uint8Array(256);
  /** Entries that a settlement looks at: from the first, before those of rates that only a release gives back. */
  ends: Int32Array = new Int32Array(256);
  /** Open holds: those in the schedule. */
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
  // Lanes of the id that was sought last, and where it may be in the table; -1: nowhere.
  #idHigh = 0;
  #idLow = 0;
  #idPlace = -1;
  /** Where it is among recent ones. */
  #idRecent = 0;

  constructor(clock: Clock, seed: readonly [number, number]) {
    this.#clock = clock;
    this.#seed = seed;
    this.#ids = new Table(2, MAX_CLOSED + MAX_HOLDS, clock);
    this.#schedule.enlarge(this.#size);
  }

  reseed(seed: readonly [number, number]): void {
    this.#seed = seed;
  }

  get bytes(): number {
    const entries = this.#integers.length * SEGMENT_SIZE * 32;
    return this.#ids.slots * 16 + this.#size * 67 + entries + this.#queue.length * QUEUED * 12 + RECENT * 4;
  }

  /** When each expires. */
  get until(): Float64Array {
    return this.#schedule.until;
  }

  /** Indices below this may be holds; those without a name are none. */
  get end(): number {
    return this.#next;
  }

  /** Index of a hold with entries; -1: unknown; -1 - state: closed. */
  find(id: string): number {
    this.#idRecent = recentOf(id);
    const recent = this.#recent[this.#idRecent]! - 1;
    // Closed holds have the empty name.
    if (recent < 0 || this.names[recent] !== id || id === '') return this.#search(id);
    this.#idHigh = this.#high[recent]!;
    this.#idLow = this.#low[recent]!;
    this.#idPlace = this.#place[recent]!;
    return recent;
  }

  #search(id: string): number {
    this.#hash(id);
    const place = this.#ids.find(this.#idHigh, this.#idLow);
    this.#idPlace = place;
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
      let pair = id.charCodeAt(at);
      if (at + 1 < last) pair |= id.charCodeAt(at + 1) << 16;
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
    this.ttl[hold] = ttl;
    this.wait[hold] = wait;
    this.state[hold] = OPEN;
    this.free[hold] = free ? 1 : 0;
    this.#giveRoom(hold, entries);
    this.#high[hold] = this.#idHigh;
    this.#low[hold] = this.#idLow;
    this.ends[hold] = entries;
    this.#place[hold] = this.#write(this.#idPlace, this.#idHigh, this.#idLow, HELD + hold);
    this.#recent[this.#idRecent] = hold + 1;
    this.open++;
    this.#schedule.add(hold, until, until - this.#clock.now);
    return hold;
  }

  /** Forgets the entries; the id is remembered with how it ended. */
  close(hold: number, state: number): void {
    this.#discard(hold);
    this.#remember(this.#place[hold]!, this.#high[hold]!, this.#low[hold]!, state, this.ttl[hold]!);
  }

  #discard(hold: number): void {
    if (this.state[hold] === EXPIRED) this.#expired--;
    else this.#unschedule(hold);
    this.#unused.push(hold);
    this.names[hold] = '';
  }

  /** Keeps a closed id, and how it ended. */
  #remember(known: number, high: number, low: number, state: number, ttl: number): void {
    this.#write(known, high, low, CLOSED + state);
    const second = Math.floor(this.#clock.now / 1e6);
    const end = this.#queueAt + this.#queued++;
    if (end >>> QUEUED_BITS === this.#queue.length) this.#queue.push(new Int32Array(QUEUED * 3));
    const last = this.#queue[end >>> QUEUED_BITS]!;
    const at = (end & (QUEUED - 1)) * 3;
    last[at] = high;
    last[at + 1] = low;
    const kept = ttl <= REMEMBERED ? REMEMBERED / 1e6 : Math.min(2 ** 30, Math.ceil(ttl / 1e6));
    last[at + 2] = second + kept;
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
    return this.#schedule.due(now);
  }

  /** Microsecond at which the next hold expires; Infinity: none is open. */
  get next(): number {
    return this.#schedule.next;
  }

  /** An open hold has expired: its entries are kept for a late settlement. Returns one that is too old for that now, or -1. */
  expire(hold: number): number {
    this.#unschedule(hold);
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
    this.#schedule.remove(hold);
    this.#schedule.add(hold, until, until - this.#clock.now);
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
      this.#unschedule(hold);
      this.state[hold] = EXPIRED;
      this.#keepLate(hold);
    }
    return hold;
  }

  restoreClosed(high: number, low: number, state: number): void {
    const place = this.#ids.find(high, low);
    if (place !== -1 && this.#ids.value(place) >= HELD) this.#discard(this.#ids.value(place) - HELD);
    this.#remember(place, high, low, state, 0);
  }

  /** The table of ids, for a store that reads what is remembered. */
  get ids(): Table {
    return this.#ids;
  }

  // Entries. Each is 8 integers of 4 bytes, the last four read as two doubles: amount and window.

  /** The entries of a hold lie in one array; those of rates behind those that a settlement looks at. */
  words(first: number): Int32Array {
    return this.#integers[first >>> SEGMENT_BITS] ?? NO_WORDS;
  }

  numbers(first: number): Float64Array {
    return this.#doubles[first >>> SEGMENT_BITS] ?? NO_NUMBERS;
  }

  wordAt(entry: number): number {
    return (entry & SEGMENT_MASK) << 3;
  }

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

  /** Writes an id; `known`: where it was, -1: it is not there. Returns its place. */
  #write(known: number, high: number, low: number, value: number): number {
    if (known !== -1) {
      const place = this.#ids.has(known, high, low) ? known : this.#ids.find(high, low);
      if (place !== -1) {
        this.#ids.set(place, value);
        return place;
      }
    }
    this.#ids.makeRoom(1);
    const place = this.#ids.add(high, low, value);
    if (place < 0) throw new RangeError('no room for another hold');
    this.#ids.maintain();
    return place;
  }

  /** A block of entries stays with its hold, whoever has it next, as long as it is of the right size. */
  #giveRoom(hold: number, entries: number): void {
    this.count[hold] = entries;
    const kind = entries === 0 ? 0 : 33 - Math.clz32(entries - 1);
    const kept = this.#kind[hold]!;
    if (kept === kind) return;
    if (kept > 0) this.#blocks[kept - 1]!.push(this.first[hold]!);
    this.#kind[hold] = kind;
    this.first[hold] = kind === 0 ? 0 : this.#block(kind - 1);
  }

  #block(kind: number): number {
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

  #unschedule(hold: number): void {
    this.#schedule.remove(hold);
    this.open--;
  }

  #enlarge(): void {
    this.#size *= 2;
    const size = this.#size;
    this.#schedule.enlarge(size);
    this.ttl = doubles(this.ttl, size);
    this.wait = doubles(this.wait, size);
    this.first = integers(this.first, size);
    this.count = integers(this.count, size);
    this.#place = integers(this.#place, size);
    this.ends = integers(this.ends, size);
    this.state = bytes(this.state, size);
    this.free = bytes(this.free, size);
    this.#kind = bytes(this.#kind, size);
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
