import { Hono } from 'hono';
import { expect, it, vi } from 'vitest';
import { lanesOf, type Principal } from '../core/principal.ts';
import type { FinishedCall } from '../telemetry/calls.ts';
import type { RefusedCaller } from '../telemetry/refused-callers.ts';
import { streamCalls } from './call-stream.ts';

it('the stream of calls tells its reader nothing after the credential has ended', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] });
  try {
    const listeners = new Set<(call: FinishedCall) => void>();
    const watch = (listener: (call: FinishedCall) => void) => {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    };
    const refused = new Set<(caller: RefusedCaller) => void>();
    const watchRefusedCallers = (listener: (caller: RefusedCaller) => void) => {
      refused.add(listener);
      return () => void refused.delete(listener);
    };
    const who = {
      id: 'idp/ada',
      person: 'idp/ada',
      key: 1,
      lanes: lanesOf('x'),
      entry: 'idp',
      subject: 'ada',
      roles: ['operator'],
    };
    const reader: Principal = {
      ...{ ...who, tenant: undefined, tier: undefined, scopes: undefined, clientId: undefined },
      expiresAt: Date.now() + 60_000,
    };
    const app = new Hono().get('/calls', (c) => streamCalls(c, reader, { watchCalls: watch, watchRefusedCallers }));
    const response = await app.request('/calls');
    const read = response.text();
    await vi.advanceTimersByTimeAsync(59_999);
    for (const listener of listeners) listener({ method: 'first' } as unknown as FinishedCall);
    for (const listener of refused) listener({ reason: 'not_accepted' } as RefusedCaller);
    await vi.advanceTimersByTimeAsync(1);
    expect([listeners.size, refused.size]).toEqual([0, 0]);
    const text = await read;
    expect(text).toContain('event: call\ndata: {"method":"first"}');
    expect(text).toContain('event: refused_caller\ndata: {"reason":"not_accepted"}');
  } finally {
    vi.useRealTimers();
  }
});
