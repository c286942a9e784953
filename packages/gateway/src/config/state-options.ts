/** Where the gateway keeps its state, as plain data: nothing here is shown; `explain` masks it by the schema. */
import type { StoreOptions } from '../store/options.ts';
import type { RedisOptions } from '../store/redis-options.ts';

/** What must last; with `CompiledConfig.dataDir` it makes the `StoreOptions` of the store. */
export type StorageOptions = Omit<StoreOptions, 'dataDir'>;

/** What is shared and fast. */
export type StateOptions = { readonly kind: 'memory' } | RedisOptions;

/** Who is told of alerts. */
export interface WebhookOptions {
  readonly url: string;
  /** Signs the body (HMAC-SHA256); undefined: unsigned. */
  readonly secret: string | undefined;
}
