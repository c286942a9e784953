import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type CalendarPeriod, type CalendarWindow, calendarWindow } from './calendar.ts';

const FULL = process.env['TOLLGATE_PROOF'] === 'full';
const HOUR = 3_600_000;
const PERIODS: readonly CalendarPeriod[] = ['minute', 'hour', 'day', 'week', 'month'];
const ZONES = [...Intl.supportedValuesOf('timeZone'), 'UTC', 'Etc/GMT+12', '+05:45'];

/** The local clock as another part of Intl tells it, so that the test does not repeat the code. */
function localReader(zone: string): (time: number) => number {
  const format = new Intl.DateTimeFormat('en-US', { timeZone: zone, timeZoneName: 'longOffset', hour: 'numeric' });
  return (time) => {
    const [, sign, hours, minutes, seconds] = /GMT(?:([+-])(\d+):(\d+)(?::(\d+))?)?$/.exec(format.format(time))!;
    if (sign === undefined) return time;
    const offset = Number(hours) * 3600 + Number(minutes) * 60 + Number(seconds ?? 0);
    return time + (sign === '-' ? -offset : offset) * 1000;
  };
}

/** Every instant at which the zone changes its offset. */
function transitions(zone: string, from: number, to: number): number[] {
  const local = localReader(zone);
  const offset = (time: number) => local(time) - time;
  const found: number[] = [];
  const step = 5 * 24 * HOUR;
  for (let at = from; at < to; at += step) {
    if (offset(at) === offset(at + step)) continue;
    let before = at;
    let after = at + step;
    while (after - before > 1) {
      const middle = Math.floor((before + after) / 2);
      if (offset(middle) === offset(at)) before = middle;
      else after = middle;
    }
    found.push(after);
  }
  return found;
}

function expectTiling(period: CalendarPeriod, zone: string, time: number): CalendarWindow {
  const window = calendarWindow(period, zone, time);
  const where = `${period} of ${zone} at ${new Date(time).toISOString()}`;
  if (!(window.start <= time && time < window.end)) throw new Error(`outside its window: ${where}`);
  if (calendarWindow(period, zone, window.start).end !== window.end) throw new Error(`start is in another: ${where}`);
  if (calendarWindow(period, zone, window.end - 1).start !== window.start) throw new Error(`end - 1: ${where}`);
  if (calendarWindow(period, zone, window.end).start !== window.end) throw new Error(`gap after: ${where}`);
  if (calendarWindow(period, zone, window.start - 1).end !== window.start) throw new Error(`gap before: ${where}`);
  return window;
}

describe('calendar windows', () => {
  const show = ({ start, end }: CalendarWindow) => [new Date(start).toISOString(), (end - start) / HOUR];

  it.each([
    ['a plain day', 'Europe/Berlin', '2026-06-01T12:00Z', '2026-05-31T22:00:00.000Z', 24],
    ['spring', 'Europe/Berlin', '2026-03-29T12:00Z', '2026-03-28T23:00:00.000Z', 23],
    ['autumn', 'Europe/Berlin', '2026-10-25T12:00Z', '2026-10-24T22:00:00.000Z', 25],
    ['half an hour less', 'Australia/Lord_Howe', '2026-10-04T00:00Z', '2026-10-03T13:30:00.000Z', 23.5],
    ['half an hour more', 'Australia/Lord_Howe', '2026-04-05T00:00Z', '2026-04-04T13:00:00.000Z', 24.5],
    ['no midnight', 'America/Sao_Paulo', '2018-11-04T12:00Z', '2018-11-04T03:00:00.000Z', 23],
    ['no midnight on any day', 'Africa/Cairo', '2026-04-24T12:00Z', '2026-04-23T22:00:00.000Z', 23],
    ['two midnights, from the first', 'America/Havana', '2026-11-01T12:00Z', '2026-11-01T04:00:00.000Z', 25],
    ['back over midnight', 'America/St_Johns', '2010-11-07T02:45Z', '2010-11-07T02:30:00.000Z', 25],
    ['a date that never was', 'Pacific/Apia', '2011-12-30T10:00Z', '2011-12-30T10:00:00.000Z', 24],
    ['the day before that date', 'Pacific/Apia', '2011-12-30T09:59Z', '2011-12-29T10:00:00.000Z', 24],
  ])('knows days: %s', (_, zone, time, start, hours) => {
    expect(show(calendarWindow('day', zone, Date.parse(time)))).toEqual([start, hours]);
  });

  it.each([
    ['week', 'UTC', '2026-11-22T23:59Z', '2026-11-16T00:00:00.000Z', 168],
    ['week', 'UTC', '1969-12-31T00:00Z', '1969-12-29T00:00:00.000Z', 168],
    ['week', 'America/New_York', '2026-11-02T03:00Z', '2026-10-26T04:00:00.000Z', 169],
    ['month', 'America/New_York', '2026-11-30T12:00Z', '2026-11-01T04:00:00.000Z', 721],
    ['month', 'UTC', '2028-02-29T12:00Z', '2028-02-01T00:00:00.000Z', 29 * 24],
    ['hour', 'Asia/Kathmandu', '2026-11-21T10:20Z', '2026-11-21T10:15:00.000Z', 1],
    ['hour', 'Europe/Berlin', '2026-10-25T00:30Z', '2026-10-25T00:00:00.000Z', 1],
    ['hour', 'Europe/Berlin', '2026-10-25T01:30Z', '2026-10-25T01:00:00.000Z', 1],
    ['hour', 'Australia/Lord_Howe', '2026-04-04T15:10Z', '2026-04-04T15:00:00.000Z', 0.5],
    ['hour', 'Australia/Lord_Howe', '2026-04-04T15:30Z', '2026-04-04T15:30:00.000Z', 1],
    ['minute', 'Asia/Kathmandu', '2026-11-21T10:20:59.999Z', '2026-11-21T10:20:00.000Z', 1 / 60],
  ] as const)('knows a %s of %s', (period, zone, time, start, hours) => {
    expect(show(calendarWindow(period, zone, Date.parse(time)))).toEqual([start, hours]);
  });

  it('puts every instant into one window, with no gap and no overlap, in every zone around every change', () => {
    const [from, to] = FULL ? [Date.UTC(1960, 0), Date.UTC(2040, 0)] : [Date.UTC(2026, 0), Date.UTC(2027, 0)];
    let changes = 0;
    for (const zone of ZONES) {
      for (const at of transitions(zone, from, to)) {
        changes++;
        for (const away of [-25 * HOUR, -HOUR, -1, 0, HOUR, 25 * HOUR]) {
          for (const period of PERIODS) {
            // A month of 30 days costs as much as a day: once is enough.
            if (period === 'month' && away !== 0) continue;
            const { start, end } = expectTiling(period, zone, at + away);
            const length = end - start;
            if (period === 'hour' && length > HOUR) throw new Error(`an hour of ${length} ms in ${zone}`);
            if (period === 'minute' && length > 60_000) throw new Error(`a minute of ${length} ms in ${zone}`);
            if (period === 'day' && !FULL && Math.abs(length - 24 * HOUR) > 2 * HOUR)
              throw new Error(`${zone} ${length}`);
          }
        }
      }
    }
    expect(changes).toBeGreaterThan(200);
  });

  it('begins a day at the first instant whose local time is its midnight or later, as a walk by minutes finds it', () => {
    const day = (local: number) => Math.floor(local / (24 * HOUR));
    const odd = ['America/Havana', 'America/Sao_Paulo', 'America/St_Johns', 'Australia/Lord_Howe', 'Pacific/Apia'];
    for (const zone of FULL ? ZONES : odd) {
      const local = localReader(zone);
      for (const at of transitions(zone, Date.UTC(2005, 0), Date.UTC(2012, 0))) {
        let latest = day(local(at - 30 * HOUR));
        let previous = -Infinity;
        for (let time = at - 30 * HOUR + 60_000; time < at + 30 * HOUR; time += 60_000) {
          const reached = day(local(time));
          if (reached <= latest) continue;
          latest = reached;
          const window = calendarWindow('day', zone, time);
          if (window.start !== time) throw new Error(`${zone} ${new Date(time).toISOString()}`);
          if (previous !== -Infinity && calendarWindow('day', zone, time - 1).start !== previous) throw new Error(zone);
          previous = time;
        }
      }
    }
  });

  it('tiles time anywhere, whatever the zone', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...ZONES),
        fc.constantFrom(...PERIODS),
        fc.integer({ min: Date.UTC(1800, 0), max: Date.UTC(2100, 0) }),
        (zone, period, time) => {
          expectTiling(period, zone, time);
        },
      ),
      { numRuns: FULL ? 50_000 : 300 },
    );
  });

  it('refuses zones that do not exist and times that no calendar of four digits holds', () => {
    expect(() => calendarWindow('day', 'Mars/Olympus', 0)).toThrow(RangeError);
    expect(() => calendarWindow('day', '', 0)).toThrow(RangeError);
    for (const time of [Number.NaN, Infinity, -1e14, 3e14])
      expect(() => calendarWindow('day', 'UTC', time)).toThrow(RangeError);
    for (const zone of ['UTC', 'Pacific/Kiritimati', 'Etc/GMT+12']) {
      for (const time of [-62_135_424_000_000, 253_399_622_400_000]) expectWindow(zone, time);
    }
    function expectWindow(zone: string, time: number): void {
      for (const period of PERIODS) {
        const { start, end } = calendarWindow(period, zone, time);
        expect(start <= time && time < end).toBe(true);
      }
    }
  });
});
