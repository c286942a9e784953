/** Files of ToolHive, served by the real command line with a real Redis: what its operators and callers rely on. */
import { generateKeyPairSync, sign } from 'node:crypto';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join, resolve } from 'node:path';
import { startChild } from '@tollgate/testkit/child';
import { startFakeHttp } from '@tollgate/testkit/fake-http';
import { startGateway, TOLLGATE_BIN } from '@tollgate/testkit/gateway';
import { freePort } from '@tollgate/testkit/ports';
import { type RedisServer, startRedisServer } from '@tollgate/testkit/redis-servers';
import { temporaryDirectory } from '@tollgate/testkit/temporary-directory';
import { callTool } from '@tollgate/testkit/tool-call';
import { verifies } from '@tollgate/testkit/verifies';
import { expect, it } from 'vitest';

const EXAMPLES = resolve(import.meta.dirname, '../examples/toolhive');
const TOKENS = { ALICE_TOKEN: 'alice-token-0123456789', BOB_TOKEN: 'bob-token-00123456789' };

/** An example with the addresses of this test in it. */
async function example(name: string, redis: number, math: string, notes: string): Promise<string> {
  const text = await readFile(join(EXAMPLES, name), 'utf8');
  return text
    .replace('127.0.0.1:6379', `127.0.0.1:${redis}`)
    .replace('http://127.0.0.1:9701/mcp', math)
    .replace('http://127.0.0.1:9702/mcp', notes);
}

async function connections(redis: RedisServer): Promise<number> {
  const list = String(await redis.command('CLIENT', 'LIST'));
  // The one that asks is not meant.
  return list.split('\n').filter((line) => line !== '' && !line.includes('cmd=client|list')).length;
}

it('the example is served as its README says', async () => {
  verifies('R3-10', 'R3-03');
  const [mathPort, notesPort] = [await freePort(), await freePort()];
  const ports = [String(mathPort), String(notesPort)];
  await using servers = await startChild(process.execPath, [join(EXAMPLES, 'servers.ts'), ...ports]);
  await servers.waitFor(/notes listens/);
  await using redis = await startRedisServer();
  const urls = ports.map((port) => `http://127.0.0.1:${port}/mcp`);
  await using gateway = await startGateway(await example('config.yaml', redis.port, urls[0]!, urls[1]!));
  const add = () => callTool(gateway.url(), 'math_add', { a: 2, b: 3 });
  expect((await add()).result?.content?.[0]?.text).toBe('5');
  expect((await add()).status).toBe(200);
  const third = await add();
  expect([third.status, third.error?.data?.['rule']]).toEqual([429, 'tool_math_add_shared']);
  const write = await callTool(gateway.url(), 'notes_write', { text: 'milk' });
  expect(write.result?.content?.[0]?.text).toBe('Noted: milk');
  expect((await callTool(gateway.url(), 'notes_write', { text: 'eggs' })).error?.data?.['rule']).toBe('shared');
});

it('the generated file limits all callers of all replicas together, in Redis, and lets go of it at the end', async () => {
  verifies('R3-01', 'R3-11', 'R3-15', 'R3-17', 'R3-21', 'R3-10');
  await using math = await startFakeHttp('modern');
  await using notes = await startFakeHttp('modern');
  await using redis = await startRedisServer();
  const text = (await example('config.yaml', redis.port, math.url, notes.url)).replace('math_add', 'math_echo');
  await using gateway = await startGateway(text, { env: { VMCP_NAMESPACE: 'default' } });
  await using replica = await startGateway(text, { env: { VMCP_NAMESPACE: 'default' } });
  const statuses: number[] = [];
  for (const [i, name] of ['math_echo', 'math_echo', 'math_echo', 'notes_echo', 'notes_echo'].entries()) {
    statuses.push((await callTool((i % 2 === 0 ? gateway : replica).url(), name, { text: 'hi' })).status);
  }
  expect(statuses).toEqual([200, 200, 429, 200, 429]);
  const refused = await callTool(gateway.url(), 'notes_echo', { text: 'hi' });
  expect(refused.error).toMatchObject({ code: 429, data: { reason: 'rate_limited', rule: 'shared' } });
  expect(Number(refused.headers.get('retry-after'))).toBe(refused.error!.data!['retryAfterSeconds']);
  expect([math.seen('tools/call').length, notes.seen('tools/call').length]).toEqual([2, 1]);
  const keys = (await redis.command('KEYS', 'thv:rl:*')) as string[];
  expect(keys.length).toBeGreaterThanOrEqual(2);
  for (const key of keys) expect(key.startsWith('thv:rl:{default:team-vmcp}:')).toBe(true);
  expect(await connections(redis)).toBeGreaterThan(0);
  for (const { child } of [gateway, replica]) expect((await child.stop()).code).toBe(0);
  await expect.poll(() => connections(redis), { interval: 50 }).toBe(0);
});

/** A provider whose users are whoever the test says. */
async function startProvider() {
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const jwks = { keys: [{ ...publicKey.export({ format: 'jwk' }), kid: 'k', alg: 'RS256', use: 'sig' }] };
  let issuer = '';
  const server = createServer(({ url }, response) => {
    const metadata = { issuer, jwks_uri: `${issuer}/keys`, authorization_endpoint: issuer, token_endpoint: issuer };
    response.setHeader('content-type', 'application/json').end(JSON.stringify(url === '/keys' ? jwks : metadata));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    issuer,
    token(sub: string, aud: string): string {
      const claims = { iss: issuer, sub, aud, exp: Math.floor(Date.now() / 1000) + 600 };
      const parts = [{ alg: 'RS256', kid: 'k' }, claims].map((part) =>
        Buffer.from(JSON.stringify(part)).toString('base64url'),
      );
      const input = parts.join('.');
      return `${input}.${sign('sha256', Buffer.from(input), privateKey).toString('base64url')}`;
    },
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

it('users of an OIDC provider have one call each, of whichever server, and nobody else has any', async () => {
  verifies('R3-12', 'R3-13', 'R3-18', 'R3-33');
  await using provider = await startProvider();
  await using math = await startFakeHttp('modern');
  await using notes = await startFakeHttp('modern');
  await using redis = await startRedisServer();
  const manifests = (await example('vmcp.yaml', redis.port, math.url, notes.url))
    .replace('https://idp.example', provider.issuer)
    .replace(/ {2}annotations:\n.*\n.*\n/, '')
    .replace('maxTokens: 2', 'maxTokens: 1');
  await using gateway = await startGateway(manifests);
  const call = async (token: string | undefined, tool = 'math_echo') =>
    await callTool(gateway.url(), tool, { text: 'hi' }, token === undefined ? {} : { token });
  const alice = provider.token('alice', 'team-vmcp');
  expect((await call(alice)).status).toBe(200);
  const second = await call(alice, 'notes_echo');
  expect([second.status, second.error?.code, second.error?.data?.['rule']]).toEqual([429, 429, 'per_user']);
  expect((await call(provider.token('bob', 'team-vmcp'))).status).toBe(200);
  for (const token of [provider.token('carol', 'other-vmcp'), `${alice.slice(0, -6)}AAAAAA`, undefined]) {
    expect((await call(token)).status).toBe(401);
  }
});

it('manifests limit each user, and calls pass while Redis is away', async () => {
  verifies('R3-12', 'R3-13', 'R3-18', 'R3-19');
  await using math = await startFakeHttp('modern');
  await using notes = await startFakeHttp('modern');
  await using redis = await startRedisServer();
  const text = await example('vmcp.yaml', redis.port, math.url, notes.url);
  await using gateway = await startGateway(text, { env: TOKENS });
  const [alice, bob] = [{ token: TOKENS.ALICE_TOKEN }, { token: TOKENS.BOB_TOKEN }];
  for (const name of ['math_echo', 'notes_echo']) {
    expect((await callTool(gateway.url(), name, { text: 'hi' }, alice)).status).toBe(200);
  }
  const third = await callTool(gateway.url(), 'math_echo', { text: 'hi' }, alice);
  expect(third.status).toBe(429);
  expect(third.error).toMatchObject({ code: 429, data: { rule: 'per_user' } });
  expect(third.error!.message).toContain('Rate limit exceeded');
  expect((await callTool(gateway.url(), 'math_echo', { text: 'hi' }, bob)).status).toBe(200);
  await redis.stop();
  await expect.poll(async () => (await callTool(gateway.url(), 'math_echo', { text: 'hi' }, alice)).status).toBe(200);
});

it('does not start without its Redis, and names the address; a file without limits needs none', async () => {
  verifies('R3-20', 'R3-09');
  await using folder = await temporaryDirectory('toolhive');
  await using math = await startFakeHttp('modern');
  const port = await freePort();
  const text = await example('config.yaml', port, math.url, math.url);
  const file = join(folder.path, 'config.yaml');
  await writeFile(file, text);
  const env = { HOME: folder.path, XDG_STATE_HOME: folder.path };
  const args = [TOLLGATE_BIN, 'serve', file, '--listen', '127.0.0.1:0'];
  await using child = await startChild(process.execPath, args, { cwd: folder.path, env, input: '' });
  expect((await child.exited).code).not.toBe(0);
  expect(child.stderr()).toContain(`rate limit middleware: failed to connect to Redis at 127.0.0.1:${port}: `);
  await using gateway = await startGateway(text.slice(0, text.indexOf('rateLimiting:')), { env });
  for (let i = 0; i < 5; i++) expect((await callTool(gateway.url(), 'math_echo', { text: 'hi' })).status).toBe(200);
});
