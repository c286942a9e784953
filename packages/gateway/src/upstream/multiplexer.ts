/**
 * Many requests over one link: gateway-minted ids and progress tokens, answers given to the one caller concerned,
 * cancellation, and the server's misbehaviour (wrong ids, duplicates, garbage) counted and kept from everybody else.
 * Both eras use it; what a message means beyond that is the business of the connection above.
 */
import { afterSending, TollgateError } from '../core/errors.ts';
import { Lifetime } from '../core/lifetime.ts';
import type { Log } from '../core/log.ts';
import type { AnswerListener } from '../protocol/call.ts';
import type { ScanCaps } from '../protocol/json/caps.ts';
import { failedId } from '../protocol/json/rules.ts';
import { scan } from '../protocol/json/scan.ts';
import { encode, replaceFields } from '../protocol/json/splice.ts';
import { Field, type FieldId, type Message } from '../protocol/message.ts';
import type { OutboundRequest, ReplyHandler } from '../protocol/peer.ts';
import type { Link, LinkListener, OpenLink } from './link.ts';

export interface MultiplexerOptions {
  readonly server: string;
  readonly caps: ScanCaps;
  readonly log: Log;
}

/**
 * What the connection above gets. `caller` is the handler of the one request the message belongs to, when known:
 * by its stream, else as the only one in flight. `certain` is false when the server may still work on a request
 * that was cancelled, so that the only one in flight need not be the one that is meant.
 */
export interface MultiplexerEvents {
  onServerRequest(message: Message, caller: ReplyHandler | undefined, certain: boolean): void;
  /** Every notification but progress and cancellation. */
  onServerNotification(message: Message, caller: ReplyHandler | undefined, certain: boolean): void;
  /** A request of the server that was taken without a caller is not waited for any more. */
  onServerRequestWithdrawn(message: Message): void;
  onClosed(error: TollgateError): void;
}

interface Pending {
  readonly handler: ReplyHandler;
  /** JSON text of the caller's progress token. */
  readonly token: string | undefined;
  /** JSON text of the caller's id when this is `subscriptions/listen`: its notifications carry it. */
  readonly subscription: string | undefined;
  /** False for the gateway's own requests, to which no server request can belong. */
  readonly caller: boolean;
  stop: () => void;
}

/** A request of the server that waits for its answer. */
interface Ask {
  readonly message: Message;
  readonly caller: ReplyHandler | undefined;
}

export interface MisbehaviourCounts {
  /** Answers to nothing: unknown, late or duplicate ids. */
  strays: number;
  /** What was no valid message. */
  garbage: number;
}

/** Requests of the server that may wait at once; each holds a listener and a message. */
const MAX_ASKS = 256;
/** So long after a cancellation the server may still speak for the cancelled request. */
const LINGER_MS = 30_000;
const MAX_LINGERING = 1000;
/** Messages kept from before the handshake. */
const MAX_EARLY = 64;
const LOGGED_PER_KIND = 10;
const INITIALIZED = Buffer.from('{"jsonrpc":"2.0","method":"notifications/initialized"}');
const UNANSWERABLE = new TollgateError(
  'method_not_found',
  'The gateway cannot tell which caller this request is for; it is declined',
);

export class Multiplexer {
  readonly server: string;
  readonly log: Log;
  readonly counts: MisbehaviourCounts = { strays: 0, garbage: 0 };
  readonly #caps: ScanCaps;
  readonly #pending = new Map<number, Pending>();
  readonly #asks = new Map<string, Ask>();
  /** Cancelled requests the server may still work on, with the time of their cancellation. */
  readonly #lingering = new Map<number, number>();
  #callers = 0;
  #nextId = 1;
  #events: MultiplexerEvents | undefined;
  /** What the server said before the handshake was complete here. */
  #early: (() => void)[] = [];
  #link: Link | undefined;
  #dead: TollgateError | undefined;

  /** Opens the link. Rejects with the link's TollgateError. */
  static async open(openLink: OpenLink, options: MultiplexerOptions): Promise<Multiplexer> {
    const multiplexer = new Multiplexer(options);
    const link = await openLink(multiplexer.#listener);
    multiplexer.#link = link;
    return multiplexer;
  }

  constructor(options: MultiplexerOptions) {
    this.server = options.server;
    this.log = options.log;
    this.#caps = options.caps;
  }

  /** Sets who hears what the server says by itself; what came before is delivered now. */
  attach(events: MultiplexerEvents): void {
    this.#events = events;
    const early = this.#early;
    this.#early = [];
    for (const deliver of early) this.#guard(deliver);
    if (this.#dead !== undefined) events.onClosed(this.#dead);
  }

  /** Why the link is gone; undefined while it lives. */
  get dead(): TollgateError | undefined {
    return this.#dead;
  }

  /** Callers' requests in flight. */
  get pending(): number {
    return this.#callers;
  }

  request(request: OutboundRequest, handler: ReplyHandler): void {
    this.#request(request, handler, true);
  }

  /**
   * A request of the gateway's own. Resolves with the `result` or `error` message; rejects with a TollgateError,
   * after `timeout` milliseconds with `deadline_exceeded`. Without `cancellable` a timeout sends no cancellation
   * (`initialize` must not be cancelled: MCP 2025-11-25, Cancellation).
   */
  call(method: string, params: unknown, timeout: number, cancellable = true): Promise<Message> {
    return new Promise((resolve, reject) => {
      const lifetime = new Lifetime();
      lifetime.deadline(
        timeout,
        () =>
          new TollgateError(
            'deadline_exceeded',
            `Server "${this.server}" did not answer ${method} within ${timeout / 1000} s`,
          ),
      );
      const message = encode({ jsonrpc: '2.0', id: 0, method, ...(params === undefined ? {} : { params }) });
      this.#request(
        { message, target: undefined, headerName: undefined, paramHeaders: undefined, lifetime },
        {
          onNotification: () => {},
          onServerRequest: (_message, answer) => answer(UNANSWERABLE),
          onResponse: (response) => {
            lifetime.release();
            resolve(response);
          },
          onFailure: (error) => {
            lifetime.release();
            reject(this.#dead ?? error);
          },
        },
        false,
        cancellable,
      );
    });
  }

  /** Sends a notification; `params` is JSON text. A dead link drops it. */
  notify(method: string, params: string | undefined): void {
    const text = `{"jsonrpc":"2.0","method":${JSON.stringify(method)}${params === undefined ? '' : `,"params":${params}`}}`;
    this.#send(Buffer.from(text));
  }

  negotiated(version: string): void {
    this.#link?.negotiated(version);
  }

  /** Completes the handshake; resolves when the server has taken that and can be heard, or neither will happen. */
  async initialized(): Promise<void> {
    if (this.#dead !== undefined || this.#link === undefined) return;
    try {
      await this.#link.send(INITIALIZED);
      await this.#link.listening?.();
    } catch (error) {
      this.log.debug({ err: error }, 'The server did not take notifications/initialized');
    }
  }

  /**
   * A listener that sends the answer to a request of the server, at most once and not after it was withdrawn.
   * Undefined when it cannot be taken (its id is already waiting, or too many wait): it has been answered then.
   */
  take(message: Message, caller: ReplyHandler | undefined): AnswerListener | undefined {
    const id = message.raw(Field.id)!;
    if (this.#asks.has(id)) {
      this.#stray('A request of the server reuses an id that still waits for its answer; it is dropped');
      return undefined;
    }
    if (this.#asks.size >= MAX_ASKS) {
      this.answer(id, new TollgateError('server_busy', `More than ${MAX_ASKS} requests wait for an answer`));
      return undefined;
    }
    const ask: Ask = { message, caller };
    this.#asks.set(id, ask);
    return (answer) => {
      if (this.#asks.get(id) !== ask) return;
      this.#asks.delete(id);
      this.answer(id, answer);
    };
  }

  decline(message: Message): void {
    this.answer(message.raw(Field.id)!, UNANSWERABLE);
  }

  /** Answers a request of the server; `id` is its JSON text, echoed as it came. */
  answer(id: string, answer: Message | TollgateError): void {
    if (!TollgateError.is(answer)) {
      this.#send(replaceFields(answer, [[Field.id, id]]));
      return;
    }
    const message = answer.code === 'internal' ? 'Internal error' : answer.message;
    this.#send(Buffer.from(`{"jsonrpc":"2.0","id":${id},"error":${JSON.stringify({ code: answer.rpc, message })}}`));
  }

  /** Ends every request with `reason` and closes the link within a bounded time. */
  async close(reason: TollgateError): Promise<void> {
    this.#die(reason);
    await this.#link?.close();
  }

  /** The request a notification or request of the server belongs to: by its stream, else the only one in flight. */
  #callerOf(origin: string | undefined): ReplyHandler | undefined {
    if (origin !== undefined) {
      // Never another one: the request of this stream may just have been cancelled.
      const pending = this.#pending.get(Number(origin));
      return pending?.caller === true ? pending.handler : undefined;
    }
    if (this.#callers !== 1) return undefined;
    for (const pending of this.#pending.values()) if (pending.caller) return pending.handler;
    return undefined;
  }

  #certain(origin: string | undefined): boolean {
    if (origin !== undefined || this.#lingering.size === 0) return true;
    const now = performance.now();
    for (const [id, since] of this.#lingering) if (now - since > LINGER_MS) this.#lingering.delete(id);
    return this.#lingering.size === 0;
  }

  #request(request: OutboundRequest, handler: ReplyHandler, caller: boolean, cancellable = true): void {
    const { message, target, lifetime } = request;
    if (this.#dead !== undefined || this.#link === undefined) {
      handler.onFailure(
        this.#dead ?? new TollgateError('server_unavailable', `Server "${this.server}" is not running`),
      );
      return;
    }
    if (lifetime.over) {
      handler.onFailure(lifetime.reason ?? new TollgateError('cancelled', 'The call is over'));
      return;
    }
    const id = this.#nextId++;
    const text = String(id);
    let bytes: Buffer;
    const token = message.raw(Field.metaProgressToken);
    const edits: [FieldId, string][] = [[Field.id, text]];
    if (token !== undefined) edits.push([Field.metaProgressToken, text]);
    if (target !== undefined) edits.push([message.has(Field.name) ? Field.name : Field.uri, target]);
    try {
      bytes = replaceFields(message, edits);
    } catch (error) {
      handler.onFailure(TollgateError.from(error));
      return;
    }
    const listens = message.method === 'subscriptions/listen';
    const pending: Pending = {
      handler,
      token,
      subscription: listens ? message.raw(Field.id) : undefined,
      // A listen stream is always open and nobody's call.
      caller: caller && !listens,
      stop: () => {},
    };
    this.#pending.set(id, pending);
    if (pending.caller) this.#callers++;
    pending.stop = lifetime.onEnd((reason) => {
      if (this.#take(id) === undefined) return;
      if (cancellable) {
        this.notify('notifications/cancelled', JSON.stringify({ requestId: id, reason: reason.code }));
        if (pending.caller) this.#lingers(id);
      }
      handler.onFailure(afterSending(reason));
    });
    this.#link.sendRequest(bytes, text, lifetime);
  }

  #lingers(id: number): void {
    if (this.#lingering.size >= MAX_LINGERING) {
      for (const oldest of this.#lingering.keys()) {
        this.#lingering.delete(oldest);
        break;
      }
    }
    this.#lingering.set(id, performance.now());
  }

  #take(id: number): Pending | undefined {
    const pending = this.#pending.get(id);
    if (pending === undefined) return undefined;
    this.#pending.delete(id);
    if (pending.caller) this.#callers--;
    pending.stop();
    return pending;
  }

  #send(bytes: Buffer): void {
    if (this.#dead !== undefined || this.#link === undefined) return;
    this.#link.send(bytes).catch((error: unknown) => {
      this.log.debug({ err: error }, 'A message to the server could not be sent');
    });
  }

  readonly #listener: LinkListener = {
    onMessage: (bytes, origin) => {
      if (this.#dead !== undefined) return;
      let message: Message;
      try {
        message = scan(bytes, this.#caps);
      } catch (error) {
        this.#garbage(bytes, origin, error);
        return;
      }
      try {
        this.#dispatch(message, origin);
      } catch (error) {
        // A fault in a handler concerns one call; the link serves all.
        this.log.error({ err: error }, 'A message of the server could not be handled');
      }
    },
    onRequestFailed: (id, error) => {
      const pending = id === '' ? this.#only() : Number(id);
      if (pending === undefined) return;
      this.#take(pending)?.handler.onFailure(error);
    },
    onPause: (id, retryMs) => this.#pending.get(Number(id))?.handler.onPause?.(retryMs),
    onClose: (error) => this.#die(error),
  };

  #dispatch(message: Message, origin: string | undefined): void {
    if (message.kind === 'result' || message.kind === 'error') {
      // An error without an id says that our request could not be read; it can only be the one that waits.
      const id = message.has(Field.id) ? idOf(message, Field.id) : (this.#only() ?? Number.NaN);
      const pending = this.#take(id);
      // A late answer to a cancelled request is nobody's fault.
      if (pending === undefined && this.#lingering.delete(id)) return;
      if (pending === undefined) this.#stray('An answer of the server belongs to no request; it is dropped');
      else pending.handler.onResponse(message);
      return;
    }
    if (message.kind === 'request') {
      if (message.method === 'ping') {
        this.#send(Buffer.from(`{"jsonrpc":"2.0","id":${message.raw(Field.id)},"result":{}}`));
        return;
      }
      if (this.#events === undefined) this.#later(() => this.#events?.onServerRequest(message, undefined, true));
      else this.#events.onServerRequest(message, this.#callerOf(origin), this.#certain(origin));
      return;
    }
    switch (message.method) {
      case 'notifications/progress': {
        const pending = this.#pending.get(idOf(message, Field.progressToken));
        if (pending?.token === undefined) return;
        pending.handler.onNotification(this.#rewritten(message, Field.progressToken, pending.token));
        return;
      }
      case 'notifications/cancelled':
        this.#cancelledByServer(message);
        return;
      default: {
        const listening = message.has(Field.subscriptionId)
          ? this.#pending.get(idOf(message, Field.subscriptionId))
          : undefined;
        if (listening?.subscription !== undefined) {
          listening.handler.onNotification(this.#rewritten(message, Field.subscriptionId, listening.subscription));
        } else if (this.#events === undefined) {
          this.#later(() => this.#events?.onServerNotification(message, undefined, true));
        } else {
          this.#events.onServerNotification(message, this.#callerOf(origin), this.#certain(origin));
        }
      }
    }
  }

  #later(deliver: () => void): void {
    if (this.#early.length < MAX_EARLY) this.#early.push(deliver);
  }

  #cancelledByServer(message: Message): void {
    const id = message.raw(Field.requestId);
    const ask = id === undefined ? undefined : this.#asks.get(id);
    if (ask !== undefined) {
      this.#asks.delete(id!);
      if (ask.caller === undefined) this.#events?.onServerRequestWithdrawn(ask.message);
      else ask.caller.onServerRequestWithdrawn?.(ask.message);
      return;
    }
    // A modern server on stdio ends a subscription this way (MCP 2026-07-28, Cancellation).
    const listening = idOf(message, Field.requestId);
    if (this.#pending.get(listening)?.subscription === undefined) return;
    this.#take(listening)?.handler.onFailure(
      new TollgateError('server_disconnected', `Server "${this.server}" ended the subscription`),
    );
  }

  #rewritten(message: Message, field: FieldId, text: string): Message {
    return scan(replaceFields(message, [[field, text]]), this.#caps);
  }

  /** Something that is no message: fails the request it answers, when that can be known. */
  #garbage(bytes: Buffer, origin: string | undefined, cause: unknown): void {
    if (++this.counts.garbage <= LOGGED_PER_KIND) {
      this.log.warn({ err: cause, bytes: bytes.length }, 'A message of the server is not valid');
    }
    let id: number | undefined = Number(failedId(cause) ?? origin);
    // Programs log JSON objects to stdout; only what claims to be JSON-RPC can be meant for the one who waits.
    if (!this.#pending.has(id)) id = bytes.includes('"jsonrpc"') ? this.#only() : undefined;
    if (id === undefined) return;
    const why = TollgateError.is(cause) ? cause.message : 'it cannot be read';
    this.#take(id)?.handler.onFailure(
      new TollgateError('server_protocol_error', `Server "${this.server}" sent an invalid answer: ${why}`, {
        cause,
        executed: 'unknown',
      }),
    );
  }

  #only(): number | undefined {
    if (this.#pending.size !== 1) return undefined;
    for (const id of this.#pending.keys()) return id;
    return undefined;
  }

  #stray(what: string): void {
    if (++this.counts.strays <= LOGGED_PER_KIND) this.log.warn({ count: this.counts.strays }, what);
  }

  #die(error: TollgateError): void {
    if (this.#dead !== undefined) return;
    this.#dead = error;
    const pending = [...this.#pending.values()];
    const asks = [...this.#asks.values()];
    this.#pending.clear();
    this.#callers = 0;
    this.#asks.clear();
    const failure =
      error.code === 'shutting_down' || error.code === 'server_disconnected'
        ? afterSending(error)
        : new TollgateError('server_disconnected', error.message, { cause: error, executed: 'unknown' });
    for (const one of pending) {
      one.stop();
      this.#guard(() => one.handler.onFailure(failure));
    }
    for (const ask of asks) {
      if (ask.caller === undefined) this.#guard(() => this.#events?.onServerRequestWithdrawn(ask.message));
    }
    this.#guard(() => this.#events?.onClosed(error));
  }

  /** A fault in one handler must not keep the news from the others. */
  #guard(run: () => void): void {
    try {
      run();
    } catch (error) {
      this.log.error({ err: error }, 'News of a server could not be handled');
    }
  }
}

/** A minted id as a number; NaN for what we never mint. */
function idOf(message: Message, field: FieldId): number {
  const start = message.spans[2 * field]!;
  const end = message.spans[2 * field + 1]!;
  if (start < 0 || end - start > 15) return Number.NaN;
  let id = 0;
  for (let i = start; i < end; i++) {
    const digit = message.bytes[i]! - 0x30;
    if (digit < 0 || digit > 9) return Number.NaN;
    id = id * 10 + digit;
  }
  return id;
}
