import { verifies } from '@tollgate/testkit';
import { createFakeClock } from '@tollgate/testkit/fake-clock';
import { describe, expect, it } from 'vitest';
import type { TierRecord } from './storage.ts';
import { TierCache } from './tier-cache.ts';

function tiersOf(stored: Map<string, string>) {
  const asked: string[] = [];
  let down = false;
  return {
    asked,
    fail: (value: boolean) => {
      down = value;
    },
    tiers: {
      tier: async (principal: string): Promise<TierRecord | undefined> => {
        asked.push(principal);
        if (down) throw new Error('down');
        const tier = stored.get(principal);
        return tier === undefined ? undefined : { principal, tier, by: 'ops', at: 1 };
      },
      setTier: async (principal: string, tier: string) => void stored.set(principal, tier),
      allTiers: async () => ({ items: [], next: undefined }),
    },
  };
}

describe('the cache of tiers', () => {
  it('asks once for many calls of one caller, and again when the answer is old', async () => {
    verifies('R0-28');
    const stored = new Map([['a', 'basic']]);
    const { tiers, asked } = tiersOf(stored);
    const clock = createFakeClock();
    const cache = new TierCache(tiers, clock);
    expect(await Promise.all([cache.tier('a'), cache.tier('a'), cache.tier('none')])).toEqual([
      'basic',
      'basic',
      undefined,
    ]);
    expect([cache.tier('a'), cache.tier('none')]).toEqual(['basic', undefined]);
    expect(asked).toEqual(['a', 'none']);
    stored.set('a', 'premium');
    clock.advance(1_001);
    expect(cache.tier('a')).toBe('basic');
    await Promise.resolve();
    await Promise.resolve();
    expect(cache.tier('a')).toBe('premium');
    expect(asked).toEqual(['a', 'none', 'a']);
  });

  it('shows its own changes at once, also over an answer that was on its way', async () => {
    const { tiers } = tiersOf(new Map([['a', 'basic']]));
    const cache = new TierCache(tiers, createFakeClock());
    const before = cache.tier('a');
    await cache.setTier({ principal: 'a', tier: 'premium', by: 'ops', at: 2 });
    await before;
    expect(cache.tier('a')).toBe('premium');
  });

  it('serves what it knows while the database is away, and fails only for callers it does not know', async () => {
    const { tiers, fail } = tiersOf(new Map([['a', 'basic']]));
    const clock = createFakeClock();
    const cache = new TierCache(tiers, clock);
    await cache.tier('a');
    fail(true);
    clock.advance(60_000);
    expect(cache.tier('a')).toBe('basic');
    await expect(cache.tier('b')).rejects.toThrow('down');
    expect(cache.tier('a')).toBe('basic');
    fail(false);
    expect(await cache.tier('b')).toBeUndefined();
  });

  it('forgets who has not called for longest', async () => {
    const { tiers, asked } = tiersOf(new Map());
    const cache = new TierCache(tiers, createFakeClock(), { size: 2 });
    for (const caller of ['a', 'b', 'a', 'c', 'a', 'b']) await cache.tier(caller);
    expect(asked).toEqual(['a', 'b', 'c', 'b']);
  });
});
