/** Callers with tokens of a real authorization server, through the whole gateway. */
import { createHmac } from 'node:crypto';
import { type AuthorizationServer, startAuthorizationServer } from '@tollgate/testkit/authorization-server';
import { verifies } from '@tollgate/testkit/verifies';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { TollgateError } from '../core/errors.ts';
import { statusReport } from './status-report.ts';
import { type ScriptedServer, startGateway, startScripted, tool } from './testing.ts';

const SECRET = 'a secret of at least thirty-two characters';
let issuer: AuthorizationServer;
let server: ScriptedServer;

beforeAll(async () => {
  const program = { grant_types: ['client_credentials'], redirect_uris: [], response_types: [], client_secret: SECRET };
  issuer = await startAuthorizationServer({
    clients: [
      { client_id: 'robot', ...program },
      { client_id: 'other', ...program },
    ],
    scopes: ['read'],
  });
  server = await startScripted({
    'tools/list': () => ({ tools: [tool('read')], ttlMs: 60_000, cacheScope: 'private' }),
  });
});
afterAll(async () => {
  await issuer[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
});

async function issued(resource: string, client = 'robot'): Promise<string> {
  const response = await fetch(`${issuer.issuer}/token`, {
    method: 'POST',
    headers: { authorization: `Basic ${btoa(`${client}:${encodeURIComponent(SECRET)}`)}` },
    body: new URLSearchParams({ grant_type: 'client_credentials', resource, scope: 'read' }),
  });
  return ((await response.json()) as { access_token: string }).access_token;
}

function signed(aud: string, claims: object = {}): string {
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  const now = Math.floor(Date.now() / 1000);
  const input = `${part({ alg: 'HS256' })}.${part({ iss: 'dev', sub: 'ada', aud, exp: now + 300, ...claims })}`;
  return `${input}.${createHmac('sha256', SECRET).update(input).digest('base64url')}`;
}

const dev = { name: 'dev', jwt: { issuer: 'dev', secret: SECRET } };
const call = { name: 'read', arguments: { text: 'x'.repeat(100_000) } };

describe('a caller with a token', () => {
  it('of an OpenID Connect issuer calls where the token is for, with limits of its own, and its token goes nowhere', async () => {
    verifies('R1-12', 'R3-12', 'R4-12', 'R2-16');
    await using gateway = await startGateway({
      servers: { s: { url: server.url } },
      auth: [{ name: 'corp', oidc: issuer.issuer }, dev],
      limits: { calls: { by: 'principal', limit: '2/h' } },
    });
    const token = await issued(`${gateway.url}/mcp`);
    // The first one waits for the issuer's keys, with its body on the way.
    expect((await gateway.call('tools/call', call, { token })).body.result).toMatchObject({
      content: [{ text: 'ran' }],
    });
    expect(
      (await gateway.call('tools/call', call, { token: await issued(`${gateway.url}/mcp`) })).body.result,
    ).toBeDefined();
    // One bucket for all tokens of one subject, and another subject has its own.
    expect((await gateway.call('tools/call', call, { token })).body.error?.code).toBe(429);
    const other = await issued(`${gateway.url}/mcp`, 'other');
    expect((await gateway.call('tools/call', call, { token: other })).body.result).toBeDefined();
    expect((await gateway.call('tools/call', call, { token: signed(`${gateway.url}/mcp`) })).body.result).toBeDefined();
    for (const path of ['/s/s', '/mcp']) {
      const wrong = await issued(`${gateway.url}${path === '/mcp' ? '/s/s' : '/mcp'}`);
      expect((await gateway.call('tools/list', {}, { path, token: wrong })).status).toBe(401);
    }
    expect(JSON.stringify(server.seen)).not.toContain(token.slice(-40));
    expect(server.seen.filter(({ headers }) => headers['authorization'] !== undefined)).toEqual([]);
    expect(statusReport(gateway.gateway, { configuration: 'x', reloadProblem: undefined }).identity).toEqual([
      { entry: 'corp', state: 'ready', problem: undefined, keys: 1 },
    ]);
  });

  it('opens the admin surfaces only with a token for the gateway itself, and a role that was granted', async () => {
    await using gateway = await startGateway({
      servers: { s: { url: server.url } },
      auth: [{ ...dev, map: { roles: { claim: 'groups', grant: { 'gw-admins': 'admin' } } } }],
    });
    const at = async (aud: string, groups: readonly string[]) =>
      await gateway.gateway.identify(`Bearer ${signed(aud, { groups })}`, '', undefined);
    expect(await at(gateway.url, ['gw-admins', 'operator'])).toMatchObject({ roles: ['admin'] });
    expect(await at(`${gateway.url}/mcp`, ['gw-admins'])).toMatchObject({ code: 'unauthorized' });
  });

  it('counts by the session that its token names', async () => {
    verifies('X4-04');
    await using gateway = await startGateway({
      servers: { s: { url: server.url } },
      auth: [{ ...dev, map: { session: 'sid' } }],
      limits: { calls: { by: 'session', limit: '1/h' } },
    });
    const run = async (claims: object) =>
      (await gateway.call('tools/call', { name: 'read' }, { token: signed(`${gateway.url}/mcp`, claims) })).body.error
        ?.code;
    expect(await run({ sid: 'a' })).toBeUndefined();
    expect(await run({ sid: 'b' })).toBeUndefined();
    expect(await run({ sid: 'a', jti: '2' })).toBe(429);
    expect(await run({ sid: 'a', sub: 'bob' })).toBeUndefined();
    expect(await run({})).toBeUndefined();
    expect(await run({})).toBe(429);
  });

  it('waits for nobody while its issuer is away: the gateway runs, says so, and takes it when the issuer is back', async () => {
    issuer.answer('/.well-known/openid-configuration', (_, response) => response.writeHead(503).end());
    await using gateway = await startGateway({
      servers: { s: { url: server.url } },
      auth: [{ name: 'corp', oidc: issuer.issuer }, dev],
    });
    const token = await issued(`${gateway.url}/mcp`);
    expect(gateway.gateway.ready).toBe(true);
    const refused = await gateway.call('tools/list', {}, { token });
    expect(refused.status).toBe(503);
    expect(refused.headers.get('retry-after')).toBe('5');
    expect((await gateway.call('tools/list', {}, { token: signed(`${gateway.url}/mcp`) })).status).toBe(200);
    const { identity } = statusReport(gateway.gateway, { configuration: 'x', reloadProblem: undefined });
    expect(identity).toMatchObject([{ entry: 'corp', state: 'failing', problem: expect.stringContaining('503') }]);
    issuer.answer('/.well-known/openid-configuration', undefined);
    await expect
      .poll(async () => (await gateway.call('tools/list', {}, { token })).status, { interval: 100 })
      .toBe(200);
  });

  it('is judged by the configuration that is in force when the judgement comes', async () => {
    const config = { servers: { s: { url: server.url } }, auth: [dev] };
    await using gateway = await startGateway(config);
    const token = `Bearer ${signed(`${gateway.url}/mcp`)}`;
    const asked = gateway.gateway.identify(token, '/mcp', undefined);
    expect(asked).toBeInstanceOf(Promise);
    const before = await asked;
    expect(TollgateError.is(before)).toBe(false);
    // A reload between the question and the answer.
    const { identity } = gateway.gateway.generation;
    const late = Promise.withResolvers<Awaited<typeof asked>>();
    const held = vi.spyOn(identity, 'identify').mockReturnValueOnce(late.promise);
    const during = gateway.gateway.identify(token, '/mcp', undefined);
    await gateway.reload({ ...config, auth: [{ name: 'dev', jwt: { issuer: 'dev', secret: `${SECRET}!` } }] });
    late.resolve(before);
    expect(await during).toMatchObject({ code: 'unauthorized' });
    held.mockRestore();
  });
});
