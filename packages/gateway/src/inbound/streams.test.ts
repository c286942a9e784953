/** Streams as a resource: slow readers, caps, idle ones, and what a shutdown does to them. */
import { verifies } from '@tollgate/testkit/verifies';
import { afterEach, describe, expect, it } from 'vitest';
import type { TollgateError } from '../core/errors.ts';
import type { Call } from '../protocol/call.ts';
import { answer, head, modernPost, notification, optionsOf, type RawClient, type Rig, startEdge } from './fakes.ts';

let rig: Rig;
afterEach(async () => await rig.stop());

/** The pipeline's part of a listen stream: acknowledges, and answers when its lifetime ends. */
function listening(target: Rig): Call[] {
  const open: Call[] = [];
  target.mcp.handlers.set('subscriptions/listen', (call) => {
    open.push(call);
    call.reply.notify(notification('notifications/subscriptions/acknowledged'));
    call.lifetime.onEnd(() => answer(call, { resultType: 'complete', bye: true }));
  });
  return open;
}

async function listen(target: Rig, headers: Record<string, string> = {}): Promise<RawClient> {
  const client = await target.open();
  client.write(modernPost('subscriptions/listen', {}, headers));
  await client.until((text) => text.includes('acknowledged') || text.includes('"error"'));
  return client;
}

describe('a slow reader', () => {
  it('of an event stream is closed at the cap, and its call ends with the reason', async () => {
    rig = await startEdge();
    rig.mcp.hold('tools/call');
    const next = rig.mcp.next('tools/call');
    const client = await rig.open();
    client.write(modernPost('tools/call', { name: 'flood' }));
    const call = await next;
    client.socket.pause();
    const ended = new Promise<TollgateError>((resolve) => call.lifetime.onEnd(resolve));
    const event = notification('notifications/message', { data: 'x'.repeat(60_000) });
    // Sockets take some megabytes before anything waits here; the cap is on what waits.
    for (let i = 0; i < 2000 && !call.lifetime.over; i++) {
      call.reply.notify(event);
      if (i % 50 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    const reason = await ended;
    expect(reason.code).toBe('cancelled');
    expect(reason.message).toContain('waiting for the client');
    answer(call, {});
    expect(rig.edge.view).toMatchObject({ streams: 0, calls: 0 });
  });

  it('that stops reading is closed after a few keep-alive rounds', async () => {
    rig = await startEdge(optionsOf({ keepAlive: 32, streamBuffer: 1024 * 1024 * 1024 }));
    rig.mcp.hold('tools/call');
    const next = rig.mcp.next('tools/call');
    const client = await rig.open();
    client.write(modernPost('tools/call', { name: 'stall' }));
    const call = await next;
    client.socket.pause();
    const ended = new Promise<TollgateError>((resolve) => call.lifetime.onEnd(resolve));
    for (let i = 0; i < 400; i++) call.reply.notify(notification('notifications/x', { data: 'x'.repeat(60_000) }));
    expect((await ended).message).toContain('stopped reading');
  });
});

describe('a quiet stream', () => {
  it('is kept alive by comments', async () => {
    rig = await startEdge(optionsOf({ keepAlive: 20 }));
    listening(rig);
    const client = await listen(rig);
    await client.until((text) => (text.match(/^:.*$/gm) ?? []).length >= 2);
  });
});

describe('caps on streams', () => {
  it('hold for one principal and for all; ended streams count no more', async () => {
    rig = await startEdge(optionsOf({ streams: 3, streamsPerPrincipal: 2 }));
    listening(rig);
    const first = await listen(rig, { Authorization: 'Bearer a' });
    await listen(rig, { Authorization: 'Bearer a' });
    expect((await listen(rig, { Authorization: 'Bearer a' })).text).toMatch(/^HTTP\/1.1 503 /);
    await listen(rig, { Authorization: 'Bearer b' });
    expect((await listen(rig)).text).toMatch(/^HTTP\/1.1 503 /);
    first.socket.destroy();
    await expect.poll(() => rig.edge.view.streams).toBe(2);
    expect((await listen(rig)).text).toMatch(/^HTTP\/1.1 200 /);
  });
});

describe('a listen stream', () => {
  it('needs an Accept that allows it', async () => {
    rig = await startEdge();
    const calls = listening(rig);
    const got = await rig.send(modernPost('subscriptions/listen', {}, { Accept: 'application/json' }));
    expect([got.status, calls.length]).toEqual([406, 0]);
  });
});

describe('a thousand idle streams', () => {
  it('cost little, share one timer, and all hear an event', async () => {
    verifies('R1-62');
    rig = await startEdge(optionsOf({ keepAlive: 200 }));
    const calls = listening(rig);
    const before = process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
    const clients: RawClient[] = [];
    for (let i = 0; i < 20; i++) clients.push(...(await Promise.all(Array.from({ length: 50 }, () => listen(rig)))));
    expect(rig.edge.view).toMatchObject({ streams: 1000, calls: 1000 });
    const timers = process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
    expect(timers - before).toBeLessThan(20);
    for (const call of calls) call.reply.notify(notification('notifications/tools/list_changed'));
    await Promise.all(clients.map(async (client) => await client.until((text) => text.includes('list_changed'))));
    for (const client of clients) client.socket.destroy();
    await expect.poll(() => rig.edge.view).toMatchObject({ streams: 0, calls: 0 });
  });
});

describe('drain', () => {
  it('gives listen streams their final result, waits for calls, and refuses new ones', async () => {
    rig = await startEdge();
    listening(rig);
    rig.mcp.hold('tools/call');
    const idle = await rig.open();
    idle.write(modernPost('tools/list'));
    await idle.response();
    const stream = await listen(rig);
    const next = rig.mcp.next('tools/call');
    const slow = await rig.open();
    slow.write(modernPost('tools/call', { name: 'slow' }));
    const call = await next;
    const busy = await rig.open();
    busy.write('POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\n');
    await rig.send(modernPost('tools/list'));
    const drained = rig.edge.drain(5000);
    expect((await stream.response()).body).toContain('"bye":true');
    await idle.close();
    busy.write('Content-Length: 2\r\nContent-Type: application/json\r\n\r\n{}');
    const refused = await busy.response();
    expect([refused.status, refused.headers.get('connection')]).toEqual([503, 'close']);
    expect(call.lifetime.over).toBe(false);
    answer(call, { finished: true });
    const last = await slow.response();
    expect(last.body).toContain('"finished":true');
    await drained;
    await expect(rig.open()).rejects.toThrow();
  });

  it('ends calls that take longer than its deadline', async () => {
    rig = await startEdge();
    rig.mcp.hold('tools/call');
    const next = rig.mcp.next('tools/call');
    const client = await rig.open();
    client.write(modernPost('tools/call', { name: 'slow' }));
    const call = await next;
    call.lifetime.onEnd((reason) => answer(call, { ended: reason.code }));
    await rig.edge.drain(10);
    expect((await client.response()).body).toContain('"ended":"shutting_down"');
  });

  it('closes even when an endpoint never answers', async () => {
    rig = await startEdge();
    rig.mcp.hold('tools/call');
    const next = rig.mcp.next('tools/call');
    const client = await rig.open();
    client.write(modernPost('tools/call', { name: 'never' }));
    await next;
    await rig.edge.drain(10);
    await client.close();
  });

  it('makes the gateway not ready', async () => {
    rig = await startEdge();
    rig.face.draining = true;
    expect((await rig.send(head('GET', { Host: '127.0.0.1' }, '/readyz'))).status).toBe(503);
    expect((await rig.send(modernPost('tools/list'))).status).toBe(503);
  });
});

describe('listen', () => {
  it('says which address is taken', async () => {
    rig = await startEdge();
    await expect(startEdge(optionsOf({}, { port: rig.port }))).rejects.toMatchObject({ code: 'listen_failed' });
  });
});
