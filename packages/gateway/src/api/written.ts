/** What people write into requests, read: ids, amounts, durations and moments. What is unclear is `invalid_params`. */
import type { Context } from 'hono';
import { parseAmount } from '../config/amounts.ts';
import { parseSpan, UnitError } from '../config/units.ts';
import { TollgateError } from '../core/errors.ts';

/** Longest time that a grant, stop, block or key with an end lasts: a year. */
const MAX_TIME = 366 * 86_400_000;
const MAX_CALLS = 9_999_999_999;
/** Longest time for which a replaced key goes on working beside the new one. */
const MAX_OVERLAP = 30 * 86_400_000;

/** The user API answers 422 where the control API answers 400. */
export function unclear(message: string, http: 400 | 422 = 400): TollgateError {
  return new TollgateError('invalid_params', message, { http });
}

/** The `:id` of the route. */
export function idOf(c: Context): string {
  return c.req.param('id') ?? '';
}

/** `5 USD`, or a plain number for limits that count calls. */
export function readAmount(written: string): { readonly amount: number; readonly unit: string } {
  if (/^[1-9]\d*$/.test(written) && Number(written) <= MAX_CALLS) return { amount: Number(written), unit: 'requests' };
  if (/^[1-9]\d*$/.test(written)) throw unclear(`amount: at most ${MAX_CALLS} calls are granted at a time`);
  const { micros, unit } = reading('amount', () => parseAmount(written));
  if (micros < 1) throw unclear('amount: must be more than 0');
  return { amount: micros, unit };
}

/** A duration from `now`, or a moment to come with its offset, at most a year ahead. */
export function readUntil(written: string, now: number, name = 'until'): number {
  const instant = /^\d{4}-\d{2}-\d{2}T/.test(written)
    ? Date.parse(/(Z|[+-]\d{2}:\d{2})$/.test(written) ? written : 'no offset')
    : now + spanOrNothing(written);
  if (instant > now && instant <= now + MAX_TIME) return Math.floor(instant);
  throw unclear(
    `${name}: write a duration like 2h, or a moment to come like 2030-01-31T18:00:00Z, at most a year ahead`,
  );
}

/** What is no duration may have been meant as a moment: the caller names both. */
function spanOrNothing(written: string): number {
  try {
    return parseSpan(written);
  } catch (error) {
    if (error instanceof UnitError) return Number.NaN;
    throw error;
  }
}

/** For how long what was replaced goes on working: milliseconds, at most 30 days. */
export function readOverlap(written: string, http: 400 | 422 = 400): number {
  const overlap = reading('overlap', () => parseSpan(written), http);
  if (overlap <= MAX_OVERLAP) return overlap;
  throw unclear('overlap: write a duration like 1h, at most 30d', http);
}

function reading<T>(what: string, parse: () => T, http?: 400 | 422): T {
  try {
    return parse();
  } catch (error) {
    if (error instanceof UnitError) throw unclear(`${what}: ${error.message} ${error.fix}`, http);
    throw error;
  }
}
