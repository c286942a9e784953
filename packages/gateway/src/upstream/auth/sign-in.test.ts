import { afterEach, describe, expect, it } from 'vitest';
import type { Clock } from '../../core/clock.ts';
import { silentLog } from '../../core/log.ts';
import { lanesOf, type Principal } from '../../core/principal.ts';
import { DEFAULT_SCAN_CAPS } from '../../protocol/json/caps.ts';
import { agree, notesAt, type Provider, startProvider } from '../fixtures/oauth-provider.ts';
import { outbound, run, SIGNED_IN, toolCall } from '../fixtures/raw-http.ts';
import { MapSecrets } from '../fixtures/secrets.ts';
import { HttpClient, type HttpServerOptions, type TokenProvider } from '../http-client.ts';
import { createModernHttp } from '../http-modern.ts';
import type { OAuthOptions } from '../options.ts';
import { createCredentials } from './credentials.ts';
import { Grants, principalOwner } from './grants.ts';
import { type LoginDeps, login } from './login.ts';
import { beginSignIn, finishSignIn } from './sign-in.ts';

const open: AsyncDisposable[] = [];

afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one[Symbol.asyncDispose]();
});

async function provider(): Promise<Provider> {
  const started = await startProvider();
  open.push(started);
  return started;
}

function deps(secrets: MapSecrets, changes: Partial<LoginDeps> = {}): LoginDeps & { lines: string[] } {
  const lines: string[] = [];
  return {
    secrets,
    openBrowser: agree,
    print: (line) => lines.push(line),
    signal: AbortSignal.timeout(60_000),
    ...changes,
    lines,
  };
}

class FakeClock implements Clock {
  now = Date.now();
  wall(): number {
    return this.now;
  }
  monotonic(): number {
    return this.now;
  }
}

const SUBJECTS = { accessToken: () => undefined, idToken: () => Promise.resolve(undefined) };

function tokensOf(options: HttpServerOptions, secrets: MapSecrets, clock: Clock = new FakeClock()): TokenProvider {
  return createCredentials(options, { secrets, subjects: SUBJECTS, clock })!.of(undefined);
}

function person(id: string): Principal {
  const [entry = '', subject = ''] = id.split('/');
  const none = { tenant: undefined, tier: undefined, roles: [], scopes: undefined, clientId: undefined };
  return Object.freeze({ id, person: id, key: 1, lanes: lanesOf(id), entry, subject, ...none });
}

const INFO = { version: '2026-07-28', capabilities: {}, serverInfo: undefined, instructions: undefined };
const USER: OAuthOptions = { ...SIGNED_IN, mode: 'user' };

function pageOf({ lines }: { lines: readonly string[] }): URL {
  return new URL(lines.find((line) => line.startsWith('http')) ?? '');
}

describe('login', () => {
  it('signs in with PKCE, state, scope and resource, and keeps the tokens in the vault alone', async () => {
    const as = await provider();
    const secrets = new MapSecrets();
    const told = deps(secrets);
    await login(notesAt(as.url), told);
    expect(as.forms).toHaveLength(1);
    expect(as.forms[0]).toMatchObject({ grant_type: 'authorization_code', resource: as.url.href });
    const { searchParams } = pageOf(told);
    expect(searchParams.get('code_challenge_method')).toBe('S256');
    expect(searchParams.get('scope')).toContain('mcp:use');
    expect(searchParams.get('resource')).toBe(as.url.href);
    expect(searchParams.get('redirect_uri')).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/callback$/);
    expect((searchParams.get('state') ?? '').length).toBeGreaterThanOrEqual(26);
    expect(as.registered[0]).toMatchObject({ application_type: 'native', redirect_uris: [expect.any(String)] });
    expect(told.lines.join('\n')).not.toContain('access-');
    expect((await secrets.list({ kind: 'gateway' })).map(({ id }) => id.purpose).sort()).toEqual([
      'upstream-client',
      'upstream-token',
    ]);
  });

  it('gives calls their token from then on', async () => {
    const as = await provider();
    const secrets = new MapSecrets();
    const options = notesAt(as.url);
    const credentials = createCredentials(options, { secrets, subjects: SUBJECTS, clock: new FakeClock() });
    const client = new HttpClient(options, { log: silentLog, caps: DEFAULT_SCAN_CAPS, credentials });
    open.push({ [Symbol.asyncDispose]: () => client.close() });
    const connection = createModernHttp(client).connection(INFO);
    const [before] = (await run(connection)).failures;
    expect([before?.code, before?.message]).toEqual([
      'server_login_required',
      'notes: nobody has signed in; run `tollgate login notes`',
    ]);
    await login(options, deps(secrets));
    expect((await run(connection)).responses).toHaveLength(1);
    // The server forgets the token: one refresh, unseen by the caller.
    as.good.clear();
    expect((await run(connection)).responses).toHaveLength(1);
    expect(as.forms.map((form) => form['grant_type'])).toEqual(['authorization_code', 'refresh_token']);
  });

  it('asks next time for the scopes that the server found missing, once', async () => {
    const as = await provider();
    const secrets = new MapSecrets();
    const options = notesAt(as.url);
    await login(options, deps(secrets));
    const credentials = createCredentials(options, { secrets, subjects: SUBJECTS, clock: new FakeClock() });
    as.missingScope = 'notes:write';
    const client = new HttpClient(options, { log: silentLog, caps: DEFAULT_SCAN_CAPS, credentials });
    open.push({ [Symbol.asyncDispose]: () => client.close() });
    const connection = createModernHttp(client).connection(INFO);
    const [failure] = (await run(connection)).failures;
    expect([failure?.code, failure?.executed]).toEqual(['server_login_required', 'no']);
    expect(failure?.message).toContain('lacks a scope');
    const told = deps(secrets);
    await login(options, told);
    expect(pageOf(told).searchParams.get('scope')?.split(' ').sort()).toEqual(['mcp:use', 'notes:write']);
    // Granted is what was asked for, and the server refuses all the same: that is final.
    const [again] = (await run(connection)).failures;
    expect([again?.code, again?.executed]).toEqual(['access_denied', 'no']);
  });

  it('uses its registration and its port again', async () => {
    const as = await provider();
    const secrets = new MapSecrets();
    await login(notesAt(as.url), deps(secrets));
    await login(notesAt(as.url), deps(secrets));
    expect(as.registrations()).toBe(1);
  });

  it('uses a client id metadata document where it can, and a registered client before both', async () => {
    const as = await provider();
    as.metadata = { client_id_metadata_document_supported: true };
    const clientMetadataUrl = 'https://gw.example/connect/client/metadata.json';
    const byDocument = deps(new MapSecrets());
    await login(notesAt(as.url, { ...SIGNED_IN, clientMetadataUrl }), byDocument);
    expect(pageOf(byDocument).searchParams.get('client_id')).toBe(clientMetadataUrl);
    const client = { clientId: 'by-hand', issuer: as.origin, clientSecret: 's3cret', privateKey: undefined };
    const byHand = deps(new MapSecrets());
    await login(notesAt(as.url, { ...SIGNED_IN, clientMetadataUrl, client, issuer: as.origin }), byHand);
    expect(pageOf(byHand).searchParams.get('client_id')).toBe('by-hand');
    expect(as.registrations()).toBe(0);
  });

  it.each([
    ['another issuer', (query: URLSearchParams) => query.set('iss', 'https://evil.example'), /issuer/i],
    ['no issuer', (query: URLSearchParams) => query.delete('iss'), /iss/i],
    [
      'another issuer in a refusal',
      (query: URLSearchParams) => {
        query.delete('code');
        query.set('error', 'access_denied');
        query.set('iss', 'https://evil.example');
      },
      /issuer/i,
    ],
    [
      'a refusal',
      (query: URLSearchParams) => {
        query.delete('code');
        query.set('error', 'access_denied');
        query.set('error_description', 'not \u001b[31mtoday');
      },
      /refused: access_denied: not {2}\[31mtoday/,
    ],
  ])('fails with %s and stores nothing', async (_name, tamper, message) => {
    const as = await provider();
    const secrets = new MapSecrets();
    as.tamper = tamper;
    await expect(login(notesAt(as.url), deps(secrets))).rejects.toMatchObject({
      code: 'server_login_required',
      message: expect.stringMatching(message),
    });
    expect(await secrets.list('all', 'upstream-token')).toEqual([]);
    expect(as.forms).toEqual([]);
  });

  it.each([
    ['that do not offer S256', { code_challenge_methods_supported: ['plain'] }, {}, /PKCE/],
    ['that do not say what they offer', { code_challenge_methods_supported: undefined }, {}, /PKCE/],
    ['under another issuer', { issuer: 'https://evil.example' }, {}, /issuer/i],
    ['that ask for secrets in plain text', { token_endpoint: 'http://evil.example/token' }, {}, /token_endpoint/],
    ['of a server that speaks for another', {}, { resource: 'https://other.example/mcp' }, /other\.example/],
  ])('refuses authorization servers %s, and asks them for nothing', async (_name, metadata, resource, message) => {
    const as = await provider();
    as.metadata = metadata;
    as.resource = resource;
    const opened: URL[] = [];
    const openBrowser = (url: URL): Promise<boolean> => {
      opened.push(url);
      return Promise.resolve(true);
    };
    await expect(login(notesAt(as.url), deps(new MapSecrets(), { openBrowser }))).rejects.toMatchObject({
      code: 'server_login_required',
      message: expect.stringMatching(message),
    });
    expect([opened, as.registrations(), as.forms]).toEqual([[], 0, []]);
  });

  it.each([
    'file:///etc/passwd',
    'javascript:alert(1)',
    'a:$(calc)',
    'http://evil.example/$(calc)',
    'https://u:p@a.b/',
  ])('CVE-2025-6514 (mcp-remote): never opens the authorization page %s', async (page) => {
    const as = await provider();
    as.metadata = { authorization_endpoint: page };
    const opened: URL[] = [];
    const openBrowser = (url: URL): Promise<boolean> => {
      opened.push(url);
      return Promise.resolve(true);
    };
    const told = deps(new MapSecrets(), { openBrowser });
    await expect(login(notesAt(as.url), told)).rejects.toMatchObject({ code: 'server_login_required' });
    expect([opened, told.lines]).toEqual([[], []]);
  });

  it('CVE-2025-69196 and GHSA-c2jp-c369-7pvx (FastMCP): asks for a token of the server, not of its base URL', async () => {
    const as = await provider();
    as.resource = { resource: `${as.origin}/other` };
    await expect(login(notesAt(as.url), deps(new MapSecrets()))).rejects.toMatchObject({
      message: expect.stringContaining('/other'),
    });
    as.resource = {};
    const told = deps(new MapSecrets());
    await login(notesAt(as.url), told);
    expect([pageOf(told).searchParams.getAll('resource'), as.forms[0]?.['resource']]).toEqual([
      [as.url.href],
      as.url.href,
    ]);
  });

  it('does not hear a callback with another state, and goes on waiting for the right one', async () => {
    const as = await provider();
    const statuses: number[] = [];
    const openBrowser = async (url: URL): Promise<boolean> => {
      const back = url.searchParams.get('redirect_uri') ?? '';
      setTimeout(async () => {
        for (const query of ['?code=stolen&state=guess', '?code=stolen', ''])
          statuses.push((await fetch(back + query)).status);
        await agree(url);
      }, 5);
      return true;
    };
    await login(notesAt(as.url), deps(new MapSecrets(), { openBrowser }));
    expect(statuses).toEqual([404, 404, 404]);
    expect(as.forms.map((form) => form['code'])).not.toContain('stolen');
  });

  it('ends when nobody comes, when it is given up, and at once without a vault', async () => {
    const as = await provider();
    const nobody = deps(new MapSecrets(), { openBrowser: () => Promise.resolve(false), timeoutMs: 30 });
    await expect(login(notesAt(as.url), nobody)).rejects.toMatchObject({
      message: expect.stringContaining('Nobody signed in'),
    });
    expect(nobody.lines.at(-1)).toBe('No browser could be opened here; open the page yourself.');
    const abort = new AbortController();
    const openBrowser = (): Promise<boolean> => {
      setTimeout(() => abort.abort(), 5);
      return Promise.resolve(true);
    };
    const givenUp = deps(new MapSecrets(), { openBrowser, signal: abort.signal });
    await expect(login(notesAt(as.url), givenUp)).rejects.toMatchObject({ code: 'server_login_required' });
    const sealed = new MapSecrets();
    sealed.failure = new Error('sealed');
    const told = deps(sealed);
    await expect(login(notesAt(as.url), told)).rejects.toThrow('sealed');
    expect(told.lines).toEqual([]);
  });
});

describe('two authorization servers', () => {
  it('no answer of one reaches the token endpoint of the other (mix-up)', async () => {
    const [honest, evil] = [await provider(), await provider()];
    // An authorization server that does not name itself in its answers would not be told apart by `iss` alone.
    for (const one of [honest, evil]) one.tamper = () => {};
    const secrets = new MapSecrets();
    const flow = {
      grants: new Grants(secrets),
      clock: new FakeClock(),
      clientMetadataUrl: undefined,
      signal: AbortSignal.timeout(60_000),
    };
    const owner = principalOwner('corp/ada');
    const back = 'https://gw.example/connect/callback/notes';
    const atEvil = await beginSignIn(notesAt(evil.url, USER), owner, back, flow);
    const atHonest = await beginSignIn(notesAt(honest.url, USER), owner, back, flow);
    const response = await fetch(atHonest.page, { redirect: 'manual' });
    const query = new URL(response.headers.get('location') ?? '').searchParams;
    const answer = {
      code: query.get('code') ?? undefined,
      iss: query.get('iss') ?? undefined,
      error: undefined,
      errorDescription: undefined,
    };
    expect(answer.code).toBeDefined();
    await expect(finishSignIn(notesAt(evil.url, USER), atEvil.pending, answer, flow)).rejects.toMatchObject({
      code: 'server_login_required',
      message: expect.stringMatching(/issuer/i),
    });
    expect([evil.forms, honest.forms]).toEqual([[], []]);
    // Registered apart: neither knows the client of the other.
    expect(atEvil.pending.issuer).not.toBe(atHonest.pending.issuer);
    expect((await secrets.list({ kind: 'gateway' }, 'upstream-client')).length).toBe(2);
  });

  it('a client registered by hand is not used where the server has moved to another one', async () => {
    const [old, next] = [await provider(), await provider()];
    const client = { clientId: 'by-hand', issuer: old.origin, clientSecret: 's3cret', privateKey: undefined };
    old.resource = { authorization_servers: [next.origin] };
    const moved = notesAt(old.url, { ...SIGNED_IN, client });
    await expect(login(moved, deps(new MapSecrets()))).rejects.toMatchObject({
      message: expect.stringContaining('its secret is not sent there'),
    });
    expect([old.forms, next.forms]).toEqual([[], []]);
  });
});

describe('tokens', () => {
  async function signedIn(): Promise<{ as: Provider; secrets: MapSecrets; options: HttpServerOptions }> {
    const as = await provider();
    const secrets = new MapSecrets();
    const options = notesAt(as.url);
    await login(options, deps(secrets));
    return { as, secrets, options };
  }

  it('are refreshed once for many calls and several gateways, before they end', async () => {
    const { as, secrets, options } = await signedIn();
    const clock = new FakeClock();
    const one = tokensOf(options, secrets, clock);
    const two = tokensOf(options, secrets, clock);
    const first = await one.renew(undefined);
    expect(one.current()).toBe(first);
    clock.now += 3600_000 - 20_000;
    expect(one.current()).toBeUndefined();
    const renewed = await Promise.all([
      one.renew(undefined),
      one.renew(undefined),
      two.renew(first),
      two.renew(undefined),
    ]);
    expect(new Set(renewed).size).toBe(1);
    expect(renewed[0]).not.toBe(first);
    expect(as.forms.map((form) => form['grant_type'])).toEqual(['authorization_code', 'refresh_token']);
    expect(as.forms[1]?.['resource']).toBe(as.url.href);
    // The rotated refresh token was kept.
    clock.now += 3600_000;
    expect(await two.renew(undefined)).not.toBe(renewed[0]);
  });

  it('that live for seconds are used for half of it', async () => {
    const as = await provider();
    as.expiresIn = 10;
    const secrets = new MapSecrets();
    const options = notesAt(as.url);
    await login(options, deps(secrets));
    const clock = new FakeClock();
    const tokens = tokensOf(options, secrets, clock);
    const token = await tokens.renew(undefined);
    expect(tokens.current()).toBe(token);
    clock.now += 6_000;
    expect(tokens.current()).toBeUndefined();
  });

  it('that a server refused once, perhaps for one call only, are tried again half a minute later', async () => {
    const { as, secrets, options } = await signedIn();
    const grants = new Grants(secrets);
    await grants.update('notes', { kind: 'gateway' }, as.url.href, async (grant) => {
      const { refreshToken: _, ...tokens } = grant!.tokens!;
      return { ...grant!, tokens };
    });
    const clock = new FakeClock();
    const tokens = tokensOf(options, secrets, clock);
    const token = await tokens.renew(undefined);
    await expect(tokens.renew(token)).rejects.toMatchObject({ code: 'server_login_required' });
    await expect(tokens.renew(undefined)).rejects.toMatchObject({ code: 'server_login_required' });
    clock.now += 30_001;
    expect(await tokens.renew(undefined)).toBe(token);
  });

  it('end within half a minute of their revocation in the vault', async () => {
    const { secrets, options } = await signedIn();
    const clock = new FakeClock();
    const tokens = tokensOf(options, secrets, clock);
    expect(await tokens.renew(undefined)).toBeDefined();
    for (const { id } of await secrets.list('all', 'upstream-token')) await secrets.revoke(id);
    clock.now += 30_001;
    expect(tokens.current()).toBeUndefined();
    await expect(tokens.renew(undefined)).rejects.toMatchObject({ code: 'server_login_required' });
  });

  it('that the authorization server has ended need a sign-in; a fault of its own does not', async () => {
    const { as, secrets, options } = await signedIn();
    const clock = new FakeClock();
    const tokens = tokensOf(options, secrets, clock);
    const token = await tokens.renew(undefined);
    as.refusal = { status: 503, body: 'busy' };
    await expect(tokens.renew(token)).rejects.toMatchObject({ code: 'server_unavailable' });
    const asked = as.forms.length;
    await expect(tokens.renew(token)).rejects.toMatchObject({ code: 'server_unavailable' });
    expect(as.forms).toHaveLength(asked);
    clock.now += 3_000;
    as.refusal = { status: 400, body: '{"error":"invalid_grant"}' };
    await expect(tokens.renew(token)).rejects.toMatchObject({
      code: 'server_login_required',
      message: expect.stringContaining('`tollgate login notes`'),
    });
    expect(secrets.dump).not.toContain(token);
  });

  it('are not sent to another URL under the same name', async () => {
    const { secrets, options } = await signedIn();
    const moved = notesAt(new URL('http://127.0.0.1:1/mcp'));
    await expect(tokensOf(moved, secrets).renew(undefined)).rejects.toMatchObject({
      message: 'notes: nobody has signed in; run `tollgate login notes`',
    });
    expect(await tokensOf(options, secrets).renew(undefined)).toBeDefined();
  });

  it('of one caller serve no other, and never the gateway', async () => {
    const as = await provider();
    const secrets = new MapSecrets();
    const options = notesAt(as.url, USER);
    await login(options, deps(secrets, { owner: principalOwner('corp/ada') }));
    const credentials = createCredentials(options, { secrets, subjects: SUBJECTS, clock: new FakeClock() })!;
    const client = new HttpClient(options, { log: silentLog, caps: DEFAULT_SCAN_CAPS, credentials });
    open.push({ [Symbol.asyncDispose]: () => client.close() });
    const connection = createModernHttp(client).connection(INFO);
    const troubles: string[] = [];
    connection.onTrouble = (error) => troubles.push(error.code);
    const as1 = await run(connection, { ...outbound(toolCall()), principal: person('corp/ada') });
    expect(as1.responses).toHaveLength(1);
    const as2 = await run(connection, { ...outbound(toolCall()), principal: person('corp/bob') });
    expect(as2.failures[0]).toMatchObject({ code: 'account_required', executed: 'no' });
    // One caller without an account is not a server in trouble.
    expect(troubles).toEqual([]);
    // Lists: without a sign-in of the gateway nothing is sent, and above all not Ada's.
    const lists = await run(connection, outbound(toolCall()));
    expect(lists.failures[0]?.message).toContain('so that its lists can be read');
  });
});
