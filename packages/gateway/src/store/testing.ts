import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { NewEntry, Storage } from './storage.ts';

const T0 = Date.UTC(2026, 0, 1);
const KEY = '00000000000000aa';
const OTHER_KEY = '00000000000000bb';

/** A hold of 100 (and 7 credits) on the rule of the test. */
function hold(id: string, rule: string, more: Partial<NewEntry> = {}): NewEntry {
  return {
    id,
    at: T0,
    principal: 'ci/ci',
    server: 'exa',
    tool: 'exa/search',
    endpoint: '/mcp',
    expiresAt: T0 + 60_000,
    estimate: { USD: 100, credits: 7 },
    postings: [
      { rule, key: KEY, windowStart: T0, unit: 'USD' },
      { rule: `${rule}-credits`, key: KEY, windowStart: T0, unit: 'credits' },
      { rule: `${rule}-total`, key: KEY, windowStart: 0, unit: 'USD' },
    ],
    ...more,
  };
}

export interface OpenedStorage {
  readonly storage: Storage;
  close(): Promise<void>;
}

/** What every storage does, whatever database it is on. `open` makes an empty one. */
export function storageContract(name: string, open: () => Promise<OpenedStorage>): void {
  describe(`the storage contract on ${name}`, () => {
    let opened: OpenedStorage;
    let storage: Storage;
    beforeAll(async () => {
      opened = await open();
      storage = opened.storage;
    });
    afterAll(async () => {
      await opened?.close();
    });
    ledgerContract(() => storage);
    recordsContract(() => storage);
    decisionsContract(() => storage);
  });
}

function ledgerContract(storage: () => Storage): void {
  it('opens a hold once, whatever is repeated', async () => {
    const { ledger } = storage();
    const entry = hold('open-1', 'open', { tenant: 'acme', session: 's', decisionId: 'tg-1' });
    expect(await ledger.open([entry, entry])).toEqual([
      { id: 'open-1', state: 'open', changed: true },
      { id: 'open-1', state: 'open', changed: false },
    ]);
    expect(await ledger.open([{ ...entry, estimate: { USD: 999 } }])).toEqual([
      { id: 'open-1', state: 'open', changed: false },
    ]);
    expect(await ledger.spent({ rule: 'open' })).toEqual({ settled: 0, open: 100, total: 100 });
    expect(await ledger.entry('open-1')).toEqual({
      id: 'open-1',
      at: T0,
      principal: 'ci/ci',
      tenant: 'acme',
      server: 'exa',
      tool: 'exa/search',
      endpoint: '/mcp',
      session: 's',
      decisionId: 'tg-1',
      expiresAt: T0 + 60_000,
      closedAt: undefined,
      state: 'open',
      amounts: [
        { unit: 'USD', estimate: 100, amount: 100, source: 'estimated' },
        { unit: 'credits', estimate: 7, amount: 7, source: 'estimated' },
      ],
      postings: [
        { rule: 'open', key: KEY, windowStart: T0, unit: 'USD', amount: 100 },
        { rule: 'open-credits', key: KEY, windowStart: T0, unit: 'credits', amount: 7 },
        { rule: 'open-total', key: KEY, windowStart: 0, unit: 'USD', amount: 100 },
      ],
    });
    expect(await ledger.entry('nobody')).toBeUndefined();
  });

  it('settles each unit once, above the hold too, and leaves a unit that is not named as it was held', async () => {
    const { ledger } = storage();
    await ledger.open([hold('settle-1', 'settle'), hold('settle-2', 'settle')]);
    const settlement = { id: 'settle-1', at: T0 + 5, amounts: { USD: 250 }, source: 'reported' } as const;
    expect(await ledger.settle([settlement, { ...settlement, amounts: { USD: 1 } }])).toEqual([
      { id: 'settle-1', state: 'settled', changed: true },
      { id: 'settle-1', state: 'settled', changed: false },
    ]);
    expect(await ledger.settle([settlement])).toEqual([{ id: 'settle-1', state: 'settled', changed: false }]);
    expect(await ledger.release([{ id: 'settle-1', at: T0 + 6 }])).toEqual([
      { id: 'settle-1', state: 'settled', changed: false },
    ]);
    expect(await ledger.spent({ rule: 'settle' })).toEqual({ settled: 250, open: 100, total: 350 });
    expect(await ledger.spent({ rule: 'settle-credits' })).toEqual({ settled: 7, open: 7, total: 14 });
    const entry = await ledger.entry('settle-1');
    expect(entry).toMatchObject({ state: 'settled', closedAt: T0 + 5 });
    expect(entry?.amounts).toEqual([
      { unit: 'USD', estimate: 100, amount: 250, source: 'reported' },
      { unit: 'credits', estimate: 7, amount: 7, source: 'reported' },
    ]);
    expect(await ledger.settle([{ id: 'never', at: T0, source: 'fixed' }])).toEqual([
      { id: 'never', state: 'unknown', changed: false },
    ]);
  });

  it('records a unit that only the settlement names', async () => {
    const { ledger } = storage();
    await ledger.open([hold('unit-1', 'unit', { estimate: {}, postings: [] })]);
    await ledger.settle([{ id: 'unit-1', at: T0, amounts: { EUR: 3 }, source: 'reported' }]);
    expect((await ledger.entry('unit-1'))?.amounts).toEqual([
      { unit: 'EUR', estimate: 0, amount: 3, source: 'reported' },
    ]);
  });

  it('gives back what is released, once, and not what has expired', async () => {
    const { ledger } = storage();
    await ledger.open([hold('release-1', 'release'), hold('release-2', 'release')]);
    expect(await ledger.release([{ id: 'release-1', at: T0 + 1 }])).toEqual([
      { id: 'release-1', state: 'released', changed: true },
    ]);
    expect(await ledger.settle([{ id: 'release-1', at: T0 + 2, source: 'fixed' }])).toEqual([
      { id: 'release-1', state: 'released', changed: false },
    ]);
    await ledger.expire([{ id: 'release-2', at: T0 + 3 }]);
    expect(await ledger.release([{ id: 'release-2', at: T0 + 4 }])).toEqual([
      { id: 'release-2', state: 'expired', changed: false },
    ]);
    expect(await ledger.spent({ rule: 'release' })).toEqual({ settled: 100, open: 0, total: 100 });
  });

  it('assumes of an expired hold what it is told, until a late settlement says better, once', async () => {
    const { ledger } = storage();
    await ledger.open([hold('expire-1', 'expire'), hold('expire-2', 'expire'), hold('expire-3', 'expire')]);
    expect(
      await ledger.expire([
        { id: 'expire-1', at: T0 + 1 },
        { id: 'expire-2', at: T0 + 1, assume: 'free' },
      ]),
    ).toEqual([
      { id: 'expire-1', state: 'expired', changed: true },
      { id: 'expire-2', state: 'expired', changed: true },
    ]);
    expect(await ledger.spent({ rule: 'expire' })).toEqual({ settled: 100, open: 100, total: 200 });
    expect((await ledger.entry('expire-1'))?.amounts[0]).toMatchObject({ amount: 100, source: 'expired' });
    const late = [
      { id: 'expire-1', at: T0 + 9, amounts: { USD: 30 }, source: 'reported' },
      { id: 'expire-2', at: T0 + 9, source: 'fixed' },
    ] as const;
    expect(await ledger.settle(late)).toEqual([
      { id: 'expire-1', state: 'settled', changed: true },
      { id: 'expire-2', state: 'settled', changed: true },
    ]);
    expect((await ledger.settle(late)).map((result) => result.changed)).toEqual([false, false]);
    expect(await ledger.spent({ rule: 'expire' })).toEqual({ settled: 130, open: 100, total: 230 });
    expect(await ledger.expire([{ id: 'expire-1', at: T0 + 10 }])).toEqual([
      { id: 'expire-1', state: 'settled', changed: false },
    ]);
  });

  it('lists open holds in parts and renews them', async () => {
    const { ledger } = storage();
    const ids = ['held-1', 'held-2', 'held-3'];
    await ledger.open(ids.map((id) => hold(id, 'held')));
    await ledger.release([{ id: 'held-2', at: T0 }]);
    expect(
      await ledger.renew([
        { id: 'held-1', expiresAt: T0 + 99 },
        { id: 'held-2', expiresAt: T0 + 99 },
      ]),
    ).toEqual([
      { id: 'held-1', state: 'open', changed: true },
      { id: 'held-2', state: 'released', changed: false },
    ]);
    const found: string[] = [];
    let after: string | undefined;
    do {
      const part = await ledger.openHolds({ limit: 1, ...(after === undefined ? {} : { after }) });
      expect(part.items).toHaveLength(1);
      const [entry] = part.items;
      if (entry!.id === 'held-1') expect(entry).toMatchObject({ expiresAt: T0 + 99, state: 'open' });
      if (entry!.id.startsWith('held')) expect(entry!.postings).toHaveLength(3);
      found.push(entry!.id);
      after = part.next;
    } while (after !== undefined);
    expect(found.filter((id) => id.startsWith('held'))).toEqual(['held-1', 'held-3']);
  });

  it('knows every counter, so that they can be rebuilt', async () => {
    const { ledger } = storage();
    const at = (key: string, windowStart: number) => [{ rule: 'count', key, windowStart, unit: 'USD' }];
    const money = { estimate: { USD: 10 } };
    await ledger.open([
      hold('count-1', '', { ...money, postings: at(KEY, T0) }),
      hold('count-2', '', { ...money, postings: at(KEY, T0) }),
      hold('count-3', '', { ...money, postings: at(OTHER_KEY, T0) }),
      hold('count-4', '', { ...money, postings: at(KEY, T0 + 1000) }),
    ]);
    await ledger.settle([{ id: 'count-1', at: T0, amounts: { USD: 4 }, source: 'reported' }]);
    const counter = (key: string, windowStart: number, settled: number, open: number) => ({
      rule: 'count',
      key,
      windowStart,
      unit: 'USD',
      settled,
      open,
      total: settled + open,
    });
    const all = [counter(KEY, T0, 4, 10), counter(KEY, T0 + 1000, 0, 10), counter(OTHER_KEY, T0, 0, 10)];
    expect(await ledger.counters({ rule: 'count' })).toEqual({ items: all, next: undefined });
    const first = await ledger.counters({ rule: 'count', limit: 2 });
    const second = await ledger.counters({ rule: 'count', limit: 2, after: first.next! });
    expect([...first.items, ...second.items]).toEqual(all);
    expect((await ledger.counters({ rule: 'count', from: T0 + 1000 })).items).toEqual([all[1]]);
    expect(await ledger.spent({ rule: 'count', key: KEY, windowStart: T0, unit: 'USD' })).toMatchObject({ total: 14 });
  });

  it('reports usage by whom, what and day', async () => {
    const { ledger } = storage();
    const day = 86_400_000;
    const entry = (id: string, at: number, principal: string, tool: string) =>
      hold(id, 'usage', { at, principal, tool, tenant: 'usage', postings: [] });
    await ledger.open([
      entry('usage-1', T0, 'a/1', 'exa/search'),
      entry('usage-2', T0 + day, 'a/1', 'exa/fetch'),
      entry('usage-3', T0 + day, 'a/2', 'exa/search'),
      entry('usage-4', T0 + 5 * day, 'a/2', 'exa/search'),
    ]);
    await ledger.settle([{ id: 'usage-1', at: T0 + 1, amounts: { USD: 60, credits: 0 }, source: 'fixed' }]);
    const all = { from: T0, to: T0 + 2 * day, tenant: 'usage' };
    expect(await ledger.usage(all)).toEqual([
      { group: {}, unit: 'USD', calls: 3, settled: 60, open: 200 },
      { group: {}, unit: 'credits', calls: 3, settled: 0, open: 14 },
    ]);
    const byDay = await ledger.usage({ ...all, groupBy: ['principal', 'day'] });
    expect(byDay.filter((row) => row.unit === 'USD')).toEqual([
      { group: { principal: 'a/1', day: T0 }, unit: 'USD', calls: 1, settled: 60, open: 0 },
      { group: { principal: 'a/1', day: T0 + day }, unit: 'USD', calls: 1, settled: 0, open: 100 },
      { group: { principal: 'a/2', day: T0 + day }, unit: 'USD', calls: 1, settled: 0, open: 100 },
    ]);
    expect(await ledger.usage({ ...all, tool: 'exa/fetch', principal: 'a/2' })).toEqual([]);
  });

  it('forgets old entries, but neither open ones nor the sums of windows without end', async () => {
    const { ledger } = storage();
    const old = { at: T0 - 1_000_000 };
    await ledger.open([hold('prune-1', 'prune', old), hold('prune-2', 'prune', old), hold('prune-3', 'prune')]);
    await ledger.settle([
      { id: 'prune-1', at: T0, source: 'fixed' },
      { id: 'prune-3', at: T0, source: 'fixed' },
    ]);
    expect(await ledger.prune(T0)).toBe(1);
    expect(await ledger.prune(T0)).toBe(0);
    expect(await ledger.entry('prune-1')).toBeUndefined();
    expect((await ledger.entry('prune-2'))?.state).toBe('open');
    expect(await ledger.spent({ rule: 'prune' })).toEqual({ settled: 100, open: 100, total: 200 });
    expect(await ledger.spent({ rule: 'prune-total' })).toEqual({ settled: 200, open: 100, total: 300 });
    expect((await ledger.counters({ rule: 'prune-total' })).items).toEqual([
      { rule: 'prune-total', key: KEY, windowStart: 0, unit: 'USD', settled: 200, open: 100, total: 300 },
    ]);
  });

  it('keeps amounts to ±2^53 exactly, stops sums there, and refuses what it cannot keep', async () => {
    const { ledger } = storage();
    const most = Number.MAX_SAFE_INTEGER;
    await ledger.open([
      hold('exact-1', 'exact', { estimate: { USD: most } }),
      hold('exact-2', 'exact', { estimate: { USD: most } }),
    ]);
    expect((await ledger.entry('exact-1'))?.amounts).toMatchObject([{ estimate: most }]);
    expect(await ledger.spent({ rule: 'exact' })).toEqual({ settled: 0, open: most, total: most });
    for (const USD of [1.5, Number.NaN, Number.POSITIVE_INFINITY, most + 1, -1]) {
      await expect(ledger.open([hold('exact-3', 'exact', { estimate: { USD } })])).rejects.toMatchObject({
        code: 'invalid_params',
      });
    }
    expect(await ledger.entry('exact-3')).toBeUndefined();
  });

  it('does not let one bad write take the others with it', async () => {
    const { ledger } = storage();
    const written = await Promise.allSettled([
      ledger.open([hold('group-1', 'group')]),
      ledger.open([hold('group-2', 'group', { estimate: { USD: -5 } })]),
      ledger.open([hold('group-3', 'group')]),
      ledger.settle([{ id: 'group-1', at: T0, source: 'fixed' }]),
    ]);
    expect(written.map((result) => result.status)).toEqual(['fulfilled', 'rejected', 'fulfilled', 'fulfilled']);
    expect(await ledger.spent({ rule: 'group' })).toEqual({ settled: 100, open: 100, total: 200 });
  });

  it('keeps a thousand concurrent lives of holds apart', async () => {
    const { ledger } = storage();
    const count = process.env['TOLLGATE_PROOF'] === 'full' ? 5000 : 600;
    const answers = await Promise.all(
      Array.from({ length: count }, async (_, i) => {
        const id = `many-${i}`;
        const opened = ledger.open([hold(id, 'many')]);
        const ended =
          i % 3 === 0
            ? ledger.settle([{ id, at: T0, amounts: { USD: i }, source: 'reported' }])
            : i % 3 === 1
              ? ledger.release([{ id, at: T0 }])
              : ledger.expire([{ id, at: T0 }]);
        return [(await opened)[0]!.changed, (await ended)[0]!.changed];
      }),
    );
    expect(answers.every(([opened, ended]) => opened && ended)).toBe(true);
    const settled = Array.from({ length: count }, (_, i) => (i % 3 === 0 ? i : i % 3 === 1 ? 0 : 100));
    expect(await ledger.spent({ rule: 'many' })).toMatchObject({ settled: settled.reduce((a, b) => a + b), open: 0 });
  });

  it('keeps callers apart whose ids a database would confuse', async () => {
    const { ledger, tiers } = storage();
    const long = 'x'.repeat(10_000);
    const ids = [
      'a\0b',
      'a',
      'ab',
      '\ud800',
      '\udfff',
      '\ufffd',
      '\u0001"a"',
      '{}:\'";--',
      long,
      `${long}y`,
      'İ',
      'i',
      '',
    ];
    await ledger.open(ids.map((id, i) => hold(`text-${i}`, 'text', { principal: id, postings: [] })));
    await Promise.all(ids.map((id, i) => tiers.setTier(id, `tier-${i}`, 'ops', T0)));
    expect(await Promise.all(ids.map(async (id) => (await tiers.tier(id))?.tier))).toEqual(
      ids.map((_, i) => `tier-${i}`),
    );
    for (const [i, id] of ids.entries()) {
      expect(await ledger.usage({ principal: id, from: T0, to: T0 + 1 })).toMatchObject([{ calls: 1 }, { calls: 1 }]);
      if (id.length < 1000) expect((await ledger.entry(`text-${i}`))?.principal).toBe(id);
    }
  });
}

function recordsContract(storage: () => Storage): void {
  it('keeps the latest tier of a caller and lists all in parts', async () => {
    const { tiers } = storage();
    expect(await tiers.tier('tier/none')).toBeUndefined();
    await tiers.setTier('tier/1', 'premium', 'ops', T0 + 2);
    // A repeat of an earlier change must not undo the later one.
    await tiers.setTier('tier/1', 'basic', 'ops', T0 + 1);
    await tiers.setTier('tier/2', 'basic', 'ops', T0);
    expect(await tiers.tier('tier/1')).toEqual({ principal: 'tier/1', tier: 'premium', by: 'ops', at: T0 + 2 });
    const seen: string[] = [];
    for (let after: string | undefined; ; ) {
      const part = await tiers.allTiers({ limit: 2, ...(after === undefined ? {} : { after }) });
      seen.push(...part.items.map((item) => item.principal));
      after = part.next;
      if (after === undefined) break;
    }
    expect(seen.filter((principal) => principal.startsWith('tier/'))).toEqual(['tier/1', 'tier/2']);
    await expect(tiers.allTiers({ after: 'made up' })).rejects.toMatchObject({ code: 'invalid_params' });
  });

  it('knows which grants are in force', async () => {
    const { grants } = storage();
    const grant = {
      id: 'g1',
      rule: 'spend',
      principal: 'ci/ci',
      amount: 5,
      unit: 'USD',
      until: T0 + 100,
      reason: 'launch',
      by: 'ops',
      at: T0,
    };
    expect([await grants.add(grant), await grants.add({ ...grant, amount: 500 })]).toEqual([true, false]);
    await grants.add({ ...grant, id: 'g2', key: KEY, until: T0 + 50 });
    expect(await grants.active(T0)).toEqual([
      { ...grant, key: undefined },
      { ...grant, id: 'g2', key: KEY, until: T0 + 50 },
    ]);
    expect((await grants.active(T0 + 50)).map((item) => item.id)).toEqual(['g1']);
    expect(await grants.active(T0 - 1)).toEqual([]);
    expect([await grants.revoke('g1', 'ops', T0 + 60), await grants.revoke('g1', 'ops', T0 + 61)]).toEqual([
      true,
      false,
    ]);
    expect(await grants.active(T0 + 60)).toEqual([]);
  });

  it('keeps stops until they are over or lifted', async () => {
    const { stops } = storage();
    const stop = { id: 's1', scope: 'everything', reason: 'incident', by: 'ops', at: T0 } as const;
    expect([await stops.add(stop), await stops.add(stop)]).toEqual([true, false]);
    await stops.add({ ...stop, id: 's2', scope: 'rule:spend', key: KEY, until: T0 + 10 });
    expect((await stops.active(T0)).map(({ id, scope, key, until }) => ({ id, scope, key, until }))).toEqual([
      { id: 's1', scope: 'everything', key: undefined, until: undefined },
      { id: 's2', scope: 'rule:spend', key: KEY, until: T0 + 10 },
    ]);
    expect((await stops.active(T0 + 10)).map((item) => item.id)).toEqual(['s1']);
    expect([await stops.lift('s1', 'ops', T0 + 20), await stops.lift('s1', 'eve', T0 + 21)]).toEqual([true, false]);
    expect(await stops.active(T0 + 20)).toEqual([]);
    await expect(stops.add({ ...stop, id: 's3', scope: 'nothing' as 'everything' })).rejects.toMatchObject({
      code: 'invalid_params',
    });
  });

  it('gives all who ask at once the same setting', async () => {
    const { settings } = storage();
    expect(await settings.get('seed')).toBeUndefined();
    const values = await Promise.all(['a', 'b', 'c'].map((value) => settings.once('seed', value)));
    expect(new Set(values).size).toBe(1);
    await settings.set('seed', 'z');
    expect([await settings.once('seed', 'a'), await settings.get('seed')]).toEqual(['z', 'z']);
    await settings.remove('seed');
    expect(await settings.get('seed')).toBeUndefined();
    const id = await settings.ledgerId();
    expect([id.length, await settings.ledgerId()]).toEqual([26, id]);
    await expect(settings.set('schema_version', '1')).rejects.toMatchObject({ code: 'invalid_params' });
  });

  it('appends actions and lists the latest first', async () => {
    const { actions } = storage();
    for (let i = 0; i < 5; i++) {
      await actions.append({ id: `a${i}`, at: T0 + i, by: 'ops', action: 'grant', details: JSON.stringify({ i }) });
    }
    const again = { id: 'a1', at: T0, by: 'eve', action: 'reset', details: '{}' };
    expect(await actions.append(again)).toBe(false);
    const first = await actions.list({ limit: 3 });
    const second = await actions.list({ limit: 3, after: first.next! });
    expect([...first.items, ...second.items].map((item) => item.details)).toEqual(
      [4, 3, 2, 1, 0].map((i) => `{"i":${i}}`),
    );
    expect((await actions.list({ from: T0 + 1, to: T0 + 3 })).items.map((item) => item.id)).toEqual(['a2', 'a1']);
  });
}

function decisionsContract(storage: () => Storage): void {
  it('keeps decisions, lists the latest first, and of admissions only the last', async () => {
    const { decisions } = storage();
    const record = (i: number, verdict: 'admitted' | 'refused') => ({
      id: `${verdict}-${i}`,
      at: T0 + i,
      verdict,
      principal: `p/${i % 2}`,
      tool: 'exa/search',
      method: 'tools/call',
      reason: verdict === 'refused' ? 'rate_limited' : '',
      json: JSON.stringify({ i, text: '\0\ud800' }),
    });
    const admissions = Array.from({ length: 1200 }, (_, i) => record(i, 'admitted'));
    const refusals = Array.from({ length: 300 }, (_, i) => record(i, 'refused'));
    expect(await decisions.put([refusals[0]!, refusals[0]!])).toEqual([true, false]);
    expect(await decisions.put(refusals)).toEqual(refusals.map((_, i) => i > 0));
    for (let i = 0; i < 1200; i += 100) await decisions.put(admissions.slice(i, i + 100));
    expect(await decisions.get('refused-7')).toEqual(refusals[7]);
    const kept = (await decisions.list({ verdict: 'admitted', limit: 10_000 })).items;
    expect(kept.length).toBeGreaterThanOrEqual(1000);
    expect(kept.length).toBeLessThanOrEqual(1050 + 100);
    expect(kept[0]).toEqual(admissions.at(-1));
    expect(await decisions.get('admitted-0')).toBeUndefined();
    expect((await decisions.list({ verdict: 'refused', limit: 10_000 })).items).toHaveLength(300);
    const mine = { principal: 'p/1', from: T0 + 10, to: T0 + 20, verdict: 'refused' } as const;
    const first = await decisions.list({ ...mine, limit: 3 });
    const second = await decisions.list({ ...mine, limit: 3, after: first.next! });
    expect([...first.items, ...second.items].map((item) => item.at - T0)).toEqual([19, 17, 15, 13, 11]);
    expect(second.next).toBeUndefined();
  });
}
