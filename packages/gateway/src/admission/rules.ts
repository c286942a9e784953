/** From the numbers of a limit to a rule of the limiter. */
import type { RuleOptions } from '@tollgate/limiter';
import type { LimitKey, LimitOptions, Period, Quota } from './options.ts';

/** Unit of rates in settlements and headers. */
export const REQUESTS = 'requests';
/** Unit of concurrency, as in draft-ietf-httpapi-ratelimit-headers. */
export const SLOTS = 'concurrent-requests';
/** Micro-units in a unit. */
export const MICROS = 1_000_000;

/** Where a page of the calendar is wanted as a length; a month is 30 days. */
const PAGE_MS = { minute: 60_000, hour: 3_600_000, day: 86_400_000, week: 604_800_000, month: 2_592_000_000 } as const;

/** True for what is counted in amounts: money and other units that a price says. */
export function isAmount(quota: Quota): boolean {
  return quota.kind === 'amount' || quota.kind === 'total' || quota.kind === 'per-call';
}

export function unitOf(quota: Quota): string {
  if ('amount' in quota) return quota.amount.unit;
  return quota.kind === 'concurrency' ? SLOTS : REQUESTS;
}

/** The number of a quota in the rule's own unit: calls, slots or micro-units; without burst. */
export function numberOf(quota: Quota): number {
  return 'amount' in quota ? quota.amount.micros : quota.count;
}

export function lengthOf(period: Period): number {
  return period.kind === 'length' ? period.ms : PAGE_MS[period.page];
}

/** What a limit counts by, in the one order that ids and keys are made in. */
const KEY_ORDER: readonly LimitKey[] = [
  'session',
  'principal',
  'tenant',
  'client',
  'ip',
  'args',
  'tool',
  'server',
  'endpoint',
];

/**
 * What the counters of a limit are kept by, for ever: its name (the earlier one while `was` is written), what it
 * counts by, and its unit. Anything else may change and what was used stays used.
 */
export function ruleId({ name, was, by }: LimitOptions, quota: Quota): string {
  const keys = KEY_ORDER.filter((key) => by.includes(key));
  return `${was ?? name}/${keys.join('+') || 'everyone'}/${unitOf(quota)}`;
}

/** Whose calls move a counter all belong to one tenant (or to one principal without tenant). */
function withinTenant(by: readonly LimitKey[]): boolean {
  return by.includes('principal') || by.includes('tenant') || by.includes('session');
}

/** Amounts of use at which somebody is told: shares of the limit, and for a latch the whole. */
export function marksOf({ alerts, latch }: LimitOptions, quota: Quota): readonly number[] {
  const number = numberOf(quota);
  const marks = new Set(alerts.map((share) => Math.ceil(share * number)).filter((mark) => mark > 0));
  if (latch) marks.add(number);
  return [...marks].toSorted((a, b) => a - b);
}

/** The rule that keeps a limit at these numbers. */
export function ruleOptions(limit: LimitOptions, quota: Quota): RuleOptions {
  const marks = marksOf(limit, quota);
  const amount = isAmount(quota);
  const base = {
    name: limit.name,
    id: ruleId(limit, quota),
    unit: unitOf(quota),
    shadow: limit.mode === 'shadow',
    // A cost that the limit says itself is known before the call; only prices are estimates.
    settles: amount && quota.kind !== 'per-call' && limit.cost === undefined,
    onError: amount ? 'closed' : limit.onError,
    crossTenant: !withinTenant(limit.by),
    ...(marks.length > 0 && quota.kind !== 'per-call' ? { marks } : {}),
  } as const;
  switch (quota.kind) {
    case 'concurrency':
      return { ...base, algorithm: 'concurrency', limit: quota.count };
    case 'per-call':
      return { ...base, algorithm: 'per-call', limit: quota.amount.micros };
    case 'total':
      return { ...base, algorithm: 'total', limit: quota.amount.micros };
    default:
      return windowOptions(base, limit, quota);
  }
}

type Base = Pick<RuleOptions, 'name' | 'id' | 'unit' | 'shadow' | 'settles' | 'onError' | 'crossTenant' | 'marks'>;

function windowOptions(
  base: Base,
  { algorithm, timezone }: LimitOptions,
  quota: Extract<Quota, { readonly period: Period }>,
): RuleOptions {
  const limit = numberOf(quota);
  const { period, burst } = quota;
  if (algorithm === 'token-bucket') return { ...base, algorithm, limit, periodMs: lengthOf(period), burst };
  if (algorithm === 'sliding-window') return { ...base, algorithm, limit, periodMs: lengthOf(period) };
  if (period.kind === 'calendar') {
    return { ...base, algorithm: 'calendar-window', limit, period: period.page, timezone };
  }
  return { ...base, algorithm, limit, periodMs: period.ms };
}

/** Rules of one id and shape share their counters; of another shape, what was used is carried over. */
export function sameShape(a: RuleOptions, b: RuleOptions): boolean {
  return a.id === b.id && shapeOf(a) === shapeOf(b);
}

function shapeOf(options: RuleOptions): string {
  const period = 'periodMs' in options ? options.periodMs : 'period' in options ? options.period : '';
  const timezone = options.algorithm === 'calendar-window' ? (options.timezone ?? 'UTC') : '';
  return `${options.algorithm} ${period} ${timezone}`;
}
