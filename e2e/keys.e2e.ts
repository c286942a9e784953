/** API keys and the user API from outside: the real command line, SQLite, real sockets. */
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type RunningGateway, runTollgate, startGateway } from '@tollgate/testkit/gateway';
import { modernBody, modernHeaders, modernMeta } from '@tollgate/testkit/modern-request';
import { temporaryDirectory } from '@tollgate/testkit/temporary-directory';
import { verifies } from '@tollgate/testkit/verifies';
import { waitUntil } from '@tollgate/testkit/wait';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { everythingServer } from './servers.ts';

const PROVIDER_KEY = `sk-${'q'.repeat(45)}`;

interface Made {
  readonly key: string;
  readonly id: string;
}

let folder: Awaited<ReturnType<typeof temporaryDirectory>>;
let gateway: RunningGateway;
beforeAll(async () => {
  folder = await temporaryDirectory('keys');
  gateway = await startGateway(
    {
      version: 1,
      servers: { demo: everythingServer() },
      auth: [{ name: 'keys', keys: { tier: 'basic' } }],
      limits: { calls: { by: 'principal', limit: '1000/min' } },
      tiers: { basic: {} },
    },
    { folder: folder.path },
  );
});
afterAll(async () => {
  await gateway?.[Symbol.asyncDispose]();
  await folder?.[Symbol.asyncDispose]();
});

const keys = (...args: readonly string[]) =>
  runTollgate(['keys', ...args, '--config', gateway.configFile], gateway.folder);

/** Over the control API, as the command does it. */
async function make(order: object, path = '/api/v1/keys'): Promise<Made> {
  const token = (await readFile(join(folder.path, '.tollgate', 'admin.token'), 'utf8')).trim();
  const made = await send(token, 'POST', path, order);
  expect(made.status).toBe(201);
  return (await made.json()) as Made;
}

const bearer = (key: string) => ({ authorization: `Bearer ${key}` });

async function list(key: string): Promise<Response> {
  return fetch(gateway.url(), {
    method: 'POST',
    headers: { ...Object.fromEntries(modernHeaders('tools/list')), ...bearer(key) },
    body: modernBody(1, 'tools/list', {}),
  });
}

async function send(key: string, method: string, path: string, body?: object): Promise<Response> {
  return fetch(gateway.url(path), {
    method,
    headers: { ...bearer(key), ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
}

describe('tollgate keys', () => {
  it('makes a key that works at once, lists it without the key, and revokes it with all that it has open', async () => {
    verifies('R1-10', 'R2-22');
    const options = ['--tenant', 'acme', '--scopes', 'read,write:*', '--label', 'laptop'];
    const { key, id } = JSON.parse((await keys('create', 'ada', ...options, '--json')).stdout) as Made;
    expect((await list(key)).status).toBe(200);
    const listed = await keys('list');
    expect(listed.stdout).toContain(`${id} keys/ada of acme: roles user; scopes read write:*`);
    expect(listed.stdout).toContain('laptop');
    expect(listed.stdout).not.toContain(key);
    const params = { notifications: { toolsListChanged: true }, _meta: modernMeta() };
    const stream = await fetch(gateway.url(), {
      method: 'POST',
      headers: { ...Object.fromEntries(modernHeaders('subscriptions/listen', params)), ...bearer(key) },
      body: modernBody(2, 'subscriptions/listen', params),
    });
    expect(stream.headers.get('content-type')).toContain('text/event-stream');
    expect((await keys('revoke', id, '--reason', 'lost')).stdout).toContain(`Revoked ${id}`);
    expect((await list(key)).status).toBe(401);
    // The stream ends by itself: nobody reads on with a credential that is gone.
    expect(await stream.text()).toContain('notifications/subscriptions/acknowledged');
    expect((await keys('list', '--all')).stdout).toContain('(revoked)');
  });

  it('CVE-2026-12796: a successor ends the key before, over a restart too', async () => {
    const before = await make({ subject: 'bob' });
    const next = await make({}, `/api/v1/keys/${before.id}/replace`);
    const statuses = async () => [(await list(before.key)).status, (await list(next.key)).status];
    expect(await statuses()).toEqual([401, 200]);
    gateway.child.signal('SIGKILL');
    await gateway.child.exited;
    gateway = await startGateway(await readFile(gateway.configFile, 'utf8'), { folder: folder.path });
    expect(await statuses()).toEqual([401, 200]);
  });

  it('lets nobody make keys without the role, and says what is wrong with an order', async () => {
    const { key } = await make({ subject: 'eve', roles: ['user', 'operator', 'auditor'] });
    const asked = { subject: 'eve', roles: ['admin'] };
    expect((await send(key, 'POST', '/api/v1/keys', asked)).status).toBe(403);
    expect((await send(key, 'GET', '/api/v1/keys')).status).toBe(200);
    for (const [args, words] of [
      [[], 'Say whose key it is'],
      [['x', '--tier', 'iron'], 'There is no tier iron'],
      [['--replaces', 'nothing'], 'no such key'],
    ] as const) {
      const { code, stderr, stdout } = await keys('create', ...args);
      expect([code === 0, stdout], args.join(' ')).toEqual([false, '']);
      expect(stderr).toContain(words);
    }
  });

  it('CVE-2026-42208: an injection in Authorization is a wrong credential on every path, errors included', async () => {
    for (const text of [
      "' or '1'='1",
      "tg_' union select digest from tg_keys --",
      "'); drop table tg_keys; --",
      'tg_%27',
    ]) {
      const answers = await Promise.all([
        list(text),
        send(text, 'GET', '/api-keys'),
        send(text, 'POST', '/mcp/tools/invoke', { tool_name: text, parameters: {}, user_id: text }),
        send(text, 'GET', '/api/v1/keys'),
        send(text, 'POST', '/v1/ops', {}),
        send(text, 'GET', '/nothing'),
      ]);
      const seen = await Promise.all(answers.map(async (one) => `${one.status} ${await one.text()}`));
      for (const one of seen.slice(0, 5)) expect(one).toMatch(/^401 /);
      for (const one of seen) expect(one).not.toContain(text);
    }
    expect((await keys('list')).stdout).toContain('keys/eve');
  });

  it('says that it needs the running gateway', async () => {
    await using other = await temporaryDirectory('keys-none');
    const config = join(other.path, 'tollgate.yaml');
    await writeFile(config, await readFile(gateway.configFile));
    const { code, stderr } = await runTollgate(['keys', 'list', '--config', config], other.path);
    expect([code, stderr]).toEqual([3, expect.stringContaining('tollgate serve')]);
  });
});

describe('the user API of a running gateway', () => {
  it('keeps a provider key and runs a tool, for the holder of an API key', async () => {
    verifies('R2-07', 'R2-09');
    const { key } = await make({ subject: 'carol' });
    const stored = await send(key, 'POST', '/api-keys', {
      provider: 'openai',
      api_key: PROVIDER_KEY,
      user_id: 'carol',
      expires_in_days: 30,
    });
    expect([stored.status, await stored.json()]).toMatchObject([200, { success: true, user_id: 'keys/carol' }]);
    const available = (await (await send(key, 'GET', '/mcp/tools/available')).json()) as { tools: { name: string }[] };
    expect(available.tools.length).toBeGreaterThan(0);
    const result = await send(key, 'POST', '/mcp/tools/invoke', {
      tool_name: 'echo',
      parameters: { message: 'hello' },
      user_id: 'carol',
      provider: 'openai',
    });
    expect(await result.json()).toMatchObject({
      success: true,
      cached: false,
      result: { content: [{ type: 'text' }] },
    });
    const activity = await waitUntil('the record', async () => {
      const text = await (await send(key, 'GET', '/mcp/activity')).text();
      return text.includes('demo/echo') ? text : undefined;
    });
    expect(activity).toContain('"admitted":');
  });

  it('leaves no key of anybody in files, logs and answers', async () => {
    verifies('R2-22');
    const { key } = await make({ subject: 'dave' });
    const files = (await readdir(join(gateway.folder), { recursive: true, withFileTypes: true })).filter((one) =>
      one.isFile(),
    );
    // What the gateway has removed since holds nothing any more.
    const read = (file: string) => readFile(file).catch(() => Buffer.alloc(0));
    const texts = await Promise.all(files.map((one) => read(join(one.parentPath, one.name))));
    const secret = key.slice(key.lastIndexOf('_') + 1, -6);
    for (const text of [...texts, Buffer.from(gateway.child.transcript())]) {
      expect(text.includes(secret)).toBe(false);
      expect(text.includes(PROVIDER_KEY)).toBe(false);
    }
  });
});
