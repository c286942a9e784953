import { mixHigh, mixLow } from './hash.ts';

const ROWS = 4;
const WIDTH = 1024;
const CELLS = ROWS * WIDTH;

/**
 * Where the keys of a rule are counted for which the table has no room: a count-min sketch. Every key has a cell in
 * each of four rows, and its state is the least of them; other keys can only make that more, never less. The cells
 * follow from the seeded fingerprint, so that nobody can aim at a victim's. 32 KB, or 64 for windows.
 */
export class Sketch {
  /** Ticks (token bucket), or units of the window at hand. */
  #cells: Float64Array = new Float64Array(CELLS);
  /** Units of the window before; a charge counts for at least one and at most two windows. */
  #before: Float64Array | undefined;
  /** When the window ends, in the clock of the rule. Infinity: never. */
  #end = Infinity;
  dirty = false;
  readonly #at = new Int32Array(ROWS);

  /** Token bucket: tick at which a key is full again. */
  value(high: number, low: number): number {
    this.#locate(high, low);
    return this.#least(this.#cells);
  }

  /** Token bucket, conservatively: only cells that are lower. */
  raise(high: number, low: number, value: number): void {
    this.#locate(high, low);
    for (const at of this.#at) if (this.#cells[at]! < value) this.#cells[at] = value;
    this.dirty = true;
  }

  /**
   * Goes on to the window at `now`. With a `period` windows follow each other, and the last one still counts; without,
   * the next one ends at `end`.
   */
  turn(now: number, period: number, end: number): void {
    if (this.#end === Infinity && end !== Infinity) this.#end = end;
    if (now < this.#end) return;
    if (period > 0 && now < this.#end + period) {
      [this.#cells, this.#before] = [this.#before ?? new Float64Array(CELLS), this.#cells];
      this.#cells.fill(0);
      this.#end += period;
    } else {
      this.#cells.fill(0);
      this.#before?.fill(0);
      this.#end = end;
    }
    this.dirty = true;
  }

  used(high: number, low: number): number {
    this.#locate(high, low);
    let least = Infinity;
    for (const at of this.#at) least = Math.min(least, this.#cells[at]! + (this.#before?.[at] ?? 0));
    return least;
  }

  /** When `cost` fits under `limit`, in the clock of the rule. */
  fitsAt(high: number, low: number, cost: number, limit: number, period: number): number {
    this.#locate(high, low);
    return period === 0 || this.#least(this.#cells) + cost <= limit ? this.#end : this.#end + period;
  }

  get end(): number {
    return this.#end;
  }

  /** Units: conservatively, or in every row where they are taken back later. */
  add(high: number, low: number, units: number, everywhere: boolean): void {
    this.#locate(high, low);
    const target = this.#least(this.#cells) + units;
    for (const at of this.#at) {
      if (everywhere) this.#cells[at] = Math.max(0, this.#cells[at]! + units);
      else if (this.#cells[at]! < target) this.#cells[at] = target;
    }
    this.dirty = true;
  }

  /** For a store: end, cells, cells of the window before. */
  save(): Float64Array {
    const saved = new Float64Array(1 + CELLS + (this.#before === undefined ? 0 : CELLS));
    saved[0] = this.#end;
    saved.set(this.#cells, 1);
    if (this.#before !== undefined) saved.set(this.#before, 1 + CELLS);
    return saved;
  }

  /** False: not of this form. `ticks`: added to cells that are not 0; `shift`: to the end. */
  load(saved: Float64Array, ticks: number, shift: number): boolean {
    if (saved.length !== 1 + CELLS && saved.length !== 1 + 2 * CELLS) return false;
    this.#end = saved[0]! + shift;
    for (let i = 0; i < CELLS; i++) this.#cells[i] = saved[1 + i]! === 0 ? 0 : Math.max(0, saved[1 + i]! + ticks);
    this.#before = saved.length > 1 + CELLS ? saved.slice(1 + CELLS) : undefined;
    this.dirty = true;
    return true;
  }

  #least(cells: Float64Array): number {
    let least = Infinity;
    for (const at of this.#at) least = Math.min(least, cells[at]!);
    return least;
  }

  #locate(high: number, low: number): void {
    const start = mixHigh(high, low);
    const step = mixLow(low, high) | 1;
    for (let row = 0; row < ROWS; row++) this.#at[row] = row * WIDTH + ((start + Math.imul(row, step)) & (WIDTH - 1));
  }
}
