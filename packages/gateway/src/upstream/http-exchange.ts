/**
 * One HTTP exchange with a server: collects a body within its cap or reads an event stream, and turns everything
 * that can go wrong into one TollgateError. Subclasses say what the bytes mean.
 */
import type { Dispatcher } from 'undici';
import { TollgateError } from '../core/errors.ts';
import type { Principal } from '../core/principal.ts';
import { type SseEvent, SseParser } from '../protocol/sse.ts';
import type { HttpClient, HttpHandler, Lane, TokenProvider } from './http-client.ts';
import {
  disconnected,
  httpFailure,
  missingScope,
  needsSignIn,
  protocolFailure,
  type ResponseHeaders,
  statusFailure,
  tooLarge,
} from './http-failure.ts';
import type { SecretTexts } from './secret-texts.ts';

/** Pieces of a body are kept as they come while they have this many bytes on average, or are few. */
const PIECE = 4096;
const FEW_PIECES = 8;
/** After the answer a stream may still end politely, so that its connection is kept; then it is cut. */
const LINGER_MS = 500;
const LINGER_BYTES = 65_536;

/** Thrown to undici when a request was given up before it was written: nothing is sent, the connection stays. */
const GIVEN_UP = new Error('given up before it was sent');
const DONE = new Error('done');

/** How often one request gets a token with more scopes before the refusal is final. */
const MAX_WIDENED = 2;

/** Media type without parameters, lower case; empty when absent or sent twice. */
export function mediaType(value: string | string[] | undefined): string {
  if (typeof value !== 'string') return '';
  const end = value.indexOf(';');
  return (end < 0 ? value : value.slice(0, end)).trim().toLowerCase();
}

export function isEventStream(headers: ResponseHeaders): boolean {
  const type = headers['content-type'];
  return type === 'text/event-stream' || mediaType(type) === 'text/event-stream';
}

export function isJson(headers: ResponseHeaders): boolean {
  const type = headers['content-type'];
  return type === 'application/json' || mediaType(type) === 'application/json';
}

/** An event that carries a message; priming and foreign event types do not. */
export function isMessageEvent(event: SseEvent): boolean {
  return (event.event === undefined || event.event === 'message') && event.data.length > 0;
}

export abstract class HttpExchange implements HttpHandler {
  waiting = false;
  protected readonly http: HttpClient;
  /** The request was handed to the socket: from here on it may run. */
  protected sent = false;
  /** Status of the answer; 0 before it began. */
  status = 0;
  headers: ResponseHeaders = {};
  #request: Dispatcher.DispatchOptions | undefined;
  /** What undici was given; it keeps it while the request waits for a connection. */
  #queued: Dispatcher.DispatchOptions | undefined;
  #lane: Lane = 'call';
  readonly #tokens: TokenProvider | undefined;
  readonly #secrets: SecretTexts | undefined;
  /** As it was asked for, without secrets; set where the server's headers have some. */
  #unfilled: Dispatcher.DispatchOptions | undefined;
  #credential: string | undefined;
  #retried = false;
  #widened = 0;
  /** The attempt that was refused is being cut; what it still says is not heard. */
  #restarting = false;
  #controller: Dispatcher.DispatchController | undefined;
  #over = false;
  #complete = false;
  #pieces: Buffer[] = [];
  /** The one piece is a Buffer of our own, perhaps with room at its end. */
  #joined = false;
  #length = 0;
  #events: SseParser | undefined;
  #linger: NodeJS.Timeout | undefined;
  #lingered = 0;

  /** `principal`: whose call it is; undefined: the gateway's own request. */
  constructor(http: HttpClient, principal?: Principal) {
    this.http = http;
    this.#tokens = http.credentials?.of(principal);
    this.#secrets = http.secretsOf(principal);
  }

  /** Nothing more will be delivered. */
  get over(): boolean {
    return this.#over;
  }

  /** The whole body of an answer that is not an event stream. Calls `finish`, or `fail`. */
  protected abstract onBody(body: Buffer): void;
  /** Like `onBody`, in the pieces in which it came. */
  protected onPieces(pieces: readonly Buffer[]): void {
    this.onBody(pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces));
  }
  /** One event of a 2xx event stream. `finish` ends the exchange when it was the last one of interest. */
  protected abstract onEvent(event: SseEvent): void;
  /** The event stream ended before `finish`. */
  protected abstract onStreamEnd(): void;
  /** The exchange failed; called at most once and never after `finish`. */
  protected abstract onFailure(error: TollgateError): void;
  /** The exchange is over, in whatever way; called once, first. */
  protected onLeave(): void {}
  /** Status and headers came. Returning an error refuses the answer. */
  protected onHead(): TollgateError | undefined {
    return undefined;
  }

  /**
   * Sends the request, with secrets of the vault in its headers, and a token where the server uses sign-in; a 401 is
   * answered once with a fresh token, or with the other value of the secret.
   */
  protected launch(request: Dispatcher.DispatchOptions, lane: Lane): void {
    if (this.#over) return;
    const secrets = this.#secrets;
    if (secrets === undefined) this.#launch(request, lane);
    else if (secrets.fresh) this.#launchFilled(request, lane, secrets);
    else {
      secrets.load().then(
        () => {
          if (!this.#over) this.#launchFilled(request, lane, secrets);
        },
        (cause: unknown) => this.fail(TollgateError.from(cause)),
      );
    }
  }

  #launchFilled(request: Dispatcher.DispatchOptions, lane: Lane, secrets: SecretTexts): void {
    this.#unfilled = request;
    const headers = secrets.headers(request.headers as string[], this.#retried ? 'other' : 'current');
    this.#launch({ ...request, headers }, lane);
  }

  #launch(request: Dispatcher.DispatchOptions, lane: Lane): void {
    const tokens = this.#tokens;
    this.#request = request;
    this.#lane = lane;
    if (tokens === undefined) {
      this.#queued = request;
      this.http.dispatch(this, request, lane);
      return;
    }
    const token = tokens.current();
    if (token === undefined) this.#renew();
    else this.#dispatch(request, token);
  }

  /** The failure for a status without a JSON-RPC message in the body. */
  refusal(): TollgateError {
    const { status, headers } = this;
    // One caller's account is not the server's trouble, and its owner can be told what to do.
    if (this.#tokens !== undefined && needsSignIn(status, headers)) return this.#tokens.refused(status);
    return statusFailure(this.http.name, status, headers);
  }

  /** Ends the exchange with success. What still comes is dropped, for a bounded time. */
  finish(): void {
    if (this.#over) return;
    this.#leave();
    if (!this.#complete && this.#controller !== undefined) {
      // Mostly the end comes with the last event, in this turn: then no timer is needed.
      this.http.afterTurn(this);
    }
  }

  /** A turn after `finish`: what is not complete by now gets its time to end. */
  linger(): void {
    if (this.#complete) return;
    this.#linger = setTimeout(() => this.#cut(), LINGER_MS);
    this.#linger.unref();
  }

  /** Ends the exchange with an error and cuts the connection if the answer is not complete. */
  fail(error: TollgateError): void {
    if (this.#over) return;
    this.#leave();
    this.#cut();
    try {
      this.onFailure(error);
    } catch (cause) {
      this.#broke(cause);
    }
  }

  /** Ends the exchange without telling the subclass. */
  abort(): void {
    if (this.#over) return;
    this.#leave();
    this.#cut();
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#leaveQueue();
    if (this.#over) throw GIVEN_UP;
    this.#controller = controller;
    this.sent = true;
  }

  onResponseStart(_controller: Dispatcher.DispatchController, status: number, headers: ResponseHeaders): void {
    if (this.#over || status < 200) return;
    const unfilled = this.#credential === undefined && this.#secrets?.hasOther === true ? this.#unfilled : undefined;
    if (status === 401 && (this.#credential !== undefined || unfilled !== undefined) && !this.#retried) {
      // A 401 ran nothing, so the same request may go again.
      this.#retried = true;
      this.#withdraw();
      if (unfilled === undefined) this.#renew();
      else this.launch(unfilled, this.#lane);
      return;
    }
    if (status === 403 && this.#credential !== undefined && this.#widened < MAX_WIDENED) {
      const scope = missingScope(headers);
      if (scope !== undefined) {
        this.#widened++;
        this.#withdraw();
        this.#sendWith(this.#tokens!.widen(scope, this.#credential));
        return;
      }
    }
    this.status = status;
    this.headers = headers;
    const encoding = headers['content-encoding'];
    if (encoding !== undefined && encoding !== 'identity') {
      // Never asked for; and a compressed body could not be capped before it is unpacked.
      this.fail(protocolFailure(this.http.name, 'the answer is compressed, which was not asked for'));
      return;
    }
    const refusal = this.onHead();
    if (refusal !== undefined) {
      this.fail(refusal);
      return;
    }
    if (this.#over) return;
    const max = this.http.options.maxResponse;
    if (status < 300 && isEventStream(headers)) {
      this.#events = new SseParser(max, (event) => {
        if (!this.#over) this.onEvent(event);
      });
      return;
    }
    const announced = headers['content-length'];
    if (typeof announced === 'string' && Number(announced) > max) this.fail(tooLarge(this.http.name, max));
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#over) {
      this.#lingered += chunk.length;
      if (this.#lingered > LINGER_BYTES) this.#cut();
      return;
    }
    if (this.#events === undefined) this.#collect(chunk);
    else {
      try {
        this.#events.push(chunk);
      } catch (cause) {
        this.#broke(cause);
      }
    }
  }

  onResponseEnd(): void {
    this.#complete = true;
    clearTimeout(this.#linger);
    if (this.#over) return;
    try {
      if (this.#events !== undefined) this.onStreamEnd();
      else this.onPieces(this.#joined ? [this.#pieces[0]!.subarray(0, this.#length)] : this.#pieces);
    } catch (cause) {
      this.#broke(cause);
    }
    // Whatever happened above, the exchange is over now.
    if (!this.#over) this.fail(disconnected(this.http.name, 'the answer ended early'));
  }

  onResponseError(_controller: Dispatcher.DispatchController | null, error: Error): void {
    this.#leaveQueue();
    if (this.#restarting) return;
    this.#complete = true;
    clearTimeout(this.#linger);
    if (this.#over) return;
    this.fail(httpFailure(this.http.name, this.http.options.timeout, this.sent, error));
  }

  #dispatch(request: Dispatcher.DispatchOptions, token: string | undefined): void {
    this.#credential = token;
    const headers = [...(request.headers as string[])];
    if (token !== undefined) headers.push('authorization', `Bearer ${token}`);
    this.#queued = { ...request, headers };
    this.http.dispatch(this, this.#queued, this.#lane);
  }

  #renew(): void {
    this.#sendWith(this.#tokens!.renew(this.#credential));
  }

  #sendWith(token: Promise<string | undefined>): void {
    token.then(
      (fresh) => {
        if (!this.#over) this.#dispatch(this.#request as Dispatcher.DispatchOptions, fresh);
      },
      (cause: unknown) => this.fail(TollgateError.from(cause)),
    );
  }

  /** Ends the attempt that was refused, so that the same request may go again. */
  #withdraw(): void {
    this.#restarting = true;
    this.#cut();
    this.#restarting = false;
    this.sent = false;
  }

  /** A few chunks, or large ones, stay what they are; many small ones are joined, so that they cost no more than their bytes. */
  #collect(chunk: Buffer): void {
    const length = this.#length + chunk.length;
    const max = this.http.options.maxResponse;
    if (length > max) {
      this.fail(tooLarge(this.http.name, max));
      return;
    }
    const count = this.#pieces.length;
    if (!this.#joined && (count < FEW_PIECES || length >= count * PIECE)) this.#pieces.push(chunk);
    else {
      if (!this.#joined || length > this.#pieces[0]!.length) this.#grow(length);
      chunk.copy(this.#pieces[0]!, this.#length);
    }
    this.#length = length;
  }

  #grow(length: number): void {
    const announced = this.headers['content-length'];
    const room = typeof announced === 'string' ? Number(announced) : length * 2;
    const body = Buffer.allocUnsafe(Math.max(length, Math.min(room, this.http.options.maxResponse)));
    let at = 0;
    for (const piece of this.#pieces) at += piece.copy(body, at, 0, Math.min(piece.length, this.#length - at));
    this.#pieces = [body];
    this.#joined = true;
  }

  #leave(): void {
    this.#over = true;
    this.#pieces = [];
    this.#joined = false;
    // Given up while it waits: undici keeps its place in the queue, but not the body for it.
    if (this.waiting && this.#queued !== undefined) this.#queued.body = null;
    this.onLeave();
  }

  #leaveQueue(): void {
    if (!this.waiting) return;
    this.waiting = false;
    this.http.left();
  }

  #cut(): void {
    clearTimeout(this.#linger);
    if (!this.#complete) this.#controller?.abort(DONE);
  }

  /** A handler that throws must fail its own exchange only: an exception in undici's callbacks can end the process. */
  #broke(cause: unknown): void {
    const { name, log, options } = this.http;
    if (!TollgateError.is(cause)) log.error({ server: name, err: cause }, 'unexpected failure while reading an answer');
    else if (cause.code === 'server_response_too_large') {
      this.fail(tooLarge(name, options.maxResponse));
      return;
    }
    this.fail(TollgateError.from(cause));
  }
}
