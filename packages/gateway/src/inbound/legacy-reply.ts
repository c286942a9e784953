import { TollgateError } from '../core/errors.ts';
import { Lifetime } from '../core/lifetime.ts';
import type { AnswerListener, Reply, ResponseHead } from '../protocol/call.ts';
import { responseBytes } from '../protocol/json/splice.ts';
import { Message } from '../protocol/message.ts';
import type { Accepted } from './accept.ts';
import { cannotAsk, clientLeft, type Edge, type OpenCall } from './edge.ts';
import type { StoredStream } from './event-store.ts';
import type { Exchange } from './exchange.ts';
import { negotiatedVersion } from './handshake.ts';
import { askOn, attach, sendEvent } from './legacy-stream.ts';
import type { HttpSession, SessionCall, SessionTable } from './sessions.ts';
import { idKey } from './wire.ts';

/** Milliseconds after which a client that prefers streams gets one; a refusal with a status of its own comes sooner. */
const STREAM_FIRST_MS = 100;

/**
 * The client's side of one legacy POST: answered as JSON, or as a resumable event stream once something must be
 * said or asked before the end, or the end is long in coming.
 */
export class LegacyReply implements Reply, OpenCall, SessionCall {
  readonly lifetime = new Lifetime();
  readonly method: string;
  place = -1;
  readonly #edge: Edge;
  readonly #exchange: Exchange;
  readonly #forms: Accepted;
  readonly #session: HttpSession;
  /** The table that the session enters when this call, its `initialize`, has a result. */
  readonly #opening: SessionTable | undefined;
  readonly #id: string;
  readonly #key: string;
  /** Requests to the client on this stream that wait for an answer. */
  #asks: Set<(reason: string) => void> | undefined;
  #stored: StoredStream | undefined;
  /** Until the answer becomes a stream although nothing was said. */
  #quiet: NodeJS.Timeout | undefined;
  #gone = false;
  #unwanted = false;
  #done = false;

  constructor(
    edge: Edge,
    exchange: Exchange,
    forms: Accepted,
    session: HttpSession,
    opening: SessionTable | undefined,
    message: Message,
    id: string,
  ) {
    this.#edge = edge;
    this.#exchange = exchange;
    this.#forms = forms;
    this.#session = session;
    this.#opening = opening;
    this.method = message.method;
    this.#id = id;
    this.#key = idKey(id);
    edge.calls.add(this);
    session.calls.set(this.#key, this);
    exchange.whenGone(() => this.#left());
    if (!forms.stream || opening !== undefined) return;
    // Who waits for a slow call keeps its connection, and can come back for the answer where that breaks all the same.
    const patience = forms.streamFirst ? STREAM_FIRST_MS : edge.options.caps.keepAlive;
    this.#quiet = setTimeout(() => this.#open(), patience).unref();
  }

  /** A client that reads streams can be asked, even while it polls: it fetches the question. */
  get canAsk(): boolean {
    return this.#opening === undefined && this.#forms.stream && !(this.#gone && this.#stored?.known !== true);
  }

  notify(message: Message): void {
    const stored = this.#done ? undefined : this.#open();
    if (stored !== undefined) sendEvent(this.#session, stored, message.bytes);
  }

  ask(method: string, params: string | undefined, listener: AnswerListener): (reason: string) => void {
    if (this.#done || !this.canAsk) {
      listener(cannotAsk());
      return () => {};
    }
    let withdraw: (reason: string) => void = () => {};
    withdraw = askOn(
      this.#session,
      () => this.#open(),
      method,
      params,
      (answer) => {
        this.#asks?.delete(withdraw);
        listener(answer);
      },
    );
    this.#asks ??= new Set();
    this.#asks.add(withdraw);
    return withdraw;
  }

  respond(body: Message | Buffer, head?: ResponseHead): void {
    if (this.#done) return;
    this.#done = true;
    this.#edge.calls.delete(this);
    this.#session.calls.delete(this.#key);
    this.lifetime.release();
    clearTimeout(this.#quiet);
    for (const withdraw of this.#asks ?? []) withdraw('The call has ended.');
    const bytes = body instanceof Message ? responseBytes(body, this.#id) : body;
    const asStream = (this.#forms.streamFirst || !this.#forms.json) && (head?.status ?? 200) === 200;
    if (this.#opening !== undefined) this.#answerInitialize(bytes, this.#opening, head);
    else if (this.#stored !== undefined) this.#end(this.#stored, bytes);
    else if (this.#unwanted) this.#endSilently();
    else if (!asStream) this.#exchange.json(bytes, head);
    else {
      const stored = this.#open();
      if (stored !== undefined) this.#end(stored, bytes);
    }
  }

  /** Closes the connection without ending the stream (SEP-1699): the client comes back for the rest. */
  pause(retryMs: number): void {
    if (this.#done || this.#session.version < '2025-11-25') return;
    const stored = this.#open();
    if (stored?.live === undefined || !stored.known) return;
    stored.live.end(Buffer.from(`retry: ${Math.max(0, Math.round(retryMs))}\n\n`));
    stored.live = undefined;
  }

  cancelled(): void {
    this.#unwanted = true;
    this.lifetime.end(new TollgateError('cancelled', 'The client cancelled the call.', { executed: 'unknown' }));
  }

  /** A disconnect is not a cancel in this era; only an `initialize` that nobody waits for is pointless. */
  #left(): void {
    this.#gone = true;
    if (this.#stored !== undefined) this.#stored.live = undefined;
    if (this.#opening !== undefined) this.lifetime.end(clientLeft());
  }

  /** The stream of this POST, opened at the first need; undefined when there is nobody to open it for. */
  #open(): StoredStream | undefined {
    if (this.#stored !== undefined) return this.#stored;
    if (!this.#forms.stream || this.#opening !== undefined || this.#exchange.started) return undefined;
    const stored = this.#session.events.open();
    this.#stored = stored;
    const live = this.#exchange.stream(this.#edge.streams, this.#session.principal.key);
    live.whenOverflow(() => {
      if (stored.live === live) stored.live = undefined;
    });
    attach(this.#session, stored, live, 0);
    return stored;
  }

  #end(stored: StoredStream, bytes: Buffer): void {
    if (!this.#unwanted) sendEvent(this.#session, stored, bytes);
    this.#session.events.complete(stored, this.#edge.clock.monotonic());
    stored.live?.end();
    stored.live = undefined;
  }

  /** The client has cancelled and wants no response, but its POST must end: as a stream without events. */
  #endSilently(): void {
    if (this.#forms.stream && !this.#exchange.started) {
      this.#exchange.stream(this.#edge.streams, this.#session.principal.key).end();
    } else this.#exchange.empty(202);
  }

  #answerInitialize(bytes: Buffer, table: SessionTable, head: ResponseHead | undefined): void {
    const session = this.#session;
    const version = negotiatedVersion(bytes);
    const headers = [...(head?.headers ?? [])];
    if (version !== undefined && !this.#gone) {
      session.version = version;
      table.add(session);
      headers.push(['mcp-session-id', session.id]);
    } else {
      // Nobody will ever name it; whoever took it up meanwhile is to forget it.
      session.lifetime.end(clientLeft());
    }
    this.#exchange.json(bytes, { status: head?.status ?? 200, headers });
  }
}
