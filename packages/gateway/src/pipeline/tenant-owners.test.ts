/** What one person leaves with the gateway under one tenant is out of reach of the same subject in another. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { verifies } from '@tollgate/testkit/verifies';
import { SignJWT } from 'jose';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startUserGateway, type UserGateway } from '../api/testing/user-gateway.ts';
import { type ScriptedServer, startScripted, type TestGateway, tool } from './testing.ts';

const SECRET = 'a-secret-of-more-than-32-characters-0123';
const GOOGLE = `acme-${'g'.repeat(30)}`;
let folder: string;
let server: ScriptedServer;
let place: UserGateway;
let gateway: TestGateway;

function sign(sub: string, org: string | undefined, more: object = {}): Promise<string> {
  return new SignJWT({ ...more, ...(org === undefined ? {} : { org }) })
    .setProtectedHeader({ alg: 'HS256' })
    .setSubject(sub)
    .setIssuer('dev')
    .setAudience('gw')
    .setExpirationTime('5m')
    .sign(new TextEncoder().encode(SECRET));
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tollgate-owners-'));
  server = await startScripted({
    'tools/list': () => ({ tools: [tool('work')], ttlMs: 60_000, cacheScope: 'private' }),
    'tools/call': () => ({ content: [] }),
  });
  const config = {
    dataDir: folder,
    servers: { s: { url: server.url, headers: { 'x-key': '${vault:user/google}' } } },
    limits: { many: { by: 'principal', limit: '100/h' } },
    auth: [
      {
        name: 'dev',
        jwt: { issuer: 'dev', secret: SECRET, algorithms: ['HS256'], audience: 'gw' },
        map: { tenant: 'org', roles: { claim: 'roles', grant: { root: 'admin' } } },
      },
    ],
  };
  place = await startUserGateway(config);
  ({ gateway } = place);
});

afterAll(async () => {
  await place[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
  await rm(folder, { recursive: true });
});

async function send(token: string, method: string, path: string, body?: object) {
  const response = await fetch(gateway.url + path, {
    method,
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  return { status: response.status, text, body: JSON.parse(text) as Record<string, unknown> };
}

const invoke = (token: string) =>
  send(token, 'POST', '/mcp/tools/invoke', { tool_name: 'work', parameters: {}, user_id: 'ada' });

describe('the same subject in another tenant, and in none', () => {
  it('neither sees nor uses the key of a provider, nor what was done', async () => {
    verifies('R0-53');
    const acme = await sign('ada', 'acme');
    const stored = await send(acme, 'POST', '/api-keys', { provider: 'google', api_key: GOOGLE, user_id: 'ada' });
    expect(stored).toMatchObject({ status: 200, body: { user_id: 'dev@acme/ada' } });
    expect((await invoke(acme)).status).toBe(200);
    expect(server.seen.findLast(({ method }) => method === 'tools/call')?.headers['x-key']).toBe(GOOGLE);
    const calls = server.seen.length;
    for (const other of [await sign('ada', 'evil'), await sign('ada', undefined), await sign('ada', 'acme/ada')]) {
      expect((await send(other, 'GET', '/api-keys')).body['api_keys']).toEqual([]);
      expect((await send(other, 'GET', '/api-keys/google')).status).toBe(404);
      expect((await send(other, 'DELETE', '/api-keys/google?user_id=dev@acme/ada')).status).toBe(403);
      expect((await send(other, 'GET', '/mcp/activity')).body).toMatchObject({ calls: { admitted: 0 }, recent: [] });
      expect((await invoke(other)).text).toContain('vault set google --user dev');
    }
    expect(server.seen.length).toBe(calls);
    expect((await send(acme, 'GET', '/mcp/activity')).body).toMatchObject({ calls: { admitted: 1 } });
    const root = await sign('root', undefined, { roles: ['root'] });
    const named = await send(root, 'GET', '/api-keys/google?user_id=dev@acme/ada');
    expect(named.body).toMatchObject({ active: true });
    const activity = (user: string) => send(root, 'GET', `/mcp/activity?user_id=${user}`);
    expect((await activity('dev@acme/ada')).body).toMatchObject({ calls: { admitted: 1 } });
    // Who has no tenant; not whoever is called so in one.
    expect((await activity('dev/ada')).body).toMatchObject({ calls: { admitted: 1 } });
  });
});
