import http, { type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import { startAuthorizationServer } from '@tollgate/testkit/authorization-server';
import { modernBody, modernHeaders } from '@tollgate/testkit/modern-request';
import { SignJWT } from 'jose';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { compile } from '../config/compile.ts';
import { loadConfigObject } from '../config/load.ts';
import { silentLog } from '../core/log.ts';
import { GATEWAY, Grants, principalOwner } from '../upstream/auth/grants.ts';
import { MapSecrets } from '../upstream/fixtures/secrets.ts';
import { Gateway } from './gateway.ts';

/** Planted wherever a caller can put a credential. */
const CANARY = 'canary-of-the-caller';
const BEARER = `${CANARY}-static-token`;
const JWT_SECRET = 'a secret of tests that is long enough for HS256';
const CLIENT_SECRET = 'gw-client-secret';

interface Seen {
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

const open: AsyncDisposable[] = [];
afterAll(async () => {
  for (const one of open.splice(0).reverse()) await one[Symbol.asyncDispose]();
});

/** An MCP server that takes any credential and writes down what it gets; `/sts` is a token endpoint. */
async function capture(issuer: string): Promise<{ url: string; sts: string; seen: Seen[] }> {
  const seen: Seen[] = [];
  const server = http.createServer(async (request, response) => {
    let body = '';
    for await (const part of request.setEncoding('utf8')) body += String(part);
    const path = request.url ?? '';
    const json = (value: unknown): void => {
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(JSON.stringify(value));
    };
    if (path.startsWith('/.well-known/')) {
      json({ resource: `${origin}/mcp`, authorization_servers: [issuer] });
      return;
    }
    seen.push({ path, headers: request.headers, body });
    if (path === '/sts') {
      const type = 'urn:ietf:params:oauth:token-type:access_token';
      json({ access_token: 'exchanged-token', token_type: 'Bearer', issued_token_type: type, expires_in: 60 });
      return;
    }
    const { id, method } = JSON.parse(body) as { id: number; method: string };
    if (method === 'ping') {
      response.writeHead(401, { 'www-authenticate': 'Bearer' });
      response.end();
      return;
    }
    const tools = [{ name: 'echo', inputSchema: { type: 'object' } }];
    const cached = { ttlMs: 0, cacheScope: 'private' };
    const results: Record<string, unknown> = {
      'server/discover': { supportedVersions: ['2026-07-28'], capabilities: { tools: {} }, ...cached },
      'tools/list': { tools, ...cached },
    };
    json({
      jsonrpc: '2.0',
      id,
      result: { resultType: 'complete', ...((results[method] ?? { content: [] }) as object) },
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  open.push({
    [Symbol.asyncDispose]: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  });
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { url: `${origin}/mcp`, sts: `${origin}/sts`, seen };
}

let upstream: Awaited<ReturnType<typeof capture>>;
let issuer = '';
let jwt = '';
let base = '';

const lists = () => ({ issuer, clientId: 'gw', clientSecret: CLIENT_SECRET });

/** Each way to get a token, what it sends for a call by JWT, and for one by a static token; undefined: refused. */
const MODES: readonly [name: string, auth: () => unknown, byJwt: RegExp | undefined, byKey: RegExp | undefined][] = [
  ['none', () => undefined, /^$/, /^$/],
  ['oauth', () => 'oauth', /^Bearer gateway-token$/, /^Bearer gateway-token$/],
  ['user', () => ({ oauth: { mode: 'user' } }), /^Bearer token-of-jwt-ada$/, undefined],
  ['clientCredentials', () => ({ clientCredentials: lists() }), /^Bearer ey/, /^Bearer ey/],
  [
    'tokenExchange',
    () => ({ tokenExchange: { tokenEndpoint: upstream.sts, clientId: 'gw', clientSecret: CLIENT_SECRET } }),
    /^Bearer exchanged-token$/,
    undefined,
  ],
  [
    'enterprise',
    () => ({ enterprise: { idp: { tokenEndpoint: upstream.sts, clientId: 'gw' }, ...lists() } }),
    undefined,
    undefined,
  ],
];

beforeAll(async () => {
  const as = await startAuthorizationServer({
    clients: [
      {
        client_id: 'gw',
        client_secret: CLIENT_SECRET,
        grant_types: ['client_credentials'],
        redirect_uris: [],
        response_types: [],
      },
    ],
  });
  open.push(as);
  issuer = as.issuer;
  upstream = await capture(issuer);
  const secrets = new MapSecrets();
  const grants = new Grants(secrets);
  const grant = (accessToken: string) => ({
    version: 1 as const,
    url: upstream.url,
    issuer,
    tokenEndpoint: `${issuer}/token`,
    client: { client_id: 'gw' },
    tokens: { accessToken },
    signedInAt: Date.now(),
  });
  await grants.write('oauth', GATEWAY, grant('gateway-token'), 'test');
  await grants.write('user', principalOwner('jwt/ada'), grant('token-of-jwt-ada'), 'test');
  const servers = Object.fromEntries(
    MODES.map(([name, auth]) => [name, { url: upstream.url, ...(auth() === undefined ? {} : { auth: auth() }) }]),
  );
  const { config } = await loadConfigObject({
    listen: '127.0.0.1:0',
    servers,
    auth: [
      { name: 'jwt', jwt: { issuer: 'test', audience: 'gw', secret: JWT_SECRET, algorithms: ['HS256'] } },
      { name: 'key', bearer: { token: BEARER } },
      { anonymous: true },
    ],
  } as Parameters<typeof loadConfigObject>[0]);
  jwt = await new SignJWT({ [CANARY]: true })
    .setProtectedHeader({ alg: 'HS256' })
    .setIssuer('test')
    .setAudience('gw')
    .setSubject('ada')
    .setExpirationTime('5m')
    .sign(new TextEncoder().encode(JWT_SECRET));
  const gateway = new Gateway(compile(config), { log: silentLog, secrets });
  open.push({ [Symbol.asyncDispose]: () => gateway.close() });
  base = (await gateway.listen()).url;
  await gateway.settled();
});

async function call(server: string, authorization: string | undefined): Promise<string> {
  const params = { name: 'echo', arguments: {} };
  const response = await fetch(`${base}/s/${server}`, {
    method: 'POST',
    headers: {
      ...Object.fromEntries(modernHeaders('tools/call', params)),
      ...(authorization === undefined ? {} : { authorization: `Bearer ${authorization}` }),
      cookie: `session=${CANARY}`,
      'x-api-key': CANARY,
      'x-forwarded-access-token': CANARY,
      dpop: CANARY,
    },
    body: modernBody(1, 'tools/call', params),
  });
  return response.text();
}

describe.each(MODES)('auth %s', (name, _auth, byJwt, byKey) => {
  it.each([
    ['a JWT', () => jwt, byJwt],
    ['a static token', () => BEARER, byKey],
    ['nothing', () => undefined, name === 'none' ? /^$/ : byKey],
  ])('called with %s: no credential of the caller reaches the server', async (_what, token, expected) => {
    const before = upstream.seen.length;
    const answer = await call(name, token());
    const seen = upstream.seen.slice(before);
    const calls = seen.filter(({ body }) => body.includes('"tools/call"'));
    expect(
      calls.map(({ headers }) => headers.authorization ?? ''),
      answer,
    ).toEqual(expected === undefined ? [] : [expect.stringMatching(expected)]);
    for (const { path, headers, body } of seen) {
      // The one place that may see the caller's token is the token endpoint of the operator, and only as its subject.
      const form = path === '/sts' ? new URLSearchParams(body) : undefined;
      if (form !== undefined) {
        expect([name, form.get('subject_token')]).toEqual(['tokenExchange', jwt]);
        form.delete('subject_token');
      }
      const text = JSON.stringify(headers) + (form?.toString() ?? body);
      expect(text).not.toContain(CANARY);
      expect(text).not.toContain(jwt);
    }
  });
});
