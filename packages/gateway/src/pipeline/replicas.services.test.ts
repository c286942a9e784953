/** Two whole gateways on one PostgreSQL and one Redis: whoever one lets in or shows the door, so does the other. */
import { randomBytes } from 'node:crypto';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import type { AuthorizationServer } from '@tollgate/testkit/authorization-server';
import { canary } from '@tollgate/testkit/canaries';
import { type Database, emptyDatabase } from '@tollgate/testkit/databases';
import { modernBody, modernHeaders, modernMeta } from '@tollgate/testkit/modern-request';
import { temporaryDirectory } from '@tollgate/testkit/temporary-directory';
import { verifies } from '@tollgate/testkit/verifies';
import { waitUntil } from '@tollgate/testkit/wait';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { compile } from '../config/compile.ts';
import { loadConfigObject } from '../config/load.ts';
import { systemClock } from '../core/clock.ts';
import { silentLog } from '../core/log.ts';
import { type BridgeUnderTest, startIdp, TestClient } from '../oauth-bridge/testing.ts';
import { createCredentials } from '../upstream/auth/credentials.ts';
import { login } from '../upstream/auth/login.ts';
import { agree, notesAt, startProvider } from '../upstream/fixtures/oauth-provider.ts';
import { administrationOf, keyAdministrationOf } from './ports.ts';
import { GatewayState } from './state.ts';
import { type Json, type ScriptedServer, startGateway, startScripted, type TestGateway, tool } from './testing.ts';

/** "Within a second", and time for a machine that is busy with everything else. */
const SOON = { timeout: 15_000, interval: 50 };
const GATEWAY = { kind: 'gateway' } as const;
const OPERATOR = canary('operator');
const MATH = { owner: GATEWAY, purpose: 'secret', name: 'math' } as const;

interface Replica extends AsyncDisposable {
  readonly state: GatewayState;
  readonly running: TestGateway;
  readonly administration: ReturnType<typeof administrationOf>;
}

const stack = new AsyncDisposableStack();
let database: Database;
let idp: AuthorizationServer;
let upstream: ScriptedServer;
let front: { readonly url: string; to: Replica };
let a: Replica;
let b: Replica;

/** What a load balancer is: one address, and each request at whichever replica the test says. */
async function balancer(): Promise<typeof front> {
  const server = http.createServer((request, response) => {
    const { hostname, port } = new URL(made.to.running.url);
    const { method, url: path, headers } = request;
    const forward = http.request({ hostname, port, method, path, headers, agent: false }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    });
    forward.on('error', () => response.destroy());
    request.pipe(forward);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  stack.defer(() => {
    server.closeAllConnections();
    server.close();
  });
  const made = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    to: undefined as unknown as Replica,
  };
  return made;
}

const config = (): Json => ({
  publicUrl: front.url,
  servers: { math: { url: upstream.url, headers: { 'x-key': '${vault:math}' } } },
  endpoints: { '/mcp': { servers: '*' } },
  trust: { new: 'allow', changed: 'block' },
  auth: [
    { name: 'keys', keys: {} },
    {
      name: 'corp',
      oidc: idp.issuer,
      map: { tenant: 'org', roles: { claim: 'groups', grant: {} } },
      bridge: { clientId: 'tollgate', clientSecret: 'the-secret-of-the-gateway:%+', scopes: ['read'] },
    },
    { name: 'desk', bearer: { token: OPERATOR, subject: 'olga' } },
  ],
});

async function replica(
  of: Json,
  on: Database,
  masterKey: unknown,
  ledger: string,
  prepare?: (state: GatewayState) => Promise<unknown>,
): Promise<Replica> {
  const folder = await temporaryDirectory('replica');
  const whole = {
    dataDir: folder.path,
    storage: on.url.href,
    state: { url: inject('redisUrl'), ledger },
    vault: { keys: masterKey },
    ...of,
  };
  const compiled = compile(loadConfigObject({ listen: '127.0.0.1:0', ...whole } as never).config);
  const state = await GatewayState.open(compiled, { clock: systemClock, log: silentLog });
  await prepare?.(state);
  const running = await startGateway(whole, { state });
  return {
    state,
    running,
    administration: administrationOf({ clock: systemClock, state, gateway: () => running.gateway }),
    [Symbol.asyncDispose]: async () => {
      await running[Symbol.asyncDispose]();
      await state.close();
      await folder[Symbol.asyncDispose]();
    },
  };
}

beforeAll(async () => {
  process.env['REPLICAS_MASTER_KEY'] = randomBytes(32).toString('base64');
  database = stack.use(await emptyDatabase(inject('postgresUrl')));
  idp = stack.use(await startIdp());
  upstream = stack.use(await startScripted({ 'tools/list': () => list(tool('add')) }));
  front = await balancer();
  const ledger = `replicas-${randomBytes(6).toString('hex')}`;
  // At the same moment, on a database that nobody has prepared.
  const start = () =>
    replica(config(), database, { env: 'REPLICAS_MASTER_KEY' }, ledger, ({ vault }) =>
      vault.put(MATH, canary('first-value'), { by: 'ops/olga' }),
    );
  [a, b] = await Promise.all([start(), start()]);
  stack.use(a);
  stack.use(b);
  front.to = a;
});
afterAll(() => stack.disposeAsync());

const list = (...tools: Json[]): Json => ({ tools, ttlMs: 60_000, cacheScope: 'private' });
const status = async (at: Replica, token: string) => (await at.running.call('tools/list', {}, { token })).status;
const keysOf = ({ state, running }: Replica) =>
  keyAdministrationOf({ clock: systemClock, state, gateway: () => running.gateway });

/** A listen stream; `rest` is what comes after its first part, when it has ended. */
async function listen(at: Replica, token: string): Promise<{ readonly rest: Promise<string> }> {
  const response = await fetch(`${at.running.url}/mcp`, {
    method: 'POST',
    headers: { ...Object.fromEntries(modernHeaders('subscriptions/listen', {})), authorization: `Bearer ${token}` },
    body: modernBody(7, 'subscriptions/listen', { _meta: modernMeta(), notifications: {} }),
  });
  expect(response.status).toBe(200);
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  await reader.read();
  const read = async () => {
    let text = '';
    for (let part = await reader.read(); !part.done; part = await reader.read()) text += part.value;
    return text;
  };
  return { rest: read() };
}

async function legacy(at: Replica, token: string, session: string | undefined, body: object): Promise<Response> {
  const response = await fetch(`${at.running.url}/mcp`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
      authorization: `Bearer ${token}`,
      ...(session === undefined ? {} : { 'mcp-session-id': session }),
    },
    body: JSON.stringify({ jsonrpc: '2.0', ...body }),
  });
  await response.arrayBuffer();
  return response;
}

async function session(at: Replica, token: string): Promise<string> {
  const params = { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 't', version: '1' } };
  const opened = await legacy(at, token, undefined, { id: 0, method: 'initialize', params });
  return opened.headers.get('mcp-session-id')!;
}

const post = async (path: string, form: Readonly<Record<string, string>>, at?: Replica) => {
  const response = await fetch((at?.running.url ?? front.url) + path, {
    method: 'POST',
    body: new URLSearchParams(form),
  });
  return { status: response.status, body: JSON.parse((await response.text()) || '{}') as Json };
};

async function client(): Promise<TestClient> {
  const response = await fetch(`${front.url}/oauth/register`, {
    method: 'POST',
    body: JSON.stringify({ redirect_uris: ['https://client.example/callback'] }),
  });
  const { client_id: id } = (await response.json()) as { client_id: string };
  return new TestClient({ base: front.url, post } as BridgeUnderTest, id);
}

type Tokens = Record<'access_token' | 'refresh_token', string>;

async function signedIn(): Promise<{ readonly by: TestClient; readonly tokens: Tokens }> {
  const by = await client();
  return { by, tokens: (await by.redeem((await by.code()).get('code'))).body as Tokens };
}

describe('an API key', () => {
  it('made at one gateway works at the other, and withdrawn at one ends at the other what it opened', async () => {
    const { key, info } = await a.state.keys.create(keyOf('robot'), 'ops/olga');
    await waitUntil('the key', async () => (await status(b, key)) === 200, SOON);
    const stream = await listen(b, key);
    const old = await session(b, key);
    expect((await legacy(b, key, old, { id: 1, method: 'ping' })).status).toBe(200);
    expect(await keysOf(a).revoke(info.id, 'ops/olga', 'lost')).not.toBe(false);
    await waitUntil('the refusal', async () => (await status(b, key)) === 401, SOON);
    await stream.rest;
    expect(b.running.gateway.hub.streams).toBe(0);
    expect((await legacy(b, key, old, { id: 1, method: 'ping' })).status).toBe(401);
  });
});

const keyOf = (subject: string) => ({
  entry: 'keys',
  label: subject,
  subject,
  tenant: undefined,
  tier: undefined,
  roles: [],
  scopes: ['*'],
  expiresAt: undefined,
});

describe('a block', () => {
  it('at one gateway keeps out at the other, ends what is open there, and its end lets in again', async () => {
    const { key } = await a.state.keys.create(keyOf('mallory'), 'ops/olga');
    await waitUntil('the key', async () => (await status(b, key)) === 200, SOON);
    const stream = await listen(b, key);
    const old = await session(b, key);
    const until = Date.now() + 600_000;
    const block = await a.administration.block({ who: 'keys/mallory', reason: 'incident', by: 'ops/olga', until });
    await waitUntil('the refusal', async () => (await status(b, key)) === 403, SOON);
    expect(await stream.rest).toContain('"resultType":"complete"');
    await a.state.books.unblock(block.id, 'ops/olga');
    await waitUntil('the end of the block', async () => (await status(b, key)) === 200, SOON);
    expect((await legacy(b, key, old, { id: 1, method: 'ping' })).status, 'its session is gone').toBe(404);
  });
});

describe('a token of the OAuth bridge', () => {
  it('of one gateway works at the other, and revoked at one ends at the other with the stream that it opened', async () => {
    front.to = a;
    const { by, tokens } = await signedIn();
    expect(await status(b, tokens.access_token)).toBe(200);
    const stream = await listen(b, tokens.access_token);
    const other = await signedIn();
    expect(await status(b, other.tokens.access_token)).toBe(200);
    await post('/oauth/revoke', { token: tokens.refresh_token, client_id: by.id });
    await waitUntil('the refusal', async () => (await status(b, tokens.access_token)) === 401, SOON);
    await stream.rest;
    expect(b.running.gateway.hub.streams).toBe(0);
    expect(await status(b, other.tokens.access_token), 'another sign-in of the same person').toBe(200);
  });

  it('comes of a sign-in whose every step is at another gateway, and of no second use of its code', async () => {
    front.to = a;
    const by = await client();
    front.to = b;
    const page = await by.ask();
    front.to = a;
    const leaving = await by.answer(page);
    const next = /content="0;url=([^"]*)"/.exec(leaving.text)?.[1]?.replaceAll('&amp;', '&') ?? leaving.location ?? '';
    const callback = await by.signIn(next);
    front.to = b;
    const code = new URL((await by.browser.open(callback)).location ?? 'x:').searchParams.get('code');
    expect((await by.browser.open(callback)).location ?? '', 'the state is used').not.toContain('code=');
    front.to = a;
    const { status: redeemed, body } = await by.redeem(code);
    expect(redeemed).toBe(200);
    expect(await status(b, String(body['access_token']))).toBe(200);
    front.to = b;
    expect(await by.redeem(code)).toMatchObject({ status: 400, body: { error: 'invalid_grant' } });
    expect(await status(b, String(body['access_token']))).toBe(401);
    await waitUntil('the end at the other', async () => (await status(a, String(body['access_token']))) === 401, SOON);
  });

  it('is refreshed once: of two gateways with one refresh token at most one answers, and then all of it ends', async () => {
    front.to = a;
    const { by, tokens } = await signedIn();
    const form = { grant_type: 'refresh_token', client_id: by.id, refresh_token: tokens.refresh_token };
    const answers = await Promise.all([post('/oauth/token', form, a), post('/oauth/token', form, b)]);
    const good = answers.filter(({ status }) => status === 200);
    expect(good.length).toBeLessThanOrEqual(1);
    expect(answers.some(({ body }) => body['error'] === 'invalid_grant')).toBe(true);
    for (const { body } of good) {
      const token = String(body['access_token']);
      await waitUntil(
        'the end of the family',
        async () => (await status(a, token)) + (await status(b, token)) === 802,
        SOON,
      );
      expect((await by.refresh(body['refresh_token'])).body['error']).toBe('invalid_grant');
    }
    expect(await status(b, tokens.access_token)).toBe(401);
  });
});

describe('a definition', () => {
  it('that changed is blocked at both gateways, and approved at one it opens at the other', async () => {
    const names = (at: Replica) => at.running.names('tools', { token: OPERATOR });
    expect([await names(a), await names(b)]).toEqual([['add'], ['add']]);
    upstream.handlers['tools/list'] = () => list(tool('add', {}, { description: 'Now something else' }));
    for (const { running } of [a, b]) {
      for (const { catalog } of running.gateway.generation.endpoints.values()) await catalog.refresh();
    }
    expect([await names(a), await names(b)]).toEqual([[], []]);
    const changed = a.state.trust.list('math').filter(({ state }) => state !== 'approved');
    await a.state.trust.approve(changed, 'ops/olga');
    expect(await names(a)).toEqual(['add']);
    await waitUntil('the approval', async () => (await names(b)).includes('add'), SOON);
  });
});

describe('a secret of the vault', () => {
  it('set at one gateway is sent by the other, and revoked at one is refused by the other', async () => {
    const sent = async () => {
      const { body } = await b.running.call('tools/call', { name: 'add', arguments: {} }, { token: OPERATOR });
      const seen = upstream.seen.findLast(({ method }) => method === 'tools/call');
      return { failed: body.error !== undefined || body.result?.['isError'] === true, key: seen?.headers['x-key'] };
    };
    expect((await sent()).key).toBe(canary('first-value'));
    await a.state.vault.put(MATH, canary('second-value'), { by: 'ops/olga' });
    await waitUntil('the new value', async () => (await sent()).key === canary('second-value'), SOON);
    await a.state.vault.revoke(MATH, 'ops/olga', 'seen in a chat');
    await waitUntil('the refusal', async () => (await sent()).failed, SOON);
    // For whoever comes next: lists are read with it, too.
    await a.state.vault.put(MATH, 'first-value', { by: 'ops/olga' });
    await waitUntil('the value again', async () => (await sent()).key === 'first-value', SOON);
  });

  it('that is an upstream token is refreshed once, though both gateways want a new one at the same time', async () => {
    verifies('R2-48');
    await using as = await startProvider();
    const options = notesAt(as.url);
    await login(options, {
      secrets: a.state.vault,
      openBrowser: agree,
      print: () => undefined,
      signal: AbortSignal.timeout(60_000),
    });
    const clock = { now: Date.now(), wall: () => clock.now, monotonic: () => clock.now };
    const subjects = { accessToken: () => undefined, idToken: () => Promise.resolve(undefined) };
    const [one, two] = [a, b].map(({ state }) =>
      createCredentials(options, { secrets: state.vault, subjects, clock })!.of(undefined),
    );
    const first = await one!.renew(undefined);
    expect(await two!.renew(undefined)).toBe(first);
    clock.now += 3_600_000;
    const renewed = await Promise.all([one!.renew(first), two!.renew(first), two!.renew(first), one!.renew(first)]);
    expect(new Set(renewed).size).toBe(1);
    expect(renewed[0]).not.toBe(first);
    expect(as.forms.map((form) => form['grant_type'])).toEqual(['authorization_code', 'refresh_token']);
  });
});

describe('two gateways with a master key file each', () => {
  it('that make their vault at the same moment have one vault: the other is told whose key it needs, and starts no more', async () => {
    await using own = await emptyDatabase(inject('postgresUrl'));
    const ledger = `replicas-${randomBytes(6).toString('hex')}`;
    const plain = { servers: { math: { url: upstream.url } } };
    const id = (name: string) => ({ owner: GATEWAY, purpose: 'secret', name }) as const;
    const folders = [await temporaryDirectory('keys-a'), await temporaryDirectory('keys-b')];
    for (const folder of folders) stack.use(folder);
    const start = (i: number) => replica(plain, own, { file: `${folders[i]!.path}/master.key` }, ledger);
    const both = await Promise.all([start(0), start(1)]);
    const made = await Promise.allSettled(
      both.map(({ state }, i) => state.vault.put(id(`of-${i}`), `value-${i}`, { by: 'ops/olga' })),
    );
    const won = made.findIndex((one) => one.status === 'fulfilled');
    const lost = 1 - won;
    expect(made[lost]).toMatchObject({
      status: 'rejected',
      reason: { code: 'vault_key_wrong', message: expect.stringMatching(/made with the master key .+ Put that key/) },
    });
    expect(await both[won]!.state.vault.get(id(`of-${won}`), 'test')).toBe(`value-${won}`);
    await expect(both[lost]!.state.vault.get(id(`of-${won}`), 'test')).rejects.toMatchObject({
      code: 'vault_key_wrong',
    });
    expect(await both[won]!.state.store!.vault.keys()).toHaveLength(1);
    for (const one of both) await one[Symbol.asyncDispose]();
    await expect(start(lost)).rejects.toMatchObject({ code: 'vault_key_wrong' });
  });
});
