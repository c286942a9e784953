/**
 * Streamable HTTP of 2025-03-26 to 2025-11-25: sessions, a GET stream for what belongs to no call, DELETE, and
 * resumption. A client that goes away has not cancelled: its calls go on, and what they say can be fetched later.
 */
import { TollgateError } from '../core/errors.ts';
import type { Principal } from '../core/principal.ts';
import { Call, type Endpoint } from '../protocol/call.ts';
import { Field, type Message } from '../protocol/message.ts';
import { isLegacyVersion, MODERN_VERSIONS } from '../protocol/versions.ts';
import { accepted } from './accept.ts';
import { type Edge, type Posted, shuttingDown } from './edge.ts';
import { EventBudget } from './event-store.ts';
import type { Exchange } from './exchange.ts';
import { readHandshake } from './handshake.ts';
import { LegacyReply } from './legacy-reply.ts';
import { attach } from './legacy-stream.ts';
import type { RequestHead } from './request-head.ts';
import { HttpSession, SessionTable } from './sessions.ts';
import { idKey } from './wire.ts';

export class LegacyHttp {
  readonly #edge: Edge;
  readonly #table: SessionTable;
  readonly #budget = new EventBudget();

  constructor(edge: Edge) {
    this.#edge = edge;
    this.#table = new SessionTable(() => edge.options.caps, edge.clock);
  }

  get sessions(): number {
    return this.#table.size;
  }

  close(): void {
    this.#table.close(shuttingDown());
  }

  /** Id of the session that a request names, when it is the caller's own on this endpoint. */
  sessionOf(head: RequestHead, principal: Principal, endpoint: Endpoint): string | undefined {
    return head.sessionId === undefined ? undefined : this.#table.find(head.sessionId, principal, endpoint.path)?.id;
  }

  /** Checks and runs one posted legacy message. */
  post(posted: Posted): void {
    const { exchange, head, message } = posted;
    const id = message.raw(Field.id);
    if (head.sessionId === undefined) {
      if (message.kind === 'request' && message.method === 'initialize') this.#initialize(posted, id!);
      else exchange.refuse(noSession(head), message.kind === 'request' ? id : undefined);
      return;
    }
    const session = this.#session(head, posted.principal, posted.endpoint, posted.startedAt);
    if (session instanceof Error) {
      exchange.refuse(session, message.kind === 'request' ? id : undefined);
      return;
    }
    switch (message.kind) {
      case 'request':
        this.#request(posted, session, id!);
        return;
      case 'notification':
        this.#notification(posted, session);
        return;
      default:
        session.asks.answer(message);
        exchange.empty(202);
    }
  }

  /** Opens the GET stream of a session, or takes up a stream that broke. */
  get(exchange: Exchange, head: RequestHead, principal: Principal, endpoint: Endpoint): void {
    if (!accepted(head.accept).stream) {
      exchange.refuse(new TollgateError('not_acceptable', 'A GET needs `Accept: text/event-stream`.'));
      return;
    }
    const session = this.#session(head, principal, endpoint, this.#edge.clock.monotonic());
    const refused = session instanceof Error ? session : this.#edge.streams.admit(principal.key);
    if (session instanceof Error || refused !== undefined) {
      exchange.refuse(refused!);
      return;
    }
    if (head.lastEventId !== undefined) {
      const found = session.events.find(head.lastEventId);
      if (found === undefined) {
        exchange.refuse(
          new TollgateError('invalid_request', 'The events after this Last-Event-ID are no longer kept.'),
        );
        return;
      }
      attach(session, found.stream, this.#open(exchange, session, found.stream), found.after);
      return;
    }
    if (session.standalone?.live !== undefined) {
      exchange.refuse(
        new TollgateError('invalid_request', 'The session has its GET stream already; one is allowed.', { http: 409 }),
      );
      return;
    }
    if (session.standalone !== undefined) session.events.drop(session.standalone);
    session.standalone = session.events.open();
    attach(session, session.standalone, this.#open(exchange, session, session.standalone), 0);
  }

  /** Ends a session at its client's wish. */
  delete(exchange: Exchange, head: RequestHead, principal: Principal, endpoint: Endpoint): void {
    const session = this.#session(head, principal, endpoint, this.#edge.clock.monotonic());
    if (session instanceof Error) {
      exchange.refuse(session);
      return;
    }
    session.lifetime.end(new TollgateError('cancelled', 'The client ended its session.', { executed: 'unknown' }));
    exchange.empty(204);
  }

  #open(exchange: Exchange, session: HttpSession, stored: NonNullable<HttpSession['standalone']>) {
    const live = exchange.stream(this.#edge.streams, session.principal.key);
    const left = (): void => {
      if (stored.live === live) stored.live = undefined;
    };
    exchange.whenGone(left);
    live.whenOverflow(left);
    return live;
  }

  /** The session a request names, when it is the caller's, on this endpoint, and spoken to in its version. */
  #session(head: RequestHead, principal: Principal, endpoint: Endpoint, now: number): HttpSession | TollgateError {
    const session = this.#table.find(head.sessionId!, principal, endpoint.path);
    if (session === undefined) {
      return new TollgateError('session_not_found', 'No such session. Send `initialize` without a session id.');
    }
    session.lastUsed = now;
    session.credential?.renewed(principal);
    if (head.protocolVersion !== undefined && head.protocolVersion.trim() !== session.version) {
      return new TollgateError(
        'invalid_request',
        `MCP-Protocol-Version must be ${session.version}, which this session negotiated.`,
      );
    }
    return session;
  }

  #initialize(posted: Posted, id: string): void {
    const { exchange, message, principal, endpoint } = posted;
    const refused = this.#table.admit(principal);
    const handshake = refused ?? readHandshake(message);
    if (handshake instanceof Error) {
      exchange.refuse(handshake, id);
      return;
    }
    const session = new HttpSession(principal, endpoint.path, handshake, this.#budget, posted.startedAt);
    this.#run(posted, session, id, this.#table);
  }

  #request(posted: Posted, session: HttpSession, id: string): void {
    const { exchange } = posted;
    if (posted.message.method === 'initialize') {
      exchange.refuse(new TollgateError('invalid_request', 'The session is initialized already.'), id);
      return;
    }
    if (session.calls.has(idKey(id))) {
      exchange.refuse(new TollgateError('invalid_request', `A request with the id ${id} is still running.`), id);
      return;
    }
    if (session.calls.size >= this.#edge.options.caps.streamsPerPrincipal) {
      exchange.refuse(
        new TollgateError('too_many_streams', `The session has ${session.calls.size} requests running already.`),
        id,
      );
      return;
    }
    this.#run(posted, session, id, undefined);
  }

  #run(posted: Posted, session: HttpSession, id: string, opening: SessionTable | undefined): void {
    const { message, endpoint } = posted;
    const reply = new LegacyReply(
      this.#edge,
      posted.exchange,
      accepted(posted.head.accept),
      session,
      opening,
      message,
      id,
    );
    endpoint.handle(
      new Call({
        message,
        era: 'legacy',
        version: session.version,
        endpoint: endpoint.path,
        principal: posted.principal,
        session,
        transport: 'http',
        lifetime: reply.lifetime,
        reply,
        paramHeaders: undefined,
        address: posted.address,
        startedAt: posted.startedAt,
      }),
    );
  }

  #notification(posted: Posted, session: HttpSession): void {
    const { message, endpoint, principal, exchange } = posted;
    exchange.empty(202);
    if (message.method !== 'notifications/cancelled') {
      endpoint.notified(message, session, principal);
      return;
    }
    cancelled(message, (key) => session.calls.get(key)?.cancelled());
  }
}

/** Maps `notifications/cancelled` to the call it names. */
export function cancelled(message: Message, cancel: (idKey: string) => void): void {
  const id = message.raw(Field.requestId);
  if (id !== undefined) cancel(idKey(id));
}

/** Why a legacy request without a session cannot be served; names the versions when it asked for an unknown one. */
function noSession(head: RequestHead): TollgateError {
  const version = head.protocolVersion?.trim();
  if (version !== undefined && !isLegacyVersion(version)) {
    return new TollgateError(
      'unsupported_version',
      `The protocol version is not served here: ${version.slice(0, 40)}`,
      {
        data: { supported: MODERN_VERSIONS, requested: version },
      },
    );
  }
  return new TollgateError(
    'session_required',
    'No session: send `initialize` first and repeat its Mcp-Session-Id, or send a 2026-07-28 request with its `_meta`.',
  );
}
