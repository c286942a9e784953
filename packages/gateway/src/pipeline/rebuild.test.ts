import { Ask, MemoryLimiter, type Rule } from '@tollgate/limiter';
import { describe, expect, it } from 'vitest';
import type { Admission } from '../admission/contract.ts';
import type { Ledger } from '../store/storage.ts';
import { compareMoney } from './rebuild.ts';

const TIMES = { wall: 1_000_000, now: 0 };

/** An admission whose ledger says the given sums of the rules' only keys. */
function rig(limiter: MemoryLimiter, says: readonly (readonly [Rule, number])[]) {
  const ask = (rule: Rule, amount: number) => new Ask().change(rule, amount).key(7);
  const restoring = { totals: [], counters: () => ({ windows: says.map(([rule, sum]) => ask(rule, sum)), rates: [] }) };
  const ledger = { counters: async () => ({ items: [], next: undefined }) } as unknown as Ledger;
  return () => compareMoney(ledger, { restoring } as unknown as Admission, limiter, TIMES);
}

describe('ledger and counters', () => {
  it('are compared counter by counter, and only what is too low is raised', async () => {
    const limiter = new MemoryLimiter();
    const day = limiter.rule({ algorithm: 'calendar-window', name: 'day', limit: 1000, period: 'day' });
    const total = limiter.rule({ algorithm: 'total', name: 'total', limit: 1000 });
    const hour = limiter.rule({ algorithm: 'fixed-window', name: 'hour', limit: 1000, periodMs: 3_600_000 });
    for (const rule of [day, total, hour]) limiter.decide(new Ask().rule(rule, 100).key(7), 0);
    const compare = rig(limiter, [
      [day, 130],
      [total, 60],
      // Of other windows the ledger knows only parts: they tell nothing.
      [hour, 999],
    ]);
    const { drift, missing } = await compare();
    expect(drift).toBe(30 + 40);
    for (const raise of missing) limiter.adjust(raise, 0);
    const used = (rule: Rule) => limiter.inspect(new Ask().rule(rule).key(7), 0)[0]!.used;
    expect([used(day), used(total), used(hour)]).toEqual([130, 100, 100]);
    expect(await compare()).toEqual({ drift: 40, missing: [] });
  });
});
