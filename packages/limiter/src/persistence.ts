import type { Counters } from './counters.ts';
import { EXPIRED, type Holds, IN_SKETCH, OPEN, stateOf } from './holds.ts';
import type { Journal } from './journal.ts';
import { BUCKET, CONCURRENCY, type MemoryRule, type Rules, type Seed, type SketchOwner } from './rule.ts';
import { Sketch } from './sketch.ts';
import { type Slots, TAG_CHAIN, TAG_LOG, TAG_MASK, TAG_WALL } from './slots.ts';
import type { RuleOptions } from './types.ts';

/** "TGLM" read as a little-endian number. */
const MAGIC = 0x4d4c4754;
const VERSION = 1;
/** Magic, version, check sum, length; origin; seed; latest time. */
const HEADER = 40;
export const SECTIONS = { rules: 1, sketches: 2, rates: 3, wides: 4, entries: 5, closed: 6, holds: 7 } as const;
/** Slots looked at for one piece, however few of them live. */
const SCANNED = 16_384;

/** What persistence needs of a limiter. */
export interface Parts {
  readonly counters: Counters;
  readonly rules: Rules;
  readonly holds: Holds;
  readonly seed: Seed;
  readonly originMicros: number;
}

/**
 * A binary piece of state, little-endian: header, then sections of (type, length, records), each padded to 8 bytes. It
 * carries the origin, the seed and a check sum, so that each piece can be judged alone.
 */
export class Piece {
  #bytes = new Uint8Array(4096);
  #view = new DataView(this.#bytes.buffer);
  #length = HEADER;

  constructor({ originMicros, seed, counters }: Parts) {
    this.#view.setUint32(0, MAGIC, true);
    this.#view.setUint32(4, VERSION, true);
    this.#view.setFloat64(16, originMicros, true);
    this.#view.setUint32(24, seed[0], true);
    this.#view.setUint32(28, seed[1], true);
    this.#view.setFloat64(32, counters.clock.now, true);
  }

  get empty(): boolean {
    return this.#length === HEADER;
  }

  get length(): number {
    return this.#length;
  }

  section(type: number, bytes: number): void {
    this.#length = Math.ceil(this.#length / 8) * 8;
    this.#reserve(8 + bytes);
    this.#view.setUint32(this.#length, type, true);
    this.#view.setUint32(this.#length + 4, bytes, true);
    this.#length += 8;
  }

  bytes(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  uint(value: number): void {
    this.#reserve(4);
    this.#view.setUint32(this.#length, value, true);
    this.#length += 4;
  }

  double(value: number): void {
    this.#reserve(8);
    this.#view.setFloat64(this.#length, value, true);
    this.#length += 8;
  }

  finish(): Uint8Array {
    this.#view.setUint32(12, this.#length, true);
    this.#view.setUint32(8, checkSum(this.#bytes, this.#length), true);
    return this.#bytes.slice(0, this.#length);
  }

  #reserve(more: number): void {
    if (this.#length + more + 8 <= this.#bytes.length) return;
    const larger = new Uint8Array(Math.max(2 * this.#bytes.length, this.#length + more + 8));
    larger.set(this.#bytes);
    this.#bytes = larger;
    this.#view = new DataView(larger.buffer);
  }
}

/** Definition of a rule as it is written: under which number, and the name of the state it shares. */
interface Defined {
  readonly number: number;
  readonly shape: string;
  readonly options: RuleOptions;
}

export function putRules(piece: Piece, { rules }: Parts): void {
  const defined: Defined[] = rules.all.map(({ number, family, options }) => ({ number, shape: family.shape, options }));
  if (defined.length === 0) return;
  const text = new TextEncoder().encode(JSON.stringify(defined));
  piece.section(SECTIONS.rules, text.length);
  piece.bytes(text);
}

export function putSketches(piece: Piece, { rules }: Parts, dirtyOnly: boolean): void {
  for (const rule of rules.all) {
    const owner: SketchOwner = rule.kind === BUCKET ? rule : rule.family;
    const { sketch } = owner;
    if (sketch === undefined || (dirtyOnly && !sketch.dirty)) continue;
    if (dirtyOnly) sketch.dirty = false;
    const saved = sketch.save();
    piece.section(SECTIONS.sketches, 8 + saved.byteLength);
    piece.uint(rule.number);
    piece.uint(0);
    piece.bytes(new Uint8Array(saved.buffer));
  }
}

export function putHolds(piece: Piece, { holds }: Parts, chosen: readonly number[]): void {
  if (chosen.length === 0) return;
  let bytes = 0;
  for (const hold of chosen) bytes += 40 + Math.ceil(holds.names[hold]!.length / 4) * 8 + holds.count[hold]! * 32;
  piece.section(SECTIONS.holds, bytes);
  for (const hold of chosen) {
    const name = holds.names[hold]!;
    piece.uint(name.length);
    piece.uint(holds.count[hold]!);
    piece.uint(holds.state[hold]!);
    piece.uint(holds.free[hold]!);
    piece.double(holds.until[hold]!);
    piece.double(holds.ttl[hold]!);
    piece.double(holds.wait[hold]!);
    const units = new Uint16Array(Math.ceil(name.length / 4) * 4);
    for (let i = 0; i < name.length; i++) units[i] = name.charCodeAt(i);
    piece.bytes(new Uint8Array(units.buffer));
    const first = holds.first[hold]!;
    for (let entry = first; entry < first + holds.count[hold]!; entry++) {
      piece.uint(holds.rule(entry));
      piece.uint(holds.high(entry));
      piece.uint(holds.low(entry));
      piece.uint(holds.flags(entry));
      piece.double(holds.amount(entry));
      piece.double(holds.window(entry));
    }
  }
}

export function putClosed(piece: Piece, slots: Slots, places: readonly number[]): void {
  if (places.length === 0) return;
  piece.section(SECTIONS.closed, places.length * 16);
  for (const at of places) {
    piece.uint(slots.high(at));
    piece.uint(slots.low(at));
    piece.double(stateOf(slots.value(at)));
  }
}

/** Goes over the tables a piece at a time; see `MemoryLimiter.snapshot`. */
export function* snapshot(parts: Parts, journal: Journal, chunkBytes: number): Generator<Uint8Array, void, undefined> {
  const { counters, holds } = parts;
  const { rates, wides, clock } = counters;
  const tables = [...rates.parts(), ...wides.parts()];
  // What moves while the tables are read is written as a change, lest it moves from ahead to behind.
  rates.mover = { moved: (table, at) => journal.rate(table.high(at), table.low(at), table.value(at)) };
  wides.mover = { moved: (_, at) => counters.note(at) };
  journal.reading++;
  try {
    const first = new Piece(parts);
    putRules(first, parts);
    putSketches(first, parts, false);
    let { length: defined } = parts.rules.all;
    yield first.finish();
    for (const slots of tables) {
      for (let at = 0; at < slots.size; ) {
        const piece = new Piece(parts);
        const live: number[] = [];
        const end = Math.min(slots.size, at + SCANNED);
        const room = Math.max(1, Math.floor(chunkBytes / (slots.width * 8)));
        for (; at < end && live.length < room; at++) if (slots.live(at, clock)) live.push(at);
        if (live.length === 0) continue;
        putSlots(piece, slots, live);
        if (slots.width === 4) putEntries(piece, slots, live, counters);
        yield piece.finish();
      }
    }
    for (const slots of holds.ids.parts()) {
      for (let at = 0; at < slots.size; ) {
        const piece = new Piece(parts);
        const closed: number[] = [];
        const open: number[] = [];
        const end = Math.min(slots.size, at + SCANNED);
        for (let bytes = 0; at < end && bytes < chunkBytes; at++) {
          if (!slots.live(at, clock)) continue;
          const hold = holds.heldBy(slots.value(at));
          if (hold < 0) closed.push(at);
          else open.push(hold);
          bytes += hold < 0 ? 16 : 300;
        }
        putClosed(piece, slots, closed);
        // A rule that was made since the first piece may have been charged by a hold of this one.
        if (open.length > 0 && parts.rules.all.length !== defined) {
          defined = parts.rules.all.length;
          putRules(piece, parts);
        }
        putHolds(piece, parts, open);
        if (!piece.empty) yield piece.finish();
      }
    }
  } finally {
    journal.reading--;
    if (journal.reading === 0) {
      rates.mover = undefined;
      wides.mover = undefined;
    }
  }
}

function putSlots(piece: Piece, slots: Slots, live: readonly number[]): void {
  piece.section(slots.width === 2 ? SECTIONS.rates : SECTIONS.wides, live.length * slots.width * 8);
  for (const at of live) {
    piece.uint(slots.high(at));
    piece.uint(slots.low(at));
    piece.double(slots.value(at));
    if (slots.width === 2) continue;
    piece.double(slots.column(at, 2));
    piece.double(thirdToKeep(slots.low(at), slots.column(at, 3)));
  }
}

/** Logs and chains are written on their own: what leads to them means nothing elsewhere. */
export function thirdToKeep(low: number, third: number): number {
  const tag = low & TAG_MASK;
  return tag === TAG_LOG || tag === TAG_CHAIN ? 0 : third;
}

function putEntries(piece: Piece, slots: Slots, live: readonly number[], { logs, clock }: Counters): void {
  const records: number[] = [];
  for (const at of live) {
    if ((slots.low(at) & TAG_MASK) !== TAG_LOG) continue;
    records.push(slots.high(at), slots.low(at), -Infinity, 0);
    logs.open(slots.column(at, 3));
    for (let i = 0; i < logs.count; i++) {
      if (logs.leaves(i) > clock.now) records.push(slots.high(at), slots.low(at), logs.leaves(i), logs.amount(i));
    }
  }
  if (records.length === 0) return;
  piece.section(SECTIONS.entries, records.length * 6);
  for (let i = 0; i < records.length; i += 4) {
    piece.uint(records[i]!);
    piece.uint(records[i + 1]!);
    piece.double(records[i + 2]!);
    piece.double(records[i + 3]!);
  }
}

/** FNV-1a over words, the sum itself left out. */
function checkSum(bytes: Uint8Array, length: number): number {
  let sum = 0x811c9dc5;
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, length >>> 2);
  for (let i = 3; i < words.length; i++) sum = Math.imul(sum ^ words[i]!, 0x01000193);
  for (let i = words.length * 4; i < length; i++) sum = Math.imul(sum ^ bytes[i]!, 0x01000193);
  return sum >>> 0;
}

/** Reads pieces back; see `MemoryLimiter.restore`. */
export function restore(pieces: Iterable<Uint8Array>, parts: Parts, reseed: (seed: Seed) => void): void {
  let reader: Reader | undefined;
  let number = 0;
  for (const given of pieces) {
    const where = `state piece ${number++}`;
    // A copy, so that words and doubles are aligned whatever they were cut out of.
    const bytes = new Uint8Array(given);
    if (bytes.length < HEADER) throw new Error(`${where} is damaged: ${bytes.length} bytes are less than a header`);
    const view = new DataView(bytes.buffer);
    if (view.getUint32(0, true) !== MAGIC) throw new Error(`${where} is damaged: it does not begin like a state`);
    const version = view.getUint32(4, true);
    if (version !== VERSION) throw new Error(`${where} has version ${version}; this limiter reads version ${VERSION}`);
    if (view.getUint32(12, true) !== bytes.length) throw new Error(`${where} is damaged: it is cut off`);
    if (view.getUint32(8, true) !== checkSum(bytes, bytes.length)) {
      throw new Error(`${where} is damaged: its check sum differs`);
    }
    const seed: Seed = [view.getUint32(24, true), view.getUint32(28, true)];
    if (reader === undefined) {
      reseed(seed);
      reader = new Reader(parts, seed);
    } else if (reader.seed[0] !== seed[0] || reader.seed[1] !== seed[1]) {
      throw new Error(`${where} has another seed than the pieces before: it is of another state`);
    }
    reader.read(bytes, view, where);
  }
  reader?.finish();
}

class Reader {
  readonly seed: Seed;
  readonly #parts: Parts;
  /** Rules by the number they were written under. */
  readonly #rules = new Map<number, MemoryRule>();
  #shift = 0;
  #view: DataView = new DataView(new ArrayBuffer(0));
  #where = '';

  constructor(parts: Parts, seed: Seed) {
    this.#parts = parts;
    this.seed = seed;
  }

  read(bytes: Uint8Array, view: DataView, where: string): void {
    this.#view = view;
    this.#where = where;
    this.#shift = view.getFloat64(16, true) - this.#parts.originMicros;
    if (!Number.isSafeInteger(this.#shift)) throw this.#damaged('its origin is no time');
    let at = HEADER;
    while (at + 8 <= bytes.length) {
      const type = view.getUint32(at, true);
      const length = view.getUint32(at + 4, true);
      at += 8;
      if (at + length > bytes.length) throw this.#damaged('a section reaches beyond its end');
      this.#section(type, at, length);
      at = Math.ceil((at + length) / 8) * 8;
    }
  }

  /** Slots of concurrency rules are chained anew: the chain is not written. */
  finish(): void {
    const { holds, counters, rules } = this.#parts;
    for (let hold = 0; hold < holds.end; hold++) {
      if (holds.names[hold] === '') continue;
      const first = holds.first[hold]!;
      for (let entry = first; entry < first + holds.count[hold]!; entry++) {
        const number = holds.rule(entry);
        if (number < 0 || rules.all[number]!.kind !== CONCURRENCY) continue;
        if ((holds.flags(entry) & IN_SKETCH) !== 0) continue;
        const head = counters.link(rules.all[number]!, holds.high(entry), holds.low(entry), entry + 1);
        holds.setNext(entry, head - 1);
        holds.setPrevious(entry, -1);
        if (head > 0) holds.setPrevious(head - 1, entry);
      }
    }
  }

  #section(type: number, at: number, length: number): void {
    switch (type) {
      case SECTIONS.rules:
        return this.#readRules(at, length);
      case SECTIONS.sketches:
        return this.#readSketch(at, length);
      case SECTIONS.rates:
        return this.#records(at, length, 16, this.#readRate);
      case SECTIONS.wides:
        return this.#records(at, length, 32, this.#readWide);
      case SECTIONS.entries:
        return this.#records(at, length, 24, this.#readEntry);
      case SECTIONS.closed:
        return this.#records(at, length, 16, this.#readClosed);
      case SECTIONS.holds:
        return this.#readHolds(at, at + length);
      default:
        throw this.#damaged(`there is no section ${type}`);
    }
  }

  #records(at: number, length: number, size: number, read: (at: number) => void): void {
    if (length % size !== 0) throw this.#damaged('a section is no whole number of records');
    for (let record = at; record < at + length; record += size) read.call(this, record);
  }

  #readRules(at: number, length: number): void {
    try {
      const text = new TextDecoder('utf-8', { fatal: true }).decode(new Uint8Array(this.#view.buffer, at, length));
      for (const { number, shape, options } of JSON.parse(text) as Defined[]) {
        this.#rules.set(number, this.#parts.rules.known(options, shape));
      }
    } catch (error) {
      throw new Error(`${this.#where} is damaged: its rules cannot be read`, { cause: error });
    }
  }

  #readSketch(at: number, length: number): void {
    const rule = this.#rules.get(this.#view.getUint32(at, true));
    if (rule === undefined || length % 8 !== 0 || length < 16) throw this.#damaged('a sketch belongs to no rule');
    const saved = new Float64Array(this.#view.buffer.slice(at + 8, at + length) as ArrayBuffer);
    const sketch = new Sketch();
    const wall = rule.tag === TAG_WALL && rule.kind !== BUCKET;
    const ticks = rule.kind === BUCKET ? this.#shift * rule.resolution : 0;
    if (!sketch.load(saved, ticks, wall ? 0 : this.#shift)) throw this.#damaged('a sketch has another size');
    this.#parts.rules.sketch(rule, sketch);
  }

  #readRate(at: number): void {
    const [high, low] = this.#lanes(at);
    const value = this.#number(at + 8);
    this.#parts.counters.putRate(high, low, value === 0 ? 0 : value + this.#shift * ((low & TAG_MASK) + 1));
  }

  #readWide(at: number): void {
    const [high, low] = this.#lanes(at);
    const end = this.#number(at + 8);
    const shifted = end === 0 || (low & TAG_MASK) === TAG_WALL ? end : end + this.#shift;
    this.#parts.counters.putWide(high, low, shifted, this.#number(at + 16), this.#number(at + 24));
  }

  #readEntry(at: number): void {
    const [high, low] = this.#lanes(at);
    this.#parts.counters.putEntry(high, low, this.#number(at + 8) + this.#shift, this.#number(at + 16));
  }

  #readClosed(at: number): void {
    const [high, low] = this.#lanes(at);
    const state = this.#number(at + 8);
    if (!(state > OPEN && state <= EXPIRED && Number.isInteger(state))) throw this.#damaged('a hold has no such state');
    this.#parts.holds.restoreClosed(high, low, state);
  }

  #readHolds(from: number, end: number): void {
    const view = this.#view;
    const { holds } = this.#parts;
    let at = from;
    while (at < end) {
      if (at + 40 > end) throw this.#damaged('a hold is cut off');
      const characters = view.getUint32(at, true);
      const entries = view.getUint32(at + 4, true);
      const state = view.getUint32(at + 8, true);
      const free = view.getUint32(at + 12, true) === 1;
      const size = 40 + Math.ceil(characters / 4) * 8 + entries * 32;
      if (characters === 0 || characters > 128 || entries > 128 || at + size > end) {
        throw this.#damaged('a hold is cut off');
      }
      if (state !== OPEN && state !== EXPIRED) throw this.#damaged('a hold has no such state');
      const name = String.fromCharCode(...new Uint16Array(view.buffer, at + 40, characters));
      const until = this.#number(at + 16) + this.#shift;
      const hold = holds.restoreHeld(name, state, until, this.#number(at + 24), this.#number(at + 32), free, entries);
      let entry = holds.first[hold]!;
      for (let record = at + size - entries * 32; record < at + size; record += 32) {
        this.#readHoldEntry(record, hold, entry++);
      }
      at += size;
    }
  }

  #readHoldEntry(at: number, hold: number, entry: number): void {
    const view = this.#view;
    const { holds } = this.#parts;
    const number = view.getInt32(at, true);
    const rule = this.#rules.get(number);
    if (number >= 0 && rule === undefined) throw this.#damaged('a hold charges an unknown rule');
    const window = view.getFloat64(at + 24, true);
    const ticks = rule === undefined || (rule.tag === TAG_WALL && rule.kind !== BUCKET) ? 0 : rule.resolution;
    const moved = window + this.#shift * ticks;
    const flags = (view.getUint32(at + 12, true) & 0xff) | (hold << 8);
    holds.setEntry(
      entry,
      rule?.number ?? -1,
      view.getInt32(at + 4, true),
      view.getInt32(at + 8, true),
      flags,
      this.#number(at + 16),
      moved,
    );
  }

  #lanes(at: number): readonly [number, number] {
    const high = this.#view.getUint32(at, true);
    if (high === 0) throw this.#damaged('a key has no fingerprint');
    return [high, this.#view.getUint32(at + 4, true)];
  }

  #number(at: number): number {
    const value = this.#view.getFloat64(at, true);
    if (Number.isNaN(value)) throw this.#damaged('a number is none');
    return value;
  }

  #damaged(what: string): Error {
    return new Error(`${this.#where} is damaged: ${what}`);
  }
}
