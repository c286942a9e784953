/** One subject in two tenants of one issuer, and in none: three callers, who share nothing that is kept per caller. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { verifies } from '@tollgate/testkit/verifies';
import { SignJWT } from 'jose';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Operations } from '../api/operations/operations.ts';
import { createUserApi, isUserPath } from '../api/user/user-api.ts';
import { createV1, isV1Path } from '../api/v1.ts';
import { compile } from '../config/compile.ts';
import { loadConfigObject } from '../config/load.ts';
import { systemClock } from '../core/clock.ts';
import { silentLog } from '../core/log.ts';
import type { GatewayAdministration } from './gateway-administration.ts';
import { administrationOf, operationsOf, userPortOf } from './ports.ts';
import { GatewayState } from './state.ts';
import { type ScriptedServer, startGateway, startScripted, type TestGateway, tool } from './testing.ts';

const SECRET = 'a-secret-of-more-than-32-characters-0123';
const COMMON = { reason: 'r', by: 'local/admin' };
let folder: string;
let server: ScriptedServer;
let gateway: TestGateway;
let state: GatewayState;
let administration: GatewayAdministration;

const jwt = { issuer: 'dev', secret: SECRET, algorithms: ['HS256'], audience: 'gw' };
const map = { tenant: 'org', roles: { claim: 'roles', grant: { root: 'admin', member: 'user' } } };

function sign(
  sub: string,
  org: string | undefined,
  roles: readonly string[] = ['member'],
  iss = 'dev',
): Promise<string> {
  return new SignJWT({ roles, ...(org === undefined ? {} : { org }) })
    .setProtectedHeader({ alg: 'HS256' })
    .setSubject(sub)
    .setIssuer(iss)
    .setAudience('gw')
    .setExpirationTime('5m')
    .sign(new TextEncoder().encode(SECRET));
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tollgate-tenants-'));
  server = await startScripted({
    'tools/list': () => ({ tools: [tool('work'), tool('paid')], ttlMs: 60_000, cacheScope: 'private' }),
  });
  const config = {
    dataDir: folder,
    servers: { s: { url: server.url } },
    tools: { 's/paid': { price: { each: '1 USD' } } },
    tiers: { gold: {} },
    limits: {
      calls: { on: 'tools/call', tool: 's/work', by: 'principal', limit: '2/day', algorithm: 'sliding-window' },
      money: { by: 'principal', limit: '2 USD/24h' },
      staff: { tool: 's/work', tier: 'gold', by: 'principal', limit: '100/h' },
    },
    auth: [
      { name: 'dev', jwt, map },
      { name: 'corp', jwt: { ...jwt, issuer: 'corp' }, map: { ...map, tenants: ['acme', 'beta'] } },
    ],
  };
  state = await GatewayState.open(compile(loadConfigObject({ listen: '127.0.0.1:0', ...config }).config), {
    clock: systemClock,
    log: silentLog,
  });
  let running: TestGateway | undefined;
  const deps = { clock: systemClock, state, gateway: () => running!.gateway };
  const users = createUserApi(userPortOf(deps), silentLog);
  administration = administrationOf(deps);
  let operations: ReturnType<typeof createV1> | undefined;
  gateway = await startGateway(config, {
    state,
    publicMount: (request, response, path, { address }) => {
      if (isV1Path(path)) operations!(request, response);
      else if (isUserPath(path)) users(request, response, address);
      else return false;
      return true;
    },
  });
  running = gateway;
  operations = createV1({
    operations: new Operations(operationsOf(deps, administration, () => [])),
    identify: (authorization) => gateway.gateway.identify(authorization, '', undefined),
    log: silentLog,
  });
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await state.close();
  await server[Symbol.asyncDispose]();
  await rm(folder, { recursive: true });
});

/** A subject of its own for each test: in acme, in evil, in none. */
async function people(sub: string) {
  const [acme, evil, none] = await Promise.all([sign(sub, 'acme'), sign(sub, 'evil'), sign(sub, undefined)]);
  return { acme, evil, none };
}

async function mcp(token: string, name = 'work'): Promise<string> {
  const { status, body } = await gateway.call('tools/call', { name, arguments: {} }, { token });
  return body.error === undefined ? 'ran' : String(body.error.data?.['reason'] ?? status);
}

async function send(token: string, method: string, path: string, body?: unknown) {
  const response = await fetch(gateway.url + path, {
    method,
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
}

const rest = async (token: string, sub: string, name = 'work') =>
  (await send(token, 'POST', '/mcp/tools/invoke', { tool_name: name, parameters: {}, user_id: sub })).status;
const op = async (token: string, operation: string, input: object) =>
  (await send(token, 'POST', '/v1/ops', { operation, ...input })).body;
const root = () => sign('root', undefined, ['root']);

async function left(token: string, limit: string): Promise<number | undefined> {
  const { body } = await gateway.call('tools/call', { name: 'tollgate_quota', arguments: {} }, { token });
  const { limits } = body.result!['structuredContent'] as { limits: { limit: string; remaining: string }[] };
  const found = limits.find((one) => one.limit === limit);
  return found && Number(found.remaining);
}

describe('the same subject in two tenants, and in none', () => {
  it('counts, pays and is refused for itself alone, over MCP and REST', async () => {
    verifies('R0-53');
    const ada = await people('ada');
    expect([await mcp(ada.acme), await mcp(ada.acme), await mcp(ada.acme)]).toEqual(['ran', 'ran', 'rate_limited']);
    expect(await rest(ada.acme, 'ada')).toBe(429);
    expect([await left(ada.acme, 'calls'), await left(ada.evil, 'calls')]).toEqual([0, 2]);
    expect([await rest(ada.evil, 'dev@evil/ada'), await rest(ada.evil, 'dev/ada')]).toEqual([200, 200]);
    expect([await mcp(ada.evil), await mcp(ada.none)]).toEqual(['rate_limited', 'ran']);
    expect([await mcp(ada.acme, 'paid'), await rest(ada.acme, 'ada', 'paid')]).toEqual(['ran', 200]);
    expect([await mcp(ada.acme, 'paid'), await mcp(ada.evil, 'paid')]).toEqual(['daily_cost_exceeded', 'ran']);
    const spent = (who: string) => administration.budgets(who, 's/paid').then(({ limits }) => limits[0]!.used);
    expect([await spent('dev@acme/ada'), await spent('dev@evil/ada'), await spent('dev/ada')]).toEqual([
      2_000_000, 1_000_000, 0,
    ]);
    const seen = (await state.decisions.list({ principal: 'dev@acme/ada', limit: 100 })).items;
    expect(seen.length).toBeGreaterThan(4);
    expect(new Set(seen.map(({ json }) => JSON.parse(json).caller.tenant))).toEqual(new Set(['acme']));
  });

  it('asks and holds for itself alone over operations, checks and holds', async () => {
    verifies('R0-53', 'R0-54');
    const eve = await people('eve');
    const question = { endpoint: 'tools/call', tool_name: 's/work' };
    for (let n = 0; n < 2; n++) {
      expect(await op(eve.acme, 'check_mcp_limit', { ...question, client_id: 'eve' })).toMatchObject({ allowed: true });
    }
    expect(await op(eve.acme, 'check_mcp_limit', question)).toMatchObject({ allowed: false });
    const peek = (token: string, client?: string) =>
      send(token, 'POST', '/v1/check', { ...question, ...(client === undefined ? {} : { client_id: client }) });
    expect((await peek(eve.evil)).body).toMatchObject({ client_id: 'dev@evil/eve', allowed: true });
    expect((await peek(eve.evil, 'dev/eve')).body).toMatchObject({ allowed: true });
    expect((await peek(eve.evil, 'dev@acme/eve')).body).toMatchObject({ reason: 'user_mismatch' });
    const admin = await root();
    expect((await peek(admin, 'dev@acme/eve')).body).toMatchObject({ allowed: false });
    expect((await peek(admin, 'dev/eve')).body).toMatchObject({ allowed: true });
    const hold = await send(eve.acme, 'POST', '/v1/holds', { endpoint: 'tools/call', estimated_cost: 1 });
    expect(hold.body).toMatchObject({ client_id: 'dev@acme/eve' });
    const at = `/v1/holds/${hold.body['id']}`;
    // An id that is somebody else's is answered like one that nobody has.
    const unknown = `/v1/holds/${String(hold.body['id']).replace(/.$/, (last) => (last === 'x' ? 'y' : 'x'))}`;
    for (const other of [eve.evil, eve.none]) {
      const [theirs, nobodys] = [await send(other, 'GET', at), await send(other, 'GET', unknown)];
      expect(JSON.stringify(theirs.body).replaceAll(at.slice(10), 'ID')).toBe(
        JSON.stringify(nobodys.body).replaceAll(unknown.slice(10), 'ID'),
      );
      expect((await send(other, 'POST', `${at}/release`)).status).toBe(404);
      expect((await send(other, 'GET', at)).status).toBe(404);
    }
    expect((await send(eve.acme, 'POST', `${at}/release`)).body).toMatchObject({ state: 'released' });
  });

  it('has the tier and the grant of its own name, which without a tenant is who has none', async () => {
    const bob = await people('bob');
    const admin = await root();
    expect(await op(admin, 'set_client_tier', { client_id: 'dev@acme/bob', tier: 'gold' })).toMatchObject({
      status: 'success',
    });
    expect([await left(bob.acme, 'staff'), await left(bob.evil, 'staff'), await left(bob.none, 'staff')]).toEqual([
      100,
      undefined,
      undefined,
    ]);
    expect(await op(admin, 'set_client_tier', { client_id: 'corp/bob', tier: 'gold' })).toMatchObject({
      reason: 'unknown_client',
    });
    expect(state.books.tiers.get('corp/bob')).toBeUndefined();
    const until = systemClock.wall() + 60_000;
    const grant = { rule: 'calls', amount: 5, unit: 'requests', until, ...COMMON };
    expect(await administration.grant({ ...grant, principal: 'dev@acme/bob' })).not.toHaveProperty('warning');
    expect([await left(bob.acme, 'calls'), await left(bob.evil, 'calls'), await left(bob.none, 'calls')]).toEqual([
      7, 2, 2,
    ]);
    const doubted = await administration.grant({ ...grant, principal: 'dev/bob' });
    expect(doubted.warning).toContain('dev@TENANT/bob');
    expect([await left(bob.acme, 'calls'), await left(bob.evil, 'calls'), await left(bob.none, 'calls')]).toEqual([
      7, 2, 7,
    ]);
    expect((await administration.grant({ ...grant, principal: 'corp/bob' })).warning).toContain('corp@TENANT/bob');
    expect((await administration.grant({ ...grant, principal: 'corp@evil/bob' })).warning).toContain('acme, beta');
  });

  it('is reset alone', async () => {
    const fay = await people('fay');
    for (const token of [fay.acme, fay.evil]) expect([await mcp(token), await mcp(token)]).toEqual(['ran', 'ran']);
    await administration.reset('calls', 'dev@acme/fay', COMMON.by, COMMON.reason);
    expect([await left(fay.acme, 'calls'), await left(fay.evil, 'calls')]).toEqual([2, 0]);
  });

  it('is blocked alone by its name, and in every tenant by the name without one', async () => {
    const gil = await people('gil');
    const status = () =>
      Promise.all(
        [gil.acme, gil.evil, gil.none].map(async (token) => (await gateway.call('tools/list', {}, { token })).status),
      );
    const own = await administration.block({ who: 'dev@acme/gil', ...COMMON });
    expect(await status()).toEqual([403, 200, 200]);
    await administration.unblock(own.id, COMMON.by);
    const all = await administration.block({ who: 'dev/gil', ...COMMON });
    expect(await status()).toEqual([403, 403, 403]);
    await administration.unblock(all.id, COMMON.by);
    await expect(
      administration.block({ who: 'dev/gil', reason: 'r', by: 'dev@acme/gil' }),
      'nobody blocks themselves',
    ).rejects.toMatchObject({ code: 'invalid_params' });
  });
});
