/** Paths, hosts, sessions and credentials: nothing gets in by another door, and no credential goes out by one. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { canary } from '@tollgate/testkit/canaries';
import { type FakeHttpServer, startFakeHttp } from '@tollgate/testkit/fake-http';
import { type RunningGateway, startGateway } from '@tollgate/testkit/gateway';
import { modernRequest } from '@tollgate/testkit/modern-request';
import { exchange, type RawConnection, rawConnection, rawRequest } from '@tollgate/testkit/raw-http';
import { verifies } from '@tollgate/testkit/verifies';
import { waitUntil } from '@tollgate/testkit/wait';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { callTool, LEGACY_HEADERS, openSession, rpc } from './kit.ts';

const ANN = canary('ann');
const BOB = canary('bob');
const bearer = (token: string): [string, string] => ['Authorization', `Bearer ${token}`];

describe('a gateway that asks for a credential', () => {
  const stack = new AsyncDisposableStack();
  let gateway: RunningGateway;
  let upstream: FakeHttpServer;
  let legacy: FakeHttpServer;
  beforeAll(async () => {
    upstream = stack.use(await startFakeHttp('modern'));
    legacy = stack.use(await startFakeHttp('session'));
    gateway = stack.use(
      await startGateway({
        version: 1,
        servers: { upstream: { url: upstream.url }, legacy: { url: legacy.url } },
        endpoints: {
          '/mcp': { servers: ['upstream'] },
          '/team': { servers: ['upstream', 'legacy'], naming: 'prefix' },
        },
        auth: [
          { name: 'ann', bearer: { token: ANN } },
          { name: 'bob', bearer: { token: BOB } },
        ],
      }),
    );
  });
  afterAll(() => stack.disposeAsync());

  /** Paths that need no credential; each is tried as a way to those that do. */
  const OPEN = ['/healthz', '/readyz'];
  const GUARDED = [
    '/mcp',
    '/team',
    '/s/upstream',
    '/sse',
    '/messages/',
    '/team/sse',
    '/api/v1/status',
    '/api/v1/calls',
  ];
  const TARGETS = OPEN.flatMap((open) =>
    GUARDED.flatMap((path) => [
      `${open}/..${path}`,
      `${open}/%2e%2e${path}`,
      `${open}%2f..${path}`,
      `${open};${path}`,
      `${open}/${path}`,
      `${open}\\..${path}`,
      `${open}%00${path}`,
      `${open}#${path}`,
      `${path}#${open}`,
      `${path}/..${open}/..${path}`,
      `${path}?x=${open}`,
      `/${path}`,
      `http://127.0.0.1${path}`,
      `http://127.0.0.1${open}@127.0.0.1${path}`,
    ]),
  );

  it('opens no guarded path to a target that looks like an open one (Starlette CVE-2026-48710)', async () => {
    verifies('R1-62');
    for (const target of TARGETS) {
      for (const method of ['GET', 'POST']) {
        const request = modernRequest(1, 'tools/list', {}, target);
        const response = await exchange(gateway.port, { ...request, method });
        const where = `${method} ${target}: ${response.status} ${response.body.slice(0, 200)}`;
        // An open path with a query is itself; it has no body to tell anything.
        expect([400, 401, 404, 405], where).toContain(response.status);
        expect(response.body, where).not.toMatch(/inputSchema|"endpoints"|generation/);
      }
    }
    expect(upstream.seen('tools/call')).toHaveLength(0);
  });

  it.each([
    '127.0.0.1/healthz',
    '127.0.0.1/healthz?',
    '127.0.0.1/healthz#',
    '127.0.0.1#/healthz',
    '127.0.0.1?/healthz',
    '127.0.0.1\\healthz',
    '127.0.0.1:80/healthz',
    'healthz@127.0.0.1',
    '127.0.0.1 /healthz',
    '127.0.0.1\t/healthz',
    '127.0.0.1/api/v1/status?',
  ])('is not led astray by the Host %j', async (host) => {
    for (const path of GUARDED) {
      const request = modernRequest(1, 'tools/list', {}, path);
      const headers = [['Host', host] as const, ...(request.headers ?? []), bearer(ANN)];
      const { status } = await exchange(gateway.port, { ...request, headers });
      expect([400, 403], `${path} ${status}`).toContain(status);
    }
  });

  it('asks at every endpoint, transport and control path, in both eras', async () => {
    for (const path of GUARDED) {
      for (const method of ['GET', 'POST', 'DELETE']) {
        for (const wrong of [
          undefined,
          'x',
          'Bearer',
          'Bearer ',
          `Basic ${ANN}`,
          `Bearer ${ANN}x`,
          `Bearer ${ANN},${BOB}`,
        ]) {
          const base = modernRequest(1, 'tools/list', {}, path);
          const headers = [
            ...(base.headers ?? []),
            ...(wrong === undefined ? [] : [['Authorization', wrong] as const]),
          ];
          const response = await exchange(gateway.port, { ...base, method, headers });
          const where = `${method} ${path} ${wrong}: ${response.status} ${response.body.slice(0, 100)}`;
          expect([401, 404, 405], where).toContain(response.status);
          expect(response.body, where).not.toContain(ANN);
        }
      }
    }
  });

  it('keeps a legacy session to its principal and its endpoint, whatever is tried with its id', async () => {
    verifies('R1-23');
    const session = await openSession(gateway.port, [bearer(ANN)], '/team');
    const attempt = async (method: string, token: string | undefined, path: string): Promise<number> => {
      const headers = [
        ...LEGACY_HEADERS,
        ['Mcp-Session-Id', session] as const,
        ...(token === undefined ? [] : [bearer(token)]),
      ];
      const body = '{"jsonrpc":"2.0","id":1,"method":"tools/list"}';
      return (await exchange(gateway.port, { method, path, headers, ...(method === 'POST' ? { body } : {}) })).status;
    };
    for (const method of ['POST', 'GET', 'DELETE']) {
      expect(await attempt(method, BOB, '/team'), method).toBe(404);
      expect(await attempt(method, ANN, '/mcp'), method).toBe(404);
      expect(await attempt(method, ANN, '/s/upstream'), method).toBe(404);
      expect(await attempt(method, undefined, '/team'), method).toBe(401);
    }
    expect(await attempt('POST', ANN, '/team')).toBe(200);
  });

  it('takes no notice of headers that only an inner network may write', async () => {
    const names = [
      'X-Forwarded-For',
      'X-Forwarded-Host',
      'X-Forwarded-Proto',
      'Forwarded',
      'X-Real-IP',
      'X-Original-URL',
      'X-Rewrite-URL',
      'X-HTTP-Method-Override',
      'X-User',
      'X-Remote-User',
      'X-Auth-Request-Email',
      'X-Internal',
      'Tollgate-Principal',
      'X-Tollgate-Admin',
    ];
    const request = modernRequest(1, 'tools/list');
    const headers = [
      ...(request.headers ?? []),
      ...names.map((name): [string, string] => [name, name === 'X-Original-URL' ? '/healthz' : 'admin']),
    ];
    expect((await exchange(gateway.port, { ...request, headers })).status).toBe(401);
  });

  it('has an admin token of its own that opens no endpoint, in a file for the owner', async () => {
    const token = (await readFile(join(gateway.folder, '.tollgate', 'admin.token'), 'utf8')).trim();
    const status = await exchange(gateway.port, { method: 'GET', path: '/api/v1/status', headers: [bearer(token)] });
    expect(status.status).toBe(200);
    const request = modernRequest(1, 'tools/list');
    expect(
      (await exchange(gateway.port, { ...request, headers: [...(request.headers ?? []), bearer(token)] })).status,
    ).toBe(401);
    // A caller of the endpoints is no operator.
    expect(
      (await exchange(gateway.port, { method: 'GET', path: '/api/v1/status', headers: [bearer(ANN)] })).status,
    ).toBe(403);
    expect(
      (
        await exchange(gateway.port, {
          method: 'POST',
          path: '/api/v1/reload',
          headers: [bearer(ANN), ['Content-Length', '0']],
        })
      ).status,
    ).toBe(403);
    // Neither a page of another origin nor a rebound name gets to it, credential or not.
    for (const more of [
      ['Origin', 'https://evil.example'],
      ['Host', 'evil.example'],
    ] as [string, string][]) {
      const refused = await exchange(gateway.port, {
        method: 'POST',
        path: '/api/v1/reload',
        headers: [bearer(token), ['Content-Length', '0'], more],
      });
      expect(refused.status).toBe(403);
    }
  });

  it('sends no credential, cookie, session or address of the caller to a server, in either era', async () => {
    const secrets = ['cookie-canary', 'proxy-canary', 'session-canary', 'forwarded-canary', ANN];
    const more: [string, string][] = [
      bearer(ANN),
      ['Cookie', 'sid=cookie-canary'],
      ['Proxy-Authorization', 'Basic proxy-canary'],
      ['X-Forwarded-For', 'forwarded-canary'],
      ['X-Api-Key', 'cookie-canary'],
      ['Last-Event-ID', 'session-canary'],
      ['Connection', 'keep-alive, X-Hop'],
      ['X-Hop', 'forwarded-canary'],
    ];
    for (const name of ['upstream_echo', 'legacy_echo']) {
      const request = modernRequest(1, 'tools/call', { name, arguments: { text: name } }, '/team');
      const answer = await exchange(gateway.port, { ...request, headers: [...(request.headers ?? []), ...more] });
      expect(answer.body).toContain(`"text":"${name}"`);
    }
    const session = await openSession(gateway.port, [bearer(ANN)], '/team');
    const body = JSON.stringify({
      jsonrpc: '2.0',
      id: 1,
      method: 'tools/call',
      params: { name: 'legacy_echo', arguments: { text: 'x' } },
    });
    const headers = [
      ...LEGACY_HEADERS,
      ...more.filter(([name]) => name !== 'Last-Event-ID'),
      ['Mcp-Session-Id', session] as const,
    ];
    expect(rpc(await exchange(gateway.port, { path: '/team', headers, body })).error).toBeUndefined();
    const seen = JSON.stringify(
      [...upstream.requests, ...legacy.requests].map(({ rawHeaders, path, body: sent }) => [rawHeaders, path, sent]),
    );
    for (const secret of [...secrets, session]) expect(seen).not.toContain(secret);
    expect(gateway.child.transcript()).not.toContain(ANN);
  });
});

describe('a gateway without auth', () => {
  it('passes on no credential either, and treats none as a reason to let more in', async () => {
    await using upstream = await startFakeHttp('modern');
    await using gateway = await startGateway({ version: 1, servers: { upstream: { url: upstream.url } } });
    const request = modernRequest(1, 'tools/call', { name: 'echo', arguments: { text: 'a' } });
    const headers = [...(request.headers ?? []), bearer(ANN), ['Cookie', 'sid=cookie-canary'] as const];
    // A credential that nobody accepts is 401, never anonymous.
    expect((await exchange(gateway.port, { ...request, headers })).status).toBe(401);
    expect(upstream.seen('tools/call')).toHaveLength(0);
    const plain = [
      ...(request.headers ?? []),
      ['Cookie', 'sid=cookie-canary'] as const,
      ['Proxy-Authorization', 'Basic proxy-canary'] as const,
    ];
    expect((await exchange(gateway.port, { ...request, headers: plain })).status).toBe(200);
    expect(JSON.stringify(upstream.requests)).not.toMatch(/canary/);
  });
});

describe('slow and many clients', () => {
  it('slow heads, slow bodies and silent connections are ended in time, and hold up nobody', async () => {
    await using upstream = await startFakeHttp('modern');
    await using gateway = await startGateway({
      version: 1,
      // Good clients of a busy machine send all of a request within this.
      caps: { headerTime: '3s', bodyTime: '3s' },
      servers: { upstream: { url: upstream.url } },
    });
    const whole = rawRequest(gateway.port, modernRequest(1, 'tools/call', { name: 'echo' }));
    const bodyAt = whole.indexOf('\r\n\r\n') + 4;
    const slow: RawConnection[] = [];
    await using _all = new AsyncDisposableStack();
    for (let i = 0; i < 200; i += 1) {
      const connection = _all.use(await rawConnection(gateway.port));
      connection.send(i % 2 === 0 ? whole.slice(0, 20) : whole.slice(0, bodyAt + 5));
      slow.push(connection);
    }
    for (let i = 0; i < 20; i += 1) {
      expect(JSON.stringify(await callTool(gateway.port, 'echo', { text: `good ${i}` }))).toContain(`good ${i}`);
    }
    const ends = await Promise.all(slow.map((connection) => connection.closed()));
    for (const text of ends) expect(text).toMatch(/^(HTTP\/1\.1 408|$)/);
    expect(upstream.seen('tools/call')).toHaveLength(20);
  });

  it('streams beyond the cap are refused, those within are kept alive, and places come back', async () => {
    await using upstream = await startFakeHttp('modern');
    await using gateway = await startGateway({
      version: 1,
      caps: { streams: 20, keepAlive: '200ms', streamBuffer: '64KiB' },
      servers: { upstream: { url: upstream.url } },
    });
    await using all = new AsyncDisposableStack();
    const listen = async (): Promise<RawConnection> => {
      const connection = all.use(await rawConnection(gateway.port));
      connection.send(
        rawRequest(
          gateway.port,
          modernRequest(1, 'subscriptions/listen', { notifications: { toolsListChanged: true } }),
        ),
      );
      return connection;
    };
    const open = await Promise.all(Array.from({ length: 20 }, listen));
    for (const connection of open) await connection.until(/subscriptions\/acknowledged/);
    const more = await listen();
    const refused = await more.response();
    expect(refused.status).toBe(503);
    // Those that are there are kept alive, and calls need no stream.
    for (const connection of open) await connection.until(/\n:|^:/);
    expect(JSON.stringify(await callTool(gateway.port, 'echo', { text: 'good' }))).toContain('good');
    for (const connection of open.slice(0, 5)) connection.socket.destroy();
    await waitUntil('a place for another stream', async () => {
      const again = await listen();
      // Either is an answer: one that is late would take the place that it reports missing.
      return (await again.until(/subscriptions\/acknowledged|HTTP\/1\.1 503/))[0].startsWith('subscriptions');
    });
  });
});
