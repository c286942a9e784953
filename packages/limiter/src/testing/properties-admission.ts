import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Ask } from '../ask.ts';
import { calendarWindow } from '../calendar.ts';
import type { Rule, RuleOptions, Standing } from '../types.ts';
import { ModelLimiter } from './model.ts';
import { micros } from './model-counters.ts';
import { anyAdvance, anyRate, anyWindow } from './programs.ts';
import { type Given, HOUR, MINUTE, type Stand } from './stand.ts';

interface Admission {
  /** Under a rate, when the call runs: after the wait that it was told. Else when it was admitted. */
  readonly at: number;
  readonly cost: number;
}

const anyCalls = fc.array(
  fc.record({
    advance: fc.oneof(
      fc.constant(0),
      fc.integer({ min: 0, max: 3000 }),
      fc.integer({ min: 0, max: MINUTE }),
      anyAdvance,
    ),
    costs: fc.array(fc.oneof(fc.integer({ min: 0, max: 4 }), fc.integer({ min: 0, max: 60 })), {
      minLength: 4,
      maxLength: 4,
    }),
    patience: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: HOUR })),
  }),
  { maxLength: 60 },
);

/** Verdict and retry time of decisions without holds. */
export function admissionProperties(given: Given, timeout: number): void {
  const origin = given.options.origin ?? 0;

  const make = (stand: Stand, unique: string, rules: readonly RuleOptions[]): Rule[] =>
    rules.map((options, i) => stand.rule({ ...options, name: `${unique}${i} ${options.name}` }));

  describe('admission', () => {
    it(
      'never admits more than a rule allows in any window, also with waits',
      async () => {
        await fc.assert(
          fc.asyncProperty(
            fc.array(fc.oneof(anyRate, anyWindow), { minLength: 1, maxLength: 4 }),
            anyCalls,
            (all, calls) =>
              given.each(async (stand, unique) => {
                const rules = make(stand, unique, all);
                const admissions = rules.map((): Admission[] => []);
                for (const { advance, costs, patience } of calls) {
                  await stand.advance(advance);
                  const mentions = rules.map((rule, i) => ({ rule, cost: costs[i]! }));
                  const outcome = await stand.decide(mentions, { patience });
                  if (!outcome.allowed) continue;
                  for (const [i, { cost }] of mentions.entries()) {
                    const rate = 'periodMs' in rules[i]!.options && rules[i]!.options.algorithm !== 'fixed-window';
                    if (cost > 0) admissions[i]!.push({ at: stand.now + (rate ? outcome.wait : 0), cost });
                  }
                }
                for (const [i, rule] of rules.entries()) expectWithin(rule.options, admissions[i]!, origin);
              }),
          ),
          { numRuns: given.runs(100) },
        );
      },
      timeout,
    );

    it(
      'is all or nothing: a refusal, a check and a look leave everything as it was',
      async () => {
        await fc.assert(
          fc.asyncProperty(
            fc.array(fc.oneof(anyRate, anyWindow), { minLength: 2, maxLength: 4 }),
            anyCalls,
            (all, calls) =>
              given.with(async (stand) => {
                const rules = make(stand, '', all);
                const look = async () =>
                  JSON.stringify((await stand.inspect(rules.map((rule) => ({ rule })))).map(numbers));
                for (const { advance, costs } of calls) {
                  await stand.advance(advance);
                  const mentions = rules.map((rule, i) => ({ rule, cost: costs[i]! }));
                  const [seen, dump, writes] = [
                    await look(),
                    await stand.subject.dump?.(),
                    await stand.subject.writes?.(),
                  ];
                  await stand.check(mentions);
                  expect(await look()).toBe(seen);
                  const before = await stand.inspect(mentions);
                  const allowed = await stand.allows(mentions);
                  if (!allowed) {
                    expect(await look()).toBe(seen);
                    expect(await stand.subject.dump?.()).toEqual(dump);
                    expect(await stand.subject.writes?.()).toBe(writes);
                    continue;
                  }
                  for (const [i, standing] of (await stand.inspect(mentions)).entries()) {
                    expect(standing.used).toBe(before[i]!.used + mentions[i]!.cost);
                  }
                }
              }),
          ),
          { numRuns: given.runs(50) },
        );
      },
      timeout,
    );

    it(
      'keeps its word on when to come back: refused a microsecond before, admitted then',
      async () => {
        await fc.assert(
          fc.asyncProperty(
            fc.array(fc.oneof(anyRate, anyWindow), { minLength: 1, maxLength: 3 }),
            anyCalls,
            (all, calls) =>
              given.each(async (stand, unique) => {
                const rules = make(stand, unique, all);
                for (const { advance, costs } of calls) {
                  await stand.advance(advance);
                  const mentions = rules.map((rule, i) => ({ rule, cost: costs[i]! }));
                  const outcome = await stand.decide(mentions);
                  if (outcome.allowed || outcome.retryAfter === undefined) continue;
                  const { retryAfter, violated } = outcome;
                  expect(retryAfter).toBeGreaterThan(0);
                  expect(retryAfter).toBe(Math.max(...violated.map((standing) => standing.retryAfter)));
                  await stand.advance(retryAfter - 1);
                  expect((await stand.check(mentions)).allowed).toBe(false);
                  await stand.advance(1);
                  expect((await stand.check(mentions)).allowed).toBe(true);
                }
              }),
          ),
          { numRuns: given.runs(100) },
        );
      },
      timeout,
    );

    it(
      'admits less where it admits more, refuses more where it refuses, and no splitting gains anything',
      async () => {
        await fc.assert(
          fc.asyncProperty(fc.oneof(anyRate, anyWindow), anyCalls, (options, calls) =>
            given.each(async (stand, unique) => {
              const [rule] = make(stand, unique, [options]) as [Rule];
              for (const { advance, costs } of calls) {
                await stand.advance(advance);
                const cost = costs[0]!;
                const { allowed } = await stand.check([{ rule, cost }]);
                if (allowed && cost > 0) expect((await stand.check([{ rule, cost: cost - 1 }])).allowed).toBe(true);
                if (!allowed) expect((await stand.check([{ rule, cost: cost + 1 }])).allowed).toBe(false);
                const { remaining } = await stand.standing(rule);
                expect(allowed).toBe(cost <= remaining || cost === 0);
                let split = 0;
                for (const part of costs) if (await stand.allows([{ rule, cost: part }])) split += part;
                expect(split).toBeLessThanOrEqual(remaining);
                expect(await stand.remaining(rule)).toBe(remaining - split);
              }
            }),
          ),
          { numRuns: given.runs(60) },
        );
      },
      timeout,
    );

    it(
      'keeps a sliding window however many charges it has, and its word on when to come back',
      async () => {
        const charges = fc.array(fc.tuple(fc.integer({ min: 0, max: 3000 }), fc.integer({ min: 1, max: 3 })), {
          minLength: 300,
          maxLength: 500,
        });
        await fc.assert(
          fc.asyncProperty(fc.integer({ min: 150, max: 400 }), charges, (limit, calls) =>
            given.each(async (stand, unique) => {
              const many = { algorithm: 'sliding-window', name: 'many', limit, periodMs: 300 } as const;
              const [rule] = make(stand, unique, [many]) as [Rule];
              const admissions: Admission[] = [];
              for (const [advance, cost] of calls) {
                await stand.advance(advance);
                const outcome = await stand.decide([{ rule, cost }]);
                if (!outcome.allowed) {
                  await stand.advance(outcome.retryAfter! - 1);
                  expect((await stand.check([{ rule, cost }])).allowed).toBe(false);
                  await stand.advance(1);
                  await stand.admitted([{ rule, cost }]);
                }
                admissions.push({ at: stand.now, cost });
              }
              expectWithin(rule.options, admissions, origin);
            }),
          ),
          { numRuns: given.runs(8) },
        );
      },
      timeout,
    );

    it(
      'forgets nothing of a bucket that moves between tiers, and rounds by less than a unit',
      async () => {
        const tier = fc.record({ limit: fc.constantFrom(1, 3, 7, 10, 32, 60), burst: fc.integer({ min: 0, max: 20 }) });
        const steps = fc.array(
          fc.record({
            at: fc.nat(2),
            advance: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 20_000_000 })),
            cost: fc.integer({ min: 0, max: 12 }),
          }),
          { maxLength: 40 },
        );
        await fc.assert(
          fc.asyncProperty(fc.array(tier, { minLength: 3, maxLength: 3 }), steps, (tiers, program) =>
            given.each(async (stand, unique) => {
              const bucket = { algorithm: 'token-bucket', id: `${unique}tiers`, periodMs: 60_000 } as const;
              const model = new ModelLimiter(origin);
              const variants = tiers.map((numbers, i) => ({ ...bucket, ...numbers, name: `tier ${i}` }));
              const rules = variants.map((options) => stand.rule(options));
              const twins = variants.map((options) => model.rule(options));
              let moves = 0;
              let last = 0;
              for (const { at, advance, cost } of program) {
                await stand.advance(advance);
                const rule = rules[at]!;
                const twin = twins[at]!;
                const [got] = await stand.inspect([{ rule, cost }]);
                const [wanted] = model.inspect(new Ask().clear().rule(twin, cost), stand.now);
                expect(got!.used).toBeGreaterThanOrEqual(wanted!.used);
                expect(got!.used).toBeLessThanOrEqual(wanted!.used + 1);
                if (cost <= rule.capacity) {
                  // Each move rounds up by less than a microsecond's worth of the slowest.
                  expect(got!.retryAfter).toBeGreaterThanOrEqual(wanted!.retryAfter);
                  expect(got!.retryAfter).toBeLessThanOrEqual(wanted!.retryAfter + 60 * (moves + 1));
                }
                if (cost === 0 || !(await stand.allows([{ rule, cost }]))) continue;
                model.adjust(new Ask().clear().change(twin, cost), stand.now);
                if (at !== last) moves++;
                last = at;
              }
            }),
          ),
          { numRuns: given.runs(60) },
        );
      },
      timeout,
    );

    it(
      'decides calls that come at once one after the other: never more than there is room for',
      async () => {
        await fc.assert(
          fc.asyncProperty(
            fc.oneof(anyRate, anyWindow),
            fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 64 }),
            (options, costs) =>
              given.each(async (stand, unique) => {
                const [rule] = make(stand, unique, [options]) as [Rule];
                const other = stand.rule({ algorithm: 'total', name: `${unique}beside`, limit: 50 });
                const outcomes = await Promise.all(
                  costs.map((cost) =>
                    stand.allows([
                      { rule, cost },
                      { rule: other, cost },
                    ]),
                  ),
                );
                const taken = costs.filter((_, i) => outcomes[i]).reduce((sum, cost) => sum + cost, 0);
                const [left] = await stand.inspect([{ rule, cost: 1 }]);
                expect(taken).toBe(left!.used);
                expect(taken).toBeLessThanOrEqual(Math.min(rule.capacity, 50));
                expect(await stand.remaining(other)).toBe(50 - taken);
                // Nothing refused would still fit.
                for (const [i, cost] of costs.entries()) {
                  if (!outcomes[i])
                    expect(
                      (
                        await stand.check([
                          { rule, cost },
                          { rule: other, cost },
                        ])
                      ).allowed,
                    ).toBe(false);
                }
              }),
          ),
          { numRuns: given.runs(40) },
        );
      },
      timeout,
    );
  });
}

function numbers({ used, held, remaining, retryAfter }: Standing): readonly number[] {
  return [used, held, remaining, retryAfter === Infinity ? -1 : retryAfter];
}

/** Throws where admissions exceed what the rule's definition allows. */
function expectWithin(options: RuleOptions, admissions: readonly Admission[], origin: number): void {
  const ordered = admissions.toSorted((a, b) => a.at - b.at);
  const total = (some: readonly Admission[]) => some.reduce((sum, { cost }) => sum + cost, 0);
  const fail = (admitted: number, where: string) => {
    throw new Error(`${options.algorithm}: ${admitted} of ${options.limit} admitted ${where}`);
  };
  if (options.algorithm === 'total') {
    const all = total(ordered);
    if (all > options.limit) fail(all, 'in all');
    return;
  }
  if (options.algorithm === 'calendar-window') {
    const byWindow = Map.groupBy(
      ordered,
      ({ at }) => calendarWindow(options.period, options.timezone ?? 'UTC', origin + Math.floor(at / 1000)).start,
    );
    for (const [start, some] of byWindow) if (total(some) > options.limit) fail(total(some), `from ${start}`);
    return;
  }
  if (!('periodMs' in options)) return;
  const period = micros(options.periodMs);
  if (options.algorithm === 'fixed-window') {
    for (let i = 0; i < ordered.length; ) {
      const end = ordered[i]!.at + Number(period);
      const some = ordered.slice(i).filter(({ at }) => at < end);
      if (total(some) > options.limit) fail(total(some), `from ${ordered[i]!.at}`);
      i += some.length;
    }
    return;
  }
  for (let first = 0; first < ordered.length; first++) {
    let admitted = 0;
    for (const { at, cost } of ordered.slice(first)) {
      admitted += cost;
      const span = BigInt(at - ordered[first]!.at);
      if (options.algorithm === 'sliding-window') {
        if (span < period && admitted > options.limit) fail(admitted, `in ${span} µs`);
      } else {
        const capacity = BigInt(options.limit + (options.burst ?? 0));
        if (BigInt(admitted) > capacity + (BigInt(options.limit) * span) / period) fail(admitted, `in ${span} µs`);
      }
    }
  }
}
