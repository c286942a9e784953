/** What every request must pass, whatever its path: table 1.2 and the rebinding row of the threat table. */
import { verifies } from '@tollgate/testkit/verifies';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  answer,
  FakeEndpoint,
  head,
  legacyBody,
  modernBody,
  modernPost,
  notification,
  optionsOf,
  post,
  type Rig,
  startEdge,
} from './fakes.ts';

let rig: Rig;

beforeAll(async () => {
  const options = optionsOf({}, { allowedHosts: ['gw.example'], allowedOrigins: ['https://app.example'] });
  rig = await startEdge(options, {
    mount: (_request, response, path) => {
      if (!path.startsWith('/api/v1')) return false;
      response.writeHead(200).end('mounted');
      return true;
    },
  });
});
afterAll(async () => await rig.stop());

/** One request for each kind of route; a good one is answered with the status given. */
const ROUTES: readonly (readonly [string, (headers: Record<string, string | undefined>) => string, number])[] = [
  ['modern POST', (headers) => modernPost('tools/list', {}, headers), 200],
  ['GET', (headers) => head('GET', { Host: '127.0.0.1', ...headers }), 405],
  ['DELETE', (headers) => head('DELETE', { Host: '127.0.0.1', ...headers }), 405],
  ['healthz', (headers) => head('GET', { Host: '127.0.0.1', ...headers }, '/healthz'), 200],
  ['readyz', (headers) => head('GET', { Host: '127.0.0.1', ...headers }, '/readyz'), 200],
  ['mounted', (headers) => head('GET', { Host: '127.0.0.1', ...headers }, '/api/v1/status'), 200],
  [
    'legacy SSE stream',
    (headers) => head('POST', { Host: '127.0.0.1', 'Content-Length': '0', ...headers }, '/sse'),
    405,
  ],
  ['legacy SSE messages', (headers) => post('{}', headers, '/messages/?session_id=x'), 404],
  ['unknown', (headers) => head('GET', { Host: '127.0.0.1', ...headers }, '/nothing'), 404],
];

describe.each(ROUTES)('Host and Origin on %s', (_name, request, fine) => {
  it.each([
    ['127.0.0.1', undefined],
    ['localhost', undefined],
    ['LOCALHOST:80', undefined],
    ['[::1]:8080', undefined],
    ['gw.example', undefined],
    ['gw.example', 'https://app.example'],
    ['localhost', 'OWN'],
  ])('accepts Host %s with Origin %s', async (host, origin) => {
    verifies('R1-62');
    const Origin = origin === 'OWN' ? `http://localhost:${rig.port}` : origin;
    expect((await rig.send(request({ Host: host, Origin }))).status).toBe(fine);
  });

  it.each([
    ['evil.example', undefined],
    ['evil.example', 'http://evil.example'],
    ['127.0.0.1', 'http://evil.example'],
    ['127.0.0.1', 'null'],
    ['127.0.0.1', ''],
    ['127.0.0.1', 'http://127.0.0.1:1'],
    ['127.0.0.1', 'https://app.example.evil.example'],
    ['127.0.0.1', 'https://app.example/'],
    ['localhost.evil.example', undefined],
    ['127.0.0.1.evil.example', undefined],
    ['127.0.0.2', undefined],
    ['localhost.', undefined],
    ['localhost:', undefined],
    ['localhost:99999', undefined],
    ['localhost:80:80', undefined],
    ['user@localhost', undefined],
    ['localhost/mcp', undefined],
    ['localhost\\evil', undefined],
    ['localhost#', undefined],
    ['localhost, evil.example', undefined],
    ['', undefined],
    ['[::1', undefined],
    ['%6cocalhost', undefined],
  ])('refuses Host %j with Origin %j', async (host, origin) => {
    const before = rig.mcp.calls.length;
    const got = await rig.send(request({ Host: host, Origin: origin }));
    expect(got.status).toBe(403);
    expect(got.headers.get('access-control-allow-origin')).toBeUndefined();
    expect(rig.mcp.calls.length).toBe(before);
  });
});

describe('a page that makes its own name resolve here', () => {
  const SSE = { Accept: 'text/event-stream' };
  /** Every way in, the second transport and the second spelling of it included. */
  const WAYS: readonly (readonly [string, (headers: Record<string, string>) => string])[] = [
    ['a modern POST', (headers) => modernPost('tools/call', { name: 'x' }, headers)],
    ['a legacy POST', (headers) => post(legacyBody('initialize'), headers)],
    ['the GET stream', (headers) => head('GET', { ...SSE, 'Mcp-Session-Id': 'x', ...headers })],
    ['a DELETE', (headers) => head('DELETE', { 'Mcp-Session-Id': 'x', ...headers })],
    ['/sse', (headers) => head('GET', { ...SSE, ...headers }, '/sse')],
    ['/mcp/sse', (headers) => head('GET', { ...SSE, ...headers }, '/mcp/sse')],
    ['/messages/', (headers) => post(legacyBody('initialize'), headers, '/messages/?session_id=x')],
    ['/team/messages/', (headers) => post(legacyBody('initialize'), headers, '/team/messages/?session_id=x')],
    ['a preflight', (headers) => head('OPTIONS', { 'Access-Control-Request-Method': 'POST', ...headers })],
    ['what is mounted', (headers) => post('{}', headers, '/api/v1/reload')],
    ['health', (headers) => head('GET', headers, '/healthz')],
    ['metadata', (headers) => head('GET', headers, '/.well-known/oauth-protected-resource/mcp')],
  ];

  it.each(
    WAYS,
  )('opens nothing by %s, without any setting (CVE-2026-34742, CVE-2025-66416, CVE-2025-64443)', async (_way, request) => {
    let mounted = 0;
    const bare = await startEdge(optionsOf(), {
      mount: (_request, response) => {
        mounted++;
        response.end();
        return true;
      },
    });
    for (const headers of [
      { Host: 'rebound.example', Origin: 'http://rebound.example' },
      { Host: `rebound.example:${bare.port}`, Origin: `http://rebound.example:${bare.port}` },
      { Host: `127.0.0.1:${bare.port}`, Origin: 'https://page.example' },
      { Host: `127.0.0.1:${bare.port}`, Origin: 'null' },
    ]) {
      const got = await bare.send(request(headers));
      expect(got.status).toBe(403);
      expect(got.headers.get('access-control-allow-origin')).toBeUndefined();
    }
    expect([bare.edge.view.streams, bare.edge.view.sessions, bare.mcp.calls.length, mounted]).toEqual([0, 0, 0, 0]);
    await bare.stop();
  });
});

describe('a path that needs no credential', () => {
  const HOSTS = [
    '/healthz',
    '/readyz',
    '/.well-known/oauth-protected-resource',
    '/.well-known/oauth-protected-resource/mcp',
  ];

  it.each(HOSTS)('%s lends its openness to no other by way of Host (Starlette CVE-2026-48710)', async (open) => {
    const proxied = await startEdge(optionsOf({}, { trustedProxies: ['127.0.0.1'] }));
    const before = proxied.mcp.calls.length;
    for (const host of [
      `127.0.0.1${open}`,
      `127.0.0.1${open}?`,
      `127.0.0.1${open}#`,
      `127.0.0.1${open}/..`,
      `127.0.0.1\\${open}`,
    ]) {
      for (const headers of [{ Host: host }, { Host: '127.0.0.1', 'X-Forwarded-Host': host }]) {
        const sent = { ...headers, Authorization: 'Bearer wrong' };
        expect((await proxied.send(modernPost('tools/call', { name: 'x' }, sent))).status, host).toBe(403);
      }
    }
    for (const target of [
      `${open}/../mcp`,
      `${open}/..%2fmcp`,
      `//mcp${open}`,
      `http://127.0.0.1${open}`,
      `/mcp;${open}`,
    ]) {
      const got = await proxied.send(
        modernPost('tools/call', { name: 'x' }, { Authorization: 'Bearer wrong' }, target),
      );
      expect([400, 404], target).toContain(got.status);
    }
    expect(proxied.mcp.calls.length).toBe(before);
    await proxied.stop();
  });
});

describe('a request target', () => {
  it.each([
    'http://127.0.0.1/mcp',
    'http://evil.example/mcp',
    '//evil.example/mcp',
    '/mcp//',
    '//mcp',
    '/./mcp',
    '/x/../mcp',
    '/mcp/..',
    '/mcp/.',
    '/x%2f..%2fmcp',
    '/x%2Fmcp',
    '/%2e%2e/mcp',
    '/x/%2E%2e/mcp',
    '/x%5cmcp',
    '/x\\mcp',
    '/mcp%00',
    '/mcp%0d%0aX:y',
    '/%252e%252e/mcp',
    '/mcp%',
    '/mcp%zz',
    '/mcp|x',
    '/mcp"',
    '*',
    'mcp',
  ])('like %s is refused', async (target) => {
    const before = rig.mcp.calls.length;
    expect((await rig.send(modernPost('tools/list', {}, {}, target))).status).toBe(400);
    expect(rig.mcp.calls.length).toBe(before);
  });

  it.each(['/mcp/', '/MCP', '/mcp;x', '/mcpx', '/mc%70'])('like %s is another path', async (target) => {
    expect((await rig.send(modernPost('tools/list', {}, {}, target))).status).toBe(404);
  });

  it('is routed without its query', async () => {
    expect((await rig.send(modernPost('tools/list', {}, {}, '/mcp?path=/team&x=//..'))).status).toBe(200);
  });
});

describe('a repeated header', () => {
  it.each([
    ['Origin', 'https://app.example'],
    ['Authorization', 'Bearer a'],
    ['Content-Type', 'application/json'],
    ['MCP-Protocol-Version', '2026-07-28'],
    ['Mcp-Method', 'tools/call'],
    ['Mcp-Name', 'add'],
    ['Mcp-Session-Id', 'x'],
    ['Last-Event-ID', '1-1'],
    ['Mcp-Param-Tenant', 'acme'],
  ])('%s is refused, also when both say the same or differ in case', async (name, value) => {
    for (const second of [name, name.toUpperCase(), name.toLowerCase()]) {
      const before = rig.mcp.calls.length;
      const first = modernPost('tools/call', { name: 'add' }, { [name]: value });
      const got = await rig.send(first.replace('\r\n\r\n', `\r\n${second}: ${value}\r\n\r\n`));
      expect(got.status, second).toBe(400);
      const code = /^mcp-(?!session)/i.test(name) ? -32020 : -32600;
      expect(JSON.parse(got.body).error.code, second).toBe(code);
      expect(rig.mcp.calls.length).toBe(before);
    }
  });

  it('Host or Content-Length never reaches an endpoint', async () => {
    const before = rig.mcp.calls.length;
    const two = modernPost('tools/list').replace('\r\n\r\n', '\r\nHost: evil.example\r\n\r\n');
    expect((await rig.send(two)).status).toBe(400);
    const lengths = modernPost('tools/list').replace('\r\n\r\n', '\r\nContent-Length: 5\r\n\r\n');
    expect((await rig.send(lengths)).status).toBe(400);
    expect(rig.mcp.calls.length).toBe(before);
  });

  it.each([
    [100, 400],
    [1000, 431],
    [2100, 431],
  ])('after %i other headers is not missed', async (count, status) => {
    const filler = Array.from({ length: count }, () => 'x:').join('\r\n');
    const sent = modernPost('tools/list', {}, { Authorization: 'Bearer a' });
    const got = await rig.send(sent.replace('\r\n\r\n', `\r\n${filler}\r\nAuthorization: Bearer b\r\n\r\n`));
    expect(got.status).toBe(status);
  });
});

describe('request smuggling', () => {
  const body = modernBody('tools/list');
  const common = [
    'Host: 127.0.0.1',
    'Content-Type: application/json',
    'Accept: application/json, text/event-stream',
    'MCP-Protocol-Version: 2026-07-28',
    'Mcp-Method: tools/list',
  ];
  const chunked = `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`;

  it.each([
    ['CL and TE', [`Content-Length: ${body.length}`, 'Transfer-Encoding: chunked'], chunked],
    ['TE and CL', ['Transfer-Encoding: chunked', `Content-Length: ${body.length}`], chunked],
    ['two TE', ['Transfer-Encoding: chunked', 'Transfer-Encoding: identity'], chunked],
    ['TE list', ['Transfer-Encoding: chunked, identity'], chunked],
    ['unknown TE', ['Transfer-Encoding: xchunked'], chunked],
    ['TE with a tab', ['Transfer-Encoding:\tchunked, chunked'], chunked],
    ['space before the colon', ['Transfer-Encoding : chunked'], chunked],
    ['signed length', [`Content-Length: +${body.length}`], body],
    ['hex length', [`Content-Length: 0x${body.length.toString(16)}`], body],
    ['length list', [`Content-Length: ${body.length}, ${body.length}`], body],
    ['negative length', ['Content-Length: -1'], body],
    ['folded header', [`Content-Length: ${body.length}`, 'X-A: b\r\n c'], body],
    ['bare CR', [`Content-Length: ${body.length}`, 'X-A: b\rX-B: c'], body],
    ['NUL', [`Content-Length: ${body.length}`, 'X-A: b\0c'], body],
    ['bad chunk size', ['Transfer-Encoding: chunked'], `zz\r\n${body}\r\n0\r\n\r\n`],
    ['chunk size with a sign', ['Transfer-Encoding: chunked'], `+${chunked}`],
    ['chunk without its end', ['Transfer-Encoding: chunked'], `${body.length.toString(16)}\r\n${body}X0\r\n\r\n`],
  ])('%s is refused and the connection closed', async (_name, headers, payload) => {
    const client = await rig.open();
    const before = rig.mcp.calls.length;
    const canary = modernPost('canary/method');
    client.write(`POST /mcp HTTP/1.1\r\n${[...common, ...headers].join('\r\n')}\r\n\r\n${payload}${canary}`);
    const text = await client.close();
    expect(text.startsWith('HTTP/1.1 4') || text === '').toBe(true);
    expect(rig.mcp.calls.slice(before).map((call) => call.message.method)).not.toContain('canary/method');
    expect(rig.mcp.calls.length - before).toBe(0);
  });

  it.each([
    ['bare LF', modernPost('tools/list').replaceAll('\r\n', '\n')],
    ['an unknown HTTP version', modernPost('tools/list').replace('HTTP/1.1', 'HTTP/9.9')],
    ['garbage', '\x16\x03\x01\x02garbage\r\n\r\n'],
    ['no Host', modernPost('tools/list', {}, { Host: undefined })],
    ['HTTP/1.0 without Host', modernPost('tools/list', {}, { Host: undefined }).replace('HTTP/1.1', 'HTTP/1.0')],
    ['CONNECT', head('CONNECT', { Host: '127.0.0.1' }, '127.0.0.1:80')],
  ])('%s never reaches an endpoint and leaves the listener alive', async (_name, text) => {
    const before = rig.mcp.calls.length;
    const client = await rig.open();
    client.write(text);
    client.socket.end();
    await client.close();
    expect(rig.mcp.calls.length).toBe(before);
    expect((await rig.send(modernPost('tools/list'))).status).toBe(200);
  });

  it('pipelined requests are answered one by one, in order', async () => {
    const client = await rig.open();
    client.write(modernPost('tools/list') + modernPost('prompts/list') + head('GET', { Host: 'evil.example' }));
    expect((await client.response()).status).toBe(200);
    expect((await client.response()).status).toBe(200);
    expect((await client.response()).status).toBe(403);
  });
});

describe('what Node would do by itself', () => {
  it.each([
    ['Connection: Upgrade', 'Upgrade: websocket'],
    ['Connection: Upgrade', 'Upgrade: h2c'],
  ])('%s, %s is an ordinary request, behind the same gate', async (...lines) => {
    const fine = head('GET', { Host: '127.0.0.1' }).replace('\r\n\r\n', `\r\n${lines.join('\r\n')}\r\n\r\n`);
    expect((await rig.send(fine)).status).toBe(405);
    expect((await rig.send(fine.replace('127.0.0.1', 'evil.example'))).status).toBe(403);
  });

  it('an unknown Expect is refused', async () => {
    expect((await rig.send(modernPost('tools/list', {}, { Expect: 'tea' }))).status).toBe(417);
  });

  it('a connection that went bad after good requests is told so, and closed', async () => {
    const client = await rig.open();
    client.write(modernPost('tools/list'));
    expect((await client.response()).status).toBe(200);
    client.write('garbage\r\n\r\n');
    expect((await client.response()).status).toBe(400);
    await client.close();
  });

  it('a bad request behind an answer that is under way only closes', async () => {
    rig.mcp.hold('tools/call');
    const next = rig.mcp.next('tools/call');
    const client = await rig.open();
    client.write(modernPost('tools/call', { name: 'x' }));
    (await next).reply.notify(notification('notifications/x'));
    await client.until((text) => text.includes('notifications/x'));
    client.write('garbage\r\n\r\n');
    expect((await client.close()).match(/HTTP\/1.1/g)).toHaveLength(1);
    rig.mcp.handlers.clear();
  });

  it('a flood of pipelined requests is cut off', async () => {
    rig.mcp.hold('tools/call');
    const before = rig.mcp.calls.length;
    const client = await rig.open();
    client.write(modernPost('tools/call', { name: 'x' }).repeat(500));
    await expect.poll(() => rig.mcp.calls.length - before).toBe(64);
    for (const call of rig.mcp.calls.slice(before)) answer(call, {});
    await client.close();
    expect(rig.mcp.calls.length - before).toBe(64);
    rig.mcp.handlers.clear();
  });

  it('a header value of an answer that would split it ends the answer, not the process', async () => {
    rig.mcp.handlers.set('tools/call', (call) =>
      call.reply.respond(Buffer.from('{}'), { status: 200, headers: [['x-a', 'b\r\nset-cookie: c']] }),
    );
    const client = await rig.open();
    client.write(modernPost('tools/call', { name: 'x' }));
    expect(await client.close()).toBe('');
    rig.mcp.handlers.clear();
  });
});

describe('reconfigure', () => {
  it('takes new allow-lists and caps for the next request', async () => {
    const other = await startEdge();
    const request = modernPost('tools/list', { a: 'x'.repeat(2000) }, { Host: 'new.example' });
    expect((await other.send(request)).status).toBe(403);
    other.edge.reconfigure(optionsOf({}, { allowedHosts: ['new.example'] }));
    expect((await other.send(request)).status).toBe(200);
    other.edge.reconfigure(optionsOf({ body: 1000 }, { allowedHosts: ['new.example'] }));
    expect((await other.send(request)).status).toBe(413);
    other.edge.reconfigure(optionsOf());
    expect((await other.send(request)).status).toBe(403);
    await other.stop();
  });
});

describe('health paths', () => {
  it('are open and have no body', async () => {
    for (const path of ['/healthz', '/readyz']) {
      const got = await rig.send(head('GET', { Host: '127.0.0.1', Authorization: 'Bearer wrong' }, path));
      expect([got.status, got.body]).toEqual([200, '']);
      expect((await rig.send(head('DELETE', { Host: '127.0.0.1' }, path))).status).toBe(405);
    }
  });

  it('say 503 before the gateway is ready, while the process is alive', async () => {
    const starting = await startEdge(optionsOf(), { ready: () => false });
    expect((await starting.send(head('GET', { Host: '127.0.0.1' }, '/readyz'))).status).toBe(503);
    expect((await starting.send(head('GET', { Host: '127.0.0.1' }, '/healthz'))).status).toBe(200);
    await starting.stop();
  });
});

describe('CORS', () => {
  it('names the headers a page of an allowed origin may send, its tool parameters included', async () => {
    const got = await rig.send(
      head('OPTIONS', {
        Host: 'gw.example',
        Origin: 'https://app.example',
        'Access-Control-Request-Method': 'POST',
        'Access-Control-Request-Headers': 'mcp-method, mcp-param-tenant, x-evil, mcp-param-a b',
      }),
    );
    expect(got.status).toBe(204);
    expect(got.headers.get('access-control-allow-origin')).toBe('https://app.example');
    const allowed = got.headers.get('access-control-allow-headers')?.split(', ');
    expect(allowed).toEqual(
      expect.arrayContaining(['mcp-method', 'mcp-name', 'mcp-protocol-version', 'authorization', 'mcp-param-tenant']),
    );
    expect(allowed).not.toContain('x-evil');
    expect(allowed).not.toContain('*');
  });

  it('lets the page read the answer, and no other page', async () => {
    const got = await rig.send(modernPost('tools/list', {}, { Host: 'gw.example', Origin: 'https://app.example' }));
    expect(got.headers.get('access-control-allow-origin')).toBe('https://app.example');
    expect(got.headers.get('vary')).toBe('Origin');
    const none = await rig.send(modernPost('tools/list'));
    expect(none.headers.has('access-control-allow-origin')).toBe(false);
  });
});

describe('an answer that is not MCP', () => {
  const SECURITY: Readonly<Record<string, string>> = {
    'x-content-type-options': 'nosniff',
    'content-security-policy': "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    'x-frame-options': 'DENY',
    'referrer-policy': 'no-referrer',
  };

  it.each([
    ['/healthz', {}, 200],
    ['/readyz', {}, 200],
    ['/api/v1/x', {}, 200],
    ['/nothing', {}, 404],
    ['/mcp', { Host: 'evil.example' }, 403],
    ['/x/../mcp', {}, 400],
  ])('at %s has the security headers', async (path, headers, status) => {
    verifies('R2-21');
    const got = await rig.send(head('GET', { Host: '127.0.0.1', ...headers }, path));
    expect(got.status).toBe(status);
    for (const [name, value] of Object.entries(SECURITY)) expect(got.headers.get(name), name).toBe(value);
    // Over plain HTTP a browser ignores it, and a proxy in between might not.
    expect(got.headers.has('strict-transport-security')).toBe(false);
  });

  it('asks for TLS from now on where the client came by TLS', async () => {
    const proxied = await startEdge(optionsOf({}, { trustedProxies: ['127.0.0.1'] }));
    const got = await proxied.send(head('GET', { Host: '127.0.0.1', 'X-Forwarded-Proto': 'https' }, '/healthz'));
    expect(got.headers.get('strict-transport-security')).toBe('max-age=31536000');
    await proxied.stop();
  });

  it('of a mounted handler may set a policy of its own, and pages of allowed origins may read it', async () => {
    const own = await startEdge(optionsOf({}, { allowedOrigins: ['https://app.example'] }), {
      mount: (_request, response) => {
        response.writeHead(200, { 'Content-Security-Policy': "default-src 'self'" }).end('page');
        return true;
      },
    });
    const page = await own.send(head('GET', { Host: '127.0.0.1', Origin: 'https://app.example' }, '/page'));
    expect(page.headers.get('content-security-policy')).toBe("default-src 'self'");
    expect(page.headers.get('x-content-type-options')).toBe('nosniff');
    expect(page.headers.get('access-control-allow-origin')).toBe('https://app.example');
    const preflight = { Host: '127.0.0.1', Origin: 'https://app.example', 'Access-Control-Request-Method': 'PUT' };
    const asked = await own.send(head('OPTIONS', preflight, '/page'));
    expect([asked.status, asked.headers.get('access-control-allow-methods')]).toEqual([
      204,
      'GET, POST, PUT, PATCH, DELETE, OPTIONS',
    ]);
    expect(asked.headers.has('access-control-allow-credentials')).toBe(false);
    await own.stop();
  });

  it('takes what `cors` adds, at the next request', async () => {
    verifies('R2-21');
    const own = await startEdge(optionsOf({}, { allowedOrigins: ['https://app.example'] }));
    const cors = { allowedHeaders: ['traceparent'], exposedHeaders: ['x-request-id'], maxAge: 60_000 };
    own.edge.reconfigure(optionsOf({}, { allowedOrigins: ['https://app.example'], cors }));
    const Origin = 'https://app.example';
    const asked = await own.send(head('OPTIONS', { Host: '127.0.0.1', Origin }));
    expect(asked.headers.get('access-control-allow-headers')).toContain('traceparent');
    expect(asked.headers.get('access-control-max-age')).toBe('60');
    const got = await own.send(modernPost('tools/list', {}, { Origin }));
    expect(got.headers.get('access-control-expose-headers')).toMatch(/Mcp-Session-Id, .*, x-request-id$/);
    await own.stop();
  });
});

describe('paths', () => {
  it('that are no endpoint go to what is mounted, else 404', async () => {
    expect((await rig.send(head('GET', { Host: '127.0.0.1' }, '/api/v1/x'))).body).toContain('mounted');
    expect((await rig.send(head('GET', { Host: '127.0.0.1' }, '/console'))).status).toBe(404);
  });

  it('of endpoints are exact', async () => {
    const before = rig.team.calls.length;
    expect((await rig.send(modernPost('tools/list', {}, {}, '/team'))).status).toBe(200);
    expect(rig.team.calls.length).toBe(before + 1);
    expect(rig.team).toBeInstanceOf(FakeEndpoint);
  });
});
