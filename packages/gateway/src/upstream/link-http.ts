/**
 * Streamable HTTP of the legacy era (2025-03-26 to 2025-11-25): one session, a POST per message, answers as JSON or
 * as an event stream, a GET stream for what belongs to no request. Broken or polled streams are resumed by event id.
 */
import { TollgateError } from '../core/errors.ts';
import type { Lifetime } from '../core/lifetime.ts';
import type { Principal } from '../core/principal.ts';
import type { HttpClient, Lane } from './http-client.ts';
import { disconnected, protocolFailure } from './http-failure.ts';
import { StreamExchange, type StreamSink } from './http-stream.ts';
import type { Link, LinkListener, OpenLink } from './link.ts';
import { ListenStream, RequestStream, type SessionLink, type Stream } from './link-http-streams.ts';

/** Pause before a stream is opened again when the server names none (`retry:`), in milliseconds. */
const DEFAULT_RETRY_MS = 1_000;
const STREAM_HEAD_MS = 1_000;
const DELETE_TIMEOUT_MS = 2_000;
/** A session id is visible ASCII (MCP 2025-11-25, session management). */
const SESSION_ID = /^[\x21-\x7e]{1,1024}$/;

export interface HttpLinkOptions {
  /** First pause before a stream is opened again, in milliseconds. Default 1000; the server's `retry:` wins. */
  readonly retryMs?: number;
  /** Longest wait for the head of a new session's GET stream, in milliseconds. Default 1000. */
  readonly headMs?: number;
  /** Whose session it is; undefined: the gateway's, or one that callers share. */
  readonly principal?: Principal | undefined;
}

/** Links over one client; each is a session of its own. Opening needs no round trip and cannot fail. */
export function openHttpLink(client: HttpClient, options: HttpLinkOptions = {}): OpenLink {
  const { retryMs = DEFAULT_RETRY_MS, headMs = STREAM_HEAD_MS, principal } = options;
  return (listener) => Promise.resolve(new HttpLink(client, listener, { retryMs, headMs, principal }));
}

class HttpLink implements Link, SessionLink {
  readonly client: HttpClient;
  readonly listener: LinkListener;
  readonly retryMs: number;
  readonly streams = new Set<Stream>();
  readonly unanswered: TollgateError;
  readonly #headMs: number;
  readonly #principal: Principal | undefined;
  #session: string | undefined;
  #version: string | undefined;
  #postHeaders: string[];
  #getHeaders: string[];
  #listen: ListenStream | undefined;
  #closed = false;

  constructor(client: HttpClient, listener: LinkListener, options: Required<HttpLinkOptions>) {
    this.client = client;
    this.listener = listener;
    this.retryMs = options.retryMs;
    this.#headMs = options.headMs;
    this.#principal = options.principal;
    this.unanswered = protocolFailure(client.name, 'the answer carries another id than the request');
    this.#postHeaders = [];
    this.#getHeaders = [];
    this.#buildHeaders();
  }

  get closed(): boolean {
    return this.#closed;
  }

  get session(): string | undefined {
    return this.#session;
  }

  sendRequest(bytes: Buffer, id: string, lifetime: Lifetime): void {
    if (this.#closed) this.listener.onRequestFailed(id, this.#gone());
    else new RequestStream(this, id, lifetime).start(bytes);
  }

  send(bytes: Buffer): Promise<void> {
    if (this.#closed) return Promise.reject(this.#gone());
    return new Promise((resolve, reject) => {
      const sink = new SendSink(this, resolve, reject);
      sink.exchange = this.post(sink, bytes, 'control');
    });
  }

  negotiated(version: string): void {
    this.#version = version;
    this.#buildHeaders();
  }

  /** Ends the session with DELETE, which the server may not support, within 2 s. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#end();
    if (this.#session === undefined) return;
    await new Promise<void>((resolve) => {
      const sink = new EndSink(resolve);
      const exchange = new StreamExchange(this.client, sink, 0, this.#principal);
      const timer = setTimeout(() => {
        exchange.abort();
        resolve();
      }, DELETE_TIMEOUT_MS);
      sink.onDone = () => {
        clearTimeout(timer);
        exchange.abort();
      };
      exchange.send({ path: this.client.path, method: 'DELETE', headers: this.#getHeaders }, 'control');
    });
  }

  post(sink: StreamSink, bytes: Buffer, lane: Lane): StreamExchange {
    const exchange = new StreamExchange(this.client, sink, this.client.options.timeout.idle, this.#principal);
    const { path } = this.client;
    exchange.send({ path, method: 'POST', headers: this.#postHeaders, body: bytes, bodyTimeout: 0 }, lane);
    return exchange;
  }

  get(sink: StreamSink, lastEventId: string | undefined, idleMs: number): StreamExchange {
    const exchange = new StreamExchange(this.client, sink, idleMs, this.#principal);
    const headers = lastEventId === undefined ? this.#getHeaders : [...this.#getHeaders, 'last-event-id', lastEventId];
    // A stream that may be silent may also be silent before its first byte: some servers send headers with the data.
    const headersTimeout = idleMs === 0 ? 0 : null;
    exchange.send({ path: this.client.path, method: 'GET', headers, bodyTimeout: 0, headersTimeout }, 'stream');
    return exchange;
  }

  /** Takes the session id from the first answer that names one, which is the answer to `initialize`. */
  learnSession(value: string | string[] | undefined): void {
    if (this.#session !== undefined || this.#version !== undefined || typeof value !== 'string') return;
    if (!SESSION_ID.test(value)) return;
    this.#session = value;
    this.#buildHeaders();
  }

  /** The first message after `negotiated` was taken (`notifications/initialized`): now the server may speak. */
  delivered(): void {
    if (this.#listen !== undefined || this.#closed || this.#version === undefined) return;
    this.#listen = new ListenStream(this);
    this.#listen.open();
  }

  /** Waits for the head of the GET stream, but not where the last one came too late to be waited for. */
  async listening(): Promise<void> {
    const { client } = this;
    if (this.#listen === undefined) return;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<boolean>((resolve) => {
      timer = setTimeout(resolve, this.#headMs, true).unref();
    });
    const head = Promise.race([this.#listen.opened, late]).then((isLate) => {
      client.lateStreams = isLate;
      clearTimeout(timer);
    });
    if (!client.lateStreams) await head;
  }

  /** HTTP 404 within a session: it is over, and only a new `initialize` helps (MCP 2025-11-25). */
  lost(): void {
    if (this.#closed) return;
    this.#end();
    this.listener.onClose(disconnected(this.client.name, 'the server has ended the session (HTTP 404)'));
  }

  #end(): void {
    this.#closed = true;
    for (const stream of [...this.streams]) stream.abort();
    this.streams.clear();
  }

  #gone(): TollgateError {
    return new TollgateError('server_unavailable', `${this.client.name}: the session is over`);
  }

  #buildHeaders(): void {
    const common = [...this.client.headers];
    if (this.#session !== undefined) common.push('mcp-session-id', this.#session);
    if (this.#version !== undefined) common.push('mcp-protocol-version', this.#version);
    const accept = 'application/json, text/event-stream';
    this.#postHeaders = ['content-type', 'application/json', 'accept', accept, ...common];
    this.#getHeaders = ['accept', 'text/event-stream', ...common];
  }
}

/** A notification or an answer: done when the server has taken it. */
class SendSink implements StreamSink {
  exchange: StreamExchange | undefined;
  readonly #link: HttpLink;
  readonly #resolve: () => void;
  readonly #reject: (error: TollgateError) => void;

  constructor(link: HttpLink, resolve: () => void, reject: (error: TollgateError) => void) {
    this.#link = link;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  onHead(exchange: StreamExchange): TollgateError | undefined {
    if (exchange.status < 300) {
      exchange.finish();
      this.#resolve();
      this.#link.delivered();
      return undefined;
    }
    if (exchange.status === 404 && this.#link.session !== undefined) queueMicrotask(() => this.#link.lost());
    return exchange.refusal();
  }

  onBody(): void {}
  onEvent(): void {}
  onStreamEnd(): void {}

  onFailure(error: TollgateError): void {
    this.#reject(error);
  }
}

/** An exchange of which only the end matters. */
class EndSink implements StreamSink {
  onDone: () => void = () => {};
  readonly #resolve: () => void;

  constructor(resolve: () => void) {
    this.#resolve = resolve;
  }

  onHead(): undefined {
    this.#end();
  }

  onBody(): void {}
  onEvent(): void {}
  onStreamEnd(): void {}

  onFailure(): void {
    this.#end();
  }

  #end(): void {
    this.onDone();
    this.#resolve();
  }
}
