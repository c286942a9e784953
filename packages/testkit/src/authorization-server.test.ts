import { createHash, randomBytes } from 'node:crypto';
import { createRemoteJWKSet, jwtVerify } from 'jose';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type AuthorizationServer, startAuthorizationServer } from './authorization-server.ts';
import { Browser } from './browser.ts';

const REDIRECT = 'http://127.0.0.1:9/callback';
const RESOURCE = 'https://gw.example/mcp';
let server: AuthorizationServer;

beforeAll(async () => {
  server = await startAuthorizationServer({
    clients: [
      {
        client_id: 'app',
        client_secret: 'a secret of tests, long enough',
        redirect_uris: ['http://127.0.0.1/callback'],
        grant_types: ['authorization_code', 'refresh_token', 'client_credentials'],
      },
    ],
    users: { ada: { org: 'acme' }, bob: {} },
    scopes: ['read'],
    registration: true,
  });
});
afterAll(() => server[Symbol.asyncDispose]());

const post = async (path: string, form: Record<string, string>): Promise<Record<string, string>> => {
  const response = await fetch(`${server.issuer}${path}`, {
    method: 'POST',
    headers: { authorization: `Basic ${btoa('app:a+secret+of+tests%2C+long+enough')}` },
    body: new URLSearchParams(form),
  });
  return (await response.json()) as Record<string, string>;
};

describe('the authorization server', () => {
  it('signs a browser in with PKCE and gives tokens for a resource, with the claims of the person', async () => {
    const verifier = randomBytes(32).toString('base64url');
    const query = new URLSearchParams({
      client_id: 'app',
      response_type: 'code',
      redirect_uri: REDIRECT,
      scope: 'openid offline_access read',
      state: 's',
      nonce: 'n',
      resource: RESOURCE,
      code_challenge: createHash('sha256').update(verifier).digest('base64url'),
      code_challenge_method: 'S256',
    });
    const page = await new Browser().follow(`${server.issuer}/auth?${query}`, REDIRECT);
    const answer = new URL(page.location ?? '').searchParams;
    expect(answer.get('iss')).toBe(server.issuer);
    const tokens = await post('/token', {
      grant_type: 'authorization_code',
      code: answer.get('code') ?? '',
      redirect_uri: REDIRECT,
      code_verifier: verifier,
      resource: RESOURCE,
    });
    const keys = createRemoteJWKSet(new URL(`${server.issuer}/jwks`));
    const id = await jwtVerify(tokens['id_token'] ?? '', keys, { issuer: server.issuer, audience: 'app' });
    expect(id.payload).toMatchObject({ sub: 'ada', nonce: 'n', org: 'acme' });
    const access = await jwtVerify(tokens['access_token'] ?? '', keys, { issuer: server.issuer, audience: RESOURCE });
    expect(access.payload).toMatchObject({ sub: 'ada', org: 'acme', scope: 'read', client_id: 'app' });
    const next = await post('/token', { grant_type: 'refresh_token', refresh_token: tokens['refresh_token'] ?? '' });
    expect(next).toMatchObject({ token_type: 'Bearer' });
  });

  it('registers clients, gives tokens to programs, and answers as it is told', async () => {
    const made = await fetch(`${server.issuer}/reg`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ redirect_uris: ['https://client.example/cb'], token_endpoint_auth_method: 'none' }),
    });
    expect(made.status).toBe(201);
    await made.arrayBuffer();
    const program = await post('/token', { grant_type: 'client_credentials', resource: RESOURCE, scope: 'read' });
    expect(program).toMatchObject({ scope: 'read' });
    server.answer('/token', (_, response) => response.writeHead(503).end('{}'));
    expect(await post('/token', { grant_type: 'client_credentials' })).toEqual({});
    server.answer('/token', undefined);
    expect(server.requests.filter(({ path }) => path === '/token').length).toBeGreaterThan(2);
  });
});
