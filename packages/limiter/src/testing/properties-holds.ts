import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { RuleOptions } from '../types.ts';
import { DAY, type Given, HOUR, MINUTE, SECOND } from './stand.ts';

interface Entry {
  /** What the ledger has for this call in the end. */
  amount: number;
  state: 'open' | 'closed' | 'expired';
  readonly expiresAt: number;
  readonly expiry: 'spent' | 'free';
  readonly estimate: number;
}

const anyHoldProgram = fc.array(
  fc.record({
    operation: fc.constantFrom('open', 'open', 'open', 'settle', 'settle', 'release', 'again', 'lose'),
    advance: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: MINUTE })),
    estimate: fc.integer({ min: 0, max: 40 }),
    actual: fc.integer({ min: 0, max: 60 }),
    pick: fc.integer({ min: 0, max: 5 }),
    ttl: fc.integer({ min: 1, max: 3 * MINUTE }),
    expiry: fc.constantFrom('spent' as const, 'free' as const),
  }),
  { maxLength: 60 },
);

/** Money: what is held and what is spent, for every way in which a call can end, in any order, any number of times. */
export function holdProperties(given: Given, timeout: number): void {
  const budgets: readonly RuleOptions[] = [
    { algorithm: 'total', name: 'total', limit: 100, settles: true },
    { algorithm: 'fixed-window', name: 'fixed', limit: 150, periodMs: (300 * DAY) / 1000, settles: true },
    { algorithm: 'sliding-window', name: 'sliding', limit: 130, periodMs: (300 * DAY) / 1000, settles: true },
  ];

  describe('holds', () => {
    it(
      'used is spent and held, at most the limit at each admission; in the end nothing is held and spent is the ledger',
      async () => {
        await fc.assert(
          fc.asyncProperty(anyHoldProgram, (program) =>
            given.each(async (stand, unique) => {
              const rules = budgets.map((options) => stand.rule({ ...options, name: `${unique}${options.name}` }));
              const slots = stand.rule({ algorithm: 'concurrency', name: `${unique}slots`, limit: 4 });
              const ledger = new Map<string, Entry>();
              const opened: string[] = [];
              const expire = () => {
                for (const entry of ledger.values()) {
                  if (entry.state !== 'open' || entry.expiresAt > stand.now) continue;
                  entry.state = 'expired';
                  entry.amount = entry.expiry === 'spent' ? entry.estimate : 0;
                }
              };
              const sum = (what: (entry: Entry) => number) =>
                [...ledger.values()].reduce((all, one) => all + what(one), 0);
              for (const [at, step] of program.entries()) {
                await stand.advance(step.advance);
                expire();
                const { operation, estimate, ttl, expiry } = step;
                const mentions = [...rules.map((rule) => ({ rule, cost: estimate })), { rule: slots }];
                const id = opened.at(-1 - step.pick);
                if (operation === 'open') {
                  const hold = `${unique}${at}`;
                  const outcome = await stand.decide(mentions, { hold, ttl, expiry });
                  const used = sum(({ amount }) => amount);
                  const open = sum(({ state }) => (state === 'open' ? 1 : 0));
                  const fits = (estimate === 0 || used + estimate <= 100) && open < 4;
                  expect(outcome.allowed).toBe(fits);
                  if (!outcome.allowed) continue;
                  opened.push(hold);
                  ledger.set(hold, { amount: estimate, state: 'open', expiresAt: stand.now + ttl, expiry, estimate });
                } else if (id !== undefined && operation !== 'lose') {
                  const entry = ledger.get(id)!;
                  if (operation === 'settle') {
                    const { changed } = await stand.settle(id, { requests: step.actual });
                    expect(changed).toBe(entry.state !== 'closed');
                    if (changed) entry.amount = step.actual;
                    entry.state = 'closed';
                  } else if (operation === 'release' && entry.state !== 'expired') {
                    const { changed } = await stand.release(id);
                    expect(changed).toBe(entry.state === 'open');
                    if (changed) entry.amount = 0;
                    entry.state = 'closed';
                  } else if (operation === 'again' && entry.state === 'open') {
                    expect(await stand.decide(mentions, { hold: id, ttl })).toMatchObject({ repeated: true });
                  }
                }
                const used = sum(({ amount }) => amount);
                const held = sum(({ state, amount }) => (state === 'open' ? amount : 0));
                for (const standing of await stand.inspect(rules.map((rule) => ({ rule, cost: 0 })))) {
                  expect([standing.used, standing.held]).toEqual([used, held]);
                }
                expect((await stand.standing(slots)).used).toBe(sum(({ state }) => (state === 'open' ? 1 : 0)));
              }
              await stand.advance(3 * MINUTE);
              expire();
              for (const rule of rules) {
                expect(await stand.standing(rule)).toMatchObject({ used: sum(({ amount }) => amount), held: 0 });
              }
              expect((await stand.standing(slots)).used).toBe(0);
            }),
          ),
          { numRuns: given.runs(100) },
        );
      },
      timeout,
    );

    it(
      'duplicate, late, reordered and lost settlements come to the same ledger',
      async () => {
        const calls = fc.array(
          fc.record({ estimate: fc.integer({ min: 1, max: 20 }), actual: fc.integer({ min: 0, max: 30 }) }),
          {
            minLength: 1,
            maxLength: 8,
          },
        );
        await fc.assert(
          fc.asyncProperty(calls, fc.infiniteStream(fc.nat()), fc.boolean(), (all, random, late) =>
            given.each(async (stand, unique) => {
              const rule = stand.rule({ algorithm: 'total', name: `${unique}money`, limit: 1000, settles: true });
              for (const [i, { estimate }] of all.entries()) {
                await stand.admitted([{ rule, cost: estimate }], { hold: `${unique}${i}`, ttl: HOUR });
              }
              if (late) await stand.advance(HOUR + SECOND);
              // Each message up to three times, in any order; those never sent are lost.
              const messages = all.flatMap((_, i) => Array.from({ length: random.next().value % 4 }, () => i));
              const order = messages.map((i) => [random.next().value, i] as const).sort(([a], [b]) => a - b);
              for (const [, i] of order) await stand.settle(`${unique}${i}`, { requests: all[i]!.actual });
              await stand.advance(2 * HOUR);
              const spent = all.reduce(
                (sum, { estimate, actual }, i) => sum + (messages.includes(i) ? actual : estimate),
                0,
              );
              expect(await stand.standing(rule)).toMatchObject({ used: spent, held: 0 });
            }),
          ),
          { numRuns: given.runs(60) },
        );
      },
      timeout,
    );

    it(
      'calls that interleave in any way never have more slots, nor hold more, than the limits',
      async () => {
        await fc.assert(
          fc.asyncProperty(
            fc.scheduler(),
            fc.array(fc.integer({ min: 0, max: 3 }), { minLength: 2, maxLength: 10 }),
            (s, ends) =>
              given.each(async (stand, unique) => {
                const slots = stand.rule({ algorithm: 'concurrency', name: `${unique}slots`, limit: 3 });
                const money = stand.rule({ algorithm: 'total', name: `${unique}money`, limit: 50, settles: true });
                let running = 0;
                let spent = 0;
                const turn = () => s.schedule(Promise.resolve());
                const call = async (end: number, i: number) => {
                  const hold = `${unique}${i}`;
                  await turn();
                  const ask = [{ rule: slots }, { rule: money, cost: 10 }];
                  if (!(await stand.allows(ask, { hold, ttl: HOUR }))) return;
                  running++;
                  expect(running).toBeLessThanOrEqual(3);
                  await turn();
                  running--;
                  if (end === 0) await stand.release(hold);
                  else {
                    spent += end * 5;
                    await stand.settle(hold, { requests: end * 5 });
                    await turn();
                    expect((await stand.settle(hold, { requests: 7 })).changed).toBe(false);
                  }
                };
                const all = Promise.all(ends.map(call));
                await s.waitFor(all);
                expect(await stand.standing(money)).toMatchObject({ used: spent, held: 0 });
                expect(await stand.standing(slots)).toMatchObject({ used: 0 });
              }),
          ),
          { numRuns: given.runs(40) },
        );
      },
      timeout,
    );
  });
}
