import type { Counters } from './counters.ts';
import { type Holds, stateOf } from './holds.ts';
import { BUCKET, type Rules, type Seed, type SketchOwner } from './rule.ts';
import type { Slots } from './slots.ts';
import type { RuleOptions } from './types.ts';

/** "TGLM" read as a little-endian number. */
export const MAGIC = 0x4d4c4754;
export const VERSION = 2;
/** Magic, version, check sum, length; origin; seed; latest time. */
export const HEADER = 40;
export const SECTIONS = { rules: 1, sketches: 2, rates: 3, wides: 4, entries: 5, closed: 6, holds: 7 } as const;

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
export interface Defined {
  readonly number: number;
  readonly shape: string;
  readonly seat: number;
  readonly options: RuleOptions;
}

export function putRules(piece: Piece, { rules }: Parts): void {
  const defined: Defined[] = rules.all.map(({ number, family, options }) => {
    const { shape, seat } = family;
    return { number, shape, seat, options };
  });
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

/** FNV-1a over words, the sum itself left out. */
export function checkSum(bytes: Uint8Array, length: number): number {
  let sum = 0x811c9dc5;
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, length >>> 2);
  for (let i = 3; i < words.length; i++) sum = Math.imul(sum ^ words[i]!, 0x01000193);
  for (let i = words.length * 4; i < length; i++) sum = Math.imul(sum ^ bytes[i]!, 0x01000193);
  return sum >>> 0;
}
