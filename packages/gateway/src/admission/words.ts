/** Words for people and models: durations, rates, limits. */
import type { LimitOptions } from './options.ts';

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

const PERIODS: Readonly<Record<number, readonly [noun: string, short: string]>> = {
  1000: ['a second', 's'],
  60000: ['a minute', 'min'],
  3600000: ['an hour', 'h'],
  86400000: ['a day', 'day'],
  604800000: ['a week', 'week'],
};

/** `a minute`, `every 5 min`. */
export function periodWords(periodMs: number): string {
  return PERIODS[periodMs]?.[0] ?? `every ${durationWords(Math.ceil(periodMs / 1000))}`;
}

function shortPeriod(periodMs: number): string {
  return PERIODS[periodMs]?.[1] ?? durationWords(Math.ceil(periodMs / 1000)).replaceAll(' ', '');
}

export function callWords(count: number): string {
  return count === 1 ? '1 call' : `${count} calls`;
}

/** What the numbers of a limit come to, for `validate` and `explain`: `steady 30/min, at once 40, worst minute 70`. */
export function limitWords(limit: Pick<LimitOptions, 'count' | 'periodMs' | 'burst'>): string {
  const period = shortPeriod(limit.periodMs);
  const worst = PERIODS[limit.periodMs]?.[0].replace(/^an? /, '') ?? period;
  const capacity = limit.count + limit.burst;
  return `steady ${limit.count}/${period}, at once ${capacity}, worst ${worst} ${capacity + limit.count}`;
}
