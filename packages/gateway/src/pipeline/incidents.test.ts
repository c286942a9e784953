/** Replays of what happened to other gateways and servers, where no test of a part already does. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { temporaryDirectory } from '@tollgate/testkit/temporary-directory';
import { verifies } from '@tollgate/testkit/verifies';
import { expect, it } from 'vitest';
import { statusReport } from './status-report.ts';
import { startGateway, startScripted, tool } from './testing.ts';

const hints = { ttlMs: 60_000, cacheScope: 'public' };
const bearer = (name: string) => ({ name, bearer: { token: `token-of-${name}-0123456789`, subject: name } });
const as = (name: string) => ({ token: `token-of-${name}-0123456789` });

it('CVE-2025-49596 (MCP Inspector): a page, or anybody, that names a program in a query starts none', async () => {
  await using folder = await temporaryDirectory('incidents');
  await using server = await startScripted({ 'tools/list': () => ({ tools: [tool('work')], ...hints }) });
  await using gateway = await startGateway({ servers: { s: { url: server.url } } });
  const marker = join(folder.path, 'started');
  const query = new URLSearchParams({ transportType: 'stdio', command: 'touch', args: marker });
  const evil = { origin: 'http://evil.example', host: `0.0.0.0:${new URL(gateway.url).port}` };
  for (const path of ['/sse', '/stdio', '/mcp', '/message', '/config', '/api/v1/servers']) {
    for (const method of ['GET', 'POST']) {
      for (const headers of [{}, evil, { 'x-mcp-proxy-auth': 'Bearer x', authorization: 'Bearer x' }]) {
        const response = await fetch(`${gateway.url}${path}?${query}`, {
          method,
          headers: { accept: 'text/event-stream', 'content-type': 'application/json', ...headers },
          ...(method === 'POST' ? { body: '{"jsonrpc":"2.0","id":1,"method":"ping"}' } : {}),
          signal: AbortSignal.timeout(30_000),
        });
        await response.body?.cancel();
        if ('origin' in headers) expect([path, response.status]).toEqual([path, 403]);
      }
    }
  }
  expect(existsSync(marker)).toBe(false);
  const { servers } = statusReport(gateway.gateway, { configuration: 'x', reloadProblem: undefined });
  expect(servers.map(({ name }) => name)).toEqual(['s']);
});

it('CVE-2026-29791 (agentgateway): arguments and URIs reach a server in its body, never as a path, query or header of their own', async () => {
  await using server = await startScripted({
    'tools/list': () => ({
      tools: [tool('work', { path: { type: 'string' }, tenant: { type: 'string', 'x-mcp-header': 'Tenant' } })],
      ...hints,
    }),
    'resources/templates/list': () => ({ resourceTemplates: [{ uriTemplate: 'doc://{id}', name: 'doc' }], ...hints }),
    'resources/read': (params) => ({ contents: [{ uri: params['uri'], text: 'read' }] }),
  });
  await using gateway = await startGateway({ servers: { s: { url: server.url } } });
  const hostile = ['../../admin', 'x?role=admin', 'x#y', '%2e%2e/admin', 'a\r\nx-admin: 1'];
  for (const text of hostile) {
    const mirrored = `=?base64?${Buffer.from(text).toString('base64')}?=`;
    const got = await gateway.call(
      'tools/call',
      { name: 'work', arguments: { path: text, tenant: text } },
      { headers: { 'mcp-param-tenant': mirrored } },
    );
    expect(got.body.result, text).toMatchObject({ content: [{ text: 'ran' }] });
    const sent = server.seen.at(-1)!;
    expect(sent.params).toMatchObject({ name: 'work', arguments: { path: text, tenant: text } });
    const told = String(sent.headers['mcp-param-tenant']);
    const decoded = /^=\?base64\?(.*)\?=$/.exec(told)?.[1];
    expect(decoded === undefined ? told : Buffer.from(decoded, 'base64').toString()).toBe(text);
    expect(sent.headers).not.toHaveProperty('x-admin');
    // Either one path segment of the template, sent as it was named, or nothing at all.
    const before = server.seen.length;
    const uri = `doc://${text.replaceAll(/[\r\n]/g, '')}`;
    await gateway.call('resources/read', { uri });
    for (const { params } of server.seen.slice(before)) expect(params['uri']).toBe(uri);
  }
  expect(new Set(server.seen.map(({ path }) => path))).toEqual(new Set(['/mcp']));
});

it('agentgateway #2397: a session ends with the credential that opened it, at a reload, without a restart', async () => {
  verifies('R2-18');
  await using server = await startScripted({ 'tools/list': () => ({ tools: [tool('work')], ...hints }) });
  const config = (...names: string[]) => ({ servers: { s: { url: server.url } }, auth: names.map(bearer) });
  await using gateway = await startGateway(config('ada', 'bob'));
  const send = (who: string, session: string | undefined, body: object) =>
    fetch(`${gateway.url}/mcp`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${as(who).token}`,
        accept: 'application/json, text/event-stream',
        'content-type': 'application/json',
        ...(session === undefined ? {} : { 'mcp-session-id': session }),
      },
      body: JSON.stringify({ jsonrpc: '2.0', ...body }),
    });
  const open = async (who: string) => {
    const params = { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 't', version: '1' } };
    const response = await send(who, undefined, { id: 0, method: 'initialize', params });
    await response.arrayBuffer();
    return response.headers.get('mcp-session-id')!;
  };
  const [ada, bob] = [await open('ada'), await open('bob')];
  expect(ada).not.toBe(bob);
  const ping = async (who: string, session: string) => {
    const response = await send(who, session, { id: 1, method: 'ping' });
    await response.arrayBuffer();
    return response.status;
  };
  expect([await ping('ada', ada), await ping('bob', bob)]).toEqual([200, 200]);
  await gateway.reload(config('bob'));
  expect([await ping('ada', ada), await ping('bob', ada), await ping('bob', bob)]).toEqual([401, 404, 200]);
});

it('CVE-2026-24472 (Hono): nothing is kept of one answer for the next, whatever the server calls public', async () => {
  let asked = 0;
  await using server = await startScripted({
    'tools/list': () => ({ tools: [tool('work')], ...hints }),
    'prompts/list': () => ({ prompts: [{ name: 'greet' }], ...hints }),
    'resources/list': () => ({ resources: [{ uri: 'doc:1', name: 'doc' }], ...hints }),
    'tools/call': () => ({ content: [{ type: 'text', text: `answer ${++asked}` }], ...hints }),
    'prompts/get': () => ({ messages: [], description: `answer ${++asked}`, ...hints }),
    'resources/read': () => ({ contents: [{ uri: 'doc:1', text: `answer ${++asked}` }], ...hints }),
    'completion/complete': () => ({ completion: { values: [`answer ${++asked}`] }, ...hints }),
  });
  await using gateway = await startGateway({
    servers: { s: { url: server.url } },
    auth: [bearer('ada'), bearer('bob')],
  });
  const asks = [
    ['tools/call', { name: 'work', arguments: {} }],
    ['prompts/get', { name: 'greet' }],
    ['resources/read', { uri: 'doc:1' }],
    ['completion/complete', { ref: { type: 'ref/prompt', name: 'greet' }, argument: { name: 'x', value: 'y' } }],
  ] as const;
  for (const [method, params] of asks) {
    for (const who of ['ada', 'bob', 'ada']) {
      const got = await gateway.call(method, params, as(who));
      expect(JSON.stringify(got.body.result), method).toContain(`answer ${asked}"`);
      expect(got.headers.get('cache-control') ?? 'no-store', method).toMatch(/no-store|no-cache/);
    }
  }
  expect(asked).toBe(3 * asks.length);
});

it('counts a caller and a provider together where a limit says so, and each alone', async () => {
  verifies('R2-17');
  const tools = { 'tools/list': () => ({ tools: [tool('complete')], ...hints }) };
  await using openai = await startScripted(tools);
  await using anthropic = await startScripted(tools);
  await using gateway = await startGateway({
    servers: { openai: { url: openai.url }, anthropic: { url: anthropic.url } },
    endpoints: { '/mcp': { servers: '*', naming: 'prefix' } },
    auth: [bearer('ada'), bearer('bob')],
    limits: {
      each: { by: ['principal', 'server'], limit: '1/h' },
      provider: { by: 'server', server: 'openai', limit: '2/h' },
    },
  });
  const call = async (who: string, name: string) => {
    const { body } = await gateway.call('tools/call', { name, arguments: {} }, as(who));
    return body.error === undefined ? 'ran' : String(body.error.data?.['rule'] ?? body.error.code);
  };
  expect(await call('ada', 'openai_complete')).toBe('ran');
  expect(await call('ada', 'openai_complete')).toBe('each');
  expect(await call('ada', 'anthropic_complete')).toBe('ran');
  expect(await call('bob', 'openai_complete')).toBe('ran');
  expect([openai, anthropic].map(({ seen }) => seen.filter(({ method }) => method === 'tools/call').length)).toEqual([
    2, 1,
  ]);
});
