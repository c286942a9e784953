import { verifies } from '@tollgate/testkit/verifies';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { TollgateError } from '../core/errors.ts';
import {
  answer,
  head,
  legacyBody,
  modernBody,
  notification,
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

interface Sse {
  readonly stream: RawClient;
  readonly messages: string;
}

async function open(path = '/mcp/sse', headers: Record<string, string> = {}): Promise<Sse> {
  const stream = await rig.open();
  stream.write(head('GET', { Host: '127.0.0.1', Accept: 'text/event-stream', ...headers }, path));
  const text = await stream.until((seen) => seen.includes('event: endpoint'));
  return { stream, messages: /event: endpoint\ndata: (\S+)\n\n/.exec(text)![1]! };
}

async function say(sse: Sse, body: string, headers: Record<string, string> = {}): Promise<number> {
  return (await rig.send(post(body, headers, sse.messages))).status;
}

const INIT = legacyBody('initialize', { protocolVersion: '2024-11-05', capabilities: { roots: {} } }, 'i');

async function initialized(path?: string): Promise<Sse> {
  const sse = await open(path);
  expect(await say(sse, INIT)).toBe(202);
  await sse.stream.until((text) => text.includes('"id":"i"'));
  return sse;
}

describe('HTTP+SSE of 2024-11-05', () => {
  it.each([
    ['/mcp/sse', '/mcp/messages/'],
    ['/sse', '/messages/'],
    ['/team/sse', '/team/messages/'],
    ['/sse/', '/messages/'],
  ])('at %s names %s and answers on the stream', async (path, messages) => {
    verifies('R1-62');
    const sse = await initialized(path);
    expect(sse.messages.startsWith(`${messages}?session_id=`)).toBe(true);
    expect(await say(sse, legacyBody('tools/list', {}, 77))).toBe(202);
    expect(await sse.stream.until((text) => text.includes('"id":77'))).toContain('event: message\ndata: {');
    const endpoint = path.startsWith('/team') ? rig.team : rig.mcp;
    expect(endpoint.calls[1]).toMatchObject({
      transport: 'sse',
      era: 'legacy',
      version: '2024-11-05',
      session: { version: '2024-11-05', capabilities: { roots: {} } },
    });
  });

  it('is not there for endpoints that do not exist', async () => {
    expect((await rig.send(head('GET', { Host: '127.0.0.1' }, '/other/sse'))).status).toBe(404);
  });

  it('asks, notifies and cancels on its one stream', async () => {
    const sse = await initialized();
    rig.mcp.hold('tools/call');
    const next = rig.mcp.next('tools/call');
    await say(sse, legacyBody('tools/call', {}, 5));
    const call = await next;
    call.reply.notify(notification('notifications/progress', { progress: 1 }));
    const answered = new Promise((resolve) => call.reply.ask('roots/list', undefined, resolve));
    const text = await sse.stream.until((seen) => seen.includes('roots/list'));
    expect(text).toContain('"progress":1');
    const { id } = JSON.parse(/data: (\{.*roots.*\})/.exec(text)![1]!) as { id: number };
    await say(sse, JSON.stringify({ jsonrpc: '2.0', id, result: { roots: [] } }));
    expect(await answered).toMatchObject({ kind: 'result' });
    const ended = new Promise<TollgateError>((resolve) => call.lifetime.onEnd(resolve));
    await say(sse, '{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":5}}');
    expect((await ended).code).toBe('cancelled');
    answer(call, { late: true });
    expect(call.session!.notify(notification('notifications/after'))).toBe(true);
    expect(await sse.stream.until((seen) => seen.includes('notifications/after'))).not.toContain('late');
  });

  it('refuses requests before initialize on the stream', async () => {
    const sse = await open();
    expect(await say(sse, legacyBody('tools/list', {}, 3))).toBe(202);
    expect(await sse.stream.until((text) => text.includes('"id":3'))).toContain('"code":-32600');
    expect(rig.mcp.calls).toHaveLength(0);
  });

  it('serves no modern requests', async () => {
    const sse = await open();
    const got = await rig.send(post(modernBody('tools/list'), {}, sse.messages));
    expect(got.status).toBe(400);
    expect(JSON.parse(got.body).error.code).toBe(-32022);
  });

  it('is 404 for another principal, another endpoint and after its end', async () => {
    const sse = await open('/mcp/sse', { Authorization: 'Bearer a' });
    expect(await say(sse, INIT, { Authorization: 'Bearer b' })).toBe(404);
    expect(await say(sse, INIT)).toBe(404);
    const elsewhere = { ...sse, messages: sse.messages.replace('/mcp/', '/team/') };
    expect(await say(elsewhere, INIT, { Authorization: 'Bearer a' })).toBe(404);
    expect(rig.mcp.calls).toHaveLength(0);
    sse.stream.socket.destroy();
    await expect.poll(async () => await say(sse, INIT, { Authorization: 'Bearer a' })).toBe(404);
  });

  it('ends its calls with the stream', async () => {
    const sse = await initialized();
    rig.mcp.hold('tools/call');
    const next = rig.mcp.next('tools/call');
    await say(sse, legacyBody('tools/call', {}, 5));
    const call = await next;
    const ended = new Promise<TollgateError>((resolve) => call.lifetime.onEnd(resolve));
    sse.stream.socket.destroy();
    expect((await ended).code).toBe('cancelled');
    answer(call, {});
    await expect.poll(() => rig.edge.view).toMatchObject({ sessions: 0, streams: 0, calls: 0 });
  });

  it('serves GET and POST only where they belong', async () => {
    expect((await rig.send(post('{}', {}, '/mcp/sse'))).status).toBe(405);
    expect((await rig.send(head('GET', { Host: '127.0.0.1' }, '/mcp/messages/'))).status).toBe(405);
  });
});
