/** Where the gateway keeps its state, as plain data: nothing here is shown; `explain` masks it by the schema. */
import type { StoreOptions } from '../store/options.ts';

/** What must last; with `CompiledConfig.dataDir` it makes the `StoreOptions` of the store. */
export type StorageOptions = Omit<StoreOptions, 'dataDir'>;

export interface Node {
  readonly host: string;
  readonly port: number;
}

export interface TlsOptions {
  /** Files, absolute; undefined: the system's authorities, no certificate of our own. */
  readonly ca: string | undefined;
  readonly cert: string | undefined;
  readonly key: string | undefined;
  /** Name in the server's certificate; undefined: the host. */
  readonly serverName: string | undefined;
}

/** Which Redis or Valkey, and how to find it. */
export type RedisTarget =
  | { readonly kind: 'standalone'; readonly node: Node }
  | { readonly kind: 'cluster'; readonly nodes: readonly Node[] }
  | {
      readonly kind: 'sentinel';
      readonly master: string;
      readonly nodes: readonly Node[];
      /** Of the sentinels themselves. */
      readonly username: string | undefined;
      readonly password: string | undefined;
    };

export interface RedisOptions {
  readonly kind: 'redis';
  readonly target: RedisTarget;
  /** Undefined: plain connections. */
  readonly tls: TlsOptions | undefined;
  readonly username: string | undefined;
  readonly password: string | undefined;
  readonly database: number;
  /** Milliseconds a decision waits before the limits' `onError` decides. */
  readonly commandTimeoutMs: number;
  readonly connectTimeoutMs: number;
  /** Name under which counters and money are kept. */
  readonly ledger: string;
}

/** What is shared and fast. */
export type StateOptions = { readonly kind: 'memory' } | RedisOptions;

/** Who is told of alerts. */
export interface WebhookOptions {
  readonly url: string;
  /** Signs the body (HMAC-SHA256); undefined: unsigned. */
  readonly secret: string | undefined;
}
