/** Messages on pipes and sockets (MCP stdio transport): one JSON text per line, lines of bounded length. */
import { Gather } from './gather.ts';

const LF = 0x0a;
const CR = 0x0d;

export interface NdjsonListener {
  /** One line without its line end; never empty. References the pushed chunk when it came in one piece. */
  onLine(line: Buffer): void;
  /** A line over the cap was dropped up to its end. Called once for each, as soon as the cap is passed. */
  onOversize(cap: number): void;
}

export class NdjsonParser {
  readonly #max: number;
  readonly #listener: NdjsonListener;
  readonly #partial = new Gather();
  #skipping = false;

  /** `max`: bytes of one line, its end not counted. */
  constructor(max: number, listener: NdjsonListener) {
    this.#max = max;
    this.#listener = listener;
  }

  /** Takes the next bytes, cut anywhere. A line that is not finished when the stream ends is no message. */
  push(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) {
      const end = chunk.indexOf(LF, at);
      const stop = end < 0 ? chunk.length : end;
      if (!this.#skipping && this.#partial.length + stop - at > this.#max + 1) this.#drop();
      if (end < 0) {
        if (!this.#skipping) this.#partial.append(chunk, at, stop);
        return;
      }
      if (this.#skipping) this.#skipping = false;
      else this.#line(chunk, at, stop);
      at = stop + 1;
    }
  }

  #line(chunk: Buffer, start: number, end: number): void {
    let line: Buffer;
    if (this.#partial.length > 0) {
      this.#partial.append(chunk, start, end);
      line = this.#partial.take();
    } else {
      line = chunk.subarray(start, end);
    }
    if (line[line.length - 1] === CR) line = line.subarray(0, -1);
    if (line.length > this.#max) this.#listener.onOversize(this.#max);
    else if (line.length > 0) this.#listener.onLine(line);
  }

  #drop(): void {
    this.#partial.clear();
    this.#skipping = true;
    this.#listener.onOversize(this.#max);
  }
}
