/** A period of the calendar that a limit can be counted by. */
export type CalendarPeriod = 'minute' | 'hour' | 'day' | 'week' | 'month';

/** Unix milliseconds; `start` belongs to the window, `end` to the next. */
export interface CalendarWindow {
  readonly start: number;
  readonly end: number;
}

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
/** No zone has ever been further from UTC (Manila until 1844: -15:56). */
const WIDEST_OFFSET = 16 * HOUR;
/** Closer together than this no zone has changed its offset twice. */
const STRIDE = 4 * HOUR;
/** 0001-01-03 to 9999-12-01: what four digits of a year can say, whatever the offset. */
const EARLIEST = -62_135_424_000_000;
const LATEST = 253_399_622_400_000;
/** Zones come from a configuration and are few; a formatter takes some 30 KB. */
const MAX_FORMATTERS = 64;

const formatters = new Map<string, Intl.DateTimeFormat>();

/**
 * The window of a time zone's calendar that an instant is in. Every instant is in exactly one: `start <= t < end`, and
 * each window begins where the one before ends.
 *
 * Days, weeks (from Monday) and months begin at the first instant whose local time is their midnight or later: where
 * a change of the clock skips midnight, at the change; where midnight comes twice, at the first. So a day lasts 23, 24
 * or 25 hours (Lord Howe: 23.5 or 24.5), and an hour that is repeated across midnight counts to the later day.
 *
 * Minutes and hours are 60 seconds and 60 minutes of real time, beginning where the local clock shows :00. An hour
 * that is repeated is two windows. Only where a zone moves by a part of the period does the change end a window early.
 *
 * Throws a RangeError for an unknown zone, and for a time outside the years 1 to 9999.
 */
export function calendarWindow(period: CalendarPeriod, timezone: string, unixMs: number): CalendarWindow {
  const formatter = formatterOf(timezone);
  if (!(unixMs >= EARLIEST && unixMs <= LATEST)) {
    throw new RangeError(`a calendar window needs a time in the years 1 to 9999, got ${String(unixMs)}`);
  }
  const time = Math.floor(unixMs);
  if (period === 'minute') return stretch(formatter, time, MINUTE);
  if (period === 'hour') return stretch(formatter, time, HOUR);
  let label = floorLabel(period, time + offsetAt(formatter, time));
  let start = boundary(formatter, label);
  for (;;) {
    label = nextLabel(period, label);
    const end = boundary(formatter, label);
    // Past the end with an earlier label: the clock was set back across midnight, and that midnight has begun already.
    if (time < end) return { start, end };
    start = end;
  }
}

/** The window of a period that real time, not the label, measures. */
function stretch(formatter: Intl.DateTimeFormat | undefined, time: number, period: number): CalendarWindow {
  const phase = phaseAt(formatter, time, period);
  let start = time - modulo(time + phase, period);
  let end = start + period;
  if (phaseAt(formatter, start, period) !== phase) start = change(formatter, start, time, period);
  if (phaseAt(formatter, end - 1, period) !== phase) end = change(formatter, time, end - 1, period);
  return { start, end };
}

/** First instant whose local time is `label` or later. */
function boundary(formatter: Intl.DateTimeFormat | undefined, label: number): number {
  if (formatter === undefined) return label;
  let from = label - WIDEST_OFFSET;
  let offset = offsetAt(formatter, from);
  for (let probe = from + STRIDE; ; probe += STRIDE) {
    const later = offsetAt(formatter, probe);
    const to = later === offset ? probe : change(formatter, probe - STRIDE, probe);
    const reached = Math.max(from, label - offset);
    if (reached < to) return reached;
    if (later !== offset) from = to;
    offset = later;
  }
}

/** First instant after `from` with the offset (or the phase within `period`) of `to`; there is one change between. */
function change(formatter: Intl.DateTimeFormat | undefined, from: number, to: number, period?: number): number {
  const before = phaseAt(formatter, from, period);
  while (to - from > 1) {
    const middle = Math.floor((from + to) / 2);
    if (phaseAt(formatter, middle, period) === before) from = middle;
    else to = middle;
  }
  return to;
}

function phaseAt(formatter: Intl.DateTimeFormat | undefined, time: number, period?: number): number {
  const offset = offsetAt(formatter, time);
  return period === undefined ? offset : modulo(offset, period);
}

/** Milliseconds that the local clock is ahead of UTC. */
function offsetAt(formatter: Intl.DateTimeFormat | undefined, time: number): number {
  if (formatter === undefined) return 0;
  const [month, day, year, hour, minute, second] = formatter.format(time).match(/\d+/g)!;
  const local = dateOf(Number(year), Number(month) - 1, Number(day));
  const seconds = (Number(hour) * 60 + Number(minute)) * 60 + Number(second);
  return local + seconds * 1000 - (time - modulo(time, 1000));
}

function floorLabel(period: 'day' | 'week' | 'month', local: number): number {
  const day = local - modulo(local, DAY);
  if (period === 'day') return day;
  // 1970-01-05 was a Monday.
  if (period === 'week') return day - modulo(day - 4 * DAY, 7 * DAY);
  const date = new Date(day);
  return dateOf(date.getUTCFullYear(), date.getUTCMonth(), 1);
}

function nextLabel(period: 'day' | 'week' | 'month', label: number): number {
  if (period === 'day') return label + DAY;
  if (period === 'week') return label + 7 * DAY;
  const date = new Date(label);
  return dateOf(date.getUTCFullYear(), date.getUTCMonth() + 1, 1);
}

/** `Date.UTC` without its reading of the years 0 to 99 as 1900 to 1999. */
function dateOf(year: number, month: number, day: number): number {
  return new Date(0).setUTCFullYear(year, month, day);
}

function modulo(value: number, divisor: number): number {
  const rest = value % divisor;
  return rest < 0 ? rest + divisor : rest;
}

/** Undefined: UTC, which needs no formatter. */
function formatterOf(timezone: string): Intl.DateTimeFormat | undefined {
  if (timezone === 'UTC') return undefined;
  const known = formatters.get(timezone);
  if (known !== undefined) return known;
  // Throws the RangeError for a zone that does not exist.
  const made = new Intl.DateTimeFormat('en-US', {
    timeZone: timezone,
    calendar: 'gregory',
    numberingSystem: 'latn',
    hourCycle: 'h23',
    year: 'numeric',
    month: '2-digit',
    day: '2-digit',
    hour: '2-digit',
    minute: '2-digit',
    second: '2-digit',
  });
  if (formatters.size === MAX_FORMATTERS) formatters.clear();
  formatters.set(timezone, made);
  return made;
}
