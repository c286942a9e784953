import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { AuthorizationServer } from '@tollgate/testkit/authorization-server';
import { Browser } from '@tollgate/testkit/browser';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Rates } from './rates.ts';
import {
  type BridgeUnderTest,
  CLIENT_REDIRECT,
  entryOf,
  leavingTo,
  startBridge,
  startIdp,
  TestClient,
} from './testing.ts';

let idp: AuthorizationServer;
let partner: AuthorizationServer;
let at: BridgeUnderTest;
let client: TestClient;
beforeAll(async () => {
  [idp, partner] = await Promise.all([startIdp(), startIdp()]);
});
afterAll(() => Promise.all([idp[Symbol.asyncDispose](), partner[Symbol.asyncDispose]()]));
beforeEach(async () => {
  at = await startBridge([entryOf(idp), entryOf(partner, { name: 'partner' })], {
    endpoints: [
      { path: '/mcp', entries: ['corp', 'partner'], scopes: ['read'] },
      { path: '/team', entries: ['corp'], scopes: [] },
      { path: '/keys', entries: [], scopes: [] },
    ],
  });
  client = new TestClient(at, await at.register());
});
afterEach(async () => {
  idp.answer('/token', undefined);
  await at[Symbol.asyncDispose]();
});

const tokenRequests = (server: AuthorizationServer): number =>
  server.requests.filter(({ path }) => path === '/token').length;

describe('confused deputy', () => {
  it('CVE-2026-27124: what an attacker consented to gives no code when the victim brings it back', async () => {
    const captured = await client.leave();
    const victim = new Browser();
    const before = tokenRequests(idp);
    const page = await victim.open(await client.signIn(captured, victim));
    expect(page.status).toBe(403);
    expect(page.location).toBeUndefined();
    expect(page.text).toContain('This browser has not allowed the program');
    expect(tokenRequests(idp), 'the code of the victim was not even redeemed').toBe(before);
    expect(at.log.some(({ text }) => text.includes('had not approved'))).toBe(true);
    const late = await client.browser.open(await client.signIn(captured));
    expect(late.status, 'and the state is gone').toBe(400);
  });

  it('approval of one client is no approval of another, in the same browser', async () => {
    const victim = new Browser();
    const trusted = new TestClient(at, await at.register({ client_name: 'Trusted' }), victim);
    await trusted.code();
    const captured = await client.leave();
    expect((await victim.open(await client.signIn(captured, victim))).status).toBe(403);
    const page = await new TestClient(at, client.id, victim).ask();
    expect(page.status, 'it is asked about').toBe(200);
    expect(page.fields['request']).toBeDefined();
  });

  it('nothing goes to the provider before our page was answered, and a refusal goes to the client alone', async () => {
    const before = idp.requests.length;
    const page = await client.ask();
    expect(page.location).toBeUndefined();
    expect(page.text).not.toContain('tgs_');
    const answer = await client.answer(page, 'deny');
    expect(answer.location, 'no redirect in answer to a form: `form-action` would stop it').toBeUndefined();
    const { origin, pathname, searchParams } = new URL(leavingTo(answer));
    expect(origin + pathname).toBe(CLIENT_REDIRECT);
    expect(Object.fromEntries(searchParams)).toEqual({ error: 'access_denied', state: client.state, iss: at.base });
    expect(idp.requests.slice(before).some(({ path }) => path === '/auth')).toBe(false);
  });

  it.each([
    ['from another browser', {}, new Browser()],
    ['from a page of another site', { 'sec-fetch-site': 'cross-site' }, undefined],
  ])('CSRF: an approval %s is refused', async (_, headers, browser) => {
    const { request = '' } = (await client.ask()).fields;
    const form = { request, decision: 'approve:corp' };
    const answer = await (browser ?? client.browser).open(`${at.base}/oauth/consent`, form, headers);
    expect([answer.status, answer.location]).toEqual([403, undefined]);
  });

  it('an approval is of what was shown: not changed, not older than ten minutes', async () => {
    const page = await client.ask();
    const { request = '' } = page.fields;
    const bent = request.slice(0, -2) + (request.endsWith('AA') ? 'BB' : 'AA');
    expect((await client.answer({ ...page, fields: { request: bent } })).status).toBe(400);
    expect(leavingTo(await client.answer(page, 'approve:other'))).toContain('error=access_denied');
    at.ahead = 10 * 60_000;
    expect((await client.answer(page)).status).toBe(400);
  });

  it('the page shows who asks for what, cannot be framed, and runs nothing that a client wrote', async () => {
    const evil = `<script>alert(1)</script>"><img src=x onerror=alert(1)>\u202e\u0000`;
    const id = await at
      .register({ client_name: evil, redirect_uris: ['https://evil.example/cb?a="b'] })
      .catch(() => '');
    expect(id, 'a quote is no part of a URI').toBe('');
    const named = new TestClient(at, await at.register({ client_name: evil }));
    const page = await named.ask({ scope: 'read "><b>x</b>' });
    expect(page.text).not.toContain('<b>x');
    const shown = await named.ask();
    expect(shown.text).toContain('&lt;script&gt;alert(1)&lt;/script&gt;');
    expect(shown.text).not.toMatch(/<script|<img|[\u202e\0]/);
    expect(shown.text).toContain('client.example');
    expect(shown.text).toContain('read, admin');
    expect(shown.headers.get('content-security-policy')).toMatch(
      /^default-src 'none'; style-src 'nonce-[\w-]{43}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'$/,
    );
    expect(shown.headers.get('x-frame-options')).toBe('DENY');
    expect(shown.headers.get('cache-control')).toBe('no-store');
  });

  it('beyond loopback the browser is known by a __Host- cookie, one for each client', async () => {
    const far = await startBridge([entryOf(idp)], { base: 'https://gw.example' });
    const id = await far.register();
    const query = new TestClient(far, id).url().split('?')[1];
    const response = await fetch(`${far.here}/oauth/authorize?${query}`);
    const [cookie = ''] = response.headers.getSetCookie();
    expect(cookie).toMatch(
      /^__Host-tollgate-consent-[0-9a-f]{16}=[\w-]{43}; Path=\/; Max-Age=86400; HttpOnly; SameSite=Lax; Secure$/,
    );
    const other = await fetch(
      `${far.here}/oauth/authorize?${new TestClient(far, await far.register()).url().split('?')[1]}`,
    );
    expect(other.headers.getSetCookie()[0]!.split('=')[0]).not.toBe(cookie.split('=')[0]);
    await far[Symbol.asyncDispose]();
  });
});

describe('remembered approval', () => {
  it('skips our page only with the cookie of that browser, for the same client, address, endpoint and scopes', async () => {
    const first = await client.ask();
    await client.answer(first, 'approve:corp', { remember: 'yes' });
    const again = await client.ask();
    expect(again.location).toContain(`${idp.issuer}/auth?`);
    for (const [why, parameters] of [
      ['more scopes', { scope: 'read admin more' }],
      ['another endpoint', { resource: `${at.base}/team` }],
      ['asked to ask', { prompt: 'consent' }],
    ] as const) {
      expect((await client.ask(parameters)).status, why).toBe(200);
    }
    expect((await new TestClient(at, client.id).ask()).status, 'another browser').toBe(200);
    await at.records.clientUsed(client.id, Date.now(), Date.now() + 90 * 86_400_000);
    at.ahead = 24 * 3_600_000;
    expect((await client.ask()).status, 'a day later').toBe(200);
  });

  it('never for a program on the person’s machine: whoever takes its port would get the next code unasked', async () => {
    const redirect = 'http://127.0.0.1:4000/cb';
    const native = new TestClient(at, await at.register({ redirect_uris: [redirect] }));
    const page = await native.ask({ redirect_uri: redirect });
    expect(page.text).not.toContain('Do not ask again');
    await native.answer(page, 'approve:corp', { remember: 'yes' });
    expect((await native.ask({ redirect_uri: redirect })).status).toBe(200);
  });
});

describe('the answer of the provider', () => {
  it('a state is good for one answer', async () => {
    const callback = await client.signIn(await client.leave());
    const first = await client.browser.open(callback);
    expect(first.location).toContain('code=tgc_');
    const second = await client.browser.open(callback);
    expect([second.status, second.location]).toEqual([400, undefined]);
    const late = await client.signIn(await client.leave());
    at.ahead = 10 * 60_000;
    expect((await client.browser.open(late)).status).toBe(400);
    expect((await client.browser.open(`${at.base}/oauth/callback/corp?code=x&state=tgs_nonsense`)).status).toBe(400);
  });

  it('HEAD, as scanners of links send it, begins nothing and uses no state up', async () => {
    const callback = await client.signIn(await client.leave());
    const before = tokenRequests(idp);
    for (const url of [callback, client.url(), client.url({}, '/oauth/authorize/mcp')]) {
      const answer = await fetch(url, {
        method: 'HEAD',
        redirect: 'manual',
        headers: { cookie: client.browser.cookies(url) },
      });
      expect([answer.status, answer.headers.get('allow'), answer.headers.get('set-cookie')]).toEqual([
        405,
        'GET',
        null,
      ]);
    }
    expect(tokenRequests(idp)).toBe(before);
    expect((await client.browser.open(callback)).location).toContain('code=tgc_');
  });

  it('mix-up: an answer of one provider is never taken to another', async () => {
    const before = [tokenRequests(idp), tokenRequests(partner)];
    const swapped = (await client.signIn(await client.leave())).replace('/callback/corp', '/callback/partner');
    expect((await client.browser.open(swapped)).status).toBe(400);
    const misnamed = new URL(await client.signIn(await client.leave()));
    expect(misnamed.searchParams.get('iss')).toBe(idp.issuer);
    misnamed.searchParams.set('iss', partner.issuer);
    expect((await client.browser.open(misnamed.href)).status).toBe(400);
    const nameless = new URL(await client.signIn(await client.leave()));
    nameless.searchParams.delete('iss');
    expect((await client.browser.open(nameless.href)).status, 'it says that it names itself').toBe(400);
    expect([tokenRequests(idp), tokenRequests(partner)]).toEqual(before);
  });

  it.each([
    'token_endpoint',
    'jwks_uri',
  ] as const)('a provider that names an internal address as its %s is not followed there', async (member) => {
    const inside: string[] = [];
    const service = createServer((request, response) => {
      inside.push(`${request.method} ${request.url}`);
      response.end('{}');
    });
    await new Promise<void>((resolve) => service.listen(0, '127.0.0.1', resolve));
    const { port } = service.address() as AddressInfo;
    const document = '/.well-known/openid-configuration';
    const metadata = (await (await fetch(idp.issuer + document)).json()) as object;
    const named = JSON.stringify({ ...metadata, [member]: `http://127.0.0.1:${port}/internal` });
    for (const path of [document, '/.well-known/oauth-authorization-server']) {
      idp.answer(path, (_, response) => void response.writeHead(200, JSON_TYPE).end(named));
    }
    try {
      const answer = await client.browser.open(await client.signIn(await client.leave()));
      expect(new URL(answer.location ?? '').searchParams.get('error')).toBe('server_error');
      expect(at.log.some(({ text }) => text.includes('it is not fetched from'))).toBe(true);
      expect(inside).toEqual([]);
    } finally {
      for (const path of [document, '/.well-known/oauth-authorization-server']) idp.answer(path, undefined);
      service.closeAllConnections();
      service.close();
    }
  });

  it('an ID token of another sign-in is refused by its nonce', async () => {
    let stolen = '';
    idp.answer('/token', (_, response) => void response.writeHead(200, JSON_TYPE).end(stolen));
    const first = await client.signIn(await client.leave());
    idp.answer('/token', undefined);
    await client.browser.open(first);
    stolen = at.provided.findLast(({ url }) => url === `${idp.issuer}/token`)?.text ?? '';
    expect(stolen).toContain('id_token');
    const next = await client.signIn(await client.leave());
    idp.answer('/token', (_, response) => void response.writeHead(200, JSON_TYPE).end(stolen));
    const answer = await client.browser.open(next);
    expect(new URL(answer.location ?? '').searchParams.get('error')).toBe('server_error');
    expect(at.log.some(({ text }) => text.includes('another nonce'))).toBe(true);
  });

  it('errors reach the client in our words, with iss, and nothing of the provider’s text', async () => {
    const callback = new URL(await client.signIn(await client.leave()));
    callback.searchParams.delete('code');
    callback.searchParams.set('error', 'access_denied');
    callback.searchParams.set('error_description', 'call 555-1234 to unlock');
    const { location = '' } = await client.browser.open(callback.href);
    expect(Object.fromEntries(new URL(location).searchParams)).toEqual({
      error: 'access_denied',
      state: client.state,
      iss: at.base,
    });
    at.person = () => undefined;
    expect((await client.code()).get('error'), 'a person that the entry does not let in').toBe('access_denied');
  });
});

const JSON_TYPE = { 'content-type': 'application/json' };

describe('floods', () => {
  it('of approvals fill nothing: beyond so many sign-ins under way the person is told to wait', async () => {
    const asked: number[] = [];
    at.records.put = (_, most) => {
      asked.push(most);
      return Promise.resolve(false);
    };
    const answer = await client.answer(await client.ask());
    expect([answer.status, answer.headers.get('retry-after'), answer.location]).toEqual([503, '60', undefined]);
    expect(answer.text).not.toContain('tgs_');
    expect(asked).toEqual([10_000]);
  });

  it('of requests from one address are told to wait, and others are not', () => {
    const rates = new Rates(60_000, 5, 2);
    const taken = ['a', 'a', 'a', 'b', 'b', 'c', 'd'].map((address) => rates.take(address, 1000) === undefined);
    expect(taken).toEqual([true, true, false, true, true, true, false]);
    expect(rates.take('a', 61_000)).toBeUndefined();
  });
});

describe('what a client asks', () => {
  it.each([
    ['another address', { redirect_uri: 'https://evil.example/callback' }],
    ['another path', { redirect_uri: `${CLIENT_REDIRECT}/more` }],
    ['another case', { redirect_uri: 'https://CLIENT.example/callback' }],
    ['a query more', { redirect_uri: `${CLIENT_REDIRECT}?a=b` }],
    ['an unknown client', { client_id: 'tgd_00000000000000000000000000' }],
    ['no PKCE', { code_challenge: undefined, code_challenge_method: undefined }],
    ['PKCE that is plain', { code_challenge_method: 'plain' }],
    ['PKCE without its method', { code_challenge_method: undefined }],
    ['an implicit token', { response_type: 'token' }],
    ['no resource', { resource: undefined }],
    ['the whole gateway as resource (CVE-2025-69196)', { resource: 'BASE' }],
    ['an endpoint of other callers', { resource: 'BASE/keys' }],
    ['an endpoint of somebody else', { resource: 'https://other.example/mcp' }],
    ['scopes that are none', { scope: 'a\nb' }],
    ['a request object', { request_uri: 'https://evil.example/r' }],
  ])('%s is told to the person, and redirects nowhere', async (_, parameters: Record<string, string | undefined>) => {
    if (parameters['resource']?.startsWith('BASE') === true) {
      parameters['resource'] = parameters['resource'].replace('BASE', at.base);
    }
    const page = await client.ask(parameters);
    expect([page.status >= 400 && page.status < 500, page.location]).toEqual([true, undefined]);
    expect(page.headers.get('content-security-policy')).toContain("frame-ancestors 'none'");
  });

  it('a parameter that stands twice is refused', async () => {
    const url = `${client.url()}&redirect_uri=${encodeURIComponent('https://evil.example/')}`;
    expect((await client.browser.open(url)).status).toBe(400);
  });

  it('an endpoint’s own authorization server is for that endpoint, and answers under its own name', async () => {
    const page = await client.ask({ resource: undefined }, '/oauth/authorize/team');
    const callback = await client.signIn(leavingTo(await client.answer(page)));
    const answer = new URL((await client.browser.open(callback)).location ?? '').searchParams;
    expect(answer.get('iss')).toBe(`${at.base}/team`);
    const tokens = await client.redeem(answer.get('code'), { resource: `${at.base}/team` });
    expect((await at.bridge.open(String(tokens.body['access_token'])))?.resource).toBe(`${at.base}/team`);
    expect((await client.ask({}, '/oauth/authorize/team')).status, 'the resource of another').toBe(400);
    expect((await client.ask({}, '/oauth/authorize/nothing')).status).toBe(400);
  });
});
