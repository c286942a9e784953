import { afterEach, describe, expect, it, vi } from 'vitest';
import { MemoryRecords } from './memory-records.ts';
import { MAX_SIGN_INS } from './options.ts';
import { covers } from './parameters.ts';
import { startBridge } from './testing.ts';
import { digestOf } from './tokens.ts';

const item = (name: string, kind: 'state' | 'refresh', at = 0) =>
  ({ digest: digestOf(name), kind, sealed: '', at, expiresAt: at + 1000 }) as const;

afterEach(() => {
  vi.useRealTimers();
});

describe('what strangers can begin without end', () => {
  it('pushes out what strangers began, never the tokens of who is signed in', async () => {
    const records = new MemoryRecords();
    await records.put(item('token', 'refresh'), MAX_SIGN_INS);
    // Each was answered by its browser, so that it does not wait any more.
    const items = Array.from({ length: 100_001 }, (_, n) => item(`${n}`, 'state'));
    await records.use({ digest: digestOf('token'), by: 'same', at: 0, items });
    expect(await records.find(digestOf('token'), 'refresh')).toBeDefined();
    expect(await records.find(digestOf('0'), 'state')).toBeUndefined();
    expect(await records.find(digestOf('100000'), 'state')).toBeDefined();
  });

  it('is deleted as fast as it comes: again and again until nothing is left', async () => {
    vi.useFakeTimers({ toFake: ['setInterval'] });
    await using at = await startBridge([]);
    const left = [5000, 5000, 12, 0];
    const prune = vi.spyOn(at.records, 'prune').mockImplementation(async () => left.shift() ?? 0);
    vi.advanceTimersByTime(10 * 60_000);
    await expect.poll(() => left).toEqual([]);
    expect(prune).toHaveBeenCalledTimes(4);
  });
});

describe('a granted scope', () => {
  it.each([
    [['admin:*'], 'admin:run', true],
    [['*'], 'anything', true],
    [['read'], 'read', true],
    [['adm*'], 'admin', false],
    [['admin:*'], 'administrator', false],
    [['read'], 'read:*', false],
  ])('%j covers %s: %s, as when a call is judged', (granted, scope, covered) => {
    expect(covers(granted, scope)).toBe(covered);
  });
});
