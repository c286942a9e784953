/** The limits under clients, servers and folders that mean them harm: no call for nothing, no numbers of others. */
import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { awayFromTurn } from '@tollgate/testkit/calendar';
import { canary } from '@tollgate/testkit/canaries';
import { startFakeHttp } from '@tollgate/testkit/fake-http';
import { type RunningGateway, runTollgate, startGateway } from '@tollgate/testkit/gateway';
import { modernHeaders, modernRequest } from '@tollgate/testkit/modern-request';
import { exchange, type RawRequest, rawConnection, rawRequest } from '@tollgate/testkit/raw-http';
import { temporaryDirectory } from '@tollgate/testkit/temporary-directory';
import { callTool } from '@tollgate/testkit/tool-call';
import { waitUntil } from '@tollgate/testkit/wait';
import { beforeEach, describe, expect, it } from 'vitest';
import { LEGACY_HEADERS, META, openSession, type Received, sendJson, startScripted } from './kit.ts';

interface Counter {
  readonly limit: string;
  readonly used: number;
  readonly held: number;
}

async function api(gateway: RunningGateway, path: string, body?: unknown, token?: string) {
  const own = async () => (await readFile(join(gateway.folder, '.tollgate/admin.token'), 'utf8')).trim();
  const response = await fetch(`http://127.0.0.1:${gateway.port}${path}`, {
    method: body === undefined ? 'GET' : 'POST',
    headers: { authorization: `Bearer ${token ?? (await own())}`, 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  });
  return { status: response.status, text: await response.text() };
}

async function counter(gateway: RunningGateway, limit: string): Promise<Counter> {
  const { text } = await api(gateway, '/api/v1/budgets?principal=anonymous');
  return (JSON.parse(text) as { limits: Counter[] }).limits.find((one) => one.limit === limit)!;
}

/** What was charged, once nothing runs any more; in micro-units. */
async function charged(gateway: RunningGateway): Promise<number> {
  await waitUntil('the end of all calls', async () => (await counter(gateway, 'busy')).held === 0);
  return (await counter(gateway, 'spend')).used;
}

const PRICE = 100_000;
const LIMITS = {
  spend: { by: 'principal', limit: '10000 USD/day' },
  calls: { by: 'principal', limit: '100000/day', algorithm: 'fixed-window' },
  busy: { by: 'principal', limit: '500 at once' },
};

const inSession = (session: string) => [...LEGACY_HEADERS, ['Mcp-Session-Id', session] as const];

const legacyCall = (session: string, id: number, name: string, args: object = {}): RawRequest => ({
  headers: inSession(session),
  body: JSON.stringify({ jsonrpc: '2.0', id, method: 'tools/call', params: { name, arguments: args } }),
});

/** Sends a request and leaves without reading the answer. */
async function sendAndLeave(port: number, request: RawRequest, reached: () => Promise<unknown>): Promise<void> {
  await using connection = await rawConnection(port);
  const length = ['Content-Length', String(Buffer.byteLength(request.body ?? ''))] as const;
  connection.send(rawRequest(port, { ...request, headers: [...(request.headers ?? []), length] }));
  await reached();
  connection.socket.destroy();
}

/** Ways of a server to answer that could be taken for "it did not run". */
const ANSWERS: Readonly<Record<string, (id: string) => string>> = {
  no_object: (id) => `{"jsonrpc":"2.0","id":${id},"result":"done"}`,
  error: (id) => `{"jsonrpc":"2.0","id":${id},"error":{"code":-32602,"message":"bad"}}`,
  visit: (id) =>
    `{"jsonrpc":"2.0","id":${id},"error":{"code":-32042,"message":"go","data":{"elicitations":[{"mode":"url","url":"https://x.example","message":"m","elicitationId":"1"}]}}}`,
  task: (id) => `{"jsonrpc":"2.0","id":${id},"result":{"resultType":"task","taskId":"t","status":"working"}}`,
  round: (id) => `{"jsonrpc":"2.0","id":${id},"result":{"resultType":"input_required","requestState":"again"}}`,
  nameless: (id) =>
    `{"jsonrpc":"2.0","id":${id},"result":{"resultType":"input_required","inputRequests":{"a":{"method":5}}}}`,
  foreign: (id) => `{"jsonrpc":"2.0","id":${id},"result":{"resultType":"__proto__","content":[]}}`,
};

const answering = (era: 'modern' | 'legacy') =>
  startScripted({
    era,
    tools: Object.keys(ANSWERS).map((name) => ({ name, inputSchema: { type: 'object' } })),
    call: ({ message }: Received, response) =>
      sendJson(response, ANSWERS[message.params?.name ?? '']!(JSON.stringify(message.id))),
  });

beforeEach(() => awayFromTurn('day'));

describe('no call is free', () => {
  it('whatever the server answers, and in whatever era the caller asks', async () => {
    await using modern = await answering('modern');
    await using legacy = await answering('legacy');
    await using gateway = await startGateway({
      version: 1,
      endpoints: { '/mcp': { servers: '*', naming: 'prefix' } },
      servers: { modern: { url: modern.url }, legacy: { url: legacy.url, protocol: 'legacy' } },
      tools: { '*': { price: { each: '0.1 USD' } } },
      limits: LIMITS,
    });
    const session = await openSession(gateway.port);
    let calls = 0;
    for (const server of ['modern', 'legacy']) {
      for (const name of Object.keys(ANSWERS)) {
        await callTool(gateway.url(), `${server}_${name}`);
        expect(await charged(gateway), `a modern call of ${server}_${name}`).toBe(++calls * PRICE);
        await exchange(gateway.port, legacyCall(session, calls, `${server}_${name}`));
        expect(await charged(gateway), `a legacy call of ${server}_${name}`).toBe(++calls * PRICE);
      }
    }
    expect((await counter(gateway, 'calls')).used).toBe(calls);
  });

  it('whenever its caller leaves, and by whatever door', async () => {
    await using server = await startFakeHttp('modern');
    await using old = await startFakeHttp('session');
    await using gateway = await startGateway({
      version: 1,
      endpoints: { '/mcp': { servers: '*', naming: 'prefix' } },
      servers: { modern: { url: server.url }, legacy: { url: old.url, protocol: 'legacy' } },
      tools: { '*': { price: { each: '0.1 USD' } } },
      limits: LIMITS,
    });
    const { port } = gateway;
    const ran = () => server.count('tools/call') + old.count('tools/call');
    const args = { text: 'x', delay: 2_000 };
    for (const [name, at] of [
      ['modern_echo', server],
      ['legacy_echo', old],
    ] as const) {
      const reached = () => {
        const before = at.count('tools/call');
        return waitUntil('the call at the server', () => at.count('tools/call') > before);
      };
      await sendAndLeave(port, modernRequest(1, 'tools/call', { name, arguments: args }), reached);
      const cancelled = await openSession(port);
      const cancel = { headers: inSession(cancelled), body: '' };
      const first = reached();
      const answer = exchange(port, legacyCall(cancelled, 5, name, args)).catch(() => undefined);
      await first;
      await exchange(port, {
        ...cancel,
        body: '{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":5}}',
      });
      const second = reached();
      const another = exchange(port, legacyCall(cancelled, 6, name, args)).catch(() => undefined);
      await second;
      await exchange(port, { method: 'DELETE', headers: inSession(cancelled) });
      await Promise.all([answer, another]);
    }
    expect(ran()).toBe(6);
    expect(await charged(gateway)).toBe(6 * PRICE);
  });

  it('by another spelling of its method or its name, nor as a notification', async () => {
    await using server = await startFakeHttp('modern');
    await using gateway = await startGateway({
      version: 1,
      servers: { fake: { url: server.url } },
      tools: { '*': { price: { each: '0.1 USD' } } },
      limits: LIMITS,
    });
    const session = await openSession(gateway.port);
    const spellings: [path: string, method: string, name: string][] = [];
    for (const path of ['/mcp', '/s/fake']) {
      for (const method of [
        'tools\\/call',
        'TOOLS/CALL',
        'tools/call2',
        'prompts/get',
        'tasks/result',
        'completion/complete',
      ])
        spellings.push([path, method, 'echo']);
      for (const name of ['ECHO', 'fake/echo', 'echo\u200b', 'ｅcho', 'echo ', '__proto__'])
        spellings.push([path, 'tools/call', name]);
    }
    for (const [path, method, name] of spellings) {
      const plain = method.replace('\\', '');
      const mirrored = /^[\x21-\x7e]+$/.test(name) ? name : `=?base64?${Buffer.from(name).toString('base64')}?=`;
      const params = `{"name":${JSON.stringify(name)},"arguments":{},"taskId":"x","ref":{"type":"ref/prompt","name":"echo"},"argument":{"name":"a","value":"b"},${META}}`;
      const headers = modernHeaders(plain, { name: mirrored });
      await exchange(gateway.port, {
        path,
        headers,
        body: `{"jsonrpc":"2.0","id":1,"method":"${method}","params":${params}}`,
      });
    }
    const notification = `{"jsonrpc":"2.0","method":"tools/call","params":{"name":"echo","arguments":{},${META}}}`;
    await exchange(gateway.port, { headers: modernHeaders('tools/call', { name: 'echo' }), body: notification });
    await exchange(gateway.port, { headers: inSession(session), body: notification });
    // `tools\/call` is how JSON may write it, at two endpoints; nothing else ran.
    expect(server.count('tools/call')).toBe(2);
    expect(await charged(gateway)).toBe(2 * PRICE);
  });

  it('by replaying a round, at once or afterwards, here or elsewhere', async () => {
    await using server = await startFakeHttp('modern');
    await using gateway = await startGateway({
      version: 1,
      servers: { fake: { url: server.url } },
      tools: { '*': { price: { each: '0.1 USD' } } },
      limits: LIMITS,
    });
    const first = await callTool(gateway.url(), 'ask', {}, { capabilities: { roots: {} } });
    const requestState = first.result?.['requestState'] as string;
    const params = { requestState, inputResponses: { roots: { roots: [] } } };
    const again = (url = gateway.url(), name = 'ask', args = {}) =>
      callTool(url, name, args, { capabilities: { roots: {} }, params });
    const replays = await Promise.all(Array.from({ length: 20 }, () => again()));
    expect(replays.filter(({ result }) => result !== undefined)).toHaveLength(20);
    // One of them continued the call that was held; the others are calls of their own.
    expect(await charged(gateway)).toBe(20 * PRICE);
    await again();
    expect(await charged(gateway)).toBe(21 * PRICE);
    const before = server.count('tools/call');
    for (const answer of [
      await again(gateway.url('/s/fake')),
      await again(gateway.url(), 'echo'),
      await again(gateway.url(), 'ask', { n: 1 }),
    ]) {
      expect(answer.error?.code).toBe(-32602);
    }
    for (const state of ['tgr1.', 'tgr1.AAAA', `tgr1.${'A'.repeat(900_000)}`, requestState.slice(0, -2)]) {
      const answer = await callTool(gateway.url(), 'ask', {}, { params: { requestState: state } });
      expect(answer.error?.code).toBe(-32602);
    }
    expect(server.count('tools/call')).toBe(before);
    expect(await charged(gateway)).toBe(21 * PRICE);
  });

  it('by a thousand at once', async () => {
    await using server = await startFakeHttp('modern', { keep: 1 });
    const free = { limit: '100000 at once' };
    await using gateway = await startGateway({
      version: 1,
      servers: { fake: { url: server.url } },
      tools: { '*': { price: { each: '0.1 USD' } } },
      limits: { ...LIMITS, spend: { by: 'everyone', limit: '5 USD/day' }, busy: { by: 'principal', ...free } },
    });
    const answers = await Promise.all(
      Array.from({ length: 1_000 }, () => callTool(gateway.url(), 'echo', { text: 'x' })),
    );
    expect(answers.filter(({ result }) => result !== undefined)).toHaveLength(50);
    expect(server.count('tools/call')).toBe(50);
    expect(await charged(gateway)).toBe(50 * PRICE);
  });

  it('by a price that is none', async () => {
    const prices = ['-1', '"0"', '[0]', '{"a":0}', 'true', 'null', '-0', '1e-400', '1e400', '99999999999', '00'];
    await using server = await startScripted({
      era: 'modern',
      tools: [{ name: 'metered', inputSchema: { type: 'object' } }],
      call: ({ message }, response) => {
        const usd = prices[Number(message.params?.arguments?.['price'])] ?? '0';
        const id = JSON.stringify(message.id);
        sendJson(
          response,
          `{"jsonrpc":"2.0","id":${id},"result":{"resultType":"complete","content":[],"_meta":{"usd":${usd}}}}`,
        );
      },
    });
    await using gateway = await startGateway({
      version: 1,
      servers: { fake: { url: server.url } },
      tools: { '*': { price: { from: 'result._meta.usd', hold: '0.1 USD', max: '5 USD' } } },
      limits: LIMITS,
    });
    for (const [price, text] of prices.entries()) {
      await callTool(gateway.url(), 'metered', { price });
      expect(await charged(gateway), text).toBe((price + 1) * PRICE);
    }
  });
});

describe('numbers and names of others', () => {
  it('are told to no user, by no door', async () => {
    const entry = (name: string, role: string) => ({
      name,
      bearer: { token: canary(name), subject: name, roles: [role] },
    });
    const ann = { token: canary('ann') };
    await using server = await startFakeHttp('modern');
    await using gateway = await startGateway({
      version: 1,
      servers: { fake: { url: server.url } },
      auth: [entry('ann', 'user'), entry('bob', 'user'), entry('cal', 'operator')],
      tools: { '*': { price: { each: '1 USD' } } },
      limits: {
        covert: { by: 'everyone', limit: '7777 USD/day', disclose: 'none' },
        all: { by: 'everyone', limit: '8888 USD/day', when: "tool != 'fake/unspoken'" },
        hush: { by: 'principal', limit: '6666/h', disclose: 'none' },
        own: { by: 'principal', limit: '2 USD/day' },
      },
    });
    for (let i = 0; i < 2; i++) await callTool(gateway.url(), 'echo', {}, { token: canary('bob') });
    for (let i = 0; i < 2; i++) await callTool(gateway.url(), 'echo', {}, ann);
    const refused = await callTool(gateway.url(), 'echo', {}, ann);
    const texts = [
      JSON.stringify([refused, [...refused.headers]]),
      JSON.stringify(await callTool(gateway.url(), 'tollgate_quota', {}, ann)),
      (await api(gateway, `/api/v1/decisions/${String(refused.error?.data?.['decisionId'])}`, undefined, ann.token))
        .text,
      (await api(gateway, '/api/v1/decisions?principal=bob/bob&format=jsonl', undefined, ann.token)).text,
      (
        await api(
          gateway,
          '/v1/ops',
          { operation: 'check_mcp_limit', endpoint: 'tools/call', estimated_cost: 3 },
          ann.token,
        )
      ).text,
      (await api(gateway, '/v1/check', { endpoint: 'tools/call', estimated_cost: 3 }, ann.token)).text,
      (await api(gateway, '/v1/ops', { operation: 'get_mcp_statistics' }, ann.token)).text,
    ];
    expect(texts[2]).toContain('"usedBefore":2000000');
    for (const text of texts) expect(text).not.toMatch(/covert|hush|7777|8888|6666|unspoken|bob/);
    for (const [path, body] of [
      ['/v1/ops', { operation: 'get_mcp_statistics', client_id: 'bob/bob' }],
      ['/v1/ops', { operation: 'get_mcp_statistics', client_id: 'nobody/knows' }],
      ['/v1/check', { client_id: 'bob/bob' }],
      ['/v1/holds', { client_id: 'bob/bob' }],
      ['/v1/ops', { operation: 'set_client_tier', client_id: 'ann/ann', tier: 'default' }],
      ['/v1/ops', { operation: 'emergency_stop' }],
      ['/v1/ops', { operation: 'reset_limits' }],
      ['/api/v1/stops', { scope: 'everything', reason: 'x' }],
      ['/api/v1/grants', { limit: 'own', amount: '9 USD', until: '1h', reason: 'x' }],
      ['/api/v1/status', undefined],
      ['/api/v1/budgets?principal=ann/ann', undefined],
    ] as const) {
      expect((await api(gateway, path, body, ann.token)).status, `${path} ${JSON.stringify(body)}`).toBe(403);
    }
    const mine = JSON.parse((await api(gateway, '/v1/holds', { endpoint: 'x' }, canary('bob'))).text) as {
      id: string;
    };
    for (const end of ['', '/settle', '/release']) {
      const path = `/v1/holds/${mine.id}${end}`;
      expect((await api(gateway, path, end === '' ? undefined : {}, ann.token)).status).toBe(404);
    }
  });

  it('and words of an operator steer no terminal', async () => {
    await using gateway = await startGateway({
      version: 1,
      servers: { none: { url: 'http://127.0.0.1:1/mcp' } },
      limits: { calls: { by: 'principal', limit: '1/h' } },
    });
    const reason = '\u001b]0;title\u0007\u001b[2J\u202eevil';
    expect((await api(gateway, '/api/v1/stops', { scope: 'everything', reason })).status).toBe(201);
    const { decision_id } = JSON.parse(
      (await api(gateway, '/v1/check', { endpoint: 'tools/call', mode: 'consume' })).text,
    ) as { decision_id: string };
    for (const args of [
      ['why', decision_id, '--config', gateway.configFile],
      ['budget', 'show', reason, '--config', gateway.configFile],
      ['status', gateway.configFile],
    ]) {
      const { stdout, stderr } = await runTollgate(args, gateway.folder);
      expect(stdout + stderr).not.toBe('');
      expect(stdout + stderr).not.toMatch(/[\u001b\u0007\u202e]/);
    }
  });
});

describe('what is asked of the limits', () => {
  it('is bounded, whatever its size or shape', async () => {
    await using gateway = await startGateway({
      version: 1,
      servers: { none: { url: 'http://127.0.0.1:1/mcp' } },
      limits: { calls: { by: 'principal', limit: '9/h' } },
    });
    for (const body of [
      '['.repeat(500_000),
      '{"a":'.repeat(150_000),
      `[${'1,'.repeat(100_000)}1]`,
      `[${'['.repeat(1000)}${']'.repeat(1000)}]`,
      '"x"',
      `{"endpoint":"${'x'.repeat(20_000)}"}`,
      '{"__proto__":{"endpoint":"x"}}',
      '{"estimated_cost":-1}',
      '{"estimated_cost":1e400}',
      '{"estimated_cost":"1"}',
    ]) {
      for (const path of ['/v1/check', '/v1/holds', '/v1/ops']) {
        const { status, text } = await api(gateway, path, body);
        expect(text.length).toBeLessThan(5_000);
        // A batch is answered as one, with an error in place of each answer.
        const refused = status === 200 ? text.startsWith('[{"status":"error"') : status >= 400 && status < 500;
        expect(refused, `${path} ${body.slice(0, 40)}: ${status} ${text.slice(0, 200)}`).toBe(true);
      }
    }
    expect((await fetch(`http://127.0.0.1:${gateway.port}/readyz`)).status).toBe(200);
  });
});

describe('a data folder that came with a repository', () => {
  it.each(['tollgate.db', 'state.lock'])('leads through no link at %s', async (name) => {
    await using folder = await temporaryDirectory('planted');
    const victim = join(folder.path, 'victim.db');
    const other = new DatabaseSync(victim);
    other.exec('create table mine (a)');
    await mkdir(join(folder.path, '.tollgate'));
    await symlink(victim, join(folder.path, '.tollgate', name));
    await writeFile(
      join(folder.path, 'tollgate.yaml'),
      JSON.stringify({ version: 1, listen: '127.0.0.1:0', servers: { none: { url: 'http://127.0.0.1:1/mcp' } } }),
    );
    const { code, stderr } = await runTollgate(['serve', 'tollgate.yaml'], folder.path);
    expect(code).toBe(2);
    expect(stderr).toContain(`${name} is a link`);
    expect(other.prepare('select name from sqlite_master').all()).toEqual([{ name: 'mine' }]);
    other.close();
  });
});
