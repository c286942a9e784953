import { createFakeClock } from '@tollgate/testkit/fake-clock';
import { describe, expect, it } from 'vitest';
import type { Ledger, UsageQuery, UsageRow } from '../store/storage.ts';
import { LedgerTotals } from './ledger-totals.ts';

/** A ledger of which only the sums are asked. */
class Sums {
  readonly spent = new Map<string, number>();
  asked = 0;
  /** Set: answers wait for it, or fail with it. */
  hindered: Promise<never> | undefined;

  get ledger(): Ledger {
    return { usage: (query: UsageQuery) => this.#usage(query) } as unknown as Ledger;
  }

  async #usage({ principal, groupBy }: UsageQuery): Promise<readonly UsageRow[]> {
    this.asked++;
    await this.hindered;
    return [...this.spent]
      .filter(([id]) => principal === undefined || id === principal)
      .flatMap(([id, settled]) => [
        { group: groupBy === undefined ? {} : { principal: id }, unit: 'USD', calls: 1, settled, open: 1 },
        { group: groupBy === undefined ? {} : { principal: id }, unit: 'credits', calls: 1, settled: 999, open: 0 },
      ]);
  }
}

function totals() {
  const sums = new Sums();
  sums.spent.set('corp/ada', 10).set('corp/eve', 20);
  const clock = createFakeClock();
  return { sums, clock, totals: new LedgerTotals(sums.ledger, clock, () => 'USD') };
}

describe('Sums of the ledger', () => {
  it('are those of one unit, holds included, of one client and of all', async () => {
    const t = totals();
    expect(await t.totals.of('corp/ada')).toBe(11);
    expect(await t.totals.of('nobody')).toBe(0);
    expect(await t.totals.all()).toEqual({ principals: new Set(['corp/ada', 'corp/eve']), total: 32 });
  });

  it('of all are read again only after a while', async () => {
    const t = totals();
    await t.totals.all();
    const asked = t.sums.asked;
    t.sums.spent.set('corp/bob', 1);
    expect((await t.totals.all()).total).toBe(32);
    expect(t.sums.asked).toBe(asked);
    t.clock.advance(5_001);
    expect(await t.totals.all()).toEqual({ principals: new Set(['corp/ada', 'corp/eve']), total: 34 });
    t.clock.advance(600_001);
    expect((await t.totals.all()).principals).toContain('corp/bob');
  });

  it.each([
    ['hangs', () => new Promise<never>(() => undefined)],
    ['is away', () => Promise.reject(new Error('away'))],
  ])('are the last known ones while the ledger %s', async (_name, hinder) => {
    const t = totals();
    await t.totals.of('corp/ada');
    await t.totals.all();
    t.sums.hindered = hinder();
    t.sums.hindered.catch(() => undefined);
    t.clock.advance(5_001);
    expect(await t.totals.of('corp/ada')).toBe(11);
    expect(await t.totals.of('corp/eve')).toBe(0);
    expect((await t.totals.all()).total).toBe(32);
  });

  it('are not asked for again while one that was late is under way, and exact again after it', async () => {
    const t = totals();
    await t.totals.of('corp/ada');
    let answer: () => void = () => undefined;
    t.sums.hindered = new Promise<void>((resolve) => {
      answer = resolve;
    }) as Promise<never>;
    expect(await t.totals.of('corp/ada')).toBe(11);
    const { asked } = t.sums;
    t.sums.spent.set('corp/ada', 50);
    t.clock.advance(5_001);
    expect([await t.totals.of('corp/ada'), await t.totals.of('corp/eve'), (await t.totals.all()).total]).toEqual([
      11, 0, 32,
    ]);
    expect(t.sums.asked).toBe(asked);
    answer();
    await expect.poll(() => t.totals.of('corp/ada')).toBe(51);
  });

  it('are 0 where nothing is kept', async () => {
    const none = new LedgerTotals(undefined, createFakeClock(), () => 'USD');
    expect(await none.of('corp/ada')).toBe(0);
    expect((await none.all()).total).toBe(0);
  });
});
