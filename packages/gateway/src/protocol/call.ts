/**
 * One call on its way through the gateway, and the faces that an edge and the pipeline show each other.
 * An edge creates the Call, the pipeline gives it to an Endpoint, each room fills its own fields and touches
 * no other. Exactly one `respond` ends every call, on every path.
 */

import type { TollgateError } from '../core/errors.ts';
import type { Lifetime } from '../core/lifetime.ts';
import type { Principal } from '../core/principal.ts';
import { capabilitySet } from './bridge/client-requests.ts';
import { Field, type Message } from './message.ts';
import type { Era } from './versions.ts';

/** Status and headers of an answer where the transport has them; ignored on stdio. */
export interface ResponseHead {
  readonly status: number;
  readonly headers?: readonly (readonly [string, string])[];
}

/** An answer of the client to a server-to-client request: a `result` or `error` message (its id is the gateway's). */
export type AnswerListener = (answer: Message | TollgateError) => void;

/** The client's side of one call, implemented by each edge for its transport and era. */
export interface Reply {
  /** True when the client can be asked on this call's stream (legacy clients that read a stream). */
  readonly canAsk: boolean;
  /** Delivers a notification that belongs to this call; on HTTP the answer becomes an event stream. */
  notify(message: Message): void;
  /**
   * Sends a server-to-client request (`params` is its JSON text) under an id the edge mints; the listener is
   * called exactly once. Only where `canAsk`. Returns the way to withdraw it (the client gets a cancel).
   */
  ask(method: string, params: string | undefined, listener: AnswerListener): (reason: string) => void;
  /**
   * Ends the call. A Message is a response whose id span is replaced by the caller's id; a Buffer is a complete
   * JSON-RPC response. Without `head` the status is 200.
   */
  respond(body: Message | Buffer, head?: ResponseHead): void;
  /** The server closed its stream to be polled (legacy SSE polling): the edge may do the same to its client. */
  pause?(retryMs: number): void;
}

/** What an admitted call has to finish; only the admission room looks inside. */
export interface Charge {
  /** Id under which its money and slots are held; undefined: it holds none. */
  readonly holdId: string | undefined;
}

/** A legacy session, an attached stdio client, or nothing (modern HTTP). */
export interface ClientSession {
  readonly id: string;
  /** Small integer for hot-path keys. */
  readonly key: number;
  readonly era: Era;
  readonly principal: Principal;
  readonly endpoint: string;
  /** Negotiated version. */
  readonly version: string;
  readonly clientInfo: unknown;
  /** `capabilities` of initialize, parsed; empty object when none. */
  readonly capabilities: Readonly<Record<string, unknown>>;
  logLevel: string | undefined;
  /** Ends when the client leaves, the session expires, or the gateway stops. */
  readonly lifetime: Lifetime;
  /** Sends outside any call (GET stream, stdio). False: no stream is open, the message is dropped. */
  notify(message: Message): boolean;
  /** Like `Reply.ask`, outside any call. Undefined: no stream is open. */
  ask(method: string, params: string | undefined, listener: AnswerListener): ((reason: string) => void) | undefined;
}

export type TransportName = 'http' | 'sse' | 'stdio' | 'rest';

export interface CallInit {
  readonly message: Message;
  readonly era: Era;
  readonly version: string;
  readonly endpoint: string;
  readonly principal: Principal;
  readonly session: ClientSession | undefined;
  readonly transport: TransportName;
  readonly lifetime: Lifetime;
  readonly reply: Reply;
  /** Address of the client, for limits by `ip`; absent where there is none (stdio). */
  readonly address?: string | undefined;
  /** Raw `Mcp-Param-*` headers (name without prefix, lower case; value decoded), undefined when there are none. */
  readonly paramHeaders: readonly (readonly [string, string])[] | undefined;
  /** Monotonic milliseconds at which the call was read: the one clock read of the call. */
  readonly startedAt: number;
}

export class Call {
  readonly message: Message;
  readonly era: Era;
  readonly version: string;
  readonly endpoint: string;
  readonly principal: Principal;
  readonly session: ClientSession | undefined;
  readonly transport: TransportName;
  readonly lifetime: Lifetime;
  readonly reply: Reply;
  readonly paramHeaders: readonly (readonly [string, string])[] | undefined;
  readonly startedAt: number;
  readonly address: string | undefined;
  /** What goes to the server where the gateway changed the request; undefined: the message as it came. */
  outbound: Message | undefined = undefined;
  /** A call is its own `Scope` towards servers, so that none is built on the hot path. */
  readonly purpose = 'call';
  /** catalog: canonical id `server/tool` (or `server/uri`), set when the name is known. */
  canonicalId: string | undefined = undefined;
  /** routing: the server that runs it. */
  server: string | undefined = undefined;
  /** admission: id of the decision, made when somebody needs to see it. */
  decisionId: string | undefined = undefined;
  /** admission: what has to be finished; undefined: not admitted, or nothing to finish. */
  charge: Charge | undefined = undefined;
  /** admission: digest of the arguments, made when a limit counts by them. */
  argumentLanes: readonly [number, number] | undefined = undefined;
  /** pipeline: which round of a paid call this is. */
  round = 1;
  #capabilitySet: number | undefined = undefined;

  get method(): string {
    return this.message.method;
  }

  /** As a `Scope`: what this request of a modern client declared. Read only where a legacy server will run it. */
  get capabilitySet(): number | undefined {
    if (this.era === 'legacy') return undefined;
    this.#capabilitySet ??= capabilitySet(this.message.json(Field.clientCapabilities));
    return this.#capabilitySet;
  }

  constructor(init: CallInit) {
    this.message = init.message;
    this.era = init.era;
    this.version = init.version;
    this.endpoint = init.endpoint;
    this.principal = init.principal;
    this.session = init.session;
    this.transport = init.transport;
    this.lifetime = init.lifetime;
    this.reply = init.reply;
    this.paramHeaders = init.paramHeaders;
    this.startedAt = init.startedAt;
    this.address = init.address;
  }
}

/** What an edge faces: the compiled chain of one endpoint. */
export interface Endpoint {
  readonly path: string;
  /** Runs the call. Never throws; `call.reply.respond` is called exactly once. */
  handle(call: Call): void;
  /** A client notification other than `cancelled` (the edge maps that to the call's lifetime). */
  notified(message: Message, session: ClientSession | undefined, principal: Principal): void;
  /** What a 401 of this endpoint says beside its scheme. Absent: nothing. */
  challenge?(): Challenge;
}

/** What a client needs to get a better token (RFC 6750 section 3, RFC 9728 section 5.1). */
export interface Challenge {
  /** URL of the metadata of the protected resource; undefined: there is none. */
  readonly metadata: string | undefined;
  /** Scopes that every operation here needs; undefined: none. */
  readonly scope: string | undefined;
}

/** A caller, or why there is none. */
export type Identified = Principal | TollgateError;

/** What an edge asks of the gateway as it is now; a reload swaps the object behind it, calls keep theirs. */
export interface Face {
  /** Endpoint at an exact path (`/mcp`, `/s/files`), or undefined. */
  endpoint(path: string): Endpoint | undefined;
  /**
   * Identifies a caller of an endpoint from the raw Authorization header (undefined: none was sent). At once for a
   * credential that was seen before; else a promise that never rejects and is bounded in time. `slot` belongs to the
   * connection, and only this method looks at it.
   */
  identify(
    authorization: string | undefined,
    endpoint: string,
    address: string | undefined,
    slot?: { lastCaller: object | undefined },
  ): Identified | Promise<Identified>;
  /**
   * Counts an HTTP request of an identified caller before anything of it is read: `rate_limited` when its session has
   * used up its window. `session` is the validated id of a legacy session, or what the token names; else the principal counts. Undefined: off.
   */
  readonly guard: SessionGuard | undefined;
  /** JSON text of the protected resource metadata (RFC 9728) served at this path; undefined: there is none. */
  metadata?(path: string): string | undefined;
  /** Why a caller that was identified earlier is kept out by now: for channels, which identify once. */
  barred(principal: Principal, endpoint?: string): TollgateError | undefined;
  /** Grows whenever a caller who was identified earlier may no longer be let in: a key, a block, a reload. */
  readonly withdrawals: number;
  /** True while draining: no new sessions or calls. */
  readonly draining: boolean;
}

export type SessionGuard = (principal: Principal, session: string | undefined) => TollgateError | undefined;
