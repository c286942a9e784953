/**
 * A modern (2026-07-28) server over Streamable HTTP: stateless, each request is its own POST. Ids and progress
 * tokens are the connection's own, and every header is written from the body that is sent, so nothing of one
 * caller can reach another and nothing of a caller's headers reaches the server.
 */
import { afterSending, beforeSending, TollgateError } from '../core/errors.ts';
import type { Principal } from '../core/principal.ts';
import { encodeHeaderValue } from '../protocol/headers.ts';
import { scan } from '../protocol/json/scan.ts';
import { notificationBytes, replaceFields } from '../protocol/json/splice.ts';
import { Field, type FieldId, type Message } from '../protocol/message.ts';
import { methodInfo } from '../protocol/methods.ts';
import type { Connection, OutboundRequest, ReplyHandler } from '../protocol/peer.ts';
import type { SseEvent } from '../protocol/sse.ts';
import { LATEST_MODERN } from '../protocol/versions.ts';
import type { ModernServerInfo } from './discover.ts';
import type { HttpClient } from './http-client.ts';
import { HttpExchange, isJson, isMessageEvent, mediaType } from './http-exchange.ts';
import { disconnected, needsSignIn, protocolFailure, statusOf } from './http-failure.ts';
import { type HttpAnswer, postOnce } from './http-probe.ts';
import { notAMessage, relayedError } from './http-relay.ts';

/** Answers to `subscriptions/listen` stay open for hours and may be silent. */
const LISTEN = 'subscriptions/listen';

/** The client of one modern server; stateless, so one Connection serves every scope. */
export interface ModernHttp {
  /**
   * Posts one complete message with its modern headers and resolves to status and body, whatever the status: for
   * detecting the era. Rejects with a TollgateError when there is no complete answer within `timeoutMs`.
   */
  post(message: Message, timeoutMs: number, principal: Principal | undefined): Promise<HttpAnswer>;
  /** A Connection, from what discover said, or for a pinned server without discover from what is assumed. */
  connection(info: ModernServerInfo): HttpModernConnection;
}

/** Several of them, and legacy links to the same server, may share the client; its owner closes it. */
export function createModernHttp(client: HttpClient): ModernHttp {
  return {
    post: (message, timeoutMs, principal) =>
      postOnce(client, {
        body: message.bytes,
        headers: modernHeaders(client, LATEST_MODERN, message),
        idText: message.raw(Field.id),
        timeoutMs,
        principal,
      }),
    connection: (info) => new HttpModernConnection(client, info),
  };
}

/** All headers of a request but the token, for one message outside the hot path. */
function modernHeaders(client: HttpClient, version: string, message: Message): string[] {
  const headers = [...methodHeaders(client, version, message.method)];
  const info = methodInfo(message.method);
  if (info?.mirrored === true && info.nameField !== undefined) {
    const name = message.string(Field[info.nameField]);
    if (name !== undefined) headers.push('mcp-name', encodeHeaderValue(name));
  }
  return headers;
}

function methodHeaders(client: HttpClient, version: string, method: string): string[] {
  return [
    'content-type',
    'application/json',
    'accept',
    'application/json, text/event-stream',
    'mcp-protocol-version',
    version,
    'mcp-method',
    method,
    ...client.headers,
  ];
}

/** Methods are the client's text when an extension is in use, so the memory of header lists has a limit. */
const MAX_METHODS = 64;

export class HttpModernConnection implements Connection {
  readonly era = 'modern';
  readonly version: string;
  readonly capabilities: Readonly<Record<string, unknown>>;
  readonly serverInfo: unknown;
  readonly instructions: string | undefined;
  /** Messages of the server that belong to no request or that the protocol does not allow there. */
  dropped = 0;
  pending = 0;
  /**
   * Called once when the server cannot be reached, wants a sign-in, or refuses in a way that it would not in this
   * era: what was negotiated may be out of date. Requests in flight go on.
   */
  onTrouble: ((error: TollgateError) => void) | undefined;
  readonly client: HttpClient;
  /** The version as JSON text. */
  readonly quotedVersion: string;
  #lastId = 0;
  readonly #headers = new Map<string, string[]>();

  constructor(client: HttpClient, info: ModernServerInfo) {
    this.client = client;
    this.version = info.version;
    this.quotedVersion = JSON.stringify(info.version);
    this.capabilities = info.capabilities;
    this.serverInfo = info.serverInfo;
    this.instructions = info.instructions;
  }

  request(request: OutboundRequest, handler: ReplyHandler): void {
    const { message, lifetime } = request;
    if (lifetime.over) {
      handler.onFailure(lifetime.reason ?? new TollgateError('cancelled', 'The call was over before it was sent'));
      return;
    }
    const id = String(++this.#lastId);
    const edits: [FieldId, string][] = [[Field.id, id]];
    const token = message.raw(Field.metaProgressToken);
    if (token !== undefined) edits.push([Field.metaProgressToken, id]);
    if (request.target !== undefined) edits.push([targetField(message), request.target]);
    let body: Buffer;
    try {
      body = replaceFields(message, edits);
    } catch (cause) {
      handler.onFailure(TollgateError.from(cause));
      return;
    }
    this.pending++;
    new ModernExchange(this, request, handler, id, token).start(body);
  }

  notify(method: string, params: string | undefined): void {
    postOnce(this.client, {
      body: notificationBytes(method, params),
      headers: this.headersOf(method),
      idText: undefined,
      timeoutMs: this.client.options.timeout.request,
      principal: undefined,
    }).catch((cause: unknown) => {
      this.client.log.debug({ server: this.client.name, method, err: cause }, 'notification not delivered');
    });
  }

  /** Everything but name, parameters and token, built once per method. Not to be changed by callers. */
  headersOf(method: string): string[] {
    let headers = this.#headers.get(method);
    if (headers === undefined) {
      headers = methodHeaders(this.client, this.version, method);
      if (this.#headers.size < MAX_METHODS) this.#headers.set(method, headers);
    }
    return headers;
  }
}

/** Where the name stands that a `target` replaces. */
function targetField(message: Message): FieldId {
  const field = methodInfo(message.method)?.nameField;
  if (field !== undefined) return Field[field];
  return message.has(Field.name) ? Field.name : Field.uri;
}

/** Load and single faults say nothing about the server's era; statuses that a modern server gives no such body do. */
function isTrouble(error: TollgateError): boolean {
  if (error.code === 'server_login_required') return true;
  if (error.code !== 'server_unavailable') return false;
  const status = statusOf(error);
  return status === undefined || status === 400 || status === 404 || status === 405;
}

class ModernExchange extends HttpExchange {
  readonly #connection: HttpModernConnection;
  readonly #request: OutboundRequest;
  readonly #handler: ReplyHandler;
  readonly #id: string;
  /** The caller's own progress token as JSON text. */
  readonly #token: string | undefined;
  #stopListening: (() => void) | undefined;

  constructor(
    connection: HttpModernConnection,
    request: OutboundRequest,
    handler: ReplyHandler,
    id: string,
    token: string | undefined,
  ) {
    super(connection.client, request.principal);
    this.#connection = connection;
    this.#request = request;
    this.#handler = handler;
    this.#id = id;
    this.#token = token;
    // Closing the stream is how a modern request is cancelled (MCP 2026-07-28, cancellation).
    this.#stopListening = request.lifetime.onEnd((reason) =>
      this.fail(this.sent ? afterSending(reason) : beforeSending(reason)),
    );
  }

  start(body: Buffer): void {
    const { message, headerName, paramHeaders } = this.#request;
    let headers = this.#connection.headersOf(message.method);
    const otherVersion =
      message.has(Field.protocolVersion) && !message.spells(Field.protocolVersion, this.#connection.quotedVersion);
    if (headerName !== undefined || paramHeaders !== undefined || otherVersion) {
      headers = headers.slice();
      // The header must say what the body says.
      if (otherVersion) {
        const version = message.string(Field.protocolVersion) ?? '';
        headers[headers.indexOf('mcp-protocol-version') + 1] = encodeHeaderValue(version);
      }
      if (headerName !== undefined) headers.push('mcp-name', encodeHeaderValue(headerName));
      if (paramHeaders !== undefined) for (const [name, value] of paramHeaders) headers.push(name, value);
    }
    const { path } = this.http;
    // A listen stream is open for hours and may be silent: no idle timeout, and no place of a call.
    if (message.method === LISTEN) this.launch({ path, method: 'POST', headers, body, bodyTimeout: 0 }, 'stream');
    else this.launch({ path, method: 'POST', headers, body }, 'call');
  }

  protected override onHead(): TollgateError | undefined {
    const { status } = this;
    if (status < 300) return undefined;
    // Redirects and sign-in are between the gateway and the server: such a body is not for the caller.
    return status < 400 || needsSignIn(status, this.headers) ? this.refusal() : undefined;
  }

  protected override onPieces(pieces: readonly Buffer[]): void {
    // A large answer is relayed in the pieces it came in.
    if (this.status < 300 && pieces.length > 1 && isJson(this.headers)) this.#answer(this.#scan(pieces));
    else super.onPieces(pieces);
  }

  protected override onBody(body: Buffer): void {
    const { status, headers } = this;
    if (status >= 300) {
      const relayed = isJson(headers) ? relayedError(body, this.#id, this.http.caps) : undefined;
      if (relayed === undefined) this.fail(this.refusal());
      else this.#respond(relayed);
    } else if (body.length === 0) {
      this.fail(this.refusal());
    } else if (isJson(headers)) {
      this.#answer(this.#scan(body));
    } else {
      const type = JSON.stringify(mediaType(headers['content-type']).slice(0, 100));
      this.fail(
        protocolFailure(this.http.name, `the content type of the answer is ${type}, not JSON or an event stream`),
      );
    }
  }

  protected override onEvent(event: SseEvent): void {
    if (!isMessageEvent(event)) {
      this.#connection.dropped++;
      return;
    }
    const message = this.#scan(event.data);
    if (message.kind === 'notification') this.#notification(message);
    else this.#answer(message);
  }

  protected override onStreamEnd(): void {
    this.fail(disconnected(this.http.name, 'the event stream ended without an answer'));
  }

  protected override onFailure(error: TollgateError): void {
    this.#end();
    const { onTrouble } = this.#connection;
    // Where each caller has an account, what the gateway itself may not do says nothing about the server.
    const own = error.code === 'server_login_required' && this.http.credentials?.perCaller === true;
    if (onTrouble !== undefined && !own && isTrouble(error)) {
      this.#connection.onTrouble = undefined;
      onTrouble(error);
    }
    this.#handler.onFailure(error);
  }

  #answer(message: Message): void {
    if (message.kind === 'request' || message.kind === 'notification') {
      // Servers never send requests in this era (SEP-2322), and a notification answers nothing.
      this.fail(protocolFailure(this.http.name, `a ${message.kind} came where the answer belongs`));
    } else if (!message.spells(Field.id, this.#id)) {
      this.fail(protocolFailure(this.http.name, 'the answer carries another id than the request'));
    } else {
      this.#respond(message);
    }
  }

  #respond(message: Message): void {
    this.finish();
    this.#end();
    const listened = this.#request.message.method === LISTEN && message.spells(Field.subscriptionId, this.#id);
    this.#handler.onResponse(listened ? this.#restoreSubscription(message) : message);
  }

  /** A subscription is named by the id of its request (MCP 2026-07-28), and that is the caller's, not ours. */
  #restoreSubscription(message: Message): Message {
    const id = this.#request.message.raw(Field.id);
    if (id === undefined) return message;
    return scan(replaceFields(message, [[Field.subscriptionId, id]]), this.http.caps);
  }

  /** Only what belongs to this request is passed on; on a listen stream, what carries its subscription id. */
  #notification(message: Message): void {
    if (this.#request.message.method === LISTEN) {
      if (message.spells(Field.subscriptionId, this.#id)) {
        this.#handler.onNotification(this.#restoreSubscription(message));
        return;
      }
    } else if (message.method === 'notifications/message') {
      this.#handler.onNotification(message);
      return;
    } else if (message.method === 'notifications/progress' && this.#token !== undefined) {
      if (message.spells(Field.progressToken, this.#id)) {
        const restored = replaceFields(message, [[Field.progressToken, this.#token]]);
        this.#handler.onNotification(scan(restored, this.http.caps));
        return;
      }
    }
    this.#connection.dropped++;
  }

  #scan(bytes: Buffer | readonly Buffer[]): Message {
    try {
      return scan(bytes, this.http.caps);
    } catch (cause) {
      throw notAMessage(this.http.name, cause);
    }
  }

  #end(): void {
    this.#connection.pending--;
    this.#stopListening?.();
  }
}
