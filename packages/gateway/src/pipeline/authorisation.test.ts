/** What a caller may not call must not be heard of, or reached, in any other way. */
import { modernBody, modernHeaders, modernMeta } from '@tollgate/testkit/modern-request';
import { waitUntil } from '@tollgate/testkit/wait';
import { describe, expect, it } from 'vitest';
import { startGateway, startScripted, type TestGateway } from './testing.ts';

const bearer = (name: string, scopes: string[], secret = name) => ({
  name,
  bearer: { token: `token-of-${secret}-0123456789`, subject: name, scopes },
});
const token = (name: string): string => `token-of-${name}-0123456789`;
const hints = { ttlMs: 60_000, cacheScope: 'private' };
const LEGACY = { 'content-type': 'application/json', accept: 'application/json, text/event-stream' };

/** A server that lets every resource be watched; `watched` tells which ones it was asked for last. */
async function watchable(extensions = {}) {
  const streams = { open: 0 };
  const server = await startScripted({
    'server/discover': () => ({
      supportedVersions: ['2026-07-28'],
      capabilities: { resources: { subscribe: true }, ...extensions },
      ...hints,
    }),
    'resources/list': () => ({
      resources: ['open:1', 'secret:1'].map((uri) => ({ uri, name: uri })),
      ...hints,
    }),
    'subscriptions/listen': (params, response, id) => {
      const honoured = { notifications: params['notifications'] };
      streams.open++;
      response.on('close', () => streams.open--);
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      const _meta = { 'io.modelcontextprotocol/subscriptionId': id };
      const acknowledged = { method: 'notifications/subscriptions/acknowledged', params: { ...honoured, _meta } };
      response.write(`data: ${JSON.stringify({ jsonrpc: '2.0', ...acknowledged })}\n\n`);
      return undefined;
    },
    'vendor/secret': () => ({ told: 'secret' }),
  });
  const watched = (): unknown[] =>
    server.seen
      .filter(({ method }) => method === 'subscriptions/listen')
      .flatMap(({ params }) => (params['notifications'] as { resourceSubscriptions?: unknown }).resourceSubscriptions);
  return { server, watched, streams };
}

/** Opens a listen stream; gives its reader. */
async function listen(gateway: TestGateway, who: string, notifications: object, path = '/mcp') {
  const response = await fetch(gateway.url + path, {
    method: 'POST',
    headers: {
      ...Object.fromEntries(modernHeaders('subscriptions/listen', {})),
      authorization: `Bearer ${token(who)}`,
    },
    body: modernBody(7, 'subscriptions/listen', { _meta: modernMeta(), notifications }),
  });
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  return {
    first: async () => (await reader.read()).value ?? '',
    /** All that comes until the stream ends. */
    rest: async () => {
      let text = '';
      for (let part = await reader.read(); !part.done; part = await reader.read()) text += part.value;
      return text;
    },
    leave: () => reader.cancel(),
  };
}

async function legacy(gateway: TestGateway, who: string | undefined, session: string | undefined, body: object) {
  return await fetch(`${gateway.url}/mcp`, {
    method: 'POST',
    headers: {
      ...LEGACY,
      ...(who === undefined ? {} : { authorization: `Bearer ${token(who)}` }),
      ...(session === undefined ? {} : { 'mcp-session-id': session }),
    },
    body: JSON.stringify({ jsonrpc: '2.0', ...body }),
  });
}

async function openSession(gateway: TestGateway, who?: string): Promise<string> {
  const params = { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 't', version: '1' } };
  const response = await legacy(gateway, who, undefined, { id: 0, method: 'initialize', params });
  await response.arrayBuffer();
  return response.headers.get('mcp-session-id')!;
}

describe('without the scope', () => {
  it('a resource cannot be watched, in either era', async () => {
    const { server, watched } = await watchable();
    await using _server = server;
    await using gateway = await startGateway({
      servers: { s: { url: server.url } },
      routes: [{ resource: 'secret:*', to: 's', scope: 'secrets' }, { to: 's' }],
      auth: [bearer('clerk', []), bearer('boss', ['secrets'])],
    });
    const stream = await listen(gateway, 'clerk', { resourceSubscriptions: ['secret:1', 'open:1'] });
    expect(await stream.first()).toContain('"resourceSubscriptions":["open:1"]');
    await stream.leave();
    const session = await openSession(gateway, 'clerk');
    const ask = { id: 1, method: 'resources/subscribe', params: { uri: 'secret:1' } };
    const refused = (await (await legacy(gateway, 'clerk', session, ask)).json()) as { error?: { code: number } };
    expect(refused.error?.code).toBe(-32002);
    expect(watched()).not.toContain('secret:1');
    const allowed = await listen(gateway, 'boss', { resourceSubscriptions: ['secret:1'] });
    expect(await allowed.first()).toContain('"resourceSubscriptions":["secret:1"]');
    await allowed.leave();
  });

  it('of an endpoint its extension methods and its changes are out of reach', async () => {
    const { server, watched } = await watchable({ extensions: { vendor: {} } });
    await using _server = server;
    await using gateway = await startGateway({
      servers: { s: { url: server.url } },
      endpoints: { '/team': { servers: '*', scope: 'team' } },
      auth: [bearer('in', ['team']), bearer('out', [])],
    });
    const at = (who: string) => ({ path: '/team', token: token(who) });
    expect((await gateway.call('vendor/secret', {}, at('in'))).body.result).toMatchObject({ told: 'secret' });
    const asked = server.seen.filter(({ method }) => method === 'vendor/secret').length;
    expect((await gateway.call('vendor/secret', {}, at('out'))).status).toBe(403);
    expect(server.seen.filter(({ method }) => method === 'vendor/secret')).toHaveLength(asked);
    const stream = await listen(gateway, 'out', { resourceSubscriptions: ['open:1'] }, '/team');
    expect(await stream.first()).not.toContain('open:1');
    await stream.leave();
    expect(watched()).not.toContain('open:1');
  });
});

describe('what a caller watched', () => {
  it('is let go when it leaves, however often and at what moment it asked', async () => {
    const { server, streams } = await watchable();
    await using _server = server;
    await using gateway = await startGateway({ servers: { s: { url: server.url } }, auth: [bearer('ada', [])] });
    const stream = await listen(gateway, 'ada', { resourceSubscriptions: ['open:1', 'open:1', 'open:1'] });
    expect(await stream.first()).toContain('"resourceSubscriptions":["open:1"]');
    await waitUntil('the subscription', () => streams.open === 1);
    await stream.leave();
    await waitUntil('the end of the subscription', () => streams.open === 0);

    const session = await openSession(gateway, 'ada');
    const subscribe = (id: number) =>
      legacy(gateway, 'ada', session, { id, method: 'resources/subscribe', params: { uri: 'open:1' } });
    await Promise.all([1, 2, 3].map(subscribe).map(async (one) => (await one).arrayBuffer()));
    await waitUntil('the subscription', () => streams.open === 1);
    await end(gateway, 'ada', session);
    await waitUntil('the end of the subscription', () => streams.open === 0);
  });

  it('is let go where the session ended before the server had agreed', async () => {
    const { server, streams } = await watchable();
    await using _server = server;
    await using gateway = await startGateway({ servers: { s: { url: server.url } }, auth: [bearer('ada', [])] });
    const listens = server.handlers['subscriptions/listen']!;
    const agree = Promise.withResolvers<void>();
    const asked = Promise.withResolvers<void>();
    server.handlers['subscriptions/listen'] = (params, response, id) => {
      asked.resolve();
      void agree.promise.then(() => listens(params, response, id));
      return undefined;
    };
    const session = await openSession(gateway, 'ada');
    const subscribe = { id: 1, method: 'resources/subscribe', params: { uri: 'open:1' } };
    const answer = legacy(gateway, 'ada', session, subscribe);
    await asked.promise;
    await end(gateway, 'ada', session);
    agree.resolve();
    await (await answer).arrayBuffer();
    await waitUntil('the end of the subscription', () => streams.open === 0);
  });
});

describe('a reload that takes a credential away', () => {
  it('ends the streams and sessions that were opened with it, and no others', async () => {
    const { server } = await watchable();
    await using _server = server;
    const config = (...auth: object[]) => ({ servers: { s: { url: server.url } }, auth });
    await using gateway = await startGateway(config(bearer('ada', []), bearer('bob', []), bearer('eve', ['more'])));
    const names = ['ada', 'bob', 'eve'];
    const streams = await Promise.all(names.map((who) => listen(gateway, who, { resourceSubscriptions: ['open:1'] })));
    await Promise.all(streams.map((stream) => stream.first()));
    const sessions = await Promise.all(names.map((who) => openSession(gateway, who)));
    const ping = async (at: number, secret = names[at]!) => {
      const response = await legacy(gateway, secret, sessions[at], { id: 1, method: 'ping' });
      await response.arrayBuffer();
      return response.status;
    };
    // Ada as before, Bob with another token, Eve with fewer rights.
    await gateway.reload(config(bearer('ada', []), bearer('bob', [], 'new'), bearer('eve', [])));
    expect(await streams[1]!.rest()).toContain('"resultType":"complete"');
    expect(await streams[2]!.rest()).toContain('"resultType":"complete"');
    expect(await ping(0)).toBe(200);
    expect(await ping(1)).toBe(401);
    expect(await ping(1, 'new')).toBe(404);
    expect(await ping(2)).toBe(404);
    expect(gateway.gateway.hub.streams).toBe(1);
    await streams[0]!.leave();
  });
});

async function end(gateway: TestGateway, who: string, session: string): Promise<void> {
  const headers = { authorization: `Bearer ${token(who)}`, 'mcp-session-id': session };
  const response = await fetch(`${gateway.url}/mcp`, { method: 'DELETE', headers });
  expect(response.status).toBe(204);
}
