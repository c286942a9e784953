/** What a limit is once its rows in `tiers` are seen with it: for the checks, and for compiling. */
import type { Algorithm, Amount } from '../admission/options.ts';
import { matches } from './globs.ts';
import { BASE_TIERS } from './preset.ts';
import { defaultAlgorithm, type NumberedQuota, type WrittenQuota } from './quotas.ts';
import type { configSchema } from './schema.ts';
import { asList } from './values.ts';

type Parsed = ReturnType<typeof configSchema.parse>;
type WrittenLimit = Parsed['limits'][string];

export interface TierRow {
  readonly tier: string;
  readonly quota: WrittenQuota;
  readonly burst: number | Amount | undefined;
}

/** The rows of a limit, in the order of `tiers`. */
export function rowsOf(tiers: Parsed['tiers'], limit: string): TierRow[] {
  return Object.entries(tiers).flatMap(([tier, rows]) => {
    const row = Object.hasOwn(rows, limit) ? rows[limit] : undefined;
    if (row === undefined) return [];
    return 'kind' in row ? [{ tier, quota: row, burst: undefined }] : [{ tier, quota: row.limit, burst: row.burst }];
  });
}

/** Every tier that a caller can be in, `default` first. */
export function tiersOf(config: Pick<Parsed, 'preset' | 'tiers' | 'auth'>): string[] {
  const entries = (config.auth ?? []).flatMap((entry) => {
    const { bearer, anonymous } = entry;
    return bearer?.tier ?? (typeof anonymous === 'object' ? anonymous.tier : undefined) ?? [];
  });
  const base = config.preset === 'mcp' ? [BASE_TIERS.default, BASE_TIERS.mcp] : [BASE_TIERS.default];
  return [...new Set([...base, ...Object.keys(config.tiers), ...entries])];
}

/** The row in force for a tier: its own; under the preset `basic` and `default` are one tier of two names. */
export function rowFor(rows: readonly TierRow[], tier: string, preset: 'mcp' | undefined): TierRow | undefined {
  const own = rows.find((row) => row.tier === tier);
  if (own !== undefined || preset === undefined) return own;
  const other = tier === BASE_TIERS.default ? BASE_TIERS.mcp : tier === BASE_TIERS.mcp ? BASE_TIERS.default : undefined;
  return rows.find((row) => row.tier === other);
}

/** Patterns on tiers: callers without one are in `default`, which the preset calls `basic`, so that one means both. */
export function tierPatterns(limit: WrittenLimit, preset: 'mcp' | undefined): readonly string[] | undefined {
  const patterns = asList(limit.tier);
  if (patterns === undefined || preset === undefined) return patterns;
  const { default: base, mcp } = BASE_TIERS;
  const missing = [base, mcp].filter((tier) => !patterns.some((pattern) => matches(pattern, tier)));
  return missing.length === 1 ? [...patterns, ...missing] : patterns;
}

/** Tiers whose callers a limit covers. */
export function coveredTiers(
  limit: WrittenLimit,
  tiers: readonly string[],
  preset: 'mcp' | undefined,
): readonly string[] {
  const patterns = tierPatterns(limit, preset);
  if (patterns === undefined) return tiers;
  return tiers.filter((tier) => patterns.some((pattern) => matches(pattern, tier)));
}

/** The number that decides what kind of limit it is: its own, else that of its first row. */
export function leadingQuota(limit: Pick<WrittenLimit, 'limit'>, rows: readonly TierRow[]): NumberedQuota | undefined {
  if (limit.limit.kind !== 'tier') return limit.limit;
  return rows.map(({ quota }) => quota).find((quota): quota is NumberedQuota => quota.kind !== 'tier');
}

export function algorithmOf(limit: Pick<WrittenLimit, 'algorithm'>, quota: NumberedQuota): Algorithm {
  return limit.algorithm ?? defaultAlgorithm(quota);
}

/** Calls, or millionths of the unit. */
export function burstNumber(burst: number | Amount | undefined): number {
  return typeof burst === 'object' ? burst.micros : (burst ?? 0);
}

/** Counts an amount of something that settlements charge; state that is lost must not give it back. */
export function isAmount(
  quota: NumberedQuota,
): quota is Extract<NumberedQuota, { readonly kind: 'amount' | 'total' | 'per-call' }> {
  return quota.kind === 'amount' || quota.kind === 'total' || quota.kind === 'per-call';
}
