import type { ViolatedLimit } from './decision.ts';
import type { LimitOptions } from './options.ts';

/** What a limit counts by that only the caller, or its tenant, moves. */
const OWN = ['principal', 'session', 'client', 'tenant'] as const;

export function isOwn({ by }: LimitOptions): boolean {
  return OWN.some((key) => by.includes(key));
}

/** Whether the numbers of a limit may be told: `mine` tells those of limits keyed by the caller or its tenant. */
export function tellsNumbers({ limit }: Pick<ViolatedLimit, 'limit'>): boolean {
  return limit.disclose === 'full' || (limit.disclose === 'mine' && isOwn(limit));
}

export function tellsName({ limit }: Pick<ViolatedLimit, 'limit'>): boolean {
  return limit.disclose !== 'none';
}
