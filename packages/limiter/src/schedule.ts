/** Queues of holds that last equally long, so that each joins at the end of one. */
const QUEUES = 4;
const NONE = -1;

/**
 * Which hold expires next. Holds that last as long as those before them wait in queues, where coming and going take a
 * handful of steps; the others wait in a heap. Nothing is allocated but for more holds than ever before.
 */
export class Schedule {
  /** When each hold expires. */
  until: Float64Array = new Float64Array(0);
  /** Place in the heap, or -1 - the queue. */
  #position: Int32Array = new Int32Array(0);
  #before: Int32Array = new Int32Array(0);
  #after: Int32Array = new Int32Array(0);
  #heap: Int32Array = new Int32Array(0);
  #heaped = 0;
  readonly #heads: Int32Array = new Int32Array(QUEUES).fill(NONE);
  readonly #tails: Int32Array = new Int32Array(QUEUES).fill(NONE);
  readonly #lasts: Float64Array = new Float64Array(QUEUES);
  /** Nothing expires before this moment; not later than the next one does. */
  readonly #bound: Float64Array = new Float64Array([Infinity]);

  enlarge(size: number): void {
    const until = new Float64Array(size);
    until.set(this.until);
    this.until = until;
    this.#position = larger(this.#position, size);
    this.#before = larger(this.#before, size);
    this.#after = larger(this.#after, size);
    this.#heap = larger(this.#heap, size);
  }

  /** Puts a hold that is nowhere yet where it belongs; `lasts`: how long it does from now on. */
  add(hold: number, until: number, lasts: number): void {
    this.until[hold] = until;
    if (until < this.#bound[0]!) this.#bound[0] = until;
    for (let queue = 0; queue < QUEUES; queue++) {
      const tail = this.#tails[queue]!;
      if (tail === NONE) {
        this.#heads[queue] = hold;
        this.#lasts[queue] = lasts;
      } else if (this.#lasts[queue] === lasts && this.until[tail]! <= until) this.#after[tail] = hold;
      else continue;
      this.#before[hold] = tail;
      this.#after[hold] = NONE;
      this.#tails[queue] = hold;
      this.#position[hold] = -1 - queue;
      return;
    }
    this.#heap[this.#heaped] = hold;
    this.#up(this.#heaped++);
  }

  remove(hold: number): void {
    const position = this.#position[hold]!;
    if (position >= 0) {
      this.#take(position);
      return;
    }
    const before = this.#before[hold]!;
    const after = this.#after[hold]!;
    if (before === NONE) this.#heads[-1 - position] = after;
    else this.#after[before] = after;
    if (after === NONE) this.#tails[-1 - position] = before;
    else this.#before[after] = before;
  }

  /** Hold that is due, or -1. */
  due(now: number): number {
    if (now < this.#bound[0]!) return NONE;
    const hold = this.#first();
    this.#bound[0] = hold === NONE ? Infinity : this.until[hold]!;
    return this.#bound[0]! <= now ? hold : NONE;
  }

  /** When the next hold expires; Infinity: there is none. */
  get next(): number {
    const hold = this.#first();
    return hold === NONE ? Infinity : this.until[hold]!;
  }

  #first(): number {
    let first = this.#heaped === 0 ? NONE : this.#heap[0]!;
    for (let queue = 0; queue < QUEUES; queue++) {
      const head = this.#heads[queue]!;
      if (head !== NONE && (first === NONE || this.until[head]! < this.until[first]!)) first = head;
    }
    return first;
  }

  #take(at: number): void {
    const last = this.#heap[--this.#heaped]!;
    if (at === this.#heaped) return;
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
      if (child >= this.#heaped) break;
      if (child + 1 < this.#heaped && this.until[heap[child + 1]!]! < this.until[heap[child]!]!) child++;
      const below = heap[child]!;
      if (this.until[below]! >= until) break;
      heap[at] = below;
      this.#position[below] = at;
      at = child;
    }
    heap[at] = hold;
    this.#position[hold] = at;
  }
}

function larger(from: Int32Array, size: number): Int32Array {
  const to = new Int32Array(size);
  to.set(from);
  return to;
}
