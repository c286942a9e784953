/** What a limit lets through, in words: for `validate`, `explain` and the start-up print. */
import type { LimitOptions, Period, Quota } from '../admission/options.ts';
import { formatAmount, formatMicros } from './amounts.ts';
import { formatDuration } from './units.ts';

const LENGTHS: Readonly<Record<number, readonly [short: string, noun: string]>> = {
  1000: ['s', 'second'],
  60000: ['min', 'minute'],
  3600000: ['h', 'hour'],
  86400000: ['day', 'day'],
  604800000: ['week', 'week'],
};
const SHORT = { minute: 'min', hour: 'h', day: 'day', week: 'week', month: 'month' } as const;

function periodNames(period: Period): readonly [short: string, noun: string] {
  if (period.kind === 'calendar') return [SHORT[period.page], period.page];
  const text = formatDuration(period.ms);
  return LENGTHS[period.ms] ?? [text, text];
}

/** `steady 30/min, at once 40, worst minute 70`: what these numbers let through. */
export function quotaWords(quota: Quota, limit: Pick<LimitOptions, 'algorithm' | 'timezone' | 'latch'>): string {
  switch (quota.kind) {
    case 'concurrency':
      return `${quota.count} at once`;
    case 'per-call':
      return `at most ${formatAmount(quota.amount)} a call`;
    case 'total':
      return `${formatAmount(quota.amount)} in all, ${limit.latch ? 'then shut until an admin resets it' : 'until it is reset'}`;
    case 'rate':
      return periodWords(quota.count, String, '', quota, limit);
    case 'amount':
      return periodWords(quota.amount.micros, formatMicros, ` ${quota.amount.unit}`, quota, limit);
  }
}

function periodWords(
  count: number,
  write: (number: number) => string,
  unit: string,
  { period, burst }: { readonly period: Period; readonly burst: number },
  { algorithm, timezone, latch }: Pick<LimitOptions, 'algorithm' | 'timezone' | 'latch'>,
): string {
  const [short, noun] = periodNames(period);
  const much = (number: number) => write(number) + unit;
  const shut = latch ? ', then shut until an admin resets it' : '';
  if (algorithm === 'token-bucket') {
    const capacity = count + burst;
    return `steady ${much(count)}/${short}, at once ${much(capacity)}, worst ${noun} ${much(capacity + count)}${shut}`;
  }
  if (algorithm === 'sliding-window') return `never more than ${much(count)} in any ${noun}${shut}`;
  if (period.kind === 'length') {
    return `${much(count)}/${short} from the first call on, worst ${noun} ${much(2 * count)}${shut}`;
  }
  return `${much(count)} each ${noun} of the calendar (${timezone}), worst ${noun} ${much(2 * count)}${shut}`;
}

/** `one counter for each principal and tool`. */
export function countsBy(limit: Pick<LimitOptions, 'by' | 'quota'>): string {
  if (limit.quota?.kind === 'per-call') return 'each call by itself';
  const keys = limit.by.filter((key) => key !== 'everyone');
  return keys.length === 0 ? 'one counter for everyone' : `one counter for each ${keys.join(' and ')}`;
}

/** The numbers of a limit for a tier; undefined: callers of that tier have none under it. */
export function quotaFor(limit: LimitOptions, tier: string): Quota | undefined {
  return limit.rows.get(tier) ?? limit.quota;
}

/** `calls: steady 30/min, at once 40, worst minute 70, one counter for each principal`, and what differs by tier. */
export function limitLine(limit: LimitOptions): string {
  const tiers = new Map<string, string[]>();
  const own = limit.quota === undefined ? undefined : quotaWords(limit.quota, limit);
  for (const [tier, quota] of limit.rows) {
    const words = quotaWords(quota, limit);
    if (words !== own) tiers.set(words, [...(tiers.get(words) ?? []), tier]);
  }
  const parts = own === undefined ? [] : [own];
  parts.push(countsBy(limit));
  const rest = [...tiers].map(([words, names]) => `; ${names.join(' and ')}: ${words}`).join('');
  const shadow = limit.mode === 'shadow' ? ' (shadow: refuses nothing)' : '';
  return `${limit.name}: ${parts.join(', ')}${rest}${shadow}`;
}
