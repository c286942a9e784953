/**
 * HTTP+SSE of 2024-11-05: one GET stream carries everything the server says; its first event names the place to
 * which the client posts. All requests share the stream, so its end is the end of all of them.
 */
import { TollgateError } from '../core/errors.ts';
import type { Lifetime } from '../core/lifetime.ts';
import type { Principal } from '../core/principal.ts';
import type { SseEvent } from '../protocol/sse.ts';
import type { HttpClient } from './http-client.ts';
import { isMessageEvent } from './http-exchange.ts';
import { disconnected, duration, protocolFailure } from './http-failure.ts';
import { StreamExchange, type StreamSink } from './http-stream.ts';
import type { Link, LinkListener, OpenLink } from './link.ts';

/**
 * Resolves when the server has named its endpoint, at the latest after `timeout.firstByte`. Rejects with
 * `server_protocol_error` when the answer is no event stream or the endpoint is on another origin.
 */
export function openSseLink(client: HttpClient, principal?: Principal): OpenLink {
  return (listener) =>
    new Promise((resolve, reject) => new SseLink(client, principal, listener, resolve, reject).open());
}

class SseLink implements Link, StreamSink {
  readonly #client: HttpClient;
  /** Whose session it is; undefined: the gateway's, or one that callers share. */
  readonly #principal: Principal | undefined;
  readonly #listener: LinkListener;
  readonly #resolve: (link: Link) => void;
  readonly #reject: (error: TollgateError) => void;
  readonly #posts = new Set<StreamExchange>();
  #stream: StreamExchange | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** Path and query of the endpoint, once named. */
  #endpoint: string | undefined;
  #closed = false;
  #version: string | undefined;

  constructor(
    client: HttpClient,
    principal: Principal | undefined,
    listener: LinkListener,
    resolve: (link: Link) => void,
    reject: (error: TollgateError) => void,
  ) {
    this.#client = client;
    this.#principal = principal;
    this.#listener = listener;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  open(): void {
    const { firstByte } = this.#client.options.timeout;
    this.#timer = setTimeout(() => {
      const late = `${this.#client.name}: no endpoint event within ${duration(firstByte)} (timeout.firstByte)`;
      this.#stream?.fail(new TollgateError('deadline_exceeded', late));
    }, firstByte);
    const headers = ['accept', 'text/event-stream', ...this.#client.headers];
    this.#stream = new StreamExchange(this.#client, this, 0, this.#principal);
    this.#stream.send({ path: this.#client.path, method: 'GET', headers, bodyTimeout: 0 }, 'stream');
  }

  sendRequest(bytes: Buffer, id: string, lifetime: Lifetime): void {
    let stopListening = (): void => {};
    const post = this.#post(bytes, (error) => {
      stopListening();
      if (error !== undefined) this.#listener.onRequestFailed(id, error);
    });
    if (post?.over === false) stopListening = lifetime.onEnd(() => post.abort());
  }

  send(bytes: Buffer): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#post(bytes, (error) => (error === undefined ? resolve() : reject(error)));
    });
  }

  negotiated(version: string): void {
    this.#version = version;
  }

  async close(): Promise<void> {
    this.#end();
  }

  onHead(exchange: StreamExchange): TollgateError | undefined {
    if (exchange.status < 300 && exchange.isStream) return undefined;
    if (exchange.status >= 300) return exchange.refusal();
    return protocolFailure(this.#client.name, 'the answer to GET is no event stream');
  }

  onBody(): void {}

  onEvent(event: SseEvent, exchange: StreamExchange): void {
    if (event.event === 'endpoint' && this.#endpoint === undefined) this.#named(event.data.toString('utf8'), exchange);
    else if (isMessageEvent(event)) this.#listener.onMessage(event.data, undefined);
  }

  onStreamEnd(): void {
    this.onFailure(disconnected(this.#client.name, 'the server closed its event stream'));
  }

  onFailure(error: TollgateError): void {
    if (this.#closed) return;
    this.#end();
    if (this.#endpoint === undefined) this.#reject(error);
    else this.#listener.onClose(error);
  }

  /** A foreign origin would get the operator's headers and every message of the callers. */
  #named(text: string, exchange: StreamExchange): void {
    const base = this.#client.options.target.url;
    const url = URL.parse(text, base.href);
    if (url === null || url.origin !== base.origin) {
      exchange.fail(protocolFailure(this.#client.name, 'the endpoint it names is not on the origin of `url`'));
      return;
    }
    clearTimeout(this.#timer);
    this.#endpoint = `${url.pathname}${url.search}`;
    this.#resolve(this);
  }

  /** Any 2xx says that the message was taken; the answer comes on the stream. */
  #post(bytes: Buffer, done: (error: TollgateError | undefined) => void): StreamExchange | undefined {
    if (this.#closed || this.#endpoint === undefined) {
      done(new TollgateError('server_unavailable', `${this.#client.name}: the connection is closed`));
      return undefined;
    }
    const sink = new PostSink((error) => {
      this.#posts.delete(exchange);
      done(error);
    });
    const exchange = new StreamExchange(this.#client, sink, this.#client.options.timeout.idle, this.#principal);
    this.#posts.add(exchange);
    const headers = ['content-type', 'application/json', 'accept', 'application/json', ...this.#client.headers];
    if (this.#version !== undefined) headers.push('mcp-protocol-version', this.#version);
    exchange.send({ path: this.#endpoint, method: 'POST', headers, body: bytes, bodyTimeout: 0 }, 'control');
    return exchange;
  }

  #end(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#stream?.abort();
    for (const post of this.#posts) post.abort();
    this.#posts.clear();
  }
}

class PostSink implements StreamSink {
  readonly #done: (error: TollgateError | undefined) => void;

  constructor(done: (error: TollgateError | undefined) => void) {
    this.#done = done;
  }

  onHead(exchange: StreamExchange): TollgateError | undefined {
    if (exchange.status >= 300) return exchange.refusal();
    exchange.finish();
    this.#done(undefined);
    return undefined;
  }

  onBody(): void {}
  onEvent(): void {}
  onStreamEnd(): void {}

  onFailure(error: TollgateError): void {
    this.#done(error);
  }
}
