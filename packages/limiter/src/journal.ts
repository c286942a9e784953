import { type Parts, Piece, putHolds, putRules, putSketches, SECTIONS } from './piece.ts';

/** Records in one array of a stream. */
const CHUNK_BITS = 12;
const CHUNK_MASK = 2 ** CHUNK_BITS - 1;
/** Keys whose latest record is remembered, so that a busy key is written once. */
const RECENT = 4096;

/** Records of one width: a fingerprint and doubles, in arrays of 4096. */
export class Stream {
  readonly width: number;
  length = 0;
  #lanes: Int32Array[] = [];
  #values: Float64Array[] = [];
  readonly #recent: Int32Array;

  /** `unique`: a later record of a key takes the place of the one before. */
  constructor(width: number, unique: boolean) {
    this.width = width;
    this.#recent = new Int32Array(unique ? RECENT : 0);
  }

  /** Index of the record of a key. */
  record(high: number, low: number): number {
    if (this.#recent.length > 0) {
      const recent = (high ^ low) & (RECENT - 1);
      const known = this.#recent[recent]! - 1;
      if (known >= 0 && known < this.length) {
        const lanes = this.#lanes[known >>> CHUNK_BITS]!;
        const at = (known & CHUNK_MASK) * this.width * 2;
        if (lanes[at] === high && lanes[at + 1] === low) return known;
      }
      this.#recent[recent] = this.length + 1;
    }
    const index = this.length++;
    if (index >>> CHUNK_BITS === this.#lanes.length) {
      const buffer = new ArrayBuffer((CHUNK_MASK + 1) * this.width * 8);
      this.#lanes.push(new Int32Array(buffer));
      this.#values.push(new Float64Array(buffer));
    }
    const lanes = this.#lanes[index >>> CHUNK_BITS]!;
    const at = (index & CHUNK_MASK) * this.width * 2;
    lanes[at] = high;
    lanes[at + 1] = low;
    return index;
  }

  set(index: number, column: number, value: number): void {
    this.#values[index >>> CHUNK_BITS]![(index & CHUNK_MASK) * this.width + column] = value;
  }

  /** Writes all records into a piece and forgets them; the memory of the first chunk stays. */
  drain(piece: Piece, section: number): void {
    if (this.length === 0) return;
    const bytes = this.length * this.width * 8;
    piece.section(section, bytes);
    for (let from = 0, chunk = 0; from < this.length; from += CHUNK_MASK + 1, chunk++) {
      const records = Math.min(this.length - from, CHUNK_MASK + 1);
      piece.bytes(new Uint8Array(this.#lanes[chunk]!.buffer, 0, records * this.width * 8));
    }
    this.clear();
  }

  clear(): void {
    this.length = 0;
    this.#lanes.length = Math.min(1, this.#lanes.length);
    this.#values.length = this.#lanes.length;
  }
}

/** What has changed since somebody took it. Records are written when the change is made, so that taking them is a copy. */
export class Journal {
  readonly #rates = new Stream(2, true);
  readonly #wides = new Stream(4, true);
  readonly #entries = new Stream(3, false);
  readonly #closed = new Stream(2, false);
  readonly #holds = new Set<number>();
  #defined = true;
  /** A snapshot is being read: slots that move would be missed by it. */
  reading = 0;

  rate(high: number, low: number, value: number): void {
    this.#rates.set(this.#rates.record(high, low), 1, value);
  }

  wide(high: number, low: number, end: number, second: number, third: number): void {
    const record = this.#wides.record(high, low);
    this.#wides.set(record, 1, end);
    this.#wides.set(record, 2, second);
    this.#wides.set(record, 3, third);
  }

  /** An entry of a log: at this moment so much leaves. -Infinity: the log begins anew. */
  entry(high: number, low: number, leaves: number, amount: number): void {
    const record = this.#entries.record(high, low);
    this.#entries.set(record, 1, leaves);
    this.#entries.set(record, 2, amount);
  }

  /** An open or expired hold is new or another. */
  hold(hold: number): void {
    this.#holds.add(hold);
  }

  closed(high: number, low: number, state: number): void {
    this.#closed.set(this.#closed.record(high, low), 1, state);
  }

  /** A rule is new. */
  defined(): void {
    this.#defined = true;
  }

  take(parts: Parts): Uint8Array | undefined {
    const piece = new Piece(parts);
    if (this.#defined) putRules(piece, parts);
    this.#defined = false;
    putSketches(piece, parts, true);
    this.#rates.drain(piece, SECTIONS.rates);
    this.#wides.drain(piece, SECTIONS.wides);
    this.#entries.drain(piece, SECTIONS.entries);
    this.#closed.drain(piece, SECTIONS.closed);
    const holds: number[] = [];
    for (const hold of this.#holds) if (parts.holds.names[hold] !== '') holds.push(hold);
    this.#holds.clear();
    putHolds(piece, parts, holds);
    return piece.empty ? undefined : piece.finish();
  }
}
