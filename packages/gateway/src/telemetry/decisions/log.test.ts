import { createHmac, randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { compileExpression } from '../../core/expression.ts';
import { silentLog } from '../../core/log.ts';
import type { Call } from '../../protocol/call.ts';
import { DEFAULT_SCAN_CAPS, scan } from '../../protocol/json/scan.ts';
import type { DecisionFacts, DecisionPolicy } from './document.ts';
import { DecisionLog } from './log.ts';
import { type DecisionDocument, readRecord, readRecords } from './record.ts';
import { Skeletons } from './skeleton.ts';
import { type DecisionStore, MemoryDecisions, type StoredDecision } from './store.ts';

const KEY = Buffer.alloc(32, 7);
const AT = Date.UTC(2026, 2, 4, 5, 6, 7, 8);

const POLICY: DecisionPolicy = {
  digest: 'c0ffee',
  expressionsOf: () => [],
  priceOf: (id) => (id === undefined ? 'none' : 'fixed'),
};

let nextId = 0;

function facts(more: Partial<DecisionFacts> = {}): DecisionFacts {
  return {
    id: `tg-${nextId++}`,
    at: AT,
    principal: 'keys/ada',
    tenant: 'acme',
    tier: 'gold',
    session: 'session-secret',
    endpoint: '/mcp',
    server: 'math',
    method: 'tools/call',
    object: 'math/render',
    rules: [
      { limit: 'calls', rule: 'calls', key: '00aa', cost: 1, unit: 'requests', shadow: false },
      { limit: 'spend', rule: 'spend', key: '00bb', cost: 5000, unit: 'USD', shadow: false },
    ],
    shadowed: [],
    waited: 0,
    holdId: 'hold-1',
    degraded: undefined,
    refusal: undefined,
    ...more,
  };
}

function refusal(more: Partial<DecisionFacts> = {}): DecisionFacts {
  const calls = {
    limit: { name: 'calls' },
    reason: 'rate_limited',
    cost: 1,
    capacity: 30,
    used: 30,
    held: 0,
    remaining: 0,
    retryAfterSeconds: 2,
    resetAt: AT + 60_000,
  };
  return facts({
    holdId: undefined,
    refusal: {
      reason: 'rate_limited',
      violated: [calls],
      retryAfterSeconds: 2,
      estimated: false,
      because: undefined,
    },
    ...more,
  });
}

function callOf(id: string, args: unknown): Call {
  const body = JSON.stringify({
    jsonrpc: '2.0',
    id: 1,
    method: 'tools/call',
    params: { name: 'render', ...(args === undefined ? {} : { arguments: args }) },
  });
  return {
    decisionId: id,
    principal: { id: 'keys/ada', roles: ['engineer'], clientId: 'cursor' },
    address: '192.0.2.7',
    message: scan(Buffer.from(body), DEFAULT_SCAN_CAPS),
  } as unknown as Call;
}

function decisionLog(store: DecisionStore, policy: Partial<DecisionPolicy> = {}): DecisionLog {
  return new DecisionLog({
    store,
    skeletons: new Skeletons(KEY),
    policy: { ...POLICY, ...policy },
    log: silentLog,
  });
}

async function documentOf(log: DecisionLog, id: string): Promise<DecisionDocument> {
  const stored = await log.get(id);
  const read = readRecord(stored?.json ?? '');
  if (typeof read === 'string') throw new Error(read);
  return read;
}

describe('the record of a decision', () => {
  it('of a refusal says who, what, why, the counters of the rule in the way, and when to repeat', async () => {
    const log = decisionLog(new MemoryDecisions());
    const refused = refusal();
    log.refused(refused);
    expect(await documentOf(log, refused.id)).toEqual({
      v: 1,
      id: refused.id,
      at: '2026-03-04T05:06:07.008Z',
      verdict: 'refused',
      reason: 'rate_limited',
      method: 'tools/call',
      endpoint: '/mcp',
      object: 'math/render',
      server: 'math',
      caller: { id: 'keys/ada', tenant: 'acme', tier: 'gold', session: expect.stringMatching(/^[0-9a-f]{16}$/) },
      rules: [
        {
          name: 'calls',
          key: '00aa',
          unit: 'requests',
          cost: 1,
          capacity: 30,
          usedBefore: 30,
          usedAfter: 30,
          held: 0,
          remaining: 0,
          violated: true,
          reason: 'rate_limited',
          retryAfterSeconds: 2,
          resetAt: '2026-03-04T05:07:07.008Z',
        },
        { name: 'spend', key: '00bb', unit: 'USD', cost: 5000 },
      ],
      retryAfterSeconds: 2,
      cost: { USD: 5000 },
      price: 'fixed',
      configuration: 'c0ffee',
    });
  });

  it('of a refusal has the counters of rules that had room as well', async () => {
    const log = decisionLog(new MemoryDecisions());
    const base = { rule: 'loop/session/requests', key: '00cc', cost: 1, unit: 'requests', shadow: false };
    const refused = refusal({ rules: [{ ...base, limit: 'loop', capacity: 5, used: 2, held: 0, remaining: 3 }] });
    log.refused(refused);
    const { rules } = await documentOf(log, refused.id);
    expect(rules[0]).toEqual({
      name: 'loop',
      rule: 'loop/session/requests',
      key: '00cc',
      unit: 'requests',
      cost: 1,
      capacity: 5,
      usedBefore: 2,
      usedAfter: 2,
      held: 0,
      remaining: 3,
    });
    // A limit that refused without having been asked.
    expect(rules[1]).toMatchObject({ name: 'calls', violated: true, capacity: 30 });
  });

  it('of an admission holds its cost vector and its hold', async () => {
    const log = decisionLog(new MemoryDecisions());
    const admitted = facts({ waited: 1500, shadowed: ['trial'], degraded: 'local' });
    log.admitted(admitted);
    expect(await documentOf(log, admitted.id)).toMatchObject({
      verdict: 'admitted',
      cost: { USD: 5000 },
      hold: { id: 'hold-1', amounts: { USD: 5000 } },
      waitedMs: 1500,
      shadowed: ['trial'],
      degraded: 'local',
    });
  });

  it('holds keys, types, sizes and digests of the arguments, and not one value of them', async () => {
    const store = new MemoryDecisions();
    const log = decisionLog(store);
    const refused = refusal();
    log.refused(refused);
    const args = {
      url: 'https://hunter2.example',
      pages: [101, 102.5],
      deep: { flag: true, none: null, 'alice@example.com': 'x' },
      constructor: 'y',
      big: 'z',
    };
    log.attach(callOf(refused.id, args));
    const { caller, arguments: kept } = await documentOf(log, refused.id);
    expect(caller).toMatchObject({ roles: ['engineer'], client: 'cursor' });
    const digest = expect.stringMatching(/^[0-9a-f]{16}$/);
    expect(kept).toEqual({
      size: JSON.stringify(args).length,
      digest,
      shape: {
        type: 'object',
        size: 5,
        keys: {
          url: { type: 'string', size: 23, digest },
          pages: {
            type: 'array',
            size: 2,
            items: [
              { type: 'integer', size: 3, digest },
              { type: 'number', size: 5, digest },
            ],
          },
          deep: {
            type: 'object',
            size: 3,
            keys: {
              flag: { type: 'boolean' },
              none: { type: 'null' },
              [`#${hmac('key\0alice@example.com')}`]: { type: 'string', size: 1, digest: hmac('string\0x') },
            },
          },
          [`#${hmac('key\0constructor')}`]: { type: 'string', size: 1, digest },
          big: { type: 'string', size: 1, digest },
        },
      },
    });
    const { json } = (await store.get(refused.id))!;
    for (const secret of ['hunter2', 'alice', '101', '102.5', '192.0.2.7', 'session-secret']) {
      expect(json).not.toContain(secret);
    }
  });

  it('holds the value of every expression, also of those that failed, and none where the arguments are unknown', async () => {
    const expressions = [
      compileExpression('size(args.pages) > 1', 'boolean'),
      compileExpression('args.missing * 2', 'integer'),
      compileExpression('"engineer" in caller.roles', 'boolean'),
    ];
    const log = decisionLog(new MemoryDecisions(), { expressionsOf: () => expressions });
    const [shown, hidden, large] = [refusal(), refusal(), refusal()];
    for (const each of [shown, hidden, large]) log.refused(each);
    log.attach(callOf(shown.id, { pages: [1, 2] }));
    log.attach(callOf(large.id, { pages: ['x'.repeat(300_000)] }));
    expect((await documentOf(log, shown.id)).expressions).toEqual({
      'size(args.pages) > 1': true,
      'args.missing * 2': null,
      '"engineer" in caller.roles': true,
    });
    expect((await documentOf(log, hidden.id)).expressions).toBeUndefined();
    expect((await documentOf(log, large.id)).expressions).toEqual({ '"engineer" in caller.roles': true });
  });

  it('is made under the configuration that decided, also when another is applied before it is written', async () => {
    const log = decisionLog(new MemoryDecisions());
    const before = facts();
    log.admitted(before);
    log.policy = { ...POLICY, digest: 'decaf' };
    const after = facts();
    log.admitted(after);
    expect((await documentOf(log, before.id)).configuration).toBe('c0ffee');
    expect((await documentOf(log, after.id)).configuration).toBe('decaf');
  });
});

describe('a skeleton', () => {
  it('has equal digests for equal arguments in any order of keys, and others for others', () => {
    const skeletons = new Skeletons(KEY);
    const json = fc.jsonValue({ maxDepth: 3 });
    fc.assert(
      fc.property(fc.dictionary(fc.string(), json), fc.dictionary(fc.string(), json), (a, b) => {
        const reversed = Object.fromEntries(Object.entries(a).reverse());
        const digest = (value: object) => skeletons.of(JSON.stringify(value))!.digest;
        expect(digest(reversed)).toBe(digest(a));
        const same = JSON.stringify(sorted(a)) === JSON.stringify(sorted(b));
        expect(digest(a) === digest(b)).toBe(same);
      }),
    );
  });

  it('cannot be compared with one under another key', () => {
    const text = '{"a":"b"}';
    expect(new Skeletons(randomBytes(32)).of(text)!.digest).not.toBe(new Skeletons(KEY).of(text)!.digest);
    expect(() => new Skeletons(Buffer.alloc(16))).toThrow(RangeError);
  });

  it('is bounded for arguments of any size and depth', () => {
    const skeletons = new Skeletons(KEY);
    const deep = `{"a":${'['.repeat(60)}${']'.repeat(60)}}`;
    const wide = JSON.stringify(Object.fromEntries(Array.from({ length: 9000 }, (_, i) => [`k${i}`, { v: i }])));
    for (const text of [deep, wide, JSON.stringify({ a: Array(50_000).fill({ b: 1 }) })]) {
      expect(JSON.stringify(skeletons.of(text)).length).toBeLessThan(20_000);
    }
  });
});

describe('writing', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  const turns = async () => {
    for (let i = 0; i < 20; i++) await new Promise(setImmediate);
  };

  it('takes refusals in the next turn, all of one turn together, and admissions every five seconds', async () => {
    const puts: (readonly StoredDecision[])[] = [];
    const store = new MemoryDecisions();
    const log = decisionLog({
      put: (records) => {
        puts.push(records);
        return store.put(records);
      },
      get: (id) => store.get(id),
      list: (query) => store.list(query),
    });
    log.refused(refusal());
    log.refused(refusal());
    log.admitted(facts());
    expect(puts).toEqual([]);
    await turns();
    expect(puts.map((rows) => rows.map((row) => row.verdict))).toEqual([['refused', 'refused']]);
    await vi.advanceTimersByTimeAsync(5000);
    await turns();
    expect(puts.map((rows) => rows.length)).toEqual([2, 1]);
    expect(log.view).toEqual({ waiting: 0, dropped: 0, unrecorded: 0 });
  });

  it('keeps the last 10,000 admissions while they wait, with their own calls', async () => {
    const store = new MemoryDecisions();
    const log = decisionLog(store);
    const all = Array.from({ length: 10_050 }, () => facts());
    for (const each of all) {
      log.admitted(each);
      log.attach(callOf(each.id, { n: 1 }));
    }
    expect(log.view.waiting).toBe(10_000);
    const page = await log.list({ limit: 10_000 });
    expect(page.items).toHaveLength(10_000);
    expect(await log.get(all[49]!.id)).toBeUndefined();
    expect(await documentOf(log, all[50]!.id)).toHaveProperty('arguments');
    expect(await documentOf(log, all.at(-1)!.id)).toHaveProperty('arguments');
  });

  it('reads large arguments of a few calls only: each takes more work than it cost its caller', async () => {
    const log = decisionLog(new MemoryDecisions());
    const keptOf = async (kind: 'admitted' | 'refused', size: number) => {
      const all = Array.from({ length: 30 }, () => (kind === 'admitted' ? facts() : refusal()));
      for (const each of all) {
        log[kind](each);
        log.attach(callOf(each.id, { text: 'x'.repeat(size) }));
      }
      const records = await Promise.all(all.map(({ id }) => documentOf(log, id)));
      return records.filter((record) => record.arguments !== undefined).length;
    };
    expect([await keptOf('refused', 10_000), await keptOf('refused', 100_000)]).toEqual([30, 10]);
    expect([await keptOf('admitted', 10_000), await keptOf('admitted', 100_000)]).toEqual([30, 20]);
  });

  it('loses records rather than memory while the store hangs, and counts them', async () => {
    let release = (): void => undefined;
    const store = new MemoryDecisions();
    const log = decisionLog({
      put: (records) =>
        new Promise((resolve) => {
          release = () => resolve(store.put(records));
        }),
      get: (id) => store.get(id),
      list: (query) => store.list(query),
    });
    log.refused(refusal());
    await turns();
    for (let i = 0; i < 10_100; i++) log.refused(refusal());
    expect(log.view).toEqual({ waiting: 10_000, dropped: 100, unrecorded: 0 });
    release();
  });

  it('tries a failed write once more, then goes on without it', async () => {
    let fails = 1;
    const errors: unknown[] = [];
    const store = new MemoryDecisions();
    const log = new DecisionLog({
      store: {
        put: (records) => (fails-- > 0 ? Promise.reject(new Error('away')) : store.put(records)),
        get: (id) => store.get(id),
        list: (query) => store.list(query),
      },
      skeletons: new Skeletons(KEY),
      policy: POLICY,
      log: { ...silentLog, error: (context) => errors.push(context) },
    });
    const [first, second, third] = [refusal(), refusal(), refusal()];
    log.refused(first);
    await turns();
    await vi.advanceTimersByTimeAsync(1000);
    expect(await log.get(first.id)).toBeDefined();
    fails = 2;
    log.refused(second);
    await turns();
    await vi.advanceTimersByTimeAsync(1000);
    expect(await log.get(second.id)).toBeUndefined();
    expect(log.view.dropped).toBe(1);
    expect(errors).toHaveLength(1);
    log.refused(third);
    expect(await log.get(third.id)).toBeDefined();
  });
});

describe('reading records', () => {
  it('reads what was written, skips what is not a record, and says where', async () => {
    const log = decisionLog(new MemoryDecisions());
    const refused = refusal();
    log.refused(refused);
    const { json } = (await log.get(refused.id))!;
    const text = `${json}\n\n{"v":2,"id":"x"}\nnonsense\n{"v":1,"id":"x"}\n[]\n{"v":1,"more":"${'x'.repeat(1024 * 1024)}"}`;
    const { records, bad } = readRecords(text);
    expect(records.map(({ id }) => id)).toEqual([refused.id]);
    expect(bad).toEqual([
      { line: 3, what: 'the record has version 2, this program reads 1' },
      { line: 4, what: 'the line is not JSON' },
      { line: 5, what: expect.stringMatching(/is not as documented$/) },
      { line: 6, what: 'the line is not a decision record (it has no `v`)' },
      { line: 7, what: 'the line is longer than 1 MiB' },
    ]);
  });

  it.each([
    [{ cost: { USD: -5e300 } }, 'cost.USD'],
    [{ cost: { USD: 1e300 } }, 'cost.USD'],
    [{ cost: { USD: 0.5 } }, 'cost.USD'],
    [{ hold: { id: 'h', amounts: { credits: -1 } } }, 'hold.amounts.credits'],
    [{ rules: [{ name: 'calls', unit: 'requests', cost: -1 }] }, 'rules.0.cost'],
  ])('refuses amounts that nothing can cost: %j', (members, where) => {
    const caller = { id: 'a/b', tier: 'default' };
    const known = { v: 1, id: 'a', at: '2026-01-01T00:00:00Z', verdict: 'admitted', method: 'ping', endpoint: '/mcp' };
    expect(readRecord(JSON.stringify({ ...known, caller, rules: [], ...members }))).toBe(
      `${where} is not as documented`,
    );
  });

  it('keeps members that a later version added', () => {
    const record = {
      v: 1,
      id: 'a',
      at: '2026-01-01T00:00:00Z',
      verdict: 'admitted',
      method: 'tools/call',
      endpoint: '/mcp',
      caller: { id: 'a/b', tier: 'default' },
      rules: [],
      later: true,
    };
    expect(readRecord(JSON.stringify(record))).toMatchObject({ id: 'a' });
  });
});

function hmac(text: string): string {
  return createHmac('sha256', KEY).update(text).digest('hex').slice(0, 16);
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return Object.is(value, -0) ? 0 : value;
  const members = Object.entries(value)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, member]) => [key, sorted(member)]);
  return { members };
}
