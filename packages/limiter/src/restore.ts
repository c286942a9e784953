import { link, putEntry, putRate, putWide } from './counter-store.ts';
import { EXPIRED, IN_SKETCH, OPEN } from './holds.ts';
import { checkSum, type Defined, HEADER, MAGIC, type Parts, SECTIONS, VERSION } from './piece.ts';
import { BUCKET, CONCURRENCY, type MemoryRule, type Seed } from './rule.ts';
import { Sketch } from './sketch.ts';
import { TAG_MASK, TAG_WALL } from './slots.ts';

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
        const head = link(counters, rules.all[number]!, holds.high(entry), holds.low(entry), entry + 1);
        holds.setNext(entry, head - 1);
        holds.setPrevious(entry, -1);
        if (head > 0) holds.setPrevious(head - 1, entry);
      }
    }
  }

  #section(type: number, at: number, length: number): void {
    switch (type) {
      case SECTIONS.rules:
        this.#readRules(at, length);
        return;
      case SECTIONS.sketches:
        this.#readSketch(at, length);
        return;
      case SECTIONS.rates:
        this.#records(at, length, 16, this.#readRate);
        return;
      case SECTIONS.wides:
        this.#records(at, length, 32, this.#readWide);
        return;
      case SECTIONS.entries:
        this.#records(at, length, 24, this.#readEntry);
        return;
      case SECTIONS.closed:
        this.#records(at, length, 16, this.#readClosed);
        return;
      case SECTIONS.holds:
        this.#readHolds(at, at + length);
        return;
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
      for (const { number, shape, seat, options } of JSON.parse(text) as Defined[]) {
        this.#rules.set(number, this.#parts.rules.known(options, shape, seat));
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
    putRate(this.#parts.counters, high, low, value === 0 ? 0 : value + this.#shift * ((low & TAG_MASK) + 1));
  }

  #readWide(at: number): void {
    const [high, low] = this.#lanes(at);
    const end = this.#number(at + 8);
    const shifted = end === 0 || (low & TAG_MASK) === TAG_WALL ? end : end + this.#shift;
    putWide(this.#parts.counters, high, low, shifted, this.#number(at + 16), this.#number(at + 24));
  }

  #readEntry(at: number): void {
    const [high, low] = this.#lanes(at);
    putEntry(this.#parts.counters, high, low, this.#number(at + 8) + this.#shift, this.#number(at + 16));
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
    const high = this.#view.getInt32(at, true);
    if (high === 0) throw this.#damaged('a key has no fingerprint');
    return [high, this.#view.getInt32(at + 4, true)];
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
