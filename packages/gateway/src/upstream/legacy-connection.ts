/**
 * A connection to a server of the legacy era over any link: `initialize`, then many callers' requests on one
 * stateful conversation. What the server asks or says is given to the one caller it concerns, or to nobody.
 */
import { TollgateError } from '../core/errors.ts';
import { encode } from '../protocol/json/splice.ts';
import { Field, type Message } from '../protocol/message.ts';
import { methodInfo } from '../protocol/methods.ts';
import type { Connection, OutboundRequest, ReplyHandler, Scope, ServerEvent } from '../protocol/peer.ts';
import { isLegacyVersion, LATEST_LEGACY } from '../protocol/versions.ts';
import type { Multiplexer, MultiplexerEvents } from './multiplexer.ts';

export interface LegacyConnectionOptions {
  /** Client capabilities to declare. */
  readonly capabilities: Readonly<Record<string, unknown>>;
  readonly clientInfo: { readonly name: string; readonly version: string };
  /** Milliseconds the server may take for `initialize`, and for the gateway's own requests later. */
  readonly timeout: number;
  /** Whose connection it is; undefined when callers share it. Decides where unrelated messages go. */
  readonly scope: Scope | undefined;
  readonly emit: (event: ServerEvent) => void;
  /** Called once when the link is gone. */
  readonly onClosed: (error: TollgateError) => void;
}

/** Longest wait for a server that never says whether it took `notifications/initialized`. */
const TAKING_MS = 2_000;

export class LegacyConnection implements Connection, MultiplexerEvents {
  readonly era = 'legacy';
  readonly version: string;
  readonly capabilities: Readonly<Record<string, unknown>>;
  readonly serverInfo: unknown;
  readonly instructions: string | undefined;
  readonly multiplexer: Multiplexer;
  readonly #options: LegacyConnectionOptions;

  /**
   * Performs the handshake. Rejects with `server_protocol_error` when the server refuses or answers a version this
   * gateway does not speak, with the link's error when that fails, with `deadline_exceeded` when it stays silent.
   * The multiplexer is left open on rejection.
   */
  static async open(multiplexer: Multiplexer, options: LegacyConnectionOptions): Promise<LegacyConnection> {
    return new LegacyConnection(multiplexer, options, await initialize(multiplexer, options)).ready();
  }

  constructor(multiplexer: Multiplexer, options: LegacyConnectionOptions, { version, result }: Initialized) {
    this.multiplexer = multiplexer;
    this.#options = options;
    this.version = version;
    this.capabilities = objectOr(result['capabilities']);
    this.serverInfo = result['serverInfo'];
    const instructions = result['instructions'];
    this.instructions = typeof instructions === 'string' ? instructions : undefined;
  }

  /**
   * Completes the handshake: from now on the server may speak. Over HTTP each message has a connection of its own, so
   * the first request is held back until the server has taken `notifications/initialized` and can be heard.
   */
  async ready(): Promise<this> {
    this.multiplexer.negotiated(this.version);
    this.multiplexer.attach(this);
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, TAKING_MS);
    });
    await Promise.race([this.multiplexer.initialized(), late]);
    clearTimeout(timer);
    return this;
  }

  get pending(): number {
    return this.multiplexer.pending;
  }

  request(request: OutboundRequest, handler: ReplyHandler): void {
    this.multiplexer.request(request, handler);
  }

  notify(method: string, params: string | undefined): void {
    this.multiplexer.notify(method, params);
  }

  setLogLevel(level: string): void {
    this.#own('logging/setLevel', { level }).catch(() => {});
  }

  /** `resources/subscribe`. Rejects with the server's own error. */
  async subscribe(uri: string): Promise<void> {
    await this.#own('resources/subscribe', { uri });
  }

  /** `resources/unsubscribe`; a failure is of no interest to anybody. */
  unsubscribe(uri: string): void {
    this.#own('resources/unsubscribe', { uri }).catch(() => {});
  }

  async #own(method: string, params: Readonly<Record<string, unknown>>): Promise<void> {
    const answer = await this.multiplexer.call(method, params, this.#options.timeout);
    if (answer.kind === 'error') throw relayedError(answer);
  }

  onServerRequest(message: Message, only: ReplyHandler | undefined, certain: boolean): void {
    const { scope, emit } = this.#options;
    const { multiplexer } = this;
    // Where strangers share the connection, a question must not reach one when it may be another's.
    const caller = certain || scope !== undefined ? only : undefined;
    if (scope?.purpose === 'catalog') {
      // The gateway's own listing connection: there is no client behind it, and so no roots.
      if (message.method === 'roots/list') multiplexer.answer(message.raw(Field.id)!, encode(NO_ROOTS));
      else multiplexer.decline(message);
    } else if (caller !== undefined) {
      const answer = multiplexer.take(message, caller);
      if (answer !== undefined) caller.onServerRequest(message, answer);
    } else if (scope?.session !== undefined) {
      const answer = multiplexer.take(message, undefined);
      if (answer !== undefined) emit({ type: 'request', message, connection: this, scope, answer });
    } else {
      multiplexer.decline(message);
    }
  }

  onServerRequestWithdrawn(message: Message): void {
    this.#options.emit({ type: 'request_withdrawn', message, connection: this });
  }

  onServerNotification(message: Message, only: ReplyHandler | undefined, certain: boolean): void {
    const { scope, emit } = this.#options;
    const caller = certain || scope !== undefined ? only : undefined;
    const { method } = message;
    if (method === 'notifications/resources/updated') {
      const uri = message.string(Field.uri);
      if (uri !== undefined) emit({ type: 'resource_updated', uri, message, connection: this, scope });
      return;
    }
    const kind = methodInfo(method)?.list;
    if (kind !== undefined) emit({ type: 'list_changed', kind });
    else if (caller !== undefined) caller.onNotification(message);
    else emit({ type: 'log', message, connection: this, scope });
  }

  onClosed(error: TollgateError): void {
    this.#options.onClosed(error);
  }
}

const NO_ROOTS = { jsonrpc: '2.0', id: 0, result: { roots: [] } };

function objectOr(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {};
}

/** The message of an `error` answer of a server, bounded. */
function errorText(answer: Message): string {
  const error = objectOr(answer.json(Field.error));
  const text = error['message'];
  return typeof text === 'string' ? text.slice(0, 500) : 'no reason given';
}

/** An `error` answer to a request of the gateway's own, as the error of the one who caused it. */
function relayedError(answer: Message): TollgateError {
  const error = objectOr(answer.json(Field.error));
  const code = Number(error['code']);
  return new TollgateError('server_protocol_error', errorText(answer), {
    executed: 'no',
    ...(Number.isSafeInteger(code) ? { rpc: code } : {}),
    ...(error['data'] === undefined ? {} : { data: error['data'] }),
  });
}

export interface Initialized {
  readonly version: string;
  readonly result: Readonly<Record<string, unknown>>;
}

/** `initialize` was answered with an error; `answer` has it. */
export class InitializeRefused extends TollgateError {
  readonly answer: Message;

  constructor(server: string, answer: Message) {
    super('server_protocol_error', `Server "${server}" refused initialize: ${errorText(answer)}`);
    this.answer = answer;
  }
}

/** True when such a refusal is behind an error. */
export function refusedInitialize(error: unknown): boolean {
  for (let at = error; at instanceof Error; at = at.cause) if (at instanceof InitializeRefused) return true;
  return false;
}

/** Sends `initialize` and reads the answer; the handshake is not complete yet. Rejections as of `LegacyConnection.open`. */
export async function initialize(
  multiplexer: Multiplexer,
  options: Pick<LegacyConnectionOptions, 'capabilities' | 'clientInfo' | 'timeout'>,
): Promise<Initialized> {
  const { server } = multiplexer;
  const { capabilities, clientInfo } = options;
  const params = { protocolVersion: LATEST_LEGACY, capabilities, clientInfo };
  const answer = await multiplexer.call('initialize', params, options.timeout, false);
  if (answer.kind === 'error') throw new InitializeRefused(server, answer);
  const result = objectOr(answer.json(Field.result));
  const version = result['protocolVersion'];
  if (typeof version !== 'string' || !isLegacyVersion(version)) {
    const got = String(JSON.stringify(version)).slice(0, 60);
    throw new TollgateError(
      'server_protocol_error',
      `Server "${server}" answered initialize with protocol version ${got}, which is not supported`,
    );
  }
  return { version, result };
}
