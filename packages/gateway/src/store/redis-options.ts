/** Which Redis or Valkey holds the shared state, and how to reach it: complete and checked, made by `config`. */

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
  /** Keys begin with `prefix:{tag}:`. */
  readonly keys: { readonly prefix: string; readonly tag: string };
}
