/** One way to reach a server, as the server object sees it: opens connections of the wished or the found era. */

import type { TollgateError } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import type { Principal } from '../core/principal.ts';
import type { ScanCaps } from '../protocol/json/caps.ts';
import type { Connection, Scope, ServerEvent } from '../protocol/peer.ts';
import type { Era } from '../protocol/versions.ts';
import type { ClientIdentity } from './discover.ts';

export interface OpenWish {
  /** Undefined: find out. */
  readonly era: Era | undefined;
  /** Whose connection it will be; undefined: several callers share it. */
  readonly scope: Scope | undefined;
  /** Whose call opens it, shared or not; undefined: the gateway itself. */
  readonly asker: Principal | undefined;
  /** Client capabilities to declare to a legacy server. */
  readonly capabilities: Readonly<Record<string, unknown>>;
  readonly emit: (event: ServerEvent) => void;
  /** The connection is gone; called at most once, and before `open` resolves when it dies as soon as it stands. */
  readonly onClosed: (error: TollgateError) => void;
}

/** Legacy subscriptions belong to a connection. */
export interface ResourceSubscriptions {
  subscribe(uri: string): Promise<void>;
  unsubscribe(uri: string): void;
}

export interface Opened {
  readonly connection: Connection;
  /** Undefined on modern connections, which use `subscriptions/listen`. */
  readonly subscriptions: ResourceSubscriptions | undefined;
  /** Ends the connection within a bounded time; what is in flight fails with `reason`. */
  close(reason: TollgateError): Promise<void>;
}

export interface Transport {
  readonly kind: 'stdio' | 'http' | 'sse';
  /**
   * Opens and negotiates one connection. Rejects with a TollgateError; `WrongEra` when the server answered and does
   * not speak the wished era. Nothing is left running on rejection.
   */
  open(wish: OpenWish): Promise<Opened>;
  /** As `Server.account`. */
  account?(principal: Principal): Promise<unknown> | undefined;
  /** Last lines a child wrote to stderr, oldest first; empty for others. */
  readonly stderr: readonly string[];
  /** Ends connections, those that are being opened too, and frees what outlives them. */
  close(reason: TollgateError): Promise<void>;
}

export interface TransportDeps {
  readonly log: Log;
  readonly caps: ScanCaps;
  readonly clientInfo: ClientIdentity;
}
