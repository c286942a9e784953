/**
 * The faces of an upstream server, as the catalog, the bridge and the pipeline see them. The upstream room
 * implements them; nobody above knows whether a process, a POST or an event stream is behind.
 */

import type { TollgateError } from '../core/errors.ts';
import type { Lifetime } from '../core/lifetime.ts';
import type { Principal } from '../core/principal.ts';
import type { AnswerListener, ClientSession } from './call.ts';
import type { Message } from './message.ts';
import type { Era } from './versions.ts';

/** On whose behalf a connection is used. Legacy servers keep state per connection, so it decides the sharing. */
export interface Scope {
  /** Era in which the caller would like to speak; a dual-era server is spoken to in it. */
  readonly era: Era;
  readonly principal: Principal | undefined;
  readonly session: ClientSession | undefined;
  /** `catalog`: the gateway's own listing connection, which declares every capability that can be bridged. */
  readonly purpose: 'call' | 'catalog';
  /** What a modern caller declared in this request, as `capabilitySet` numbers it. Absent: nothing. */
  readonly capabilitySet?: number | undefined;
}

export interface OutboundRequest {
  /** The request in the era of the connection. Its id and progress token are replaced by the connection's own. */
  readonly message: Message;
  /** JSON text to put in place of `params.name` or `params.uri`; undefined leaves it. */
  readonly target: string | undefined;
  /** The same, decoded, for the `Mcp-Name` header; undefined when the method has none. */
  readonly headerName: string | undefined;
  /** `Mcp-Param-*` headers for a modern HTTP server (name with prefix, encoded value). */
  readonly paramHeaders: readonly (readonly [string, string])[] | undefined;
  /** Whose call it is; absent: the gateway's own request. */
  readonly principal?: Principal | undefined;
  /** Ends early on client disconnect, cancel, deadline or shutdown: the request is then cancelled upstream. */
  readonly lifetime: Lifetime;
}

/** Receives what comes back for one request. `onResponse` or `onFailure` is called exactly once, last. */
export interface ReplyHandler {
  /** Progress (token restored to the caller's) or log message that belongs to this request. */
  onNotification(message: Message): void;
  /** Server-to-client request (legacy servers). `answer` takes the client's response and must be called once. */
  onServerRequest(message: Message, answer: AnswerListener): void;
  /** The server withdrew a request given before (the same Message object); its answer is not wanted any more. */
  onServerRequestWithdrawn?(message: Message): void;
  /** The final `result` or `error` message; its id is the connection's, never the caller's. */
  onResponse(message: Message): void;
  onFailure(error: TollgateError): void;
  /** The server closed the stream of this request to be polled after so many milliseconds. */
  onPause?(retryMs: number): void;
}

/** One negotiated connection (or stateless client) to a server. */
export interface Connection {
  readonly era: Era;
  readonly version: string;
  /** The server's capabilities as declared, parsed. */
  readonly capabilities: Readonly<Record<string, unknown>>;
  readonly serverInfo: unknown;
  readonly instructions: string | undefined;
  /** Number of requests in flight. */
  readonly pending: number;
  /** Sends a request; the lifetime of `request` cancels it. Never throws. */
  request(request: OutboundRequest, handler: ReplyHandler): void;
  /** Sends a notification (`params` is JSON text). Never throws; a dead connection drops it. */
  notify(method: string, params: string | undefined): void;
  /** Legacy only: sends logging/setLevel and ignores the answer. */
  setLogLevel?(level: string): void;
}

export type ListKind = 'tools' | 'prompts' | 'resources';

/** Something a server said outside any request. */
export type ServerEvent =
  | { readonly type: 'list_changed'; readonly kind: ListKind }
  | {
      readonly type: 'resource_updated';
      readonly uri: string;
      readonly message: Message;
      readonly connection: Connection | undefined;
      /** Whose connection it is, where it belongs to one session or principal. */
      readonly scope?: Scope | undefined;
    }
  /** A log message, or any other notification that belongs to no request (`message.method` tells). */
  | {
      readonly type: 'log';
      readonly message: Message;
      readonly connection: Connection;
      /** Whose connection it is; undefined on a connection that several callers share. */
      readonly scope?: Scope | undefined;
    }
  /** A server-to-client request outside any call; answer it or decline. */
  | {
      readonly type: 'request';
      readonly message: Message;
      readonly connection: Connection;
      readonly scope: Scope;
      readonly answer: AnswerListener;
    }
  /** The server withdrew a `request` event (the same Message object), or its connection is gone. */
  | { readonly type: 'request_withdrawn'; readonly message: Message; readonly connection: Connection }
  | { readonly type: 'state'; readonly state: ServerState };

export type ServerState = 'idle' | 'starting' | 'ready' | 'failed' | 'login_required' | 'stopped';

/** Runtime view of a server, for status, start-up print and console. No secrets. */
export interface ServerView {
  readonly name: string;
  readonly transport: 'stdio' | 'http' | 'sse';
  /** Command and arguments or URL, secrets masked. */
  readonly target: string;
  readonly state: ServerState;
  readonly eras: readonly Era[];
  readonly version: string | undefined;
  /** What is wrong and the exact fix, in words; undefined when healthy. */
  readonly problem: string | undefined;
  /** Last lines a dead child wrote to stderr. */
  readonly stderr: readonly string[];
  readonly instances: number;
  readonly pending: number;
}

export interface Server {
  readonly name: string;
  readonly view: ServerView;
  /** Whole-call deadline in milliseconds, from admission. */
  readonly requestTimeout: number;
  /**
   * Whether this caller has the account that calls need. Undefined: it has, or none is needed. Rejects with
   * `account_required` or `access_denied`.
   */
  account?(principal: Principal): Promise<unknown> | undefined;
  /** A live connection for this scope when one is ready now: the synchronous hot path. */
  current(scope: Scope): Connection | undefined;
  /** A connection for this scope, started and negotiated when needed. Rejects with a TollgateError. */
  connect(scope: Scope): Promise<Connection>;
  /** Connections already open for a session, for session-wide notifications (roots changed, log level). */
  connectionsOf(session: ClientSession): readonly Connection[];
  /** Asks for updates of a resource; several callers may. Resolves to the way to stop. Rejects when unsupported. */
  subscribe(uri: string, scope: Scope): Promise<() => void>;
  onEvent(listener: (event: ServerEvent) => void): () => void;
  close(): Promise<void>;
}
