/** Whose counters a reset empties: all of theirs that can be named, and nobody else's. */
import { verifies } from '@tollgate/testkit/verifies';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '../core/clock.ts';
import { silentLog } from '../core/log.ts';
import type { GatewayAdministration } from './gateway-administration.ts';
import type { GatewayOperations } from './gateway-operations.ts';
import { administrationOf, operationsOf } from './ports.ts';
import { GatewayState } from './state.ts';
import { type ScriptedServer, startGateway, startScripted, type TestGateway, tool } from './testing.ts';

const TOOLS = { tools: [tool('read'), tool('write')], ttlMs: 60_000, cacheScope: 'private' };
const ADA = 'svc/ada';
const BOB = 'other@acme/bob';

let server: ScriptedServer;
let gateway: TestGateway;
let desk: GatewayAdministration;
let operations: GatewayOperations;

beforeAll(async () => {
  server = await startScripted({ 'tools/list': () => TOOLS });
  const state = await GatewayState.transient({ clock: systemClock, log: silentLog });
  gateway = await startGateway(
    {
      servers: { files: { url: server.url } },
      endpoints: { '/mcp': { servers: '*' }, '/team': { servers: '*' } },
      auth: [
        { name: 'svc', bearer: { token: 'token-of-ada-0123456789', subject: 'ada' } },
        { name: 'other', bearer: { token: 'token-of-bob-0123456789', subject: 'bob', tenant: 'acme' } },
      ],
      tools: { 'files/read': { price: { each: '0.5 USD' } } },
      limits: {
        // First: what has no counter for somebody must not keep the rest from being reset.
        absent: { tool: 'files/gone*', by: ['principal', 'tool'], limit: '1/day' },
        dear: { by: 'principal', limit: '1 USD/call' },
        loop: { by: ['session', 'tool', 'args'], limit: '2/day' },
        calls: { by: 'principal', limit: '9/day', algorithm: 'fixed-window' },
        each: { by: ['principal', 'tool'], limit: '5/day', algorithm: 'fixed-window' },
        spend: { by: ['principal', 'tool'], limit: '5 USD/day' },
        team: { endpoint: '/team', by: 'principal', limit: '5/day', algorithm: 'fixed-window' },
        unit: { by: 'tenant', limit: '50/day', algorithm: 'fixed-window' },
        stop: { by: 'everyone', limit: '1000 USD total' },
      },
    },
    { state },
  );
  await gateway.call('tools/list', {}, { token: 'token-of-ada-0123456789' });
  const deps = { clock: systemClock, state, gateway: () => gateway.gateway };
  desk = administrationOf(deps);
  operations = operationsOf(deps, desk, () => []);
});
afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
});

async function spend(principal: string, name: 'read' | 'write', endpoint = '/mcp'): Promise<void> {
  const question = {
    subject: { principal, tenant: principal === BOB ? 'acme' : undefined },
    method: 'tools/call',
    tool: `files/${name}`,
    endpoint,
    estimate: { unit: 'USD', micros: 500_000 },
  };
  const { external } = gateway.gateway.admission;
  expect((await external.consume(question, systemClock.monotonic())).allowed).toBe(true);
}

async function used(principal: string, limit: string, name?: string): Promise<number | undefined> {
  const { limits } = await desk.budgets(principal, name);
  return limits.find((view) => view.limit === limit)?.used;
}

const reset = (limit: string, who: string | undefined) => desk.reset(limit, who, 'ops/eve', 'r');

describe('A reset', () => {
  it('of one caller never empties what all share, and of everyone never one caller’s alone', async () => {
    await reset('stop', undefined);
    await spend(ADA, 'read');
    await expect(reset('stop', ADA)).rejects.toThrow('stop does not count by principal but for all callers together');
    expect(await used(ADA, 'stop')).toBe(500_000);
    await expect(reset('calls', undefined)).rejects.toThrow('calls counts by principal: name whose counter');
    await expect(reset('unit', undefined)).rejects.toThrow('unit counts by tenant');
    await reset('stop', undefined);
    expect(await used(ADA, 'stop')).toBe(0);
  });

  it('says so where counters cannot be named, and does not claim to have emptied them', async () => {
    await expect(reset('loop', ADA)).rejects.toThrow('loop counts by session and args, which cannot be named here');
    await expect(reset('absent', ADA)).rejects.toThrow('absent has no counter for svc/ada');
  });

  it('empties the counter of every tool and of a single endpoint, and leaves those of others', async () => {
    const before = (await used(BOB, 'unit')) ?? 0;
    for (const name of ['read', 'write'] as const) {
      await spend(ADA, name, '/team');
      await spend(BOB, name);
    }
    expect([await used(ADA, 'each', 'files/write'), await used(ADA, 'team')]).toEqual([1, 2]);
    expect(await used(BOB, 'unit')).toBe(before + 2);
    await reset('each', ADA);
    await reset('spend', ADA);
    await reset('team', ADA);
    for (const name of ['files/read', 'files/write']) {
      expect([await used(ADA, 'each', name), await used(BOB, 'each', name)], name).toEqual([0, 1]);
    }
    expect([await used(ADA, 'spend', 'files/read'), await used(BOB, 'spend', 'files/read')]).toEqual([0, 500_000]);
    expect(await used(ADA, 'team')).toBe(0);
    await reset('unit', BOB);
    expect(await used(BOB, 'unit')).toBe(0);
  });

  it('of all limits of a client goes on past those that have nothing of it', async () => {
    verifies('X0-08');
    await spend(BOB, 'write');
    const bob = await operations.resolve(BOB, false);
    if (typeof bob === 'string') throw new Error(bob);
    expect(await operations.reset(bob, 'ops/eve')).toEqual(['calls', 'each', 'spend', 'team']);
    expect([await used(BOB, 'calls'), await used(BOB, 'spend', 'files/read')]).toEqual([0, 0]);
    expect(await used(BOB, 'stop')).toBeGreaterThan(0);
  });
});
