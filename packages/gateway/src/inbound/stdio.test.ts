import { mkdtemp, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { verifies } from '@tollgate/testkit/verifies';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../core/clock.ts';
import { TollgateError } from '../core/errors.ts';
import { silentLog } from '../core/log.ts';
import { scan } from '../protocol/json/scan.ts';
import {
  answer,
  CAPS,
  FakeEndpoint,
  faceOf,
  legacyBody,
  modernBody,
  notification,
  optionsOf,
  principalOf,
  RawClient,
} from './fakes.ts';
import { createStdioEdge, type StdioEdge } from './stdio.ts';
import { pumpStdio } from './stdio-pump.ts';

const LOCAL = principalOf('local', 9);
const INIT = legacyBody('initialize', { protocolVersion: '2025-06-18', capabilities: {} }, 'i');

let folder: string;
let path: string;
let edge: StdioEdge;
let mcp: FakeEndpoint;
let face: ReturnType<typeof faceOf>;
let counts: number[];
const clients: RawClient[] = [];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tollgate-stdio-'));
  path = join(folder, 'run', 'attach.sock');
  mcp = new FakeEndpoint('/mcp');
  face = faceOf(new Map([['/mcp', mcp]]));
  counts = [];
  edge = newEdge();
  await edge.listen();
});
afterEach(async () => {
  for (const client of clients.splice(0)) client.socket.destroy();
  await edge.close();
  await rm(folder, { recursive: true });
});

function newEdge(): StdioEdge {
  return createStdioEdge(optionsOf({ headerTime: 300 }, { attachSocket: path }), () => face, {
    log: silentLog,
    clock: systemClock,
    principal: LOCAL,
    onClients: (count) => counts.push(count),
  });
}

async function connected(): Promise<RawClient> {
  const socket: Socket = connect(path);
  const client = new RawClient(socket);
  clients.push(client);
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', () => resolve());
    socket.once('error', reject);
  });
  return client;
}

async function attached(): Promise<RawClient> {
  const client = await connected();
  client.write('{"tollgate":1,"endpoint":"/mcp"}\n');
  await client.until((text) => text.endsWith('\n'));
  expect(client.text).toBe('{"ok":true}\n');
  client.text = '';
  return client;
}

/** The next line that came, parsed. */
async function line(client: RawClient): Promise<Record<string, unknown>> {
  await client.until((text) => text.includes('\n'));
  const end = client.text.indexOf('\n');
  const text = client.text.slice(0, end);
  client.text = client.text.slice(end + 1);
  return JSON.parse(text) as Record<string, unknown>;
}

describe('attaching', () => {
  it('is for the owner only: socket 0600 in a folder 0700', async () => {
    verifies('R1-48');
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect((await stat(join(folder, 'run'))).mode & 0o777).toBe(0o700);
  });

  it.each([
    ['not a hello', '{"jsonrpc":"2.0","id":1,"method":"tools/list"}\n', /hello/],
    ['another version', '{"tollgate":2,"endpoint":"/mcp"}\n', /version/],
    ['an unknown endpoint', '{"tollgate":1,"endpoint":"/nope"}\n', /no endpoint/],
    ['no JSON', 'hello\n', /hello/],
    ['an endless hello', 'x'.repeat(10_000), /too long/],
  ])('with %s is refused with the reason', async (_name, hello, why) => {
    const client = await connected();
    client.write(hello);
    expect(JSON.parse(await client.close())).toMatchObject({ error: expect.stringMatching(why) });
    expect(edge.clientCount).toBe(0);
  });

  it('without a hello ends', async () => {
    const client = await connected();
    expect(await client.close()).toContain('no hello');
  });

  it('is counted, so that the last one to leave can be told', async () => {
    const one = await attached();
    const two = await attached();
    expect(edge.clientCount).toBe(2);
    one.socket.end();
    two.socket.destroy();
    await expect.poll(() => counts).toEqual([1, 2, 1, 0]);
  });

  it('takes over the socket of a gateway that died, and of no other', async () => {
    await expect(newEdge().listen()).rejects.toMatchObject({ code: 'listen_failed' });
    await edge.close();
    await writeFile(path, '');
    await expect(newEdge().listen()).rejects.toMatchObject({ code: 'listen_failed' });
    await rm(path);
    await leaveStaleSocket(path);
    edge = newEdge();
    await edge.listen();
    await attached();
  });
});

describe('several gateways that start at once after a crash', () => {
  it('end with exactly one on the socket', async () => {
    await edge.close();
    await leaveStaleSocket(path);
    const all = Array.from({ length: 6 }, () => newEdge());
    const outcomes = await Promise.allSettled(all.map(async (one) => await one.listen()));
    expect(outcomes.filter((outcome) => outcome.status === 'fulfilled')).toHaveLength(1);
    edge = all[outcomes.findIndex((outcome) => outcome.status === 'fulfilled')]!;
    await attached();
    expect(edge.clientCount).toBe(1);
    await Promise.all(all.filter((one) => one !== edge).map(async (one) => await one.close()));
    await attached();
  });

  it('are not held up by one that died in the middle of it', async () => {
    await edge.close();
    await writeFile(`${path}.lock`, '');
    const old = new Date(Date.now() - 60_000);
    await utimes(`${path}.lock`, old, old);
    edge = newEdge();
    await edge.listen();
    await attached();
    await expect(stat(`${path}.lock`)).rejects.toMatchObject({ code: 'ENOENT' });
  });
});

/** A socket file whose listener is gone without removing it. */
async function leaveStaleSocket(at: string): Promise<void> {
  const hidden = `${at}.x`;
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(hidden, resolve));
  const { rename } = await import('node:fs/promises');
  await rename(hidden, at);
  await new Promise<void>((resolve) => server.close(() => resolve()));
}

describe('a stdio client', () => {
  it('of the modern era needs no handshake', async () => {
    const client = await attached();
    client.write(`${modernBody('tools/list', {}, 'a')}\n${modernBody('tools/list', {}, 'b')}\n`);
    expect(await line(client)).toMatchObject({ id: 'a', result: {} });
    expect(await line(client)).toMatchObject({ id: 'b', result: {} });
    expect(mcp.calls[0]).toMatchObject({
      era: 'modern',
      transport: 'stdio',
      principal: LOCAL,
      session: { era: 'modern' },
    });
    expect(mcp.calls[1]!.session).toBe(mcp.calls[0]!.session);
  });

  it('of the legacy era initializes first', async () => {
    const client = await attached();
    client.write(`${legacyBody('tools/list')}\n`);
    expect(await line(client)).toMatchObject({ id: 1, error: { code: -32600 } });
    client.write(`${INIT}\n`);
    expect(await line(client)).toMatchObject({ id: 'i', result: { protocolVersion: '2025-06-18' } });
    client.write(`${legacyBody('tools/list')}\n`);
    expect(await line(client)).toMatchObject({ id: 1, result: {} });
    expect(mcp.calls[1]).toMatchObject({ era: 'legacy', version: '2025-06-18', session: { era: 'legacy' } });
    client.write(`${INIT}\n`);
    expect(await line(client)).toMatchObject({ error: { code: -32600 } });
  });

  it('that is kept out by now runs nothing, in either era, until it is let in again', async () => {
    const client = await attached();
    client.write(`${INIT}\n`);
    await line(client);
    const ran = mcp.calls.length;
    face.barred = () => new TollgateError('blocked', 'Not run.');
    for (const body of [legacyBody('tools/list'), modernBody('tools/list')]) {
      client.write(`${body}\n`);
      expect(await line(client)).toMatchObject({ id: 1, error: { code: 403 } });
    }
    expect(mcp.calls).toHaveLength(ran);
    face.barred = () => undefined;
    client.write(`${legacyBody('tools/list')}\n`);
    expect(await line(client)).toMatchObject({ id: 1, result: {} });
  });

  it('hears of mistakes in its lines and goes on', async () => {
    const client = await attached();
    client.write('nonsense\n[]\n{"jsonrpc":"2.0","id":3,"method":"a","method":"b"}\n\r\n');
    expect(await line(client)).toMatchObject({ error: { code: -32700 } });
    expect(await line(client)).toMatchObject({ error: { code: -32600 } });
    expect(await line(client)).toMatchObject({ error: { code: -32600 } });
    client.write(`${'x'.repeat(CAPS.body + 10)}\n`);
    expect(await line(client)).toMatchObject({ error: { code: -32600 } });
    client.write(`${modernBody('tools/list')}\n`);
    expect(await line(client)).toMatchObject({ id: 1, result: {} });
    client.write(`${modernBody('tools/list').replace('clientCapabilities', 'x')}\n`);
    expect(await line(client)).toMatchObject({ error: { code: -32602 } });
    client.write(`${modernBody('tools/list').replace('2026-07-28', '2099-01-01')}\n`);
    expect(await line(client)).toMatchObject({ error: { code: -32022 } });
  });

  it('gets one line for each message, whatever whitespace a server used', async () => {
    const client = await attached();
    mcp.handlers.set('tools/call', (call) => {
      call.reply.notify(scan(Buffer.from('{"jsonrpc":"2.0",\r\n  "method":"notifications/x"\n}'), CAPS));
      call.reply.respond(scan(Buffer.from('{\n"jsonrpc":"2.0","id":99,"result":{\n"a":"b\\nc"}}'), CAPS));
    });
    client.write(`${modernBody('tools/call', {}, 4)}\n`);
    expect(await line(client)).toMatchObject({ method: 'notifications/x' });
    expect(await line(client)).toEqual({ jsonrpc: '2.0', id: 4, result: { a: 'b\nc' } });
  });

  it('is asked, told and cancelled on its one channel', async () => {
    const client = await attached();
    client.write(`${INIT}\n`);
    await line(client);
    mcp.hold('tools/call');
    const next = mcp.next('tools/call');
    client.write(`${legacyBody('tools/call', {}, 5)}\n`);
    const call = await next;
    expect(call.reply.canAsk).toBe(true);
    const answered = new Promise((resolve) => call.reply.ask('roots/list', undefined, resolve));
    const asked = await line(client);
    expect(asked).toMatchObject({ method: 'roots/list' });
    client.write(`${JSON.stringify({ jsonrpc: '2.0', id: asked['id'], result: { roots: [] } })}\n`);
    expect(await answered).toMatchObject({ kind: 'result' });
    expect(call.session!.notify(notification('notifications/y'))).toBe(true);
    expect(await line(client)).toMatchObject({ method: 'notifications/y' });
    const ended = new Promise<TollgateError>((resolve) => call.lifetime.onEnd(resolve));
    client.write('{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":5}}\n');
    expect((await ended).code).toBe('cancelled');
    call.reply.notify(notification('notifications/late'));
    answer(call, { late: true });
    client.write(`${legacyBody('tools/list', {}, 6)}\n`);
    expect(await line(client)).toMatchObject({ id: 6 });
  });

  it('of the modern era cannot be asked', async () => {
    const client = await attached();
    let refused: unknown;
    mcp.handlers.set('tools/call', (call) => {
      call.reply.ask('roots/list', undefined, (reply) => {
        refused = reply;
      });
      expect(call.session!.ask('roots/list', undefined, () => {})).toBeUndefined();
      answer(call, {});
    });
    client.write(`${modernBody('tools/call')}\n`);
    await line(client);
    expect(refused).toMatchObject({ code: 'not_bridgeable' });
  });

  it('that closes its end ends all its calls and its session, and nobody else’s', async () => {
    const client = await attached();
    const other = await attached();
    mcp.hold('tools/call');
    for (const id of [1, 2]) {
      const next = mcp.next('tools/call');
      client.write(`${modernBody('tools/call', {}, id)}\n`);
      await next;
    }
    const next = mcp.next('tools/call');
    other.write(`${modernBody('tools/call', {}, 1)}\n`);
    const survivor = await next;
    client.socket.end();
    await client.close();
    expect(mcp.calls.slice(0, 2).map((call) => call.lifetime.reason?.code)).toEqual(['cancelled', 'cancelled']);
    expect(mcp.calls[0]!.session!.lifetime.over).toBe(true);
    expect(survivor.lifetime.over).toBe(false);
  });

  it('that does not read is disconnected', async () => {
    const client = await attached();
    mcp.hold('tools/call');
    const next = mcp.next('tools/call');
    client.write(`${modernBody('tools/call')}\n`);
    const call = await next;
    client.socket.pause();
    for (let i = 0; i < 500 && !call.lifetime.over; i++) {
      call.reply.notify(notification('notifications/x', { data: 'x'.repeat(50_000) }));
    }
    expect(call.lifetime.reason?.message).toContain('does not read');
    answer(call, {});
  });

  it('gets the final result of its listen stream when the gateway drains', async () => {
    const client = await attached();
    mcp.handlers.set('subscriptions/listen', (call) => {
      call.reply.notify(notification('notifications/subscriptions/acknowledged'));
      call.lifetime.onEnd(() => answer(call, { bye: true }));
    });
    client.write(`${modernBody('subscriptions/listen')}\n`);
    await line(client);
    await edge.drain(1000);
    expect(await line(client)).toMatchObject({ result: { bye: true } });
    await client.close();
  });
});

describe('pumpStdio', () => {
  it('joins the pipes of a process to the gateway until they close', async () => {
    verifies('R1-48');
    const stdin = new PassThrough();
    const stdout = new PassThrough();
    const pumping = pumpStdio({ socketPath: path, endpoint: '/mcp', stdin, stdout });
    stdin.write(`${modernBody('tools/list', {}, 'p')}\n`);
    const first = await new Promise<string>((resolve) =>
      stdout.once('data', (chunk: Buffer) => resolve(String(chunk))),
    );
    expect(JSON.parse(first)).toMatchObject({ id: 'p', result: {} });
    stdin.end();
    expect(await pumping).toBe('client');
    expect(edge.clientCount).toBe(0);
  });

  it('ends when the gateway does', async () => {
    const pumping = pumpStdio({
      socketPath: path,
      endpoint: '/mcp',
      stdin: new PassThrough(),
      stdout: new PassThrough(),
    });
    await expect.poll(() => edge.clientCount).toBe(1);
    await edge.close();
    expect(await pumping).toBe('gateway');
  });

  it('says that nobody listens, or why it was refused, and leaves stdin unread', async () => {
    const stdin = new PassThrough();
    stdin.write('kept');
    const stdout = new PassThrough();
    const refused = pumpStdio({ socketPath: path, endpoint: '/nope', stdin, stdout });
    await expect(refused).rejects.toMatchObject({
      code: 'usage',
      message: expect.stringContaining('/nope'),
    });
    await edge.close();
    const none = pumpStdio({ socketPath: path, endpoint: '/mcp', stdin, stdout });
    await expect(none).rejects.toMatchObject({ code: 'gateway_not_running' });
    expect(String(stdin.read())).toBe('kept');
  });

  it('speaks to no socket that a link leads to, as one that came with a repository would', async () => {
    const stdin = new PassThrough();
    stdin.write('kept');
    const planted = `${path}.planted`;
    await symlink(path, planted);
    const pumping = pumpStdio({ socketPath: planted, endpoint: '/mcp', stdin, stdout: new PassThrough() });
    await expect(pumping).rejects.toMatchObject({
      code: 'config_invalid',
      message: expect.stringContaining(`${planted} is not used`),
    });
    expect(edge.clientCount).toBe(0);
    expect(String(stdin.read())).toBe('kept');
  });

  it('does not wait for a gateway that says nothing', async () => {
    await edge.close();
    const silent = createServer((socket) => socket.resume());
    await new Promise<void>((resolve) => silent.listen(path, resolve));
    const pumping = pumpStdio({
      socketPath: path,
      endpoint: '/mcp',
      stdin: new PassThrough(),
      stdout: new PassThrough(),
      timeout: 20,
    });
    await expect(pumping).rejects.toMatchObject({ message: expect.stringContaining('no answer') });
    await new Promise<void>((resolve) => silent.close(() => resolve()));
  });
});
