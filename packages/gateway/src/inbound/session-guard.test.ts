import { verifies } from '@tollgate/testkit/verifies';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { TollgateError } from '../core/errors.ts';
import { head, legacyBody, modernPost, post, principalOf, type Rig, startEdge } from './fakes.ts';

/** What the guard was asked: principal and session, in order. */
let asked: (readonly [principal: string, session: string | undefined])[];
let refuse: boolean;
let rig: Rig;

beforeEach(async () => {
  rig = await startEdge();
  asked = [];
  refuse = false;
  rig.face.guard = (principal, session) => {
    asked.push([principal.id, session]);
    return refuse ? new TollgateError('rate_limited', 'Too many requests', { retryAfterSeconds: 7 }) : undefined;
  };
});
afterEach(async () => await rig.stop());

const INIT = legacyBody('initialize', { protocolVersion: '2025-11-25', capabilities: {} }, 'i');

describe('the session guard', () => {
  it('sees every kind of request before its body is read, and refuses with 429', async () => {
    verifies('R4-13', 'R4-16');
    refuse = true;
    const sse = (method: string, path: string) =>
      head(method, { Host: '127.0.0.1', Accept: 'text/event-stream' }, path);
    for (const request of [
      post('this is not even JSON'),
      modernPost('tools/call', { name: 'x' }),
      sse('GET', '/sse'),
      sse('GET', '/mcp'),
      post('{}', {}, '/messages/?session_id=x'),
    ]) {
      const got = await rig.send(request);
      expect(got.status, request.slice(0, 40)).toBe(429);
      expect(got.headers.get('retry-after')).toBe('7');
      expect(JSON.parse(got.body)).toEqual({ jsonrpc: '2.0', error: { code: 429, message: 'Too many requests' } });
    }
    expect(rig.mcp.calls).toEqual([]);
    expect(asked).toHaveLength(5);
  });

  it('counts by the session that a token names, where the protocol has none', async () => {
    verifies('X4-04');
    const who = { ...principalOf('ada', 9), session: { id: 'idp/ada/s1' } };
    rig.face.identify = () => who;
    await rig.send(modernPost('tools/list'));
    const opened = await rig.send(post(INIT));
    await rig.send(post(legacyBody('ping'), { 'Mcp-Session-Id': opened.headers.get('mcp-session-id')! }));
    const [modern, first, within] = asked.map(([, session]) => session);
    expect([modern, first]).toEqual(['idp/ada/s1', 'idp/ada/s1']);
    expect(within).toBe(opened.headers.get('mcp-session-id'));
  });

  it('counts by a session only where it is the own one of the caller', async () => {
    verifies('R4-01');
    const opened = await rig.send(post(INIT, { Authorization: 'Bearer a' }));
    const id = opened.headers.get('mcp-session-id')!;
    const ping = (headers: Record<string, string>) =>
      rig.send(post(legacyBody('ping'), { 'Mcp-Session-Id': id, 'MCP-Protocol-Version': '2025-11-25', ...headers }));
    await ping({ Authorization: 'Bearer a' });
    await ping({ Authorization: 'Bearer b' });
    await ping({ Authorization: 'Bearer a', 'Mcp-Session-Id': 'made-up' });
    const caller = asked[0]![0];
    expect(asked.map(([, session]) => session)).toEqual([undefined, id, undefined, undefined]);
    expect(asked.map(([principal]) => principal === caller)).toEqual([true, true, false, true]);
  });

  it('counts posts of an HTTP+SSE client by its stream', async () => {
    const stream = await rig.open();
    stream.write(head('GET', { Host: '127.0.0.1', Accept: 'text/event-stream' }, '/sse'));
    const text = await stream.until((seen) => seen.includes('event: endpoint'));
    const messages = /data: (\S+)/.exec(text)![1]!;
    await rig.send(post(INIT, {}, messages));
    expect(asked.at(-1)![1]).toBe(messages.split('=')[1]);
  });

  it('is not asked about callers that are not let in', async () => {
    const got = await rig.send(post(INIT, { Authorization: 'Bearer nobody' }));
    expect(got.status).toBe(401);
    expect(asked).toEqual([]);
  });
});
