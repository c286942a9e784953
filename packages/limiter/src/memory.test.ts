import { verifies } from '@tollgate/testkit/verifies';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Ask } from './ask.ts';
import { MemoryLimiter } from './memory.ts';
import { ReferenceBucket } from './testing.ts';
import type { Outcome, Refused, Rule } from './types.ts';

const SECOND = 1_000_000;

let rules = 0;

/** A token bucket; each of its own unless it is named. */
function bucket(limiter: MemoryLimiter, limit: number, periodMs: number, burst = 0, name = `rule ${++rules}`): Rule {
  return limiter.rule({ algorithm: 'token-bucket', name, limit, periodMs, burst });
}

function refused(outcome: Outcome): Refused {
  if (outcome.allowed) throw new Error('expected a refusal');
  return outcome;
}

describe('token bucket', () => {
  it('admits exactly limit + burst at one instant, for ordinary and odd numbers', () => {
    const limiter = new MemoryLimiter();
    const ask = new Ask();
    for (const periodMs of [1000, 60_000, 3_600_000, 86_100_000]) {
      for (let limit = 1; limit <= 2000; limit += limit < 64 ? 1 : 97) {
        const rule = bucket(limiter, limit, periodMs, limit % 3);
        for (let i = 0; i < rule.capacity; i++) expect(limiter.decide(ask.clear().rule(rule), 5).allowed).toBe(true);
        expect(limiter.decide(ask.clear().rule(rule), 5).allowed).toBe(false);
      }
    }
  });

  it('gives everything back after one period, not a microsecond early', () => {
    const ask = new Ask();
    for (const [limit, periodMs] of [
      [7, 1000],
      [90, 60_000],
      [30, 60_000],
      [1, 30 * 86_100_000],
      [30_000, 1000],
    ] as const) {
      const limiter = new MemoryLimiter();
      const rule = bucket(limiter, limit, periodMs);
      const period = periodMs * 1000;
      const start = 17;
      expect(limiter.decide(ask.clear().rule(rule, limit), start).allowed).toBe(true);
      expect(limiter.check(ask.clear().rule(rule, limit), start + period - 1).allowed).toBe(false);
      expect(limiter.check(ask.clear().rule(rule, limit), start + period).allowed).toBe(true);
    }
  });

  // Source: throttled (Go), table of its rate limiter test.
  it('follows the throttled table: 1 a second, five at once', () => {
    const limiter = new MemoryLimiter();
    const rule = bucket(limiter, 1, 1000, 4);
    const ask = new Ask();
    const take = (cost: number, at: number) => limiter.decide(ask.clear().rule(rule, cost), at * SECOND);
    const stand = (at: number) => limiter.inspect(ask.clear().rule(rule, 0), at * SECOND)[0]!;
    for (let i = 0; i < 5; i++) expect(take(1, 0).allowed).toBe(true);
    expect(refused(take(1, 0)).retryAfter).toBe(SECOND);
    expect(stand(3).remaining).toBe(3);
    expect(take(1, 3).allowed).toBe(true);
    expect(stand(3).remaining).toBe(2);
    expect(take(1, 3.1).allowed).toBe(true);
    expect(stand(3.1)).toMatchObject({ remaining: 1, resetAfter: 3.9 * SECOND });
    const never = refused(take(6, 3.1));
    expect(never.retryAfter).toBeUndefined();
    expect(never.violated[0]!.verdict).toBe('cost_above_capacity');
    expect(refused(take(5, 3.1)).retryAfter).toBe(3.9 * SECOND);
    expect(stand(3.1).remaining).toBe(1);
    expect(take(0, 3.1).allowed).toBe(true);
    expect(take(2, 4).allowed).toBe(true);
  });

  // Source: Gubernator, functional test of a request larger than what remains.
  it('leaves what remains untouched by a refusal', () => {
    const limiter = new MemoryLimiter();
    const rule = bucket(limiter, 2000, 86_100_000);
    const ask = new Ask();
    const take = (cost: number) => limiter.decide(ask.clear().rule(rule, cost), 0).allowed;
    expect(take(1000)).toBe(true);
    expect(take(1500)).toBe(false);
    expect(limiter.inspect(ask.clear().rule(rule, 0), 0)[0]!.remaining).toBe(1000);
    expect([take(500), take(400), take(100), take(1)]).toEqual([true, true, true, false]);
  });

  it('never lets time move back, and reads a broken clock as the latest time seen', () => {
    const limiter = new MemoryLimiter();
    const rule = bucket(limiter, 1, 1000);
    const ask = new Ask();
    expect(limiter.decide(ask.clear().rule(rule), 100 * SECOND).allowed).toBe(true);
    expect(refused(limiter.decide(ask.clear().rule(rule), 50 * SECOND)).retryAfter).toBe(SECOND);
    expect(refused(limiter.decide(ask.clear().rule(rule), Number.NaN)).retryAfter).toBe(SECOND);
    expect(limiter.decide(ask.clear().rule(rule), 101 * SECOND).allowed).toBe(true);
    expect(() => limiter.decide(ask.clear().rule(rule), Infinity)).toThrow(RangeError);
  });

  it('refuses costs and numbers that are not whole and not negative', () => {
    const limiter = new MemoryLimiter();
    const rule = bucket(limiter, 5, 1000);
    const ask = new Ask();
    for (const cost of [-1, 0.5, Number.NaN, Infinity, 2 ** 53]) {
      expect(() => ask.clear().rule(rule, cost)).toThrow(RangeError);
    }
    for (const part of [-1, 0.5, Number.NaN, 2 ** 32])
      expect(() => ask.clear().rule(rule).key(part)).toThrow(RangeError);
    expect(() => bucket(limiter, 0, 1000)).toThrow(RangeError);
    expect(() => bucket(limiter, 1, 0)).toThrow(RangeError);
    expect(() => bucket(limiter, 1, 1000, -1)).toThrow(RangeError);
    expect(() => bucket(limiter, 1, 86_100_000, 1e9)).toThrow(RangeError);
    expect(() => new MemoryLimiter().decide(ask.clear().rule({ ...rule }), 0)).toThrow(TypeError);
  });
});

describe('many rules, one decision', () => {
  it('charges all or none, and names every rule in the way', () => {
    const limiter = new MemoryLimiter();
    const a = bucket(limiter, 20, 60_000, 0, 'a');
    const b = bucket(limiter, 10, 3_600_000, 0, 'b');
    const c = bucket(limiter, 10, 60_000, 0, 'c');
    const ask = new Ask();
    let admitted = 0;
    for (let i = 0; i < 15; i++) if (limiter.decide(ask.clear().rule(a).rule(b).rule(c), 0).allowed) admitted++;
    expect(admitted).toBe(10);
    const refusal = refused(limiter.decide(ask.clear().rule(a).rule(b).rule(c), 0));
    expect(refusal.violated.map((standing) => standing.rule.name)).toEqual(['b', 'c']);
    expect(refusal.retryAfter).toBe(360 * SECOND);
    expect(refusal.standings[0]).toMatchObject({ verdict: 'passed', remaining: 10 });
  });

  it('sums the same rule and key named twice', () => {
    const limiter = new MemoryLimiter();
    const rule = bucket(limiter, 5, 60_000);
    const ask = new Ask();
    expect(limiter.decide(ask.clear().rule(rule, 3).key(1).rule(rule, 3).key(1), 0).allowed).toBe(false);
    expect(limiter.decide(ask.clear().rule(rule, 3).key(1).rule(rule, 2).key(1), 0).allowed).toBe(true);
    expect(limiter.inspect(ask.clear().rule(rule, 0).key(1), 0)[0]!.remaining).toBe(0);
    const refusal = refused(limiter.decide(ask.clear().rule(rule, 1).key(1).rule(rule, 1).key(1), 0));
    expect(refusal.violated).toHaveLength(1);
    expect(refusal.violated[0]!.cost).toBe(2);
  });

  it('keeps keys apart, by number, by order, by text', () => {
    const limiter = new MemoryLimiter();
    const rule = bucket(limiter, 1, 60_000);
    const other = bucket(limiter, 1, 60_000);
    const ask = new Ask();
    const keys = [
      () => ask.clear().rule(rule),
      () => ask.clear().rule(other),
      () => ask.clear().rule(rule).key(0),
      () => ask.clear().rule(rule).key(1).key(2),
      () => ask.clear().rule(rule).key(2).key(1),
      () => ask.clear().rule(rule).text('ab').text('c'),
      () => ask.clear().rule(rule).text('a').text('bc'),
      () => ask.clear().rule(rule).text('\u0000'),
      () => ask.clear().rule(rule).text(''),
      () => ask.clear().rule(rule).text('\ud800'),
      () => ask.clear().rule(rule).text('{x}:'.repeat(2500)),
    ];
    for (const key of keys) expect(limiter.decide(key(), 0).allowed).toBe(true);
    for (const key of keys) expect(limiter.decide(key(), 0).allowed).toBe(false);
  });

  it('agrees with an exact rational model on verdict, retry time and remaining, over any program', () => {
    const rules = fc.array(
      fc.record({
        // Up to 32 units per shared divisor the ticks are exact.
        limit: fc.oneof(fc.integer({ min: 1, max: 32 }), fc.constantFrom(60, 100, 150, 1000, 30_000)),
        periodMs: fc.constantFrom(1, 1000, 1500, 60_000, 3_600_000, 86_100_000, 2_592_000_000),
        burst: fc.integer({ min: 0, max: 40 }),
      }),
      { minLength: 1, maxLength: 5 },
    );
    const steps = fc.array(
      fc.record({
        advance: fc.oneof(fc.integer({ min: 0, max: 3000 }), fc.integer({ min: 0, max: 4e9 })),
        key: fc.integer({ min: 0, max: 2 }),
        costs: fc.array(fc.integer({ min: 0, max: 50 }), { minLength: 5, maxLength: 5 }),
      }),
      { maxLength: 60 },
    );
    fc.assert(
      fc.property(rules, steps, (given, program) => {
        const limiter = new MemoryLimiter();
        const ask = new Ask();
        const made = given.map((options, i) =>
          bucket(limiter, options.limit, options.periodMs, options.burst, `r${i}`),
        );
        const models = given.map(({ limit, periodMs, burst }) =>
          [0, 1, 2].map(() => new ReferenceBucket(limit, periodMs * 1000, burst)),
        );
        let now = 0;
        for (const { advance, key, costs } of program) {
          now += advance;
          ask.clear();
          for (const [i, rule] of made.entries()) ask.rule(rule, costs[i]).key(key);
          const mine = models.map((keys) => keys[key]!);
          const fits = mine.every((model, i) => model.fits(now, costs[i]!));
          const standings = limiter.inspect(ask, now);
          for (const [i, model] of mine.entries()) {
            expect(standings[i]!.remaining).toBe(model.remaining(now));
            expect(standings[i]!.retryAfter).toBe(model.fits(now, costs[i]!) ? 0 : model.retryAfter(now, costs[i]!));
          }
          const outcome = limiter.decide(ask, now);
          expect(outcome.allowed).toBe(fits);
          if (fits) for (const [i, model] of mine.entries()) model.take(now, costs[i]!);
          else {
            const wait = Math.max(
              ...mine.map((model, i) => (model.fits(now, costs[i]!) ? 0 : model.retryAfter(now, costs[i]!))),
            );
            expect(refused(outcome).retryAfter).toBe(wait === Infinity ? undefined : wait);
          }
        }
      }),
      { numRuns: 150 },
    );
  });

  it('keeps its word on when to come back: refused a microsecond before, admitted then', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 100_000 }),
        fc.constantFrom(1, 250, 1000, 60_000, 86_100_000),
        fc.integer({ min: 0, max: 100 }),
        fc.array(fc.tuple(fc.integer({ min: 0, max: 1e6 }), fc.integer({ min: 1, max: 50 })), { maxLength: 30 }),
        (limit, periodMs, burst, calls) => {
          const limiter = new MemoryLimiter();
          const rule = bucket(limiter, limit, periodMs, burst);
          const ask = new Ask();
          let now = 0;
          for (const [advance, cost] of calls) {
            now += advance;
            const outcome = limiter.decide(ask.clear().rule(rule, cost), now);
            if (outcome.allowed || outcome.retryAfter === undefined) continue;
            const then = now + outcome.retryAfter;
            expect(limiter.check(ask.clear().rule(rule, cost), then - 1).allowed).toBe(false);
            expect(limiter.check(ask, then).allowed).toBe(true);
            now = then;
          }
        },
      ),
      { numRuns: 150 },
    );
  });

  it('never admits more than capacity + rate × window, whatever the numbers', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 900_000 }),
        fc.constantFrom(1000, 60_000),
        fc.integer({ min: 0, max: 20 }),
        fc.integer({ min: 1, max: 300 }),
        (limit, periodMs, burst, step) => {
          const limiter = new MemoryLimiter();
          const rule = bucket(limiter, limit, periodMs, burst);
          const ask = new Ask();
          const cost = Math.max(1, Math.floor(rule.capacity / 7));
          let admitted = 0;
          let now = 0;
          for (let i = 0; i < 400; i++) {
            now += step * 100;
            if (limiter.decide(ask.clear().rule(rule, cost), now).allowed) admitted += cost;
          }
          const back = (BigInt(limit) * BigInt(now)) / BigInt(periodMs * 1000);
          expect(BigInt(admitted)).toBeLessThanOrEqual(BigInt(rule.capacity) + back);
        },
      ),
      { numRuns: 100 },
    );
  });
});

describe('state', () => {
  it('keeps every live key through growth and clean-up', () => {
    const limiter = new MemoryLimiter();
    const rule = bucket(limiter, 1, 3_600_000);
    const ask = new Ask();
    const keys = 40_000;
    for (let key = 0; key < keys; key++)
      expect(limiter.decide(ask.clear().rule(rule).key(key), key).allowed).toBe(true);
    for (let key = 0; key < keys; key++)
      expect(limiter.decide(ask.clear().rule(rule).key(key), keys).allowed).toBe(false);
    expect(limiter.stats().overflows).toBe(0);
  });

  it('wins back the room of keys that are full again', () => {
    verifies('R0-26');
    const limiter = new MemoryLimiter({ maxKeys: 10_000 });
    const rule = bucket(limiter, 1, 1);
    const ask = new Ask();
    for (let key = 0; key < 100_000; key++) {
      expect(limiter.decide(ask.clear().rule(rule).key(key), key * 10).allowed).toBe(true);
    }
    const { bytes, overflows } = limiter.stats();
    expect(overflows).toBe(0);
    expect(bytes).toBeLessThanOrEqual(2 * 16_384 * 16);
  });

  it('never lets a flood of new keys push out or refresh a live one', () => {
    const limiter = new MemoryLimiter({ maxKeys: 1000 });
    const rule = bucket(limiter, 2, 3_600_000);
    const ask = new Ask();
    const mine = () => ask.clear().rule(rule).key(0);
    limiter.decide(mine(), 0);
    limiter.decide(mine(), 0);
    let admitted = 0;
    for (let key = 1; key <= 20_000; key++) {
      if (limiter.decide(ask.clear().rule(rule).key(key), 0).allowed) admitted++;
      if (key % 500 === 0) expect(limiter.decide(mine(), 0).allowed).toBe(false);
    }
    // Beyond the table: at most 2 units in each of 4 × 1024 cells.
    expect(admitted).toBeLessThanOrEqual(2048 + 2 * 4 * 1024);
    expect(limiter.stats().overflows).toBe(admitted + 1 - 1792);
    // The table has not grown: 2048 slots of either width, and what an empty limiter takes besides.
    expect(limiter.stats().bytes).toBe(new MemoryLimiter({ maxKeys: 1000 }).stats().bytes);
    // Room again later: what was counted without a slot does not start afresh.
    const last = () => ask.clear().rule(rule).key(30_000);
    while (limiter.decide(last(), 0).allowed);
    const later = 1_800 * SECOND - 1;
    expect(limiter.check(last(), later).allowed).toBe(false);
    expect(limiter.decide(last(), later + 1).allowed).toBe(true);
  });

  it('keeps what was used when a rule gets other numbers', () => {
    const limiter = new MemoryLimiter();
    const ask = new Ask();
    const hundred = bucket(limiter, 100, 3_600_000, 0, 'rule');
    limiter.decide(ask.clear().rule(hundred, 2).key(1), 0);
    const left = (rule: Rule, now = 0) => limiter.inspect(ask.clear().rule(rule, 0).key(1), now)[0]!.remaining;
    // Source: Gubernator, change of limit: 2 of 100 used, then 10, then 200.
    const options = { algorithm: 'token-bucket', name: 'rule', periodMs: 3_600_000 } as const;
    const ten = limiter.rule({ ...options, limit: 10 }, hundred);
    expect(left(ten)).toBe(8);
    expect(limiter.decide(ask.clear().rule(ten).key(1), 0).allowed).toBe(true);
    expect(left(ten)).toBe(7);
    const more = limiter.rule({ ...options, limit: 200 }, ten);
    expect(left(more)).toBe(197);
    expect(limiter.rule({ ...options, limit: 200 }, more)).toBe(more);
    const unrelated = limiter.inspect(ask.clear().rule(more, 0).key(2), 0)[0]!;
    expect(unrelated.remaining).toBe(200);
    expect(left(more, 3_600 * SECOND)).toBe(200);
  });

  it('writes nothing on a refusal or a check', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 5 }), { maxLength: 20 }), (costs) => {
        const limiter = new MemoryLimiter();
        const small = bucket(limiter, 4, 60_000, 0, 'small');
        const large = bucket(limiter, 1000, 60_000, 0, 'large');
        const ask = new Ask();
        for (const [now, cost] of costs.entries()) {
          const look = () => limiter.inspect(ask.clear().rule(small, 0).rule(large, 0), now).map((s) => s.resetAfter);
          const before = look();
          limiter.check(ask.clear().rule(large, cost).rule(small, cost), now);
          expect(look()).toEqual(before);
          if (!limiter.decide(ask.clear().rule(large, cost).rule(small, cost), now).allowed) {
            expect(look()).toEqual(before);
          }
        }
      }),
      { numRuns: 100 },
    );
  });
});
