/** What callers of a ToolHive file get on the wire, by the numbers of ToolHive's behaviours. */
import { modernBody, modernHeaders, modernMeta } from '@tollgate/testkit/modern-request';
import { verifies } from '@tollgate/testkit/verifies';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Block, bucket, type FileOptions, generatedFile, tokenOf } from '../config/toolhive/testing.ts';
import { silentLog } from '../core/log.ts';
import { Gateway } from './gateway.ts';
import { type Json, type ScriptedServer, startScripted, tool } from './testing.ts';

interface Wire {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  readonly body: { readonly id?: unknown; readonly result?: Json; readonly error?: Json & { readonly data?: Json } };
}

let server: ScriptedServer;
let gateway: Gateway | undefined;
let url: string;

beforeEach(async () => {
  server = await startScripted({
    'tools/list': () => ({ tools: [tool('echo'), tool('other')], ttlMs: 60_000, cacheScope: 'private' }),
    'prompts/get': () => ({ messages: [] }),
  });
});
afterEach(async () => {
  await gateway?.close();
  gateway = undefined;
  await server[Symbol.asyncDispose]();
});

async function serve(block: Block | undefined, options: FileOptions = {}): Promise<void> {
  const config = generatedFile(block, { auth: 'anonymous', servers: { be: server.url }, ...options });
  const inbound = { ...config.inbound, port: 0, attachSocket: undefined };
  gateway = new Gateway({ ...config, inbound, listen: { ...config.listen, port: 0 } }, { log: silentLog });
  url = (await gateway.listen()).url;
  await gateway.settled();
}

async function post(body: string, headers: readonly (readonly [string, string])[]): Promise<Wire> {
  const response = await fetch(`${url}/mcp`, { method: 'POST', headers: headers as [string, string][], body });
  const text = await response.text();
  return { status: response.status, headers: response.headers, text, body: text === '' ? {} : JSON.parse(text) };
}

const bearer = (who: 'ALICE' | 'BOB'): [string, string] => ['Authorization', `Bearer ${tokenOf(who)}`];
const withId = (id: unknown, params: Json) =>
  JSON.stringify({ jsonrpc: '2.0', id, method: 'tools/call', params: { ...params, _meta: modernMeta() } });

function modern(name = 'be_echo', { id = 7, who }: { id?: unknown; who?: 'ALICE' | 'BOB' } = {}): Promise<Wire> {
  const params = { name, arguments: {} };
  const auth = who === undefined ? [] : [bearer(who)];
  return post(withId(id, params), [...modernHeaders('tools/call', params), ...auth]);
}

const LEGACY = [
  ['Content-Type', 'application/json'],
  ['Accept', 'application/json, text/event-stream'],
] as const;

/** A session of a 2025-11-25 client; gives a function that calls. */
async function legacy(): Promise<(message: Json) => Promise<Wire>> {
  const clientInfo = { name: 'test', version: '1' };
  const params = { protocolVersion: '2025-11-25', capabilities: {}, clientInfo };
  const opened = await post(JSON.stringify({ jsonrpc: '2.0', id: 0, method: 'initialize', params }), LEGACY);
  const session: [string, string][] = [
    ['Mcp-Session-Id', opened.headers.get('mcp-session-id')!],
    ['MCP-Protocol-Version', '2025-11-25'],
  ];
  return (message) => post(JSON.stringify({ jsonrpc: '2.0', ...message }), [...LEGACY, ...session]);
}

const calls = () => server.seen.filter(({ method }) => method === 'tools/call');

describe('refusals of a ToolHive file, as it is', () => {
  it('ToolHive 26, 27, 40, 41 and 64: three calls reach the server as they are, the fourth is HTTP 429', async () => {
    verifies('R3-17', 'X3-04', 'X3-05', 'R3-18', 'C-11');
    await serve({ shared: bucket(3, '1m') });
    for (let i = 0; i < 3; i++) expect((await modern()).status).toBe(200);
    const refused = await modern('be_echo', { id: 'req-1' });
    expect(refused.status).toBe(429);
    expect(refused.headers.get('content-type')).toMatch(/^application\/json/);
    expect(refused.body).toMatchObject({ id: 'req-1', error: { code: 429, data: { retryAfterSeconds: 20 } } });
    expect(refused.headers.get('retry-after')).toBe('20');
    expect(refused.body.error?.['message']).toContain('Rate limit exceeded');
    expect(calls().map(({ params }) => params['name'])).toEqual(['echo', 'echo', 'echo']);
    expect(calls()[0]!.params['arguments']).toEqual({});
  });

  it('ToolHive 28, 29 and 30: the id comes back as it was, and is left out where there is none', async () => {
    verifies('X3-04');
    await serve({ shared: bucket(1, '1h') });
    await modern();
    for (const id of [0, 42, 'req-1']) expect((await modern('be_echo', { id })).body.id).toBe(id);
    const call = await legacy();
    const notified = await call({ method: 'tools/call', params: { name: 'be_echo', arguments: {} } });
    // Nothing runs for a notification, so that there is nothing to limit: ToolHive lets it run, or answers 429.
    expect([notified.status, notified.text]).toEqual([202, '']);
    const empty = await call({ id: null, method: 'tools/call', params: { name: 'be_echo', arguments: {} } });
    expect(empty.text).not.toMatch(/"id":null/);
    expect(calls()).toHaveLength(1);
  });

  it('ToolHive 31, 32 and 9: what is no tool call is free, and so is everything without a block', async () => {
    verifies('R3-14', 'R3-09', 'R3-15');
    await serve({ shared: bucket(1, '1h') });
    await modern();
    expect((await modern()).status).toBe(429);
    for (const method of ['tools/list', 'prompts/list', 'server/discover']) {
      expect((await post(modernBody(1, method), modernHeaders(method))).status, method).toBe(200);
    }
    const call = await legacy();
    expect((await call({ id: 1, method: 'ping' })).body.result).toEqual({});
    expect((await post('not json', LEGACY)).status).toBe(400);
    await gateway!.close();
    await serve(undefined);
    for (let i = 0; i < 5; i++) expect((await modern()).status).toBe(200);
  });

  it('a batch cannot go round the limit', async () => {
    await serve({ shared: bucket(1, '1h') });
    const batch = await post(`[${withId(1, { name: 'be_echo' })},${withId(2, { name: 'be_echo' })}]`, LEGACY);
    expect(batch.status).toBe(400);
    expect(calls()).toHaveLength(0);
  });

  it('ToolHive 66 and 67: a user’s third call is refused, another user’s first is not', async () => {
    verifies('R3-12', 'R3-33', 'X3-04');
    await serve({ perUser: bucket(2, '1m') }, { auth: 'oidc' });
    for (const name of ['be_echo', 'be_other']) expect((await modern(name, { who: 'ALICE' })).status).toBe(200);
    const third = await modern('be_echo', { who: 'ALICE' });
    expect(third.status).toBe(429);
    expect(third.headers.get('retry-after')).toBe('30');
    expect(third.body.error).toMatchObject({ code: 429, data: { retryAfterSeconds: 30 } });
    expect((await modern('be_echo', { who: 'BOB' })).status).toBe(200);
    expect((await modern('be_echo')).status).toBe(401);
  });

  it('who is not let in, and what cannot be read, takes nothing; a refusal is seen by who watches calls', async () => {
    verifies('R3-16', 'R3-28', 'C-10');
    await serve({ shared: bucket(1, '1h') }, { auth: 'oidc' });
    expect((await modern('be_echo')).status).toBe(401);
    expect((await post('{', [...LEGACY, bearer('ALICE')])).status).toBe(400);
    const outcomes: string[] = [];
    gateway!.calls.watch(({ outcome, reason }) => outcomes.push(`${outcome} ${reason ?? ''}`.trim()));
    expect((await modern('be_echo', { who: 'ALICE' })).status).toBe(200);
    expect((await modern('be_echo', { who: 'BOB' })).status).toBe(429);
    expect(outcomes).toEqual(['answered', 'refused shared']);
  });

  it('a name that does not exist, and one that is hidden, costs nothing', async () => {
    const more = { aggregation: { tools: [{ workload: 'be', filter: ['echo'] }] } };
    await serve({ shared: bucket(1, '1h') }, { more });
    expect((await modern('be_other')).body.error?.['code']).toBe(-32602);
    expect((await modern('be_missing')).body.error?.['code']).toBe(-32602);
    expect((await modern()).status).toBe(200);
  });
});

describe('refusals of a ToolHive file with the default form', () => {
  const metadata = { 'tollgate/refusals': 'default' };

  it('ToolHive 44, 45 and 67: a legacy client gets a tool result with the record in _meta', async () => {
    verifies('X3-04', 'X3-05', 'X3-06');
    await serve({ tools: [{ name: 'be_echo', shared: bucket(1, '1m') }] }, { metadata });
    const call = await legacy();
    const echo = { method: 'tools/call', params: { name: 'be_echo', arguments: {} } };
    expect((await call({ id: 1, ...echo })).body.result).toMatchObject({ content: [{ text: 'ran' }] });
    const refused = await call({ id: 2, ...echo });
    expect(refused.status).toBe(200);
    expect(refused.body.result).toMatchObject({
      isError: true,
      _meta: { 'tollgate/decision': { reason: 'rate_limited', rule: 'tool_be_echo_shared', retryAfterSeconds: 60 } },
    });
    expect(refused.body.result).not.toHaveProperty('structuredContent');
    expect(refused.text).toContain('Rate limit exceeded');
    expect(calls()).toHaveLength(1);
  });

  it('ToolHive 46 and 67: a modern client gets HTTP 200 with code 429 and its data', async () => {
    verifies('X3-05');
    await serve({ shared: bucket(1, '1m') }, { metadata });
    await modern();
    const refused = await modern();
    expect(refused.status).toBe(200);
    expect(refused.body.error).toMatchObject({ code: 429, data: { retryAfterSeconds: 60 } });
    expect(refused.headers.get('retry-after')).toBe('60');
  });
});
