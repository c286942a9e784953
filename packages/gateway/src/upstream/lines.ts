/**
 * Splits the output of a child into lines of bounded length. Unlike `protocol/ndjson.ts`, which refuses what a client
 * sends, it keeps the ends of a line that is too long, where the id of a lost answer is, and counts one without an end.
 */
const KEPT = 256;
const NEWLINE = 0x0a;
/** Beyond twice the cap, before a line counts as endless: a small cap is no reason to give a child up. */
const SLACK = 1024 * 1024;

export interface LineListener {
  /** One line without its newline (and without a carriage return before it); never empty. */
  onLine(line: Buffer): void;
  /** A line longer than the cap was dropped; its first and last bytes are kept. */
  onTooLong(head: Buffer, tail: Buffer, length: number): void;
  /** A line has grown far beyond the cap without a newline: it will hardly end. Called once. */
  onEndless?(length: number): void;
}

export class LineSplitter {
  readonly #max: number;
  readonly #listener: LineListener;
  #parts: Buffer[] = [];
  #length = 0;
  #head: Buffer | undefined;
  #tail: Buffer | undefined;
  #endless = false;

  constructor(max: number, listener: LineListener) {
    this.#max = max;
    this.#listener = listener;
  }

  push(chunk: Buffer): void {
    let start = 0;
    while (true) {
      const end = chunk.indexOf(NEWLINE, start);
      if (end < 0) break;
      this.#add(start === end ? undefined : chunk.subarray(start, end));
      this.#flush();
      start = end + 1;
    }
    if (start < chunk.length) this.#add(start === 0 ? chunk : chunk.subarray(start));
  }

  /** The stream ended: what was not terminated counts as a line. */
  end(): void {
    this.#flush();
  }

  #add(part: Buffer | undefined): void {
    if (part === undefined) return;
    this.#length += part.length;
    if (this.#tail !== undefined) {
      this.#tail = last(this.#tail, part);
      if (this.#length > 2 * this.#max + SLACK && !this.#endless) {
        this.#endless = true;
        this.#listener.onEndless?.(this.#length);
      }
      return;
    }
    this.#parts.push(part);
    if (this.#length > this.#max) {
      const all = this.#parts.length === 1 ? part : Buffer.concat(this.#parts);
      this.#parts = [];
      this.#head = Buffer.from(all.subarray(0, KEPT));
      this.#tail = Buffer.from(all.subarray(-KEPT));
    }
  }

  #flush(): void {
    if (this.#length === 0) return;
    const parts = this.#parts;
    const length = this.#length;
    const head = this.#head;
    const tail = this.#tail;
    this.#parts = [];
    this.#length = 0;
    this.#head = undefined;
    this.#tail = undefined;
    if (head !== undefined && tail !== undefined) {
      this.#listener.onTooLong(head, tail, length);
      return;
    }
    let line = parts.length === 1 ? parts[0]! : Buffer.concat(parts, length);
    if (line[line.length - 1] === 0x0d) line = line.subarray(0, -1);
    if (line.length > 0) this.#listener.onLine(line);
  }
}

function last(before: Buffer, part: Buffer): Buffer {
  return part.length >= KEPT
    ? Buffer.from(part.subarray(-KEPT))
    : Buffer.from(Buffer.concat([before, part]).subarray(-KEPT));
}
