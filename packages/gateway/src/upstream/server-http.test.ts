import { once } from 'node:events';
import {
  createServer as createHttpServer,
  type Server as HttpServer,
  type IncomingMessage,
  type ServerResponse,
} from 'node:http';
import type { AddressInfo } from 'node:net';
import { createFakeClock } from '@tollgate/testkit/fake-clock';
import { type FakeHttpServer, startFakeHttp } from '@tollgate/testkit/fake-http';
import { verifies } from '@tollgate/testkit/verifies';
import { waitUntil } from '@tollgate/testkit/wait';
import { afterEach, describe, expect, it } from 'vitest';
import { TollgateError } from '../core/errors.ts';
import type { Principal } from '../core/principal.ts';
import { capabilitySet } from '../protocol/bridge/client-requests.ts';
import type { ClientSession } from '../protocol/call.ts';
import { encode } from '../protocol/json/splice.ts';
import type { Scope, Server, ServerEvent } from '../protocol/peer.ts';
import {
  callTool,
  principal,
  rememberingLog,
  scopeOf,
  session,
  start,
  stdioOptions,
  Trip,
  toolCall,
} from './fixtures/rig.ts';
import type { ServerOptions } from './options.ts';
import { createServer, type ServerDeps } from './servers.ts';

const cleanup: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const step of cleanup.splice(0).reverse()) await step();
});

function serve(
  url: string,
  options: Partial<ServerOptions> = {},
  deps: Partial<ServerDeps> = {},
): Server & { readonly events: ServerEvent[] } {
  const made = stdioOptions('x');
  const server = createServer(
    { ...made, target: { kind: 'http', url: new URL(url), headers: {} }, ...options },
    { log: rememberingLog(), ...deps },
  );
  cleanup.push(() => server.close());
  const events: ServerEvent[] = [];
  server.onEvent((event) => events.push(event));
  return Object.assign(server, { events });
}

async function fake(kind: 'modern' | 'session' | 'sse'): Promise<FakeHttpServer> {
  const server = await startFakeHttp(kind);
  cleanup.push(async () => server[Symbol.asyncDispose]());
  return server;
}

type Answer = (message: Record<string, unknown>, request: IncomingMessage, response: ServerResponse) => void;

/** An HTTP server that answers as the test says. */
async function custom(
  answer: Answer,
): Promise<{ readonly url: string; readonly methods: string[]; readonly server: HttpServer }> {
  const methods: string[] = [];
  const server = createHttpServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const body = Buffer.concat(chunks).toString();
      const message = body === '' ? {} : (JSON.parse(body) as Record<string, unknown>);
      methods.push(String(message['method'] ?? request.method));
      answer(message, request, response);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanup.push(async () => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`, methods, server };
}

function json(response: ServerResponse, status: number, body: unknown, headers: Record<string, string> = {}): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body));
}

const DISCOVERED = { resultType: 'complete', supportedVersions: ['2026-07-28'], capabilities: { tools: {} } };
const INITIALIZED = {
  protocolVersion: '2025-06-18',
  capabilities: { tools: {} },
  serverInfo: { name: 'x', version: '1' },
};

/** Speaks both eras at one URL. */
const dual: Answer = (message, request, response) => {
  const { id, method } = message;
  const modern = request.headers['mcp-protocol-version'] === '2026-07-28';
  if (request.method === 'GET') response.writeHead(405).end();
  else if (id === undefined) response.writeHead(202).end();
  else if (method === 'server/discover') json(response, 200, { jsonrpc: '2.0', id, result: DISCOVERED });
  else if (method === 'initialize') json(response, 200, { jsonrpc: '2.0', id, result: INITIALIZED });
  else {
    const content = [{ type: 'text', text: modern ? 'modern' : 'legacy' }];
    json(response, 200, { jsonrpc: '2.0', id, result: { content, ...(modern ? { resultType: 'complete' } : {}) } });
  }
};

describe('finding out the era over HTTP', () => {
  it('shares one stateless connection to a modern server', async () => {
    verifies('R1-07', 'R1-26', 'R1-28');
    const upstream = await fake('modern');
    const server = serve(upstream.url);
    const mine = scopeOf(principal(), 'modern');
    expect(server.current(mine)).toBeUndefined();
    const connection = await server.connect(mine);
    expect(connection.era).toBe('modern');
    expect(server.current(mine)).toBe(connection);
    expect(await server.connect(scopeOf(principal(), 'modern'))).toBe(connection);
    expect(await callTool(connection, 'echo', { text: 'hi' })).toBe('hi');
    expect(upstream.seen('server/discover')).toHaveLength(1);
    expect(upstream.seen('initialize')).toHaveLength(0);
    expect(server.view).toMatchObject({ transport: 'http', state: 'ready', eras: ['modern'], version: '2026-07-28' });
  });

  it('falls back to a session on a legacy server', async () => {
    const upstream = await fake('session');
    const server = serve(upstream.url);
    const connection = await server.connect(scopeOf(principal(), 'modern'));
    expect(connection.era).toBe('legacy');
    expect(await callTool(connection, 'echo', { text: 'hi' })).toBe('hi');
  });

  it('falls back to HTTP+SSE when POST is refused', async () => {
    const upstream = await fake('sse');
    const server = serve(upstream.url);
    const connection = await server.connect(scopeOf('catalog'));
    expect(connection.era).toBe('legacy');
    expect(await callTool(connection, 'echo', { text: 'hi' })).toBe('hi');
    expect(server.view.transport).toBe('sse');
    await server.connect(scopeOf(session()));
    expect(upstream.seen('server/discover')).toHaveLength(1);
    expect(upstream.seen('initialize')).toHaveLength(3);
  });

  it('obeys a pinned protocol without probing', async () => {
    const old = await fake('session');
    expect((await serve(old.url, { protocol: 'legacy' }).connect(scopeOf('catalog'))).era).toBe('legacy');
    expect(old.seen('server/discover')).toHaveLength(0);
    const sse = await fake('sse');
    expect((await serve(sse.url, { protocol: 'sse' }).connect(scopeOf('catalog'))).era).toBe('legacy');
    expect(sse.requests[0]!.method).toBe('GET');
    const bare = await custom((message, _request, response) =>
      message['method'] === 'server/discover'
        ? json(response, 404, { jsonrpc: '2.0', id: message['id'], error: { code: -32601, message: 'no' } })
        : dual(message, _request, response),
    );
    const pinned = await serve(bare.url, { protocol: 'modern' }).connect(scopeOf('catalog'));
    expect(pinned.era).toBe('modern');
    expect(pinned.capabilities['tools']).toBeDefined();
    expect(bare.methods).not.toContain('initialize');
  });

  it('reads the versions of a modern error, and the refusal of initialize', async () => {
    const future = await custom((message, _request, response) =>
      json(response, 400, {
        jsonrpc: '2.0',
        id: message['id'],
        error: { code: -32022, message: 'no', data: { supported: ['2031-01-01'] } },
      }),
    );
    await expect(serve(future.url).connect(scopeOf('catalog'))).rejects.toThrow(
      /speaks only protocol version 2031-01-01/,
    );
    const silent = await custom((message, request, response) => {
      if (message['method'] === 'server/discover') response.writeHead(404).end();
      else if (message['method'] === 'initialize') {
        const data = { supported: ['2026-07-28'] };
        json(response, 400, { jsonrpc: '2.0', id: message['id'], error: { code: -32022, message: 'no', data } });
      } else dual(message, request, response);
    });
    const connection = await serve(silent.url).connect(scopeOf('catalog'));
    expect(connection.era).toBe('modern');
    expect(await callTool(connection, 'any')).toBe('modern');
  });

  it.each([401, 403, 429, 500, 503])('takes %i for no evidence of an era', async (status) => {
    const upstream = await custom((_message, _request, response) => response.writeHead(status).end());
    const server = serve(upstream.url);
    await expect(server.connect(scopeOf('catalog'))).rejects.toBeInstanceOf(TollgateError);
    expect(upstream.methods).toEqual(['server/discover']);
    expect(server.view.state).toBe(status === 401 ? 'login_required' : 'failed');
    expect(server.view.eras).toEqual([]);
  });

  it('says that a URL is no MCP server', async () => {
    const upstream = await custom((_message, _request, response) => response.writeHead(404).end('nothing here'));
    await expect(serve(upstream.url).connect(scopeOf('catalog'))).rejects.toThrow(
      /not as an MCP server.*servers\.fix\.url/,
    );
  });

  it('speaks to a server of both eras in the era of the caller', async () => {
    const upstream = await custom(dual);
    const server = serve(upstream.url);
    const modern = await server.connect(scopeOf('catalog'));
    expect(await callTool(modern, 'any')).toBe('modern');
    const mine = session();
    const legacy = await server.connect(scopeOf(mine));
    expect(await callTool(legacy, 'any')).toBe('legacy');
    expect(server.current(scopeOf(mine))).toBe(legacy);
    expect(server.current(scopeOf(principal(), 'modern'))).toBe(modern);
    expect(server.view.eras).toEqual(['modern', 'legacy']);
  });

  it('finds out again after the server was replaced by one of the other era', async () => {
    const clock = createFakeClock();
    let era: Answer = dual;
    const upstream = await custom((message, request, response) => era(message, request, response));
    const server = serve(upstream.url, {}, { clock });
    const mine = scopeOf(principal(), 'modern');
    const before = await server.connect(mine);
    era = (message, request, response) => {
      if (request.headers['mcp-protocol-version'] === '2026-07-28') response.writeHead(400).end();
      else dual(message, request, response);
    };
    await start(before, toolCall('any')).ended;
    expect(server.current(mine)).toBeUndefined();
    const after = await server.connect(mine);
    expect(after.era).toBe('legacy');
    expect(await callTool(after, 'any')).toBe('legacy');
  });

  it('stays open to the others when a call of one is refused with 400 again and again', async () => {
    const upstream = await custom((message, request, response) => {
      const { name } = (message['params'] ?? {}) as { name?: string };
      if (name === 'bad') response.writeHead(400).end();
      else dual(message, request, response);
    });
    const server = serve(upstream.url, {}, { clock: createFakeClock() });
    const scope = scopeOf(principal(), 'modern');
    for (let i = 0; i < 5; i++) {
      await start(await server.connect(scope), toolCall('bad')).ended;
      expect(await callTool(await server.connect(scope), 'any')).toBe('modern');
    }
  });

  it('fails fast while the server is down, and comes back', async () => {
    const clock = createFakeClock();
    const upstream = await custom(dual);
    const server = serve(upstream.url, {}, { clock });
    const mine = scopeOf(principal(), 'modern');
    const before = await server.connect(mine);
    const { port } = upstream.server.address() as AddressInfo;
    upstream.server.closeAllConnections();
    upstream.server.close();
    expect(await start(before, toolCall('any')).ended).toMatchObject({ code: 'server_unavailable', executed: 'no' });
    await expect(server.connect(mine)).rejects.toMatchObject({ code: 'server_unavailable' });
    await expect(server.connect(mine)).rejects.toMatchObject({ retryAfterSeconds: expect.any(Number) as number });
    expect(server.view).toMatchObject({ state: 'failed' });
    expect(server.view.problem).toContain('connection refused');
    const again = createHttpServer(upstream.server.listeners('request')[0] as () => void);
    again.listen(port, '127.0.0.1');
    await once(again, 'listening');
    cleanup.push(async () => {
      again.closeAllConnections();
      again.close();
    });
    clock.advance(6000);
    expect(await callTool(await server.connect(mine), 'any')).toBe('modern');
    expect(server.view).toMatchObject({ state: 'ready', problem: undefined });
  });
});

describe('sessions at a legacy HTTP server', () => {
  it('has one per client session with its capabilities, else one per principal, and ends them', async () => {
    const upstream = await fake('session');
    const server = serve(upstream.url);
    const [a, b] = [session({ sampling: {} }), session()];
    const one = await server.connect(scopeOf(a));
    expect(await server.connect(scopeOf(b))).not.toBe(one);
    const declared = upstream
      .seen('initialize')
      .map((entry) => (entry.message!['params'] as Record<string, unknown>)['capabilities']);
    expect(declared).toEqual([{ sampling: {} }, {}]);
    const deletes = (): number => upstream.requests.filter((entry) => entry.method === 'DELETE').length;
    a.lifetime.end(new TollgateError('cancelled', 'left'));
    await waitUntil('the DELETE', () => deletes() === 1);
    await server.close();
    expect(deletes()).toBe(2);
  });

  it('has one per modern caller and capabilities declared in the request, and ends those that are idle', async () => {
    const upstream = await fake('session');
    const clock = createFakeClock();
    const server = serve(upstream.url, { instances: { mode: 'auto', max: 8, idle: 100 } }, { clock });
    const [ada, bob] = [principal('test/ada'), principal('test/bob')];
    const local: ClientSession = { ...session({}, ada), era: 'modern' };
    const asking = (of: Principal | ClientSession, capabilities: object): Scope => ({
      ...scopeOf(of, 'modern'),
      capabilitySet: capabilitySet(capabilities),
    });
    const scopes = [
      scopeOf(ada, 'modern'),
      asking(ada, { elicitation: {} }),
      asking(ada, { elicitation: { url: {} }, sampling: { tools: {} } }),
      asking(bob, { elicitation: {} }),
      asking(local, { elicitation: {} }),
      scopeOf('catalog', 'modern'),
    ];
    const connections = [];
    for (const scope of scopes) connections.push(await server.connect(scope));
    expect(new Set(connections).size).toBe(scopes.length);
    const declared = upstream
      .seen('initialize')
      .map((entry) => (entry.message!['params'] as Record<string, unknown>)['capabilities']);
    expect(declared).toEqual([
      {},
      { elicitation: { form: {} } },
      { elicitation: { url: {} }, sampling: { tools: {} } },
      { elicitation: { form: {} } },
      { elicitation: { form: {} } },
      { roots: { listChanged: true }, sampling: {}, elicitation: { form: {}, url: {} } },
    ]);
    // The same set again, written in another way.
    expect(server.current(asking(ada, { elicitation: { form: {} }, extensions: {} }))).toBe(connections[1]);
    // Sweeps run by real timers; how long nothing was asked for is the time of the clock.
    await waitUntil('the end of the idle ones', () => {
      clock.advance(100);
      return server.view.instances === 1;
    });
    expect(server.current(scopeOf('catalog', 'modern'))).toBe(connections[5]);
    expect(server.current(scopes[1]!)).toBeUndefined();
  });

  it('is asked nothing before what it says outside a call is heard', async () => {
    // As the SDK does: what has no stream to go to is dropped.
    let stream: ServerResponse | undefined;
    const calls = new Map<unknown, ServerResponse>();
    const upstream = await custom((message, request, response) => {
      const { id, method } = message;
      if (request.method === 'GET') stream = response.writeHead(200, { 'content-type': 'text/event-stream' });
      if (request.method === 'GET') response.flushHeaders();
      else if (method === 'initialize') {
        json(response, 200, { jsonrpc: '2.0', id, result: INITIALIZED }, { 'mcp-session-id': 's' });
      } else if (method === 'tools/call') {
        calls.set('ask', response);
        response.on('answered', () => json(response, 200, { jsonrpc: '2.0', id, result: { content: [] } }));
        stream?.write(`data: ${JSON.stringify({ jsonrpc: '2.0', id: 'q', method: 'roots/list' })}\n\n`);
      } else {
        response.writeHead(202).end();
        if (id === 'q') calls.get('ask')?.emit('answered');
      }
    });
    const server = serve(upstream.url, { protocol: 'legacy' });
    const trip = new Trip();
    trip.onAsked = (_message, answer) => answer(encode({ jsonrpc: '2.0', id: 0, result: { roots: [] } }));
    start(await server.connect(scopeOf(session({ roots: {} }))), toolCall('any'), trip);
    expect(await trip.ended).toMatchObject({ kind: 'result' });
    expect(trip.asked).toHaveLength(1);
    expect(upstream.methods).toEqual(['initialize', 'notifications/initialized', 'GET', 'tools/call', 'POST']);
  });

  it('initializes again after the server forgot the session', async () => {
    const upstream = await fake('session');
    const server = serve(upstream.url);
    const mine = scopeOf(session());
    const before = await server.connect(mine);
    upstream.forgetSessions();
    expect(await start(before, toolCall('echo')).ended).toBeInstanceOf(TollgateError);
    await waitUntil('the loss', () => server.current(mine) === undefined);
    expect(await callTool(await server.connect(mine), 'echo', { text: 'again' })).toBe('again');
  });

  it('tells of what the server says on its GET stream', async () => {
    const upstream = await fake('session');
    const server = serve(upstream.url);
    const mine = session();
    await server.connect(scopeOf(mine));
    await waitUntil('the GET stream', () => upstream.openStreams() === 1);
    upstream.notify('notifications/tools/list_changed');
    upstream.notify('notifications/message', { level: 'info', data: 'x' });
    await waitUntil('both', () => server.events.filter((event) => event.type !== 'state').length === 2);
    expect(server.events).toContainEqual({ type: 'list_changed', kind: 'tools' });
    const log = server.events.find((event) => event.type === 'log');
    expect(log?.type === 'log' && log.scope?.session).toBe(mine);
  });
});

describe('subscriptions at a modern HTTP server', () => {
  it('listens for list changes, and again after the stream broke', async () => {
    const upstream = await fake('modern');
    const server = serve(upstream.url);
    await server.connect(scopeOf('catalog'));
    await waitUntil('the stream', () => upstream.openStreams() === 1);
    upstream.notify('notifications/tools/list_changed');
    await waitUntil('the event', () => server.events.some((event) => event.type === 'list_changed'));
    expect(server.view.pending).toBe(0);
    server.events.length = 0;
    const dying = start(server.current(scopeOf('catalog'))!, toolCall('fault_die'));
    expect(await dying.ended).toMatchObject({ code: 'server_disconnected', executed: 'unknown' });
    await waitUntil('the new stream', () => upstream.openStreams() === 1);
    await waitUntil('news of the gap', () => server.events.some((event) => event.type === 'list_changed'));
    await expect(server.subscribe('a:1', scopeOf('catalog'))).rejects.toMatchObject({ code: 'method_not_found' });
  });
});
