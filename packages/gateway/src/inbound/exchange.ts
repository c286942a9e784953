/** One HTTP request being answered: as JSON, as an event stream, or with a bare status; exactly once. */
import type { ServerResponse } from 'node:http';
import type { TollgateError } from '../core/errors.ts';
import type { ResponseHead } from '../protocol/call.ts';
import { errorBytes } from '../protocol/json/splice.ts';
import { sizeOfPieces } from '../protocol/message.ts';
import type { Connection } from './connections.ts';
import { EventStream, type Streams } from './stream.ts';

type HeaderList = readonly (readonly [string, string])[];

/** What a page of an allowed origin may read besides the body. */
export const EXPOSED = 'Mcp-Session-Id, WWW-Authenticate, Retry-After, RateLimit, RateLimit-Policy';

/** Milliseconds without progress after which an answer that nobody reads is given up. */
const STALL = 60_000;
/** Bytes up to which copying an answer is cheaper than a second piece to write. */
export const SMALL = 4096;

export class Exchange {
  readonly response: ServerResponse;
  /** Allowed origin of the page that asks; undefined for programs. */
  readonly origin: string | undefined;
  /** Names of the headers that such a page may read. */
  readonly exposed: string;
  /** Names and values for every answer of this exchange; undefined: an answer of MCP. */
  always: readonly string[] | undefined = undefined;
  readonly connection: Connection | undefined;
  #gone: (() => void) | undefined;
  #stream: EventStream | undefined;

  constructor(
    response: ServerResponse,
    origin: string | undefined,
    exposed: string,
    connection: Connection | undefined,
  ) {
    this.response = response;
    this.origin = origin;
    this.exposed = exposed;
    this.connection = connection;
    // A late write to a dead socket must not end the process; the `close` event says all there is to know.
    response.on('error', ignore);
    response.on('close', () => {
      connection?.ended(response);
      this.#stream?.detach();
      if (!response.writableEnded) this.#gone?.();
    });
  }

  /** True once a status line was sent, or the client has gone. */
  get started(): boolean {
    return this.response.headersSent || this.response.destroyed;
  }

  /**
   * The listener is called when the client goes away before the answer is complete; the last one given counts.
   * A method and not a property: V8 allocates a function literal that is assigned to a property among the old objects,
   * and a dead old object keeps request, answer and call alive until the next full garbage collection.
   */
  whenGone(listener: () => void): void {
    this.#gone = listener;
  }

  /** A bare status. */
  empty(status: number, headers?: HeaderList): void {
    if (this.started) return;
    const list = ['content-length', '0'];
    this.#addTo(list, headers);
    // RFC 9110 section 8.6: no Content-Length with 204.
    this.#head(status, status === 204 ? list.slice(2) : list)?.end();
  }

  /** Answers with a complete JSON text, in one Buffer or in several. */
  json(body: Buffer | readonly Buffer[], head?: ResponseHead): void {
    if (this.started) return;
    const whole = body instanceof Uint8Array;
    const length = whole ? body.length : sizeOfPieces(body);
    const list = ['content-type', 'application/json', 'content-length', String(length)];
    this.#addTo(list, head?.headers);
    const response = this.#head(head?.status ?? 200, list);
    // Node joins a small text to the head and writes both at once; latin1 is the bytes as they are.
    if (!whole) {
      // Node holds all of them back until `end`, and hands them to the system in one call.
      for (const piece of body) response?.write(piece);
      response?.end();
    } else if (length <= SMALL) response?.end(body.toString('latin1'), 'latin1');
    else response?.end(body);
    // A reader that stalls in the middle of a large answer may not hold its memory for ever.
    if (this.response.writableLength > 0) this.response.setTimeout(STALL, () => this.response.destroy());
  }

  /** A JSON-RPC error under its HTTP status. `id` is the JSON text of the request's id, undefined when not known. */
  refuse(error: TollgateError, id?: string, headers?: HeaderList): void {
    const extra: [string, string][] = headers === undefined ? [] : headers.map(([name, value]) => [name, value]);
    if (error.http === 401 && !extra.some(([name]) => name === 'www-authenticate')) {
      extra.push(['www-authenticate', 'Bearer']);
    }
    if (error.retryAfterSeconds !== undefined) extra.push(['retry-after', String(error.retryAfterSeconds)]);
    this.json(errorBytes(id, error.rpc, error.message, error.data), { status: error.http, headers: extra });
  }

  /** Refuses a request whose body is not read to its end: the connection cannot be used again. */
  refuseUnread(error: TollgateError): void {
    this.closeAfter();
    this.refuse(error);
  }

  /** Turns the answer into an event stream; the head goes out at once. */
  stream(streams: Streams, principalKey: number, headers?: HeaderList): EventStream {
    const list = ['content-type', 'text/event-stream', 'cache-control', 'no-store', 'x-accel-buffering', 'no'];
    this.#addTo(list, headers);
    this.#head(200, list)?.flushHeaders();
    this.#stream = new EventStream(this.response, streams, principalKey);
    return this.#stream;
  }

  /** The connection closes after this answer: what follows on it cannot be trusted or is not wanted. */
  closeAfter(): void {
    this.response.shouldKeepAlive = false;
  }

  /** Node refuses characters that would split a header; then the answer is given up rather than the process. */
  #head(status: number, list: string[]): ServerResponse | undefined {
    try {
      return this.response.writeHead(status, list);
    } catch {
      this.response.destroy();
      return undefined;
    }
  }

  #addTo(list: string[], headers: HeaderList | undefined): void {
    if (headers !== undefined) for (const [name, value] of headers) list.push(name, value);
    if (this.always !== undefined) list.push(...this.always);
    if (this.origin === undefined) return;
    list.push('access-control-allow-origin', this.origin, 'vary', 'Origin');
    list.push('access-control-expose-headers', this.exposed);
  }
}

function ignore(): void {}
