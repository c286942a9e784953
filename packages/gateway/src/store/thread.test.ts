import { waitUntil } from '@tollgate/testkit/wait';
import { describe, expect, it } from 'vitest';
import { silentLog } from '../core/log.ts';
import { StoreThread } from './thread.ts';

const options = { dataDir: '/nonexistent', sql: { kind: 'sqlite', file: 'x' } } as const;
const entry = new URL('./fixtures/thread-entry.ts', import.meta.url);

describe('a thread of the store', () => {
  it('that hangs or dies fails what it was asked in bounded time, and is started again', async () => {
    const errors: object[] = [];
    const log = { ...silentLog, error: (fields: object) => void errors.push(fields) };
    const thread = new StoreThread('sql', options, log, entry);
    expect(await thread.request('echo', [1], 5_000)).toBe(1);
    await expect(thread.request('hang', [], 10)).rejects.toMatchObject({
      code: 'storage_unavailable',
      message: expect.stringContaining('unknown, repeating it is safe'),
    });
    const waiting = thread.request('hang', [], 60_000);
    const killed = thread.request('die', [], 60_000);
    for (const answer of [waiting, killed]) {
      await expect(answer).rejects.toMatchObject({ code: 'storage_unavailable' });
    }
    expect(errors).toEqual([{ thread: 'sql', error: 'out of luck' }]);
    await waitUntil('a new thread', () =>
      thread.request('echo', [2], 5_000).then(
        (value) => value === 2,
        () => false,
      ),
    );
    await expect(thread.request('echo', [() => {}], 5_000)).rejects.toMatchObject({ code: 'internal' });
    await thread.close(10);
    await expect(thread.request('echo', [3], 5_000)).rejects.toMatchObject({ code: 'storage_unavailable' });
  });
});
