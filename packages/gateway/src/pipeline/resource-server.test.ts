/** The gateway as OAuth 2.1 resource server: metadata and challenges, byte for byte, on every transport. */
import { createHmac } from 'node:crypto';
import { discoverOAuthProtectedResourceMetadata, extractWWWAuthenticateParams } from '@modelcontextprotocol/client';
import { modernBody, modernHeaders } from '@tollgate/testkit/modern-request';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ScriptedServer, startGateway, startScripted, type TestGateway, tool } from './testing.ts';

const SECRET = 'a secret of at least thirty-two characters';
const WELL_KNOWN = '/.well-known/oauth-protected-resource';

function token(aud: string, claims: object = {}): string {
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  const now = Math.floor(Date.now() / 1000);
  const payload = { iss: 'https://idp.example', sub: 'ada', aud, exp: now + 300, ...claims };
  const signed = `${part({ alg: 'HS256', typ: 'JWT' })}.${part(payload)}`;
  return `${signed}.${createHmac('sha256', SECRET).update(signed).digest('base64url')}`;
}

const corp = { name: 'corp', jwt: { issuer: 'https://idp.example', secret: SECRET, algorithms: ['HS256'] } };
const svc = { name: 'svc', jwt: { issuer: 'svc', secret: `${SECRET}.`, algorithms: ['HS256'] } };
const ci = { name: 'ci', bearer: { token: 'token-of-ci-0123456789', subject: 'ci', scopes: [] } };

let server: ScriptedServer;
let gateway: TestGateway;

beforeAll(async () => {
  server = await startScripted({
    'tools/list': () => ({ tools: [tool('read'), tool('wipe')], ttlMs: 60_000, cacheScope: 'private' }),
  });
  gateway = await startGateway({
    servers: { s: { url: server.url } },
    endpoints: {
      '/mcp': { servers: '*', auth: ['corp', 'svc', 'ci'] },
      '/team': { servers: '*', scope: 'team', auth: ['corp'] },
      '/ci': { servers: '*', auth: ['ci', 'svc'] },
    },
    routes: [{ tool: 'wipe', to: 's', scope: 'admin:wipe' }, { to: 's' }],
    auth: [corp, svc, ci],
  });
});
afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
});

const metadataOf = (path: string): string => `${gateway.url}${WELL_KNOWN}${path}`;

describe('the metadata of a protected resource', () => {
  it('is one per endpoint, with its own URI, its issuers and only the scope that everything needs', async () => {
    const read = async (path: string): Promise<unknown> => (await fetch(metadataOf(path))).json();
    expect(await read('/mcp')).toEqual({
      resource: `${gateway.url}/mcp`,
      authorization_servers: ['https://idp.example'],
      bearer_methods_supported: ['header'],
    });
    expect(await read('/team')).toEqual({
      resource: `${gateway.url}/team`,
      authorization_servers: ['https://idp.example'],
      scopes_supported: ['team'],
      bearer_methods_supported: ['header'],
    });
    expect(await read('/s/s')).toMatchObject({ resource: `${gateway.url}/s/s` });
    expect(await read('')).toEqual(await read('/mcp'));
    const found = await discoverOAuthProtectedResourceMetadata(`${gateway.url}/team`);
    expect(found.resource).toBe(`${gateway.url}/team`);
  });

  it('does not exist where no authorization server makes tokens, and for what is no endpoint', async () => {
    for (const path of ['/ci', '/nothing', '/mcp/', '/mcp/sse', 'x']) {
      expect((await fetch(metadataOf(path))).status, path).toBe(404);
    }
    expect((await fetch(metadataOf('/mcp'), { method: 'POST', body: '{}' })).status).toBe(405);
  });

  it('stands where the public URL puts it, its path included', async () => {
    await using public_ = await startGateway({
      publicUrl: 'https://GW.example/gate/',
      servers: { s: { url: server.url } },
      auth: [corp],
    });
    const refused = await public_.call('tools/list');
    expect(refused.headers.get('www-authenticate')).toBe(
      `Bearer resource_metadata="https://gw.example${WELL_KNOWN}/gate/mcp"`,
    );
    for (const path of ['/gate/mcp', '/mcp']) {
      const document = (await (await fetch(`${public_.url}${WELL_KNOWN}${path}`)).json()) as { resource: string };
      expect(document.resource).toBe('https://gw.example/gate/mcp');
    }
  });
});

/** One request of each transport, without a body that anybody would get to read. */
const REQUESTS: readonly (readonly [string, (path: string) => readonly [string, RequestInit]])[] = [
  [
    'a modern POST',
    (path) => [
      path,
      {
        method: 'POST',
        headers: [...modernHeaders('tools/list', {})] as [string, string][],
        body: modernBody(1, 'tools/list', {}),
      },
    ],
  ],
  [
    'a legacy POST',
    (path) => [
      path,
      {
        method: 'POST',
        headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream' },
        body: '{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}',
      },
    ],
  ],
  ['a GET', (path) => [path, { headers: { accept: 'text/event-stream', 'mcp-session-id': 'x' } }]],
  ['the stream of HTTP+SSE', (path) => [`${path}/sse`, { headers: { accept: 'text/event-stream' } }]],
  ['a message of HTTP+SSE', (path) => [`${path}/messages/?session_id=x`, { method: 'POST', body: '{}' }]],
];

describe.each(REQUESTS)('401 for %s', (_name, request) => {
  async function challenge(path: string, authorization?: string): Promise<string | null> {
    const [target, init] = request(path);
    const headers = new Headers(init.headers);
    if (authorization !== undefined) headers.set('authorization', authorization);
    const response = await fetch(gateway.url + target, { ...init, headers });
    await response.body?.cancel();
    expect(response.status).toBe(401);
    return response.headers.get('www-authenticate');
  }

  it('says where tokens are to be had, and calls nothing an error where none was sent', async () => {
    expect(await challenge('/mcp')).toBe(`Bearer resource_metadata="${metadataOf('/mcp')}"`);
    expect(await challenge('/team')).toBe(`Bearer scope="team", resource_metadata="${metadataOf('/team')}"`);
    expect(await challenge('/team', 'Basic YTpi')).toBe(
      `Bearer scope="team", resource_metadata="${metadataOf('/team')}"`,
    );
  });

  it('calls a token invalid that is none, is damaged, or was made for another endpoint', async () => {
    const expected = `Bearer error="invalid_token", scope="team", resource_metadata="${metadataOf('/team')}"`;
    const good = token(`${gateway.url}/mcp`, { scope: 'team' });
    for (const sent of [
      'x',
      good,
      `${token(`${gateway.url}/team`)}x`,
      token(`${gateway.url}/team/`),
      token(gateway.url),
    ]) {
      expect(await challenge('/team', `Bearer ${sent}`)).toBe(expected);
    }
  });

  it('is bare where no authorization server makes tokens', async () => {
    expect(await challenge('/ci')).toBe('Bearer');
    expect(await challenge('/ci', 'Bearer x')).toBe('Bearer');
  });
});

describe('403 insufficient_scope', () => {
  const wipe = { name: 'wipe', arguments: {} };

  it('names all scopes of this operation at once and no other', async () => {
    const both = `Bearer error="insufficient_scope", scope="team admin:wipe", resource_metadata="${metadataOf('/team')}"`;
    for (const scope of ['', 'team', 'admin:wipe', 'read write']) {
      const got = await gateway.call('tools/call', wipe, {
        path: '/team',
        token: token(`${gateway.url}/team`, { scope }),
      });
      expect([got.status, got.headers.get('www-authenticate')]).toEqual([403, both]);
      expect(extractWWWAuthenticateParams(new Response(null, { headers: got.headers }))).toMatchObject({
        scope: 'team admin:wipe',
        error: 'insufficient_scope',
      });
    }
    const one = await gateway.call('tools/call', wipe, { token: token(`${gateway.url}/mcp`) });
    expect(one.headers.get('www-authenticate')).toBe(
      `Bearer error="insufficient_scope", scope="admin:wipe", resource_metadata="${metadataOf('/mcp')}"`,
    );
    const enough = { path: '/team', token: token(`${gateway.url}/team`, { scope: 'team admin:*' }) };
    expect((await gateway.call('tools/call', wipe, enough)).status).toBe(200);
    expect(server.seen.filter(({ method }) => method === 'tools/call')).toHaveLength(1);
  });

  it('reaches a client that reads event streams only, and legacy sessions', async () => {
    const bearer = { authorization: `Bearer ${token(`${gateway.url}/mcp`)}` };
    const modern = await gateway.call('tools/call', wipe, { headers: { ...bearer, accept: 'text/event-stream' } });
    expect(modern.status).toBe(403);
    const legacy = async (body: object, headers: Record<string, string> = {}): Promise<Response> =>
      fetch(`${gateway.url}/mcp`, {
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          accept: 'application/json, text/event-stream',
          ...bearer,
          ...headers,
        },
        body: JSON.stringify({ jsonrpc: '2.0', ...body }),
      });
    const params = { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 't', version: '1' } };
    const opened = await legacy({ id: 0, method: 'initialize', params });
    const session = { 'mcp-session-id': opened.headers.get('mcp-session-id') ?? '' };
    await opened.arrayBuffer();
    for (const accept of ['application/json, text/event-stream', 'text/event-stream']) {
      const refused = await legacy({ id: 1, method: 'tools/call', params: wipe }, { ...session, accept });
      expect([refused.status, refused.headers.get('www-authenticate')]).toEqual([
        403,
        modern.headers.get('www-authenticate'),
      ]);
      await refused.arrayBuffer();
    }
  });
});
