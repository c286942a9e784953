import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { calendarWindow } from '../calendar.ts';
import type { Rule } from '../types.ts';
import { anyProgram, compareWithModel, kinds } from './programs.ts';
import { admissionProperties } from './properties-admission.ts';
import { holdProperties } from './properties-holds.ts';
import { orderProperties } from './properties-order.ts';
import { FULL, type Given, HOUR, SECOND } from './stand.ts';

/** Thousands of round trips where the limiter is behind a network: minutes on a machine that is busy. */
const TIMEOUT = FULL ? 3_600_000 : 300_000;

/** Random programs: what may never happen, and what must be the same as in the exact model. */
export function properties(given: Given): void {
  const origin = given.options.origin ?? 0;

  describe('properties', () => {
    it(
      'agrees with the exact model on every answer and every standing, over any program',
      async () => {
        await fc.assert(
          fc.asyncProperty(anyProgram, (program) =>
            given.each((stand, unique) => compareWithModel(stand, unique, program, origin)),
          ),
          { numRuns: given.runs(150) },
        );
      },
      TIMEOUT,
    );

    it(
      'admits exactly n at one instant, for every n up to 2000 and periods from a second to a day',
      async () => {
        await given.each(async (stand, unique) => {
          for (const periodMs of [1000, 60_000, 3_600_000, 86_400_000]) {
            for (let n = 1; n <= 2000; n += FULL || n < 40 ? 1 : 97) {
              const rule = stand.rule({
                algorithm: 'token-bucket',
                name: `${unique}${n}/${periodMs}`,
                limit: n,
                periodMs,
              });
              // One by one for a limiter that answers at once; for others the last one tells.
              if (given.options.reuse === true && n > 1) await stand.admitted([{ rule, cost: n - 1 }]);
              const calls = given.options.reuse === true ? 1 : n;
              for (let i = 0; i < calls; i++) await stand.admitted([{ rule }]);
              if (await stand.allows([{ rule }])) throw new Error(`${n + 1} of ${n} per ${periodMs} ms`);
            }
          }
        });
      },
      TIMEOUT,
    );

    it(
      'never spends more than its budget on one local day, in any zone, through both changes of the clock',
      async () => {
        await given.each(async (stand, unique) => {
          const zones = Intl.supportedValuesOf('timeZone').filter((_, i) => FULL || i % 9 === 0);
          const changing = zones.filter((zone) => offsetAt(zone, 0) !== offsetAt(zone, 183 * 24));
          function offsetAt(zone: string, hours: number): string {
            const time = origin + stand.now / 1000 + (hours * HOUR) / 1000;
            return new Intl.DateTimeFormat('en-US', { timeZone: zone, timeZoneName: 'longOffset' })
              .format(time)
              .slice(-9);
          }
          const odd = ['Australia/Lord_Howe', 'Africa/Cairo', 'America/Havana'];
          const chosen = [...new Set([...odd, ...changing])].slice(0, 120);
          const rules = chosen.map((timezone) =>
            stand.rule({
              algorithm: 'calendar-window',
              name: `${unique}${timezone}`,
              limit: 100,
              period: 'day',
              timezone,
            }),
          );
          const local = chosen.map((timeZone) => new Intl.DateTimeFormat('en-CA', { timeZone, dateStyle: 'short' }));
          const spent = new Map<string, number>();
          const [year] = [new Date(origin + stand.now / 1000).getUTCFullYear() + 1];
          // The weeks in which the clocks of the world change.
          for (const [month, day, days] of [
            [2, 6, 30],
            [3, 22, 4],
            [8, 22, 18],
            [9, 24, 14],
          ] as const) {
            const begin = (Date.UTC(year, month, day) - origin) * 1000;
            await stand.advance(begin - stand.now);
            for (let hours = 0; hours < days * 24; hours += 0.5) {
              const time = origin + Math.floor(stand.now / 1000);
              const taken = await stand.take(rules.map((rule) => ({ rule, cost: 60 })));
              for (const [i, format] of local.entries()) {
                const label = `${chosen[i]} ${format.format(time)}`;
                spent.set(label, (spent.get(label) ?? 0) + taken[i]!);
              }
              await stand.advance(HOUR / 2);
            }
          }
          for (const [label, total] of spent) if (total > 100) throw new Error(`${total} of 100 spent on ${label}`);
          // Only where the walk begins or ends on the edge of a day is less spent.
          const whole = [...spent.values()].filter((total) => total === 100).length;
          expect(whole).toBeGreaterThan(60 * chosen.length);
        });
      },
      TIMEOUT,
    );

    it(
      'answers the same whatever else goes on: other keys, other rules, expiry of both',
      async () => {
        await fc.assert(
          fc.asyncProperty(
            fc.array(fc.tuple(fc.integer({ min: 0, max: 20 * SECOND }), fc.integer({ min: 0, max: 4 })), {
              maxLength: 30,
            }),
            async (calls) => {
              const run = async (noise: number): Promise<string> => {
                const answers: unknown[] = [];
                await given.each(async (stand, unique) => {
                  const rules = kinds(10, 30_000).map((options) =>
                    stand.rule({ ...options, name: `${unique}${options.name}` }),
                  );
                  const other = stand.rule({
                    algorithm: 'token-bucket',
                    name: `${unique}other`,
                    limit: 1,
                    periodMs: 1,
                  });
                  for (const [i, [advance, cost]] of calls.entries()) {
                    await stand.advance(advance);
                    for (let n = 0; n < noise; n++) {
                      const key = i * noise + n + 1;
                      await stand.decide([{ rule: other, key }, ...rules.map((rule) => ({ rule, key }))]);
                    }
                    const outcome = await stand.decide(rules.map((rule) => ({ rule, cost, key: 0 })));
                    const standings = await stand.inspect(rules.map((rule) => ({ rule, cost, key: 0 })));
                    answers.push(outcome.allowed, ...standings.map(({ used, retryAfter }) => [used, retryAfter]));
                  }
                });
                return JSON.stringify(answers);
              };
              expect(await run(given.options.reuse === true ? 5 : 60)).toBe(await run(0));
            },
          ),
          { numRuns: given.runs(10) },
        );
      },
      TIMEOUT,
    );

    it(
      'keeps keys apart, whatever is in them',
      async () => {
        const odd = [
          '',
          '{',
          '}',
          '{}',
          '{a}',
          'a:b',
          ':',
          '\0',
          '\0\0',
          '\ud800',
          '\udc00',
          '\ud800\udc00',
          'a\n',
          '\\',
        ];
        await fc.assert(
          fc.asyncProperty(
            fc.uniqueArray(fc.oneof(fc.constantFrom(...odd), fc.string({ unit: 'binary' }), fc.string()), {
              minLength: 2,
              maxLength: 12,
            }),
            (texts) =>
              given.each(async (stand, unique) => {
                const rule = stand.rule({ algorithm: 'total', name: `${unique}keys`, limit: 1 });
                const long = texts
                  .slice(0, FULL ? 12 : 2)
                  .map((text) => `${text}{x}:`.repeat(2500).slice(0, 10_000) + text);
                const keys = [...new Set([...texts, ...long])];
                for (const key of keys)
                  if (!(await stand.allows([{ rule, key }]))) throw new Error(`${show(key)} shared`);
                for (const key of keys) if (await stand.allows([{ rule, key }])) throw new Error(`${show(key)} twice`);
              }),
          ),
          { numRuns: given.runs(25) },
        );
        function show(key: string): string {
          return JSON.stringify(key.slice(0, 40));
        }
      },
      TIMEOUT,
    );

    it('reads a clock that goes back or stands still as the latest time seen', async () => {
      await given.with(async (stand) => {
        await stand.advance(1000 * SECOND);
        const rules = kinds(5, 10_000).map((options) => stand.rule(options));
        const mentions = rules.map((rule) => ({ rule }));
        let admitted = 0;
        for (const back of [0, 1, SECOND, 999 * SECOND, 0, 5 * SECOND, Number.NaN, 0, 20]) {
          const ask = stand.ask(mentions);
          if ((await stand.limiter.decide(ask, stand.now - back)).allowed) admitted++;
        }
        expect(admitted).toBe(5);
        await stand.advance(10 * SECOND);
        expect((await stand.inspect(mentions)).slice(0, 3).map(({ remaining }) => remaining)).toEqual([5, 5, 5]);
      });
    });

    admissionProperties(given, TIMEOUT);
    holdProperties(given, TIMEOUT);
    orderProperties(given, TIMEOUT);
  });

  it('knows the windows of the calendar that the limiter counts by', async () => {
    await given.with(async (stand) => {
      const options = { period: 'week', timezone: 'Asia/Kathmandu' } as const;
      const rule: Rule = stand.rule({ algorithm: 'calendar-window', name: 'week', limit: 1, ...options });
      await stand.admitted([{ rule }]);
      const { end } = calendarWindow(options.period, options.timezone, origin + Math.floor(stand.now / 1000));
      expect((await stand.refused([{ rule }])).retryAfter).toBe((end - origin) * 1000 - stand.now);
    });
  });
}
