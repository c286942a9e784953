import { createFakeClock, type FakeClock } from '@tollgate/testkit/fake-clock';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Principal } from '../core/principal.ts';
import {
  answer,
  head,
  legacyBody,
  modernPost,
  notification,
  optionsOf,
  post,
  principalOf,
  type Rig,
  startEdge,
} from './fakes.ts';

let clock: FakeClock;
let rig: Rig;
let who: Principal;

beforeEach(async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  clock = createFakeClock();
  rig = await startEdge(optionsOf(), { clock });
  who = until(60_000);
  rig.face.identify = () => who;
});
afterEach(async () => {
  vi.useRealTimers();
  await rig.stop();
});

const until = (ms: number | undefined): Principal => ({
  ...principalOf('ada', 9),
  expiresAt: ms === undefined ? undefined : clock.wall() + ms,
});
async function pass(ms: number): Promise<void> {
  clock.advance(ms);
  await vi.advanceTimersByTimeAsync(ms);
}
const GET = { Host: '127.0.0.1', Accept: 'text/event-stream' };

async function openSession(): Promise<string> {
  const got = await rig.send(post(legacyBody('initialize', { protocolVersion: '2025-11-25', capabilities: {} })));
  return got.headers.get('mcp-session-id')!;
}

describe('a credential that ends', () => {
  it('ends the listen stream that was opened with it, in order, and no other', async () => {
    rig.mcp.handlers.set('subscriptions/listen', (call) => {
      call.reply.notify(notification('notifications/x'));
      call.lifetime.onEnd(() => answer(call, { resultType: 'complete' }));
    });
    const [ending, lasting] = [await rig.open(), await rig.open()];
    ending.write(modernPost('subscriptions/listen', { notifications: {} }));
    await ending.until((text) => text.includes('notifications/x'));
    who = until(undefined);
    lasting.write(modernPost('subscriptions/listen', { notifications: {} }));
    await lasting.until((text) => text.includes('notifications/x'));
    await pass(59_999);
    expect(rig.edge.view.streams).toBe(2);
    await pass(1);
    expect((await ending.response()).body).toContain('"resultType":"complete"');
    await pass(10 ** 9);
    expect(rig.edge.view.streams).toBe(1);
  });

  it('ends its legacy session with the stream of it, unless the client came with a newer one', async () => {
    const [kept, lost] = [await openSession(), await openSession()];
    const stream = await rig.open();
    stream.write(head('GET', { ...GET, 'Mcp-Session-Id': lost }));
    await stream.until((text) => text.includes('retry:'));
    await pass(30_000);
    who = until(60_000);
    await rig.send(post(legacyBody('ping'), { 'Mcp-Session-Id': kept }));
    await pass(30_000);
    expect(rig.edge.view.sessions).toBe(1);
    await stream.response();
    expect((await rig.send(post(legacyBody('ping'), { 'Mcp-Session-Id': lost }))).status).toBe(404);
    await pass(29_999);
    expect(rig.edge.view.sessions).toBe(1);
    await pass(1);
    expect(rig.edge.view.sessions).toBe(0);
  });

  it('ends the stream of 2024-11-05', async () => {
    const stream = await rig.open();
    stream.write(head('GET', GET, '/sse'));
    const text = await stream.until((read) => read.includes('session_id='));
    const path = /data: (\S+)/.exec(text)![1]!;
    await pass(30_000);
    who = until(40_000);
    expect((await rig.send(post(legacyBody('ping'), {}, path))).status).toBe(202);
    await pass(30_000);
    expect(rig.edge.view.sessions).toBe(1);
    await pass(10_000);
    await stream.response();
    expect(rig.edge.view.sessions).toBe(0);
  });
});
