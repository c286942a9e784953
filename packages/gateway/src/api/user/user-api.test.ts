import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createFakeClock, type FakeClock } from '@tollgate/testkit/fake-clock';
import { verifies } from '@tollgate/testkit/verifies';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type Log, silentLog } from '../../core/log.ts';
import type { GatewayState } from '../../pipeline/state.ts';
import { type ScriptedServer, startScripted, type TestGateway, tool } from '../../pipeline/testing.ts';
import { Grants, principalOwner } from '../../upstream/auth/grants.ts';
import { startUserGateway, type UserGateway } from '../testing/user-gateway.ts';

const DAY = 86_400_000;
const OPENAI = `sk-${'a'.repeat(37)}`;
const OPENAI_NEW = `sk-${'b'.repeat(40)}`;
const ANTHROPIC = `sk-ant-${'c'.repeat(50)}`;

let folder: string;
let clock: FakeClock;
let state: GatewayState;
let server: ScriptedServer;
let place: UserGateway;
let gateway: TestGateway;
const logged: string[] = [];
const log: Log = {
  ...silentLog,
  info: (...line) => logged.push(JSON.stringify(line)),
  warn: (...line) => logged.push(JSON.stringify(line)),
  error: (...line) => logged.push(JSON.stringify(line) + String((line[0] as { err?: Error }).err?.stack)),
};

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tollgate-user-'));
  clock = createFakeClock(Date.now());
  server = await startScripted({
    'tools/list': () => ({
      tools: [
        tool('add', { a: { type: 'integer', maximum: 1e21 } }),
        tool('exact'),
        tool('secret'),
        tool('few'),
        tool('dear'),
        tool('broken'),
        tool('fails'),
        tool('asks'),
      ],
      ttlMs: 60_000,
      cacheScope: 'private',
    }),
    'tools/call': ({ name, arguments: args }, response, id) => {
      if (name === 'exact') {
        const result = '{"resultType":"complete","content":[],"structuredContent":{"n":9007199254740993}}';
        response.writeHead(200, { 'content-type': 'application/json' });
        response.end(`{"jsonrpc":"2.0","id":${JSON.stringify(id)},"result":${result}}`);
        return undefined;
      }
      if (name === 'broken') throw { code: -31999, message: 'the server says no' };
      if (name === 'fails') return { content: [{ type: 'text', text: 'no such row' }], isError: true };
      if (name === 'asks') return { resultType: 'input_required', requestState: 'x' };
      return { content: [{ type: 'text', text: 'ran' }], structuredContent: { args } };
    },
  });
  const bearer = (subject: string, more: object = {}) => ({
    name: subject,
    bearer: { token: `token-of-${subject}-0123456789`, subject, roles: ['user'], ...more },
  });
  const config = {
    dataDir: folder,
    servers: {
      math: { url: server.url },
      keyed: { url: server.url, headers: { 'x-provider-key': 'key=${vault:user/google}' } },
    },
    endpoints: {
      '/other': { servers: ['math'] },
      '/mcp': { servers: ['math', 'keyed'], auth: ['ada', 'bob', 'root'] },
    },
    routes: [
      { tool: 'math/secret', to: 'math', scope: 'secrets' },
      { tool: 'keyed/add', to: 'keyed' },
      { tool: 'math/*', to: 'math' },
    ],
    auth: [
      bearer('ada'),
      bearer('bob'),
      bearer('root', { roles: ['admin'] }),
      bearer('outsider'),
      { anonymous: { tier: 'basic' } },
    ],
    tools: { 'math/dear': { price: { each: '2 USD' } } },
    limits: {
      few: { by: 'principal', tool: 'few', limit: '1/h' },
      spend: { by: 'principal', limit: '1 USD/day' },
    },
    tiers: { basic: {} },
  };
  place = await startUserGateway(config, { clock, log });
  ({ gateway, state } = place);
});
/** Nobody has a key of a provider at the beginning of a test. */
beforeEach(async () => {
  for (const principal of ['ada/ada', 'bob/bob']) {
    for (const name of ['openai', 'anthropic', 'google']) {
      await state.vault.remove({ owner: { kind: 'principal', principal }, purpose: 'provider-key', name }, 'test');
    }
  }
});
afterAll(async () => {
  await place[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
  await rm(folder, { recursive: true });
});

interface Told {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  readonly body: Record<string, unknown>;
}

async function send(who: string | undefined, method: string, path: string, body?: unknown): Promise<Told> {
  const response = await fetch(gateway.url + path, {
    method,
    headers: {
      ...(who === undefined ? {} : { authorization: `Bearer token-of-${who}-0123456789` }),
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  });
  const text = await response.text();
  return { status: response.status, headers: response.headers, text, body: text === '' ? {} : JSON.parse(text) };
}

const invoke = (who: string, name: string, parameters: object = {}, more: object = {}) =>
  send(who, 'POST', '/mcp/tools/invoke', { tool_name: name, parameters, user_id: who, ...more });

describe('who uses the user API', () => {
  const paths = [
    ['GET', '/api-keys/providers'],
    ['GET', '/api-keys'],
    ['POST', '/api-keys'],
    ['GET', '/api-keys/openai'],
    ['PUT', '/api-keys/openai'],
    ['DELETE', '/api-keys/openai'],
    ['POST', '/mcp/tools/invoke'],
    ['GET', '/mcp/tools/available'],
    ['GET', '/mcp/tools/add/schema'],
    ['GET', '/mcp/accounts'],
    ['DELETE', '/mcp/accounts/notes'],
    ['GET', '/mcp/activity'],
  ] as const;

  it('has a credential, on every path, although anonymous callers may use the endpoints', async () => {
    verifies('R2-07', 'R2-08', 'R2-09');
    for (const [method, path] of paths) {
      const none = await send(undefined, method, path, method === 'GET' ? undefined : {});
      expect([path, none.status, none.body['reason']]).toEqual([path, 401, 'unauthorized']);
      expect(none.headers.get('www-authenticate')).toMatch(/^Bearer/);
      expect((await send('nobody', method, path)).status, path).toBe(401);
    }
  });

  it('gets headers that keep answers out of caches, frames and guesses, errors included', async () => {
    verifies('R2-21');
    for (const answer of [await send('ada', 'GET', '/api-keys'), await send(undefined, 'GET', '/api-keys')]) {
      expect(answer.headers.get('cache-control')).toBe('no-store');
      expect(answer.headers.get('x-content-type-options')).toBe('nosniff');
      expect(answer.headers.get('content-security-policy')).toContain("default-src 'none'");
      expect(answer.headers.get('x-frame-options')).toBe('DENY');
    }
  });

  it('is itself: another user_id is USER_MISMATCH, whether that user exists or not, unless an admin names it', async () => {
    verifies('C-14');
    const of = (user: string) => ({ provider: 'openai', api_key: OPENAI, user_id: user });
    const refused = [
      await send('ada', 'POST', '/api-keys', of('bob/bob')),
      await send('ada', 'POST', '/api-keys', of('nobody/none')),
      await send('ada', 'GET', '/api-keys?user_id=bob/bob'),
      await send('ada', 'DELETE', '/api-keys/openai?user_id=bob/bob'),
      await send('ada', 'GET', '/mcp/activity?user_id=bob/bob'),
      await invoke('ada', 'add', {}, { user_id: 'bob/bob' }),
    ];
    for (const { status, body } of refused)
      expect([status, body['reason']], logged.join()).toEqual([403, 'USER_MISMATCH']);
    expect(new Set(refused.map(({ text }) => text)).size).toBe(1);
    expect((await send('root', 'POST', '/api-keys', of('bob/bob'))).body).toMatchObject({ user_id: 'bob/bob' });
    expect((await send('bob', 'GET', '/api-keys/openai')).body).toMatchObject({ active: true });
    expect((await send('ada', 'GET', '/api-keys/openai')).status).toBe(404);
    expect((await send('root', 'POST', '/api-keys', of('bob'))).status).toBe(400);
  });
});

describe('a key of a provider', () => {
  it('is stored, shown as a fingerprint, replaced, deactivated, and never told again', async () => {
    verifies('R2-02', 'R2-22', 'X2-03', 'X2-04');
    const body = { provider: 'openai', api_key: OPENAI, user_id: 'ada', expires_in_days: 30 };
    const stored = await send('ada', 'POST', '/api-keys', body);
    expect(stored.body).toMatchObject({ success: true, message: 'The key of openai is stored.', active: true });
    expect(Date.parse(String(stored.body['expires_at']))).toBe(Math.floor(clock.wall()) + 30 * DAY);
    const { fingerprint } = stored.body;
    const replaced = await send('ada', 'PUT', '/api-keys/openai', {
      api_key: OPENAI_NEW,
      user_id: 'ada',
      overlap: '1h',
    });
    expect(replaced.body).toMatchObject({ success: true, active: true, expires_at: null });
    expect(replaced.body['fingerprint']).not.toBe(fingerprint);
    const id = { owner: { kind: 'principal', principal: 'ada/ada' }, purpose: 'provider-key', name: 'openai' } as const;
    expect(await state.vault.get(id, 'test')).toBe(OPENAI_NEW);
    expect(await state.vault.previous(id, 'test')).toBe(OPENAI);
    expect((await send('ada', 'GET', '/api-keys')).body['api_keys']).toHaveLength(1);
    expect((await send('ada', 'DELETE', '/api-keys/openai')).body).toMatchObject({ success: true });
    expect(await state.vault.get(id, 'test')).toBeUndefined();
    expect((await send('ada', 'GET', '/api-keys/openai')).body).toMatchObject({ active: false, state: 'revoked' });
    const gone = await send('ada', 'PUT', '/api-keys/openai', { api_key: OPENAI, user_id: 'ada' });
    expect([gone.status, gone.body['reason']]).toEqual([404, 'not_found']);
    expect((await send('ada', 'DELETE', '/api-keys/anthropic')).status).toBe(404);
    const everything = JSON.stringify([
      stored.text,
      replaced.text,
      gone.text,
      logged,
      (await state.store!.actions.list()).items,
    ]);
    expect(everything).not.toContain('aaaaaaaa');
    expect(everything).not.toContain('bbbbbbbb');
  });

  it('that has expired is switched off when it is looked at, says how to renew, and takes nothing else with it', async () => {
    verifies('R2-44', 'X2-05');
    const body = { provider: 'anthropic', api_key: ANTHROPIC, user_id: 'bob', expires_in_days: 1 };
    await send('bob', 'POST', '/api-keys', body);
    await send('bob', 'POST', '/api-keys', { provider: 'openai', api_key: OPENAI, user_id: 'bob' });
    clock.advance(DAY + 1);
    expect((await invoke('bob', 'add', {}, { provider: 'anthropic' })).body['error']).toContain('expired');
    const status = await send('bob', 'GET', '/api-keys/anthropic');
    expect(status.body).toMatchObject({ active: false, state: 'expired', renew: expect.stringContaining('PUT') });
    const revoked = (await state.store!.actions.list()).items.find(({ action }) => action === 'vault_revoked');
    expect(revoked).toMatchObject({ by: 'gateway' });
    expect((await send('bob', 'GET', '/api-keys/openai')).body).toMatchObject({ active: true });
    expect((await invoke('bob', 'add')).body).toMatchObject({ success: true });
    const renewed = await send('bob', 'PUT', '/api-keys/anthropic', { api_key: ANTHROPIC, user_id: 'bob' });
    expect(renewed.body).toMatchObject({ active: true });
  });

  it.each([
    ['an unknown provider', { provider: 'acme', api_key: OPENAI, user_id: 'ada' }, 400],
    ['fewer than ten characters', { provider: 'google', api_key: 'short', user_id: 'ada' }, 400],
    ['fewer than twenty', { provider: 'google', api_key: 'a'.repeat(19), user_id: 'ada' }, 400],
    ['openai without sk-', { provider: 'openai', api_key: 'a'.repeat(60), user_id: 'ada' }, 400],
    ['openai of 39', { provider: 'openai', api_key: OPENAI.slice(1), user_id: 'ada' }, 400],
    ['anthropic of 49', { provider: 'anthropic', api_key: ANTHROPIC.slice(0, 49), user_id: 'ada' }, 400],
    ['a key of anthropic for openai', { provider: 'openai', api_key: ANTHROPIC, user_id: 'ada' }, 400],
    ['a blank', { provider: 'google', api_key: `${'a'.repeat(20)} x`, user_id: 'ada' }, 400],
    ['no provider', { api_key: OPENAI, user_id: 'ada' }, 422],
    ['no key', { provider: 'openai', user_id: 'ada' }, 422],
    ['no user', { provider: 'openai', api_key: OPENAI }, 422],
    ['a number for a key', { provider: 'openai', api_key: 5, user_id: 'ada' }, 422],
    ['two ends', { provider: 'openai', api_key: OPENAI, user_id: 'ada', expires_in_days: 1, expires_at: 'x' }, 422],
    [
      'an end that is past',
      { provider: 'openai', api_key: OPENAI, user_id: 'ada', expires_at: '2020-01-01T00:00:00Z' },
      422,
    ],
    ['a member that nobody knows', { provider: 'openai', api_key: OPENAI, user_id: 'ada', scope: '*' }, 422],
    ['the same member twice', `{"provider":"openai","api_key":"${OPENAI}","user_id":"ada","user_id":"bob"}`, 400],
    ['more than one value', `{"provider":"openai","api_key":"${OPENAI}","user_id":"ada"},"id":"x"`, 400],
    ['no JSON', '{', 400],
  ])('with %s is refused and not repeated', async (_, body, status) => {
    verifies('X2-05');
    const answer = await send('ada', 'POST', '/api-keys', body);
    expect([answer.status, answer.body['success']], answer.text).toEqual([status, false]);
    for (const key of [OPENAI, ANTHROPIC]) expect(answer.text).not.toContain(key.slice(0, 20));
    expect((await send('ada', 'GET', '/api-keys/google')).status).toBe(404);
  });

  it('of each provider that there is', async () => {
    const { providers } = (await send('ada', 'GET', '/api-keys/providers')).body;
    expect(providers).toEqual(
      ['openai', 'anthropic', 'google'].map((name) => ({ name, features: expect.arrayContaining(['chat']) })),
    );
  });
});

describe('a tool over REST', () => {
  it('gives its result as it is, numbers kept, in the shape of R2-09', async () => {
    verifies('R2-09');
    const { status, text, body } = await invoke('ada', 'add', { a: 5, ü: [null] }, { user_id: 'ada/ada' });
    expect([status, body['success'], body['cached']]).toEqual([200, true, false]);
    expect(text).toContain('"structuredContent":{"args":{"a":5,"ü":[null]}}');
    expect((await invoke('ada', 'exact')).text).toContain('{"n":9007199254740993}');
    const failed = await invoke('ada', 'fails');
    expect(failed).toMatchObject({ status: 200, body: { success: false, result: { isError: true } } });
  });

  it('goes the way of every call: scope, limit, money, records, each with its real status', async () => {
    const calls = server.seen.length;
    const scope = await invoke('ada', 'secret');
    expect([scope.status, scope.body['reason']]).toEqual([403, 'insufficient_scope']);
    expect((await invoke('ada', 'few')).status).toBe(200);
    const limited = await invoke('ada', 'few');
    expect([limited.status, limited.body['reason'], limited.body['success']]).toEqual([429, 'rate_limited', false]);
    expect(Number(limited.headers.get('retry-after'))).toBeGreaterThan(0);
    // The same counter as over MCP.
    const overMcp = await gateway.call('tools/call', { name: 'few' }, { token: 'token-of-ada-0123456789' });
    expect(overMcp.body.error?.code).toBe(429);
    const dear = await invoke('ada', 'dear');
    expect([dear.status, (dear.body['decision'] as { reason: string }).reason]).toEqual([402, dear.body['reason']]);
    const stop = await state.books.stop({ scope: 'tool:math/add', reason: 'incident', by: 'test' });
    expect((await invoke('ada', 'add')).status).toBe(503);
    await state.books.resume(stop.id, 'test');
    expect(server.seen.length - calls).toBe(1);
    const activity = await send('ada', 'GET', '/mcp/activity');
    expect(activity.body).toMatchObject({ user_id: 'ada/ada', days: 30, calls: { refused: expect.any(Number) } });
    expect((activity.body['calls'] as { refused: number }).refused).toBeGreaterThanOrEqual(3);
    expect(activity.text).toContain('math/few');
    expect((await send('bob', 'GET', '/mcp/activity')).text).not.toContain('math/few');
  });

  it.each([
    ['nothing', 404, 'unknown_name'],
    ['broken', 502, 'server_error'],
    ['asks', 409, 'input_required'],
  ])('named %s is %i %s', async (name, status, reason) => {
    expect(await invoke('ada', name)).toMatchObject({ status, body: { success: false, result: null, reason } });
  });

  it('is for those whom the endpoint accepts', async () => {
    expect((await invoke('outsider', 'add')).status).toBe(401);
    expect((await send('outsider', 'GET', '/mcp/tools/available')).status).toBe(401);
  });

  it('needs a key of the provider that the request names', async () => {
    expect((await invoke('ada', 'add', {}, { provider: 'google' })).body['error']).toContain('no key of google');
    expect((await invoke('ada', 'add', {}, { provider: 'acme' })).status).toBe(400);
    await send('ada', 'POST', '/api-keys', { provider: 'google', api_key: 'g'.repeat(30), user_id: 'ada' });
    expect((await invoke('ada', 'add', {}, { provider: 'google' })).status).toBe(200);
  });

  it('is given the key of the caller, where the server declares that it wants it', async () => {
    verifies('R2-02');
    await send('bob', 'POST', '/api-keys', { provider: 'google', api_key: `bob${'b'.repeat(30)}`, user_id: 'bob' });
    await send('ada', 'POST', '/api-keys', { provider: 'google', api_key: 'g'.repeat(30), user_id: 'ada' });
    const sent = async (who: string): Promise<unknown> => {
      expect((await invoke(who, 'keyed_add')).status).toBe(200);
      return server.seen.findLast(({ method }) => method === 'tools/call')?.headers['x-provider-key'];
    };
    expect([await sent('ada'), await sent('bob')]).toEqual([`key=${'g'.repeat(30)}`, `key=bob${'b'.repeat(30)}`]);
    await send('bob', 'DELETE', '/api-keys/google');
    const without = await invoke('bob', 'keyed_add');
    expect(without.status).toBeGreaterThanOrEqual(400);
    expect(without.body['error']).toContain('google');
  });

  it('is listed and described for who may use it', async () => {
    verifies('X2-03');
    const available = await send('ada', 'GET', '/mcp/tools/available');
    const names = (available.body['tools'] as { name: string }[]).map(({ name }) => name);
    expect(names).toContain('add');
    expect(names).not.toContain('secret');
    const schema = await send('ada', 'GET', '/mcp/tools/add/schema');
    expect(schema.text).toContain('1e+21');
    expect(schema.body).toMatchObject({ server: 'math', tool: { name: 'add' } });
    expect((await send('ada', 'GET', '/mcp/tools/secret/schema')).status).toBe(403);
    expect((await send('ada', 'GET', '/mcp/tools/nothing/schema')).status).toBe(404);
  });

  it('takes JSON of a bounded size, and no form of another site', async () => {
    const form = await fetch(`${gateway.url}/mcp/tools/invoke`, {
      method: 'POST',
      headers: { authorization: 'Bearer token-of-ada-0123456789', 'content-type': 'text/plain' },
      body: '{"tool_name":"add","parameters":{},"user_id":"ada"}',
    });
    expect(form.status).toBe(415);
    const deep = `{"tool_name":"add","parameters":${'{"a":'.repeat(100)}1${'}'.repeat(100)},"user_id":"ada"}`;
    expect((await send('ada', 'POST', '/mcp/tools/invoke', deep)).status).toBe(400);
    const streamed = await fetch(`${gateway.url}/mcp/tools/invoke`, {
      method: 'POST',
      headers: { authorization: 'Bearer token-of-ada-0123456789', 'content-type': 'application/json' },
      body: new Blob(['{"tool_name":"add","parameters":{},"user_id":"ada"}']).stream(),
      duplex: 'half',
    } as RequestInit);
    expect(streamed.status).toBe(200);
    const large = JSON.stringify({ tool_name: 'add', parameters: { a: 'x'.repeat(5 * 1024 * 1024) }, user_id: 'ada' });
    expect((await send('ada', 'POST', '/mcp/tools/invoke', large)).status).toBe(413);
  });
});

describe('an account at a server', () => {
  const URL_OF_NOTES = 'https://notes.example/mcp';
  const grant = {
    version: 1 as const,
    url: URL_OF_NOTES,
    issuer: 'https://idp.example',
    tokenEndpoint: 'https://idp.example/token',
    client: { client_id: 'c' },
    tokens: { accessToken: 'access-canary', refreshToken: 'refresh-canary', scope: 'notes:read' },
    signedInAt: Date.UTC(2030, 0, 1),
  };

  it('is shown to its owner without its tokens, and ended by its owner or an admin alone', async () => {
    verifies('R0-53');
    const grants = new Grants(state.vault);
    await grants.write('notes', principalOwner('ada/ada'), grant, 'ada/ada');
    const seen = await send('ada', 'GET', '/mcp/accounts');
    expect(seen.text).not.toContain('canary');
    expect(seen.body).toMatchObject({
      user_id: 'ada/ada',
      accounts: [
        { server: 'notes', issuer: grant.issuer, scope: 'notes:read', connected_at: '2030-01-01T00:00:00.000Z' },
      ],
    });
    expect((await send('bob', 'GET', '/mcp/accounts')).body['accounts']).toEqual([]);
    expect((await send('bob', 'DELETE', '/mcp/accounts/notes')).status).toBe(404);
    expect((await send('bob', 'DELETE', '/mcp/accounts/notes?user_id=ada/ada')).body['reason']).toBe('USER_MISMATCH');
    expect(await grants.signedInAt('notes', principalOwner('ada/ada'))).toBe(grant.signedInAt);
    expect((await send('root', 'DELETE', '/mcp/accounts/notes?user_id=ada/ada')).status).toBe(200);
    expect(await grants.read('notes', principalOwner('ada/ada'), URL_OF_NOTES)).toBeUndefined();
    expect((await send('ada', 'GET', '/mcp/accounts')).body['accounts']).toEqual([]);
    expect((await send('ada', 'DELETE', '/mcp/accounts/notes')).status).toBe(404);
  });

  it('stays ended when its token was being renewed at that moment', async () => {
    const grants = new Grants(state.vault);
    await grants.write('notes', principalOwner('bob/bob'), grant, 'bob/bob');
    const started = Promise.withResolvers<void>();
    const answer = Promise.withResolvers<void>();
    const renewal = grants.update('notes', principalOwner('bob/bob'), URL_OF_NOTES, async () => {
      started.resolve();
      await answer.promise;
      return { ...grant, tokens: { accessToken: 'renewed' } };
    });
    await started.promise;
    let ended = false;
    const ending = send('bob', 'DELETE', '/mcp/accounts/notes').finally(() => {
      ended = true;
    });
    // Requests behind it are answered meanwhile: it waits for the renewal, and for nothing else.
    expect((await send('bob', 'GET', '/mcp/accounts')).body['accounts']).toHaveLength(1);
    expect(ended).toBe(false);
    answer.resolve();
    await renewal;
    expect((await ending).status).toBe(200);
    expect(await grants.read('notes', principalOwner('bob/bob'), URL_OF_NOTES)).toBeUndefined();
  });
});
