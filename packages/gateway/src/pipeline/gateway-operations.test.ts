/** The operations over real limits: the tables of `preset: mcp`, exact money, tiers, stops and holds. */
import { createFakeClock, type FakeClock } from '@tollgate/testkit/fake-clock';
import { verifies } from '@tollgate/testkit/verifies';
import { beforeEach, describe, expect, it } from 'vitest';
import { createAdmission } from '../admission/admission.ts';
import type { Admission } from '../admission/contract.ts';
import { compile } from '../config/compile.ts';
import { loadConfigObject } from '../config/load.ts';
import type { ConfigInput } from '../config/schema.ts';
import { silentLog } from '../core/log.ts';
import { Books } from './books.ts';
import { GatewayOperations } from './gateway-operations.ts';
import type { Client, LimitAnswer, LimitRequest } from './operations-port.ts';

const AUTH = [
  { name: 'ci', bearer: { token: '${env:T1}', subject: 'ada', roles: ['user'], tier: 'premium' } },
  { name: 'cd', bearer: { token: '${env:T2}', subject: 'ada' } },
  { name: 'ce', bearer: { token: '${env:T3}', subject: 'eve', scopes: [] } },
];
const ENV = { T1: 'token-number-one-0123456789', T2: 'token-number-two-0123456789', T3: 'token-number-three-0123456' };

interface Rig {
  readonly port: GatewayOperations;
  readonly clock: FakeClock;
  readonly admission: Admission;
  ask(client: Client, over?: Partial<LimitRequest>): Promise<LimitAnswer>;
  client(id: string): Promise<Client>;
}

async function rig(input: object = { preset: 'mcp' }): Promise<Rig> {
  const servers = { fake: { url: 'http://127.0.0.1:9/mcp' } };
  const loaded = await loadConfigObject({ servers, auth: AUTH, ...input } as ConfigInput, { env: ENV });
  const config = compile(loaded.config, ENV);
  const clock = createFakeClock(Date.UTC(2026, 10, 21, 12));
  const books = await Books.open({ clock, log: silentLog, storage: undefined, shared: false });
  const admission = createAdmission(config.admission, {
    clock,
    tiers: books.tiers,
    stops: books.stops,
    grants: books.grants,
  });
  const port = new GatewayOperations({
    clock,
    config: () => config,
    admission: () => admission,
    books,
    keys: { of: () => [] },
    ledger: undefined,
    status: () => ({ problems: [], version: '0', startedAt: '', ready: true, calls: { total: 0, refused: 0 } }),
    configuration: () => {
      throw new Error('not asked');
    },
    reset: () => Promise.reject(new Error('not asked')),
  });
  const ask = async (client: Client, over: Partial<LimitRequest> = {}): Promise<LimitAnswer> => {
    const request = {
      client,
      endpoint: 'tools/call',
      name: undefined,
      cost: 0,
      tier: undefined,
      mode: 'consume',
      ...over,
    };
    return (await port.decide([request as LimitRequest]))[0]!;
  };
  const client = async (id: string): Promise<Client> => {
    const found = await port.resolve(id, true);
    if (typeof found === 'string') throw new Error(found);
    return found;
  };
  return { port, clock, admission, ask, client };
}

async function allowedOf(r: Rig, client: Client, times: number, over: Partial<LimitRequest> = {}): Promise<number> {
  let allowed = 0;
  for (let i = 0; i < times; i++) if ((await r.ask(client, over)).allowed) allowed++;
  return allowed;
}

let r: Rig;
beforeEach(async () => {
  r = await rig();
});

describe('Under preset: mcp', () => {
  it.each([
    ['basic', 'tools/call', 30, 30, 10],
    ['basic', 'resources/read', 60, 60, 10],
    ['basic', 'prompts/get', 20, 20, 10],
    ['standard', 'tools/call', 30, 150, 50],
    ['standard', 'resources/read', 60, 300, 50],
    ['standard', 'prompts/get', 20, 100, 50],
    ['premium', 'tools/call', 30, 500, 200],
    ['premium', 'resources/read', 60, 1000, 200],
    ['premium', 'prompts/get', 20, 300, 200],
    ['premium', 'server/initialize', 10, 10, 0],
    ['basic', 'server/ping', 1000, 1000, 0],
    ['standard', 'get/users', 30, 30, 0],
  ])('a %s client has the numbers of %s, reported and enforced', async (tier, endpoint, base, effective, burst) => {
    verifies('R0-01', 'R0-02', 'R0-03', 'R0-05', 'R0-06', 'R0-07', 'R0-08', 'C-06');
    const client = await r.client('client_1');
    await r.port.setTier(client, tier, 'test');
    expect(r.port.endpointLimits(endpoint, tier)).toEqual({ base, effective, burst });
    expect(await allowedOf(r, client, effective + burst + 5, { endpoint })).toBe(effective + burst);
    expect(await r.ask(client, { endpoint })).toMatchObject({
      allowed: false,
      tier,
      violated: [{ kind: 'rate', limit: effective }],
    });
    r.clock.advance(60_000);
    expect(await allowedOf(r, client, effective + 5, { endpoint })).toBe(effective);
  });

  it('has basic, standard and premium, and calls its default basic', async () => {
    verifies('R0-04');
    expect(r.port.tiers).toEqual(['basic', 'standard', 'premium']);
    const client = await r.client('client_1');
    expect(client.tier).toBe('basic');
    await r.port.setTier(client, 'premium', 'test');
    expect((await r.client('client_1')).tier).toBe('premium');
    await r.port.setTier(client, 'basic', 'test');
    expect((await r.client('client_1')).tier).toBe('basic');
  });

  it.each([
    ['basic', 1, 50, 500],
    ['standard', 5, 200, 2000],
    ['premium', 25, 800, 8000],
  ])('a %s client may spend %d a call, %d an hour, %d a day', async (tier, call, hour, day) => {
    verifies('R0-11', 'R0-12', 'R0-13', 'R0-14', 'R0-15', 'R0-19', 'X0-01', 'X0-04');
    const client = await r.client('client_1');
    await r.port.setTier(client, tier, 'test');
    const statistics = await r.port.statistics(await r.client('client_1'));
    expect(statistics.limits).toEqual({ perRequest: call * 1e6, hourly: hour * 1e6, daily: day * 1e6 });
    expect(await r.ask(client, { cost: call * 1e6 + 1 })).toMatchObject({
      allowed: false,
      violated: [{ kind: 'call', limit: call * 1e6 }],
    });
    const calls = hour / call;
    expect(await allowedOf(r, client, calls, { endpoint: 'server/ping', cost: call * 1e6 })).toBe(calls);
    const over = await r.ask(client, { endpoint: 'server/ping', cost: 1 });
    expect(over).toMatchObject({ allowed: false, retryAfterSeconds: 3600, violated: [{ kind: 'hour' }] });
    expect((await r.port.statistics(client)).costs).toMatchObject({ hourly: hour * 1e6, daily: hour * 1e6 });
    r.clock.advance(3_600_000);
    expect(await r.ask(client, { endpoint: 'server/ping', cost: 1 })).toMatchObject({ allowed: true });
    expect((await r.port.statistics(client)).costs).toMatchObject({ hourly: 1, daily: hour * 1e6 + 1 });
    r.clock.advance(23 * 3_600_000);
    expect((await r.port.statistics(client)).costs).toMatchObject({ hourly: 0, daily: 0 });
  });

  it('stops everybody when all together have spent 1000', async () => {
    verifies('R0-18', 'C-07');
    for (const id of ['a', 'b']) {
      const client = await r.client(id);
      await r.port.setTier(client, 'premium', 'test');
      expect(await allowedOf(r, client, 20, { endpoint: 'server/ping', cost: 25e6 })).toBe(20);
    }
    const other = await r.client('c');
    const refused = await r.ask(other, { endpoint: 'server/ping', cost: 1 });
    expect(refused.allowed).toBe(false);
    expect(['total', 'stop']).toContain(refused.violated[0]?.kind);
    expect((await r.port.globalStatistics()).totalCost).toBe(1000e6);
  });

  it('looks without taking, and takes a list in order', async () => {
    const client = await r.client('client_1');
    expect(await allowedOf(r, client, 100, { mode: 'peek' })).toBe(100);
    const request = {
      client,
      endpoint: 'tools/call',
      name: undefined,
      cost: 0,
      tier: undefined,
      mode: 'consume',
    } as const;
    const answers = await r.port.decide(Array.from({ length: 45 }, () => request));
    expect(answers.map(({ allowed }) => allowed)).toEqual([...new Array(40).fill(true), ...new Array(5).fill(false)]);
  });

  it('takes another tier for one question only', async () => {
    verifies('C-05');
    const client = await r.client('client_1');
    expect(await r.ask(client, { cost: 2.5e6, tier: 'standard' })).toMatchObject({ allowed: true, tier: 'standard' });
    expect(await r.ask(client, { cost: 2.5e6 })).toMatchObject({ allowed: false, tier: 'basic' });
  });

  it('keeps clients apart', async () => {
    verifies('R0-20');
    const [one, two] = [await r.client('one'), await r.client('two')];
    await allowedOf(r, one, 50, { cost: 1e6 });
    expect((await r.port.statistics(two)).costs).toEqual({ hourly: 0, daily: 0, total: 0 });
    expect(await r.ask(two)).toMatchObject({ allowed: true });
  });
});

describe('An id', () => {
  it('is the principal of the configuration, bare while it is unique, else a new one of ops', async () => {
    expect(await r.port.resolve('ada', false)).toBe('ambiguous');
    expect(await r.port.resolve('ci/ada', false)).toMatchObject({ principal: { id: 'ci/ada' }, tier: 'premium' });
    expect(await r.port.resolve('eve', false)).toMatchObject({ principal: { id: 'ce/eve' } });
    expect(await r.port.resolve('nobody', false)).toBe('unknown');
    expect(await r.port.resolve('zz/nobody', true)).toMatchObject({ principal: { id: 'zz/nobody' } });
    expect(await r.port.resolve('nobody', true)).toMatchObject({ principal: { id: 'ops/nobody' }, tier: 'basic' });
    expect(r.port.stranger('nobody').principal.id).toBe('ops/nobody');
  });
});

describe('A stop', () => {
  it('is in force until it is lifted', async () => {
    const client = await r.client('client_1');
    expect(await r.port.resume('test')).toBe(false);
    expect(await r.port.stop('ops', 'runaway')).toMatchObject({ by: 'ops', reason: 'runaway' });
    expect(await r.port.stop('again', 'other')).toMatchObject({ by: 'ops' });
    expect(r.port.status().limiter).toBe('stopped');
    expect(await r.ask(client)).toMatchObject({ allowed: false, violated: [{ kind: 'stop' }] });
    expect(await r.port.resume('test')).toBe(true);
    expect(await r.ask(client)).toMatchObject({ allowed: true });
  });
});

describe('A hold', () => {
  const reserve = async (client: Client, cost: number, ttl = 60_000) =>
    r.port.reserve({ client, endpoint: 'tools/call', name: undefined, cost, tier: undefined, ttl });

  it('takes its estimate, then what it came to, once', async () => {
    const client = await r.client('client_1');
    const reserved = await reserve(client, 750_000);
    if (!reserved.allowed) throw new Error('refused');
    const { id } = reserved.hold;
    expect(reserved.hold).toMatchObject({ state: 'open', client: 'ops/client_1', reserved: 750_000 });
    expect((await r.port.statistics(client)).costs.hourly).toBe(750_000);
    expect(await r.port.settle(id, 500_000)).toMatchObject({ state: 'settled', charged: 500_000 });
    expect(await r.port.settle(id, 9)).toMatchObject({ charged: 500_000 });
    expect(await r.port.release(id)).toMatchObject({ state: 'settled' });
    expect((await r.port.statistics(client)).costs.hourly).toBe(500_000);
  });

  it('gives everything back when released, and is refused without room', async () => {
    const client = await r.client('client_1');
    const reserved = await reserve(client, 1e6);
    if (!reserved.allowed) throw new Error('refused');
    expect(await r.port.release(reserved.hold.id)).toMatchObject({ state: 'released', charged: 0 });
    expect((await r.port.statistics(client)).costs.hourly).toBe(0);
    expect(await reserve(client, 1e6 + 1)).toMatchObject({ allowed: false, answer: { violated: [{ kind: 'call' }] } });
  });

  it('is spent when nobody ends it in time', async () => {
    const client = await r.client('client_1');
    const reserved = await reserve(client, 750_000, 1000);
    if (!reserved.allowed) throw new Error('refused');
    r.clock.advance(2000);
    expect(await r.port.hold(reserved.hold.id)).toMatchObject({ state: 'expired', charged: 750_000 });
    expect((await r.port.statistics(client)).costs.hourly).toBe(750_000);
  });

  it('is refused where a thousand of its client are open, and takes nothing then', async () => {
    r = await rig({ limits: { calls: { by: 'principal', limit: '2000/min' } } });
    const client = await r.client('client_1');
    const made = await Promise.all(Array.from({ length: 1001 }, () => reserve(client, 0)));
    const refused = made.filter((one) => one.allowed !== true);
    expect(refused).toMatchObject([
      {
        answer: {
          allowed: false,
          retryAfterSeconds: 60,
          violated: [{ rule: 'open_holds', kind: 'holds', limit: 1000, remaining: 0 }],
        },
      },
    ]);
    expect(await reserve(await r.client('client_2'), 0)).toMatchObject({ allowed: true });
    const [first] = made;
    if (first?.allowed !== true) throw new Error('refused');
    await r.port.release(first.hold.id);
    expect(await reserve(client, 0)).toMatchObject({ allowed: true });
    // A thousand are open, the released one gave back: of 2000 a thousand are left, and the refused ones took none.
    expect(await allowedOf(r, client, 1001)).toBe(1000);
    r.clock.advance(60_000);
    expect(await reserve(client, 0)).toMatchObject({ allowed: true });
  });

  it('that nobody made is none, whatever its id says', async () => {
    const forged = `hold-${'a'.repeat(16)}-${Buffer.from('ops/client_1').toString('base64url')}`;
    for (const id of [forged, 'hold-1', '', '../x']) {
      expect(await r.port.hold(id)).toBeUndefined();
      expect(await r.port.settle(id, 1)).toBeUndefined();
      expect(await r.port.release(id)).toBeUndefined();
    }
  });
});

describe('Under preset: mcp with limits of its own', () => {
  it('reports the numbers of an endpoint and a client, not those of some calls or of a shadow', async () => {
    verifies('R0-32', 'C-06', 'X0-06');
    r = await rig({
      preset: 'mcp',
      limits: {
        loop: { by: ['principal', 'tool', 'args'], limit: '3/min' },
        trial: { by: 'principal', limit: '2/min', mode: 'shadow' },
        dear: { by: 'principal', tool: 'fake/dear', limit: '2 USD/day' },
      },
    });
    expect(r.port.endpointLimits('tools/call', 'standard')).toEqual({ base: 30, effective: 150, burst: 50 });
    const { limits } = await r.port.statistics(await r.client('new'));
    expect(limits).toMatchObject({ perRequest: 1_000_000, hourly: 50_000_000, daily: 500_000_000 });
  });
});

describe('Without a preset', () => {
  it('answers by whatever limits there are', async () => {
    r = await rig({
      limits: { calls: { by: 'principal', limit: '5/min' }, spend: { by: 'principal', limit: '2 USD/day' } },
    });
    const client = await r.client('client_1');
    expect(r.port.tiers).toEqual(['default', 'premium']);
    expect(r.port.endpointLimits('tools/call', 'default')).toEqual({ base: 5, effective: 5, burst: 0 });
    expect(r.port.endpointLimits('get/x', 'default')).toEqual({
      base: undefined,
      effective: undefined,
      burst: undefined,
    });
    expect(r.port.protects('tools/call')).toBe(true);
    expect(r.port.protects('get/x')).toBe(false);
    expect((await r.port.statistics(client)).limits).toEqual({ perRequest: undefined, hourly: undefined, daily: 2e6 });
    expect(await r.ask(client, { cost: 2e6 + 1 })).toMatchObject({ allowed: false });
    expect(await allowedOf(r, client, 9, { cost: 1e5 })).toBe(5);
  });

  it('tells no more of a limit than it discloses', async () => {
    r = await rig({
      limits: {
        covert: { by: 'principal', limit: '1/min', disclose: 'none' },
        shared: { by: 'everyone', limit: '2/min' },
        open: { by: 'everyone', limit: '700/min', disclose: 'full' },
      },
    });
    const client = await r.client('client_1');
    expect(r.port.endpointLimits('tools/call', 'default')).toEqual({ base: 700, effective: 700, burst: 0 });
    expect(await r.ask(client)).toMatchObject({ allowed: true });
    const first = await r.ask(client);
    expect(first).toMatchObject({
      allowed: false,
      violated: [{ kind: 'rate', limit: undefined, remaining: undefined }],
    });
    expect(JSON.stringify(first)).not.toContain('covert');
    await r.ask(await r.client('client_2'));
    expect((await r.ask(await r.client('client_3'))).violated).toMatchObject([{ rule: 'shared', limit: undefined }]);
  });
});

describe('a wall clock that jumps', () => {
  const HOUR = 3_600_000;

  it('gives no rate back and ends no hold, and none outlives its time by it', async () => {
    const r = await rig();
    const client = await r.client('jump');
    expect(await allowedOf(r, client, 50)).toBe(40);
    for (const jump of [24 * HOUR, -72 * HOUR, 36 * HOUR, -HOUR]) {
      r.clock.stepWall(jump);
      expect((await r.ask(client)).allowed, String(jump)).toBe(false);
    }
    const holding = await r.client('holder');
    const request = { client: holding, endpoint: 'tools/call', name: undefined, cost: 500_000, tier: undefined };
    const hold = async () => {
      const made = await r.port.reserve({ ...request, ttl: 60_000 });
      if (!made.allowed) throw new Error('no hold');
      return made.hold.id;
    };
    const [first, second] = [await hold(), await hold()];
    r.clock.stepWall(HOUR);
    expect(await r.port.hold(first)).toMatchObject({ state: 'open', charged: undefined });
    expect(await r.port.settle(first, 200_000)).toMatchObject({ state: 'settled', charged: 200_000 });
    r.clock.stepWall(-2 * HOUR);
    r.clock.advance(60_001);
    expect(await r.port.hold(second)).toMatchObject({ state: 'expired', charged: 500_000 });
  });

  it('frees the places of open holds when they end, not when the clock says so', async () => {
    const r = await rig({ limits: { spend: { by: 'principal', limit: '1000000 USD/day' } } });
    const client = await r.client('full');
    const request = { client, endpoint: 'tools/call', name: undefined, cost: 1, tier: undefined, ttl: 60_000 };
    for (let i = 0; i < 1000; i++) expect((await r.port.reserve(request)).allowed).toBe(true);
    r.clock.stepWall(HOUR);
    const refused = { allowed: false, answer: { violated: [{ rule: 'open_holds' }], retryAfterSeconds: 60 } };
    expect(await r.port.reserve(request)).toMatchObject(refused);
    r.clock.stepWall(-48 * HOUR);
    r.clock.advance(60_001);
    expect((await r.port.reserve(request)).allowed).toBe(true);
  });
});
