import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Ask } from './ask.ts';
import { Logs, MOST_ENTRIES } from './logs.ts';
import { MemoryLimiter } from './memory.ts';

const SECOND = 1_000_000;
const HOUR = 3600 * SECOND;
const MONEY = { algorithm: 'calendar-window', name: 'money', period: 'day', limit: 100, settles: true } as const;

describe('the limiter in memory, beyond the contract', () => {
  it('tells of each hold that expired, once, a few per decision and all of them in a sweep', () => {
    const told: [string, string][] = [];
    const limiter = new MemoryLimiter({ onExpire: (id, assumed) => told.push([id, assumed]) });
    const rule = limiter.rule({ algorithm: 'concurrency', name: 'slots', limit: 100 });
    const ask = new Ask();
    for (let i = 0; i < 40; i++) {
      limiter.decide(
        ask
          .clear()
          .rule(rule)
          .hold(`call ${i}`, 10 + i, i % 2 === 0 ? 'free' : 'spent'),
        0,
      );
    }
    limiter.settle({ id: 'call 3' }, 1);
    limiter.check(ask.clear().rule(rule, 0), 100);
    expect(told).toHaveLength(16);
    expect(told.slice(0, 4)).toEqual([
      ['call 0', 'free'],
      ['call 1', 'spent'],
      ['call 2', 'free'],
      ['call 4', 'free'],
    ]);
    limiter.sweep(100);
    expect(told).toHaveLength(39);
    expect(limiter.inspect(ask.clear().rule(rule, 0), 100)).toMatchObject([{ used: 0 }]);
    expect(limiter.stats().holds).toBe(0);
  });

  it('takes what a window has used from a ledger, with what open holds cover on top', () => {
    const limiter = new MemoryLimiter({ originMs: Date.UTC(2026, 0, 1) });
    const rule = limiter.rule(MONEY);
    const ask = new Ask();
    limiter.decide(ask.clear().rule(rule, 30).key(1).hold('open', HOUR), 0);
    limiter.assume(ask.clear().change(rule, 50).key(1).change(rule, 7).key(2), 0);
    expect(limiter.inspect(ask.clear().rule(rule, 0).key(1).rule(rule, 0).key(2), 0)).toMatchObject([
      { used: 80, held: 30, resetAfter: 24 * HOUR },
      { used: 7, held: 0 },
    ]);
    limiter.settle({ id: 'open', amounts: { requests: 10 } }, 0);
    expect(limiter.inspect(ask, 0)).toMatchObject([{ used: 60, held: 0 }, { used: 7 }]);
    const bucket = limiter.rule({ algorithm: 'token-bucket', name: 'rate', limit: 1, periodMs: 1 });
    expect(() => limiter.assume(ask.clear().change(bucket, 1), 0)).toThrow(TypeError);
  });

  it('keeps the window of a key when the wall clock is set back, and does not open the one before again', () => {
    const limiter = new MemoryLimiter({ originMs: Date.UTC(2026, 0, 1, 23) });
    const rule = limiter.rule({ algorithm: 'calendar-window', name: 'day', period: 'day', limit: 1 });
    const ask = new Ask();
    const take = (now: number) => limiter.decide(ask.clear().rule(rule), now).allowed;
    expect([take(0), take(HOUR - 1), take(HOUR), take(HOUR)]).toEqual([true, false, true, false]);
    limiter.originMs -= 7_200_000;
    // 22:00 of the first day again, by a corrected clock: the second day's charge still stands.
    expect(take(HOUR)).toBe(false);
    expect(limiter.inspect(ask, HOUR)).toMatchObject([{ used: 1, resetAfter: 26 * HOUR }]);
    expect([take(27 * HOUR - 1), take(27 * HOUR)]).toEqual([false, true]);
  });

  it('forgets the oldest ids of closed holds only when there are many, and old enough', () => {
    const limiter = new MemoryLimiter();
    const rule = limiter.rule({ algorithm: 'total', name: 'all', limit: 1e9 });
    const ask = new Ask();
    const close = (id: string, now: number) => {
      limiter.decide(ask.clear().rule(rule).hold(id, SECOND), now);
      limiter.settle({ id }, now);
    };
    const state = (id: string, now: number) => limiter.settle({ id }, now).state;
    for (let i = 0; i < 140_000; i++) close(`${i}`, 0);
    expect(state('0', 599 * SECOND)).toBe('settled');
    for (let i = 0; i < 10_000; i++) close(`late ${i}`, 601 * SECOND);
    expect([state('0', 601 * SECOND), state('139999', 601 * SECOND)]).toEqual(['unknown', 'settled']);
  });

  it('gives a table back whole that grew, and whose slots moved, while the snapshot was read', () => {
    const limiter = new MemoryLimiter({ persist: true, seed: [1, 2] });
    const rules = [
      limiter.rule({ algorithm: 'token-bucket', name: 'bucket', limit: 2, periodMs: 3_600_000 }),
      limiter.rule({ algorithm: 'fixed-window', name: 'window', limit: 2, periodMs: 3_600_000 }),
      limiter.rule({ algorithm: 'sliding-window', name: 'log', limit: 2, periodMs: 3_600_000 }),
    ];
    const ask = new Ask();
    const add = (subject: MemoryLimiter, key: number) => {
      ask.clear();
      for (const rule of rules) ask.rule(rule).key(key);
      return subject.decide(ask, 0).allowed;
    };
    let key = 0;
    for (; key < 3000; key++) add(limiter, key);
    const pieces: Uint8Array[] = [];
    const changes: Uint8Array[] = [];
    limiter.changes();
    for (const piece of limiter.snapshot(400)) {
      pieces.push(piece);
      for (let i = 0; i < 30; i++) add(limiter, key++);
      changes.push(...[limiter.changes()].filter((piece) => piece !== undefined));
    }
    const again = new MemoryLimiter({ persist: true });
    again.restore([...pieces, ...changes]);
    for (const [i, { options }] of rules.entries()) rules[i] = again.rule(options);
    expect(key).toBeGreaterThan(3300);
    for (let known = 0; known < key; known++) {
      if (!add(again, known) || add(again, known)) throw new Error(`key ${known} has not used one of two`);
    }
  });
});

describe('logs', () => {
  it('keep every charge until it leaves, in order, whatever is added and dropped, and one that merges no shorter', () => {
    const step = fc.record({
      leaves: fc.integer({ min: 1, max: 400 }),
      amount: fc.integer({ min: 1, max: 9 }),
      by: fc.nat(4),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 400 }), (steps) => {
        const logs = new Logs();
        const pointers = [0, 0];
        const models: Map<number, number>[] = [new Map(), new Map()];
        let now = 0;
        for (const [i, { leaves, amount, by }] of steps.entries()) {
          now += by;
          const [which, model] = [i % 2, models[i % 2]!];
          logs.open(pointers[which]!);
          logs.drop(now);
          logs.add(now + leaves, amount);
          pointers[which] = logs.pointer();
          model.set(now + leaves, (model.get(now + leaves) ?? 0) + amount);
          const within = [...model].filter(([at]) => at > now).sort(([a], [b]) => a - b);
          const kept = Array.from({ length: logs.count }, (_, at) => [logs.leaves(at), logs.amount(at)] as const);
          if (logs.merges === 0) expect(kept).toEqual(within);
          expect(kept.length).toBeLessThanOrEqual(MOST_ENTRIES);
          for (const [at] of within) {
            const left = (entries: readonly (readonly [number, number])[]) =>
              entries.reduce((sum, [leave, units]) => sum + (leave > at ? units : 0), 0);
            expect(left(kept)).toBeGreaterThanOrEqual(left(within));
          }
        }
      }),
      { numRuns: process.env['TOLLGATE_PROOF'] === 'full' ? 200 : 20 },
    );
  });
});
