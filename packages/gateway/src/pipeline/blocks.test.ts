/** An operator keeps a caller out: at every door, at once, and what is open ends. */
import * as node from 'node:http';
import { modernBody, modernHeaders, modernMeta } from '@tollgate/testkit/modern-request';
import { describe, expect, it, vi } from 'vitest';
import { createUserApi, isUserPath } from '../api/user/user-api.ts';
import { systemClock } from '../core/clock.ts';
import { silentLog } from '../core/log.ts';
import { administrationOf, userPortOf } from './ports.ts';
import { GatewayState } from './state.ts';
import { startGateway, startScripted, type TestGateway, tool } from './testing.ts';

const token = (name: string): string => `token-of-${name}-0123456789`;
const bearer = (name: string, tenant?: string) => ({
  name,
  bearer: { token: token(name), subject: name, ...(tenant === undefined ? {} : { tenant }) },
});

describe('a blocked caller', () => {
  it('is out at every door at once, loses what it has open, and comes back when the block ends', async () => {
    await using server = await startScripted({});
    let late = 0;
    const clock = { wall: () => systemClock.wall() + late, monotonic: () => systemClock.monotonic() };
    const state = await GatewayState.transient({ clock, log: silentLog });
    await using gateway = await startGateway(
      { servers: { s: { url: server.url } }, auth: [bearer('ada', 'acme'), bearer('bob')] },
      { state, clock },
    );
    const administration = administrationOf({ clock, state, gateway: () => gateway.gateway });
    const call = (who: string) => gateway.call('tools/list', {}, { token: token(who) });
    const open = async (who: string) => {
      const response = await fetch(`${gateway.url}/mcp`, {
        method: 'POST',
        headers: {
          ...Object.fromEntries(modernHeaders('subscriptions/listen', {})),
          authorization: `Bearer ${token(who)}`,
        },
        body: modernBody(7, 'subscriptions/listen', { _meta: modernMeta(), notifications: {} }),
      });
      const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
      await reader.read();
      return reader;
    };
    const legacy = (who: string, session: string | undefined, body: object) =>
      fetch(`${gateway.url}/mcp`, {
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          accept: 'application/json, text/event-stream',
          authorization: `Bearer ${token(who)}`,
          ...(session === undefined ? {} : { 'mcp-session-id': session }),
        },
        body: JSON.stringify({ jsonrpc: '2.0', ...body }),
      });
    const params = { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 't', version: '1' } };
    const opened = await legacy('ada', undefined, { id: 0, method: 'initialize', params });
    await opened.arrayBuffer();
    const session = opened.headers.get('mcp-session-id')!;
    const [ada, bob] = [await open('ada'), await open('bob')];

    const until = clock.wall() + 60_000;
    await administration.block({ who: 'tenant:acme', reason: 'incident 7', by: 'ops/ops', until });
    const refused = await call('ada');
    expect([refused.status, refused.body.error?.code, refused.body.error?.data?.['reason']]).toEqual([
      403,
      403,
      'blocked',
    ]);
    expect(JSON.stringify(refused.body)).not.toContain('incident 7');
    expect(
      gateway.gateway.barred((await gateway.gateway.identify(`Bearer ${token('bob')}`, '/mcp', undefined)) as never),
    ).toBeUndefined();
    expect((await call('bob')).status).toBe(200);
    // The admin surfaces ask the same.
    expect(await gateway.gateway.identify(`Bearer ${token('ada')}`, '', undefined)).toMatchObject({ code: 'blocked' });
    let text = '';
    for (let part = await ada.read(); !part.done; part = await ada.read()) text += part.value;
    expect(text).toContain('"resultType":"complete"');
    expect(gateway.gateway.hub.streams).toBe(1);

    late = 60_000;
    expect((await call('ada')).status).toBe(200);
    // The session went with the block.
    expect((await legacy('ada', session, { id: 1, method: 'ping' })).status).toBe(404);
    await bob.cancel();
    await state.close();
  });

  it('is nobody whom a mistake names, and never who blocks', async () => {
    const state = await GatewayState.transient({ clock: systemClock, log: silentLog });
    const administration = administrationOf({ clock: systemClock, state, gateway: () => undefined as never });
    for (const who of ['ada', 'tenant:', 'ops/ops']) {
      await expect(administration.block({ who, reason: 'r', by: 'ops/ops' })).rejects.toMatchObject({
        code: 'invalid_params',
      });
    }
    expect(administration.blocks()).toEqual([]);
    await state.close();
  });
});

describe('a request that was begun before the block', () => {
  it.each([
    ['over MCP', '/mcp'],
    ['over REST', '/mcp/tools/invoke'],
  ])('%s runs nothing when its body comes after it', async (_, path) => {
    await using server = await startScripted({
      'tools/list': () => ({ tools: [tool('work')], ttlMs: 60_000, cacheScope: 'private' }),
      'tools/call': () => ({ content: [] }),
    });
    const state = await GatewayState.transient({ clock: systemClock, log: silentLog });
    let running: TestGateway | undefined;
    const api = createUserApi(userPortOf({ clock: systemClock, state, gateway: () => running!.gateway }), silentLog);
    await using gateway = await startGateway(
      { servers: { s: { url: server.url } }, auth: [bearer('ada')] },
      {
        state,
        publicMount: (request, response, at, { address }) => {
          if (!isUserPath(at)) return false;
          api(request, response, address);
          return true;
        },
      },
    );
    running = gateway;
    const guard = vi.spyOn(gateway.gateway, 'identify');
    const administration = administrationOf({ clock: systemClock, state, gateway: () => gateway.gateway });
    const body =
      path === '/mcp'
        ? modernBody(1, 'tools/call', { name: 'work', arguments: {}, _meta: modernMeta() })
        : JSON.stringify({ tool_name: 'work', parameters: {}, user_id: 'ada' });
    const request = node.request(gateway.url + path, {
      method: 'POST',
      headers: {
        ...Object.fromEntries(modernHeaders('tools/call', { name: 'work' })),
        'content-type': 'application/json',
        'content-length': Buffer.byteLength(body),
        authorization: `Bearer ${token('ada')}`,
      },
    });
    const answered = new Promise<node.IncomingMessage>((resolve) => request.once('response', resolve));
    request.write(body.slice(0, 10));
    await expect.poll(() => guard.mock.calls.length).toBeGreaterThan(0);
    await administration.block({ who: 'ada/ada', reason: 'x', by: 'ops/ops', until: systemClock.wall() + 60_000 });
    request.end(body.slice(10));
    const answer = await answered;
    answer.resume();
    expect(answer.statusCode).toBe(403);
    expect(server.seen.some(({ method }) => method === 'tools/call')).toBe(false);
  });
});
