import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';
import { temporaryDirectory } from '@tollgate/testkit/temporary-directory';
import { verifies } from '@tollgate/testkit/verifies';
import { describe, expect, it } from 'vitest';
import { compile } from '../config/compile.ts';
import { loadConfigObject } from '../config/load.ts';
import { silentLog } from '../core/log.ts';
import { Gateway } from './gateway.ts';
import { startGateway, startScripted, tool } from './testing.ts';

const bearer = (name: string, scopes: string[]) => ({
  name,
  bearer: { token: `token-of-${name}-0123456789`, subject: name, scopes },
});
const token = (name: string): string => `token-of-${name}-0123456789`;
const listOf = (...names: string[]) => ({
  'tools/list': () => ({ tools: names.map((name) => tool(name)), ttlMs: 60_000, cacheScope: 'private' }),
});

describe('routes and scopes', () => {
  it('runs a call on the server of its route, and says when no route takes a name', async () => {
    verifies('R1-01', 'R1-05', 'R1-06');
    await using math = await startScripted(listOf('math_add', 'other'));
    await using data = await startScripted(listOf('query'));
    await using gateway = await startGateway({
      servers: { math: { url: math.url }, data: { url: data.url } },
      routes: [
        { tool: 'math_*', to: 'math' },
        { tool: 'query', to: 'data' },
      ],
    });
    expect(await gateway.names()).toEqual(['math_add', 'query']);
    await gateway.call('tools/call', { name: 'math_add' });
    await gateway.call('tools/call', { name: 'query' });
    const calls = (server: typeof math) => server.seen.filter((one) => one.method === 'tools/call').length;
    expect([calls(math), calls(data)]).toEqual([1, 1]);
    const none = await gateway.call('tools/call', { name: 'other' });
    expect(none.body.error).toMatchObject({
      code: -32602,
      message: expect.stringContaining('No route for other') as string,
    });
    expect(calls(math)).toBe(1);
  });

  it('refuses a missing scope the same way for names that exist and names that do not', async () => {
    verifies('R1-20', 'R1-21');
    await using admin = await startScripted(listOf('admin_reset', 'read'));
    await using gateway = await startGateway({
      servers: { admin: { url: admin.url } },
      routes: [{ tool: 'admin_*', to: 'admin', scope: 'admin:write' }, { to: 'admin' }],
      auth: [bearer('boss', ['admin:*']), bearer('clerk', ['read'])],
    });
    expect(await gateway.names('tools', { token: token('boss') })).toEqual(['admin_reset', 'read']);
    expect(await gateway.names('tools', { token: token('clerk') })).toEqual(['read']);
    const real = await gateway.call('tools/call', { name: 'admin_reset' }, { token: token('clerk') });
    const made = await gateway.call('tools/call', { name: 'admin_madeup' }, { token: token('clerk') });
    for (const refused of [real, made]) {
      expect(refused.status).toBe(403);
      expect(refused.headers.get('www-authenticate')).toBe('Bearer error="insufficient_scope", scope="admin:write"');
    }
    const text = (message: string | undefined) => message?.replace(/\[tg-\w+\]/, '');
    expect(text(made.body.error?.message)).toBe(text(real.body.error?.message));
    const allowed = await gateway.call('tools/call', { name: 'admin_reset' }, { token: token('boss') });
    expect(allowed.body.result).toMatchObject({ content: [{ text: 'ran' }] });
    expect(admin.seen.filter((one) => one.method === 'tools/call')).toHaveLength(1);
    expect((await gateway.call('tools/call', { name: 'read' }, { token: 'wrong-token-0123456789' })).status).toBe(401);
  });

  it('challenges a caller who lacks the scope of the endpoint, for its lists as for its tools', async () => {
    await using files = await startScripted(listOf('read'));
    await using gateway = await startGateway({
      servers: { files: { url: files.url } },
      endpoints: { '/team': { servers: '*', scope: 'team' } },
      auth: [bearer('in', ['team']), bearer('out', [])],
    });
    const at = (who: string) => ({ path: '/team', token: token(who) });
    expect(await gateway.names('tools', at('in'))).toEqual(['read']);
    for (const method of ['tools/list', 'tools/call']) {
      const { status, body } = await gateway.call(method, { name: 'read' }, at('out'));
      expect([status, body.error?.data]).toEqual([403, expect.objectContaining({ requiredScopes: ['team'] })]);
    }
  });
});

describe('order', () => {
  it('identifies, parses, then limits; what an earlier step refuses uses nothing up, and nothing refused is sent', async () => {
    verifies('R3-16', 'R1-21');
    await using server = await startScripted(listOf('t'));
    await using gateway = await startGateway({
      servers: { s: { url: server.url } },
      auth: [bearer('ada', [])],
      limits: { once: { on: 'tools/call', by: 'everyone', limit: '1/h' } },
    });
    const call = (options: { token?: string; headers?: Record<string, string> }, name = 't') =>
      gateway.call('tools/call', { name }, options);
    const sent = () => server.seen.filter((one) => one.method === 'tools/call').length;
    expect((await call({})).status).toBe(401);
    expect((await call({ token: 'not-a-token-0123456789' })).status).toBe(401);
    expect((await call({ token: token('ada'), headers: { 'mcp-name': 'other' } })).body.error?.code).toBe(-32020);
    expect((await call({ token: token('ada') }, 'unknown')).body.error?.code).toBe(-32602);
    expect(sent()).toBe(0);
    expect((await call({ token: token('ada') })).body.result).toBeDefined();
    expect((await call({ token: token('ada') })).body.error?.code).toBe(429);
    expect(sent()).toBe(1);
  });
});

describe('names and arguments', () => {
  it('passes metadata and documentation of tools on, meaning for meaning', async () => {
    verifies('R2-57', 'R2-58');
    const described = {
      ...tool('t', { n: { type: 'integer', maximum: 9_007_199_254_740_991, description: 'How many' } }),
      title: 'Title',
      description: 'What it does',
      annotations: { readOnlyHint: true },
      _meta: { 'vendor/key': [1, null] },
      unknown: { kept: true },
    };
    await using server = await startScripted({
      'tools/list': () => ({ tools: [described], ttlMs: 60_000, cacheScope: 'private' }),
    });
    await using gateway = await startGateway({ servers: { s: { url: server.url } } });
    expect((await gateway.call('tools/list')).body.result?.['tools']).toEqual([described]);
  });

  it('asks the server for its own name, in body and headers, and validates where it is told to', async () => {
    verifies('R2-59');
    await using one = await startScripted(listOf('get'));
    await using two = await startScripted({
      'tools/list': () => ({
        tools: [tool('get', { n: { type: 'integer', 'x-mcp-header': 'Count' } }, { required: ['n'] })],
        ttlMs: 60_000,
        cacheScope: 'private',
      }),
    });
    await using gateway = await startGateway({
      servers: { one: { url: one.url }, two: { url: two.url } },
      tools: { 'two/get': { validate: true } },
    });
    expect(await gateway.names()).toEqual(['get', 'two_get']);
    const wrong = await gateway.call(
      'tools/call',
      { name: 'two_get', arguments: { n: 'x' } },
      { headers: { 'mcp-param-count': 'x' } },
    );
    expect(wrong.body.error).toMatchObject({
      code: -32602,
      message: expect.stringContaining('Invalid arguments for two_get') as string,
    });
    const unmirrored = await gateway.call('tools/call', { name: 'two_get', arguments: { n: 1 } });
    expect([unmirrored.status, unmirrored.body.error?.code]).toEqual([400, -32020]);
    await gateway.call('tools/call', { name: 'two_get', arguments: { n: 1 } }, { headers: { 'mcp-param-count': '1' } });
    const calls = two.seen.filter((seen) => seen.method === 'tools/call');
    expect(calls).toHaveLength(1);
    expect(calls[0]?.params['name']).toBe('get');
    expect(calls[0]?.headers).toMatchObject({ 'mcp-name': 'get', 'mcp-param-count': '1' });
  });

  it('reads the list again and repeats once when a server refuses the mirrored headers', async () => {
    let header = 'Old';
    let refusals = 0;
    await using server = await startScripted({
      'tools/list': () => ({
        tools: [tool('t', { a: { type: 'string', 'x-mcp-header': header } })],
        ttlMs: 60_000,
        cacheScope: 'private',
      }),
      'tools/call': (_params, _response, _id) => {
        const got = server.seen.at(-1)?.headers['mcp-param-new'];
        if (got === 'x') return { content: [] };
        refusals++;
        throw { code: -32020, message: 'Mcp-Param-New is missing' };
      },
    });
    await using gateway = await startGateway({ servers: { s: { url: server.url } } });
    header = 'New';
    const answer = await gateway.call(
      'tools/call',
      { name: 't', arguments: { a: 'x' } },
      { headers: { 'mcp-param-old': 'x' } },
    );
    expect(answer.body.result).toMatchObject({ content: [] });
    expect(refusals).toBe(1);
  });

  it('completes arguments of a renamed prompt under the name of its server', async () => {
    const prompts = { 'prompts/list': () => ({ prompts: [{ name: 'p' }], ttlMs: 60_000, cacheScope: 'private' }) };
    await using one = await startScripted(prompts);
    await using two = await startScripted({
      ...prompts,
      'completion/complete': ({ ref }) => ({ completion: { values: [JSON.stringify(ref)] } }),
    });
    await using gateway = await startGateway({ servers: { one: { url: one.url }, two: { url: two.url } } });
    const answer = await gateway.call('completion/complete', {
      ref: { type: 'ref/prompt', name: 'two_p' },
      argument: { name: 'a', value: '' },
    });
    expect(answer.body.result?.['completion']).toEqual({ values: ['{"type":"ref/prompt","name":"p"}'] });
  });

  it('keeps tasks to the caller they were given to', async () => {
    await using server = await startScripted({
      ...listOf('long'),
      'server/discover': () => ({
        supportedVersions: ['2026-07-28'],
        capabilities: { tools: {}, extensions: { 'io.modelcontextprotocol/tasks': {} } },
        ttlMs: 0,
        cacheScope: 'private',
      }),
      'tools/call': () => ({ resultType: 'task', taskId: 'task-1', status: 'working', big: 1 }),
      'tasks/get': () => ({ status: 'completed' }),
    });
    await using gateway = await startGateway({
      servers: { s: { url: server.url } },
      auth: [bearer('ada', []), bearer('eve', [])],
    });
    const made = await gateway.call('tools/call', { name: 'long' }, { token: token('ada') });
    expect(made.body.result).toMatchObject({ resultType: 'task', taskId: 'task-1' });
    const get = (who: string) =>
      gateway.call('tasks/get', { taskId: 'task-1' }, { token: token(who), headers: { 'mcp-name': 'task-1' } });
    expect((await get('ada')).body.result).toMatchObject({ status: 'completed' });
    expect((await get('eve')).body.error).toMatchObject({ code: -32602 });
    expect(server.seen.filter((one) => one.method === 'tasks/get')).toHaveLength(1);
  });
});

describe('log messages', () => {
  it('of a modern server reach a caller only where the very request asked for them', async () => {
    await using server = await startScripted({
      ...listOf('t'),
      'tools/call': (_params, response, id) => {
        const note = { jsonrpc: '2.0', method: 'notifications/message', params: { level: 'error', data: 'noted' } };
        const answer = { jsonrpc: '2.0', id, result: { resultType: 'complete', content: [] } };
        response.writeHead(200, { 'content-type': 'text/event-stream' });
        for (const message of [note, answer]) response.write(`data: ${JSON.stringify(message)}\n\n`);
        response.end();
        return undefined;
      },
    });
    await using gateway = await startGateway({ servers: { s: { url: server.url } } });
    expect((await gateway.call('tools/call', { name: 't' })).body.result).toMatchObject({ content: [] });
    const { modernBody, modernHeaders, modernMeta } = await import('@tollgate/testkit/modern-request');
    const params = { name: 't', _meta: modernMeta({}, { 'io.modelcontextprotocol/logLevel': 'error' }) };
    const wanted = await fetch(`${gateway.url}/mcp`, {
      method: 'POST',
      headers: modernHeaders('tools/call', params),
      body: modernBody(1, 'tools/call', params),
    });
    expect(await wanted.text()).toContain('noted');
  });
});

describe('time and failure', () => {
  it('ends a call at the deadline of its tool and says that it may have run', async () => {
    verifies('R1-33');
    await using server = await startScripted({ ...listOf('slow'), 'tools/call': () => undefined });
    await using gateway = await startGateway({
      servers: { s: { url: server.url } },
      tools: { 's/slow': { timeout: '150ms' } },
    });
    const { body } = await gateway.call('tools/call', { name: 'slow' });
    expect(body.error).toMatchObject({ code: 504, data: { reason: 'deadline_exceeded', executed: 'unknown' } });
  });

  it('lists what is there, marks what is missing, and lets the others work', async () => {
    await using server = await startScripted(listOf('works'));
    const servers = { dead: { url: 'http://127.0.0.1:9/mcp', timeout: { connect: '200ms' } }, s: { url: server.url } };
    await using gateway = await startGateway({
      servers,
      endpoints: { '/mcp': { servers: '*' }, '/strict': { servers: '*', onUnavailable: 'fail' } },
    });
    const { body } = await gateway.call('tools/list');
    expect(body.result).toMatchObject({
      tools: [{ name: 'works' }],
      ttlMs: 0,
      _meta: { 'tollgate/partial': [{ server: 'dead', reason: 'server_unavailable' }] },
    });
    expect((await gateway.call('tools/call', { name: 'works' })).body.result).toBeDefined();
    expect((await gateway.call('tools/list', {}, { path: '/strict' })).body.error).toMatchObject({ code: 503 });
  });

  it('answers methods it does not know with 404 and the id', async () => {
    await using server = await startScripted(listOf('t'));
    await using gateway = await startGateway({ servers: { s: { url: server.url } } });
    const { status, body } = await gateway.call('no/such');
    expect([status, body.id, body.error?.code]).toEqual([404, 7, -32601]);
  });
});

describe('reload', () => {
  it('swaps the configuration, keeps what was used and what did not change', async () => {
    verifies('R2-56');
    await using server = await startScripted(listOf('t'));
    await using other = await startScripted(listOf('u'));
    const limits = { calls: { on: 'tools/call', by: 'principal', limit: '2/h' } };
    const before = { servers: { s: { url: server.url } }, limits };
    await using gateway = await startGateway(before);
    const call = () => gateway.call('tools/call', { name: 't' });
    expect((await call()).body.result).toBeDefined();
    await gateway.reload({ servers: { s: { url: server.url }, o: { url: other.url } }, limits });
    expect(await gateway.names()).toEqual(['t', 'u', 'tollgate_quota']);
    expect((await call()).body.result).toBeDefined();
    expect((await call()).body.error?.code).toBe(429);
    // The server that did not change was not contacted anew.
    expect(server.seen.filter((one) => one.method === 'server/discover')).toHaveLength(1);
    expect(gateway.gateway.generation.number).toBe(2);
  });

  it('keeps the old configuration when the new one cannot be applied', async () => {
    await using server = await startScripted(listOf('t'));
    await using gateway = await startGateway({ servers: { s: { url: server.url } } });
    const moved = { servers: { s: { url: server.url } }, listen: '127.0.0.1:1' };
    await expect(gateway.reload(moved)).rejects.toMatchObject({
      code: 'config_invalid',
    });
    expect(await gateway.names()).toEqual(['t']);
  });

  it('takes new caps and allowed origins without a restart', async () => {
    await using server = await startScripted(listOf('t'));
    const servers = { s: { url: server.url } };
    await using gateway = await startGateway({ servers });
    const from = (origin: string) => gateway.call('tools/list', {}, { headers: { origin } });
    expect((await from('https://app.example')).status).toBe(403);
    await gateway.reload({ servers, allowedOrigins: ['https://app.example'], caps: { body: '1KiB' } });
    expect((await from('https://app.example')).status).toBe(200);
    expect((await gateway.call('tools/call', { name: 't', arguments: { text: 'x'.repeat(2000) } })).status).toBe(413);
    await expect(gateway.reload({ servers, caps: { streams: 5 } })).rejects.toThrow('caps.streams cannot change');
  });

  it('lets a call that runs finish on a server that is taken out', async () => {
    let finish = (): void => {};
    await using server = await startScripted({
      ...listOf('t'),
      'tools/call': (_params, response, id) => {
        finish = () => {
          const result = { resultType: 'complete', content: [] };
          response
            .writeHead(200, { 'content-type': 'application/json' })
            .end(JSON.stringify({ jsonrpc: '2.0', id, result }));
        };
        return undefined;
      },
    });
    await using other = await startScripted(listOf('u'));
    await using gateway = await startGateway({ servers: { s: { url: server.url } } });
    const running = gateway.call('tools/call', { name: 't' });
    await expect.poll(() => server.seen.some((one) => one.method === 'tools/call')).toBe(true);
    await gateway.reload({ servers: { o: { url: other.url } } });
    finish();
    expect((await running).body.result).toMatchObject({ content: [] });
    expect(await gateway.names()).toEqual(['u']);
  });
});

describe('subscriptions', () => {
  it('acknowledges what it can honour, passes changes on, and ends with a result when the gateway stops', async () => {
    let names = ['t'];
    await using server = await startScripted({
      'tools/list': () => ({ tools: names.map((name) => tool(name)), ttlMs: 60_000, cacheScope: 'private' }),
    });
    await using other = await startScripted(listOf('u'));
    const servers = { s: { url: server.url } };
    await using gateway = await startGateway({ servers });
    const { modernBody, modernHeaders } = await import('@tollgate/testkit/modern-request');
    const params = { notifications: { toolsListChanged: true, unknown: true, resourceSubscriptions: ['no://such'] } };
    const stream = await fetch(`${gateway.url}/mcp`, {
      method: 'POST',
      headers: modernHeaders('subscriptions/listen', params),
      body: modernBody('l1', 'subscriptions/listen', params),
    });
    const read: Record<string, unknown>[] = [];
    const done = (async () => {
      let text = '';
      for await (const chunk of stream.body ?? []) {
        text += Buffer.from(chunk).toString();
        for (const match of text.matchAll(/data: (\{.*\})\n\n/g))
          read.push(JSON.parse(match[1]!) as Record<string, unknown>);
        text = text.slice(text.lastIndexOf('\n\n') + 2);
      }
    })();
    const tagged = { _meta: { 'io.modelcontextprotocol/subscriptionId': 'l1' } };
    await expect
      .poll(() => read)
      .toEqual([
        {
          jsonrpc: '2.0',
          method: 'notifications/subscriptions/acknowledged',
          params: { notifications: { toolsListChanged: true }, ...tagged },
        },
      ]);
    names = ['t', 't2'];
    await gateway.reload({ servers: { ...servers, o: { url: other.url } } });
    await expect
      .poll(() => read[1])
      .toEqual({ jsonrpc: '2.0', method: 'notifications/tools/list_changed', params: tagged });
    await gateway.gateway.drain(1000);
    await done;
    expect(read.at(-1)).toEqual({ jsonrpc: '2.0', id: 'l1', result: { resultType: 'complete', ...tagged } });
  });
});

describe('start', () => {
  it('lets nobody attach before every port is open: who attached to a gateway that cannot listen would lose it', async () => {
    await using other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    const taken = `127.0.0.1:${(other.address() as AddressInfo).port}`;
    await using folder = await temporaryDirectory('attach-last');
    for (const addresses of [{ listen: taken }, { listen: '127.0.0.1:0', admin: taken }]) {
      const { config } = loadConfigObject({
        dataDir: folder.path,
        servers: { up: { url: 'http://127.0.0.1:9' } },
        ...addresses,
      });
      const compiled = compile(config);
      const attachSocket = join(folder.path, 'made-by-listening', 'attach.sock');
      const gateway = new Gateway(
        { ...compiled, inbound: { ...compiled.inbound, attachSocket } },
        { log: silentLog, mount: () => false },
      );
      await expect(gateway.listen()).rejects.toMatchObject({ code: 'listen_failed' });
      expect(existsSync(dirname(attachSocket))).toBe(false);
    }
  });
});
