import { afterEach, describe, expect, it } from 'vitest';
import { Lifetime } from '../core/lifetime.ts';
import {
  answer,
  type ClientSettings,
  event,
  httpClient,
  LAST_CHUNK,
  type LinkRecord,
  linkRecord,
  type RawHandler,
  type RawServer,
  rawServer,
  resultText,
  SSE_HEAD,
  until,
} from './fixtures/raw-http.ts';
import type { Link } from './link.ts';
import { openSseLink } from './link-sse.ts';

const open: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close();
});

const REQUEST = Buffer.from('{"jsonrpc":"2.0","id":1,"method":"ping"}');

async function start(
  handler: RawHandler,
  settings: ClientSettings = {},
): Promise<{ server: RawServer; record: LinkRecord; opened: Promise<Link> }> {
  const server = await rawServer(handler);
  const client = httpClient(server.url, settings);
  const record = linkRecord();
  open.push(
    () => server.close(),
    () => client.close(),
  );
  return { server, record, opened: openSseLink(client)(record.listener) };
}

function named(endpoint: string): string {
  return SSE_HEAD + event(endpoint, 'event: endpoint\n').toString();
}

describe('HTTP+SSE', () => {
  it('posts to the endpoint that the stream names and reads answers from the stream', async () => {
    let say = (_data: string): void => {};
    const { server, record, opened } = await start(
      (request, socket) => {
        if (request.method === 'GET') {
          say = (data) => socket.write(event(data, 'event: message\n'));
          socket.write(named('/messages?session_id=7'));
        } else {
          socket.write(answer(202, '', 'Accepted'));
          say(resultText(request.id));
        }
      },
      { headers: { 'x-api-key': 'k' } },
    );
    const link = await opened;
    link.sendRequest(REQUEST, '1', new Lifetime());
    await until(() => record.messages.length === 1);
    expect(record.messages).toEqual([{ text: resultText('1'), origin: undefined }]);
    await link.send(Buffer.from('{"jsonrpc":"2.0","method":"notifications/initialized"}'));
    expect(server.requests.map((request) => [request.method, request.path, request.headers['x-api-key']])).toEqual([
      ['GET', '/mcp?k=v', 'k'],
      ['POST', '/messages?session_id=7', 'k'],
      ['POST', '/messages?session_id=7', 'k'],
    ]);
    expect(record.failed).toEqual([]);
    await link.close();
    await until(() => record.closed.length === 0 && server.requests.length === 3);
  });

  it.each([
    'http://127.0.0.1:1/messages',
    '//evil.example/m',
    'https://127.0.0.1/x',
    'javascript:1',
    'http://[bad',
  ])('refuses the foreign endpoint %s', async (endpoint) => {
    const { server, opened } = await start((_request, socket) => socket.write(named(endpoint)));
    await expect(opened).rejects.toMatchObject({ code: 'server_protocol_error' });
    await until(() => server.open() === 0);
    expect(server.requests).toHaveLength(1);
  });

  it.each([
    ['no event stream', answer(200, 'content-type: text/html', '<html>'), 'server_protocol_error'],
    ['HTTP 404', answer(404, '', ''), 'server_unavailable'],
    ['HTTP 401', answer(401, '', ''), 'server_login_required'],
    ['an end before the endpoint', Buffer.from(SSE_HEAD + LAST_CHUNK), 'server_disconnected'],
  ])('does not open with %s', async (_name, bytes, code) => {
    const { opened } = await start((_request, socket) => socket.write(bytes));
    await expect(opened).rejects.toMatchObject({ code });
  });

  it('does not wait for the endpoint for ever', async () => {
    const { opened } = await start((_request, socket) => socket.write(SSE_HEAD), { timeout: { firstByte: 60 } });
    await expect(opened).rejects.toMatchObject({
      code: 'deadline_exceeded',
      message: 'fake: no endpoint event within 60 ms (timeout.firstByte)',
    });
  });

  it('is gone with its stream', async () => {
    let end = (): void => {};
    const { record, opened } = await start((_request, socket) => {
      socket.write(named('/m'));
      end = () => socket.destroy();
    });
    const link = await opened;
    end();
    await until(() => record.closed.length === 1);
    expect(record.closed[0]?.code).toBe('server_disconnected');
    await expect(link.send(REQUEST)).rejects.toMatchObject({ code: 'server_unavailable' });
    link.sendRequest(REQUEST, '1', new Lifetime());
    expect(record.failed.map((one) => one.id)).toEqual(['1']);
  });

  it('a refused post fails its request only', async () => {
    const { record, opened } = await start((request, socket) =>
      socket.write(request.method === 'GET' ? named('/m') : answer(400, '', '')),
    );
    const link = await opened;
    link.sendRequest(REQUEST, '1', new Lifetime());
    await until(() => record.failed.length === 1);
    expect(record.failed[0]).toMatchObject({ id: '1', error: { code: 'server_unavailable' } });
    expect(record.closed).toEqual([]);
    await link.close();
  });
});
