import { describe, expect, it } from 'vitest';
import type { Rule, RuleOptions } from '../types.ts';
import { DAY, type Given, HOUR, MINUTE, SECOND } from './stand.ts';

const WINDOWS: readonly RuleOptions[] = [
  { algorithm: 'token-bucket', name: 'bucket', limit: 20, periodMs: 60_000 },
  { algorithm: 'sliding-window', name: 'sliding', limit: 20, periodMs: 60_000 },
  { algorithm: 'fixed-window', name: 'fixed', limit: 20, periodMs: 60_000 },
  { algorithm: 'calendar-window', name: 'calendar', limit: 20, period: 'month' },
  { algorithm: 'total', name: 'total', limit: 20 },
];

/** What other limiters' own tests and threads say, named after them. */
export function peerBehaviours(given: Given): void {
  describe('as the peers are tested', () => {
    it.each(WINDOWS)('Envoy: 25 calls against 20, $algorithm: 19..0 remaining, then 5 refusals', async (options) => {
      await given.with(async (stand) => {
        const rule = stand.rule(options);
        for (let left = 19; left >= 0; left--) {
          await stand.admitted([{ rule }]);
          expect(await stand.remaining(rule)).toBe(left);
        }
        for (let i = 0; i < 5; i++) {
          const { violated } = await stand.refused([{ rule }]);
          expect(violated).toMatchObject([{ remaining: 0, used: 20, limit: 20, verdict: 'exhausted' }]);
        }
      });
    });

    it('Envoy: a call refused by one limit leaves the other alone, also when 64 come at once', async () => {
      await given.with(async (stand) => {
        const a = stand.rule({ algorithm: 'fixed-window', name: 'a', limit: 20, periodMs: 60_000 });
        const b = stand.rule({ algorithm: 'fixed-window', name: 'b', limit: 10, periodMs: 3_600_000 });
        for (let i = 1; i <= 15; i++) {
          const outcome = await stand.decide([{ rule: a }, { rule: b }]);
          expect(outcome.allowed).toBe(i <= 10);
          if (!outcome.allowed) expect(outcome.violated.map(({ rule }) => rule.name)).toEqual(['b']);
        }
        expect(await stand.remaining(a)).toBe(10);
        const key = 7;
        const outcomes = await Promise.all(
          Array.from({ length: 64 }, () =>
            stand.allows([
              { rule: a, key },
              { rule: b, key },
            ]),
          ),
        );
        expect(outcomes.filter((allowed) => allowed)).toHaveLength(10);
        expect(await stand.remaining(a, key)).toBe(10);
        expect(await stand.remaining(b, key)).toBe(0);
      });
    });

    it('Envoy: near limit 16 of 20: each mark is reported once, by the charge that reaches it', async () => {
      await given.with(async (stand) => {
        const rule = stand.rule({
          algorithm: 'fixed-window',
          name: 'near',
          limit: 20,
          periodMs: 60_000,
          marks: [16, 20],
          settles: true,
        });
        expect((await stand.admitted([{ rule, cost: 14 }], { hold: 'first' })).crossed).toEqual([]);
        expect((await stand.admitted([{ rule }], { hold: 'second' })).crossed).toEqual([]);
        // 15 and 7 more: Envoy counts 2 over and 4 near; here a refusal reaches nothing, a settlement both.
        await stand.refused([{ rule, cost: 7 }], { hold: 'third' });
        const { crossed } = await stand.settle('second', { requests: 8 });
        expect(crossed).toMatchObject([
          { mark: 16, used: 22, at: -1 },
          { mark: 20, used: 22, at: -1 },
        ]);
        expect((await stand.settle('first')).crossed).toEqual([]);
      });
    });

    it('Envoy: calls under an override leave what they do not ask for untouched', async () => {
      await given.with(async (stand) => {
        const base = stand.rule({ algorithm: 'token-bucket', name: 'base', limit: 2, periodMs: 60_000 });
        const override = stand.rule({ algorithm: 'token-bucket', name: 'override', limit: 50, periodMs: 60_000 });
        for (let i = 0; i < 10; i++) await stand.admitted([{ rule: override, key: 1 }]);
        expect(await stand.remaining(base, 1)).toBe(2);
        expect(await stand.remaining(override, 1)).toBe(40);
      });
    });

    it('Envoy: a shadow limit of 3 lets 5 calls pass, tells of 2, and the real one beside it counts all', async () => {
      await given.with(async (stand) => {
        const shadow = stand.rule({
          algorithm: 'fixed-window',
          name: 'shadow',
          limit: 3,
          periodMs: 60_000,
          shadow: true,
        });
        const real = stand.rule({ algorithm: 'fixed-window', name: 'real', limit: 6, periodMs: 60_000 });
        let told = 0;
        for (let i = 0; i < 5; i++) told += (await stand.admitted([{ rule: shadow }, { rule: real }])).shadowed.length;
        expect(told).toBe(2);
        expect(await stand.remaining(real)).toBe(1);
        const refused = await stand.refused([{ rule: shadow }, { rule: real, cost: 2 }]);
        expect(refused.standings.map(({ rule }) => rule.name)).toEqual(['real']);
        expect(refused.shadowed.map(({ rule }) => rule.name)).toEqual(['shadow']);
        expect(await stand.remaining(real)).toBe(1);
      });
    });

    it('Envoy: a reload keeps what was used; a rule that cannot be kept is an error and changes nothing', async () => {
      await given.with(async (stand) => {
        const options: RuleOptions = { algorithm: 'token-bucket', name: 'reloaded', limit: 5, periodMs: 3_600_000 };
        const before = stand.rule(options);
        await stand.admitted([{ rule: before, cost: 3 }]);
        for (const broken of [0, -1, 0.5, Number.NaN, Infinity, 2 ** 53]) {
          expect(() => stand.rule({ ...options, limit: broken }, before), String(broken)).toThrow(RangeError);
        }
        for (const periodMs of [0, -1, Number.NaN, Infinity]) {
          expect(() => stand.rule({ ...options, periodMs }), String(periodMs)).toThrow(RangeError);
        }
        const after = stand.rule({ ...options }, before);
        expect(await stand.remaining(after)).toBe(2);
      });
    });

    it('Envoy: where charging after the answer lets a third call pass, holds do not', async () => {
      await given.with(async (stand) => {
        const rule = stand.rule({
          algorithm: 'fixed-window',
          name: 'tokens',
          limit: 2,
          periodMs: 60_000,
          settles: true,
        });
        await stand.admitted([{ rule }], { hold: 'one' });
        await stand.admitted([{ rule }], { hold: 'two' });
        await stand.refused([{ rule }], { hold: 'three' });
        await stand.settle('one', { requests: 1 });
        await stand.settle('two', { requests: 1 });
        await stand.refused([{ rule }], { hold: 'four' });
      });
    });

    it('throttled: the table of 1 a second, five at once', async () => {
      await given.with(async (stand) => {
        const rule = stand.rule({ algorithm: 'token-bucket', name: 'throttled', limit: 1, periodMs: 1000, burst: 4 });
        for (let i = 0; i < 5; i++) await stand.admitted([{ rule }]);
        expect((await stand.refused([{ rule }])).retryAfter).toBe(SECOND);
        await stand.advance(3 * SECOND);
        await stand.admitted([{ rule }]);
        expect(await stand.remaining(rule)).toBe(2);
        await stand.advance(0.1 * SECOND);
        await stand.admitted([{ rule }]);
        expect(await stand.standing(rule)).toMatchObject({ remaining: 1, resetAfter: 3.9 * SECOND });
        const never = await stand.refused([{ rule, cost: 6 }]);
        expect(never.retryAfter).toBeUndefined();
        expect(never.violated).toMatchObject([{ verdict: 'cost_above_capacity', retryAfter: Infinity }]);
        expect((await stand.refused([{ rule, cost: 5 }])).retryAfter).toBe(3.9 * SECOND);
        expect(await stand.remaining(rule)).toBe(1);
        await stand.admitted([{ rule, cost: 0 }]);
        await stand.advance(0.9 * SECOND);
        await stand.admitted([{ rule, cost: 2 }]);
        expect(await stand.remaining(rule)).toBe(0);
      });
    });

    it.each([
      { algorithm: 'token-bucket', periodMs: DAY / 1000 },
      { algorithm: 'sliding-window', periodMs: DAY / 1000 },
      { algorithm: 'fixed-window', periodMs: DAY / 1000 },
      { algorithm: 'calendar-window', period: 'month' },
      { algorithm: 'total' },
    ] as const)('Gubernator: a cost larger than what remains takes nothing, $algorithm', async (kind) => {
      await given.with(async (stand) => {
        const rule = stand.rule({ ...kind, name: 'gubernator', limit: 2000 } as RuleOptions);
        await stand.admitted([{ rule, cost: 1000 }]);
        await stand.refused([{ rule, cost: 1500 }]);
        expect(await stand.remaining(rule)).toBe(1000);
        for (const cost of [500, 400, 100]) await stand.admitted([{ rule, cost }]);
        await stand.refused([{ rule }]);
      });
    });

    it.each(WINDOWS)('Gubernator: a changed limit keeps what was used, $algorithm', async (options) => {
      await given.with(async (stand) => {
        const sized = (limit: number): Rule => stand.rule({ ...options, limit });
        const hundred = sized(100);
        await stand.admitted([{ rule: hundred, cost: 2, key: 1 }]);
        const ten = sized(10);
        for (const left of [7, 6]) {
          await stand.admitted([{ rule: ten, key: 1 }]);
          expect(await stand.remaining(ten, 1)).toBe(left);
        }
        const more = sized(200);
        await stand.admitted([{ rule: more, key: 1 }]);
        expect(await stand.remaining(more, 1)).toBe(195);
        // Lower than what is used: nothing passes, and nothing is forgotten.
        await stand.refused([{ rule: sized(3), key: 1 }]);
        expect(await stand.remaining(more, 1)).toBe(195);
      });
    });

    it.each(WINDOWS)('Gubernator: a refund restores, here never beyond full, $algorithm', async (options) => {
      await given.with(async (stand) => {
        const rule = stand.rule(options);
        await stand.admitted([{ rule, cost: 5 }]);
        await stand.adjust([{ rule, cost: -2 }]);
        expect(await stand.remaining(rule)).toBe(17);
        await stand.adjust([{ rule, cost: -100 }]);
        expect(await stand.standing(rule)).toMatchObject({ remaining: 20, used: 0 });
        await stand.refused([{ rule, cost: 21 }]);
        await stand.admitted([{ rule, cost: 20 }]);
      });
    });

    it.each([
      'minute',
      'hour',
      'day',
      'week',
      'month',
    ] as const)('Gubernator: a calendar %s ends at its end, weeks too', async (period) => {
      await given.with(async (stand) => {
        const rule = stand.rule({ algorithm: 'calendar-window', name: period, limit: 1, period });
        await stand.admitted([{ rule }]);
        const { retryAfter } = await stand.refused([{ rule }]);
        const at = new Date((given.options.origin ?? 0) + (stand.now + retryAfter!) / 1000);
        expect([at.getUTCMilliseconds(), at.getUTCSeconds()]).toEqual([0, 0]);
        if (period !== 'minute') expect(at.getUTCMinutes()).toBe(0);
        if (period !== 'minute' && period !== 'hour') expect(at.getUTCHours()).toBe(0);
        if (period === 'week') expect(at.getUTCDay()).toBe(1);
        if (period === 'month') expect(at.getUTCDate()).toBe(1);
        await stand.advance(retryAfter! - 1);
        await stand.refused([{ rule }]);
        await stand.advance(1);
        await stand.admitted([{ rule }]);
      });
    });

    it('Limitador: a cost above the maximum is refused at once; resetting forgets; what is not asked does not count', async () => {
      await given.with(async (stand) => {
        for (const options of WINDOWS) {
          const rule = stand.rule({ ...options, name: `limitador-${options.name}` });
          const { violated, retryAfter } = await stand.refused([{ rule, cost: 21 }]);
          expect(violated[0]!.verdict).toBe('cost_above_capacity');
          expect(retryAfter).toBeUndefined();
          await stand.admitted([{ rule, cost: 20 }]);
          await stand.admitted([{ rule, cost: 20, key: 2 }]);
          await stand.reset([{ rule }]);
          expect(await stand.remaining(rule)).toBe(20);
          expect(await stand.remaining(rule, 2)).toBe(0);
          await stand.admitted([]);
        }
      });
    });

    it('rate-limiter-flexible: refused calls neither count nor lengthen a window; 30 days hold; half a second ends', async () => {
      await given.with(async (stand) => {
        for (const period of [SECOND / 2, 30 * DAY]) {
          const rule = stand.rule({
            algorithm: 'fixed-window',
            name: `window-${period}`,
            limit: 2,
            periodMs: period / 1000,
          });
          await stand.admitted([{ rule, cost: 2 }]);
          await stand.advance(period / 2);
          for (let i = 0; i < 5; i++) expect((await stand.refused([{ rule }])).retryAfter).toBe(period / 2);
          await stand.advance(period / 2 - 1);
          expect(await stand.refused([{ rule }])).toMatchObject({ retryAfter: 1 });
          await stand.advance(1);
          expect(await stand.standing(rule)).toMatchObject({ used: 0, remaining: 2 });
        }
      });
    });

    it('rate-limiter-flexible: a limit without a period never ends by itself', async () => {
      await given.with(async (stand) => {
        const rule = stand.rule({ algorithm: 'total', name: 'for-ever', limit: 2 });
        await stand.admitted([{ rule, cost: 2 }]);
        await stand.advance(400 * DAY);
        const { retryAfter, violated } = await stand.refused([{ rule }]);
        expect(retryAfter).toBeUndefined();
        expect(violated).toMatchObject([{ verdict: 'exhausted', retryAfter: Infinity, resetAfter: Infinity }]);
      });
    });

    it('ToolHive: who is refused does not drain the bucket that all share; tools are apart', async () => {
      await given.with(async (stand) => {
        const shared = stand.rule({ algorithm: 'token-bucket', name: 'shared', limit: 10, periodMs: 60_000 });
        const user = stand.rule({ algorithm: 'token-bucket', name: 'user', limit: 2, periodMs: 60_000 });
        const tool = stand.rule({ algorithm: 'token-bucket', name: 'tool', limit: 1, periodMs: 60_000 });
        for (let i = 0; i < 50; i++) await stand.decide([{ rule: shared }, { rule: user, key: 1 }]);
        expect(await stand.remaining(shared)).toBe(8);
        await stand.admitted([{ rule: shared }, { rule: user, key: 2 }, { rule: tool, key: 'echo' }]);
        await stand.refused([{ rule: shared }, { rule: user, key: 2 }, { rule: tool, key: 'echo' }]);
        await stand.admitted([{ rule: shared }, { rule: user, key: 2 }, { rule: tool, key: 'add' }]);
        // Without an identity only the shared bucket is asked.
        await stand.admitted([{ rule: shared }]);
        expect(await stand.remaining(shared)).toBe(5);
      });
    });

    it('ToolHive: slow limits are kept: 1 in 30 days comes back after 30 days, 1 a week after a week', async () => {
      for (const days of [30, 7]) {
        await given.with(async (stand) => {
          const rule = stand.rule({ algorithm: 'token-bucket', name: 'slow', limit: 1, periodMs: (days * DAY) / 1000 });
          await stand.admitted([{ rule }]);
          await stand.advance(days * DAY - 1);
          expect((await stand.refused([{ rule }])).retryAfter).toBe(1);
          await stand.advance(1);
          await stand.admitted([{ rule }]);
        });
      }
    });

    it('ContextForge: tools and prompts share a counter, tenants do not, and the tightest limit speaks', async () => {
      await given.with(async (stand) => {
        const user = stand.rule({ algorithm: 'fixed-window', name: 'user', limit: 3, periodMs: MINUTE / 1000 });
        const tenant = stand.rule({ algorithm: 'fixed-window', name: 'tenant', limit: 5, periodMs: HOUR / 1000 });
        const call = (who: string, of: string) => [
          { rule: user, key: who },
          { rule: tenant, key: of },
        ];
        for (let i = 0; i < 3; i++) await stand.admitted(call('ann', 'acme'));
        const first = await stand.refused(call('ann', 'acme'));
        expect(first).toMatchObject({ retryAfter: MINUTE, violated: [{ remaining: 0 }] });
        expect(first.standings).toMatchObject([{ remaining: 0 }, { remaining: 2 }]);
        await stand.admitted(call('anonymous', 'acme'));
        await stand.admitted(call('bob', 'acme'));
        const both = await stand.refused(call('ann', 'acme'));
        expect(both.violated.map(({ rule }) => rule.name)).toEqual(['user', 'tenant']);
        expect(both.retryAfter).toBe(HOUR);
        await stand.admitted(call('cid', 'other'));
      });
    });
  });
}
