/** One POST whose answer is wanted whatever its status: detecting the era, discover, notifications. */
import { TollgateError } from '../core/errors.ts';
import type { Principal } from '../core/principal.ts';
import { scan } from '../protocol/json/scan.ts';
import { Field, type Message } from '../protocol/message.ts';
import type { SseEvent } from '../protocol/sse.ts';
import type { HttpClient } from './http-client.ts';
import { HttpExchange, isJson, isMessageEvent } from './http-exchange.ts';
import { disconnected, duration, type ResponseHeaders } from './http-failure.ts';
import { relayedError } from './http-relay.ts';

export interface HttpAnswer {
  readonly status: number;
  readonly headers: ResponseHeaders;
  /** The response under our id: of the body, or of the first event that is one. Undefined when there is none. */
  readonly message: Message | undefined;
  /** The body as it came; of an event stream, the data of that event. */
  readonly body: Buffer;
  /** The failure to tell where the status allows nothing else. */
  readonly refusal: () => TollgateError;
}

export interface Post {
  readonly body: Buffer;
  /** Flat list of names and values, without the token. */
  readonly headers: readonly string[];
  /** Id of the request as JSON text; undefined for a notification. */
  readonly idText: string | undefined;
  readonly timeoutMs: number;
  /** Whose token goes with it; undefined: the gateway's. */
  readonly principal: Principal | undefined;
}

/** Resolves to the answer of any status. Rejects with a TollgateError when none was complete within `timeoutMs`. */
export function postOnce(client: HttpClient, post: Post): Promise<HttpAnswer> {
  return new Promise((resolve, reject) => {
    new ProbeExchange(client, post, resolve, reject).start(post);
  });
}

class ProbeExchange extends HttpExchange {
  readonly #id: string | undefined;
  readonly #resolve: (answer: HttpAnswer) => void;
  readonly #reject: (error: TollgateError) => void;
  readonly #timer: NodeJS.Timeout;

  constructor(
    client: HttpClient,
    post: Post,
    resolve: (answer: HttpAnswer) => void,
    reject: (error: TollgateError) => void,
  ) {
    super(client, post.principal);
    this.#id = post.idText;
    this.#resolve = resolve;
    this.#reject = reject;
    this.#timer = setTimeout(() => this.fail(this.#expired(post.timeoutMs)), post.timeoutMs);
  }

  start(post: Post): void {
    const { body, headers } = post;
    const lane = post.idText === undefined ? 'control' : 'call';
    this.launch({ path: this.http.path, method: 'POST', headers: headers as string[], body }, lane);
  }

  #expired(ms: number): TollgateError {
    return new TollgateError('deadline_exceeded', `${this.http.name}: no answer within ${duration(ms)}`, {
      executed: this.sent ? 'unknown' : 'no',
    });
  }

  protected override onBody(body: Buffer): void {
    let message: Message | undefined;
    if (body.length > 0 && isJson(this.headers)) {
      message = this.status < 300 ? this.#response(body) : relayedError(body, this.#id, this.http.caps);
    }
    this.#done(message, body);
  }

  protected override onEvent(event: SseEvent): void {
    if (!isMessageEvent(event)) return;
    const message = this.#response(event.data);
    if (message !== undefined) this.#done(message, event.data);
  }

  protected override onStreamEnd(): void {
    this.fail(disconnected(this.http.name, 'the event stream ended without an answer'));
  }

  protected override onFailure(error: TollgateError): void {
    clearTimeout(this.#timer);
    this.#reject(error);
  }

  #done(message: Message | undefined, body: Buffer): void {
    clearTimeout(this.#timer);
    this.finish();
    this.#resolve({ status: this.status, headers: this.headers, message, body, refusal: () => this.refusal() });
  }

  #response(bytes: Buffer): Message | undefined {
    try {
      const message = scan(bytes, this.http.caps);
      const isResponse = message.kind === 'result' || message.kind === 'error';
      return isResponse && message.raw(Field.id) === this.#id ? message : undefined;
    } catch {
      return undefined;
    }
  }
}
