/** What a changed configuration takes from callers' counters: a limit that counts something else begins at nothing. */
import type { AdmissionOptions, LimitOptions } from '../admission/options.ts';
import { isAmount, unitOf } from '../admission/rules.ts';

/** What the counters of a limit are kept by. */
export interface CountedLimit {
  readonly name: string;
  /** `principal and tool`. */
  readonly by: string;
  /** `calls`, or the unit of amounts. */
  readonly counts: string;
  /** The name that it continues. */
  readonly was?: string;
}

/** Limits that keep something from one call to the next. */
export function countedLimits({ limits }: Pick<AdmissionOptions, 'limits'>): CountedLimit[] {
  return limits.flatMap(({ name, by, was, quota, rows }: LimitOptions) => {
    const any = quota ?? [...rows.values()][0];
    if (any === undefined || any.kind === 'concurrency' || any.kind === 'per-call') return [];
    const keys = by.length === 0 ? 'everyone' : [...by].toSorted().join(' and ');
    return [{ name, by: keys, counts: isAmount(any) ? unitOf(any) : 'calls', ...(was === undefined ? {} : { was }) }];
  });
}

/**
 * One sentence for each limit that is still there, under its name or by `was`, and does not keep what was used, because
 * it counts by something else or in another unit. Keys of counters are digests: nobody can carry them over.
 */
export function forgottenUse(before: readonly CountedLimit[], after: readonly CountedLimit[]): string[] {
  const earlier = new Map(before.map((limit) => [limit.name, limit]));
  return after.flatMap((limit) => {
    const old = earlier.get(limit.was ?? limit.name) ?? earlier.get(limit.name);
    if (old === undefined) return [];
    const reasons: string[] = [];
    if (old.counts !== limit.counts) reasons.push(`in ${limit.counts} and no longer in ${old.counts}`);
    if (old.by !== limit.by) reasons.push(`by ${limit.by} and no longer by ${old.by}`);
    if (reasons.length === 0) return [];
    const name = old.name === limit.name ? limit.name : `${limit.name} (was ${old.name})`;
    return [`limits.${name} counts ${reasons.join(', ')}: what was used is not kept, everybody begins at nothing`];
  });
}
