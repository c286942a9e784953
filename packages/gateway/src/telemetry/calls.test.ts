import { createFakeClock } from '@tollgate/testkit/fake-clock';
import { describe, expect, it } from 'vitest';
import { TollgateError } from '../core/errors.ts';
import type { Call } from '../protocol/call.ts';
import { encode } from '../protocol/json/splice.ts';
import { CallLog, type FinishedCall } from './calls.ts';

const START = Date.UTC(2026, 10, 20);

function call(
  fields: Partial<Record<'canonicalId' | 'server' | 'method' | 'principal', string>> & { startedAt?: number } = {},
): Call {
  const {
    canonicalId = 'files/read',
    server = 'files',
    method = 'tools/call',
    principal = 'ci/ci',
    startedAt = 0,
  } = fields;
  return {
    message: { method },
    endpoint: '/mcp',
    era: 'modern',
    principal: { id: principal },
    canonicalId,
    server,
    startedAt,
    decisionId: 'tg-1',
  } as unknown as Call;
}

const RESULT = encode({ jsonrpc: '2.0', id: 1, result: { content: [] } });
const TOOL_ERROR = encode({ jsonrpc: '2.0', id: 1, result: { content: [], isError: true } });
const FINE = encode({ jsonrpc: '2.0', id: 1, result: { content: [], isError: false } });
const ERROR = encode({ jsonrpc: '2.0', id: 1, error: { code: -32602, message: 'x' } });

describe('the call log', () => {
  it('tells how each call ended', () => {
    const clock = createFakeClock(START);
    const log = new CallLog({ clock });
    clock.advance(10);
    log.answered(call(), RESULT);
    log.answered(call(), FINE);
    log.answered(call(), undefined);
    log.answered(call(), TOOL_ERROR);
    log.answered(call(), ERROR);
    log.failed(call(), new TollgateError('server_unavailable', 'x'));
    log.failed(call(), new TollgateError('access_denied', 'x'));
    log.failed(call(), new TollgateError('cancelled', 'x'));
    log.refused(call(), { reason: 'rate_limited', binding: { limit: { name: 'calls' } } });
    expect(log.recent().map(({ outcome, reason }) => [outcome, reason])).toEqual([
      ['answered', undefined],
      ['answered', undefined],
      ['answered', undefined],
      ['tool_error', 'tool_error'],
      ['error', '-32602'],
      ['failed', 'server_unavailable'],
      ['refused', 'access_denied'],
      ['cancelled', 'cancelled'],
      ['refused', 'calls'],
    ]);
    expect(log.recent()[0]).toEqual({
      at: START + 10,
      durationMs: 10,
      endpoint: '/mcp',
      era: 'modern',
      principal: 'ci/ci',
      method: 'tools/call',
      target: 'files/read',
      server: 'files',
      outcome: 'answered',
      reason: undefined,
      decisionId: 'tg-1',
    });
  });

  it('keeps the last ones only, oldest first', () => {
    const log = new CallLog({ clock: createFakeClock(), keep: 3 });
    expect(log.recent()).toEqual([]);
    const targets = () => log.recent().map(({ target }) => target);
    for (let i = 1; i <= 3; i++) log.answered(call({ canonicalId: `s/${i}` }), RESULT);
    expect(targets()).toEqual(['s/1', 's/2', 's/3']);
    for (let i = 4; i <= 5; i++) log.answered(call({ canonicalId: `s/${i}` }), RESULT);
    expect(targets()).toEqual(['s/3', 's/4', 's/5']);
  });

  it('counts in all, per server and per tool, with latency of what ran', () => {
    const clock = createFakeClock();
    const log = new CallLog({ clock });
    clock.advance(100);
    log.answered(call({ startedAt: 98 }), RESULT);
    log.answered(call({ startedAt: 94 }), TOOL_ERROR);
    log.answered(call({ startedAt: 96, canonicalId: 'exa/search', server: 'exa' }), RESULT);
    log.refused(call({ startedAt: 100, canonicalId: 'exa/search', server: 'exa' }), {
      reason: 'rate_limited',
      binding: { limit: { name: 'l' } },
    });
    log.failed(call({ startedAt: 1 }), new TollgateError('cancelled', 'x'));
    log.answered(call({ method: 'resources/read', canonicalId: 'files/a:b' }), RESULT);
    const { servers, tools, ...all } = log.statistics();
    expect(all).toMatchObject({ total: 6, successful: 3, failed: 1, refused: 1, cancelled: 1, successRate: 0.75 });
    expect(all.latency).toEqual({ min: 2, max: 100, average: 28 });
    expect(servers.get('exa')).toMatchObject({ total: 2, successful: 1, latency: { min: 4, max: 4, average: 4 } });
    expect([...tools.keys()]).toEqual(['files/read', 'exa/search']);
    expect(tools.get('files/read')).toMatchObject({ total: 3, failed: 1 });
    expect(new CallLog({ clock }).statistics()).toMatchObject({ total: 0, successRate: 1, latency: undefined });
  });

  it('stays bounded whatever the names', () => {
    const log = new CallLog({ clock: createFakeClock(), maxNames: 2 });
    for (let i = 0; i < 10; i++) log.answered(call({ canonicalId: `s/${i}` }), RESULT);
    const { tools } = log.statistics();
    expect([...tools].map(([name, { total }]) => [name, total])).toEqual([
      ['s/0', 1],
      ['s/1', 1],
      ['other', 8],
    ]);
    log.answered(call({ canonicalId: 'x'.repeat(100_000) }), RESULT);
    expect(log.recent().at(-1)!.target).toHaveLength(257);
  });

  it('tells watchers, and drops one that throws without harm to call or others', () => {
    const log = new CallLog({ clock: createFakeClock() });
    const seen: FinishedCall[] = [];
    let thrown = 0;
    log.watch(() => {
      thrown++;
      throw new Error('watcher');
    });
    const stop = log.watch((record) => seen.push(record));
    log.answered(call(), RESULT);
    log.answered(call(), RESULT);
    expect([thrown, seen.length]).toEqual([1, 2]);
    stop();
    log.answered(call(), RESULT);
    expect(seen).toHaveLength(2);
    // What a watcher was given does not change when the ring goes round.
    expect(seen[0]).not.toBe(seen[1]);
  });
});
