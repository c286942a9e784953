import { verifies } from '@tollgate/testkit/verifies';
import { describe, expect, it } from 'vitest';
import type { OpenedHold, SettledHold } from './events.ts';
import type { Question } from './external.ts';
import { StopBook } from './stops.ts';
import {
  ADA,
  atOnce,
  budget,
  call,
  limit,
  perCall,
  price,
  Rig,
  type RigOptions,
  rate,
  START,
  toolTarget,
  usd,
} from './testing.ts';
import { TierBook } from './tiers.ts';

const SUBJECT = { principal: ADA.id };
const CALL: Question = { subject: SUBJECT, method: 'tools/call' };

describe('questions of other systems', () => {
  it('peeks without a trace, and consumes from the counters of calls', async () => {
    verifies('R0-33');
    const records: string[] = [];
    const events = { refused: ({ id }: { id: string }) => records.push(id) };
    const rig = new Rig({ limits: [limit('calls', rate(2)), limit('spend', budget(10))], deps: { events } });
    const { external } = rig.admission;
    const costly: Question = { ...CALL, estimate: usd(6) };
    for (let i = 0; i < 5; i++)
      expect(await external.peek(costly, 0)).toMatchObject({ allowed: true, decision: undefined });
    expect(await external.consume(costly, 0)).toMatchObject({ allowed: true, tier: 'default', cost: { USD: 6e6 } });
    const refused = await external.consume(costly, 0);
    expect(refused).toMatchObject({ allowed: false, decision: { reason: 'daily_cost_exceeded', money: true } });
    expect(refused.limits).toMatchObject([
      { limit: 'calls', capacity: 2, used: 1, remaining: 1 },
      { limit: 'spend', capacity: 10e6, used: 6e6, held: 0, remaining: 4e6, cost: 6e6 },
    ]);
    expect(rig.run(call())).toBeUndefined();
    expect(await external.peek(CALL, 0)).toMatchObject({ allowed: false, decision: { reason: 'rate_limited' } });
    // Only what was refused is a record, not what was merely asked.
    expect(records).toEqual([refused.decisionId]);
  });

  it('takes the estimate before the price of a tool, and the price where there is none', async () => {
    const rig = new Rig({
      limits: [limit('each', perCall(5)), limit('spend', budget(100))],
      prices: { 'math/add': price({ each: usd(3) }) },
    });
    const { external } = rig.admission;
    const priced: Question = { ...CALL, tool: 'math/add' };
    expect(await external.consume(priced, 0)).toMatchObject({ cost: { USD: 3e6 } });
    expect(await external.consume({ ...priced, estimate: usd(5) }, 0)).toMatchObject({
      allowed: true,
      cost: { USD: 5e6 },
    });
    expect(await external.consume({ ...priced, estimate: usd(5.000001) }, 0)).toMatchObject({
      allowed: false,
      decision: { reason: 'per_request_cost_exceeded' },
    });
    expect((await external.peek(priced, 0)).limits.find(({ limit: name }) => name === 'spend')!.used).toBe(8e6);
  });

  it('knows methods, names of operations, and takes everything else for unknown', async () => {
    const rig = new Rig({
      limits: [
        limit('init', rate(1), { on: ['initialize', 'server/initialize'] }),
        limit('unknown', rate(1), { on: ['unknown'] }),
      ],
    });
    const { external } = rig.admission;
    const names = async (method: string) =>
      (await external.peek({ subject: SUBJECT, method }, 0)).limits.map((one) => one.limit);
    expect(await names('server/initialize')).toEqual(['init']);
    expect(await names('post /api/whatever')).toEqual(['unknown']);
    expect(await names('tools/list')).toEqual([]);
  });

  it('honours a tier that is asked for, for this question only', async () => {
    verifies('C-05');
    const tiers = new TierBook();
    const rows = new Map([
      ['default', rate(1)],
      ['gold', rate(3)],
    ]);
    const options: RigOptions = {
      tiers: ['default', 'gold'],
      limits: [limit('calls', undefined, { rows, algorithm: 'fixed-window' })],
    };
    const rig = new Rig({ ...options, deps: { tiers } });
    const { external } = rig.admission;
    expect((await external.peek({ ...CALL, tier: 'gold' }, 0)).limits[0]!.capacity).toBe(3);
    expect(await external.peek({ ...CALL, subject: { ...SUBJECT, tier: 'gold' } }, 0)).toMatchObject({ tier: 'gold' });
    expect(await external.peek({ ...CALL, tier: 'platinum' }, 0)).toMatchObject({ tier: 'default' });
    expect((await external.peek(CALL, 0)).limits[0]!.capacity).toBe(1);
  });

  it('is stopped like calls are', async () => {
    const stops = new StopBook();
    const rig = new Rig({ deps: { stops } });
    stops.add({ id: 's', scope: 'everything', reason: 'incident', by: 'ops', at: START });
    expect(await rig.admission.external.consume(CALL, 0)).toMatchObject({ decision: { reason: 'stopped' } });
  });
});

describe('holds of other systems', () => {
  function ledger() {
    const opened: OpenedHold[] = [];
    const settled: SettledHold[] = [];
    const released: string[] = [];
    return {
      opened,
      settled,
      released,
      events: {
        opened: (hold: OpenedHold) => opened.push(hold),
        settled: (hold: SettledHold) => settled.push(hold),
        released: ({ id }: { id: string }) => released.push(id),
      },
    };
  }

  it('reserves under their own id once, and settles once', async () => {
    const heard = ledger();
    const rig = new Rig({
      limits: [limit('spend', budget(10)), limit('busy', atOnce(1))],
      deps: { events: heard.events },
    });
    const { external } = rig.admission;
    const question: Question = { ...CALL, estimate: usd(4) };
    const used = async () => (await external.peek(question, 0)).limits[0]!.used;
    for (let i = 0; i < 3; i++)
      expect(await external.reserve(question, 'job-1', 60_000, 0)).toMatchObject({ allowed: true });
    expect(await used()).toBe(4e6);
    // The same id of another principal is another hold.
    const other = { principal: 'test/other' };
    expect(await external.settle(other, 'job-1', [], 0)).toEqual({ state: 'unknown', changed: false });
    expect(await external.settle(SUBJECT, 'job-1', [usd(7)], 0)).toEqual({ state: 'settled', changed: true });
    expect(await external.settle(SUBJECT, 'job-1', [usd(9)], 0)).toEqual({ state: 'settled', changed: false });
    expect(await used()).toBe(7e6);
    const ends = heard.settled.filter(({ id }) => id === heard.opened[0]!.id);
    expect(ends).toMatchObject([{ amounts: { USD: 7e6 }, source: 'reported' }]);
  });

  it('ends holds that no limit counts in the ledger', async () => {
    const heard = ledger();
    const { external } = new Rig({ deps: { events: heard.events } }).admission;
    await external.reserve({ ...CALL, estimate: usd(4) }, 'a', 60_000, 0);
    await external.reserve({ ...CALL, estimate: usd(4) }, 'b', 60_000, 0);
    await external.settle(SUBJECT, 'a', [usd(3)], 0);
    await external.release(SUBJECT, 'b', 0);
    expect(heard.opened.map(({ id }) => id)).toEqual([heard.settled[0]!.id, heard.released[0]]);
  });

  it('gives back rates, slots and money, and frees what nobody settles', async () => {
    const heard = ledger();
    const limits = [limit('calls', rate(1)), limit('busy', atOnce(1)), limit('spend', budget(4))];
    const rig = new Rig({ limits, deps: { events: heard.events } });
    const { external } = rig.admission;
    const question: Question = { ...CALL, estimate: usd(4) };
    for (let i = 0; i < 3; i++) {
      expect(await external.reserve(question, `job-${i}`, 60_000, 0)).toMatchObject({ allowed: true });
      expect(await external.release(SUBJECT, `job-${i}`, 0)).toEqual({ state: 'released', changed: true });
    }
    expect(heard.released).toHaveLength(3);
    await external.reserve(question, 'lost', 60_000, 0);
    rig.clock.now = 60_000;
    const later = await external.peek(question, rig.clock.now);
    expect(later.limits.map(({ limit: name, used, held }) => [name, used, held])).toEqual([
      ['calls', 0, 0],
      ['busy', 0, 0],
      ['spend', 4e6, 0],
    ]);
  });
});

describe('what is left', () => {
  const limits = [
    limit('calls', rate(30, 10)),
    limit('spend', budget(20)),
    limit('all', rate(5), { by: ['everyone'] }),
    limit('secret', rate(5), { disclose: 'none' }),
    limit('trial', rate(5), { mode: 'shadow' }),
  ];
  const prices = { 'math/add': price({ each: usd(0.002), times: 'size(args.pages)', max: usd(5) }) };

  it('tells limits once with what they cover, and prices, without charging anything', async () => {
    const rig = new Rig({ limits, prices });
    rig.run(call({ args: { pages: [1, 2] } }));
    const targets = [toolTarget('math/add'), toolTarget('math/free')];
    for (let i = 0; i < 3; i++) await rig.admission.quota(call(), targets, 0);
    expect(await rig.admission.quota(call(), targets, 0)).toEqual({
      tier: 'default',
      limits: [
        {
          limit: 'calls',
          rule: '30 calls a minute, 40 at once',
          covers: ['math/add', 'math/free'],
          remaining: '39',
          of: '40',
          unit: 'calls',
          retryAfterSeconds: 0,
          resetAt: '2026-11-20T18:48:02.000Z',
        },
        {
          limit: 'spend',
          rule: '20.00 USD a day',
          covers: ['math/add'],
          remaining: '19.996',
          of: '20.00',
          unit: 'USD',
          retryAfterSeconds: 0,
          resetAt: '2026-11-21T00:00:00.000Z',
        },
        {
          limit: 'all',
          rule: undefined,
          covers: ['math/add', 'math/free'],
          remaining: undefined,
          of: undefined,
          unit: 'calls',
          retryAfterSeconds: 0,
          resetAt: '2026-11-20T18:48:12.000Z',
        },
      ],
      prices: [{ tool: 'math/add', price: '0.002 USD × size(args.pages), at most 5.00 USD' }],
    });
  });

  it('says in one sentence what applies, and nothing where nothing does', async () => {
    const rig = new Rig({ limits, prices });
    expect(rig.admission.standingRules([toolTarget()])).toBe(
      'Limits apply: 30 calls a minute, 40 at once (calls); 20.00 USD a day (spend); all, shared with other callers.',
    );
    const none = new Rig({ limits: [limit('trial', rate(5), { mode: 'shadow' })] });
    expect(none.admission.standingRules([toolTarget()])).toBeUndefined();
    expect(await none.admission.quota(call(), [toolTarget()], 0)).toBeUndefined();
    expect(none.admission.covers('tools/call', toolTarget())).toBe(false);
    expect(rig.admission.covers('tools/call', toolTarget())).toBe(true);
  });
});
