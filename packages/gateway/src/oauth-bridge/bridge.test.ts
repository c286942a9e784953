import type { AuthorizationServer } from '@tollgate/testkit/authorization-server';
import { verifies } from '@tollgate/testkit/verifies';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { identityAssertionId, readIdentityAssertion } from '../core/identity-assertion.ts';
import { bridgeContract } from '../store/fixtures/bridge-contract.ts';
import { MemoryRecords } from './memory-records.ts';
import { type BridgeUnderTest, entryOf, startBridge, startIdp, TestClient } from './testing.ts';

let idp: AuthorizationServer;
let at: BridgeUnderTest;
let client: TestClient;
beforeAll(async () => {
  idp = await startIdp();
});
afterAll(() => idp[Symbol.asyncDispose]());
beforeEach(async () => {
  idp.user = 'ada';
  at = await startBridge([entryOf(idp)]);
  client = new TestClient(at, await at.register());
});
afterEach(async () => {
  idp.answer('/token', undefined);
  await at[Symbol.asyncDispose]();
});

const MINUTE = 60_000;
const DAY = 86_400_000;
const ADA = identityAssertionId('corp/ada', 'corp');

async function signedIn(): Promise<Record<string, unknown>> {
  const { status, body } = await client.redeem((await client.code()).get('code'));
  expect(status).toBe(200);
  return body;
}

const open = (token: unknown) => at.bridge.open(String(token));

describe('the way of a person', () => {
  it('leads from a client over our page and the provider back to it, with tokens for one endpoint', async () => {
    const answer = await client.code();
    expect(answer.get('state')).toBe(client.state);
    expect(answer.get('iss')).toBe(at.base);
    const { status, body } = await client.redeem(answer.get('code'));
    expect(status).toBe(200);
    expect(body).toMatchObject({ token_type: 'Bearer', expires_in: 1800, scope: 'read' });
    expect(await open(body['access_token'])).toMatchObject({
      entry: 'corp',
      clientId: client.id,
      resource: `${at.base}/mcp`,
      scopes: ['read'],
      claims: { sub: 'ada', org: 'acme', groups: ['dev'], iss: idp.issuer },
    });
    const kept = readIdentityAssertion(await at.secrets.get(ADA));
    expect(kept).toMatchObject({ issuer: idp.issuer, clientId: 'tollgate' });
    expect(kept?.refreshToken).toBeDefined();
  });

  it('gives scopes that were asked for, and of these the ones of the entry and of the claims', async () => {
    at.person = () => ({ principal: 'corp/ada', scopes: ['admin'] });
    const answer = await client.code({ scope: 'read admin math:add write' });
    expect((await client.redeem(answer.get('code'))).body['scope']).toBe('read admin math:add');
  });

  it('keeps nothing that who reads the records could use or read', async () => {
    const tokens = await signedIn();
    const dump = JSON.stringify(at.records, (_, value: unknown) => (value instanceof Map ? [...value] : value));
    const inside = JSON.stringify(Object.getOwnPropertySymbols(at.records)) + dump;
    for (const secret of [tokens['access_token'], tokens['refresh_token'], 'acme', idp.issuer]) {
      expect(inside).not.toContain(String(secret));
    }
  });

  it('an access token lives half an hour; a wrong one is known by its checksum, without a look into the records', async () => {
    const { access_token: token } = await signedIn();
    const bent = `${String(token).slice(0, -1)}${String(token).endsWith('x') ? 'y' : 'x'}`;
    let asked = 0;
    const { find } = at.records;
    at.records.find = (...all) => {
      asked++;
      return find.apply(at.records, all);
    };
    expect(await open(bent)).toBeUndefined();
    expect(await open('tga_short')).toBeUndefined();
    expect(asked).toBe(0);
    expect(await open(token)).toBeDefined();
    at.ahead = 30 * MINUTE;
    expect(await open(token)).toBeUndefined();
  });
});

describe('codes', () => {
  it('work once: the second time everything that came of the first ends', async () => {
    const code = (await client.code()).get('code');
    const { body } = await client.redeem(code);
    const before = at.bridge.revision;
    expect((await client.redeem(code)).body['error']).toBe('invalid_grant');
    expect(await open(body['access_token'])).toBeUndefined();
    expect(at.bridge.revision, 'what remembers tokens is told').toBeGreaterThan(before);
    expect((await client.refresh(body['refresh_token'])).body['error']).toBe('invalid_grant');
  });

  it('work once however many ask at the same time', async () => {
    const code = (await client.code()).get('code');
    const answers = await Promise.all(Array.from({ length: 8 }, () => client.redeem(code)));
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(1);
  });

  it.each([
    ['another client', { client_id: 'tgd_00000000000000000000000000' }, 'invalid_grant'],
    ['another redirect_uri', { redirect_uri: 'https://client.example/other' }, 'invalid_grant'],
    ['another verifier', { code_verifier: 'a'.repeat(43) }, 'invalid_grant'],
    ['no verifier', { code_verifier: '' }, 'invalid_grant'],
    ['another resource', { resource: 'https://gw.example/team' }, 'invalid_target'],
  ])('are refused to %s, and are gone after', async (_, more, error) => {
    const code = (await client.code()).get('code');
    expect((await client.redeem(code, more)).body['error']).toBe(error);
    expect((await client.redeem(code)).body['error']).toBe('invalid_grant');
  });

  it('are over after a minute', async () => {
    const code = (await client.code()).get('code');
    at.ahead = MINUTE;
    expect((await client.redeem(code)).body['error']).toBe('invalid_grant');
  });
});

describe('refresh', () => {
  it('rotates: the old token is good once, and used again ends the sign-in', async () => {
    const first = await signedIn();
    const second = (await client.refresh(first['refresh_token'])).body;
    expect(second['refresh_token']).not.toBe(first['refresh_token']);
    expect(await open(second['access_token'])).toBeDefined();
    expect((await client.refresh(first['refresh_token'])).body['error']).toBe('invalid_grant');
    expect(await open(second['access_token'])).toBeUndefined();
    expect((await client.refresh(second['refresh_token'])).body['error']).toBe('invalid_grant');
    expect(at.log.some(({ text }) => text.includes('used a second time'))).toBe(true);
  });

  it('asked for twice at once is one refresh', async () => {
    const first = await signedIn();
    const [a, b] = await Promise.all([client.refresh(first['refresh_token']), client.refresh(first['refresh_token'])]);
    expect(a.body).toEqual(b.body);
    expect(await open(a.body['access_token'])).toBeDefined();
  });

  it('narrows scopes and never widens them, and stays with its client and endpoint', async () => {
    const first = (await client.redeem((await client.code({ scope: 'read math:add' })).get('code'))).body;
    const other = new TestClient(at, await at.register());
    expect((await other.refresh(first['refresh_token'])).body['error']).toBe('invalid_grant');
    const refused = [{ scope: 'read more' }, { resource: `${at.base}/team` }];
    for (const more of refused) expect((await client.refresh(first['refresh_token'], more)).status).toBe(400);
    const next = (await client.refresh(first['refresh_token'], { scope: 'read' })).body;
    expect(next['scope']).toBe('read');
    expect((await client.refresh(next['refresh_token'])).body['scope'], 'it may have all again').toBe('read math:add');
  });

  it('asks the provider: new claims count, a person who left is out', async () => {
    const first = await signedIn();
    at.person = (_, claims) =>
      claims['org'] === 'acme' ? { principal: `corp/${String(claims['sub'])}`, scopes: [] } : undefined;
    const before = idp.requests.filter(({ path }) => path === '/token').length;
    const second = (await client.refresh(first['refresh_token'])).body;
    expect(idp.requests.filter(({ path }) => path === '/token')).toHaveLength(before + 1);
    expect((await open(second['access_token']))?.claims).toMatchObject({ sub: 'ada', org: 'acme' });
    idp.answer('/token', (_, response) => {
      response.writeHead(400, { 'content-type': 'application/json' }).end('{"error":"invalid_grant"}');
    });
    expect((await client.refresh(second['refresh_token'])).body['error']).toBe('invalid_grant');
    expect(await open(second['access_token'])).toBeUndefined();
    expect(await at.secrets.get(ADA)).toBeUndefined();
  });

  it('while the provider is away nothing is lost, and nothing is given', async () => {
    const first = await signedIn();
    idp.answer('/token', (_, response) => void response.writeHead(503).end('{}'));
    const away = await client.refresh(first['refresh_token']);
    expect([away.status, away.body['error']]).toEqual([503, 'temporarily_unavailable']);
    idp.answer('/token', undefined);
    expect((await client.refresh(first['refresh_token'])).status).toBe(200);
  });

  it('lasts seven days from its last use, and from the sign-in where nobody can be asked', async () => {
    verifies('X2-06');
    const renewed = await signedIn();
    // No new ID token: that of a provider which does not live in the future would be over.
    idp.answer('/token', (_, response) => {
      response.writeHead(200, { 'content-type': 'application/json' }).end('{"access_token":"x","token_type":"Bearer"}');
    });
    at.ahead = 6 * DAY;
    const next = (await client.refresh(renewed['refresh_token'])).body;
    at.ahead = 12 * DAY;
    expect((await client.refresh(next['refresh_token'])).status).toBe(200);
    idp.answer('/token', undefined);
    await at[Symbol.asyncDispose]();
    at = await startBridge([entryOf(idp)], { secrets: false });
    client = new TestClient(at, await at.register());
    const plain = await signedIn();
    at.ahead = 6 * DAY;
    const last = (await client.refresh(plain['refresh_token'])).body;
    at.ahead = 7 * DAY;
    expect((await client.refresh(last['refresh_token'])).body['error']).toBe('invalid_grant');
  });

  it('ends with the entry, and with its place at the endpoint', async () => {
    const first = await signedIn();
    at.change({ endpoints: [{ path: '/mcp', resource: `${at.base}/mcp`, entries: [], scopes: [] }] });
    expect((await client.refresh(first['refresh_token'])).body['error']).toBe('invalid_grant');
  });
});

describe('revocation', () => {
  it('of either token ends the sign-in, for its own client only, and tells nobody what there was', async () => {
    for (const kind of ['access_token', 'refresh_token'] as const) {
      const tokens = await signedIn();
      const strange = await at.post('/oauth/revoke', { token: String(tokens[kind]), client_id: 'somebody' });
      expect([strange.status, strange.body]).toEqual([200, {}]);
      expect(await open(tokens['access_token'])).toBeDefined();
      await at.post('/oauth/revoke', { token: String(tokens[kind]), client_id: client.id });
      expect(await open(tokens['access_token'])).toBeUndefined();
    }
    expect((await at.post('/oauth/revoke', { token: 'nonsense', client_id: client.id })).status).toBe(200);
  });
});

describe('two gateways on one storage', () => {
  it('know each other’s codes and tokens, and a code that both redeem is used twice', async () => {
    const other = await startBridge([entryOf(idp)], { records: at.records, base: at.base });
    const code = (await client.code()).get('code') ?? '';
    const there = {
      grant_type: 'authorization_code',
      client_id: client.id,
      code,
      redirect_uri: 'https://client.example/callback',
      code_verifier: client.verifier,
    };
    const response = await fetch(`${other.here}/oauth/token`, { method: 'POST', body: new URLSearchParams(there) });
    const tokens = (await response.json()) as Record<string, unknown>;
    expect(await open(tokens['access_token'])).toMatchObject({ clientId: client.id });
    await client.redeem(code);
    expect(await other.bridge.open(String(tokens['access_token']))).toBeUndefined();
    await other[Symbol.asyncDispose]();
  });
});

describe('metadata', () => {
  const get = async (path: string) => {
    const response = await fetch(at.base + path);
    return response.status === 200 ? ((await response.json()) as Record<string, unknown>) : response.status;
  };

  it('names each authorization server as it was asked for, inserted and appended', async () => {
    expect(await get('/.well-known/oauth-authorization-server')).toMatchObject({
      issuer: at.base,
      authorization_endpoint: `${at.base}/oauth/authorize`,
      code_challenge_methods_supported: ['S256'],
      token_endpoint_auth_methods_supported: ['none'],
      authorization_response_iss_parameter_supported: true,
      client_id_metadata_document_supported: true,
      scopes_supported: ['read'],
      protected_resources: [`${at.base}/mcp`, `${at.base}/team`],
    });
    for (const path of [
      '/.well-known/oauth-authorization-server/mcp',
      '/.well-known/openid-configuration/mcp',
      '/mcp/.well-known/openid-configuration',
    ]) {
      expect(await get(path)).toMatchObject({
        issuer: `${at.base}/mcp`,
        authorization_endpoint: `${at.base}/oauth/authorize/mcp`,
        protected_resources: [`${at.base}/mcp`],
      });
    }
    expect(await get('/.well-known/oauth-authorization-server/keys'), 'no bridge there').toBe(404);
    expect(await get('/.well-known/oauth-authorization-server/nothing')).toBe(404);
    at.change({ entries: new Map() });
    expect(await get('/.well-known/oauth-authorization-server')).toBe(404);
  });
});

describe('records in memory', () => {
  const records = new MemoryRecords();
  bridgeContract(() => records);
});
