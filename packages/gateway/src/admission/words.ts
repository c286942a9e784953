/** Words for people and models: durations, periods, numbers of limits. */
import type { LimitOptions, Period, Quota } from './options.ts';
import { amountText } from './price.ts';

const UNITS = [
  ['d', 86_400],
  ['h', 3600],
  ['min', 60],
  ['s', 1],
] as const;

/** Whole seconds as `2 s`, `5 min 30 s`, `5 h 12 min`, `3 d 4 h`: two units at most, rounded up, never too early. */
export function durationWords(seconds: number): string {
  for (let i = 0; i < UNITS.length; i++) {
    const [name, size] = UNITS[i]!;
    if (seconds < size && size > 1) continue;
    const next = UNITS[i + 1];
    if (next === undefined) return `${seconds} ${name}`;
    const small = Math.ceil((seconds % size) / next[1]);
    const large = Math.floor(seconds / size);
    // Rounded up to a whole larger unit, for example 59 min 30 s of an hour.
    if (small * next[1] === size) return durationWords((large + 1) * size);
    return small === 0 ? `${large} ${name}` : `${large} ${name} ${small} ${next[0]}`;
  }
  return '0 s';
}

const PERIODS: Readonly<Record<number, string>> = {
  1000: 'a second',
  60000: 'a minute',
  3600000: 'an hour',
  86400000: 'a day',
  604800000: 'a week',
};

const PAGES = {
  minute: ['a minute', "This minute's"],
  hour: ['an hour', "This hour's"],
  day: ['a day', "Today's"],
  week: ['a week', "This week's"],
  month: ['a month', "This month's"],
} as const;

/** `a minute`, `every 5 min`. */
export function periodWords(period: Period): string {
  if (period.kind === 'calendar') return PAGES[period.page][0];
  return PERIODS[period.ms] ?? `every ${durationWords(Math.ceil(period.ms / 1000))}`;
}

/** `Today's budget`, `The budget of 5 min`, `The total budget`. */
export function budgetWords(quota: Quota): string {
  if (quota.kind === 'total') return 'The total budget';
  if (quota.kind !== 'amount') return 'The budget';
  const { period } = quota;
  if (period.kind === 'calendar') return `${PAGES[period.page][1]} budget`;
  return `The budget of ${durationWords(Math.ceil(period.ms / 1000))}`;
}

export function callWords(count: number): string {
  return count === 1 ? '1 call' : `${count} calls`;
}

/** What a limit allows: `30 calls a minute, 40 at once`, `20 calls at the same time`, `20.00 USD a day`. */
export function quotaWords(quota: Quota, algorithm: LimitOptions['algorithm']): string {
  switch (quota.kind) {
    case 'concurrency':
      return `${callWords(quota.count)} at the same time`;
    case 'total':
      return `${amountText(quota.amount.micros, quota.amount.unit)} in all`;
    case 'per-call':
      return `${amountText(quota.amount.micros, quota.amount.unit)} a call`;
    case 'amount':
      return `${amountText(quota.amount.micros, quota.amount.unit)} ${periodWords(quota.period)}`;
    default: {
      const atOnce = quota.burst > 0 && algorithm === 'token-bucket' ? `, ${quota.count + quota.burst} at once` : '';
      return `${callWords(quota.count)} ${periodWords(quota.period)}${atOnce}`;
    }
  }
}

const clocks = new Map<string, Intl.DateTimeFormat>();

/** `00:00 UTC`, on another day than `now` `2026-12-01 00:00 UTC`. Zones come from the configuration and are few. */
export function clockWords(at: number, now: number, timezone: string): string {
  const [date, time] = localTime(at, timezone);
  // A reset within a day needs no date: its distance is said beside it.
  return at - now <= 86_400_000 ? `${time} ${timezone}` : `${date} ${time} ${timezone}`;
}

function localTime(at: number, timezone: string): [date: string, time: string] {
  let clock = clocks.get(timezone);
  if (clock === undefined) {
    clock = new Intl.DateTimeFormat('sv-SE', { timeZone: timezone, dateStyle: 'short', timeStyle: 'short' });
    clocks.set(timezone, clock);
  }
  return clock.format(at).split(' ') as [string, string];
}
