import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Clients } from './clients.ts';
import { MemoryRecords } from './memory-records.ts';
import { MAX_CLIENTS, UNUSED_CLIENT_LIFE } from './options.ts';
import { isRegistered, redirectProblem } from './redirects.ts';
import { type BridgeUnderTest, startBridge, TestClient } from './testing.ts';

const ENTRY = {
  name: 'corp',
  issuer: 'https://idp.example',
  clientId: 'tollgate',
  clientSecret: 's',
  scopes: [],
  ask: undefined,
  parameters: {},
};
const DOCUMENT = 'https://app.example/client.json';
let at: BridgeUnderTest;
beforeEach(async () => {
  at = await startBridge([ENTRY]);
});
afterEach(() => at[Symbol.asyncDispose]());

const register = async (metadata: unknown) => {
  const response = await fetch(`${at.base}/oauth/register`, { method: 'POST', body: JSON.stringify(metadata) });
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
};

describe('redirect URIs', () => {
  it.each([
    'https://a.example/cb',
    'https://a.example/cb?x=1',
    'http://127.0.0.1/cb',
    'http://127.0.0.1:4711/cb',
    'http://[::1]:1/cb',
    'http://localhost:3000/',
  ])('%s can be registered', (uri) => {
    expect(redirectProblem(uri)).toBeUndefined();
  });

  it.each([
    'http://a.example/cb',
    'http://127.0.0.1.a.example/cb',
    'http://localhost.a.example/',
    'http://2130706433/cb',
    'https://a.example/cb#f',
    'https://u:p@a.example/cb',
    'https://a.example\\@evil.example/',
    'https://a.example /cb',
    'https://a.example/\ncb',
    'https://ä.example/',
    'javascript:alert(1)',
    'data:text/html,x',
    'vscode://callback',
    '//a.example/cb',
    '/cb',
    '',
    42,
    `https://a.example/${'x'.repeat(2048)}`,
  ])('%s cannot', (uri) => {
    expect(redirectProblem(uri)).toBeDefined();
  });

  it('match by every character; on loopback any port, and nothing else', () => {
    const registered = ['https://a.example/cb', 'http://127.0.0.1:1000/cb', 'http://[::1]/cb'];
    const yes = ['https://a.example/cb', 'http://127.0.0.1:65535/cb', 'http://127.0.0.1/cb', 'http://[::1]:9/cb'];
    const no = [
      'https://a.example:443/cb',
      'https://a.example:8443/cb',
      'https://a.example/cb/',
      'https://a.example/CB',
      'http://127.0.0.1:1000/cb?x',
      'http://127.0.0.1:1000/cb/../x',
      'http://localhost:1000/cb',
      'http://127.0.0.1:1000@evil.example/cb',
      'http://127.0.0.1:99999/cb',
    ];
    for (const uri of yes) expect(isRegistered(uri, registered), uri).toBe(true);
    for (const uri of no) expect(isRegistered(uri, registered), uri).toBe(false);
  });
});

describe('registration', () => {
  it('gives an id without a secret, whatever the client asks to be', async () => {
    const { status, body } = await register({
      client_name: '  My\u0000 Editor\n ',
      redirect_uris: ['http://127.0.0.1/cb'],
      token_endpoint_auth_method: 'client_secret_post',
      scope: 'everything',
      logo_uri: 'http://169.254.169.254/',
    });
    expect(status).toBe(201);
    expect(body).toEqual({
      client_id: expect.stringMatching(/^tgd_[0-9a-z]{26}$/),
      client_id_issued_at: expect.any(Number),
      client_name: 'My Editor',
      redirect_uris: ['http://127.0.0.1/cb'],
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      token_endpoint_auth_method: 'none',
    });
  });

  it.each([
    [[], 'invalid_client_metadata'],
    [{}, 'invalid_redirect_uri'],
    [{ redirect_uris: [] }, 'invalid_redirect_uri'],
    [{ redirect_uris: ['http://a.example/'] }, 'invalid_redirect_uri'],
    [{ redirect_uris: Array.from({ length: 21 }, (_, i) => `https://a.example/${i}`) }, 'invalid_redirect_uri'],
    [{ redirect_uris: ['https://a.example/'], grant_types: ['implicit'] }, 'invalid_client_metadata'],
    [{ redirect_uris: ['https://a.example/'], response_types: ['token'] }, 'invalid_client_metadata'],
    [{ redirect_uris: ['https://a.example/'], client_name: 7 }, 'invalid_client_metadata'],
  ])('refuses %j', async (metadata, error) => {
    const { status, body } = await register(metadata);
    expect([status, body['error']]).toEqual([400, error]);
  });

  it('is bounded in size and in number a minute, and ends when nobody signs in', async () => {
    expect((await register({ redirect_uris: ['https://a.example/'], x: 'x'.repeat(20_000) })).status).toBe(413);
    const statuses: number[] = [];
    for (let i = 0; i < 31; i++) statuses.push((await register({ redirect_uris: ['https://a.example/'] })).status);
    expect(statuses.filter((status) => status === 201).length).toBeLessThanOrEqual(30);
    expect(statuses.at(-1)).toBe(429);
    at.ahead = 60_000;
    const { body } = await register({ redirect_uris: ['https://a.example/'] });
    at.ahead += UNUSED_CLIENT_LIFE;
    expect((await new TestClient(at, String(body['client_id'])).ask()).status).toBe(401);
  });

  it('of one more than all gives the place of the oldest that nobody used, or says that there is none', async () => {
    const records = new MemoryRecords();
    const clock = { wall: () => 1000, monotonic: () => 0 };
    const clients = new Clients({ clock, records, egress: () => Promise.reject(new Error('none')) });
    const metadata = { redirect_uris: ['https://a.example/'] };
    const first = String((await clients.register(metadata))['client_id']);
    await clients.used(first);
    const second = String((await clients.register(metadata))['client_id']);
    for (let i = 2; i < MAX_CLIENTS; i++)
      await records.register({ id: `x${i}`, json: '{}', at: 1, expiresAt: 9e12 }, MAX_CLIENTS);
    await clients.register(metadata);
    await expect(clients.resolve(second)).rejects.toMatchObject({ data: { error: 'invalid_client' } });
    expect((await clients.resolve(first)).id).toBe(first);
    for (let i = 2; i < MAX_CLIENTS; i++) await records.clientUsed(`x${i}`, 1, 9e12);
    await clients.register(metadata).catch(() => undefined);
    await expect(
      (async () => {
        for (let i = 0; i < 3; i++) await clients.used(String((await clients.register(metadata))['client_id']));
      })(),
    ).rejects.toMatchObject({ data: { error: 'temporarily_unavailable' } });
  });
});

describe('client id documents', () => {
  const ask = (id = DOCUMENT, redirect = 'https://app.example/cb') =>
    new TestClient(at, id).ask({ redirect_uri: redirect });

  it('name the client, are fetched once, and what they lead to is matched like any other', async () => {
    at.documents.set(DOCUMENT, {
      client_id: DOCUMENT,
      client_name: 'App',
      redirect_uris: ['https://app.example/cb', 'app://callback', 'http://127.0.0.1/cb'],
      token_endpoint_auth_method: 'none',
    });
    const page = await ask();
    // The provider of this test does not exist; the page is shown all the same.
    expect(page.status).toBe(200);
    expect(page.text).toContain('known by its address on app.example');
    expect((await ask(DOCUMENT, 'http://127.0.0.1:8123/cb')).text).toContain('a program on this computer');
    expect((await ask(DOCUMENT, 'app://callback')).status).toBe(400);
    expect((await ask(DOCUMENT, 'https://app.example/other')).status).toBe(400);
    expect(at.fetched).toEqual([DOCUMENT]);
    at.ahead = 10 * 60_000;
    await ask();
    expect(at.fetched).toHaveLength(2);
  });

  it.each([
    ['of another client', { client_id: 'https://app.example/other.json', redirect_uris: ['https://app.example/cb'] }],
    [
      'with a secret to keep',
      { client_id: DOCUMENT, token_endpoint_auth_method: 'private_key_jwt', redirect_uris: ['https://app.example/cb'] },
    ],
    ['without a usable address', { client_id: DOCUMENT, redirect_uris: ['app://callback'] }],
    ['that is a list', [DOCUMENT]],
    ['that is a page', new Response('<html>', { headers: { 'content-type': 'text/html' } })],
    ['that moved', new Response(null, { status: 302, headers: { location: 'https://app.example/x' } })],
    ['that is not there', undefined],
  ])('%s are refused, and not asked for again at once', async (_, document) => {
    if (document !== undefined) at.documents.set(DOCUMENT, document);
    for (let i = 0; i < 2; i++) {
      const page = await ask();
      expect([page.status >= 400 && page.status < 500, page.location]).toEqual([true, undefined]);
    }
    expect(at.fetched).toEqual([DOCUMENT]);
  });

  it.each([
    'https://app.example',
    'https://app.example/',
    'http://app.example/client.json',
    'https://app.example/a/../client.json',
    'https://app.example/%2e%2e/client.json',
    'https://app.example/client.json#x',
    'https://u@app.example/client.json',
    'https://APP.example/client.json',
    'https://app.example:443/client.json',
    'https://app.example\\client.json',
  ])('%s is no client id, and nothing is fetched', async (id) => {
    expect((await ask(id)).status).toBe(401);
    expect(at.fetched).toEqual([]);
  });
});
