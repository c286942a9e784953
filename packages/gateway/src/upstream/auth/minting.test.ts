import http from 'node:http';
import type net from 'node:net';
import { type AuthorizationServer, startAuthorizationServer } from '@tollgate/testkit/authorization-server';
import { decodeJwt, exportJWK, exportPKCS8, generateKeyPair } from 'jose';
import { afterEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../core/clock.ts';
import { lanesOf, type Principal } from '../../core/principal.ts';
import { notesAt } from '../fixtures/oauth-provider.ts';
import type { HttpServerOptions } from '../http-client.ts';
import type { RegisteredClient, ServerAuth } from '../options.ts';
import { createCredentials, type SubjectTokens } from './credentials.ts';

const open: AsyncDisposable[] = [];

afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one[Symbol.asyncDispose]();
});

/** A server that wants a token of `issuer`, and beside it a token endpoint that writes down what it is asked. */
async function resource(issuer: () => string): Promise<{ url: URL; exchange: string; asked: Asked[]; answer: Answer }> {
  const asked: Asked[] = [];
  const answer: Answer = { status: 200, body: { access_token: 'exchanged-1', token_type: 'Bearer', expires_in: 60 } };
  const server = http.createServer(async (request, response) => {
    let body = '';
    for await (const part of request) body += String(part);
    const origin = `http://127.0.0.1:${(server.address() as net.AddressInfo).port}`;
    if (request.url === '/exchange') {
      const { authorization } = request.headers;
      asked.push({ form: Object.fromEntries(new URLSearchParams(body)), authorization });
      response.writeHead(answer.status, { 'content-type': 'application/json' });
      response.end(
        JSON.stringify({ issued_token_type: 'urn:ietf:params:oauth:token-type:access_token', ...answer.body }),
      );
    } else if (request.url === '/.well-known/oauth-protected-resource/mcp') {
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ resource: `${origin}/mcp`, authorization_servers: [issuer()] }));
    } else {
      response.writeHead(401, {
        'www-authenticate': `Bearer resource_metadata="${origin}/.well-known/oauth-protected-resource/mcp"`,
      });
      response.end();
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  open.push({ [Symbol.asyncDispose]: () => new Promise<void>((resolve) => server.close(() => resolve())) });
  const origin = `http://127.0.0.1:${(server.address() as net.AddressInfo).port}`;
  return { url: new URL('/mcp', origin), exchange: `${origin}/exchange`, asked, answer };
}

interface Asked {
  readonly form: Record<string, string>;
  readonly authorization: string | undefined;
}

interface Answer {
  status: number;
  body: object;
}

async function authorizationServer(
  ...clients: NonNullable<Parameters<typeof startAuthorizationServer>[0]>['clients'] & object
): Promise<AuthorizationServer> {
  const started = await startAuthorizationServer({ clients, scopes: ['notes:read', 'notes:write'] });
  open.push(started);
  return started;
}

const ADA: Principal = Object.freeze({
  id: 'corp/ada',
  person: 'corp/ada',
  key: 1,
  lanes: lanesOf('corp/ada'),
  entry: 'corp',
  subject: 'ada',
  tenant: undefined,
  tier: undefined,
  roles: [],
  scopes: undefined,
  clientId: undefined,
});

const NOBODY: SubjectTokens = { accessToken: () => undefined, idToken: () => Promise.resolve(undefined) };

function tokensFor(options: HttpServerOptions, subjects = NOBODY, principal: Principal | undefined = undefined) {
  return createCredentials(options, { secrets: undefined, subjects, clock: systemClock })!.of(principal);
}

const MACHINE = { client_id: 'gw', grant_types: ['client_credentials'], redirect_uris: [], response_types: [] };

describe('client credentials', () => {
  it('get a token for the server by secret, with the scopes that are asked for later too', async () => {
    const as = await authorizationServer({ ...MACHINE, client_secret: 's3cret-s3cret-s3cret' });
    const notes = await resource(() => as.issuer);
    const client: RegisteredClient = {
      clientId: 'gw',
      issuer: as.issuer,
      clientSecret: 's3cret-s3cret-s3cret',
      privateKey: undefined,
    };
    const auth: ServerAuth = { kind: 'client-credentials', client, scopes: ['notes:read'] };
    const tokens = tokensFor(notesAt(notes.url, auth));
    const token = (await tokens.renew(undefined))!;
    expect(decodeJwt(token)).toMatchObject({ iss: as.issuer, aud: notes.url.href, scope: 'notes:read' });
    expect(tokens.current()).toBe(token);
    const wider = await tokens.widen('notes:write', token);
    expect(decodeJwt(wider)['scope']).toBe('notes:read notes:write');
    await expect(tokens.widen('notes:write', wider)).rejects.toMatchObject({
      code: 'server_login_required',
      message: expect.stringContaining('lacks a scope'),
    });
  });

  it('serve everybody on, when one call wants a scope that the client cannot get, or ever more of them', async () => {
    const as = await authorizationServer({ ...MACHINE, client_secret: 's3cret-s3cret-s3cret', scope: 'notes:read' });
    const notes = await resource(() => as.issuer);
    const client = { clientId: 'gw', issuer: as.issuer, clientSecret: 's3cret-s3cret-s3cret', privateKey: undefined };
    const auth: ServerAuth = { kind: 'client-credentials', client, scopes: ['notes:read'] };
    const tokens = tokensFor(notesAt(notes.url, auth));
    const token = (await tokens.renew(undefined))!;
    for (const scope of ['notes:write', 'x'.repeat(3000)]) {
      await expect(tokens.widen(scope, token)).rejects.toMatchObject({ code: 'server_login_required' });
      const next = tokens.current() ?? (await tokens.renew(undefined))!;
      expect(decodeJwt(next)['scope']).toBe('notes:read');
    }
  });

  it('prove themselves by a signed assertion', async () => {
    const { privateKey, publicKey } = await generateKeyPair('ES256', { extractable: true });
    const as = await authorizationServer({
      ...MACHINE,
      token_endpoint_auth_method: 'private_key_jwt',
      jwks: { keys: [{ ...(await exportJWK(publicKey)), alg: 'ES256', use: 'sig' }] },
    });
    const notes = await resource(() => as.issuer);
    const key = { pem: await exportPKCS8(privateKey), algorithm: 'ES256' };
    const client = { clientId: 'gw', issuer: as.issuer, clientSecret: undefined, privateKey: key };
    const tokens = tokensFor(notesAt(notes.url, { kind: 'client-credentials', client, scopes: [] }));
    expect(decodeJwt((await tokens.renew(undefined))!)).toMatchObject({ aud: notes.url.href, client_id: 'gw' });
  });

  it('are not sent to another authorization server than the configured one, whatever the server says', async () => {
    const [own, evil] = [await authorizationServer(), await authorizationServer()];
    const notes = await resource(() => evil.issuer);
    const client = { clientId: 'gw', issuer: own.issuer, clientSecret: 'planted-secret', privateKey: undefined };
    const tokens = tokensFor(notesAt(notes.url, { kind: 'client-credentials', client, scopes: [] }));
    await expect(tokens.renew(undefined)).rejects.toMatchObject({ code: 'server_login_required' });
    expect(JSON.stringify([own.requests, evil.requests])).not.toContain('planted');
    expect(evil.requests).toEqual([]);
  });

  it('that are refused name what to check', async () => {
    const as = await authorizationServer({ ...MACHINE, client_secret: 's3cret-s3cret-s3cret' });
    const notes = await resource(() => as.issuer);
    const client = { clientId: 'gw', issuer: as.issuer, clientSecret: 'wrong', privateKey: undefined };
    const tokens = tokensFor(notesAt(notes.url, { kind: 'client-credentials', client, scopes: [] }));
    await expect(tokens.renew(undefined)).rejects.toMatchObject({
      code: 'server_login_required',
      message: expect.stringMatching(/invalid_client.*servers\.notes\.auth\.clientCredentials/),
    });
  });
});

describe('token exchange', () => {
  const exchangeAt = (tokenEndpoint: string): ServerAuth => ({
    kind: 'token-exchange',
    tokenEndpoint,
    clientId: 'gw',
    clientSecret: 's:cret',
    audience: 'notes',
    scopes: ['notes:read'],
    subjectTokenType: 'access_token',
    requestedTokenType: 'access_token',
    lists: undefined,
  });

  it('shows the caller’s token to the configured endpoint alone, and ends with the caller’s credential', async () => {
    const notes = await resource(() => 'https://as.example');
    const subjects: SubjectTokens = { ...NOBODY, accessToken: () => 'token-of-ada' };
    const expiresAt = Date.now() + 5_000;
    const tokens = tokensFor(notesAt(notes.url, exchangeAt(notes.exchange)), subjects, { ...ADA, expiresAt });
    expect(await tokens.renew(undefined)).toBe('exchanged-1');
    expect(notes.asked).toEqual([
      {
        authorization: `Basic ${Buffer.from('gw:s%3Acret').toString('base64')}`,
        form: {
          grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
          subject_token: 'token-of-ada',
          subject_token_type: 'urn:ietf:params:oauth:token-type:access_token',
          requested_token_type: 'urn:ietf:params:oauth:token-type:access_token',
          resource: notes.url.href,
          audience: 'notes',
          scope: 'notes:read',
        },
      },
    ]);
    const spent = tokensFor(notesAt(notes.url, exchangeAt(notes.exchange)), subjects, {
      ...ADA,
      expiresAt: Date.now(),
    });
    await spent.renew(undefined);
    expect(spent.current()).toBeUndefined();
  });

  it('of one token is not used for another of the same person', async () => {
    const notes = await resource(() => 'https://as.example');
    const tokenOf = new Map<Principal, string>();
    const subjects: SubjectTokens = { ...NOBODY, accessToken: (principal) => tokenOf.get(principal) };
    const credentials = createCredentials(notesAt(notes.url, exchangeAt(notes.exchange)), {
      secrets: undefined,
      subjects,
      clock: systemClock,
    })!;
    const [wide, narrow] = [{ ...ADA }, { ...ADA }];
    tokenOf.set(wide, 'wide').set(narrow, 'narrow');
    await credentials.of(wide).renew(undefined);
    expect(credentials.of(narrow).current()).toBeUndefined();
    await credentials.of(narrow).renew(undefined);
    expect(notes.asked.map(({ form }) => form['subject_token'])).toEqual(['wide', 'narrow']);
  });

  it('is refused to callers without a token, and says what the endpoint said', async () => {
    const notes = await resource(() => 'https://as.example');
    const options = notesAt(notes.url, exchangeAt(notes.exchange));
    await expect(tokensFor(options, NOBODY, ADA).renew(undefined)).rejects.toMatchObject({ code: 'access_denied' });
    expect(notes.asked).toEqual([]);
    const subjects: SubjectTokens = { ...NOBODY, accessToken: () => 'token-of-ada' };
    notes.answer.status = 400;
    notes.answer.body = { error: 'invalid_target', error_description: 'no notes for you' };
    const refused = tokensFor(options, subjects, ADA).renew(undefined);
    await expect(refused).rejects.toMatchObject({
      code: 'access_denied',
      message: 'notes: no token was issued (invalid_target: no notes for you)',
    });
    const told = { error: 'invalid_request', error_description: 'you sent subject_token=tok-0123456789abcdef, ok?' };
    notes.answer.body = told;
    const echoed: unknown = await tokensFor(options, subjects, { ...ADA })
      .renew(undefined)
      .catch((error: unknown) => error);
    expect(echoed).toMatchObject({ message: expect.stringContaining('you sent [secret], ok?') });
    expect((echoed as Error).cause).toBeUndefined();
    notes.answer.status = 500;
    await expect(tokensFor(options, subjects, { ...ADA }).renew(undefined)).rejects.toMatchObject({
      code: 'access_denied',
    });
    notes.answer.body = { access_token: undefined };
    await expect(tokensFor(options, subjects, { ...ADA }).renew(undefined)).rejects.toMatchObject({
      code: 'server_unavailable',
    });
  });
});

describe('enterprise-managed authorization', () => {
  it('gets an ID-JAG for the ID token at the identity provider, and redeems it at the server’s issuer', async () => {
    const as = await authorizationServer({ ...MACHINE, client_secret: 's3cret-s3cret-s3cret' });
    const redeemed: URLSearchParams[] = [];
    as.answer('/token', ({ form }, response) => {
      redeemed.push(form);
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ access_token: 'of-the-server', token_type: 'Bearer', expires_in: 60 }));
    });
    const notes = await resource(() => as.issuer);
    notes.answer.body = {
      access_token: 'the.id.jag',
      token_type: 'N_A',
      issued_token_type: 'urn:ietf:params:oauth:token-type:id-jag',
    };
    const client = { clientId: 'gw', issuer: as.issuer, clientSecret: 's3cret-s3cret-s3cret', privateKey: undefined };
    const idp = { tokenEndpoint: notes.exchange, clientId: 'gw-at-idp', clientSecret: 'idp-secret' };
    const auth: ServerAuth = { kind: 'enterprise', idp, client, scopes: ['notes:read'], lists: undefined };
    const subjects: SubjectTokens = { ...NOBODY, idToken: () => Promise.resolve('id.token.of-ada') };
    const token = await tokensFor(notesAt(notes.url, auth), subjects, ADA).renew(undefined);
    expect(token).toBe('of-the-server');
    expect(notes.asked[0]?.form).toMatchObject({
      requested_token_type: 'urn:ietf:params:oauth:token-type:id-jag',
      audience: as.issuer,
      resource: notes.url.href,
      subject_token: 'id.token.of-ada',
      subject_token_type: 'urn:ietf:params:oauth:token-type:id_token',
      client_id: 'gw-at-idp',
    });
    expect(Object.fromEntries(redeemed[0]!)).toMatchObject({
      grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer',
      assertion: 'the.id.jag',
      resource: notes.url.href,
      scope: 'notes:read',
    });
    expect(JSON.stringify(as.requests)).not.toContain('of-ada');
    await expect(tokensFor(notesAt(notes.url, auth), NOBODY, { ...ADA }).renew(undefined)).rejects.toMatchObject({
      code: 'access_denied',
      message: expect.stringContaining('identity provider'),
    });
  });
});
