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

/** The same for the record of a decision. */
export function hiddenOf(limit: LimitOptions): 'numbers' | 'limit' | undefined {
  if (limit.disclose === 'none') return 'limit';
  return limit.disclose === 'full' || isOwn(limit) ? undefined : 'numbers';
}

export function tellsName({ limit }: Pick<ViolatedLimit, 'limit'>): boolean {
  return limit.disclose !== 'none';
}
