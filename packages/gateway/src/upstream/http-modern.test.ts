import { verifies } from '@tollgate/testkit/verifies';
import { afterEach, describe, expect, it } from 'vitest';
import { TollgateError } from '../core/errors.ts';
import { Lifetime } from '../core/lifetime.ts';
import { DEFAULT_SCAN_CAPS } from '../protocol/json/caps.ts';
import { scan } from '../protocol/json/scan.ts';
import { Field } from '../protocol/message.ts';
import {
  type ClientSettings,
  chunk,
  event,
  failureOf,
  httpClient,
  jsonAnswer,
  LAST_CHUNK,
  MODERN_META,
  outbound,
  type RawHandler,
  type RawServer,
  rawServer,
  resultText,
  run,
  SSE_HEAD,
  toolCall,
  until,
} from './fixtures/raw-http.ts';
import type { HttpClient, TokenProvider } from './http-client.ts';
import { createModernHttp, type HttpModernConnection } from './http-modern.ts';

const INFO = { version: '2026-07-28', capabilities: {}, serverInfo: undefined, instructions: undefined };
const open: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close();
});

async function start(
  handler: RawHandler,
  settings: ClientSettings = {},
): Promise<{ server: RawServer; client: HttpClient; connection: HttpModernConnection }> {
  const server = await rawServer(handler);
  const client = httpClient(server.url, settings);
  open.push(
    () => server.close(),
    () => client.close(),
  );
  return { server, client, connection: createModernHttp(client).connection(INFO) };
}

describe('what is sent', () => {
  it('carries ids and tokens of its own, headers written from the body, and nothing else', async () => {
    verifies('R1-28');
    const { server, connection } = await start((request, socket) => socket.write(jsonAnswer(resultText(request.id))), {
      headers: { 'X-Api-Key': 's3cret' },
    });
    const outcome = await run(connection, {
      ...outbound(toolCall('advertised')),
      target: '"real name"',
      headerName: 'real näme',
      paramHeaders: [['mcp-param-tenant', 'acme']],
    });
    expect(outcome.responses).toHaveLength(1);
    const [request] = server.requests;
    expect(request?.path).toBe('/mcp?k=v');
    expect(request?.body).toBe(
      `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"real name","arguments":{"a":1},${MODERN_META.replace('"mine"', '1')}}}`,
    );
    expect(request?.headers).toEqual({
      host: server.url.host,
      connection: 'keep-alive',
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
      'mcp-protocol-version': '2026-07-28',
      'mcp-method': 'tools/call',
      'mcp-name': `=?base64?${Buffer.from('real näme').toString('base64')}?=`,
      'mcp-param-tenant': 'acme',
      'x-api-key': 's3cret',
      'content-length': String(Buffer.byteLength(request?.body ?? '')),
    });
  });

  it('leaves ids unique over many calls and gives each caller its own answer', async () => {
    verifies('R1-23');
    const { server, connection } = await start(
      (request, socket) => {
        const name = /"name":"([^"]*)"/.exec(request.body)?.[1];
        setTimeout(() => socket.write(jsonAnswer(resultText(request.id, name))), Math.random() * 4);
      },
      { poolMax: 16 },
    );
    const names = Array.from({ length: 400 }, (_, i) => `tool-${i}`);
    const outcomes = await Promise.all(names.map((name) => run(connection, outbound(toolCall(name, '0')))));
    for (const [i, outcome] of outcomes.entries()) {
      expect(outcome.responses.map((message) => message.bytes.includes(`"tool-${i}"`))).toEqual([true]);
    }
    expect(new Set(server.requests.map((request) => request.id)).size).toBe(400);
    expect(connection.pending).toBe(0);
  });

  it('refuses operator headers that the gateway writes itself', () => {
    const url = new URL('http://127.0.0.1:1/');
    for (const name of ['Mcp-Session-Id', 'Content-Type', 'transfer-encoding', 'bad name']) {
      expect(() => httpClient(url, { headers: { [name]: 'x' } })).toThrow(/servers\.fake\.headers/);
    }
    expect(() => httpClient(url, { headers: { 'x-a': 'a\r\nb: c' } })).toThrow(/cannot be sent/);
  });
});

describe('event streams', () => {
  it('passes on progress under the caller’s token and log messages, then the answer', async () => {
    const { connection } = await start((request, socket) => {
      socket.write(SSE_HEAD);
      socket.write(chunk(': hello\n\n'));
      socket.write(
        event(
          `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":${request.id},"progress":1}}`,
        ),
      );
      socket.write(
        event('{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":99,"progress":1}}'),
      );
      socket.write(
        event(
          '{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"d"}}',
          'event: message\n',
        ),
      );
      socket.write(event('{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}'));
      socket.write(event('ignored', 'event: other\n'));
      socket.write(event(resultText(request.id)));
      socket.write(event(resultText(request.id, 'twice')));
      socket.write(LAST_CHUNK);
    });
    const outcome = await run(connection);
    expect(outcome.notifications.map((message) => message.method)).toEqual([
      'notifications/progress',
      'notifications/message',
    ]);
    expect(outcome.notifications[0]?.raw(Field.progressToken)).toBe('"mine"');
    expect(outcome.responses.map((message) => message.bytes.toString())).toEqual([resultText('1')]);
    expect(connection.dropped).toBe(3);
  });

  it('reads a stream that comes byte by byte', async () => {
    const { connection } = await start((request, socket) => {
      socket.setNoDelay(true);
      const text = `event: message\r\ndata: ${resultText(request.id, 'ä€')}\r\n\r\n`;
      socket.write(SSE_HEAD);
      for (const byte of Buffer.from(text)) socket.write(chunk(Buffer.from([byte])));
      socket.write(LAST_CHUNK);
    });
    const outcome = await run(connection);
    expect(outcome.responses[0]?.bytes.toString()).toBe(resultText('1', 'ä€'));
  });

  it('keeps the connection when the stream ends after the answer, and cuts one that does not end', async () => {
    let endless = false;
    const { server, connection } = await start(
      (request, socket) => {
        socket.write(SSE_HEAD);
        socket.write(event(resultText(request.id)));
        if (!endless) socket.write(LAST_CHUNK);
      },
      { poolMax: 1 },
    );
    for (let i = 0; i < 5; i++) expect((await run(connection)).responses).toHaveLength(1);
    expect(server.connections()).toBe(1);
    endless = true;
    expect((await run(connection)).responses).toHaveLength(1);
    await until(() => server.open() === 0);
  });

  it('keeps a listen stream open beyond the idle timeout, apart from the pool, and restores its subscription id', async () => {
    let say = (): void => {};
    const { server, client, connection } = await start(
      (request, socket) => {
        if (request.body.includes('"stalls"')) {
          socket.write(`${SSE_HEAD}${chunk(': here\n\n').toString()}`);
          return;
        }
        if (!request.body.includes('subscriptions/listen')) {
          socket.write(jsonAnswer(resultText(request.id)));
          return;
        }
        const tag = (id: string): string => `"_meta":{"io.modelcontextprotocol/subscriptionId":${id}}`;
        socket.write(SSE_HEAD);
        socket.write(
          event(
            `{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"notifications":{},${tag(request.id)}}}`,
          ),
        );
        socket.write(event(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{${tag('77')}}}`));
        say = () => {
          socket.write(
            event(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{${tag(request.id)}}}`),
          );
          socket.write(
            event(`{"jsonrpc":"2.0","id":${request.id},"result":{"resultType":"complete",${tag(request.id)}}}`),
          );
          socket.end(LAST_CHUNK);
        };
      },
      { poolMax: 1, timeout: { idle: 100 } },
    );
    const text = `{"jsonrpc":"2.0","id":"sub","method":"subscriptions/listen","params":{"notifications":{"toolsListChanged":true},${MODERN_META}}}`;
    const listening = run(connection, outbound(scan(Buffer.from(text), DEFAULT_SCAN_CAPS)));
    await until(() => server.requests.length === 1);
    expect((await run(connection)).responses).toHaveLength(1);
    expect(client.stats.waiting).toBe(0);
    // As long as it takes to be too long for a call that began later.
    expect(failureOf(await run(connection, outbound(toolCall('stalls')))).message).toContain('timeout.idle');
    say();
    const outcome = await listening;
    expect(outcome.notifications.map((message) => [message.method, message.raw(Field.subscriptionId)])).toEqual([
      ['notifications/subscriptions/acknowledged', '"sub"'],
      ['notifications/tools/list_changed', '"sub"'],
    ]);
    expect(outcome.responses[0]?.raw(Field.subscriptionId)).toBe('"sub"');
  });
});

describe('answers that are errors', () => {
  const relayed: readonly [string, number, (id: string) => string, string][] = [
    ['with our id', 400, (id) => `{"jsonrpc":"2.0","id":${id},"error":{"code":-32020,"message":"m"}}`, '-32020'],
    ['with id null', 404, () => '{"jsonrpc":"2.0","id":null,"error":{"code":-32601,"message":"m"}}', '-32601'],
    [
      'without an id',
      500,
      () => '{"jsonrpc":"2.0","error":{"code":-32603,"message":"m","data":{"n":9007199254740993}}}',
      '-32603',
    ],
  ];
  it.each(relayed)('relays a JSON-RPC error %s', async (_name, status, body, code) => {
    const { connection } = await start((request, socket) => socket.write(jsonAnswer(body(request.id), status)));
    const [message] = (await run(connection)).responses;
    expect(message?.kind).toBe('error');
    expect(message?.raw(Field.errorCode)).toBe(code);
    expect(message?.raw(Field.id)).toBe('1');
    if (status === 500) expect(message?.bytes.includes('9007199254740993')).toBe(true);
  });

  const statuses: readonly [number, string, string, 'no' | 'unknown', RegExp][] = [
    [202, '', 'server_protocol_error', 'unknown', /HTTP 202/],
    [204, '', 'server_protocol_error', 'unknown', /HTTP 204/],
    [
      302,
      'location: http://evil.example/mcp?token=abc',
      'server_protocol_error',
      'unknown',
      /redirects to "http:\/\/evil\.example\/mcp"/,
    ],
    [401, 'www-authenticate: Bearer', 'server_login_required', 'no', /auth: oauth/],
    [403, 'www-authenticate: Bearer error="insufficient_scope", scope="a b"', 'server_login_required', 'no', /scope/],
    [403, '', 'server_unavailable', 'no', /HTTP 403/],
    [404, '', 'server_unavailable', 'no', /HTTP 404/],
    [429, 'retry-after: 7', 'server_busy', 'no', /HTTP 429/],
    [500, '', 'server_protocol_error', 'unknown', /HTTP 500/],
    [503, 'retry-after: 7', 'server_unavailable', 'no', /HTTP 503/],
  ];
  it.each(statuses)('HTTP %i %s', async (status, headers, code, executed, text) => {
    const lines = headers === '' ? '' : `${headers}\r\n`;
    const { connection } = await start((_request, socket) =>
      socket.write(`HTTP/1.1 ${status} X\r\n${lines}content-length: 0\r\n\r\n`),
    );
    const failure = failureOf(await run(connection));
    expect([failure.code, failure.executed]).toEqual([code, executed]);
    expect(failure.message).toMatch(text);
    expect(failure.message).not.toContain('token=');
    if (headers.startsWith('retry-after')) expect(failure.retryAfterSeconds).toBe(7);
  });
});

describe('a server that misbehaves', () => {
  const ok = (id: string): string => resultText(id);
  const bad: readonly [string, (id: string) => Buffer | string, string][] = [
    ['garbage', () => jsonAnswer('<html>'), 'server_protocol_error'],
    ['an empty object', () => jsonAnswer('{}'), 'server_protocol_error'],
    ['another id', () => jsonAnswer(ok('2')), 'server_protocol_error'],
    ['our id as a string', (id) => jsonAnswer(ok(`"${id}"`)), 'server_protocol_error'],
    ['no id', (id) => jsonAnswer(ok(id).replace(`"id":${id},`, '')), 'server_protocol_error'],
    ['a request', (id) => jsonAnswer(`{"jsonrpc":"2.0","id":${id},"method":"ping"}`), 'server_protocol_error'],
    ['a notification', () => jsonAnswer('{"jsonrpc":"2.0","method":"notifications/message"}'), 'server_protocol_error'],
    ['two results', (id) => jsonAnswer(ok(id).replace('}}', '},"result":{}}')), 'server_protocol_error'],
    ['two messages', (id) => jsonAnswer(ok(id) + ok(id)), 'server_protocol_error'],
    ['a batch', (id) => jsonAnswer(`[${ok(id)}]`), 'server_protocol_error'],
    ['invalid UTF-8', (id) => jsonAnswer(Buffer.from(resultText(id, '\xff'), 'latin1')), 'server_protocol_error'],
    [
      '20,000 levels',
      (id) => jsonAnswer(`{"jsonrpc":"2.0","id":${id},"result":{"a":${'['.repeat(20_000)}${']'.repeat(20_000)}}}`),
      'server_protocol_error',
    ],
    [
      'gzip',
      (id) =>
        `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\ncontent-length: 60\r\n\r\n${ok(id)}`,
      'server_protocol_error',
    ],
    [
      'plain text',
      (id) => `HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: ${ok(id).length}\r\n\r\n${ok(id)}`,
      'server_protocol_error',
    ],
    ['no HTTP', () => 'SSH-2.0-OpenSSH_9.6\r\n', 'server_protocol_error'],
    [
      'a huge Content-Length',
      () => 'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 999999999\r\n\r\n{',
      'server_response_too_large',
    ],
    [
      'two Content-Lengths',
      (id) =>
        `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n${ok(id)}`,
      'server_protocol_error',
    ],
    ['100 KB of headers', () => `HTTP/1.1 200 OK\r\n${'x-a: y\r\n'.repeat(13_000)}\r\n`, 'server_protocol_error'],
    ['a garbage event', () => Buffer.concat([Buffer.from(SSE_HEAD), event('{{{')]), 'server_protocol_error'],
    [
      'a request as event',
      () => Buffer.concat([Buffer.from(SSE_HEAD), event('{"jsonrpc":"2.0","id":7,"method":"roots/list"}')]),
      'server_protocol_error',
    ],
    ['another id as event', () => Buffer.concat([Buffer.from(SSE_HEAD), event(ok('2'))]), 'server_protocol_error'],
    ['an ended stream', () => Buffer.concat([Buffer.from(SSE_HEAD), Buffer.from(LAST_CHUNK)]), 'server_disconnected'],
  ];
  it.each(bad)('%s: one clear error for the one caller', async (_name, bytes, code) => {
    const { connection } = await start((request, socket) => {
      // The neighbour on the next connection is served well.
      socket.write(request.body.includes('"name":"good"') ? jsonAnswer(ok(request.id)) : bytes(request.id));
    });
    const [outcome, neighbour] = await Promise.all([run(connection), run(connection, outbound(toolCall('good')))]);
    const failure = failureOf(outcome);
    expect([failure.code, failure.executed]).toEqual([code, 'unknown']);
    expect(failure.message).toMatch(/^fake: /);
    expect(neighbour.responses).toHaveLength(1);
    expect(connection.pending).toBe(0);
  });

  it.each(['body', 'event'])('an endless %s is cut at the cap', async (kind) => {
    const { server, connection } = await start((_request, socket) => {
      const head = kind === 'event' ? SSE_HEAD : SSE_HEAD.replace('text/event-stream', 'application/json');
      socket.write(head + chunk(kind === 'event' ? 'data: {"a":"' : '{"a":"').toString());
      const more = (): void => {
        if (!socket.destroyed) socket.write(chunk('x'.repeat(10_000)), () => setImmediate(more));
      };
      more();
    });
    expect(failureOf(await run(connection)).code).toBe('server_response_too_large');
    await until(() => server.open() === 0);
  });

  it('many tiny chunks cost no more than their bytes', async () => {
    const text = 'y'.repeat(20_000);
    const { connection } = await start((request, socket) => {
      socket.write(SSE_HEAD.replace('text/event-stream', 'application/json'));
      for (const byte of Buffer.from(resultText(request.id, text))) socket.write(chunk(Buffer.from([byte])));
      socket.write(LAST_CHUNK);
    });
    expect((await run(connection)).responses[0]?.bytes.toString()).toBe(resultText('1', text));
  });

  it.each([
    ['few', [20_000, 1, 30_000]],
    ['few, then tiny', [5000, ...new Array<number>(2000).fill(1), 9000]],
    ['tiny, then large', [...new Array<number>(50).fill(1), 30_000, 30_000, 7]],
    ['large', new Array<number>(12).fill(5000)],
  ])('%s chunks give the whole answer', async (_what, sizes) => {
    const text = Array.from({ length: 12_000 }, (_, i) => String(i % 100_000)).join(' ');
    const { connection } = await start((request, socket) => {
      const body = Buffer.from(resultText(request.id, text));
      socket.write(SSE_HEAD.replace('text/event-stream', 'application/json'));
      let at = 0;
      for (const size of [...sizes, body.length]) {
        if (at < body.length) socket.write(chunk(body.subarray(at, at + size)));
        at += size;
      }
      socket.write(LAST_CHUNK);
    });
    expect((await run(connection)).responses[0]?.bytes.toString()).toBe(resultText('1', text));
  });

  it.each(['FIN', 'RST'])('%s at any byte of the answer is an error, never a part of an answer', async (how) => {
    const json = jsonAnswer(resultText('1'));
    const stream = Buffer.concat([Buffer.from(SSE_HEAD), event(resultText('1')), Buffer.from(LAST_CHUNK)]);
    const ends = new Map<string, number>();
    for (const full of [json, stream]) {
      const complete = full === json ? full.length : full.length - LAST_CHUNK.length - 2;
      for (let at = 0; at < full.length; at += 3) {
        const server = await rawServer((_request, socket) => {
          socket.write(full.subarray(0, at), () => (how === 'FIN' ? socket.end() : socket.resetAndDestroy()));
        });
        const client = httpClient(server.url);
        const outcome = await run(createModernHttp(client).connection(INFO));
        if (outcome.responses.length > 0) expect(at).toBeGreaterThanOrEqual(complete);
        else {
          const failure = failureOf(outcome);
          expect(failure.executed).toBe('unknown');
          ends.set(failure.code, (ends.get(failure.code) ?? 0) + 1);
        }
        await client.close();
        await server.close();
      }
    }
    expect(
      [...ends.keys()].filter((code) => code !== 'server_disconnected' && code !== 'server_protocol_error'),
    ).toEqual([]);
  });

  it('a handler that throws fails alone', async () => {
    const { connection } = await start((request, socket) => socket.write(jsonAnswer(resultText(request.id))));
    const failures: TollgateError[] = [];
    connection.request(outbound(toolCall()), {
      onNotification: () => {},
      onServerRequest: () => {},
      onResponse: () => {
        throw new Error('bug');
      },
      onFailure: (error) => failures.push(error),
    });
    expect((await run(connection)).responses).toHaveLength(1);
    expect(connection.pending).toBe(0);
  });
});

describe('timeouts', () => {
  it('connect, first byte and idle fire separately and say which it was', async () => {
    verifies('R1-33', 'R1-25');
    const server = await rawServer((request, socket) => {
      if (request.body.includes('"stalls"')) socket.write(`${SSE_HEAD}${chunk(': here\n\n').toString()}`);
    });
    open.push(() => server.close());
    // Only the one in question is short, or a machine that waits for its turn would be told of another.
    const failing = async (url: URL, short: object, call?: Parameters<typeof run>[1]) => {
      const client = httpClient(url, { timeout: { connect: 60_000, firstByte: 60_000, idle: 60_000, ...short } });
      open.push(() => client.close());
      return failureOf(await run(createModernHttp(client).connection(INFO), call));
    };
    const [connect, firstByte, idle] = await Promise.all([
      failing(new URL(server.url.href.replace('http:', 'https:')), { connect: 150 }),
      failing(server.url, { firstByte: 160 }),
      failing(server.url, { idle: 170 }, outbound(toolCall('stalls'))),
    ]);
    expect([connect.code, connect.executed, connect.message]).toEqual([
      'server_unavailable',
      'no',
      'fake: no connection within 150 ms (timeout.connect)',
    ]);
    expect([firstByte.code, firstByte.executed, firstByte.message]).toEqual([
      'deadline_exceeded',
      'unknown',
      'fake: sent, no answer began within 160 ms (timeout.firstByte)',
    ]);
    expect([idle.code, idle.executed, idle.message]).toEqual([
      'deadline_exceeded',
      'unknown',
      'fake: the answer stalled for 170 ms (timeout.idle)',
    ]);
  });

  it('a refused connection is “not run”', async () => {
    const server = await rawServer(() => {});
    await server.close();
    const client = httpClient(server.url);
    open.push(() => client.close());
    const failure = failureOf(await run(createModernHttp(client).connection(INFO)));
    expect([failure.code, failure.executed]).toEqual(['server_unavailable', 'no']);
    expect(failure.message).toContain('connection refused');
  });

  it('the deadline of the call ends a drip of bytes that no other timeout sees, and tells the server', async () => {
    verifies('R1-33');
    const { server, connection } = await start((_request, socket) => {
      socket.write(SSE_HEAD);
      const drip = setInterval(() => socket.write(chunk(':')), 5);
      socket.on('close', () => clearInterval(drip));
    });
    const lifetime = new Lifetime();
    lifetime.deadline(60, () => new TollgateError('deadline_exceeded', 'too late'));
    const failure = failureOf(await run(connection, outbound(toolCall(), lifetime)));
    expect([failure.code, failure.executed]).toEqual(['deadline_exceeded', 'unknown']);
    await until(() => server.open() === 0);
  });
});

describe('the pool', () => {
  it('reuses idle connections, keeps to its limit and drops dead ones', async () => {
    verifies('R1-23', 'R1-24', 'R1-25');
    let most = 0;
    let active = 0;
    const { server, client, connection } = await start(
      (request, socket) => {
        most = Math.max(most, ++active);
        setTimeout(() => {
          active--;
          socket.write(jsonAnswer(resultText(request.id)));
          if (request.body.includes('"last"')) socket.end();
        }, 2);
      },
      { poolMax: 3 },
    );
    for (let i = 0; i < 20; i++) await run(connection);
    // A connection is free again one turn of the loop after its answer, so a second one may have been opened.
    expect(server.connections()).toBeLessThanOrEqual(2);
    const running = Promise.all(Array.from({ length: 30 }, () => run(connection)));
    await until(() => client.stats.running === 3);
    expect(client.stats.waiting).toBeGreaterThan(0);
    const outcomes = await running;
    expect(outcomes.every((outcome) => outcome.responses.length === 1)).toBe(true);
    expect(most).toBe(3);
    expect(server.connections()).toBe(3);
    expect(client.stats).toMatchObject({ running: 0, waiting: 0, connected: 3 });
    await Promise.all(['last', 'last', 'last'].map((name) => run(connection, outbound(toolCall(name)))));
    await until(() => client.stats.connected === 0);
    expect((await run(connection)).responses).toHaveLength(1);
    expect(server.connections()).toBe(4);
  });

  it('a call that ends while it waits for a connection is never sent and costs no connection', async () => {
    let release = (): void => {};
    const { server, client, connection } = await start(
      (request, socket) => {
        release = () => socket.write(jsonAnswer(resultText(request.id)));
        if (request.body.includes('"next"')) release();
      },
      { poolMax: 1 },
    );
    const first = run(connection);
    await until(() => server.requests.length === 1);
    const lifetime = new Lifetime();
    const second = run(connection, outbound(toolCall('never'), lifetime));
    const third = run(connection, outbound(toolCall('next')));
    lifetime.end(new TollgateError('cancelled', 'gone'));
    const failure = failureOf(await second);
    expect([failure.code, failure.executed]).toEqual(['cancelled', 'no']);
    expect(client.stats.waiting).toBe(2);
    release();
    expect((await first).responses).toHaveLength(1);
    expect((await third).responses).toHaveLength(1);
    expect(server.requests.map((request) => request.body.includes('never'))).toEqual([false, false]);
    expect(server.connections()).toBe(1);
    expect(client.stats.waiting).toBe(0);
    expect(connection.pending).toBe(0);
  });

  it('a cancelled call closes its stream and fails with the reason', async () => {
    const { server, connection } = await start((_request, socket) => socket.write(SSE_HEAD));
    const lifetime = new Lifetime();
    const outcome = run(connection, outbound(toolCall(), lifetime));
    await until(() => server.requests.length === 1);
    lifetime.end(new TollgateError('cancelled', 'gone'));
    const failure = failureOf(await outcome);
    expect([failure.code, failure.executed]).toEqual(['cancelled', 'unknown']);
    await until(() => server.open() === 0);
  });

  it('refuses at once when too many wait already', async () => {
    const { connection } = await start(() => {}, { poolMax: 1 });
    const lifetime = new Lifetime();
    const request = outbound(toolCall(), lifetime);
    const waiting = Array.from({ length: 10_001 }, () => run(connection, request));
    const failure = failureOf(await run(connection, request));
    expect([failure.code, failure.executed]).toEqual(['server_busy', 'no']);
    lifetime.end(new TollgateError('cancelled', 'gone'));
    const ends = (await Promise.all(waiting)).map((outcome) => failureOf(outcome).executed);
    expect(ends.filter((executed) => executed === 'unknown')).toHaveLength(1);
    expect(connection.pending).toBe(0);
  });

  it('a closed client refuses at once', async () => {
    const { client, connection } = await start(() => {});
    await client.close();
    expect(failureOf(await run(connection)).code).toBe('server_unavailable');
  });
});

describe('sign-in', () => {
  const missing = (): TollgateError => new TollgateError('server_login_required', 'fake: run `tollgate login fake`');
  function provider(tokens: string[]): TokenProvider & { renewals: (string | undefined)[]; widened: string[] } {
    const renewals: (string | undefined)[] = [];
    const widened: string[] = [];
    return {
      renewals,
      widened,
      refused: missing,
      widen: (scope, rejected) => {
        widened.push(`${scope} for ${rejected}`);
        return tokens.length > 1 ? Promise.resolve(tokens.splice(0, 1) && tokens[0]!) : Promise.reject(missing());
      },
      current: () => tokens[0]!,
      renew: (rejected) => {
        renewals.push(rejected);
        tokens.shift();
        const [token] = tokens;
        return token === undefined ? Promise.reject(missing()) : Promise.resolve(token);
      },
    };
  }
  const guard: RawHandler = (request, socket) =>
    socket.write(
      request.headers['authorization'] === 'Bearer good'
        ? jsonAnswer(resultText(request.id))
        : 'HTTP/1.1 401 X\r\nwww-authenticate: Bearer\r\ncontent-length: 0\r\n\r\n',
    );

  it('sends the token, and after a 401 the request once more with a fresh one', async () => {
    const tokens = provider(['old', 'good']);
    const { server, connection } = await start(guard, { tokens });
    expect((await run(connection)).responses).toHaveLength(1);
    expect((await run(connection)).responses).toHaveLength(1);
    expect(tokens.renewals).toEqual(['old']);
    expect(server.requests).toHaveLength(3);
  });

  it('sends the request again with more scopes after a 403, twice at most', async () => {
    const tokens = provider(['one', 'two', 'three', 'four']);
    const { server, connection } = await start(
      (_request, socket) =>
        socket.write(
          'HTTP/1.1 403 X\r\nwww-authenticate: Bearer error="insufficient_scope", scope="notes:write"\r\ncontent-length: 0\r\n\r\n',
        ),
      { tokens },
    );
    expect(failureOf(await run(connection))).toMatchObject({ code: 'server_login_required', executed: 'no' });
    expect(tokens.widened).toEqual(['notes:write for one', 'notes:write for two']);
    expect(server.requests.map(({ headers }) => headers['authorization'])).toEqual([
      'Bearer one',
      'Bearer two',
      'Bearer three',
    ]);
  });

  it('gives up after the second 401, and names the command when there is no token', async () => {
    const { server, connection } = await start(guard, { tokens: provider(['old', 'older', 'oldest']) });
    const failure = failureOf(await run(connection));
    expect(failure.code).toBe('server_login_required');
    expect(failure.message).toContain('`tollgate login fake`');
    expect(server.requests).toHaveLength(2);
    const other = await start(guard, { tokens: provider(['old']) });
    expect(failureOf(await run(other.connection)).message).toBe('fake: run `tollgate login fake`');
  });
});

describe('doubt about what was negotiated', () => {
  it.each([
    [404, 1],
    [503, 0],
  ])('HTTP %i tells the owner %i times', async (status, times) => {
    const { connection } = await start((_request, socket) =>
      socket.write(`HTTP/1.1 ${status} X\r\ncontent-length: 0\r\n\r\n`),
    );
    const told: string[] = [];
    connection.onTrouble = (error) => told.push(error.code);
    await run(connection);
    await run(connection);
    expect(told).toHaveLength(times);
  });
});

describe('probing', () => {
  const discover = scan(
    Buffer.from(`{"jsonrpc":"2.0","id":"d","method":"server/discover","params":{${MODERN_META}}}`),
    DEFAULT_SCAN_CAPS,
  );

  it('resolves to status and message whatever the status', async () => {
    const { server, client } = await start((request, socket) =>
      socket.write(jsonAnswer(`{"jsonrpc":"2.0","id":${request.id},"error":{"code":-32022,"message":"m"}}`, 400)),
    );
    const answer = await createModernHttp(client).post(discover, 1_000, undefined);
    expect(answer.status).toBe(400);
    expect(answer.message?.raw(Field.errorCode)).toBe('-32022');
    expect(server.requests[0]?.headers['mcp-method']).toBe('server/discover');
  });

  it('has no message where the body is none, and rejects when nothing comes', async () => {
    const html = await start((_request, socket) => socket.write('HTTP/1.1 405 X\r\ncontent-length: 4\r\n\r\nnope'));
    const answer = await createModernHttp(html.client).post(discover, 1_000, undefined);
    expect([answer.status, answer.message, answer.body.toString()]).toEqual([405, undefined, 'nope']);
    const silent = await start(() => {});
    await expect(createModernHttp(silent.client).post(discover, 50, undefined)).rejects.toMatchObject({
      code: 'deadline_exceeded',
    });
  });
});
