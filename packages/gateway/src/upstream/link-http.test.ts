import { afterEach, describe, expect, it } from 'vitest';
import { TollgateError } from '../core/errors.ts';
import { Lifetime } from '../core/lifetime.ts';
import {
  answer,
  type ClientSettings,
  event,
  httpClient,
  jsonAnswer,
  LAST_CHUNK,
  type LinkRecord,
  linkRecord,
  type RawHandler,
  type RawRequest,
  type RawServer,
  rawServer,
  resultText,
  SSE_HEAD,
  until,
} from './fixtures/raw-http.ts';
import type { Link } from './link.ts';
import { openHttpLink } from './link-http.ts';

const open: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close();
});

const ACCEPTED = answer(202, '', '');
const NO_GET = answer(405, '', '');

function rpc(id: number, method = 'tools/call'): Buffer {
  return Buffer.from(`{"jsonrpc":"2.0","id":${id},"method":"${method}"}`);
}

const INITIALIZED = Buffer.from('{"jsonrpc":"2.0","method":"notifications/initialized"}');

async function start(
  handler: RawHandler,
  settings: ClientSettings = {},
): Promise<{ server: RawServer; link: Link; record: LinkRecord; of: (method: string) => RawRequest[] }> {
  const server = await rawServer(handler);
  const client = httpClient(server.url, settings);
  const record = linkRecord();
  const link = await openHttpLink(client, { retryMs: 10 })(record.listener);
  open.push(
    () => server.close(),
    () => client.close(),
    () => link.close(),
  );
  return { server, link, record, of: (method) => server.requests.filter((request) => request.method === method) };
}

/** Answers `initialize` with a session, notifications with 202, GET with 405; the rest is the test's. */
function session(rest: RawHandler): RawHandler {
  return (request, socket) => {
    if (request.body.includes('"initialize"')) {
      socket.write(
        answer(200, 'content-type: application/json\r\nmcp-session-id: s-1', resultText(request.id, 'init')),
      );
    } else if (request.body.includes('"notifications/')) socket.write(ACCEPTED);
    else if (request.method === 'DELETE') socket.write(answer(200, '', ''));
    else rest(request, socket);
  };
}

async function handshake(link: Link, record: LinkRecord): Promise<void> {
  link.sendRequest(rpc(0, 'initialize'), '0', new Lifetime());
  await until(() => record.messages.length === 1);
  record.messages.length = 0;
  record.failed.length = 0;
  link.negotiated('2025-11-25');
  await link.send(INITIALIZED);
}

describe('a session', () => {
  it('is named by the server once and then by every message, with the version; the GET stream follows', async () => {
    const { link, record, of } = await start(
      session((request, socket) => {
        if (request.method === 'GET')
          socket.write(SSE_HEAD + event('{"jsonrpc":"2.0","method":"notifications/x"}').toString());
        else socket.write(jsonAnswer(resultText(request.id)));
      }),
    );
    await handshake(link, record);
    await until(() => record.messages.length === 1);
    expect(record.messages).toEqual([{ text: '{"jsonrpc":"2.0","method":"notifications/x"}', origin: undefined }]);
    link.sendRequest(rpc(5), '5', new Lifetime());
    await until(() => record.messages.length === 2);
    expect(record.messages[1]).toEqual({ text: resultText('5'), origin: '5' });
    const [initialize, initialized, call] = of('POST');
    expect(initialize?.headers).not.toHaveProperty('mcp-session-id');
    expect(initialize?.headers).not.toHaveProperty('mcp-protocol-version');
    for (const request of [initialized, call, ...of('GET')]) {
      expect(request?.headers).toMatchObject({ 'mcp-session-id': 's-1', 'mcp-protocol-version': '2025-11-25' });
    }
    expect(of('GET')[0]?.headers['accept']).toBe('text/event-stream');
    expect(call?.headers).not.toHaveProperty('mcp-method');
  });

  it('does without a GET stream where the server has none', async () => {
    const { link, record, of } = await start(session((_request, socket) => socket.write(NO_GET)));
    await handshake(link, record);
    await until(() => of('GET').length === 1);
    await link.send(INITIALIZED);
    await new Promise((resolve) => setTimeout(resolve, 40));
    expect(of('GET')).toHaveLength(1);
    expect(record.closed).toEqual([]);
  });

  it('waits until the server can be heard, but not for a server that holds back the head of its GET stream', async () => {
    const gets: { write(text: string): unknown }[] = [];
    const server = await rawServer(session((_request, socket) => gets.push(socket)));
    const client = httpClient(server.url);
    open.push(
      () => server.close(),
      () => client.close(),
    );
    /** A session whose GET has arrived; the promise in it resolves when it is heard or not waited for. */
    const begin = async (headMs: number): Promise<{ readonly listening: Promise<unknown> }> => {
      const record = linkRecord();
      const link = await openHttpLink(client, { headMs })(record.listener);
      open.push(() => link.close());
      const before = gets.length;
      await handshake(link, record);
      await until(() => gets.length > before);
      return { listening: link.listening!() };
    };

    const prompt = await begin(60_000);
    const next = new Promise((resolve) => setImmediate(resolve, 'waiting'));
    expect(await Promise.race([prompt.listening, next])).toBe('waiting');
    gets[0]!.write(SSE_HEAD);
    await prompt.listening;
    expect(client.lateStreams).toBe(false);

    await (await begin(1)).listening;
    expect(client.lateStreams).toBe(true);

    // Not waited for, but still observed: a server that is fast again is waited for again.
    await (await begin(60_000)).listening;
    expect(client.lateStreams).toBe(true);
    gets[2]!.write(SSE_HEAD);
    await until(() => !client.lateStreams);
  });

  it('opens the GET stream again where it left off', async () => {
    const { link, record, of } = await start(
      session((request, socket) => {
        if (request.method !== 'GET') return;
        socket.write(SSE_HEAD);
        if (of('GET').length === 1) {
          socket.write(event('{"jsonrpc":"2.0","method":"notifications/a"}', 'id: e-7\nretry: 5\n'));
          socket.end(LAST_CHUNK);
        } else socket.write(event('{"jsonrpc":"2.0","method":"notifications/b"}'));
      }),
    );
    await handshake(link, record);
    await until(() => record.messages.length === 2);
    expect(of('GET').map((request) => request.headers['last-event-id'])).toEqual([undefined, 'e-7']);
  });

  it('is ended with DELETE, once, and nothing is sent after that', async () => {
    const { link, record, of } = await start(session((_request, socket) => socket.write(SSE_HEAD)));
    await handshake(link, record);
    await link.close();
    await link.close();
    expect(of('DELETE').map((request) => request.headers['mcp-session-id'])).toEqual(['s-1']);
    await expect(link.send(INITIALIZED)).rejects.toMatchObject({ code: 'server_unavailable' });
    link.sendRequest(rpc(9), '9', new Lifetime());
    expect(record.failed.map((one) => one.id)).toEqual(['9']);
    expect(record.closed).toEqual([]);
  });

  it('is lost with a 404: the call has not run and the link is closed', async () => {
    const { link, record } = await start(
      session((request, socket) => {
        if (request.method === 'GET') socket.write(SSE_HEAD);
        else
          socket.write(
            jsonAnswer('{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"Session not found"}}', 404),
          );
      }),
    );
    await handshake(link, record);
    link.sendRequest(rpc(3), '3', new Lifetime());
    await until(() => record.closed.length > 0);
    expect(record.failed.map((one) => [one.id, one.error.code, one.error.executed])).toEqual([
      ['3', 'server_unavailable', 'no'],
    ]);
    expect(record.closed.map((error) => error.code)).toEqual(['server_disconnected']);
  });

  it('survives a 404 that answers the request itself', async () => {
    const body = '{"jsonrpc":"2.0","id":3,"error":{"code":-32601,"message":"no such method"}}';
    const { link, record } = await start(
      session((request, socket) => socket.write(request.method === 'GET' ? NO_GET : jsonAnswer(body, 404))),
    );
    await handshake(link, record);
    link.sendRequest(rpc(3), '3', new Lifetime());
    await until(() => record.messages.length > 0);
    expect(record.messages).toEqual([{ text: body, origin: '3' }]);
    expect(record.closed).toEqual([]);
  });
});

describe('an event stream', () => {
  it('gives everything on it the id of its request', async () => {
    const ask = '{"jsonrpc":"2.0","id":"srv","method":"elicitation/create","params":{}}';
    const { link, record } = await start((request, socket) => {
      socket.write(SSE_HEAD);
      socket.write(event(ask, 'event: message\n'));
      socket.write(event(resultText(request.id)));
      socket.write(LAST_CHUNK);
    });
    link.sendRequest(rpc(1), '1', new Lifetime());
    await until(() => record.failed.length > 0 || record.messages.length === 2);
    expect(record.messages).toEqual([
      { text: ask, origin: '1' },
      { text: resultText('1'), origin: '1' },
    ]);
  });

  it('that does not end after the answer is cut', async () => {
    const { server, link, record } = await start((request, socket) => {
      socket.write(SSE_HEAD);
      socket.write(event(resultText(request.id), 'id: e-1\n'));
    });
    link.sendRequest(rpc(1), '1', new Lifetime());
    await until(() => server.requests.length === 1 && server.open() === 0);
    expect(record.messages).toEqual([{ text: resultText('1'), origin: '1' }]);
    expect(server.requests).toHaveLength(1);
  });

  it('that the server closes to be polled is resumed after its retry time', async () => {
    const { link, record, of } = await start((request, socket) => {
      socket.write(SSE_HEAD);
      if (request.method === 'POST') {
        socket.write(event('', 'id: p-1\nretry: 30\n'));
        socket.end(LAST_CHUNK);
      } else {
        socket.write(event(resultText('4')));
        socket.write(LAST_CHUNK);
      }
    });
    const sentAt = performance.now();
    link.sendRequest(rpc(4), '4', new Lifetime());
    await until(() => record.messages.length === 1);
    expect(performance.now() - sentAt).toBeGreaterThanOrEqual(29);
    expect(record.paused).toEqual([{ id: '4', retryMs: 30 }]);
    expect(record.messages).toEqual([{ text: resultText('4'), origin: '4' }]);
    expect(of('GET').map((request) => request.headers['last-event-id'])).toEqual(['p-1']);
  });

  it('that breaks is resumed by its last event id, as often as it makes progress', async () => {
    const note = (n: number): string =>
      `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":${n}}}`;
    let events = 0;
    const { link, record, of } = await start((request, socket) => {
      socket.write(SSE_HEAD);
      events++;
      if (events > 8) socket.write(event(resultText('1')));
      else socket.write(event(note(events), `id: e-${events}\n`), () => socket.destroy());
      expect(request.method).toBe(events === 1 ? 'POST' : 'GET');
    });
    link.sendRequest(rpc(1), '1', new Lifetime());
    await until(() => record.messages.length === 9);
    expect(record.paused).toEqual([]);
    expect(of('GET').map((request) => request.headers['last-event-id'])).toEqual(
      [1, 2, 3, 4, 5, 6, 7, 8].map((n) => `e-${n}`),
    );
    expect(record.messages.every((message) => message.origin === '1')).toBe(true);
  });

  it.each([
    ['that has no event ids', '', 'server_disconnected'],
    ['that the server does not resume', 'id: e-1\n', 'server_protocol_error'],
  ])('%s fails its request when it breaks', async (_name, fields, code) => {
    const { link, record } = await start((request, socket) => {
      if (request.method === 'GET') socket.write(NO_GET);
      else
        socket.write(SSE_HEAD + event('{"jsonrpc":"2.0","method":"notifications/m"}', fields).toString(), () =>
          socket.destroy(),
        );
    });
    link.sendRequest(rpc(1), '1', new Lifetime());
    await until(() => record.failed.length === 1);
    expect([record.failed[0]?.id, record.failed[0]?.error.code, record.failed[0]?.error.executed]).toEqual([
      '1',
      code,
      'unknown',
    ]);
  });

  it('that cannot be resumed is given up after five attempts', async () => {
    const { link, record, of } = await start((request, socket) => {
      if (request.method === 'GET') socket.destroy();
      else socket.write(SSE_HEAD + event('', 'id: e-1\nretry: 1\n').toString(), () => socket.destroy());
    });
    link.sendRequest(rpc(1), '1', new Lifetime());
    await until(() => record.failed.length === 1);
    expect(of('GET')).toHaveLength(5);
    expect(record.failed[0]?.error.code).toBe('server_disconnected');
  });

  it('may be silent while the server waits for the client, and not otherwise', async () => {
    const ask = '{"jsonrpc":"2.0","id":"srv","method":"elicitation/create","params":{}}';
    let answer = (): unknown => undefined;
    const { link, record } = await start(
      (request, socket) => {
        socket.write(SSE_HEAD);
        if (request.id === '2') return;
        socket.write(event(ask));
        answer = () => socket.write(event(resultText('1')));
      },
      { timeout: { idle: 80 } },
    );
    link.sendRequest(rpc(1), '1', new Lifetime());
    await until(() => record.messages.length === 1);
    link.sendRequest(rpc(2), '2', new Lifetime());
    // The second began to be silent after the first.
    await until(() => record.failed.length === 1);
    answer();
    await until(() => record.messages.length === 2);
    expect(record.messages[1]?.text).toBe(resultText('1'));
    // The failure after the answer is for the case that it answered nothing.
    expect(record.failed.map((one) => [one.id, one.error.message])).toEqual([
      ['2', 'fake: the answer stalled for 80 ms (timeout.idle)'],
      ['1', 'fake: the answer carries another id than the request'],
    ]);
  });

  it('ends when the call does', async () => {
    const { server, link, record } = await start((_request, socket) => socket.write(SSE_HEAD));
    const lifetime = new Lifetime();
    link.sendRequest(rpc(1), '1', lifetime);
    await until(() => server.requests.length === 1);
    lifetime.end(new TollgateError('cancelled', 'gone'));
    await until(() => server.open() === 0);
    expect(record.failed).toEqual([]);
  });
});

describe('failures of one request', () => {
  const bad: readonly [string, Buffer, string, 'no' | 'unknown'][] = [
    ['no body', ACCEPTED, 'server_protocol_error', 'unknown'],
    ['plain text', answer(200, 'content-type: text/plain', 'hello'), 'server_protocol_error', 'unknown'],
    [
      'gzip',
      answer(200, 'content-type: application/json\r\ncontent-encoding: gzip', 'xx'),
      'server_protocol_error',
      'unknown',
    ],
    ['a redirect', answer(307, 'location: /other', ''), 'server_protocol_error', 'unknown'],
    ['HTTP 401', answer(401, '', ''), 'server_login_required', 'no'],
    ['HTTP 400', answer(400, 'content-type: text/html', '<p>'), 'server_unavailable', 'no'],
    ['HTTP 502', answer(502, '', ''), 'server_protocol_error', 'unknown'],
    [
      'too much',
      answer(200, 'content-type: application/json', 'x'.repeat(100_001)),
      'server_response_too_large',
      'unknown',
    ],
  ];
  it.each(bad)('%s', async (_name, bytes, code, executed) => {
    const { link, record } = await start((request, socket) =>
      socket.write(request.id === '1' ? bytes : jsonAnswer(resultText(request.id))),
    );
    link.sendRequest(rpc(1), '1', new Lifetime());
    link.sendRequest(rpc(2), '2', new Lifetime());
    await until(() => record.messages.length === 1 && record.failed.some((one) => one.id === '1'));
    const failures = record.failed.filter((one) => one.id === '1');
    expect(failures.map((one) => [one.error.code, one.error.executed])).toEqual([[code, executed]]);
    expect(record.messages).toEqual([{ text: resultText('2'), origin: '2' }]);
    expect(record.closed).toEqual([]);
  });

  it('an answer is followed by a failure, for the case that it answered nothing', async () => {
    const { link, record } = await start((_request, socket) => socket.write(jsonAnswer(resultText('99'))));
    link.sendRequest(rpc(1), '1', new Lifetime());
    await until(() => record.failed.length === 1);
    expect(record.messages).toEqual([{ text: resultText('99'), origin: '1' }]);
    expect(record.failed[0]).toMatchObject({ id: '1', error: { code: 'server_protocol_error', executed: 'unknown' } });
  });

  it('a JSON-RPC error with HTTP 400 arrives under the id of its request', async () => {
    const body = '{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"Bad Request"}}';
    const { link, record } = await start((_request, socket) => socket.write(jsonAnswer(body, 400)));
    link.sendRequest(rpc(1), '1', new Lifetime());
    await until(() => record.messages.length === 1);
    expect(JSON.parse(record.messages[0]?.text ?? '')).toEqual({ ...(JSON.parse(body) as object), id: 1 });
  });
});

describe('sending', () => {
  it('gets through while calls hold every connection', async () => {
    const { link, record } = await start(
      session((_request, socket) => socket.write(SSE_HEAD)),
      { poolMax: 1 },
    );
    link.sendRequest(rpc(1), '1', new Lifetime());
    await link.send(INITIALIZED);
    expect(record.failed).toEqual([]);
  });

  it.each([
    [answer(400, '', ''), 'server_unavailable'],
    [answer(401, '', ''), 'server_login_required'],
  ])('rejects what the server refuses', async (bytes, code) => {
    const { link } = await start((_request, socket) => socket.write(bytes));
    await expect(link.send(INITIALIZED)).rejects.toMatchObject({ code });
  });
});
