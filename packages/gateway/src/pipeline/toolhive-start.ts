/** What a ToolHive file asks of a start that other files do not. */
import type { CompiledConfig } from '../config/compile.ts';
import { TollgateError } from '../core/errors.ts';
import { pingRedis, redisAddress } from '../store/redis.ts';

const PING_MS = 5_000;

/**
 * Limits of a ToolHive file need their Redis at the start: PING within 5 seconds, else `storage_unavailable` with the
 * words of ToolHive and the address. Later outages let calls pass and are counted. Other files start without Redis.
 */
export async function requireToolhiveRedis({
  toolhive,
  state,
}: Pick<CompiledConfig, 'toolhive' | 'state'>): Promise<void> {
  if (toolhive === undefined || state.kind !== 'redis') return;
  try {
    await pingRedis(state, PING_MS);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    const what = `rate limit middleware: failed to connect to Redis at ${redisAddress(state)}: ${why}`;
    throw new TollgateError('storage_unavailable', what, { cause });
  }
}
