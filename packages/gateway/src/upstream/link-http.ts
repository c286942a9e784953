/**
 * Streamable HTTP of the legacy era (2025-03-26 to 2025-11-25): one session, a POST per message, answers as JSON or
 * as an event stream, a GET stream for what belongs to no request. Broken or polled streams are resumed by event id.
 */
import { TollgateError } from '../core/errors.ts';
import type { Lifetime } from '../core/lifetime.ts';
import { scan } from '../protocol/json/scan.ts';
import { Field, type MessageKind } from '../protocol/message.ts';
import type { SseEvent } from '../protocol/sse.ts';
import type { HttpClient, Lane } from './http-client.ts';
import { isJson, isMessageEvent, mediaType } from './http-exchange.ts';
import { disconnected, needsSignIn, protocolFailure, statusFailure } from './http-failure.ts';
import { relayedError } from './http-relay.ts';
import { StreamExchange, type StreamSink } from './http-stream.ts';
import type { Link, LinkListener, OpenLink } from './link.ts';

/** Pause before a stream is opened again when the server names none (`retry:`), in milliseconds. */
const DEFAULT_RETRY_MS = 1_000;
const MAX_RETRY_MS = 30_000;
/** Attempts to resume one stream without an event in between. */
const MAX_ATTEMPTS = 5;
const DELETE_TIMEOUT_MS = 2_000;
/** A session id is visible ASCII (MCP 2025-11-25, session management). */
const SESSION_ID = /^[\x21-\x7e]{1,1024}$/;

export interface HttpLinkOptions {
  /** First pause before a stream is opened again, in milliseconds. Default 1000; the server's `retry:` wins. */
  readonly retryMs?: number;
}

/** Links over one client; each is a session of its own. Opening needs no round trip and cannot fail. */
export function openHttpLink(client: HttpClient, options: HttpLinkOptions = {}): OpenLink {
  return (listener) => Promise.resolve(new HttpLink(client, listener, options.retryMs ?? DEFAULT_RETRY_MS));
}

interface Stream {
  abort(): void;
}

class HttpLink implements Link {
  readonly client: HttpClient;
  readonly listener: LinkListener;
  readonly retryMs: number;
  readonly streams = new Set<Stream>();
  /**
   * Reported after the last message of every request, where it does nothing when that message was the answer. Made
   * once, because that is nearly always so.
   */
  readonly unanswered: TollgateError;
  #session: string | undefined;
  #version: string | undefined;
  #postHeaders: string[];
  #getHeaders: string[];
  #listening = false;
  #closed = false;

  constructor(client: HttpClient, listener: LinkListener, retryMs: number) {
    this.client = client;
    this.listener = listener;
    this.retryMs = retryMs;
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
      const exchange = new StreamExchange(this.client, sink, 0);
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
    const exchange = new StreamExchange(this.client, sink, this.client.options.timeout.idle);
    const { path } = this.client;
    exchange.send({ path, method: 'POST', headers: this.#postHeaders, body: bytes, bodyTimeout: 0 }, lane);
    return exchange;
  }

  get(sink: StreamSink, lastEventId: string | undefined, idleMs: number): StreamExchange {
    const exchange = new StreamExchange(this.client, sink, idleMs);
    const headers = lastEventId === undefined ? this.#getHeaders : [...this.#getHeaders, 'last-event-id', lastEventId];
    exchange.send({ path: this.client.path, method: 'GET', headers, bodyTimeout: 0 }, 'stream');
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
    if (this.#listening || this.#closed || this.#version === undefined) return;
    this.#listening = true;
    new ListenStream(this).open();
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

/** Answer, request or notification, without scanning the common case: only a response has no `method` anywhere. */
function kindOf(link: HttpLink, data: Buffer): MessageKind {
  if (!data.includes('"method"')) return 'result';
  try {
    return scan(data, link.client.caps).kind;
  } catch {
    return 'notification';
  }
}

/** A request and everything that comes back for it: the answer to its POST, and the streams that resume it. */
class RequestStream implements StreamSink, Stream {
  readonly #link: HttpLink;
  readonly #id: string;
  #stopListening: () => void = () => {};
  #exchange: StreamExchange | undefined;
  #timer: NodeJS.Timeout | undefined;
  #over = false;
  #answered = false;
  #lastEventId: string | undefined;
  #retryMs: number;
  #attempts = 0;

  constructor(link: HttpLink, id: string, lifetime: Lifetime) {
    this.#link = link;
    this.#id = id;
    this.#retryMs = link.retryMs;
    link.streams.add(this);
    this.#stopListening = lifetime.onEnd(() => this.abort());
  }

  start(bytes: Buffer): void {
    if (!this.#over) this.#exchange = this.#link.post(this, bytes, 'call');
    if (this.#over) this.#exchange?.abort();
  }

  abort(): void {
    if (this.#over) return;
    this.#over = true;
    this.#link.streams.delete(this);
    clearTimeout(this.#timer);
    this.#stopListening();
    this.#exchange?.abort();
  }

  onHead(exchange: StreamExchange): TollgateError | undefined {
    const { status, headers } = exchange;
    if (status < 300) {
      this.#link.learnSession(headers['mcp-session-id']);
      return undefined;
    }
    return status < 400 || needsSignIn(status, headers) ? this.#refusal(exchange) : undefined;
  }

  onBody(exchange: StreamExchange, body: Buffer): void {
    const { name, caps } = this.#link.client;
    const { status, headers } = exchange;
    if (status >= 300) {
      const relayed = isJson(headers) ? relayedError(body, this.#id, caps) : undefined;
      // Within a session, a 404 that does not name our request means that the session is gone.
      const sessionLost =
        status === 404 && this.#link.session !== undefined && !namesRequest(body, this.#id, this.#link);
      if (sessionLost) {
        this.#fail(new TollgateError('server_unavailable', `${name}: the server has ended the session (HTTP 404)`));
        this.#link.lost();
      } else if (relayed === undefined) this.#fail(this.#refusal(exchange));
      else this.#deliverLast(relayed.bytes);
    } else if (body.length === 0) {
      this.#fail(this.#refusal(exchange));
    } else if (isJson(headers)) {
      this.#deliverLast(body);
    } else {
      const type = JSON.stringify(mediaType(headers['content-type']).slice(0, 100));
      this.#fail(protocolFailure(name, `the content type of the answer is ${type}, not JSON or an event stream`));
    }
  }

  onEvent(event: SseEvent, exchange: StreamExchange): void {
    if (event.id !== undefined) this.#lastEventId = event.id === '' ? undefined : event.id;
    if (event.retry !== undefined) this.#retryMs = Math.min(event.retry, MAX_RETRY_MS);
    this.#attempts = 0;
    if (!isMessageEvent(event)) return;
    const kind = kindOf(this.#link, event.data);
    if (kind === 'result' || kind === 'error') this.#answered = true;
    // The server waits for an answer of the client now, which may take as long as a person needs.
    if (kind === 'request') exchange.suspendIdle();
    this.#link.listener.onMessage(event.data, this.#id);
  }

  onStreamEnd(): void {
    if (this.#answered) this.#fail(this.#link.unanswered);
    else if (this.#lastEventId === undefined) {
      this.#fail(disconnected(this.#link.client.name, 'the event stream ended without an answer'));
    } else {
      this.#link.listener.onPause(this.#id, this.#retryMs);
      this.#resumeLater();
    }
  }

  onFailure(error: TollgateError): void {
    if (this.#lastEventId === undefined || this.#answered || error.code !== 'server_disconnected') this.#fail(error);
    else this.#resumeLater(error);
  }

  #resumeLater(error?: TollgateError): void {
    if (this.#over) return;
    if (this.#attempts >= MAX_ATTEMPTS) {
      const { name } = this.#link.client;
      this.#fail(error ?? disconnected(name, `the event stream could not be resumed in ${MAX_ATTEMPTS} attempts`));
      return;
    }
    const pause = this.#retryMs * (error === undefined ? 1 : 2 ** this.#attempts);
    this.#attempts++;
    this.#timer = setTimeout(
      () => {
        const { idle } = this.#link.client.options.timeout;
        this.#exchange = this.#link.get(new ResumeSink(this, this.#link), this.#lastEventId, idle);
      },
      Math.min(pause, MAX_RETRY_MS),
    );
  }

  /** The last message; when it turns out not to answer the request, the caller still gets one clear error. */
  #deliverLast(bytes: Buffer): void {
    this.abort();
    this.#link.listener.onMessage(bytes, this.#id);
    this.#link.listener.onRequestFailed(this.#id, this.#link.unanswered);
  }

  #fail(error: TollgateError): void {
    if (this.#over) return;
    this.abort();
    this.#link.listener.onRequestFailed(this.#id, error);
  }

  #refusal(exchange: StreamExchange): TollgateError {
    const { client } = this.#link;
    return statusFailure(client.name, exchange.status, exchange.headers, client.tokens !== undefined);
  }
}

function namesRequest(body: Buffer, id: string, link: HttpLink): boolean {
  try {
    return scan(body, link.client.caps).raw(Field.id) === id;
  } catch {
    return false;
  }
}

/** A GET that resumes a request's stream: only its status is judged differently. */
class ResumeSink implements StreamSink {
  readonly #stream: RequestStream;
  readonly #link: HttpLink;

  constructor(stream: RequestStream, link: HttpLink) {
    this.#stream = stream;
    this.#link = link;
  }

  onHead(exchange: StreamExchange): TollgateError | undefined {
    if (exchange.status < 300 && exchange.isStream) return undefined;
    const { name } = this.#link.client;
    if (exchange.status === 404 && this.#link.session !== undefined) {
      this.#link.lost();
      return undefined;
    }
    return protocolFailure(name, `the stream broke and cannot be resumed (HTTP ${exchange.status})`);
  }

  onBody(): void {}

  onEvent(event: SseEvent, exchange: StreamExchange): void {
    this.#stream.onEvent(event, exchange);
  }

  onStreamEnd(): void {
    this.#stream.onStreamEnd();
  }

  onFailure(error: TollgateError): void {
    this.#stream.onFailure(error);
  }
}

/** The GET stream, for what belongs to no request. Servers need not offer it; a broken one is opened again. */
class ListenStream implements StreamSink, Stream {
  readonly #link: HttpLink;
  #exchange: StreamExchange | undefined;
  #timer: NodeJS.Timeout | undefined;
  #over = false;
  #lastEventId: string | undefined;
  #retryMs: number;
  #failures = 0;

  constructor(link: HttpLink) {
    this.#link = link;
    this.#retryMs = link.retryMs;
    link.streams.add(this);
  }

  open(): void {
    // Silent for hours is normal here.
    this.#exchange = this.#link.get(this, this.#lastEventId, 0);
  }

  abort(): void {
    if (this.#over) return;
    this.#over = true;
    this.#link.streams.delete(this);
    clearTimeout(this.#timer);
    this.#exchange?.abort();
  }

  onHead(exchange: StreamExchange): TollgateError | undefined {
    const { status } = exchange;
    if (status < 300 && exchange.isStream) return undefined;
    if (status === 404 && this.#link.session !== undefined) this.#link.lost();
    else if (status >= 500) return disconnected(this.#link.client.name, `no GET stream (HTTP ${status})`);
    else {
      // 405 says that there is none; any other refusal will not change by asking again.
      const { log, name } = this.#link.client;
      if (status !== 405) log.debug({ server: name, status }, 'the server offers no GET stream');
      this.abort();
    }
    return undefined;
  }

  onBody(): void {}

  onEvent(event: SseEvent): void {
    if (event.id !== undefined) this.#lastEventId = event.id === '' ? undefined : event.id;
    if (event.retry !== undefined) this.#retryMs = Math.min(event.retry, MAX_RETRY_MS);
    this.#failures = 0;
    if (isMessageEvent(event)) this.#link.listener.onMessage(event.data, undefined);
  }

  onStreamEnd(): void {
    this.#openLater();
  }

  onFailure(error: TollgateError): void {
    if (error.code === 'server_login_required') this.abort();
    else this.#openLater();
  }

  #openLater(): void {
    if (this.#over) return;
    const pause = Math.min(this.#retryMs * 2 ** Math.min(this.#failures, 16), MAX_RETRY_MS);
    this.#failures++;
    this.#timer = setTimeout(() => this.open(), pause);
    // A server that is away must not keep the process alive.
    this.#timer.unref();
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
    const { client } = this.#link;
    if (exchange.status < 300) {
      exchange.finish();
      this.#resolve();
      this.#link.delivered();
      return undefined;
    }
    if (exchange.status === 404 && this.#link.session !== undefined) queueMicrotask(() => this.#link.lost());
    return statusFailure(client.name, exchange.status, exchange.headers, client.tokens !== undefined);
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
