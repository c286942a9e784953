/** A secret in every place that can hold one, everything that can go wrong, and then a search of all that came out. */
import { createHmac, randomBytes } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { type Child, startChild } from '@tollgate/testkit/child';
import { type RunningGateway, startGateway, TOLLGATE_BIN } from '@tollgate/testkit/gateway';
import { modernBody, modernHeaders, modernMeta } from '@tollgate/testkit/modern-request';
import { startRedisServer } from '@tollgate/testkit/redis-servers';
import { temporaryDirectory } from '@tollgate/testkit/temporary-directory';
import { verifies } from '@tollgate/testkit/verifies';
import { afterAll, beforeAll, expect, it } from 'vitest';

const MARK = `canary-${randomBytes(6).toString('hex')}`;
const canary = (place: string): string => `${MARK}-${place}-0123456789abcdef0123456789abcdef`;
const STORAGE_KEY = randomBytes(32);
const HINTS = { ttlMs: 60_000, cacheScope: 'private', resultType: 'complete' };

/** As it is, and as it would stand inside of Base64 or hexadecimal text, wherever it begins there. */
const needles = [MARK, Buffer.from(MARK).toString('hex'), STORAGE_KEY.toString('hex'), STORAGE_KEY.toString('base64')];
for (let before = 0; before < 3; before++) {
  const text = Buffer.from(`${'x'.repeat(before)}${MARK}`).toString('base64');
  needles.push(text.slice(before === 0 ? 0 : 4, -4));
}
const everything: { readonly where: string; readonly text: string }[] = [];
const heard: { readonly path: string; readonly seen: string }[] = [];

/** Servers, authorization server and webhook at once, all of which tell back what they were told. */
const stranger = createServer((request: IncomingMessage, response) => {
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  request.on('end', () => {
    const body = Buffer.concat(chunks).toString();
    const path = request.url ?? '';
    const origin = `http://${request.headers.host}`;
    const seen = JSON.stringify([request.headers, body]);
    heard.push({ path, seen });
    const json = (status: number, value: unknown) =>
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
    if (path.startsWith('/.well-known/oauth-protected-resource')) {
      json(200, { resource: `${origin}/billing`, authorization_servers: [origin] });
      return;
    }
    if (path.startsWith('/.well-known/oauth-authorization-server')) {
      json(200, {
        issuer: origin,
        token_endpoint: `${origin}/token`,
        authorization_endpoint: `${origin}/authorize`,
        response_types_supported: ['code'],
        token_endpoint_auth_methods_supported: ['client_secret_basic', 'client_secret_post'],
      });
      return;
    }
    if (path === '/token') return void json(400, { error: 'invalid_client', error_description: seen.slice(0, 500) });
    if (path === '/hook') return void json(500, { seen });
    if (path !== '/mcp' && path !== '/billing') return void json(404, { seen });
    const { id, method, params } = JSON.parse(body) as { id?: number; method: string; params?: { name?: string } };
    const echo = JSON.stringify(request.headers).replaceAll(/[^\x20-\x7e]/g, '');
    if (method === 'tools/call' && params?.name === 'unauthorized') {
      response.writeHead(401, { 'www-authenticate': `Bearer error="${echo.replaceAll('"', "'")}"` }).end(seen);
    } else if (method === 'tools/call' && params?.name === 'broken') {
      response.writeHead(500, { 'content-type': 'text/plain' }).end(seen);
    } else if (method === 'tools/call' && params?.name === 'garbage') {
      response.writeHead(200, { 'content-type': 'application/json' }).end(`{"jsonrpc":"2.0","id":${id},${seen}`);
    } else if (method === 'tools/call' && params?.name === 'cut') {
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': '99999' }).write(seen);
      setTimeout(() => response.destroy(), 20);
    } else {
      const tools = ['fine', 'unauthorized', 'broken', 'garbage', 'cut'].map((name) => ({
        name,
        inputSchema: { type: 'object' },
      }));
      const results: Record<string, object> = {
        'server/discover': { supportedVersions: ['2026-07-28'], capabilities: { tools: {} }, ...HINTS },
        'tools/list': { tools, ...HINTS },
        'tools/call': { content: [], resultType: 'complete' },
      };
      json(200, { jsonrpc: '2.0', id, result: results[method] ?? {} });
    }
  });
});

/** Says all that it was given and dies: on standard error, and on standard output where messages belong. */
const CRASH = 'console.error(Object.values(process.env).join(" ")); console.log(process.env.DSN); process.exit(3);';

const SECRETS: Record<string, string> = {
  JWT_SECRET: canary('jwt-secret'),
  BRIDGE_SECRET: canary('bridge'),
  CLIENT_SECRET: canary('client'),
  HOOK_SECRET: canary('hook'),
  STORAGE_KEY: STORAGE_KEY.toString('hex'),
  PLAIN: canary('plain'),
};

let folder: Awaited<ReturnType<typeof temporaryDirectory>>;
let origin: string;
beforeAll(async () => {
  await new Promise<void>((resolve) => stranger.listen(0, '127.0.0.1', resolve));
  origin = `http://127.0.0.1:${(stranger.address() as AddressInfo).port}`;
  folder = await temporaryDirectory('canary');
});
afterAll(async () => {
  await folder?.[Symbol.asyncDispose]();
  stranger.close();
  stranger.closeAllConnections();
});

const configuration = (more: object = {}): object => ({
  version: 1,
  servers: {
    main: {
      url: `${origin}/mcp`,
      headers: {
        'x-gateway': '${vault:gateway}',
        'x-team': '${vault:tenant/team}',
        'x-mine': 'Key ${vault:user/mine}',
        'x-left': '${vault:user/openai}',
        'x-plain': '${env:PLAIN}',
      },
    },
    billing: {
      url: `${origin}/billing`,
      auth: { clientCredentials: { issuer: origin, clientId: 'gw', clientSecret: '${env:CLIENT_SECRET}' } },
    },
    child: {
      command: process.execPath,
      args: ['-e', CRASH],
      env: { DSN: 'db://u:${vault:child}@h', API_KEY: '${env:PLAIN}' },
    },
  },
  endpoints: { '/mcp': { servers: '*' } },
  auth: [
    { name: 'ci', bearer: { token: '${vault:ci}', subject: 'ci', roles: ['admin'] } },
    { name: 'dev', jwt: { issuer: 'dev', audience: 'gw', secret: '${env:JWT_SECRET}' }, map: { tenant: 'org' } },
    { name: 'keys', keys: {} },
    {
      name: 'corp',
      oidc: { issuer: origin, audience: 'gw' },
      bridge: { clientId: 'b', clientSecret: '${env:BRIDGE_SECRET}' },
    },
  ],
  limits: { calls: { by: 'principal', limit: '1000/min' } },
  webhooks: [{ url: '${vault:hook-url}', secret: '${env:HOOK_SECRET}' }],
  storage: { sqlite: 'tollgate.db', encryptionKey: '${env:STORAGE_KEY}' },
  ...more,
});

async function tollgate(
  args: readonly string[],
  input = '',
  env = SECRETS,
): Promise<{ code: number | null; stdout: string }> {
  await using child = await startChild(process.execPath, [TOLLGATE_BIN, ...args], { cwd: folder.path, input, env });
  const { code } = await child.exited;
  const where = `tollgate ${args.slice(0, 2).join(' ')}`;
  if (args[1] !== 'create') everything.push({ where: `${where}, stdout`, text: child.stdout() });
  everything.push({ where: `${where}, stderr`, text: child.stderr() });
  return { code, stdout: child.stdout() };
}

async function ask(gateway: RunningGateway, path: string, token: string, body?: object): Promise<number> {
  const response = await fetch(gateway.url(path), {
    method: body === undefined ? 'GET' : 'POST',
    headers: {
      authorization: `Bearer ${token}`,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  everything.push({ where: path, text: JSON.stringify([...response.headers]) + (await response.text()) });
  return response.status;
}

async function call(gateway: RunningGateway, token: string, name: string): Promise<string> {
  const params = { name, arguments: {} };
  const response = await fetch(gateway.url(), {
    method: 'POST',
    headers: { ...Object.fromEntries(modernHeaders('tools/call', params)), authorization: `Bearer ${token}` },
    body: modernBody(1, 'tools/call', { _meta: modernMeta(), ...params }),
  });
  const text = await response.text();
  everything.push({ where: `call of ${name}`, text: JSON.stringify([...response.headers]) + text });
  return text;
}

/** A token that is a canary itself: its subject, its id and its signature are all searched for. */
function jwt(): string {
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  const exp = Math.floor(Date.now() / 1000) + 600;
  const text = `${part({ alg: 'HS256' })}.${part({ iss: 'dev', aud: 'gw', sub: 'ada', org: 'acme', exp })}`;
  const token = `${text}.${createHmac('sha256', SECRETS['JWT_SECRET']!).update(text).digest('base64url')}`;
  needles.push(token.slice(-43));
  return token;
}

function processesOf(child: Child): void {
  for (const pid of [child.pid, ...child.descendants().map((one) => one.pid)]) {
    try {
      everything.push({ where: `arguments of process ${pid}`, text: readFileSync(`/proc/${pid}/cmdline`, 'latin1') });
    } catch {
      // It has ended.
    }
  }
}

it('shows no secret anywhere, whatever fails', async () => {
  verifies('R2-22', 'R0-25');
  const config = ['--config', 'tollgate.yaml'];
  writeFileSync(join(folder.path, 'tollgate.yaml'), JSON.stringify(configuration()));
  const token = canary('bearer');
  const provider = `sk-${canary('provider')}`;
  for (const [args, value] of [
    [['ci'], token],
    [['hook-url'], `${origin}/hook?${canary('hook-url')}`],
  ] as const) {
    expect(await tollgate(['vault', 'set', ...args, ...config], value)).toMatchObject({ code: 0 });
  }
  const ada = jwt();
  {
    await using gateway = await startGateway(configuration(), { folder: folder.path, env: SECRETS, args: ['--debug'] });
    const admin = readFileSync(join(folder.path, '.tollgate/admin.token'), 'utf8').trim();
    for (const secret of [
      { name: 'gateway', value: canary('gateway') },
      { name: 'gateway.backup', value: canary('backup') },
      { name: 'child', value: canary('child') },
      { name: 'team', tenant: 'acme', value: canary('team') },
      { name: 'mine', user: 'dev@acme/ada', value: canary('mine') },
    ]) {
      expect(await ask(gateway, '/api/v1/vault/set', admin, secret)).toBe(201);
    }
    // The lists are read anew with the secrets that are there now.
    await expect.poll(() => call(gateway, ada, 'fine')).not.toContain('Unknown tool');
    const made = await tollgate(['keys', 'create', 'bob', '--json', ...config]);
    const { key } = JSON.parse(made.stdout) as { key: string };
    needles.push(key, key.slice(-40));
    expect(await ask(gateway, '/api-keys', ada, { provider: 'openai', api_key: provider, user_id: 'dev/ada' })).toBe(
      200,
    );
    await ask(gateway, '/api-keys', ada, { provider: 'anthropic', api_key: provider, user_id: 'dev/ada' });
    await ask(gateway, '/api-keys', ada, { provider: 'openai', api_key: [provider], [provider]: 1 });

    // The secrets do reach the server, and only then is it worth anything that nobody else sees them.
    expect(await call(gateway, ada, 'fine')).toContain('"content":[]');
    const received = heard.findLast(({ seen }) => seen.includes('tools/call'))!.seen;
    for (const place of ['gateway', 'team', 'mine', 'provider', 'plain']) expect(received).toContain(canary(place));
    for (const tool of ['unauthorized', 'broken', 'garbage', 'cut']) {
      await call(gateway, ada, tool);
    }
    expect(heard.some(({ seen }) => seen.includes(canary('backup')))).toBe(true);
    expect(
      heard.filter(({ path }) => path === '/token'),
      heard.map(({ path }) => path).join(' '),
    ).not.toEqual([]);
    for (const other of [token, key, `${token}x`, `${ada.slice(0, -2)}xx`, `${key.slice(0, -2)}xx`]) {
      await call(gateway, other, 'fine');
    }
    await gateway.child.waitFor(/"stream":"stdout","line":"\*\*\*"/);
    const revoked = { name: 'gateway.backup', reason: 'seen' };
    expect(await ask(gateway, '/api/v1/vault/revoke', admin, revoked)).toBe(200);
    await expect.poll(() => heard.some(({ path }) => path.startsWith('/hook'))).toBe(true);
    processesOf(gateway.child);

    // A file that cannot be read, at a line with a secret, and one whose secret breaks a rule.
    writeFileSync(gateway.configFile, `auth:\n  - { name: ci, bearer: { token: "${token}" ]\n`);
    expect((await tollgate(['reload', 'tollgate.yaml'])).code).not.toBe(0);
    const bad = configuration({ webhooks: [{ url: `ftp://${canary('url')}`, secret: token, sercet: token }] });
    writeFileSync(gateway.configFile, JSON.stringify(bad));
    expect((await tollgate(['reload', 'tollgate.yaml'])).code).not.toBe(0);
    await tollgate(['validate', 'tollgate.yaml', '--json']);
    writeFileSync(gateway.configFile, JSON.stringify(configuration()));
    const commands = [
      ['validate', 'tollgate.yaml', '--json'],
      ['explain', 'tollgate.yaml', '--json'],
      ['status', 'tollgate.yaml', '--json'],
      ['doctor', 'tollgate.yaml', '--json'],
      ['vault', 'list', '--json', ...config],
      ['why', '--json', ...config],
    ];
    await Promise.all(commands.map((args) => tollgate(args)));
    for (const path of ['status', 'decisions', 'vault', 'vault/status', 'keys', 'trust', 'budgets']) {
      await ask(gateway, `/api/v1/${path}`, admin);
    }
    for (const path of ['/metrics', '/api-keys', '/activity', '/tools']) await ask(gateway, path, ada);
    await ask(gateway, '/metrics', admin);
    everything.push({ where: 'log', text: gateway.child.transcript() });
    gateway.child.signal('SIGKILL');
    await gateway.child.exited;
  }

  const password = canary('redis');
  await using redis = await startRedisServer({ flags: ['--rdbcompression', 'no'] });
  await redis.command('ACL', 'SETUSER', 'gate', 'on', `>${password}`, '~*', '&*', '+@all');
  const shared = { ...SECRETS, REDIS: `redis://gate:${password}@127.0.0.1:${redis.port}` };
  const over = configuration({ state: { url: '${env:REDIS}' } });
  {
    await using gateway = await startGateway(over, { folder: folder.path, env: shared, args: ['--debug'] });
    expect(await call(gateway, ada, 'fine')).toContain('"content":[]');
    await redis.command('SAVE');
    const { dir } = (await redis.command('CONFIG', 'GET', 'dir')) as { readonly dir: string };
    const dump = readFileSync(join(dir, 'dump.rdb'), 'latin1');
    // It is the gateway's: the names of its keys are in it.
    expect(dump).toContain('tollgate');
    everything.push({ where: 'dump of Redis', text: dump });
    await tollgate(['status', 'tollgate.yaml', '--json'], '', shared);
    await redis.stop();
    await call(gateway, ada, 'fine');
    processesOf(gateway.child);
    await gateway.child.stop();
    everything.push({ where: 'log of the second gateway', text: gateway.child.transcript() });
  }

  const files = readdirSync(folder.path, { recursive: true, withFileTypes: true }).filter((file) => file.isFile());
  expect(files.map(({ name }) => name)).toEqual(expect.arrayContaining(['tollgate.db', 'master.key', 'admin.token']));
  for (const { parentPath, name } of files) {
    everything.push({ where: name, text: readFileSync(join(parentPath, name), 'latin1') });
  }
  const found = everything.flatMap(({ where, text }) => {
    const at = needles.map((needle) => text.indexOf(needle)).find((place) => place >= 0);
    return at === undefined ? [] : [`${where}: ${text.slice(Math.max(0, at - 120), at + 60)}`];
  });
  expect(found).toEqual([]);
  expect(everything.length).toBeGreaterThan(50);
});
