/** What one caller opened is nobody else's: not another principal's, not another tenant's of the same person, not at another endpoint. */
import { modernBody, modernHeaders, modernMeta } from '@tollgate/testkit/modern-request';
import { verifies } from '@tollgate/testkit/verifies';
import { SignJWT } from 'jose';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ScriptedServer, startGateway, startScripted, type TestGateway, tool } from './testing.ts';

const SECRET = 'a-secret-of-more-than-32-characters-0123';
const hints = { ttlMs: 60_000, cacheScope: 'private' };
let server: ScriptedServer;
let gateway: TestGateway;
const tokens = new Map<string, string>();

async function sign(sub: string, org: string | undefined, roles: readonly string[] = []): Promise<string> {
  return new SignJWT({ roles, ...(org === undefined ? {} : { org }) })
    .setProtectedHeader({ alg: 'HS256' })
    .setSubject(sub)
    .setIssuer('dev')
    .setAudience('https://gw.example')
    .setExpirationTime('5m')
    .sign(new TextEncoder().encode(SECRET));
}

beforeAll(async () => {
  server = await startScripted({
    'tools/list': () => ({ tools: [tool('work'), tool('acme_only')], ...hints }),
    'tools/call': () => ({ resultType: 'task', taskId: 'task-1', status: 'working' }),
    'tasks/get': () => ({ status: 'completed' }),
  });
  gateway = await startGateway({
    servers: { s: { url: server.url } },
    endpoints: { '/mcp': {}, '/team': {} },
    auth: [
      {
        name: 'dev',
        jwt: {
          issuer: 'dev',
          secret: SECRET,
          algorithms: ['HS256'],
          audience: 'https://gw.example',
        },
        map: {
          tenant: 'org',
          tenants: ['acme', 'zeta'],
          roles: { claim: 'roles', grant: { user: 'user', operator: 'operator', auditor: 'auditor', admin: 'admin' } },
        },
      },
    ],
    access: [
      { who: 'entry:dev', may: 's/work' },
      { who: 'tenant:acme', may: 's/acme_only' },
    ],
  });
  for (const [name, sub, org] of [
    ['ada@acme', 'ada', 'acme'],
    ['ada@zeta', 'ada', 'zeta'],
    ['bob@acme', 'bob', 'acme'],
  ] as const) {
    tokens.set(name, await sign(sub, org));
  }
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
});

const legacy = (who: string, path: string, session: string | undefined, method = 'POST', body?: object) =>
  fetch(gateway.url + path, {
    method,
    headers: {
      authorization: `Bearer ${tokens.get(who)}`,
      accept: method === 'GET' ? 'text/event-stream' : 'application/json, text/event-stream',
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...(session === undefined ? {} : { 'mcp-session-id': session }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify({ jsonrpc: '2.0', ...body }) }),
  });

async function open(who: string): Promise<string> {
  const params = { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 't', version: '1' } };
  const response = await legacy(who, '/mcp', undefined, 'POST', { id: 0, method: 'initialize', params });
  await response.arrayBuffer();
  return response.headers.get('mcp-session-id')!;
}

describe('a legacy session', () => {
  it.each([
    ['GHSA-mvgg-jvj2-4frq (agentgateway): the same caller at another endpoint', 'ada@acme', '/team'],
    ['Asana, 2025: the same person with a credential of another tenant', 'ada@zeta', '/mcp'],
    ['CVE-2026-33946 (Ruby SDK): somebody else of the same tenant', 'bob@acme', '/mcp'],
  ])('is 404 for %s, whatever is tried with its id', async (_why, who, path) => {
    verifies('R0-53', 'R2-18');
    const session = await open('ada@acme');
    const ping = { id: 1, method: 'ping' };
    for (const [method, body] of [
      ['POST', ping],
      ['GET', undefined],
      ['DELETE', undefined],
    ] as const) {
      const response = await legacy(who, path, session, method, body);
      await response.body?.cancel();
      expect([method, response.status]).toEqual([method, 404]);
    }
    const own = await legacy('ada@acme', '/mcp', session, 'POST', ping);
    await own.arrayBuffer();
    expect(own.status).toBe(200);
  });
});

describe('answers', () => {
  it('CVE-2026-25536 (TypeScript SDK): reach who asked, however many use one id at a time', async () => {
    const sessions = await Promise.all([...tokens.keys()].map(async (who) => ({ who, session: await open(who) })));
    const lists = await Promise.all(
      Array.from({ length: 60 }, async (_, i) => {
        const { who, session } = sessions[i % sessions.length]!;
        const response = await legacy(who, '/mcp', session, 'POST', { id: Math.floor(i / 3), method: 'tools/list' });
        return { who, text: await response.text() };
      }),
    );
    for (const { who, text } of lists) expect(text.includes('acme_only'), who).toBe(who.endsWith('@acme'));
  });
});

describe('tasks, cursors and streams', () => {
  it('are of one principal, tenant and endpoint', async () => {
    const call = (who: string, method: string, params: object, path = '/mcp') =>
      gateway.call(method, params as never, {
        token: tokens.get(who)!,
        path,
        headers: method === 'tasks/get' ? { 'mcp-name': 'task-1' } : {},
      });
    expect((await call('ada@acme', 'tools/call', { name: 'work', arguments: {} })).body.result).toMatchObject({
      taskId: 'task-1',
    });
    for (const [who, path] of [
      ['ada@zeta', '/mcp'],
      ['bob@acme', '/mcp'],
      ['ada@acme', '/team'],
    ] as const) {
      const { body } = await call(who, 'tasks/get', { taskId: 'task-1' }, path);
      expect([who, path, body.error?.code, body.error?.message]).toEqual([who, path, -32602, 'Unknown task']);
    }
    expect((await call('ada@acme', 'tasks/get', { taskId: 'task-1' })).body.result).toMatchObject({
      status: 'completed',
    });
  });

  it('end with a block of their tenant, and no others', async () => {
    const listen = async (who: string) => {
      const response = await fetch(`${gateway.url}/mcp`, {
        method: 'POST',
        headers: {
          ...Object.fromEntries(modernHeaders('subscriptions/listen', {})),
          authorization: `Bearer ${tokens.get(who)}`,
        },
        body: modernBody(7, 'subscriptions/listen', { _meta: modernMeta(), notifications: {} }),
      });
      const reader = response.body!.getReader();
      await reader.read();
      return reader;
    };
    const readers = await Promise.all([...tokens.keys()].map(listen));
    gateway.gateway.hub.revoke((principal) => (principal.tenant === 'acme' ? (new Error('x') as never) : undefined));
    expect(gateway.gateway.hub.streams).toBe(1);
    await Promise.all(readers.map((reader) => reader.cancel()));
  });
});

describe('roles over MCP', () => {
  it.each(
    [[], ['user'], ['operator'], ['auditor'], ['admin']].map((roles) => ({ roles })),
  )('give nothing: $roles', async ({ roles }) => {
    verifies('R2-15', 'R0-53');
    const token = await sign(`somebody-${roles.join('')}`, 'zeta', roles);
    expect(await gateway.names('tools', { token })).toEqual(['work']);
    const session = await open('ada@acme');
    tokens.set('them', token);
    const stolen = await legacy('them', '/mcp', session, 'POST', { id: 1, method: 'ping' });
    tokens.delete('them');
    expect(stolen.status).toBe(404);
    const hidden = await gateway.call('tools/call', { name: 'acme_only', arguments: {} }, { token });
    expect(hidden.body.error?.code).toBe(-32602);
  });
});
