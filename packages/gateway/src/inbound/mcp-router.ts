/** Requests to MCP endpoints: who sends them, in which era, and which handler that makes. */
import type { IncomingMessage } from 'node:http';
import { TollgateError } from '../core/errors.ts';
import type { Principal } from '../core/principal.ts';
import type { Endpoint, Face, Identified } from '../protocol/call.ts';
import { Field } from '../protocol/message.ts';
import { isModernVersion } from '../protocol/versions.ts';
import { accepted } from './accept.ts';
import { answerOptions } from './cors.ts';
import { type Edge, type Posted, shuttingDown } from './edge.ts';
import type { Exchange } from './exchange.ts';
import type { LegacyHttp } from './legacy-http.ts';
import type { LegacySse, SseRoute } from './legacy-sse.ts';
import { serveModern } from './modern-http.ts';
import { challengeOf, receive } from './receive.ts';
import type { RequestHead } from './request-head.ts';

const ALLOW = 'GET, POST, DELETE, OPTIONS';

export class McpRouter {
  readonly #edge: Edge;
  readonly #legacy: LegacyHttp;
  readonly #sse: LegacySse;
  readonly #closing: () => boolean;

  constructor(edge: Edge, legacy: LegacyHttp, sse: LegacySse, closing: () => boolean) {
    this.#edge = edge;
    this.#legacy = legacy;
    this.#sse = sse;
    this.#closing = closing;
  }

  /** Serves the request when its path is one of MCP; false otherwise. */
  route(request: IncomingMessage, exchange: Exchange, head: RequestHead, path: string): boolean {
    const face = this.#edge.face();
    const endpoint = face.endpoint(path);
    const sse = endpoint === undefined ? this.#sse.route(path, face) : undefined;
    const target = endpoint ?? sse?.endpoint;
    if (target === undefined) return false;
    if (request.method === 'OPTIONS') {
      answerOptions(exchange, request.headers['access-control-request-headers'], ALLOW, this.#edge.options.cors);
      return true;
    }
    if (this.#closing() || face.draining) {
      exchange.refuseUnread(shuttingDown());
      return true;
    }
    const who = face.identify(head.authorization, target.path, head.address, exchange.connection);
    if (who instanceof Promise) this.#serveLater(who, request, exchange, head, path);
    else this.#serveAs(who, request, exchange, head, target, sse);
    return true;
  }

  /**
   * A credential seen for the first time. Nobody reads the body meanwhile, so Node keeps it and slows its sender down;
   * the wait is bounded by identity, and what changed during it (client, reload, shutdown) is looked at again.
   */
  #serveLater(
    who: Promise<Identified>,
    request: IncomingMessage,
    exchange: Exchange,
    head: RequestHead,
    path: string,
  ): void {
    who
      .then((identified) => {
        if (exchange.started) return;
        const face = this.#edge.face();
        const endpoint = face.endpoint(path);
        const sse = endpoint === undefined ? this.#sse.route(path, face) : undefined;
        const target = endpoint ?? sse?.endpoint;
        if (this.#closing() || face.draining) exchange.refuseUnread(shuttingDown());
        else if (target === undefined) {
          exchange.refuse(new TollgateError('not_found', 'This endpoint is no longer served.'));
        } else this.#serveAs(identified, request, exchange, head, target, sse);
      })
      .catch((error: unknown) => {
        this.#edge.log.error({ err: error, path }, 'a request handler failed');
        exchange.refuse(TollgateError.from(error));
      });
  }

  #serveAs(
    who: Identified,
    request: IncomingMessage,
    exchange: Exchange,
    head: RequestHead,
    target: Endpoint,
    sse: SseRoute | undefined,
  ): void {
    const refused = who instanceof Error ? who : this.#guarded(request, this.#edge.face(), head, target, who);
    if (who instanceof Error) exchange.refuse(who, undefined, challengeOf(who, head, target));
    else if (refused !== undefined) exchange.refuse(refused);
    else if (sse !== undefined) this.#sse.serve(request, exchange, head, sse, who);
    else this.#serve(request, exchange, head, target, who);
  }

  /** Before anything is read: a flood must cost the gateway less than it costs the sender. */
  #guarded(
    request: IncomingMessage,
    face: Face,
    head: RequestHead,
    endpoint: Endpoint,
    principal: Principal,
  ): TollgateError | undefined {
    if (face.guard === undefined) return undefined;
    const session =
      this.#legacy.sessionOf(head, principal, endpoint) ??
      this.#sse.sessionOf(request, principal, endpoint) ??
      principal.session?.id;
    return face.guard(principal, session);
  }

  #serve(
    request: IncomingMessage,
    exchange: Exchange,
    head: RequestHead,
    endpoint: Endpoint,
    principal: Principal,
  ): void {
    if (request.method === 'POST') {
      this.#post(request, exchange, head, endpoint, principal);
    } else if (head.sessionId !== undefined && request.method === 'GET') {
      this.#legacy.get(exchange, head, principal, endpoint);
    } else if (head.sessionId !== undefined && request.method === 'DELETE') {
      this.#legacy.delete(exchange, head, principal, endpoint);
    } else {
      const why = request.method === 'GET' || request.method === 'DELETE' ? ' without an Mcp-Session-Id' : '';
      exchange.refuse(
        new TollgateError('method_not_allowed', `${request.method} is not served here${why}.`),
        undefined,
        [['allow', 'POST']],
      );
    }
  }

  #post(
    request: IncomingMessage,
    exchange: Exchange,
    head: RequestHead,
    endpoint: Endpoint,
    principal: Principal,
  ): void {
    const forms = accepted(head.accept);
    if (!forms.json && !forms.stream) {
      exchange.refuseUnread(
        new TollgateError('not_acceptable', 'Accept must allow `application/json` or `text/event-stream`.'),
      );
      return;
    }
    receive(this.#edge, request, exchange, head, { endpoint, principal }, (message, sender) => {
      const startedAt = this.#edge.clock.monotonic();
      const { address } = head;
      this.#dispatch({
        exchange,
        head,
        message,
        endpoint: sender.endpoint,
        principal: sender.principal,
        address,
        startedAt,
      });
    });
  }

  /**
   * The era of a message: the body decides (MCP 2026-07-28, versioning). A modern `_meta` makes it modern; without it
   * `initialize` and messages of a session are legacy; a modern version header alone is a modern request that lacks
   * its `_meta`.
   */
  #dispatch(posted: Posted): void {
    const { exchange, head, message } = posted;
    const headerIsModern = head.protocolVersion !== undefined && isModernVersion(head.protocolVersion.trim());
    const claims =
      (message.kind === 'request' || message.kind === 'notification') && message.has(Field.protocolVersion);
    const opens = message.kind === 'request' && message.method === 'initialize';
    if (opens && !(claims && isModernVersion(message.string(Field.protocolVersion) ?? ''))) {
      if (headerIsModern) {
        exchange.refuse(
          new TollgateError(
            'header_mismatch',
            '`initialize` is legacy, but MCP-Protocol-Version names a modern version.',
          ),
          message.raw(Field.id),
        );
      } else this.#legacy.post(posted);
    } else if (claims) serveModern(this.#edge, posted);
    else if (!headerIsModern) this.#legacy.post(posted);
    else if (message.kind === 'request' || message.kind === 'notification') serveModern(this.#edge, posted);
    else exchange.refuse(new TollgateError('invalid_request', 'Responses cannot be posted in 2026-07-28.'));
  }
}
