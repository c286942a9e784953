/**
 * Who holds the master key (KEK). The gateway asks it to wrap and unwrap data keys and never sees the key of a remote
 * one. Every method is bounded in time and rejects with `vault_unavailable` when the provider does not answer, with
 * `vault_key_wrong` when it answers that it has no such key or that the wrapped key is not its own.
 */
export interface KeyProvider {
  /** `file`, `env`, `command`, `socket` or `transit`: for messages and `status`. */
  readonly kind: string;
  /** Another process or machine holds the key: data keys are cached for a while, then its outage is felt. */
  readonly remote: boolean;
  /** Names of the keys it has, the one for new data keys first. Empty: none was made yet. */
  keys(): Promise<readonly string[]>;
  /** Makes the first key and names it. Rejects with `vault_key_wrong`, saying how, where people must make it. */
  create(): Promise<string>;
  /** Makes a further key, which is then the one for new data keys; the others stay. */
  rotate(): Promise<string>;
  /** `context` must be given again to unwrap: it binds the data key to its record. */
  wrap(key: string, dataKey: Buffer, context: Buffer): Promise<string>;
  unwrap(key: string, wrapped: string, context: Buffer): Promise<Buffer>;
  /** Forgets a key for ever; an unknown one is no mistake. */
  destroy(key: string): Promise<void>;
  close(): Promise<void>;
}
