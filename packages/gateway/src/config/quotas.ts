/** The number of a limit as it is written: `30/min`, `20 at once`, `500 USD/day`, `1 USD/call`, `1000 USD total`, `tier`. */
import type { Algorithm, Amount, Period, Quota } from '../admission/options.ts';
import { formatAmount, parseAmount, parseCount, parseMicros, parseUnit } from './amounts.ts';
import { formatDuration, quote, UnitError } from './units.ts';

type Page = Extract<Period, { readonly kind: 'calendar' }>['page'];

/** A period before the algorithm decides whether it is a length or a page of the calendar. */
export interface WrittenPeriod {
  /** Canonical text: `min`, `90s`. */
  readonly text: string;
  /** Undefined: a month, which has no one length. */
  readonly ms: number | undefined;
  /** Undefined: written as a length, or a second. */
  readonly page: Page | undefined;
}

export type WrittenQuota =
  | { readonly kind: 'tier' }
  | { readonly kind: 'rate'; readonly count: number; readonly period: WrittenPeriod }
  | { readonly kind: 'concurrency'; readonly count: number }
  | { readonly kind: 'amount'; readonly amount: Amount; readonly period: WrittenPeriod }
  | { readonly kind: 'total'; readonly amount: Amount }
  | { readonly kind: 'per-call'; readonly amount: Amount };

export type NumberedQuota = Exclude<WrittenQuota, { readonly kind: 'tier' }>;

export const RATE_PATTERN = '^[0-9]+/(s|min|h|day|week|month|[0-9]+(us|ms|s|m|h|d))$';
export const QUOTA_PATTERN =
  '^(tier|[0-9]+ at once|[0-9]+/(s|min|h|day|week|month|[0-9]+(us|ms|s|m|h|d))|[0-9]+(\\.[0-9]+)? +[A-Za-z][A-Za-z0-9_-]*(/(call|s|min|h|day|week|month|[0-9]+(us|ms|s|m|h|d))| total))$';

const NAMED: Readonly<Record<string, WrittenPeriod>> = {
  s: { text: 's', ms: 1000, page: undefined },
  min: { text: 'min', ms: 60_000, page: 'minute' },
  h: { text: 'h', ms: 3_600_000, page: 'hour' },
  day: { text: 'day', ms: 86_400_000, page: 'day' },
  week: { text: 'week', ms: 7 * 86_400_000, page: 'week' },
  month: { text: 'month', ms: undefined, page: 'month' },
};
/** In microseconds. */
const LENGTH_UNITS: Readonly<Record<string, number>> = {
  us: 1,
  ms: 1000,
  s: 1_000_000,
  m: 60_000_000,
  h: 3_600_000_000,
  d: 86_400_000_000,
};
const MAX_PERIOD = 366 * 86_400_000_000;
const PERIOD_FIX = 'A period is s, min, h, day, week, month, or a length such as 60s, 5m, 2h, 7d.';
const EXAMPLES = 'For example 30/min, 20 at once, 500 USD/day, 1 USD/call, 1000 USD total or tier.';

/** Periods as people write them, by what they are called here. */
const OTHER_NAMES: ReadonlyMap<string, string> = new Map([
  ['sec', 's'],
  ['second', 's'],
  ['m', 'min'],
  ['minute', 'min'],
  ['mins', 'min'],
  ['hr', 'h'],
  ['hour', 'h'],
  ['d', 'day'],
  ['days', 'day'],
  ['w', 'week'],
  ['weeks', 'week'],
  ['months', 'month'],
  ['seconds', 's'],
  ['minutes', 'min'],
  ['hours', 'h'],
]);

function parsePeriod(text: string): WrittenPeriod {
  const named = Object.hasOwn(NAMED, text) ? NAMED[text] : undefined;
  if (named !== undefined) return named;
  const match = /^(\d+)([a-z]+)$/.exec(text);
  const unit = match === null || !Object.hasOwn(LENGTH_UNITS, match[2]!) ? undefined : LENGTH_UNITS[match[2]!];
  if (match === null || unit === undefined) {
    const name = OTHER_NAMES.get(text.toLowerCase());
    const fix = name === undefined ? PERIOD_FIX : `Write ${name}. ${PERIOD_FIX}`;
    throw new UnitError(`${quote(text)} is not a period.`, fix);
  }
  const micros = Number(match[1]) * unit;
  if (micros < 1) throw new UnitError('A period is more than nothing.', PERIOD_FIX);
  if (micros > MAX_PERIOD) throw new UnitError('The longest period is 366d.', PERIOD_FIX);
  const ms = micros / 1000;
  return { text: Number.isInteger(ms) ? formatDuration(ms) : `${micros}us`, ms, page: undefined };
}

/** Reads what a limit allows. Throws a UnitError that says what to write instead. */
export function parseQuota(text: string): WrittenQuota {
  const written = text.trim();
  if (written === 'tier') return { kind: 'tier' };
  const atOnce = /^(\S+)\s+at\s+once$/.exec(written);
  if (atOnce !== null) return { kind: 'concurrency', count: parseCount(atOnce[1]!) };
  const rate = /^([^\s/]+)\/([^\s/]+)$/.exec(written);
  if (rate !== null) {
    if (rate[2] === 'call') {
      throw new UnitError('What a single call may cost is an amount.', 'Write its unit, for example 1 USD/call.');
    }
    if (/^\d[\d.]*[A-Za-z]+$/.test(rate[1]!)) parseAmount(rate[1]!);
    return { kind: 'rate', count: parseCount(rate[1]!), period: parsePeriod(rate[2]!) };
  }
  const amount = /^([^\s/]+)\s+([^\s/]+)(?:\/([^\s/]+)|\s+(total))$/.exec(written);
  if (amount !== null) {
    const unit = parseUnit(amount[2]!);
    const micros = parseMicros(amount[1]!, unit);
    if (micros < 1) throw new UnitError('A limit of 0 would refuse everything that costs.', 'Write more than 0.');
    if (amount[4] !== undefined) return { kind: 'total', amount: { unit, micros } };
    if (amount[3] === 'call') return { kind: 'per-call', amount: { unit, micros } };
    return { kind: 'amount', amount: { unit, micros }, period: parsePeriod(amount[3]!) };
  }
  if (/^[\d.]+\s+[A-Za-z]\S*$/.test(written)) {
    if (/\s(concurrent|parallel|simultaneous)$/.test(written)) {
      throw new UnitError(`${quote(text)} is not a limit.`, `Write ${written.split(/\s/)[0]} at once.`);
    }
    const example = `Write ${written}/day, ${written}/call or ${written} total.`;
    throw new UnitError('An amount needs a period.', example);
  }
  const per = /^(.+?)\s+(?:per|a|an|each)\s+(\S+)$/.exec(written);
  if (per !== null) {
    const period = OTHER_NAMES.get(per[2]!.toLowerCase()) ?? per[2];
    throw new UnitError(`${quote(text)} is not a limit.`, `Write ${per[1]}/${period}.`);
  }
  throw new UnitError(`${quote(text)} is not a limit.`, EXAMPLES);
}

/** `120/60s`: calls in a period that has a length. */
export function parseRate(text: string): { readonly count: number; readonly periodMs: number } {
  const quota = parseQuota(text);
  if (quota.kind !== 'rate') throw new UnitError(`${quote(text)} is not a rate.`, 'For example 120/60s.');
  if (quota.period.ms === undefined) throw new UnitError('A month has no one length.', 'Write 30d.');
  if (quota.period.ms < 1000) throw new UnitError('The shortest period here is 1s.', 'For example 120/60s.');
  return { count: quota.count, periodMs: quota.period.ms };
}

export function formatRate(rate: { readonly count: number; readonly periodMs: number }): string {
  return `${rate.count}/${rate.periodMs / 1000}s`;
}

/** As it would be written. */
export function formatQuota(quota: WrittenQuota): string {
  switch (quota.kind) {
    case 'tier':
      return 'tier';
    case 'rate':
      return `${quota.count}/${quota.period.text}`;
    case 'concurrency':
      return `${quota.count} at once`;
    case 'amount':
      return `${formatAmount(quota.amount)}/${quota.period.text}`;
    case 'total':
      return `${formatAmount(quota.amount)} total`;
    case 'per-call':
      return `${formatAmount(quota.amount)}/call`;
  }
}

/** Calls drip back; money is counted in windows, and a month has no length that a bucket could be refilled in. */
export function defaultAlgorithm(quota: NumberedQuota): Algorithm {
  return quota.kind === 'rate' && quota.period.page !== 'month' ? 'token-bucket' : 'fixed-window';
}

/** Fixed windows of a named period are pages of the calendar; everything else goes by length. */
function compilePeriod(period: WrittenPeriod, algorithm: Algorithm): Period {
  if (period.page !== undefined && (algorithm === 'fixed-window' || period.ms === undefined)) {
    return { kind: 'calendar', page: period.page };
  }
  return { kind: 'length', ms: period.ms! };
}

/** `burst`: calls, or millionths of the unit of an amount. */
export function compileQuota(quota: NumberedQuota, algorithm: Algorithm, burst: number): Quota {
  switch (quota.kind) {
    case 'rate':
      return { kind: 'rate', count: quota.count, period: compilePeriod(quota.period, algorithm), burst };
    case 'amount':
      return { kind: 'amount', amount: quota.amount, period: compilePeriod(quota.period, algorithm), burst };
    default:
      return quota;
  }
}
