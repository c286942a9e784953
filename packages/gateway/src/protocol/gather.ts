/** Collects pieces of bytes into one Buffer that grows by doubling, so that many tiny pieces cost no more than few. */
export class Gather {
  #buffer: Buffer | undefined;
  length = 0;

  append(bytes: Buffer, from: number, to: number): void {
    const needed = this.length + to - from;
    const old = this.#buffer;
    let buffer = old;
    if (buffer === undefined || buffer.length < needed) {
      buffer = Buffer.allocUnsafe(Math.max(256, needed, 2 * this.length));
      old?.copy(buffer, 0, 0, this.length);
      this.#buffer = buffer;
    }
    bytes.copy(buffer, this.length, from, to);
    this.length = needed;
  }

  /** What was collected; the next piece starts a new Buffer. */
  take(): Buffer {
    const taken = this.#buffer === undefined ? Buffer.alloc(0) : this.#buffer.subarray(0, this.length);
    this.clear();
    return taken;
  }

  clear(): void {
    this.#buffer = undefined;
    this.length = 0;
  }
}
