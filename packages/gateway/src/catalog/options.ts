/** How an endpoint merges its servers: complete and checked, made by `config/compile`. */
export interface CatalogOptions {
  /** Path of the endpoint, for messages. */
  readonly endpoint: string;
  /** Servers in claim order. */
  readonly servers: readonly string[];
  readonly naming: 'auto' | 'prefix' | 'priority' | 'manual' | 'bare';
  /** Globs on canonical ids; `allow` undefined means everything, an empty list nothing. */
  readonly allow: readonly string[] | undefined;
  readonly deny: readonly string[];
  /** Advertised names the operator chose, by canonical id (`tools.<id>.as`). */
  readonly names: ReadonlyMap<string, string>;
  /** A dead or slow server: answer without it and mark the list, or fail the list. */
  readonly onUnavailable: 'partial' | 'fail';
  /** Milliseconds a list waits for one server. */
  readonly listTimeout: number;
}
