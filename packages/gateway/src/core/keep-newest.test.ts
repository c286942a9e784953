import { expect, it } from 'vitest';
import { keepNewest } from './keep-newest.ts';

it('forgets what was added first once there is one too many', () => {
  const kept = new Map<string, number>();
  for (const [n, key] of ['a', 'b', 'c', 'a', 'd'].entries()) {
    kept.set(key, n);
    keepNewest(kept, 3);
  }
  expect([...kept]).toEqual([
    ['b', 1],
    ['c', 2],
    ['d', 4],
  ]);
  const ids = new Set(['x']);
  keepNewest(ids, 1);
  expect(ids.size).toBe(1);
});
