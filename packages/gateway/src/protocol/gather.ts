/** From this size on a piece is kept as it is and copied once, at the end; below, keeping it would cost more than its bytes. */
const LARGE = 4096;

/** Collects pieces of bytes into one Buffer, so that many tiny pieces cost no more than few. */
export class Gather {
  /** What lies before the small pieces. */
  #large: Buffer[] | undefined;
  /** Small pieces, in a Buffer that grows by doubling. */
  #small: Buffer | undefined;
  #used = 0;
  length = 0;

  /** Large pieces are not copied now: their bytes must not change before `take`. */
  append(bytes: Buffer, from: number, to: number): void {
    this.length += to - from;
    if (to - from >= LARGE) {
      this.#large ??= [];
      if (this.#used > 0) this.#large.push(this.#takeSmall());
      this.#large.push(bytes.subarray(from, to));
      return;
    }
    const needed = this.#used + to - from;
    const old = this.#small;
    let small = old;
    if (small === undefined || small.length < needed) {
      small = Buffer.allocUnsafe(Math.max(256, needed, 2 * this.#used));
      old?.copy(small, 0, 0, this.#used);
      this.#small = small;
    }
    bytes.copy(small, this.#used, from, to);
    this.#used = needed;
  }

  /** What was collected; the next piece starts a new Buffer. */
  take(): Buffer {
    const large = this.#large;
    const rest = this.#takeSmall();
    const taken = large === undefined ? rest : large.length === 1 && rest.length === 0 ? large[0]! : join(large, rest);
    this.clear();
    return taken;
  }

  clear(): void {
    this.#large = undefined;
    this.#small = undefined;
    this.#used = 0;
    this.length = 0;
  }

  #takeSmall(): Buffer {
    const taken = this.#small === undefined ? EMPTY : this.#small.subarray(0, this.#used);
    this.#small = undefined;
    this.#used = 0;
    return taken;
  }
}

const EMPTY = Buffer.alloc(0);

function join(large: Buffer[], rest: Buffer): Buffer {
  large.push(rest);
  return Buffer.concat(large);
}
