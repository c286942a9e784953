/** The streams of one Streamable HTTP session: a request with all that resumes it, and the GET stream. */
import { TollgateError } from '../core/errors.ts';
import type { Lifetime } from '../core/lifetime.ts';
import { scan } from '../protocol/json/scan.ts';
import { Field, type MessageKind } from '../protocol/message.ts';
import type { SseEvent } from '../protocol/sse.ts';
import type { HttpClient, Lane } from './http-client.ts';
import { isJson, isMessageEvent, mediaType } from './http-exchange.ts';
import { disconnected, needsSignIn, protocolFailure } from './http-failure.ts';
import { relayedError } from './http-relay.ts';
import type { StreamExchange, StreamSink } from './http-stream.ts';
import type { LinkListener } from './link.ts';

const MAX_RETRY_MS = 30_000;
/** Attempts to resume one stream without an event in between. */
const MAX_ATTEMPTS = 5;

export interface Stream {
  abort(): void;
}

/** The session, as its streams see it. */
export interface SessionLink {
  readonly client: HttpClient;
  readonly listener: LinkListener;
  /** First pause before a stream is opened again, in milliseconds. */
  readonly retryMs: number;
  readonly streams: Set<Stream>;
  /** Session id, once the server has named one. */
  readonly session: string | undefined;
  /**
   * Reported after the last message of every request, where it does nothing when that message was the answer. Made
   * once, because that is nearly always so.
   */
  readonly unanswered: TollgateError;
  post(sink: StreamSink, bytes: Buffer, lane: Lane): StreamExchange;
  get(sink: StreamSink, lastEventId: string | undefined, idleMs: number): StreamExchange;
  learnSession(value: string | string[] | undefined): void;
  /** The server has ended the session. */
  lost(): void;
}

/** Answer, request or notification, without scanning the common case: only a response has no `method` anywhere. */
function kindOf(link: SessionLink, data: Buffer): MessageKind {
  if (!data.includes('"method"')) return 'result';
  try {
    return scan(data, link.client.caps).kind;
  } catch {
    return 'notification';
  }
}

/** A request and everything that comes back for it: the answer to its POST, and the streams that resume it. */
export class RequestStream implements StreamSink, Stream {
  readonly #link: SessionLink;
  readonly #id: string;
  #stopListening: () => void = () => {};
  #exchange: StreamExchange | undefined;
  #timer: NodeJS.Timeout | undefined;
  #over = false;
  #lastEventId: string | undefined;
  #retryMs: number;
  #attempts = 0;

  constructor(link: SessionLink, id: string, lifetime: Lifetime) {
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
    return status < 400 || needsSignIn(status, headers) ? exchange.refusal() : undefined;
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
      } else if (relayed === undefined) this.#fail(exchange.refusal());
      else this.#deliverLast(relayed.bytes);
    } else if (body.length === 0) {
      this.#fail(exchange.refusal());
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
    if (kind === 'result' || kind === 'error') {
      // Servers end the stream after the answer; one that does not is cut soon.
      exchange.finish();
      this.#deliverLast(event.data);
      return;
    }
    // The server waits for an answer of the client now, which may take as long as a person needs.
    if (kind === 'request') exchange.suspendIdle();
    this.#link.listener.onMessage(event.data, this.#id);
  }

  onStreamEnd(): void {
    if (this.#lastEventId === undefined) {
      this.#fail(disconnected(this.#link.client.name, 'the event stream ended without an answer'));
    } else {
      this.#link.listener.onPause(this.#id, this.#retryMs);
      this.#resumeLater();
    }
  }

  onFailure(error: TollgateError): void {
    if (this.#lastEventId === undefined || error.code !== 'server_disconnected') this.#fail(error);
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
}

function namesRequest(body: Buffer, id: string, link: SessionLink): boolean {
  try {
    return scan(body, link.client.caps).raw(Field.id) === id;
  } catch {
    return false;
  }
}

/** A GET that resumes a request's stream: only its status is judged differently. */
class ResumeSink implements StreamSink {
  readonly #stream: RequestStream;
  readonly #link: SessionLink;

  constructor(stream: RequestStream, link: SessionLink) {
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
export class ListenStream implements StreamSink, Stream {
  /** Resolves to false when the first attempt stands, was refused or failed. */
  readonly opened: Promise<false>;
  readonly #link: SessionLink;
  #settle: (late: false) => void = () => {};
  #exchange: StreamExchange | undefined;
  #timer: NodeJS.Timeout | undefined;
  #over = false;
  #lastEventId: string | undefined;
  #retryMs: number;
  #failures = 0;

  constructor(link: SessionLink) {
    this.#link = link;
    this.#retryMs = link.retryMs;
    this.opened = new Promise((resolve) => {
      this.#settle = resolve;
    });
    link.streams.add(this);
  }

  open(): void {
    // Silent for hours is normal here.
    this.#exchange = this.#link.get(this, this.#lastEventId, 0);
  }

  abort(): void {
    if (this.#over) return;
    this.#over = true;
    this.#settle(false);
    this.#link.streams.delete(this);
    clearTimeout(this.#timer);
    this.#exchange?.abort();
  }

  onHead(exchange: StreamExchange): TollgateError | undefined {
    const { status } = exchange;
    this.#settle(false);
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
    this.#settle(false);
    if (error.code === 'server_login_required' || error.code === 'account_required') this.abort();
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
