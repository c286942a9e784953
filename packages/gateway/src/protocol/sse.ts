/**
 * Server-sent events (WHATWG HTML, section 9.2) over Buffers: an incremental parser that gives whole events, and the
 * encoder. Data that came in one piece is handed on without a copy.
 */
import { TollgateError } from '../core/errors.ts';
import { Gather } from './gather.ts';

export interface SseEvent {
  /** `event:` field; undefined when there was none, which means `message`. */
  readonly event: string | undefined;
  /** The data lines joined by LF; empty when there were none (such an event only moves the id or the retry time). */
  readonly data: Buffer;
  /** `id:` field of this event; the empty string resets the id. Undefined when there was none. */
  readonly id: string | undefined;
  /** `retry:` field in milliseconds. */
  readonly retry: number | undefined;
}

const LF = 0x0a;
const CR = 0x0d;
const COLON = 0x3a;
const EMPTY = Buffer.alloc(0);
const NEWLINE = Buffer.from('\n');

export class SseParser {
  readonly #max: number;
  readonly #onEvent: (event: SseEvent) => void;
  /** The start of a line whose end has not come yet. */
  readonly #partial = new Gather();
  #atStart = true;
  #skipLf = false;
  // The event so far.
  #used = 0;
  #some = false;
  #event: string | undefined;
  #id: string | undefined;
  #retry: number | undefined;
  #data: Buffer | undefined;
  readonly #joined = new Gather();

  /** `max`: bytes of one event as written, line by line. `push` throws `server_response_too_large` beyond it. */
  constructor(max: number, onEvent: (event: SseEvent) => void) {
    this.#max = max;
    this.#onEvent = onEvent;
  }

  /** Takes the next bytes, cut anywhere. Events keep references into `chunk`: it must not be written to again. */
  push(chunk: Buffer): void {
    let at = 0;
    if (this.#skipLf && chunk.length > 0) {
      this.#skipLf = false;
      if (chunk[0] === LF) at = 1;
    }
    // Each is searched once per line end found, so a chunk is read twice in all.
    let lf = chunk.indexOf(LF, at);
    let cr = chunk.indexOf(CR, at);
    while (lf >= 0 || cr >= 0) {
      const end = lf < 0 || (cr >= 0 && cr < lf) ? cr : lf;
      this.#spend(end - at + 1);
      if (this.#partial.length > 0) {
        this.#partial.append(chunk, at, end);
        const line = this.#partial.take();
        this.#line(line, 0, line.length);
      } else {
        this.#line(chunk, at, end);
      }
      at = end + 1;
      if (end === cr) {
        if (at === chunk.length) this.#skipLf = true;
        else if (lf === at) at++;
        cr = chunk.indexOf(CR, at);
      }
      if (lf >= 0 && lf < at) lf = chunk.indexOf(LF, at);
    }
    if (at < chunk.length) {
      this.#spend(chunk.length - at);
      this.#partial.append(chunk, at, chunk.length);
    }
  }

  #spend(bytes: number): void {
    this.#used += bytes;
    if (this.#used <= this.#max) return;
    this.#partial.clear();
    this.#reset();
    throw new TollgateError('server_response_too_large', `An event of the server is larger than ${this.#max} bytes`);
  }

  #line(bytes: Buffer, start: number, end: number): void {
    if (this.#atStart) {
      this.#atStart = false;
      if (bytes[start] === 0xef && bytes[start + 1] === 0xbb && bytes[start + 2] === 0xbf) start += 3;
    }
    if (start >= end) {
      this.#dispatch();
      return;
    }
    let colon = start;
    while (colon < end && bytes[colon] !== COLON) colon++;
    if (colon === start) return;
    const size = colon - start;
    // Names of other lengths are unknown and ignored; a line without a colon is a name with an empty value.
    if (size !== 2 && size !== 4 && size !== 5) return;
    let value = Math.min(colon + 1, end);
    if (value < end && bytes[value] === 0x20) value++;
    switch (bytes.toString('latin1', start, colon)) {
      case 'data':
        this.#addData(bytes, value, end);
        break;
      case 'event':
        this.#event = bytes.toString('utf8', value, end);
        break;
      case 'id':
        if (bytes.subarray(value, end).includes(0)) return;
        this.#id = bytes.toString('utf8', value, end);
        break;
      case 'retry': {
        const text = bytes.toString('latin1', value, end);
        if (!/^\d{1,15}$/.test(text)) return;
        this.#retry = Number(text);
        break;
      }
      default:
        return;
    }
    this.#some = true;
  }

  #addData(bytes: Buffer, start: number, end: number): void {
    if (this.#data === undefined) {
      this.#data = bytes.subarray(start, end);
      return;
    }
    if (this.#joined.length === 0) this.#joined.append(this.#data, 0, this.#data.length);
    this.#joined.append(NEWLINE, 0, 1);
    this.#joined.append(bytes, start, end);
  }

  #dispatch(): void {
    if (this.#some) {
      const data = this.#joined.length > 0 ? this.#joined.take() : (this.#data ?? EMPTY);
      const event: SseEvent = {
        event: this.#event === '' ? undefined : this.#event,
        data,
        id: this.#id,
        retry: this.#retry,
      };
      this.#reset();
      this.#onEvent(event);
    } else {
      this.#used = 0;
    }
  }

  #reset(): void {
    this.#used = 0;
    this.#some = false;
    this.#event = undefined;
    this.#id = undefined;
    this.#retry = undefined;
    this.#data = undefined;
    this.#joined.clear();
  }
}

const PREFIX = Buffer.from('event: message\ndata: ');

/**
 * One `message` event. `data` may have line breaks (they become several data lines); `id` must have none. The event
 * name is written out because clients of HTTP+SSE (2024-11-05) wait for it.
 */
export function encodeEvent(data: Buffer, id?: string): Buffer {
  if (data.includes(LF) || data.includes(CR)) return encodeLines(data, id);
  const head = id === undefined ? 0 : Buffer.byteLength(id) + 5;
  const size = head + PREFIX.length + data.length + 2;
  const result = Buffer.allocUnsafe(size);
  if (id !== undefined) result.write(`id: ${id}\n`, 0);
  PREFIX.copy(result, head);
  data.copy(result, head + PREFIX.length);
  result[size - 2] = LF;
  result[size - 1] = LF;
  return result;
}

function encodeLines(data: Buffer, id: string | undefined): Buffer {
  const lines = data.toString('utf8').split(/\r\n|\r|\n/);
  return Buffer.from(`${id === undefined ? '' : `id: ${id}\n`}event: message\ndata: ${lines.join('\ndata: ')}\n\n`);
}

/** Comment that keeps a quiet stream open. */
export const KEEP_ALIVE: Buffer = Buffer.from(': keep-alive\n\n');
