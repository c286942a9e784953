import { describe, expect, it } from 'vitest';
import type { Rule, RuleOptions } from '../types.ts';
import { DAY, type Given, HOUR, MINUTE, SECOND } from './stand.ts';

const BUCKET = { algorithm: 'token-bucket', limit: 10, periodMs: 10_000 } as const;
const SLIDING = { algorithm: 'sliding-window', limit: 10, periodMs: 10_000 } as const;
const FIXED = { algorithm: 'fixed-window', limit: 10, periodMs: 10_000 } as const;
const TOTAL = { algorithm: 'total', limit: 10 } as const;

const COUNTED: readonly RuleOptions[] = [
  { ...BUCKET, name: 'bucket' },
  { ...SLIDING, name: 'sliding' },
  { ...FIXED, name: 'fixed' },
  { algorithm: 'calendar-window', limit: 10, period: 'month', name: 'calendar' },
  { ...TOTAL, name: 'total' },
];

/** What the docstrings of `types.ts` and `ask.ts` promise, one by one. */
export function ruleBehaviours(given: Given): void {
  describe('one rule', () => {
    it('token bucket: limit and burst at once, one unit back every period / limit, full after all of them', async () => {
      await given.with(async (stand) => {
        const rule = stand.rule({ ...BUCKET, name: 'bucket', burst: 5 });
        expect(rule.capacity).toBe(15);
        await stand.admitted([{ rule, cost: 15 }]);
        expect(await stand.standing(rule)).toMatchObject({ used: 15, remaining: 0, resetAfter: 15 * SECOND });
        await stand.advance(SECOND - 1);
        expect(await stand.refused([{ rule }])).toMatchObject({ retryAfter: 1 });
        await stand.advance(1);
        await stand.admitted([{ rule }]);
        await stand.advance(2.5 * SECOND);
        expect(await stand.standing(rule)).toMatchObject({ used: 13, remaining: 2 });
        expect((await stand.refused([{ rule, cost: 3 }])).retryAfter).toBe(SECOND / 2);
      });
    });

    it('sliding window: nothing forgives a burst at the end of one window and the begin of the next', async () => {
      await given.with(async (stand) => {
        const rule = stand.rule({ ...SLIDING, name: 'sliding' });
        await stand.advance(7 * SECOND);
        await stand.admitted([{ rule, cost: 10 }]);
        await stand.advance(9 * SECOND);
        const { retryAfter } = await stand.refused([{ rule }]);
        expect(retryAfter).toBeGreaterThanOrEqual(SECOND);
        await stand.advance(retryAfter!);
        await stand.admitted([{ rule }]);
        await stand.advance(20 * SECOND);
        expect(await stand.standing(rule)).toMatchObject({ used: 0, remaining: 10, resetAfter: 0 });
      });
    });

    it('fixed window: begins with the first charge, not with a question, and ends as a whole', async () => {
      await given.with(async (stand) => {
        const rule = stand.rule({ ...FIXED, name: 'fixed' });
        await stand.admitted([{ rule, cost: 0 }]);
        await stand.check([{ rule }]);
        await stand.advance(9 * SECOND);
        await stand.admitted([{ rule, cost: 4 }]);
        await stand.advance(9 * SECOND);
        await stand.admitted([{ rule, cost: 6 }]);
        expect(await stand.standing(rule)).toMatchObject({ used: 10, remaining: 0, resetAfter: SECOND });
        await stand.advance(SECOND);
        await stand.admitted([{ rule, cost: 10 }]);
      });
    });

    it('calendar window: the days of a zone, through both changes of its clock', async () => {
      await given.with(async (stand) => {
        const zone = { timezone: 'Europe/Berlin', period: 'day' } as const;
        const rule = stand.rule({ algorithm: 'calendar-window', name: 'day', limit: 3, ...zone });
        for (let days = 0; days < 400; days++) {
          await stand.admitted([{ rule, cost: 3 }]);
          const { retryAfter } = await stand.refused([{ rule }]);
          expect(retryAfter).toBeLessThanOrEqual(25 * HOUR);
          if (days > 0) expect([23 * HOUR, 24 * HOUR, 25 * HOUR]).toContain(retryAfter);
          await stand.advance(retryAfter!);
        }
      });
    });

    it('total: until it is reset', async () => {
      await given.with(async (stand) => {
        const rule = stand.rule({ ...TOTAL, name: 'total' });
        await stand.admitted([{ rule, cost: 10 }]);
        await stand.advance(100 * DAY);
        const refusal = await stand.refused([{ rule }]);
        expect(refusal).toMatchObject({ retryAfter: undefined, estimated: false });
        await stand.reset([{ rule }]);
        await stand.admitted([{ rule, cost: 10 }]);
      });
    });

    it('per call: no single cost above it, and nothing is kept', async () => {
      await given.with(async (stand) => {
        const rule = stand.rule({ algorithm: 'per-call', name: 'call', limit: 10 });
        for (let i = 0; i < 20; i++) await stand.admitted([{ rule, cost: 10 }]);
        const { violated, retryAfter } = await stand.refused([{ rule, cost: 11 }]);
        expect(violated).toMatchObject([{ verdict: 'cost_above_capacity', limit: 10, used: 0, remaining: 10 }]);
        expect(retryAfter).toBeUndefined();
        await stand.admitted([{ rule, cost: 11, extra: 1 }]);
      });
    });

    it.each(COUNTED)('grants extra units for one decision, $algorithm', async (options) => {
      await given.with(async (stand) => {
        const rule = stand.rule(options);
        await stand.admitted([{ rule, cost: 10 }]);
        await stand.refused([{ rule }]);
        await stand.admitted([{ rule, cost: 4, extra: 5 }]);
        const { violated } = await stand.refused([{ rule, cost: 2, extra: 5 }]);
        expect(violated).toMatchObject([{ limit: 15, used: 14, remaining: 1 }]);
        expect(await stand.standing(rule)).toMatchObject({ limit: 10, used: 14, remaining: 0 });
      });
    });

    it.each(COUNTED)('keeps debt in full and lets only a cost of 0 pass, $algorithm', async (options) => {
      await given.with(async (stand) => {
        const rule = stand.rule(options);
        await stand.adjust([{ rule, cost: 25 }]);
        expect(await stand.standing(rule)).toMatchObject({ used: 25, remaining: 0, verdict: 'passed', retryAfter: 0 });
        await stand.refused([{ rule }]);
        await stand.admitted([{ rule, cost: 0 }]);
        await stand.adjust([{ rule, cost: -20 }]);
        expect(await stand.remaining(rule)).toBe(5);
      });
    });

    it.each(COUNTED)('takes what there is, $algorithm', async (options) => {
      await given.with(async (stand) => {
        const rule = stand.rule(options);
        const call = stand.rule({ algorithm: 'per-call', name: 'call', limit: 3 });
        expect(
          await stand.take([
            { rule, cost: 7 },
            { rule: call, cost: 9 },
          ]),
        ).toEqual([7, 3]);
        expect(
          await stand.take([
            { rule, cost: 7 },
            { rule: call, cost: 2 },
          ]),
        ).toEqual([3, 2]);
        expect(await stand.take([{ rule, cost: 7 }])).toEqual([0]);
        await stand.adjust([{ rule, cost: 5 }]);
        expect(await stand.take([{ rule, cost: 7 }])).toEqual([0]);
      });
    });

    it.each(
      COUNTED.filter(({ name }) => name !== 'total'),
    )('leaves a charge that its window no longer covers as it is, $algorithm', async (options) => {
      await given.with(async (stand) => {
        const rule = stand.rule(options);
        const then = stand.now;
        await stand.admitted([{ rule, cost: 3 }]);
        await stand.advance(40 * DAY);
        await stand.admitted([{ rule, cost: 5 }]);
        if (options.algorithm === 'token-bucket') return;
        await stand.adjust([{ rule, cost: -3 }], then);
        expect(await stand.remaining(rule)).toBe(5);
        await stand.adjust([{ rule, cost: -3 }], stand.now);
        expect(await stand.remaining(rule)).toBe(8);
      });
    });

    it.each(COUNTED)('tells of each mark that a charge reaches from below, $algorithm', async (options) => {
      await given.with(async (stand) => {
        const rule = stand.rule({ ...options, marks: [5, 8, 10] });
        const other = stand.rule({ ...TOTAL, name: 'other' });
        const charge = async (cost: number) =>
          (await stand.admitted([{ rule: other }, { rule, cost }])).crossed.map(
            ({ rule: { name }, mark, used, at }) => [name, mark, used, at],
          );
        expect(await charge(4)).toEqual([]);
        expect(await charge(1)).toEqual([[options.name, 5, 5, 1]]);
        expect(await charge(0)).toEqual([]);
        expect(await charge(5)).toEqual([
          [options.name, 8, 10, 1],
          [options.name, 10, 10, 1],
        ]);
      });
    });

    it.each(COUNTED)('counts a shadow rule on its own and never refuses by it, $algorithm', async (options) => {
      await given.with(async (stand) => {
        const shadow = stand.rule({ ...options, shadow: true });
        const real = stand.rule({ ...TOTAL, name: 'real', limit: 20 });
        expect((await stand.admitted([{ rule: shadow, cost: 10 }, { rule: real }])).shadowed).toEqual([]);
        const { shadowed } = await stand.admitted([{ rule: shadow, cost: 1 }, { rule: real }]);
        expect(shadowed).toMatchObject([{ verdict: 'exhausted', cost: 1 }]);
        // Refused by the real rule: the shadow rule is charged nothing either.
        await stand.reset([{ rule: shadow }]);
        await stand.refused([{ rule: shadow }, { rule: real, cost: 20 }]);
        expect((await stand.inspect([{ rule: shadow, cost: 0 }])).map(({ used }) => used)).toEqual([0]);
      });
    });

    it('shares what was used between variants of one id and shape, and keeps other shapes apart', async () => {
      await given.with(async (stand) => {
        for (const options of COUNTED) {
          const [free, paid] = [2, 10].map((limit) =>
            stand.rule({ ...options, id: 'spend', name: `tier ${limit}`, limit }),
          );
          await stand.admitted([{ rule: free!, cost: 2, key: 1 }]);
          await stand.refused([{ rule: free!, key: 1 }]);
          expect(await stand.standing(paid!, 1)).toMatchObject({ used: 2, remaining: 8 });
          await stand.admitted([{ rule: paid!, cost: 3, key: 1 }]);
          expect(await stand.standing(free!, 1)).toMatchObject({ used: 5, remaining: 0 });
          expect(await stand.remaining(paid!, 2)).toBe(10);
        }
      });
    });

    it('carries over what was used to a rule of another id or shape', async () => {
      await given.with(async (stand) => {
        for (const options of COUNTED) {
          const before = stand.rule({ ...options, name: `${options.name} before` });
          await stand.admitted([{ rule: before, cost: 4, key: 1 }]);
          const renamed = stand.rule({ ...options, name: `${options.name} after` }, before);
          expect(await stand.remaining(renamed, 1)).toBe(6);
          const refusal = await stand.refused([{ rule: renamed, cost: 7, key: 1 }]);
          expect(refusal.violated).toMatchObject([{ verdict: 'exhausted', used: 4, remaining: 6 }]);
          if (options.algorithm !== 'total') expect(refusal.retryAfter).toBeGreaterThan(0);
          await stand.admitted([{ rule: renamed, key: 1 }]);
          const total = stand.rule({ algorithm: 'total', name: `${options.name} total`, limit: 100 }, renamed);
          expect(await stand.remaining(total, 1)).toBe(95);
          expect(await stand.remaining(total, 2)).toBe(100);
          // And back: nothing is counted twice, nothing is forgotten.
          const again = stand.rule({ ...options, name: `${options.name} before` }, total);
          expect(await stand.remaining(again, 1)).toBe(5);
          await stand.admitted([{ rule: again, cost: 5, key: 1 }]);
          await stand.refused([{ rule: again, key: 1 }]);
        }
      });
    });
  });

  describe('many rules', () => {
    it('sums what one rule and key cost together, before the check', async () => {
      await given.with(async (stand) => {
        for (const options of COUNTED) {
          const rule = stand.rule({ ...options, name: `twice ${options.name}` });
          const twice = (a: number, b: number) => [
            { rule, cost: a, key: 1 },
            { rule, cost: b, key: 1 },
          ];
          const { violated } = await stand.refused(twice(6, 6));
          expect(violated).toMatchObject([{ cost: 12, verdict: 'cost_above_capacity' }]);
          await stand.admitted(twice(6, 4));
          expect(await stand.remaining(rule, 1)).toBe(0);
        }
      });
    });

    it('weighs variants of one rule on one key together', async () => {
      await given.with(async (stand) => {
        for (const options of COUNTED) {
          const [a, b] = ['a', 'b'].map((name) => stand.rule({ ...options, id: `both ${options.name}`, name })) as [
            Rule,
            Rule,
          ];
          const both = (first: number, second: number) => [
            { rule: a, cost: first, key: 1 },
            { rule: b, cost: second, key: 1 },
          ];
          await stand.refused(both(6, 6));
          expect(await stand.remaining(a, 1)).toBe(10);
          await stand.admitted(both(6, 4));
          expect(await stand.remaining(b, 1)).toBe(0);
        }
      });
    });

    it('names every rule in the way, in the order asked, and the first moment at which all pass', async () => {
      await given.with(async (stand) => {
        const rules = COUNTED.slice(0, 3).map((options, i) =>
          stand.rule({ ...options, name: `rule ${i}`, periodMs: (i + 1) * 10_000 } as RuleOptions),
        );
        await stand.admitted(rules.map((rule) => ({ rule, cost: 10 })));
        const refusal = await stand.refused([...rules].reverse().map((rule) => ({ rule, cost: 5 })));
        expect(refusal.violated.map(({ rule }) => rule.name)).toEqual(['rule 2', 'rule 1', 'rule 0']);
        expect(refusal.retryAfter).toBe(Math.max(...refusal.violated.map(({ retryAfter }) => retryAfter)));
        expect(refusal.estimated).toBe(false);
        await stand.advance(refusal.retryAfter!);
        await stand.admitted(rules.map((rule) => ({ rule, cost: 5 })));
      });
    });

    it('decides a batch one after the other', async () => {
      await given.with(async (stand) => {
        const { Ask } = await import('../ask.ts');
        const rule = stand.rule({ ...BUCKET, name: 'batch' });
        const asks = [4, 4, 4, 2].map((cost) => new Ask().clear().rule(rule, cost));
        const outcomes = await stand.limiter.decideAll(asks, stand.now);
        expect(outcomes.map(({ allowed }) => allowed)).toEqual([true, true, false, true]);
        expect(await stand.limiter.decideAll([], stand.now)).toEqual([]);
      });
    });

    it('answers a check like a decision and changes nothing by it', async () => {
      await given.with(async (stand) => {
        for (const options of COUNTED) {
          const rule = stand.rule({ ...options, name: `check ${options.name}` });
          for (let i = 0; i < 3; i++) expect((await stand.check([{ rule, cost: 10 }])).allowed).toBe(true);
          await stand.admitted([{ rule, cost: 10 }]);
          const before = await stand.standing(rule);
          const checked = await stand.check([{ rule, cost: 5 }]);
          expect(await stand.decide([{ rule, cost: 5 }])).toEqual(checked);
          expect(await stand.standing(rule)).toEqual(before);
        }
      });
    });
  });

  describe('patience', () => {
    it('takes the first place that comes free in time, and no other gets it', async () => {
      await given.with(async (stand) => {
        const rule = stand.rule({ ...BUCKET, name: 'patient' });
        await stand.admitted([{ rule, cost: 10 }]);
        await stand.refused([{ rule }], { patience: SECOND - 1 });
        expect((await stand.admitted([{ rule }], { patience: SECOND })).wait).toBe(SECOND);
        expect((await stand.admitted([{ rule }], { patience: MINUTE })).wait).toBe(2 * SECOND);
        await stand.advance(SECOND);
        expect((await stand.refused([{ rule }])).retryAfter).toBe(2 * SECOND);
        await stand.advance(SECOND);
        await stand.refused([{ rule }]);
        await stand.advance(SECOND);
        expect(await stand.admitted([{ rule }], { patience: MINUTE })).toMatchObject({ wait: 0 });
      });
    });

    it('waits for the slowest of several rates, and for sliding windows too', async () => {
      await given.with(async (stand) => {
        const fast = stand.rule({ ...BUCKET, name: 'fast' });
        const slow = stand.rule({ ...SLIDING, name: 'slow' });
        await stand.admitted([
          { rule: fast, cost: 10 },
          { rule: slow, cost: 10 },
        ]);
        const { retryAfter } = await stand.refused([{ rule: slow }]);
        const outcome = await stand.admitted([{ rule: fast }, { rule: slow }], { patience: MINUTE });
        expect(outcome.wait).toBe(retryAfter);
      });
    });

    it('counts a call by a sliding window from when it runs, not from when it was admitted', async () => {
      await given.with(async (stand) => {
        const slow = stand.rule({ ...BUCKET, name: 'slow', limit: 2 });
        const sliding = stand.rule({ ...SLIDING, name: 'sliding', limit: 1 });
        await stand.admitted([{ rule: slow, cost: 2 }]);
        const outcome = await stand.admitted([{ rule: slow }, { rule: sliding }], { patience: MINUTE });
        expect(outcome.wait).toBe(5 * SECOND);
        expect((await stand.refused([{ rule: sliding }])).retryAfter).toBe(15 * SECOND);
        await stand.advance(15 * SECOND - 1);
        await stand.refused([{ rule: sliding }]);
        await stand.advance(1);
        await stand.admitted([{ rule: sliding }]);
      });
    });

    it('is a refusal where another kind of rule is in the way, or no waiting helps', async () => {
      await given.with(async (stand) => {
        const rate = stand.rule({ ...BUCKET, name: 'rate' });
        for (const options of [
          { ...FIXED, name: 'fixed' },
          { ...TOTAL, name: 'total' },
        ] as const) {
          const rule = stand.rule(options);
          await stand.admitted([{ rule, cost: 10 }]);
          await stand.refused([{ rule }], { patience: DAY });
          await stand.refused([{ rule }, { rule: rate }], { patience: DAY });
        }
        await stand.refused([{ rule: rate, cost: 11 }], { patience: DAY });
        expect(await stand.remaining(rate)).toBe(10);
      });
    });
  });
}
