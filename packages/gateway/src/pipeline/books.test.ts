import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { verifies } from '@tollgate/testkit/verifies';
import { waitUntil } from '@tollgate/testkit/wait';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../core/clock.ts';
import { TollgateError } from '../core/errors.ts';
import { silentLog } from '../core/log.ts';
import { openStore, type Store } from '../store/store.ts';
import { Books } from './books.ts';

const HOUR = 3_600_000;
const TARGET = { kind: 'tool', canonicalId: 'math/add', server: 'math' } as const;
let dataDir: string;
let store: Store;
const open: Books[] = [];

beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'tollgate-books-'));
  store = await openStore({ dataDir, sql: { kind: 'sqlite', file: 'x.db' } }, { log: silentLog, clock: systemClock });
});
afterEach(async () => {
  for (const books of open.splice(0)) books.close();
  await store.close();
  await rm(dataDir, { recursive: true });
});

async function books(shared = false, storage: Store | undefined = store): Promise<Books> {
  const made = await Books.open({ clock: systemClock, log: silentLog, storage, shared });
  made.tiers.know(['gold']);
  open.push(made);
  return made;
}

describe('tiers, grants and stops', () => {
  it('are there again after a restart, with a record of who made them', async () => {
    verifies('R0-21');
    const first = await books();
    const now = Date.now();
    await first.setTier('ci/ada', 'gold', 'ci/admin');
    await first.grant({
      rule: 'spend',
      principal: 'ci/ada',
      amount: 5,
      unit: 'USD',
      until: now + HOUR,
      reason: 'r',
      by: 'ci/op',
    });
    await first.stop({ scope: 'server:math', reason: 'incident', by: 'ci/op' });
    first.latched({ id: 'stop-latch', scope: 'rule:cap', reason: 'reached', by: 'gateway', at: now });
    await waitUntil('the latch', async () => (await store.stops.active(Date.now())).length === 2);
    const second = await books();
    expect(second.tiers.of({ id: 'ci/ada', tier: undefined })).toBe('gold');
    expect(second.grants.extra('spend', ['principal'], 'ci/ada', '', now)).toBe(5);
    expect(second.stops.of(TARGET, undefined, now)).toMatchObject({ reason: 'incident' });
    expect(second.stops.latched('cap', '', now)).toMatchObject({ id: 'stop-latch' });
    const actions = (await store.actions.list()).items.map(({ action, by }) => `${action} ${by}`);
    expect(actions.toSorted()).toEqual(['grant ci/op', 'latch gateway', 'stop ci/op', 'tier ci/admin']);
  });

  it('reach the other gateways of a storage', async () => {
    verifies('R0-72');
    const [first, second] = [await books(true), await books(true)];
    const stop = await first.stop({ scope: 'everything', reason: 'stop', by: 'ci/op' });
    await waitUntil('the stop', () => second.stops.any);
    expect(await second.resume(stop.id, 'ci/op')).toBe(true);
    await waitUntil('the end of the stop', () => !first.stops.any);
    await first.setTier('ci/ada', 'gold', 'ci/admin');
    await waitUntil('the tier', () => second.tiers.get('ci/ada') === 'gold');
    expect(first.stale).toBe(false);
  });

  it('reach the other gateways as blocks, too, which tell who has to go', async () => {
    const [first, second] = [await books(true), await books(true)];
    let told = 0;
    second.onBlocked = () => told++;
    const made = await first.block({ who: 'ci/ada', reason: 'incident', by: 'ci/op' });
    await waitUntil('the block', () => second.blocks.any);
    expect([told, second.blocks.list(Date.now())]).toEqual([1, [made]]);
    expect(await second.unblock(made.id, 'ci/op')).toBe(true);
    await waitUntil('the end of the block', () => !first.blocks.any);
    const actions = (await store.actions.list()).items.map(({ action, by }) => `${action} ${by}`);
    expect(actions.toSorted()).toEqual(['block ci/op', 'unblock ci/op']);
  });

  it('refuse a change that cannot be stored, except a stop: that one holds', async () => {
    const made = await books();
    await store.close();
    await expect(made.setTier('ci/ada', 'gold', 'x')).rejects.toSatisfy(TollgateError.is);
    expect(made.tiers.get('ci/ada')).toBeUndefined();
    await expect(made.stop({ scope: 'everything', reason: 'now', by: 'x' })).rejects.toSatisfy(TollgateError.is);
    expect(made.stops.of(TARGET, undefined, Date.now())).toMatchObject({ reason: 'now' });
  });

  it('hold without a gap while the storage is read that does not know them yet', async () => {
    let reads = 0;
    const [reading, stored] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const slow = new Proxy(store, {
      get(target, key) {
        const table = Reflect.get(target, key) as object;
        if (key !== 'tiers') return table;
        const allTiers: Store['tiers']['allTiers'] = async (part) => {
          const page = await target.tiers.allTiers(part);
          if (++reads === 2) {
            reading.resolve();
            await stored.promise;
          }
          return page;
        };
        return { ...table, allTiers };
      },
    });
    const [made, other] = [await books(true, slow), await books(true)];
    const before = await other.stop({ scope: 'server:other', reason: 'incident', by: 'ci/op' });
    await reading.promise;
    const of = { reason: 'incident', by: 'ci/op' };
    await made.stop({ scope: 'server:math', ...of });
    await made.block({ who: 'ci/eve', ...of });
    let missed = false;
    const watched = setInterval(() => {
      missed ||= made.stops.of(TARGET, undefined, Date.now()) === undefined || !made.blocks.any;
    });
    stored.resolve();
    try {
      await waitUntil('what the other one stopped', () =>
        made.stops.list(Date.now()).some(({ id }) => id === before.id),
      );
    } finally {
      clearInterval(watched);
    }
    expect([missed, made.stops.list(Date.now()).length, made.blocks.list(Date.now()).length]).toEqual([false, 2, 1]);
  });

  it('are stored when the storage comes back, unless they were lifted before', async () => {
    let away = true;
    const faulty = new Proxy(store, {
      get(target, key) {
        const table = Reflect.get(target, key) as object;
        if (!away || (key !== 'stops' && key !== 'blocks')) return table;
        const add = () => Promise.reject(new TollgateError('storage_unavailable', 'Storage is not available'));
        return { ...table, add };
      },
    });
    const made = await books(true, faulty);
    const of = { reason: 'incident', by: 'ci/op' };
    const kept = [
      made.stop({ scope: 'server:math', ...of }),
      made.block({ who: 'ci/eve', ...of }),
      made.stop({ scope: 'tool:math/add', ...of }),
      made.block({ who: 'ci/ada', ...of }),
    ];
    for (const one of kept)
      await expect(one).rejects.toThrow('In force at this gateway, but not stored yet: Storage is');
    const lifted = [made.stops.list(0)[1]!.id, made.blocks.list(0)[1]!.id] as const;
    expect([await made.resume(lifted[0], 'ci/op'), await made.unblock(lifted[1], 'ci/op')]).toEqual([true, true]);
    expect([await store.stops.active(0), await store.blocks.active(0)]).toEqual([[], []]);
    away = false;
    await waitUntil('the stop', async () => (await store.stops.active(0)).length > 0);
    await waitUntil('the block', async () => (await store.blocks.active(0)).length > 0);
    const second = await books();
    expect(second.stops.list(0).map(({ scope }) => scope)).toEqual(['server:math']);
    expect(second.blocks.list(0).map(({ who }) => who)).toEqual(['ci/eve']);
    // Another gateway's change makes this one read everything again: what was lifted stays so.
    await second.setTier('ci/ada', 'gold', 'ci/admin');
    await waitUntil('the tier', () => made.tiers.get('ci/ada') === 'gold');
    expect(made.stops.list(0).map(({ scope }) => scope)).toEqual(['server:math']);
    expect(made.blocks.list(0).map(({ who }) => who)).toEqual(['ci/eve']);
  });

  it('never give a tier that the configuration does not know', async () => {
    const made = await books(false, undefined);
    await expect(made.setTier('ci/ada', 'platinum', 'x')).rejects.toMatchObject({ code: 'invalid_params' });
  });
});
