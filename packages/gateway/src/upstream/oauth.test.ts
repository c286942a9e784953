import { createHash } from 'node:crypto';
import { chmod, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import http from 'node:http';
import type net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import type { Clock } from '../core/clock.ts';
import { silentLog } from '../core/log.ts';
import { FORBIDDEN_LITERALS } from '../egress/testing.ts';
import { DEFAULT_SCAN_CAPS } from '../protocol/json/caps.ts';
import { run } from './fixtures/raw-http.ts';
import { HttpClient, type HttpServerOptions } from './http-client.ts';
import { createModernHttp } from './http-modern.ts';
import { type LoginDeps, login } from './oauth.ts';
import { isWebUrl, openBrowser } from './oauth-browser.ts';
import { signInFetch } from './oauth-fetch.ts';
import { tokenProvider } from './oauth-tokens.ts';

const open: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close();
});

interface Provider {
  readonly origin: string;
  readonly url: URL;
  /** Forms posted to the token endpoint. */
  readonly forms: Record<string, string>[];
  readonly registrations: () => number;
  /** Access tokens the MCP server accepts. */
  readonly good: Set<string>;
  /** What the token endpoint answers instead, once set. */
  refusal: { status: number; body: string } | undefined;
  expiresIn: number | undefined;
  /** Scope without which the MCP server refuses with 403, once set. */
  missingScope: string | undefined;
  /** Changes the query with which the browser is sent back. */
  tamper: (query: URLSearchParams) => void;
}

/** An MCP server that wants a token, and its authorization server, on one port. */
async function provider(): Promise<Provider> {
  const codes = new Map<string, URLSearchParams>();
  const refreshTokens = new Set<string>();
  const forms: Record<string, string>[] = [];
  let count = 0;
  let registrations = 0;
  let state: Provider | undefined;
  const server = http.createServer(async (request, response) => {
    let body = '';
    for await (const part of request) body += String(part);
    const { origin, good } = state as Provider;
    const url = new URL(request.url ?? '', origin);
    const json = (value: unknown, status = 200): void => {
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(JSON.stringify(value));
    };
    switch (url.pathname) {
      case '/mcp':
        if (!good.has(request.headers.authorization?.replace('Bearer ', '') ?? '')) {
          const meta = `${origin}/.well-known/oauth-protected-resource/mcp`;
          response.writeHead(401, { 'www-authenticate': `Bearer resource_metadata="${meta}", scope="mcp:use"` });
          response.end();
        } else if (state?.missingScope !== undefined) {
          const challenge = `Bearer error="insufficient_scope", scope="${state.missingScope}"`;
          response.writeHead(403, { 'www-authenticate': challenge });
          response.end();
        } else json({ jsonrpc: '2.0', id: (JSON.parse(body) as { id: number }).id, result: {} });
        return;
      case '/.well-known/oauth-protected-resource/mcp':
        json({ resource: `${origin}/mcp`, authorization_servers: [origin] });
        return;
      case '/.well-known/oauth-authorization-server':
        json({
          issuer: origin,
          authorization_endpoint: `${origin}/authorize`,
          token_endpoint: `${origin}/token`,
          registration_endpoint: `${origin}/register`,
          response_types_supported: ['code'],
          code_challenge_methods_supported: ['S256'],
          authorization_response_iss_parameter_supported: true,
        });
        return;
      case '/register':
        registrations++;
        json({ ...(JSON.parse(body) as object), client_id: `client-${registrations}` }, 201);
        return;
      case '/authorize': {
        const code = `code-${++count}`;
        codes.set(code, url.searchParams);
        const query = new URLSearchParams({ code, state: url.searchParams.get('state') ?? '', iss: origin });
        state?.tamper(query);
        response.writeHead(302, { location: `${url.searchParams.get('redirect_uri')}?${query}` });
        response.end();
        return;
      }
      case '/token': {
        const form = Object.fromEntries(new URLSearchParams(body));
        forms.push(form);
        if (state?.refusal !== undefined) {
          response.writeHead(state.refusal.status, { 'content-type': 'application/json' });
          response.end(state.refusal.body);
          return;
        }
        const asked = codes.get(form['code'] ?? '');
        const challenge = createHash('sha256')
          .update(form['code_verifier'] ?? '')
          .digest('base64url');
        const byCode = form['grant_type'] === 'authorization_code' && asked?.get('code_challenge') === challenge;
        const byRefresh = form['grant_type'] === 'refresh_token' && refreshTokens.delete(form['refresh_token'] ?? '');
        if (!byCode && !byRefresh) {
          json({ error: 'invalid_grant' }, 400);
          return;
        }
        const access = `access-${++count}`;
        good.clear();
        good.add(access);
        refreshTokens.add(`refresh-${count}`);
        json({
          access_token: access,
          token_type: 'Bearer',
          refresh_token: `refresh-${count}`,
          expires_in: state?.expiresIn,
        });
        return;
      }
      default:
        response.writeHead(404);
        response.end();
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  open.push(
    () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  );
  const origin = `http://127.0.0.1:${(server.address() as net.AddressInfo).port}`;
  state = {
    origin,
    url: new URL('/mcp', origin),
    forms,
    registrations: () => registrations,
    good: new Set(),
    refusal: undefined,
    expiresIn: 3600,
    missingScope: undefined,
    tamper: () => {},
  };
  return state;
}

function optionsFor(url: URL): HttpServerOptions {
  return {
    name: 'notes',
    target: { kind: 'http', url, headers: {} },
    protocol: 'auto',
    auth: 'oauth',
    timeout: { connect: 5_000, firstByte: 5_000, idle: 5_000, request: 5_000 },
    instances: { mode: 'auto', max: 1, idle: 1_000 },
    pool: { max: 2 },
    maxResponse: 100_000,
  };
}

async function storeFile(): Promise<string> {
  const folder = await mkdtemp(path.join(tmpdir(), 'tollgate-oauth-'));
  open.push(() => rm(folder, { recursive: true }));
  return path.join(folder, 'data', 'oauth.json');
}

/** A person who agrees to everything, in a browser that follows redirects. */
const agree = async (url: URL): Promise<boolean> => {
  const response = await fetch(url, { redirect: 'manual' });
  void fetch(response.headers.get('location') ?? '').then((page) => page.text());
  return true;
};

function deps(file: string, changes: Partial<LoginDeps> = {}): LoginDeps & { lines: string[] } {
  const lines: string[] = [];
  return {
    storeFile: file,
    openBrowser: agree,
    print: (line) => lines.push(line),
    signal: AbortSignal.timeout(20_000),
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

describe('login', () => {
  it('signs in with PKCE, state, scope and resource, and keeps the tokens in a private file', async () => {
    const as = await provider();
    const file = await storeFile();
    const person = deps(file);
    await login(optionsFor(as.url), person);
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect((await stat(path.dirname(file))).mode & 0o777).toBe(0o700);
    expect(await readdir(path.dirname(file))).toEqual(['oauth.json']);
    expect(as.forms).toHaveLength(1);
    expect(as.forms[0]).toMatchObject({ grant_type: 'authorization_code', resource: as.url.href });
    const page = new URL(person.lines.find((line) => line.startsWith('http')) ?? '');
    expect(page.searchParams.get('code_challenge_method')).toBe('S256');
    expect(page.searchParams.get('scope')).toContain('mcp:use');
    expect(page.searchParams.get('resource')).toBe(as.url.href);
    expect(page.searchParams.get('redirect_uri')).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/callback$/);
    expect((page.searchParams.get('state') ?? '').length).toBeGreaterThanOrEqual(26);
    expect(person.lines.join('\n')).not.toContain('access-');
  });

  it('gives calls their token from then on', async () => {
    const as = await provider();
    const file = await storeFile();
    const options = optionsFor(as.url);
    const client = new HttpClient(options, {
      log: silentLog,
      caps: DEFAULT_SCAN_CAPS,
      tokens: tokenProvider(options, file),
    });
    open.push(() => client.close());
    const info = { version: '2026-07-28', capabilities: {}, serverInfo: undefined, instructions: undefined };
    const connection = createModernHttp(client).connection(info);
    const [before] = (await run(connection)).failures;
    expect([before?.code, before?.message]).toEqual([
      'server_login_required',
      'notes: nobody has signed in; run `tollgate login notes`',
    ]);
    await login(options, deps(file));
    await expect.poll(async () => (await run(connection)).responses.length, { timeout: 4_000 }).toBe(1);
    // The server forgets the token: one refresh, unseen by the caller.
    as.good.clear();
    expect((await run(connection)).responses).toHaveLength(1);
    expect(as.forms.map((form) => form['grant_type'])).toEqual(['authorization_code', 'refresh_token']);
  });

  it('asks next time for the scopes that the server found missing', async () => {
    const as = await provider();
    const file = await storeFile();
    const options = optionsFor(as.url);
    await login(options, deps(file));
    const tokens = tokenProvider(options, file);
    as.missingScope = 'notes:write';
    const client = new HttpClient(options, { log: silentLog, caps: DEFAULT_SCAN_CAPS, tokens });
    open.push(() => client.close());
    const info = { version: '2026-07-28', capabilities: {}, serverInfo: undefined, instructions: undefined };
    const [failure] = (await run(createModernHttp(client).connection(info))).failures;
    expect([failure?.code, failure?.executed]).toEqual(['server_login_required', 'no']);
    expect(failure?.message).toContain('lacks a scope');
    await expect.poll(() => readFile(file, 'utf8')).toContain('notes:write');
    const person = deps(file);
    await login(options, person);
    const page = new URL(person.lines.find((line) => line.startsWith('http')) ?? '');
    expect(page.searchParams.get('scope')?.split(' ').sort()).toEqual(['mcp:use', 'notes:write']);
  });

  it('uses its registration and its port again', async () => {
    const as = await provider();
    const file = await storeFile();
    await login(optionsFor(as.url), deps(file));
    await login(optionsFor(as.url), deps(file));
    expect(as.registrations()).toBe(1);
  });

  it.each([
    ['another issuer', (query: URLSearchParams) => query.set('iss', 'https://evil.example'), /issuer/i],
    ['no issuer', (query: URLSearchParams) => query.delete('iss'), /iss/i],
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
    const file = await storeFile();
    as.tamper = tamper;
    await expect(login(optionsFor(as.url), deps(file))).rejects.toMatchObject({
      code: 'server_login_required',
      message: expect.stringMatching(message),
    });
    await expect(stat(file)).rejects.toMatchObject({ code: 'ENOENT' });
    expect(as.forms).toEqual([]);
  });

  it('does not hear a callback with another state, and goes on waiting for the right one', async () => {
    const as = await provider();
    const file = await storeFile();
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
    await login(optionsFor(as.url), deps(file, { openBrowser }));
    expect(statuses).toEqual([404, 404, 404]);
    expect(as.forms.map((form) => form['code'])).not.toContain('stolen');
  });

  it('ends when nobody comes, and when it is given up', async () => {
    const as = await provider();
    const file = await storeFile();
    const nobody = deps(file, { openBrowser: () => Promise.resolve(false), timeoutMs: 30 });
    await expect(login(optionsFor(as.url), nobody)).rejects.toMatchObject({
      message: expect.stringContaining('Nobody signed in'),
    });
    expect(nobody.lines.at(-1)).toBe('No browser could be opened here; open the page yourself.');
    const abort = new AbortController();
    const openBrowser = (): Promise<boolean> => {
      setTimeout(() => abort.abort(), 5);
      return Promise.resolve(true);
    };
    await expect(login(optionsFor(as.url), deps(file, { openBrowser, signal: abort.signal }))).rejects.toMatchObject({
      code: 'server_login_required',
    });
  });
});

describe('tokens', () => {
  async function signedIn(): Promise<{ as: Provider; file: string; options: HttpServerOptions }> {
    const as = await provider();
    const file = await storeFile();
    const options = optionsFor(as.url);
    await login(options, deps(file));
    return { as, file, options };
  }

  it('are refreshed once for many calls and several gateways, before they end', async () => {
    const { as, file, options } = await signedIn();
    const clock = new FakeClock();
    const one = tokenProvider(options, file, clock);
    const two = tokenProvider(options, file, clock);
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
    const file = await storeFile();
    const options = optionsFor(as.url);
    await login(options, deps(file));
    const clock = new FakeClock();
    const tokens = tokenProvider(options, file, clock);
    const token = await tokens.renew(undefined);
    expect(tokens.current()).toBe(token);
    clock.now += 6_000;
    expect(tokens.current()).toBeUndefined();
  });

  it('that the authorization server has ended need a sign-in; a fault of its own does not', async () => {
    const { as, file, options } = await signedIn();
    const clock = new FakeClock();
    const tokens = tokenProvider(options, file, clock);
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
    expect(await readFile(file, 'utf8')).not.toContain(token);
  });

  it('are not sent to another URL under the same name', async () => {
    const { file, options } = await signedIn();
    const moved = { ...options, target: { ...options.target, url: new URL('http://127.0.0.1:1/mcp') } };
    await expect(tokenProvider(moved, file).renew(undefined)).rejects.toMatchObject({
      message: 'notes: its URL has changed; run `tollgate login notes`',
    });
  });

  it.each([0o644, 0o640, 0o604])('are not read from a file with mode %o', async (mode) => {
    const { file, options } = await signedIn();
    await chmod(file, mode);
    await expect(tokenProvider(options, file).renew(undefined)).rejects.toMatchObject({
      code: 'config_invalid',
      message: expect.stringContaining('chmod 600'),
    });
  });

  it('are not read through a link or from a damaged file, and neither is quoted', async () => {
    const { file, options } = await signedIn();
    const link = `${file}.link`;
    await symlink(file, link);
    await expect(tokenProvider(options, link).renew(undefined)).rejects.toMatchObject({ code: 'config_invalid' });
    await writeFile(file, '{"version":1,"servers":{"notes":"s3cret"}}');
    await expect(tokenProvider(options, file).renew(undefined)).rejects.toMatchObject({
      code: 'config_invalid',
      message: expect.not.stringContaining('s3cret'),
    });
  });

  it('are reached in spite of the lock of a process that died', async () => {
    const { as, file, options } = await signedIn();
    await writeFile(`${file}.lock`, '999999999');
    as.good.clear();
    const tokens = tokenProvider(options, file);
    const token = await tokens.renew(undefined);
    expect(await tokens.renew(token)).not.toBe(token);
  });
});

describe('where a sign-in may lead', () => {
  const signal = new AbortController().signal;

  it('a public server leads to none of the URLs that nothing is fetched from', async () => {
    const guarded = await signInFetch(new URL('https://198.51.100.7/mcp'), signal);
    for (const url of [...FORBIDDEN_LITERALS, 'https://localhost/']) {
      await expect(guarded(url), url).rejects.toMatchObject({ code: 'server_login_required' });
    }
  });

  it('no server leads to the metadata service of a cloud, and names that resolve inside are refused', async () => {
    const inside = await signInFetch(new URL('http://127.0.0.1/mcp'), signal);
    await expect(inside('https://169.254.169.254/')).rejects.toMatchObject({ code: 'server_login_required' });
    const outside = await signInFetch(new URL('https://198.51.100.7/mcp'), signal);
    await expect(outside('https://localhost:9443/')).rejects.toMatchObject({
      cause: expect.objectContaining({ message: expect.stringContaining('internal address') }),
    });
  });

  it('large answers are cut', async () => {
    const server = http.createServer((_request, response) => {
      response.writeHead(200);
      response.end(Buffer.alloc(2 * 1024 * 1024));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    open.push(() => new Promise<void>((resolve) => server.close(() => resolve())));
    const url = new URL(`http://127.0.0.1:${(server.address() as net.AddressInfo).port}/`);
    await expect((await signInFetch(url, signal))(url)).rejects.toMatchObject({
      message: expect.stringContaining('1 MiB'),
    });
  });

  it('only web pages go to the browser', async () => {
    for (const url of ['file:///etc/passwd', 'javascript:alert(1)', 'vscode://x', 'data:text/html,x']) {
      expect(isWebUrl(new URL(url))).toBe(false);
      expect(await openBrowser(new URL(url))).toBe(false);
    }
    expect(isWebUrl(new URL('https://a.example/?a=1&b=$(x)'))).toBe(true);
  });
});
