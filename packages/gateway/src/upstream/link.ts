import type { TollgateError } from '../core/errors.ts';
import type { Lifetime } from '../core/lifetime.ts';

/** Receives what a link reads. Called on the event loop; must not throw. */
export interface LinkListener {
  /**
   * One complete message, not yet scanned. `origin` is the id (JSON text) of the request on whose stream it came;
   * undefined for a channel that all requests share (stdio, HTTP+SSE) and for the GET stream.
   */
  onMessage(bytes: Buffer, origin: string | undefined): void;
  /**
   * One request could not be sent or its stream broke for good; other requests go on. An empty `id` says that the
   * link cannot tell which: it concerns the only request in flight, or nobody. May follow the last message of a
   * request; it then means nothing when that message was the answer.
   */
  onRequestFailed(id: string, error: TollgateError): void;
  /** The server closed the stream of this request to be polled; the link resumes by itself. */
  onPause(id: string, retryMs: number): void;
  /** The whole link is gone: every pending request fails with this. Called at most once. */
  onClose(error: TollgateError): void;
}

/**
 * Moves whole messages to and from one legacy or multiplexed server: a child's pipes, a Streamable HTTP session,
 * or the HTTP+SSE pair. Knows framing and the transport's own rules, nothing of JSON-RPC methods.
 */
export interface Link {
  /** Sends a request whose id (JSON text) the caller minted. `lifetime` frees transport resources when it ends. */
  sendRequest(bytes: Buffer, id: string, lifetime: Lifetime): void;
  /** Sends a notification or a response. Resolves when handed to the transport; rejects with a TollgateError. */
  send(bytes: Buffer): Promise<void>;
  /** Tells the link what initialize negotiated (`MCP-Protocol-Version` header, GET stream). */
  negotiated(version: string): void;
  /**
   * Resolves when what belongs to no request can arrive, or never will: some servers drop what they say before.
   * Absent where it can arrive as soon as the first message after `negotiated` was sent.
   */
  listening?(): Promise<void>;
  /** Ends the session politely (DELETE, closing stdin, signals) within a bounded time. */
  close(): Promise<void>;
}

export type OpenLink = (listener: LinkListener) => Promise<Link>;
