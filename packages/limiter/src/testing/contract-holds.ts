import { describe, expect, it } from 'vitest';
import type { RuleOptions } from '../types.ts';
import { DAY, type Given, HOUR, MINUTE, SECOND } from './stand.ts';

const SLOTS = { algorithm: 'concurrency', name: 'slots', limit: 2 } as const;
const MONEY = { unit: 'micro-USD', settles: true, limit: 100 } as const;

const BUDGETS: readonly RuleOptions[] = [
  { ...MONEY, algorithm: 'total', name: 'total' },
  { ...MONEY, algorithm: 'fixed-window', name: 'fixed', periodMs: 86_400_000 },
  { ...MONEY, algorithm: 'calendar-window', name: 'month', period: 'month' },
  { ...MONEY, algorithm: 'sliding-window', name: 'sliding', periodMs: 86_400_000 },
  // So slow that no unit comes back while a test runs.
  { ...MONEY, algorithm: 'token-bucket', name: 'bucket', periodMs: 31_536_000_000 },
];
const WINDOWED = BUDGETS.slice(1, 4);

/** The life of a hold: opened once, ended once, by one of settle, release and expiry. */
export function holdBehaviours(given: Given): void {
  describe('slots', () => {
    it.each(['settle', 'release'] as const)('are taken by a hold and given back by %s', async (end) => {
      await given.with(async (stand) => {
        const rule = stand.rule(SLOTS);
        await stand.admitted([{ rule }], { hold: 'a', ttl: MINUTE });
        await stand.advance(SECOND);
        await stand.admitted([{ rule }], { hold: 'b', ttl: MINUTE });
        const refusal = await stand.refused([{ rule }], { hold: 'c' });
        expect(refusal).toMatchObject({ estimated: true, retryAfter: MINUTE - SECOND });
        expect(refusal.violated).toMatchObject([{ verdict: 'busy', used: 2, remaining: 0, held: 0 }]);
        expect(await stand[end]('b')).toMatchObject({ changed: true });
        await stand.admitted([{ rule }], { hold: 'c' });
        expect(await stand[end]('b')).toMatchObject({ changed: false });
        await stand.refused([{ rule }], { hold: 'd' });
      });
    });

    it('come back when a hold expires, unless it is renewed', async () => {
      await given.with(async (stand) => {
        const rule = stand.rule(SLOTS);
        await stand.admitted([{ rule }], { hold: 'dead', ttl: MINUTE });
        await stand.admitted([{ rule }], { hold: 'alive', ttl: MINUTE });
        await stand.advance(MINUTE / 2);
        expect(await stand.renew('alive', MINUTE)).toMatchObject({ state: 'open', changed: true });
        await stand.advance(MINUTE / 2 - 1);
        await stand.refused([{ rule }], { hold: 'next' });
        await stand.advance(1);
        expect(await stand.standing(rule)).toMatchObject({ used: 1 });
        expect(await stand.renew('dead', MINUTE)).toMatchObject({ state: 'expired', changed: false });
        await stand.admitted([{ rule }], { hold: 'next', ttl: HOUR });
        await stand.advance(MINUTE / 2);
        expect(await stand.standing(rule)).toMatchObject({ used: 1 });
      });
    });

    it('are busy rather than exhausted beside a rate that is both in the way', async () => {
      await given.with(async (stand) => {
        const slots = stand.rule({ ...SLOTS, limit: 1 });
        const rate = stand.rule({ algorithm: 'token-bucket', name: 'rate', limit: 1, periodMs: 3_600_000 });
        await stand.admitted([{ rule: slots }, { rule: rate }], { hold: 'a', ttl: MINUTE });
        const refusal = await stand.refused([{ rule: slots }, { rule: rate }], { hold: 'b', patience: DAY });
        expect(refusal).toMatchObject({ estimated: true, retryAfter: HOUR });
        expect(refusal.violated.map(({ verdict }) => verdict)).toEqual(['busy', 'exhausted']);
      });
    });

    it('need a hold, as estimates do', async () => {
      await given.with(async (stand) => {
        const slots = stand.rule(SLOTS);
        const money = stand.rule(BUDGETS[0]!);
        await expect(stand.decide([{ rule: slots }])).rejects.toThrow();
        await expect(stand.decide([{ rule: money, cost: 5 }])).rejects.toThrow();
        // To ask takes nothing that would have to be ended.
        await stand.admitted([
          { rule: slots, cost: 0 },
          { rule: money, cost: 0 },
        ]);
        expect(await stand.standing(slots)).toMatchObject({ used: 0 });
        expect(await stand.standing(money)).toMatchObject({ used: 0 });
      });
    });
  });

  describe('a hold', () => {
    it('of an open id is answered as it was, charging nothing', async () => {
      await given.with(async (stand) => {
        const money = stand.rule(BUDGETS[0]!);
        const rate = stand.rule({ algorithm: 'token-bucket', name: 'rate', limit: 5, periodMs: 60_000 });
        const ask = [{ rule: money, cost: 60 }, { rule: rate }];
        expect(await stand.admitted(ask, { hold: 'a' })).toMatchObject({ repeated: false });
        expect(await stand.admitted(ask, { hold: 'a' })).toMatchObject({ repeated: true, wait: 0 });
        expect(await stand.standing(money)).toMatchObject({ used: 60, held: 60, remaining: 40 });
        expect(await stand.remaining(rate)).toBe(4);
      });
    });

    it.each(BUDGETS)('settles at what it came to, once, $name', async (options) => {
      await given.with(async (stand) => {
        const rule = stand.rule(options);
        await stand.admitted([{ rule, cost: 60 }], { hold: 'a' });
        await stand.refused([{ rule, cost: 60 }], { hold: 'b' });
        expect(await stand.settle('a', { 'micro-USD': 25 })).toMatchObject({ state: 'settled', changed: true });
        expect(await stand.standing(rule)).toMatchObject({ used: 25, held: 0, remaining: 75 });
        expect(await stand.settle('a', { 'micro-USD': 90 })).toMatchObject({ state: 'settled', changed: false });
        expect(await stand.release('a')).toMatchObject({ state: 'settled', changed: false });
        expect(await stand.standing(rule)).toMatchObject({ used: 25, held: 0 });
      });
    });

    it.each(BUDGETS)('of an estimate of 0 settles at what it came to all the same, $name', async (options) => {
      await given.with(async (stand) => {
        const rule = stand.rule(options);
        await stand.admitted([{ rule, cost: 0 }], { hold: 'a' });
        expect(await stand.standing(rule)).toMatchObject({ used: 0, held: 0 });
        expect(await stand.settle('a', { 'micro-USD': 130 })).toMatchObject({ state: 'settled', changed: true });
        expect(await stand.standing(rule)).toMatchObject({ used: 130, held: 0, remaining: 0 });
        await stand.refused([{ rule, cost: 1 }], { hold: 'b' });
      });
    });

    it.each(BUDGETS)('settles above its estimate in full, into debt, $name', async (options) => {
      await given.with(async (stand) => {
        const rule = stand.rule({ ...options, marks: [80, 100] });
        await stand.admitted([{ rule, cost: 10 }], { hold: 'a' });
        const { crossed } = await stand.settle('a', { 'micro-USD': 250 });
        expect(crossed).toMatchObject([
          { mark: 80, used: 250, at: -1 },
          { mark: 100, used: 250, at: -1 },
        ]);
        expect(await stand.standing(rule)).toMatchObject({ used: 250, held: 0, remaining: 0 });
        await stand.refused([{ rule, cost: 1 }], { hold: 'b' });
      });
    });

    it('settles every rule of a unit, leaves other units at what was held, and rates charged', async () => {
      await given.with(async (stand) => {
        const user = stand.rule({ ...BUDGETS[0]!, name: 'user' });
        const tenant = stand.rule({ ...BUDGETS[1]!, name: 'tenant' });
        const tokens = stand.rule({ algorithm: 'total', name: 'tokens', limit: 1000, unit: 'tokens', settles: true });
        const rate = stand.rule({ algorithm: 'token-bucket', name: 'rate', limit: 10, periodMs: 3_600_000 });
        const all = [
          { rule: user, cost: 40, key: 1 },
          { rule: tenant, cost: 40, key: 2 },
          { rule: tokens, cost: 500 },
          { rule: rate },
        ];
        await stand.admitted(all, { hold: 'a' });
        await stand.settle('a', { 'micro-USD': 30, euros: 7 });
        expect(await stand.standing(user, 1)).toMatchObject({ used: 30 });
        expect(await stand.standing(tenant, 2)).toMatchObject({ used: 30 });
        expect(await stand.standing(tokens)).toMatchObject({ used: 500, held: 0 });
        expect(await stand.remaining(rate)).toBe(9);
      });
    });

    it('gives everything back on release, rates too', async () => {
      await given.with(async (stand) => {
        const money = stand.rule(BUDGETS[0]!);
        const slots = stand.rule(SLOTS);
        const rates = (
          [
            { algorithm: 'token-bucket', name: 'bucket', limit: 5, periodMs: 3_600_000 },
            { algorithm: 'sliding-window', name: 'sliding rate', limit: 5, periodMs: 3_600_000 },
            { algorithm: 'fixed-window', name: 'fixed rate', limit: 5, periodMs: 3_600_000 },
          ] as const
        ).map((options) => stand.rule(options));
        const all = [{ rule: money, cost: 60 }, { rule: slots }, ...rates.map((rule) => ({ rule, cost: 2 }))];
        await stand.admitted(rates.map((rule) => ({ rule })));
        await stand.admitted(all, { hold: 'a' });
        expect(await stand.release('a')).toMatchObject({ state: 'released', changed: true });
        expect(await stand.release('a')).toMatchObject({ state: 'released', changed: false });
        expect(await stand.settle('a', { 'micro-USD': 60 })).toMatchObject({ state: 'released', changed: false });
        expect(await stand.standing(money)).toMatchObject({ used: 0, held: 0 });
        expect(await stand.standing(slots)).toMatchObject({ used: 0 });
        for (const rule of rates) expect(await stand.standing(rule)).toMatchObject({ used: 1, remaining: 4 });
      });
    });

    it('released late gives a bucket back only what has not come back by itself', async () => {
      await given.with(async (stand) => {
        const rule = stand.rule({ algorithm: 'token-bucket', name: 'bucket', limit: 10, periodMs: 10_000 });
        await stand.admitted([{ rule, cost: 4 }], { hold: 'a' });
        await stand.advance(3 * SECOND);
        await stand.admitted([{ rule, cost: 9 }]);
        expect(await stand.standing(rule)).toMatchObject({ used: 10 });
        // Full again at 4 s without the others: one unit of the four is still out.
        await stand.release('a');
        expect(await stand.standing(rule)).toMatchObject({ used: 9 });
        await stand.admitted([{ rule }], { hold: 'b' });
        await stand.advance(20 * SECOND);
        await stand.admitted([{ rule, cost: 10 }]);
        await stand.release('b');
        expect(await stand.standing(rule)).toMatchObject({ used: 10, remaining: 0 });
      });
    });

    it.each(BUDGETS)('expires as spent or free, and a late settlement corrects that once, $name', async (options) => {
      await given.with(async (stand) => {
        const rule = stand.rule(options);
        await stand.admitted([{ rule, cost: 30 }], { hold: 'spent', ttl: MINUTE });
        await stand.admitted([{ rule, cost: 50 }], { hold: 'free', ttl: MINUTE, expiry: 'free' });
        await stand.advance(MINUTE - 1);
        expect(await stand.standing(rule)).toMatchObject({ used: 80, held: 80 });
        await stand.advance(1);
        expect(await stand.standing(rule)).toMatchObject({ used: 30, held: 0 });
        expect(await stand.settle('free', { 'micro-USD': 20 })).toMatchObject({ state: 'settled', changed: true });
        expect(await stand.settle('spent', { 'micro-USD': 10 })).toMatchObject({ state: 'settled', changed: true });
        expect(await stand.standing(rule)).toMatchObject({ used: 30, held: 0 });
        for (const id of ['spent', 'free']) expect(await stand.settle(id)).toMatchObject({ changed: false });
        expect(await stand.standing(rule)).toMatchObject({ used: 30, held: 0 });
      });
    });

    it.each(WINDOWED)('settles into the window it was opened in, also after that has ended, $name', async (options) => {
      await given.with(async (stand) => {
        const rule = stand.rule(options);
        await stand.admitted([{ rule, cost: 60 }], { hold: 'a', ttl: 90 * DAY });
        await stand.advance(40 * DAY);
        expect(await stand.standing(rule)).toMatchObject({ used: 0, held: 0, remaining: 100 });
        await stand.admitted([{ rule, cost: 5 }], { hold: 'b' });
        await stand.adjust([{ rule, cost: 20 }]);
        expect(await stand.standing(rule)).toMatchObject({ used: 25, held: 5 });
        await stand.settle('a', { 'micro-USD': 90 });
        expect(await stand.standing(rule)).toMatchObject({ used: 25, held: 5 });
        await stand.release('b');
        expect(await stand.standing(rule)).toMatchObject({ used: 20, held: 0 });
      });
    });

    it('that nobody opened, or of a refusal, is unknown', async () => {
      await given.with(async (stand) => {
        const rule = stand.rule(BUDGETS[0]!);
        await stand.refused([{ rule, cost: 101 }], { hold: 'refused' });
        for (const id of ['refused', 'never']) {
          expect(await stand.settle(id, { 'micro-USD': 5 })).toMatchObject({ state: 'unknown', changed: false });
          expect(await stand.release(id)).toMatchObject({ state: 'unknown', changed: false });
          expect(await stand.renew(id, MINUTE)).toMatchObject({ state: 'unknown', changed: false });
        }
        expect(await stand.standing(rule)).toMatchObject({ used: 0 });
      });
    });

    it('open at a reset settles into nothing that was before', async () => {
      await given.with(async (stand) => {
        for (const options of BUDGETS) {
          const rule = stand.rule(options);
          const [a, b] = [`${options.name} a`, `${options.name} b`];
          await stand.admitted([{ rule, cost: 60 }], { hold: a });
          await stand.reset([{ rule }]);
          expect(await stand.standing(rule)).toMatchObject({ used: 0, remaining: 100 });
          await stand.admitted([{ rule, cost: 30 }], { hold: b });
          expect(await stand.settle(a, { 'micro-USD': 70 })).toMatchObject({ state: 'settled', changed: true });
          expect(await stand.standing(rule)).toMatchObject({ used: 30, held: 30 });
          await stand.settle(b, { 'micro-USD': 10 });
          expect(await stand.standing(rule)).toMatchObject({ used: 10, held: 0 });
        }
      });
    });

    it('keeps the place it has to wait for, and gives it back', async () => {
      await given.with(async (stand) => {
        const rule = stand.rule({ algorithm: 'token-bucket', name: 'rate', limit: 1, periodMs: 1000 });
        await stand.admitted([{ rule }]);
        const first = await stand.admitted([{ rule }], { hold: 'a', patience: MINUTE });
        expect(first.wait).toBe(SECOND);
        expect(await stand.admitted([{ rule }], { hold: 'a', patience: MINUTE })).toMatchObject({ repeated: true });
        await stand.release('a');
        expect((await stand.refused([{ rule }])).retryAfter).toBe(SECOND);
      });
    });
  });
}
