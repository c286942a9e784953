/** Entries of the smallest and the largest log. */
const SMALLEST = 4;
export const MOST_ENTRIES = 128;
const CLASSES = 6;
/** Doubles allocated in one go: 256 KB. */
const SEGMENT = 2 ** 15;

/**
 * Logs of sliding windows: pairs of (microsecond at which a charge leaves the window, amount), ascending, in rings of
 * 4 to 128 entries cut out of large arrays. A log is named by one number that fits a column of a slot: size class,
 * first entry, number of entries, position. 0 is the empty log.
 * `open` reads such a number; the other methods work on the log that is open; `pointer` names it afterwards.
 */
export class Logs {
  readonly #segments: Float64Array[][] = Array.from({ length: CLASSES }, () => []);
  readonly #next: number[] = Array.from({ length: CLASSES }, () => 0);
  readonly #free: number[][] = Array.from({ length: CLASSES }, () => []);
  #bytes = 0;
  // The open log.
  #class = -1;
  #head = 0;
  #index = 0;
  #size = 0;
  #data: Float64Array = new Float64Array(0);
  #base = 0;
  count = 0;
  /** Times that two entries became one. */
  merges = 0;

  get bytes(): number {
    return this.#bytes;
  }

  open(pointer: number): void {
    if (pointer === 0) {
      this.#class = -1;
      this.#size = 0;
      this.#head = 0;
      this.count = 0;
      return;
    }
    const kind = pointer % 8;
    let rest = (pointer - kind) / 8;
    this.#head = rest % 128;
    rest = (rest - this.#head) / 128;
    this.count = rest % 256;
    this.#locate(kind - 1, (rest - this.count) / 256);
  }

  pointer(): number {
    return this.#class < 0 ? 0 : this.#class + 1 + 8 * (this.#head + 128 * (this.count + 256 * this.#index));
  }

  leaves(i: number): number {
    return this.#data[this.#at(i)]!;
  }

  amount(i: number): number {
    return this.#data[this.#at(i) + 1]!;
  }

  setAmount(i: number, amount: number): void {
    this.#data[this.#at(i) + 1] = amount;
  }

  /** Position of the entry that leaves at this moment, or -1. */
  indexOf(leaves: number): number {
    for (let i = this.count - 1; i >= 0; i--) {
      const at = this.leaves(i);
      if (at === leaves) return i;
      if (at < leaves) return -1;
    }
    return -1;
  }

  /** Drops what has left by `now`; returns its amount. */
  drop(now: number): number {
    let dropped = 0;
    while (this.count > 0 && this.leaves(0) <= now) {
      dropped += this.amount(0);
      this.#head = (this.#head + 1) & (this.#size - 1);
      this.count--;
    }
    return dropped;
  }

  /**
   * Adds a charge. When a log is as long as it may be, the two entries closest to each other become one that leaves with
   * the later: so it counts longer at most, never shorter. Returns the moment at which the charge leaves.
   */
  add(leaves: number, amount: number): number {
    let i = this.count;
    while (i > 0 && this.leaves(i - 1) > leaves) i--;
    if (i > 0 && this.leaves(i - 1) === leaves) {
      this.setAmount(i - 1, this.amount(i - 1) + amount);
      return leaves;
    }
    if (this.count === MOST_ENTRIES) {
      this.#merge();
      return this.add(leaves, amount);
    }
    if (this.count === this.#size) this.#grow();
    this.count++;
    for (let j = this.count - 1; j > i; j--) this.#put(j, this.leaves(j - 1), this.amount(j - 1));
    this.#put(i, leaves, amount);
    return leaves;
  }

  last(): number {
    return this.count === 0 ? 0 : this.leaves(this.count - 1);
  }

  /** Gives the room of a log back. */
  free(pointer: number): void {
    if (pointer === 0) return;
    const kind = pointer % 8;
    const rest = ((pointer - kind) / 8 - (((pointer - kind) / 8) % 128)) / 128;
    this.#free[kind - 1]!.push((rest - (rest % 256)) / 256);
  }

  #merge(): void {
    this.merges++;
    let closest = 1;
    for (let i = 2; i < this.count; i++) {
      if (this.leaves(i) - this.leaves(i - 1) < this.leaves(closest) - this.leaves(closest - 1)) closest = i;
    }
    this.setAmount(closest, this.amount(closest) + this.amount(closest - 1));
    for (let j = closest - 1; j < this.count - 1; j++) this.#put(j, this.leaves(j + 1), this.amount(j + 1));
    this.count--;
  }

  #grow(): void {
    const { count } = this;
    const before = this.pointer();
    const [data, base, head, size] = [this.#data, this.#base, this.#head, this.#size];
    const kind = this.#class + 1;
    this.#locate(kind, this.#free[kind]!.pop() ?? this.#allocate(kind));
    this.#head = 0;
    for (let i = 0; i < count; i++) {
      const from = base + 2 * ((head + i) & (size - 1));
      this.#put(i, data[from]!, data[from + 1]!);
    }
    this.free(before);
  }

  #allocate(kind: number): number {
    const index = this.#next[kind]!;
    const perSegment = SEGMENT / (2 * (SMALLEST << kind));
    if (index % perSegment === 0) {
      this.#segments[kind]!.push(new Float64Array(SEGMENT));
      this.#bytes += SEGMENT * 8;
    }
    this.#next[kind] = index + 1;
    return index;
  }

  #locate(kind: number, index: number): void {
    const size = SMALLEST << kind;
    const perSegment = SEGMENT / (2 * size);
    this.#class = kind;
    this.#index = index;
    this.#size = size;
    this.#data = this.#segments[kind]![Math.floor(index / perSegment)]!;
    this.#base = (index % perSegment) * 2 * size;
  }

  #at(i: number): number {
    return this.#base + 2 * ((this.#head + i) & (this.#size - 1));
  }

  #put(i: number, leaves: number, amount: number): void {
    const at = this.#at(i);
    this.#data[at] = leaves;
    this.#data[at + 1] = amount;
  }
}
