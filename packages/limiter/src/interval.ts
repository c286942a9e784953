/**
 * Integer arithmetic of a rate. A unit comes back every period/limit; that interval is kept as a whole number of
 * ticks, and a rule picks as many ticks per microsecond (1 to 32) as make it whole. So `7 per second` is exact, and
 * nothing is ever a fraction of a double. Measured elsewhere: floating-point intervals are off by one for half of
 * all ordinary limits.
 */

/** Ticks per microsecond that a slot can name (5 bits). */
const MAX_RESOLUTION = 32;
/** Latest engine time in microseconds (4.4 years): with the finest ticks and the longest burst still below 2^53. */
export const MAX_TIME: number = 2 ** 47;
/** Longest time, in ticks, in which a rule may refill from empty. */
const MAX_REFILL = 2 ** 51;
/** Used when no resolution is exact. */
const FALLBACK_RESOLUTIONS = [30, 12, 6, 2, 1] as const;

export interface Interval {
  /** Ticks per microsecond. */
  readonly resolution: number;
  /** Ticks until one unit is back. */
  readonly interval: number;
  /** Ticks until everything is back: capacity × interval, so that exactly `capacity` units pass at once. */
  readonly refill: number;
  /** False: the interval was rounded up, so the rate is a little lower than asked, never higher. */
  readonly exact: boolean;
}

/**
 * The tick arithmetic of `limit` units per `periodMicros` with room for `capacity` units.
 * Throws a RangeError where it cannot be held in 53 bits.
 */
export function intervalOf(limit: number, periodMicros: number, capacity: number): Interval {
  const shared = gcd(limit, periodMicros);
  const needed = limit / shared;
  if (needed <= MAX_RESOLUTION) {
    const interval = periodMicros / shared;
    const refill = capacity * interval;
    if (refill <= MAX_REFILL) return { resolution: needed, interval, refill, exact: true };
  }
  for (const resolution of FALLBACK_RESOLUTIONS) {
    const interval = Number((BigInt(periodMicros) * BigInt(resolution) + BigInt(limit) - 1n) / BigInt(limit));
    const refill = capacity * interval;
    if (refill <= MAX_REFILL) return { resolution, interval, refill, exact: false };
  }
  throw new RangeError(`${capacity} units at ${limit} per ${periodMicros} µs take more than 70 years to come back`);
}

/** Whole quotient of two non-negative safe integers; the division of doubles alone can round up to the next one. */
export function quotient(dividend: number, divisor: number): number {
  const whole = Math.floor(dividend / divisor);
  return whole * divisor > dividend ? whole - 1 : whole;
}

/** Quotient rounded up. */
export function quotientUp(dividend: number, divisor: number): number {
  const whole = quotient(dividend, divisor);
  return whole * divisor < dividend ? whole + 1 : whole;
}

/** Ticks of one rate as ticks of another, by their intervals, rounded up: what was used is never forgiven in between. */
export function convertUp(ticks: number, interval: number, from: number): number {
  return convert(ticks, interval, from, from - 1);
}

/** The same, rounded down: for what is given back. */
export function convertDown(ticks: number, interval: number, from: number): number {
  return convert(ticks, interval, from, 0);
}

function convert(ticks: number, interval: number, from: number, added: number): number {
  if (interval === from) return ticks;
  const units = quotient(ticks, from);
  const product = (ticks - units * from) * interval + added;
  if (product <= Number.MAX_SAFE_INTEGER) return units * interval + quotient(product, from);
  const rest = BigInt(ticks - units * from) * BigInt(interval) + BigInt(added);
  return units * interval + Number(rest / BigInt(from));
}

function gcd(a: number, b: number): number {
  while (b !== 0) [a, b] = [b, a % b];
  return a;
}
