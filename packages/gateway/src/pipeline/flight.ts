/**
 * One admitted call on its way to a server and back. It is the reply handler of the request, joins both eras, and
 * ends the call exactly once.
 */
import type { TollgateError } from '../core/errors.ts';
import { beforeSending, TollgateError as Failure } from '../core/errors.ts';
import { callModernForLegacy } from '../protocol/bridge/legacy-to-modern.ts';
import type { ParkedCalls } from '../protocol/bridge/modern-to-legacy.ts';
import type { Destination, Outcome } from '../protocol/bridge/outcome.ts';
import type { AnswerListener, Call, ResponseHead } from '../protocol/call.ts';
import { Field, type Message } from '../protocol/message.ts';
import { statusOfRpcCode } from '../protocol/modern/errors.ts';
import type { Connection, OutboundRequest, ReplyHandler, Server } from '../protocol/peer.ts';

/** What a flight asks of the endpoint it belongs to. */
export interface FlightControl {
  readonly parked: ParkedCalls;
  /** Ends the call with an error in the caller's wire form. */
  fail(call: Call, error: TollgateError): void;
  /** Sends a server's answer to the caller. */
  complete(call: Call, response: Message, head: ResponseHead | undefined): void;
  /**
   * The server says the mirrored headers do not match (-32020): its list is read again and the headers rebuilt.
   * Undefined when nothing changed, and the error is relayed.
   */
  reheader(call: Call): Promise<Destination | undefined>;
}

const HEADER_MISMATCH = '-32020';

export class Flight implements ReplyHandler, Outcome, OutboundRequest {
  readonly #call: Call;
  readonly #control: FlightControl;
  #destination: Destination;
  #connection: Connection | undefined;
  #ended = false;
  #asks: Map<Message, (reason: string) => void> | undefined;
  #reheadered = false;

  constructor(call: Call, destination: Destination, control: FlightControl) {
    this.#call = call;
    this.#destination = destination;
    this.#control = control;
  }

  // OutboundRequest: the flight is its own request, so that none is allocated per call.
  get message(): Message {
    return this.#call.outbound ?? this.#call.message;
  }
  get lifetime(): Call['lifetime'] {
    return this.#call.lifetime;
  }
  get principal(): Call['principal'] {
    return this.#call.principal;
  }
  get target(): string | undefined {
    return this.#destination.target;
  }
  get headerName(): string | undefined {
    return this.#destination.headerName;
  }
  get paramHeaders(): Destination['paramHeaders'] {
    return this.#destination.paramHeaders;
  }

  /** Sends the call to the server, over a live connection when there is one. */
  start(server: Server): void {
    const connection = server.current(this.#call);
    if (connection !== undefined) {
      this.#dispatch(connection);
      return;
    }
    const stop = this.#call.lifetime.onEnd((reason) => this.failed(beforeSending(reason)));
    server.connect(this.#call).then(
      (opened) => {
        stop();
        if (!this.#ended) this.#dispatch(opened);
      },
      (error: unknown) => {
        stop();
        this.failed(Failure.from(error));
      },
    );
  }

  #dispatch(connection: Connection): void {
    this.#connection = connection;
    const call = this.#call;
    if (connection.era === call.era) {
      if (call.era === 'legacy') this.#carryLogLevel(connection);
      connection.request(this, this);
    } else if (call.era === 'legacy') {
      callModernForLegacy(call, connection, this.#destination, this);
    } else {
      this.#control.parked.run(call, connection, this.#destination, this);
    }
  }

  /** A legacy session's level goes to each connection once, before the first call that could log. */
  #carryLogLevel(connection: Connection): void {
    const level = this.#call.session?.logLevel;
    if (level !== undefined) carryLogLevel(connection, level);
  }

  // ReplyHandler, same era.
  onNotification(message: Message): void {
    if (this.#ended || this.#isUnwantedLog(message)) return;
    this.#call.reply.notify(message);
  }

  /** Without a log level in this very request a server must not log to it (MCP 2026-07-28, logging). */
  #isUnwantedLog(message: Message): boolean {
    const { era, message: request } = this.#call;
    return era === 'modern' && message.method === 'notifications/message' && !request.has(Field.logLevel);
  }

  onServerRequest(message: Message, answer: AnswerListener): void {
    if (this.#ended || !this.#call.reply.canAsk) {
      answer(new Failure('not_bridgeable', 'The client of this call cannot be asked'));
      return;
    }
    this.#asks ??= new Map();
    this.#asks.set(message, this.#call.reply.ask(message.method, message.raw(Field.params), answer));
  }

  onServerRequestWithdrawn(message: Message): void {
    this.#asks?.get(message)?.('The server withdrew its request');
    this.#asks?.delete(message);
  }

  onResponse(message: Message): void {
    if (
      message.kind === 'error' &&
      !this.#reheadered &&
      this.#call.era === 'modern' &&
      message.raw(Field.errorCode) === HEADER_MISMATCH
    ) {
      this.#reheadered = true;
      this.#retryWithFreshHeaders(message);
      return;
    }
    this.responded(message);
  }

  onFailure(error: TollgateError): void {
    this.failed(error);
  }

  onPause(retryMs: number): void {
    if (!this.#ended) this.#call.reply.pause?.(retryMs);
  }

  // Outcome, both eras.
  responded(message: Message): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#control.complete(this.#call, message, this.#headFor(message));
  }

  failed(error: TollgateError): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#control.fail(this.#call, error);
  }

  #headFor(message: Message): ResponseHead | undefined {
    if (message.kind !== 'error' || this.#call.era === 'legacy') return undefined;
    const status = statusOfRpcCode(Number(message.raw(Field.errorCode)));
    return status === 200 ? undefined : { status };
  }

  #retryWithFreshHeaders(response: Message): void {
    this.#control.reheader(this.#call).then(
      (destination) => {
        if (this.#ended) return;
        if (destination === undefined || this.#connection === undefined) return this.responded(response);
        this.#destination = destination;
        this.#connection.request(this, this);
      },
      (error: unknown) => this.failed(Failure.from(error)),
    );
  }
}

const carriedLevels = new WeakMap<Connection, string>();

/** Tells a legacy server the log level of the session whose connection it is; once per level. */
export function carryLogLevel(connection: Connection, level: string): void {
  if (carriedLevels.get(connection) === level || connection.capabilities['logging'] === undefined) return;
  carriedLevels.set(connection, level);
  connection.setLogLevel?.(level);
}
