import { MemoryLimiter } from '@tollgate/limiter';
import { createFakeClock } from '@tollgate/testkit/fake-clock';
import { describe, expect, it } from 'vitest';
import { createAdmission } from '../admission/admission.ts';
import type { Verdict } from '../admission/decision.ts';
import { compile } from '../config/compile.ts';
import { loadConfigObject } from '../config/load.ts';
import { Lifetime } from '../core/lifetime.ts';
import { silentLog } from '../core/log.ts';
import { lanesOf, type Principal } from '../core/principal.ts';
import { Call, type Reply } from '../protocol/call.ts';
import { DEFAULT_SCAN_CAPS, scan } from '../protocol/json/scan.ts';
import { DecisionLog } from '../telemetry/decisions/log.ts';
import { type DecisionDocument, readRecord } from '../telemetry/decisions/record.ts';
import { Skeletons } from '../telemetry/decisions/skeleton.ts';
import { MemoryDecisions } from '../telemetry/decisions/store.ts';
import { decisionPolicy } from './decision-policy.ts';

const CONFIG = compile(
  loadConfigObject({
    version: 1,
    dataDir: '/nonexistent',
    servers: { math: { url: 'http://127.0.0.1:1/mcp' } },
    tools: { 'math/render': { price: { each: '0.01 USD', times: 'size(args.pages)' } } },
    limits: {
      calls: { by: 'principal', limit: '2/min' },
      spend: { by: 'principal', limit: '1 USD/day' },
      bulk: { by: 'everyone', limit: '100/h', cost: 'size(args.pages)', when: 'size(args.pages) > 1' },
      quiet: { by: 'principal', limit: '1000/h', disclose: 'none' },
    },
  }).config,
);

const ADA: Principal = {
  id: 'keys/ada',
  person: 'keys/ada',
  key: 1,
  lanes: lanesOf('keys/ada'),
  entry: 'keys',
  subject: 'ada',
  tenant: undefined,
  tier: undefined,
  roles: ['engineer'],
  scopes: undefined,
  clientId: 'cursor',
};

function setUp() {
  const clock = createFakeClock();
  const log = new DecisionLog({
    store: new MemoryDecisions(),
    skeletons: new Skeletons(Buffer.alloc(32)),
    policy: decisionPolicy(CONFIG),
    log: silentLog,
  });
  const admission = createAdmission(CONFIG.admission, {
    clock,
    limiter: new MemoryLimiter({ originMs: clock.wall() }),
    events: { admitted: (record) => log.admitted(record), refused: (record) => log.refused(record) },
  });
  const target = { kind: 'tool', canonicalId: 'math/render', server: 'math', endpoint: '/mcp' } as const;
  const decide = async (args: object): Promise<DecisionDocument> => {
    const params = { name: 'render', arguments: args };
    const body = Buffer.from(JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/call', params }));
    const call = new Call({
      message: scan(body, DEFAULT_SCAN_CAPS),
      era: 'modern',
      version: '2026-07-28',
      endpoint: '/mcp',
      principal: ADA,
      session: undefined,
      transport: 'http',
      lifetime: new Lifetime(),
      reply: {} as Reply,
      paramHeaders: undefined,
      startedAt: clock.monotonic(),
    });
    const verdict: Verdict = await admission.admit(call, target, call.startedAt);
    log.attach(call);
    if (verdict.allowed) admission.finish(call, { executed: 'yes', answer: undefined }, clock.monotonic());
    const read = readRecord((await log.get(call.decisionId!))!.json);
    if (typeof read === 'string') throw new Error(read);
    return read;
  };
  return { decide };
}

describe('the records that admission leaves', () => {
  it('of an admission: every rule with its cost, the hold, the values of all expressions', async () => {
    const { decide } = setUp();
    expect(await decide({ pages: [1, 2, 3] })).toMatchObject({
      verdict: 'admitted',
      method: 'tools/call',
      object: 'math/render',
      caller: { id: 'keys/ada', tier: 'default', roles: ['engineer'], client: 'cursor' },
      rules: [
        { name: 'calls', unit: 'requests', cost: 1 },
        { name: 'spend', unit: 'USD', cost: 30_000 },
        { name: 'bulk', unit: 'requests', cost: 3, hidden: 'numbers' },
        { name: 'quiet', hidden: 'limit' },
      ],
      cost: { USD: 30_000 },
      hold: { amounts: { USD: 30_000 } },
      price: 'computed',
      expressions: { 'size(args.pages)': 3, 'size(args.pages) > 1': true },
    });
  });

  it('of a refusal: where every rule stood, which was in the way, and when to repeat', async () => {
    const { decide } = setUp();
    await decide({ pages: [1] });
    await decide({ pages: [1] });
    const record = await decide({ pages: [1, 2] });
    expect(record).toMatchObject({ verdict: 'refused', reason: 'rate_limited', retryAfterSeconds: 30 });
    expect(record.rules).toMatchObject([
      { name: 'calls', capacity: 2, usedBefore: 2, usedAfter: 2, remaining: 0, violated: true, reason: 'rate_limited' },
      { name: 'spend', cost: 20_000, capacity: 1_000_000, usedBefore: 20_000, remaining: 980_000 },
      { name: 'bulk', cost: 2, capacity: 100, usedBefore: 0 },
      { name: 'quiet', cost: 1, capacity: 1000, usedBefore: 2 },
    ]);
    expect(record.rules.slice(0, 2)).not.toContainEqual(expect.objectContaining({ hidden: expect.anything() }));
    expect(record).not.toHaveProperty('hold');
  });

  it('of a call whose price cannot be worked out: the reason, and the expression that failed', async () => {
    const { decide } = setUp();
    const record = await decide({ other: 'hunter2' });
    expect(record).toMatchObject({
      verdict: 'refused',
      reason: 'expression_failed',
      because: expect.any(String),
      rules: [],
      expressions: { 'size(args.pages)': null, 'size(args.pages) > 1': null },
    });
    expect(JSON.stringify(record)).not.toContain('hunter2');
  });
});

describe('the digest of a policy', () => {
  it('changes with the limits and stays with the same ones', () => {
    const other = { admission: { ...CONFIG.admission, limits: CONFIG.admission.limits.slice(1) } };
    expect(decisionPolicy(CONFIG).digest).toBe(decisionPolicy({ admission: { ...CONFIG.admission } }).digest);
    expect(decisionPolicy(other).digest).not.toBe(decisionPolicy(CONFIG).digest);
    expect(decisionPolicy(undefined).expressionsOf('math/render')).toEqual([]);
  });
});
