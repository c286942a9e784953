/** Calls whose verdict comes later than their turn: the limiter is behind a network, the caller need not wait for it. */
import { type Ask, MemoryLimiter } from '@tollgate/limiter';
import { modernBody, modernHeaders, modernMeta } from '@tollgate/testkit/modern-request';
import { waitUntil } from '@tollgate/testkit/wait';
import { describe, expect, it } from 'vitest';
import { systemClock } from '../core/clock.ts';
import { silentLog } from '../core/log.ts';
import type { GatewayState } from './state.ts';
import { startGateway, startScripted, tool } from './testing.ts';

const LEGACY = {
  'content-type': 'application/json',
  accept: 'application/json, text/event-stream',
  'mcp-protocol-version': '2025-11-25',
};

/** State over a limiter that decides only when it is let. */
function lateState() {
  const limiter = new MemoryLimiter();
  const waiting: (() => void)[] = [];
  let late = true;
  const handler: ProxyHandler<MemoryLimiter> = {
    get: (target, key) => {
      const value: unknown = Reflect.get(target, key, target);
      if (typeof value !== 'function') return value;
      if (key !== 'decide') return value.bind(target) as unknown;
      return async (ask: Ask, now: number) => {
        const outcome = target.decide(ask, now);
        if (late) await new Promise<void>((resolve) => waiting.push(resolve));
        return outcome;
      };
    },
  };
  const state = {
    admission: () => ({ clock: systemClock, log: silentLog, limiter: new Proxy(limiter, handler) }),
    touch: () => undefined,
    decisions: undefined,
    roundKey: undefined,
    begin: async () => undefined,
    keys: { whenWithdrawn: () => undefined },
    books: {},
    view: () => undefined,
  } as unknown as GatewayState;
  const release = (): void => {
    late = false;
    for (const go of waiting.splice(0)) go();
  };
  return { state, waiting, release };
}

const TOOLS = { 'tools/list': () => ({ tools: [tool('run')], ttlMs: 60_000, cacheScope: 'private' }) };

describe('a verdict that comes later', () => {
  it('charges nothing to a caller that left before it, and runs nothing', async () => {
    await using server = await startScripted(TOOLS);
    const { state, waiting, release } = lateState();
    await using gateway = await startGateway(
      {
        servers: { s: { url: server.url } },
        tools: { 's/run': { price: { each: '1 USD' } } },
        limits: { spend: { by: 'principal', limit: '10 USD/day' }, calls: { by: 'principal', limit: '10/h' } },
      },
      { state },
    );
    const left = new AbortController();
    const params = { name: 'run', arguments: {}, _meta: modernMeta() };
    const call = fetch(`${gateway.url}/mcp`, {
      method: 'POST',
      headers: Object.fromEntries(modernHeaders('tools/call', params)),
      body: modernBody(1, 'tools/call', params),
      signal: left.signal,
    }).catch(() => undefined);
    const ended: { outcome: string }[] = [];
    gateway.gateway.calls.watch((one) => ended.push(one));
    await waitUntil('the question', async () => waiting.length === 1);
    left.abort();
    await call;
    // The gateway learns of it when the socket has closed.
    await waitUntil('the end of the connection', async () => gateway.gateway.view.connections === 0);
    release();
    await waitUntil('the end of the call', async () => ended.length === 1);
    const answer = await gateway.call('tools/call', { name: 'tollgate_quota', arguments: {} });
    expect(answer.body.result?.['structuredContent']).toMatchObject({
      limits: [{ remaining: '10.00' }, { remaining: '10' }],
    });
    expect(server.seen.filter(({ method }) => method === 'tools/call')).toHaveLength(0);
  });

  it('answers a request that turns out to be wrong after it', async () => {
    await using server = await startScripted(TOOLS);
    const { state, release } = lateState();
    release();
    await using gateway = await startGateway(
      {
        servers: { s: { url: server.url } },
        limits: { level: { on: 'logging/setLevel', by: 'principal', limit: '9/h' } },
      },
      { state },
    );
    const post = (body: object, session?: string): Promise<Response> =>
      fetch(`${gateway.url}/mcp`, {
        method: 'POST',
        headers: { ...LEGACY, ...(session === undefined ? {} : { 'mcp-session-id': session }) },
        body: JSON.stringify({ jsonrpc: '2.0', ...body }),
        signal: AbortSignal.timeout(30_000),
      });
    const hello = { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'c', version: '1' } };
    const opened = await post({ id: 1, method: 'initialize', params: hello });
    const session = opened.headers.get('mcp-session-id')!;
    await opened.text();
    const refused = await post({ id: 2, method: 'logging/setLevel', params: { level: 'loud' } }, session);
    expect(await refused.text()).toContain('params.level must be one of');
  });
});
