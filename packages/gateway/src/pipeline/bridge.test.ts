import type { AuthorizationServer } from '@tollgate/testkit/authorization-server';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { BridgeRecords } from '../core/bridge-records.ts';
import { systemClock } from '../core/clock.ts';
import { TollgateError } from '../core/errors.ts';
import { silentLog } from '../core/log.ts';
import { PrincipalKeys } from '../identity/principals.ts';
import { type BridgeUnderTest, startIdp, TestClient } from '../oauth-bridge/testing.ts';
import { mint } from '../oauth-bridge/tokens.ts';
import { GatewayBridge } from './bridge.ts';
import { GatewayState } from './state.ts';
import { type Json, startGateway, startScripted, type TestGateway, tool } from './testing.ts';

let idp: AuthorizationServer;
let upstream: Awaited<ReturnType<typeof startScripted>>;
let gateway: TestGateway;
let client: TestClient;
/** Added to the time of the gateway. */
let ahead = 0;
beforeAll(async () => {
  idp = await startIdp();
  upstream = await startScripted({
    'tools/list': () => ({ tools: [tool('add')], ttlMs: 60_000, cacheScope: 'private' }),
  });
});
afterAll(async () => {
  await idp[Symbol.asyncDispose]();
  await upstream[Symbol.asyncDispose]();
});

const corp = (more: Json = {}): Json => ({
  name: 'corp',
  oidc: idp.issuer,
  map: { tenant: 'org', roles: { claim: 'groups', grant: {} } },
  bridge: { clientId: 'tollgate', clientSecret: 'the-secret-of-the-gateway:%+', scopes: ['read'] },
  ...more,
});
const config = (entry: Json = corp(), more: Json = {}): Json => ({
  servers: { math: { url: upstream.url } },
  endpoints: { '/mcp': { servers: '*' }, '/team': { servers: '*' }, '/keys': { servers: '*', auth: ['ci'] } },
  auth: [entry, { name: 'ci', bearer: { token: 'a token of the machine, not of a person'.replaceAll(' ', '-') } }],
  access: [{ who: 'role:dev', may: ['math/*'] }],
  ...more,
});

beforeEach(async () => {
  ahead = 0;
  const clock = { wall: () => Date.now() + ahead, monotonic: systemClock.monotonic };
  const state = await GatewayState.transient({ clock, log: silentLog });
  gateway = await startGateway(config(), { state, clock });
  client = new TestClient({ base: gateway.url, post } as BridgeUnderTest, await register());
});
afterEach(() => gateway[Symbol.asyncDispose]());

const post: BridgeUnderTest['post'] = async (path, form) => {
  const response = await fetch(gateway.url + path, { method: 'POST', body: new URLSearchParams(form) });
  return { status: response.status, body: JSON.parse((await response.text()) || '{}') as Json };
};

async function register(): Promise<string> {
  const response = await fetch(`${gateway.url}/oauth/register`, {
    method: 'POST',
    body: JSON.stringify({ redirect_uris: ['https://client.example/callback'] }),
  });
  return String(((await response.json()) as Json)['client_id']);
}

async function tokens(): Promise<Record<'access_token' | 'refresh_token', string>> {
  const { body } = await client.redeem((await client.code()).get('code'));
  return body as Record<'access_token' | 'refresh_token', string>;
}

const status = async (token: string, path = '/mcp') => (await gateway.call('tools/list', {}, { token, path })).status;

describe('tokens of the bridge', () => {
  it('CVE-2025-69196: are for the endpoint that was asked for, not for another, and for no other surface', async () => {
    const { access_token: token } = await tokens();
    expect(await status(token)).toBe(200);
    const sibling = await gateway.call('tools/list', {}, { token, path: '/team' });
    expect(sibling.status).toBe(401);
    expect(sibling.headers.get('www-authenticate')).toContain(
      `resource_metadata="${gateway.url}/.well-known/oauth-protected-resource/team"`,
    );
    expect(await status(token, '/keys')).toBe(401);
    expect(await status(`${token}x`)).toBe(401);
  });

  it('speak for the person as tokens of the provider do: tenant, roles, and what the roles may', async () => {
    const { access_token: token } = await tokens();
    expect(await gateway.names('tools', { token })).toEqual(['add']);
    const identified = await gateway.gateway.identify(`Bearer ${token}`, '/mcp', undefined);
    expect(identified).toMatchObject({
      id: 'corp@acme/ada',
      tenant: 'acme',
      roles: ['dev'],
      scopes: ['read'],
      clientId: client.id,
      issuer: idp.issuer,
    });
    idp.user = 'bob';
    client = new TestClient({ base: gateway.url, post } as BridgeUnderTest, client.id);
    expect(await gateway.names('tools', { token: (await tokens()).access_token }), 'without the role').toEqual([]);
    idp.user = 'ada';
  });

  it('end at once when they are revoked, though they were remembered, and with their half hour', async () => {
    const first = await tokens();
    expect([await status(first.access_token), await status(first.access_token)]).toEqual([200, 200]);
    await post('/oauth/revoke', { token: first.refresh_token, client_id: client.id });
    expect(await status(first.access_token)).toBe(401);
    client = new TestClient({ base: gateway.url, post } as BridgeUnderTest, client.id);
    const second = await tokens();
    expect(await status(second.access_token)).toBe(200);
    const principal = await gateway.gateway.identify(`Bearer ${second.access_token}`, '/mcp', undefined);
    ahead = 30 * 60_000;
    expect(await status(second.access_token)).toBe(401);
    expect(principal).not.toBeInstanceOf(TollgateError);
  });

  it('end at once, all of a person and of nobody else, when an operator says so', async () => {
    const { access_token: token, refresh_token: refresh } = await tokens();
    expect([await status(token), await status(token)]).toEqual([200, 200]);
    const { bridge } = gateway.gateway;
    const [signIn] = await bridge.signIns(undefined);
    expect(signIn).toMatchObject({ entry: 'corp', client: client.id, resource: `${gateway.url}/mcp` });
    expect(JSON.stringify(await bridge.signIns(undefined))).not.toContain(token);
    expect(await bridge.endSignIns('corp/ada')).toBe(0);
    expect(await status(token)).toBe(200);
    expect(await bridge.endSignIns('corp@acme/ada')).toBe(1);
    expect(await status(token)).toBe(401);
    const again = await post('/oauth/token', {
      grant_type: 'refresh_token',
      refresh_token: refresh,
      client_id: client.id,
    });
    expect(again.body['error']).toBe('invalid_grant');
    expect(await bridge.signIns(undefined)).toEqual([]);
  });

  it('end with the bridge of their entry, and change with its map', async () => {
    const { access_token: token } = await tokens();
    expect(await gateway.names('tools', { token })).toEqual(['add']);
    await gateway.reload(config(corp({ map: { tenant: 'org' } })));
    expect(await gateway.names('tools', { token }), 'no roles any more').toEqual([]);
    await gateway.reload(config(corp({ map: { tenant: 'org', tenants: ['other'] } })));
    expect(await status(token)).toBe(401);
    await gateway.reload(config(corp({ bridge: undefined })));
    expect(await status(token)).toBe(401);
    expect((await fetch(`${gateway.url}/.well-known/oauth-authorization-server`)).status).toBe(404);
    expect((await fetch(`${gateway.url}/oauth/register`, { method: 'POST', body: '{}' })).status).toBe(404);
  });
});

describe('discovery', () => {
  it('leads from the 401 of an endpoint to an authorization server that names itself as it was named', async () => {
    const { headers } = await gateway.call('tools/list');
    const metadata = /resource_metadata="([^"]+)"/.exec(headers.get('www-authenticate') ?? '')?.[1] ?? '';
    const resource = (await (await fetch(metadata)).json()) as { authorization_servers: string[]; resource: string };
    expect(resource.resource).toBe(`${gateway.url}/mcp`);
    const [issuer = ''] = resource.authorization_servers;
    const { origin, pathname } = new URL(issuer);
    const server = (await (await fetch(`${origin}/.well-known/oauth-authorization-server${pathname}`)).json()) as Json;
    expect(server['issuer']).toBe(issuer);
    expect(server['protected_resources']).toEqual([resource.resource]);
  });

  it('pages come with their own policy in place of the one of other answers', async () => {
    const page = await client.ask();
    expect(page.headers.get('content-security-policy')).toContain("form-action 'self'");
    expect(page.headers.get('referrer-policy')).toBe('same-origin');
    expect(page.headers.get('x-content-type-options')).toBe('nosniff');
  });
});

describe('while the storage is away', () => {
  it('a token is neither good nor bad, and what is no token of the bridge is not looked up', async () => {
    let asked = 0;
    const away = () => {
      asked++;
      return Promise.reject(new TollgateError('storage_unavailable', 'away'));
    };
    const records = { find: away } as unknown as BridgeRecords;
    const bridge = new GatewayBridge({
      clock: systemClock,
      log: silentLog,
      keys: new PrincipalKeys(),
      records,
      secrets: undefined,
      key: undefined,
      generation: () => gateway.gateway.generation,
      onEnd: () => undefined,
    });
    const [entry] = gateway.gateway.generation.config.identity.entries;
    const [method] = bridge.methods(entry!);
    const audience = { path: '/mcp', resource: `${gateway.url}/mcp` };
    expect(method!.verify('eyJhbGciOiJub25lIn0.e30.', audience, Date.now())).toBeUndefined();
    expect(asked).toBe(0);
    expect(await method!.verify(mint('access'), audience, Date.now())).toBe('unavailable');
    bridge.close();
  });
});
