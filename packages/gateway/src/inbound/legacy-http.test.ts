import { verifies } from '@tollgate/testkit/verifies';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Clock } from '../core/clock.ts';
import { TollgateError } from '../core/errors.ts';
import type { AnswerListener, Call } from '../protocol/call.ts';
import {
  answer,
  answerError,
  head,
  legacyBody,
  notification,
  optionsOf,
  post,
  type RawClient,
  type Rig,
  startEdge,
} from './fakes.ts';

let rig: Rig;

beforeEach(async () => {
  rig = await startEdge();
});
afterEach(async () => await rig.stop());

const INIT = { protocolVersion: '2025-11-25', capabilities: { sampling: {} }, clientInfo: { name: 't', version: '1' } };

type Headers = Record<string, string | undefined>;

async function initialize(
  params: Record<string, unknown> = INIT,
  headers: Headers = {},
  path = '/mcp',
): Promise<string> {
  const got = await rig.send(post(legacyBody('initialize', params), headers, path));
  expect(got.status).toBe(200);
  return got.headers.get('mcp-session-id')!;
}

function codeOf(body: string): number {
  return (JSON.parse(body) as { error: { code: number } }).error.code;
}

function inSession(id: string, headers: Headers = {}): Headers {
  return { 'Mcp-Session-Id': id, 'MCP-Protocol-Version': '2025-11-25', ...headers };
}

function get(id: string, headers: Headers = {}, path = '/mcp'): string {
  return head('GET', { Host: '127.0.0.1', Accept: 'text/event-stream', ...inSession(id), ...headers }, path);
}

async function held(
  session: string,
  method = 'tools/call',
  id: number | string = 5,
): Promise<{ client: RawClient; call: Call }> {
  rig.mcp.hold(method);
  const next = rig.mcp.next(method);
  const client = await rig.open();
  client.write(post(legacyBody(method, { name: 'x' }, id), inSession(session)));
  return { client, call: await next };
}

/** Opens the GET stream and waits until it is there. */
async function stream(session: string, headers: Headers = {}): Promise<RawClient> {
  const client = await rig.open();
  client.write(get(session, headers));
  await client.until((text) => text.includes('\r\n\r\n'));
  return client;
}

function lastId(text: string): string {
  return [...text.matchAll(/id: (\S+)/g)].at(-1)![1]!;
}

describe('initialize', () => {
  it('opens a session whose id the answer carries', async () => {
    verifies('R1-62');
    const id = await initialize();
    expect(id).toMatch(/^[!-~]{26,}$/);
    expect(rig.edge.view.sessions).toBe(1);
    const session = rig.mcp.calls[0]!.session!;
    expect(session).toMatchObject({
      id,
      era: 'legacy',
      version: '2025-11-25',
      endpoint: '/mcp',
      capabilities: { sampling: {} },
      clientInfo: { name: 't' },
      principal: { id: 'test/nobody' },
    });
    const got = await rig.send(post(legacyBody('tools/list'), inSession(id)));
    expect(got.status).toBe(200);
    expect(rig.mcp.calls[1]!.session).toBe(session);
  });

  it.each(['2025-06-18', '2025-03-26'])('agrees on %s', async (protocolVersion) => {
    const id = await initialize({ ...INIT, protocolVersion });
    expect(rig.mcp.calls[0]!.session!.version).toBe(protocolVersion);
    const fine = await rig.send(
      post(legacyBody('tools/list'), inSession(id, { 'MCP-Protocol-Version': protocolVersion })),
    );
    expect(fine.status).toBe(200);
  });

  it('offers the latest legacy version for one it does not know', async () => {
    await initialize({ ...INIT, protocolVersion: '2031-01-01' });
    expect(rig.mcp.calls[0]!.session!.version).toBe('2025-11-25');
  });

  it('that fails opens no session', async () => {
    rig.mcp.handlers.set('initialize', (call) => answerError(call, new TollgateError('access_denied', 'No.')));
    const got = await rig.send(post(legacyBody('initialize', INIT)));
    expect(got.headers.has('mcp-session-id')).toBe(false);
    expect(rig.edge.view.sessions).toBe(0);
  });

  it('that failed, or whose client left first, leaves no session to whoever took it up', async () => {
    rig.mcp.hold('initialize');
    const next = rig.mcp.next('initialize');
    const client = await rig.open();
    client.write(post(legacyBody('initialize', INIT)));
    const call = await next;
    const left = new Promise((resolve) => call.lifetime.onEnd(resolve));
    client.socket.destroy();
    await left;
    answer(call, { protocolVersion: '2025-11-25' });
    expect(call.session!.lifetime.over).toBe(true);
    rig.mcp.handlers.set('initialize', (failing) => answerError(failing, new TollgateError('access_denied', 'No.')));
    await rig.send(post(legacyBody('initialize', INIT)));
    expect(rig.mcp.calls.map(({ session }) => session!.lifetime.over)).toEqual([true, true]);
    expect(rig.edge.view.sessions).toBe(0);
  });

  it.each([
    ['params', undefined],
    ['protocolVersion', { ...INIT, protocolVersion: 7 }],
    ['capabilities', { ...INIT, capabilities: [] }],
  ])('with wrong %s is refused', async (_name, params) => {
    const got = await rig.send(post(legacyBody('initialize', params)));
    expect(codeOf(got.body)).toBe(-32602);
    expect(rig.edge.view.sessions).toBe(0);
  });

  it('inside a session is refused', async () => {
    const id = await initialize();
    expect((await rig.send(post(legacyBody('initialize', INIT), inSession(id)))).status).toBe(400);
  });
});

describe('a legacy request without a session', () => {
  it('is 400 with a JSON-RPC error', async () => {
    const got = await rig.send(post(legacyBody('tools/list', {}, 9)));
    expect([got.status, codeOf(got.body), JSON.parse(got.body).id]).toEqual([400, -32600, 9]);
    const notified = await rig.send(post('{"jsonrpc":"2.0","method":"notifications/initialized"}'));
    expect(notified.status).toBe(400);
    expect(rig.mcp.calls).toHaveLength(0);
  });

  it('in a batch is refused too, also inside a session', async () => {
    const id = await initialize({ ...INIT, protocolVersion: '2025-03-26' });
    const batch = `[${legacyBody('tools/list')},${legacyBody('tools/list', {}, 2)}]`;
    expect((await rig.send(post(batch))).status).toBe(400);
    const inside = await rig.send(post(batch, { 'Mcp-Session-Id': id }));
    expect(inside.status).toBe(400);
    expect(rig.mcp.calls).toHaveLength(1);
  });
});

describe('a session', () => {
  it('is 404 for everybody but its principal, on every method', async () => {
    const id = await initialize(INIT, { Authorization: 'Bearer a' });
    for (const thief of ['Bearer b', undefined]) {
      const headers = inSession(id, { Authorization: thief });
      expect((await rig.send(post(legacyBody('tools/list'), headers))).status).toBe(404);
      expect((await rig.send(get(id, { Authorization: thief }))).status).toBe(404);
      expect((await rig.send(head('DELETE', { Host: '127.0.0.1', ...headers }))).status).toBe(404);
    }
    expect(rig.mcp.calls).toHaveLength(1);
    const own = await rig.send(post(legacyBody('tools/list'), inSession(id, { Authorization: 'Bearer a' })));
    expect(own.status).toBe(200);
  });

  it('is 404 on another endpoint, for its own principal too', async () => {
    const id = await initialize();
    expect((await rig.send(post(legacyBody('tools/list'), inSession(id), '/team'))).status).toBe(404);
    expect((await rig.send(get(id, {}, '/team'))).status).toBe(404);
    expect((await rig.send(head('DELETE', { Host: '127.0.0.1', ...inSession(id) }, '/team'))).status).toBe(404);
    expect(rig.team.calls).toHaveLength(0);
  });

  it('that nobody opened is 404', async () => {
    for (const id of ['x', 'x'.repeat(5000), '__proto__']) {
      expect((await rig.send(post(legacyBody('tools/list'), inSession(id)))).status).toBe(404);
    }
  });

  it('keeps its version: another header value is 400, none is fine', async () => {
    const id = await initialize();
    for (const version of ['2025-06-18', '1999-01-01']) {
      const got = await rig.send(post(legacyBody('tools/list'), inSession(id, { 'MCP-Protocol-Version': version })));
      expect(got.status).toBe(400);
    }
    expect((await rig.send(post(legacyBody('tools/list'), { 'Mcp-Session-Id': id }))).status).toBe(200);
  });

  it('ends with DELETE: its calls, its stream, its id', async () => {
    const id = await initialize();
    const events = await stream(id);
    const { call } = await held(id);
    const ended = new Promise<TollgateError>((resolve) => call.lifetime.onEnd(resolve));
    const session = rig.mcp.calls[0]!.session!;
    expect((await rig.send(head('DELETE', { Host: '127.0.0.1', ...inSession(id) }))).status).toBe(204);
    expect((await ended).code).toBe('cancelled');
    expect(session.lifetime.over).toBe(true);
    expect((await events.until((text) => text.endsWith('0\r\n\r\n'))).length).toBeGreaterThan(0);
    expect((await rig.send(post(legacyBody('tools/list'), inSession(id)))).status).toBe(404);
    expect(rig.edge.view).toMatchObject({ sessions: 0, streams: 0 });
  });

  it('routes notifications with itself', async () => {
    const id = await initialize();
    const body = '{"jsonrpc":"2.0","method":"notifications/initialized"}';
    expect((await rig.send(post(body, inSession(id)))).status).toBe(202);
    expect(rig.mcp.notifications[0]).toMatchObject({ session: { id } });
  });

  it('refuses an id that is still running', async () => {
    const id = await initialize();
    await held(id, 'tools/call', 'same');
    expect((await rig.send(post(legacyBody('tools/list', {}, 'same'), inSession(id)))).status).toBe(400);
  });
});

describe('sessions', () => {
  it('that are not used end, those with a stream or a call do not', async () => {
    await rig.stop();
    let now = 0;
    const clock: Clock = { wall: () => now, monotonic: () => now };
    rig = await startEdge(optionsOf({ sessionIdle: 40 }), { clock });
    const idle = await initialize();
    const streaming = await initialize();
    const calling = await initialize();
    await stream(streaming);
    await held(calling);
    now = 1000;
    const gone = rig.mcp.calls[0]!.session!.lifetime;
    await new Promise<void>((resolve) => gone.onEnd(() => resolve()));
    expect((await rig.send(post(legacyBody('tools/list'), inSession(idle)))).status).toBe(404);
    expect(rig.edge.view.sessions).toBe(2);
  });

  it('are bounded: at the cap only an idle one of the same principal gives way', async () => {
    await rig.stop();
    rig = await startEdge(optionsOf({ sessions: 2 }));
    const first = await initialize(INIT, { Authorization: 'Bearer a' });
    const second = await initialize(INIT, { Authorization: 'Bearer a' });
    const refused = await rig.send(post(legacyBody('initialize', INIT), { Authorization: 'Bearer b' }));
    expect(refused.status).toBe(503);
    await initialize(INIT, { Authorization: 'Bearer a' });
    const headers = { Authorization: 'Bearer a' };
    expect((await rig.send(post(legacyBody('tools/list'), inSession(first, headers)))).status).toBe(404);
    expect((await rig.send(post(legacyBody('tools/list'), inSession(second, headers)))).status).toBe(200);
  });
});

describe('a session in use', () => {
  it('never gives way, not even to its own principal', async () => {
    await rig.stop();
    rig = await startEdge(optionsOf({ sessions: 1 }));
    const id = await initialize();
    await stream(id);
    expect((await rig.send(post(legacyBody('initialize', INIT)))).status).toBe(503);
    expect((await rig.send(post(legacyBody('tools/list'), inSession(id)))).status).toBe(200);
  });
});

describe('the GET stream', () => {
  it('carries what belongs to no call, after a priming event', async () => {
    const id = await initialize();
    const client = await stream(id);
    await client.until((text) => /id: \d+-0\nretry: \d+\ndata: \n\n/.test(text));
    const session = rig.mcp.calls[0]!.session!;
    expect(session.notify(notification('notifications/tools/list_changed'))).toBe(true);
    expect(await client.until((text) => text.includes('list_changed'))).toMatch(/id: \d+-1\n/);
  });

  it('is not primed for older clients, which parse every event', async () => {
    const id = await initialize({ ...INIT, protocolVersion: '2025-06-18' });
    const client = await stream(id, { 'MCP-Protocol-Version': '2025-06-18' });
    rig.mcp.calls[0]!.session!.notify(notification('notifications/x'));
    const text = await client.until((seen) => seen.includes('notifications/x'));
    expect(text).not.toContain('data: \n');
  });

  it('exists once: a second is 409', async () => {
    const id = await initialize();
    const first = await stream(id);
    expect((await rig.send(get(id))).status).toBe(409);
    first.socket.destroy();
    await first.close();
    await expect.poll(async () => (await stream(id)).text.startsWith('HTTP/1.1 200')).toBe(true);
  });

  it('needs an Accept that allows it', async () => {
    const id = await initialize();
    expect((await rig.send(get(id, { Accept: 'application/json' }))).status).toBe(406);
  });

  it('when nobody ever opened it drops what is said', async () => {
    await initialize();
    const session = rig.mcp.calls[0]!.session!;
    expect(session.notify(notification('notifications/x'))).toBe(false);
    expect(session.ask('roots/list', undefined, () => {})).toBeUndefined();
  });

  it('asks the client and hears its answer; a stranger cannot answer for it', async () => {
    const id = await initialize(INIT, { Authorization: 'Bearer a' });
    const client = await stream(id, { Authorization: 'Bearer a' });
    const heard: Parameters<AnswerListener>[0][] = [];
    rig.mcp.calls[0]!.session!.ask('roots/list', '{"a":1}', (reply) => heard.push(reply));
    const text = await client.until((seen) => seen.includes('roots/list'));
    const asked = JSON.parse(/data: (\{.*roots.*\})/.exec(text)![1]!) as { id: number };
    expect(asked).toMatchObject({ method: 'roots/list', params: { a: 1 } });
    const reply = JSON.stringify({ jsonrpc: '2.0', id: asked.id, result: { roots: [] } });
    const stranger = await initialize(INIT, { Authorization: 'Bearer b' });
    await rig.send(post(reply, inSession(stranger, { Authorization: 'Bearer b' })));
    await rig.send(post(reply, inSession(id, { Authorization: 'Bearer b' })));
    expect(heard).toHaveLength(0);
    const headers = inSession(id, { Authorization: 'Bearer a' });
    expect((await rig.send(post(reply, headers))).status).toBe(202);
    expect((await rig.send(post(reply, headers))).status).toBe(202);
    expect(heard).toHaveLength(1);
    expect(heard[0]).toMatchObject({ kind: 'result' });
  });

  it('withdraws a question', async () => {
    const id = await initialize();
    const client = await stream(id);
    let heard = 0;
    const withdraw = rig.mcp.calls[0]!.session!.ask('roots/list', undefined, () => heard++);
    withdraw!('not needed');
    const text = await client.until((seen) => seen.includes('notifications/cancelled'));
    expect(text).toContain('"reason":"not needed"');
    await rig.send(post('{"jsonrpc":"2.0","id":1,"result":{}}', inSession(id)));
    expect(heard).toBe(0);
  });
});

describe('a POST', () => {
  it('is a stream once something is said, with event ids', async () => {
    const id = await initialize();
    const { client, call } = await held(id);
    call.reply.notify(notification('notifications/progress', { progress: 1 }));
    await client.until((text) => text.includes('"progress":1'));
    answer(call, { done: 1 });
    const got = await client.response();
    expect(got.headers.get('content-type')).toBe('text/event-stream');
    expect(got.body).toMatch(/^id: \d+-0\nretry: \d+\ndata: \n\n/);
    expect(got.body).toMatch(/id: \d+-2\nevent: message\ndata: .*"done":1/);
  });

  it('is a stream too when the answer is long in coming: it is kept alive, and a broken one can be fetched', async () => {
    await rig.stop();
    rig = await startEdge(optionsOf({ keepAlive: 40 }));
    const id = await initialize();
    const { client, call } = await held(id);
    const seen = await client.until((text) => /^id: \d+-0\nretry: \d+\ndata: \n\n/m.test(text) && /^:$/m.test(text));
    expect(seen).toMatch(/^HTTP\/1.1 200 /);
    client.socket.destroy();
    await client.close();
    answer(call, { late: true });
    const rest = await rig.send(get(id, { 'Last-Event-ID': lastId(seen) }));
    expect(rest.body).toContain('"late":true');
  });

  it('stays JSON for a client that takes only that, however long it takes', async () => {
    await rig.stop();
    rig = await startEdge(optionsOf({ keepAlive: 5 }));
    const id = await initialize();
    const [quick, slow] = [await rig.open(), await rig.open()];
    rig.mcp.hold('tools/call');
    slow.write(post(legacyBody('tools/call', { name: 'x' }, 6), inSession(id, { Accept: 'application/json' })));
    await expect.poll(() => rig.mcp.calls.length).toBe(2);
    quick.write(post(legacyBody('tools/call', { name: 'x' }, 7), inSession(id)));
    await quick.until((text) => text.includes('text/event-stream'));
    for (const call of rig.mcp.calls.slice(1)) answer(call, { done: true });
    expect((await slow.response()).headers.get('content-type')).toBe('application/json');
  });

  it('is a stream at once for a client that prefers it, unless the status says more', async () => {
    const id = await initialize();
    const headers = inSession(id, { Accept: 'text/event-stream, application/json' });
    const got = await rig.send(post(legacyBody('tools/list'), headers));
    expect(got.headers.get('content-type')).toBe('text/event-stream');
    expect(got.body).toMatch(/^id: \d+-0\nretry: \d+\ndata: \n\nid: \d+-1\nevent: message\ndata: \{.*"result"/);
    rig.mcp.handlers.set('tools/call', (call) => {
      call.reply.respond(Buffer.from('{"jsonrpc":"2.0","id":5,"error":{"code":429,"message":"m"}}'), { status: 429 });
    });
    const refused = await rig.send(post(legacyBody('tools/call', {}, 5), headers));
    expect([refused.status, refused.headers.get('content-type')]).toEqual([429, 'application/json']);
  });

  it('can be asked on', async () => {
    const id = await initialize();
    const { client, call } = await held(id);
    expect(call.reply.canAsk).toBe(true);
    const answered = new Promise((resolve) => call.reply.ask('elicitation/create', '{}', resolve));
    const text = await client.until((seen) => seen.includes('elicitation/create'));
    const asked = JSON.parse(/data: (\{.*elicitation.*\})/.exec(text)![1]!) as { id: number };
    const reply = JSON.stringify({ jsonrpc: '2.0', id: asked.id, error: { code: -1, message: 'no' } });
    await rig.send(post(reply, inSession(id)));
    expect(await answered).toMatchObject({ kind: 'error' });
    answer(call, {});
    expect((await client.response()).body).toContain('"result":{}');
  });

  it('cannot be asked on when the client takes only JSON', async () => {
    const id = await initialize();
    rig.mcp.hold('tools/call');
    const next = rig.mcp.next('tools/call');
    const client = await rig.open();
    client.write(post(legacyBody('tools/call'), inSession(id, { Accept: 'application/json' })));
    const call = await next;
    expect(call.reply.canAsk).toBe(false);
    call.reply.notify(notification('notifications/x'));
    answer(call, {});
    expect((await client.response()).headers.get('content-type')).toBe('application/json');
  });

  it('that ends takes its open questions with it', async () => {
    const id = await initialize();
    const { client, call } = await held(id);
    call.reply.ask('elicitation/create', '{}', () => {});
    await client.until((text) => text.includes('elicitation/create'));
    answer(call, {});
    expect((await client.response()).body).toContain('notifications/cancelled');
  });

  it('is cancelled by its notification, with no response after it', async () => {
    const id = await initialize();
    const { client, call } = await held(id, 'tools/call', 'x"1');
    const ended = new Promise<TollgateError>((resolve) => call.lifetime.onEnd(resolve));
    const body = JSON.stringify({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 'x"1' } });
    expect((await rig.send(post(body, inSession(id)))).status).toBe(202);
    expect((await ended).code).toBe('cancelled');
    answer(call, { late: true });
    const got = await client.response();
    expect([got.status, got.body]).toEqual([200, '']);
    expect(rig.mcp.notifications).toHaveLength(0);
  });

  it('is cancelled by nobody else', async () => {
    const id = await initialize();
    const other = await initialize();
    const { call } = await held(id, 'tools/call', 1);
    const body = JSON.stringify({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 1 } });
    await rig.send(post(body, inSession(other)));
    expect(call.lifetime.over).toBe(false);
  });
});

describe('a client that leaves', () => {
  it('has not cancelled, and can fetch the rest of its stream', async () => {
    const id = await initialize();
    const { client, call } = await held(id);
    call.reply.notify(notification('notifications/progress', { progress: 1 }));
    const seen = await client.until((text) => text.includes('"progress":1'));
    client.socket.destroy();
    await client.close();
    await expect.poll(() => rig.edge.view.streams).toBe(0);
    expect(call.lifetime.over).toBe(false);
    call.reply.notify(notification('notifications/progress', { progress: 2 }));
    answer(call, { done: true });
    const rest = await rig.send(get(id, { 'Last-Event-ID': lastId(seen) }));
    expect(rest.body).not.toContain('"progress":1');
    expect(rest.body).toMatch(/"progress":2.*"done":true/s);
    const again = await rig.send(get(id, { 'Last-Event-ID': lastId(rest.body) }));
    expect([again.status, again.body]).toEqual([200, '']);
  });

  it('gets only events of the stream it names', async () => {
    const id = await initialize();
    const events = await stream(id);
    const { client, call } = await held(id);
    call.reply.notify(notification('notifications/progress', { progress: 1 }));
    const seen = await client.until((text) => text.includes('"progress":1'));
    rig.mcp.calls[0]!.session!.notify(notification('notifications/other'));
    await events.until((text) => text.includes('notifications/other'));
    answer(call, {});
    const rest = await rig.send(get(id, { 'Last-Event-ID': lastId(seen) }));
    expect(rest.body).not.toContain('notifications/other');
    expect(rest.body).toContain('"result":{}');
  });

  it('can take up its GET stream, which replaces the dead connection', async () => {
    const id = await initialize();
    const first = await stream(id);
    const session = rig.mcp.calls[0]!.session!;
    session.notify(notification('notifications/one'));
    const seen = await first.until((text) => text.includes('notifications/one'));
    session.notify(notification('notifications/two'));
    const second = await stream(id, { 'Last-Event-ID': lastId(seen) });
    session.notify(notification('notifications/three'));
    const text = await second.until((got) => got.includes('notifications/three'));
    expect(text).toContain('notifications/two');
    expect(text).not.toContain('notifications/one');
    expect(first.text).not.toContain('notifications/three');
    await first.until((got) => got.endsWith('0\r\n\r\n'));
  });

  it('cannot fetch with the id of nothing, or of another session', async () => {
    const id = await initialize();
    const other = await initialize();
    const client = await stream(other);
    rig.mcp.calls[1]!.session!.notify(notification('notifications/secret'));
    await client.until((text) => text.includes('secret'));
    for (const lastEventId of ['1-1', '1-0', '99-1', 'garbage', '1-99999999999999999999', '-1--1', '1']) {
      const got = await rig.send(get(id, { 'Last-Event-ID': lastEventId }));
      expect(got.status, lastEventId).toBe(400);
    }
  });
});

describe('polling (SEP-1699)', () => {
  it('closes the stream with a retry time; the client fetches the answer', async () => {
    const id = await initialize();
    const { client, call } = await held(id);
    call.reply.pause!(250);
    const got = await client.response();
    expect(got.body).toMatch(/^id: \d+-0\nretry: \d+\ndata: \n\nretry: 250\n\n$/);
    expect(call.lifetime.over).toBe(false);
    expect(call.reply.canAsk).toBe(true);
    const poll = await rig.open();
    poll.write(get(id, { 'Last-Event-ID': lastId(got.body) }));
    await poll.until((text) => text.includes('\r\n\r\n'));
    answer(call, { finally: true });
    expect((await poll.response()).body).toContain('"finally":true');
  });

  it('is not done to older clients', async () => {
    const id = await initialize({ ...INIT, protocolVersion: '2025-06-18' });
    rig.mcp.handlers.set('tools/call', (call) => {
      call.reply.pause!(1);
      answer(call, { at: 'once' });
    });
    const headers = inSession(id, { 'MCP-Protocol-Version': '2025-06-18' });
    const got = await rig.send(post(legacyBody('tools/call'), headers));
    expect(got.headers.get('content-type')).toBe('application/json');
  });
});
