import { readFileSync } from 'node:fs';
import { verifies } from '@tollgate/testkit/verifies';
import { describe, expect, it } from 'vitest';
import { TollgateError } from '../core/errors.ts';
import type { Decision, ViolatedLimit } from './decision.ts';
import type { LimitOptions } from './options.ts';
import { errorTable, REASONS, reasonTable } from './reasons.ts';
import { type RefusalContext, refuse } from './refusal.ts';
import { decisionText, errorText } from './refusal-text.ts';
import { durationWords, limitWords } from './words.ts';

const RESET = Date.UTC(2026, 10, 20, 12, 0, 30);

function violation(limit: Partial<LimitOptions> = {}, rest: Partial<ViolatedLimit> = {}): ViolatedLimit {
  return {
    limit: {
      name: 'calls',
      on: undefined,
      tool: undefined,
      resource: undefined,
      prompt: undefined,
      server: undefined,
      endpoint: undefined,
      by: ['principal'],
      count: 30,
      periodMs: 60_000,
      burst: 0,
      message: undefined,
      disclose: 'mine',
      ...limit,
    },
    remaining: 0,
    retryAfterSeconds: 2,
    resetAt: RESET,
    ...rest,
  };
}

function decide(limit: Partial<LimitOptions> = {}, rest: Partial<Decision> = {}): Decision {
  const binding = violation(limit);
  return {
    id: 'tg-7f3k',
    reason: 'rate_limited',
    binding,
    violated: [binding],
    retryAfterSeconds: binding.retryAfterSeconds,
    kind: 'tool',
    inSession: false,
    ...rest,
  };
}

const MODERN: RefusalContext = {
  era: 'modern',
  method: 'tools/call',
  id: '"q1"',
  style: 'default',
  decisionId: 'tg-e1',
};
const LEGACY: RefusalContext = { ...MODERN, era: 'legacy', id: '7' };

function wire(cause: Decision | TollgateError, context: RefusalContext) {
  const { status, headers, body } = refuse(cause, context);
  return { status, headers: Object.fromEntries(headers), text: body.toString(), body: JSON.parse(body.toString()) };
}

describe('the text of a limit', () => {
  it.each<[string, Decision]>([
    ['Not run, not charged. You may make 30 calls a minute (calls). Repeat this same call in 2 s. [tg-7f3k]', decide()],
    [
      'Not run, not charged. You may make 30 calls a minute, 40 at once (calls). Repeat this same call in 2 s. [tg-7f3k]',
      decide({ burst: 10 }),
    ],
    [
      'Not run, not charged. You may make 1 call of this tool every 5 min (calls). Repeat this same call in 4 min 10 s; not before, it would be refused again. [tg-7f3k]',
      decide({ by: ['principal', 'tool'], count: 1, periodMs: 300_000 }, { retryAfterSeconds: 250 }),
    ],
    [
      'Not run, not charged. This session may make 5 calls to this server at this endpoint a second (calls). Repeat this same call in 2 s. [tg-7f3k]',
      decide({ by: ['session', 'server', 'endpoint'], count: 5, periodMs: 1000 }, { inSession: true }),
    ],
    [
      'Not run, not charged. You may make 5 calls an hour (calls). Repeat this same call in 2 s. [tg-7f3k]',
      decide({ by: ['session'], count: 5, periodMs: 3_600_000 }),
    ],
    [
      'Not run, not charged. The limit calls, shared with other callers, is used up. Repeat this same call in 2 s. Ask in #ai-platform for more. [tg-7f3k]',
      decide({ by: ['everyone'], message: 'Ask in #ai-platform for more' }),
    ],
    [
      'Not run, not charged. All callers together may make 30 calls of this resource a day (calls). Repeat this same call in 2 s. [tg-7f3k]',
      decide({ by: ['tool'], periodMs: 86_400_000, disclose: 'full' }, { kind: 'resource' }),
    ],
    ['Not run, not charged. A limit is used up. Repeat this same call in 2 s. [tg-7f3k]', decide({ disclose: 'none' })],
    [
      'Not run, not charged. You may make 30 calls a minute (calls). Also used up: loop. Repeat this same call in 2 s. [tg-7f3k]',
      decide({}, { violated: [violation({ name: 'loop' }), violation({ name: 'hidden', disclose: 'none' })] }),
    ],
    [
      'Not run, not charged. You may make 30 calls a week (calls). Do not repeat it: this one call takes more than the limit holds. [tg-7f3k]',
      decide({ periodMs: 604_800_000 }, { reason: 'cost_above_limit', retryAfterSeconds: undefined }),
    ],
  ])('%s', (text, decision) => {
    expect(decisionText(decision)).toBe(text);
  });
});

it('tells a short wait in seconds', () => {
  expect(decisionText(decide({}, { retryAfterSeconds: 60 }))).toContain('Repeat this same call in 60 s. [');
  expect(decisionText(decide({}, { retryAfterSeconds: 61 }))).toContain(
    'Repeat this same call in 1 min 1 s; not before',
  );
});

describe('the text of an error', () => {
  it.each<[string, TollgateError]>([
    [
      'Unknown outcome: sent to github, no answer in 30 s; it may have run. Check before repeating. [tg-e1]',
      new TollgateError('deadline_exceeded', 'sent to github, no answer in 30 s; it may have run', {
        executed: 'unknown',
      }),
    ],
    [
      'Unknown outcome: github closed the connection. It may have run. Check before repeating. [tg-e1]',
      new TollgateError('server_disconnected', 'github closed the connection.', { executed: 'unknown' }),
    ],
    [
      'Not run. Server files is starting. Repeat this same call in 3 s. [tg-e1]',
      new TollgateError('server_unavailable', 'Server files is starting', { retryAfterSeconds: 2.5 }),
    ],
    [
      'It ran. The answer is larger than 32 MiB. [tg-e1]',
      new TollgateError('server_response_too_large', 'The answer is larger than 32 MiB.', { executed: 'yes' }),
    ],
    [
      'Internal error of the gateway; whether the call ran is not known. The log has the cause under this id. [tg-e1]',
      TollgateError.from(new Error('password=hunter2')),
    ],
    ['Not run. line one line two. [tg-e1]', new TollgateError('access_denied', 'line one\r\n\u001b\u0000line two')],
  ])('%s', (text, error) => {
    expect(errorText(error, 'tg-e1')).toBe(text);
  });
});

describe('wire forms', () => {
  it('modern: HTTP 200 with a JSON-RPC error 429, the record as data, the three headers', () => {
    const { status, headers, text } = wire(decide({ burst: 10 }), MODERN);
    expect(status).toBe(200);
    expect(headers).toEqual({
      'retry-after': '2',
      ratelimit: '"calls";r=0;t=2',
      'ratelimit-policy': '"calls";q=30;w=60',
    });
    expect(text).toBe(
      '{"jsonrpc":"2.0","id":"q1","error":{"code":429,"message":"Not run, not charged. You may make 30 calls a minute, 40 at once (calls). Repeat this same call in 2 s. [tg-7f3k]",' +
        '"data":{"reason":"rate_limited","rule":"calls","executed":"no","charged":"0","limit":30,"remaining":0,"retryAfterSeconds":2,"resetAt":"2026-11-20T12:00:30.000Z","violated":[{"rule":"calls","retryAfterSeconds":2}],"decisionId":"tg-7f3k"}}}',
    );
  });

  it('legacy tools/call: a tool result, never structuredContent', () => {
    const { status, headers, body } = wire(decide(), LEGACY);
    expect(status).toBe(200);
    expect(headers['retry-after']).toBe('2');
    expect(body).toEqual({
      jsonrpc: '2.0',
      id: 7,
      result: {
        content: [{ type: 'text', text: decisionText(decide()) }],
        isError: true,
        _meta: { 'tollgate/decision': expect.objectContaining({ reason: 'rate_limited', decisionId: 'tg-7f3k' }) },
      },
    });
  });

  it('legacy, other methods: a JSON-RPC error', () => {
    const { status, body } = wire(decide(), { ...LEGACY, method: 'resources/read' });
    expect(status).toBe(200);
    expect(body).toMatchObject({ id: 7, error: { code: 429, data: { rule: 'calls' } } });
  });

  it('`http`: HTTP 429 with the JSON-RPC body in both eras, id omitted where there is none', () => {
    verifies('R3-17');
    for (const context of [MODERN, LEGACY]) {
      const { status, headers, body } = wire(decide(), { ...context, style: 'http' });
      expect(status).toBe(429);
      expect(headers['retry-after']).toBe('2');
      expect(body).toMatchObject({ id: JSON.parse(context.id!), error: { code: 429, data: { retryAfterSeconds: 2 } } });
    }
    const silent = wire(decide(), { ...MODERN, id: undefined, style: 'http' });
    expect(silent.status).toBe(429);
    expect(silent.body).not.toHaveProperty('id');
  });

  it('`legacy-codes`: the default form with the old numbers', () => {
    const context: RefusalContext = { ...MODERN, style: 'legacy-codes' };
    const code = (cause: Decision | TollgateError) => wire(cause, context).body.error.code;
    expect(code(decide())).toBe(-32002);
    expect(wire(decide(), { ...LEGACY, style: 'legacy-codes' }).body.result.isError).toBe(true);
    expect(code(new TollgateError('unauthorized', 'x'))).toBe(-32001);
    expect(code(new TollgateError('access_denied', 'x'))).toBe(-32003);
    expect(code(new TollgateError('insufficient_scope', 'x'))).toBe(-32003);
    expect(code(new TollgateError('no_route', 'x'))).toBe(-32601);
    expect(code(new TollgateError('server_unavailable', 'x'))).toBe(-32004);
    expect(code(new TollgateError('server_disconnected', 'x', { executed: 'unknown' }))).toBe(-32005);
    expect(code(new TollgateError('deadline_exceeded', 'x'))).toBe(-32005);
    expect(code(TollgateError.from(new Error('x')))).toBe(-32603);
    expect(code(new TollgateError('unknown_name', 'x'))).toBe(-32602);
  });

  it('echoes ids as they came', () => {
    for (const id of ['0', '"req-1"', '"\\u00e9"', '12345678901234567890']) {
      expect(wire(decide(), { ...MODERN, id }).text.startsWith(`{"jsonrpc":"2.0","id":${id},`)).toBe(true);
      expect(wire(decide(), { ...LEGACY, id }).text.startsWith(`{"jsonrpc":"2.0","id":${id},`)).toBe(true);
    }
  });

  it('a request without an id can only be told by status', () => {
    const context: RefusalContext = { ...MODERN, id: undefined };
    expect(wire(decide(), context).status).toBe(429);
    expect(wire(new TollgateError('too_many_streams', 'x'), context).status).toBe(503);
    expect(wire(new TollgateError('access_denied', 'x'), context).status).toBe(403);
    expect(wire(new TollgateError('host_not_allowed', 'x'), context).status).toBe(403);
    expect(wire(new TollgateError('payload_too_large', 'x'), context).status).toBe(413);
    expect(wire(new TollgateError('cancelled', 'x'), context).status).toBe(400);
  });

  it('server, deadline and access errors take the same forms', () => {
    const error = new TollgateError('deadline_exceeded', 'sent to github, no answer in 30 s', {
      executed: 'unknown',
      data: { server: 'github' },
    });
    const modern = wire(error, MODERN);
    expect(modern.status).toBe(200);
    expect(modern.body.error).toMatchObject({
      code: 504,
      data: { server: 'github', reason: 'deadline_exceeded', executed: 'unknown', decisionId: 'tg-e1' },
    });
    const legacy = wire(error, LEGACY);
    expect(legacy.body.result).toMatchObject({ isError: true, _meta: { 'tollgate/decision': modern.body.error.data } });
    expect(wire(new TollgateError('access_denied', 'x'), MODERN)).toMatchObject({
      status: 200,
      body: { error: { code: 403 } },
    });
    const busy = wire(new TollgateError('server_busy', 'x', { retryAfterSeconds: 0.2 }), MODERN);
    expect(busy).toMatchObject({ status: 200, headers: { 'retry-after': '1' }, body: { error: { code: 503 } } });
  });

  it('challenges keep their status, and their error in both eras', () => {
    for (const context of [MODERN, LEGACY]) {
      expect(wire(new TollgateError('unauthorized', 'x'), context)).toMatchObject({ status: 401, body: { error: {} } });
      expect(wire(new TollgateError('insufficient_scope', 'x'), context)).toMatchObject({ status: 403 });
    }
  });

  it('errors of the protocol keep code, message, data and status of the specification', () => {
    const version = new TollgateError('unsupported_version', 'Use 2026-07-28.', {
      data: { supported: ['2026-07-28'] },
    });
    expect(wire(version, MODERN)).toMatchObject({
      status: 400,
      body: { error: { code: -32022, message: 'Use 2026-07-28.', data: { supported: ['2026-07-28'] } } },
    });
    const unknown = new TollgateError('method_not_found', 'No such method.');
    expect(wire(unknown, MODERN).status).toBe(404);
    expect(wire(unknown, LEGACY).status).toBe(200);
    expect(wire(new TollgateError('unknown_name', 'x'), LEGACY)).toMatchObject({
      status: 200,
      body: { error: { code: -32602 } },
    });
    expect(wire(new TollgateError('session_not_found', 'x'), LEGACY).status).toBe(404);
  });

  it('relays the error of a server as it is', () => {
    const relayed = new TollgateError('server_protocol_error', 'quota', { rpc: -32050, data: [1] });
    expect(wire(relayed, LEGACY).body.error).toEqual({ code: -32050, message: 'quota', data: [1] });
    expect(wire(relayed, { ...MODERN, style: 'legacy-codes' }).body.error.code).toBe(-32050);
  });

  it('never tells the cause of an internal error', () => {
    const { status, text, body } = wire(TollgateError.from(new Error('password=hunter2')), LEGACY);
    expect(status).toBe(200);
    expect(text).not.toContain('hunter2');
    expect(body.error).toMatchObject({ code: -32603, data: { reason: 'internal', executed: 'unknown' } });
  });
});

describe('disclosure', () => {
  const shared = (disclose: LimitOptions['disclose']) => wire(decide({ by: ['everyone'], disclose }), MODERN);

  it('`mine` tells no numbers of a limit that others move', () => {
    const { headers, body } = shared('mine');
    expect(headers).toEqual({ 'retry-after': '2', ratelimit: '"calls";r=0;t=2' });
    expect(body.error.data).toEqual({
      reason: 'rate_limited',
      rule: 'calls',
      executed: 'no',
      charged: '0',
      retryAfterSeconds: 2,
      violated: [{ rule: 'calls', retryAfterSeconds: 2 }],
      decisionId: 'tg-7f3k',
    });
  });

  it('`full` tells all', () => {
    const { headers, body } = shared('full');
    expect(headers['ratelimit-policy']).toBe('"calls";q=30;w=60');
    expect(body.error.data).toMatchObject({ limit: 30, remaining: 0, resetAt: '2026-11-20T12:00:30.000Z' });
  });

  it('`none` tells reason and retry time', () => {
    const { headers, text, body } = shared('none');
    expect(headers).toEqual({ 'retry-after': '2' });
    expect(text).not.toContain('calls"');
    expect(body.error.data).toMatchObject({ reason: 'rate_limited', retryAfterSeconds: 2 });
    expect(body.error.data.violated).toEqual([{ retryAfterSeconds: 2 }]);
  });
});

describe('words', () => {
  it.each([
    [1, '1 s'],
    [59, '59 s'],
    [60, '1 min'],
    [65, '1 min 5 s'],
    [3599, '59 min 59 s'],
    [3601, '1 h 1 min'],
    [7199, '2 h'],
    [18_720, '5 h 12 min'],
    [86_399, '1 d'],
    [90_000, '1 d 1 h'],
    [2_592_000, '30 d'],
  ])('%i seconds are %s', (seconds, words) => {
    expect(durationWords(seconds)).toBe(words);
  });

  it('says what a rate comes to', () => {
    expect(limitWords({ count: 30, periodMs: 60_000, burst: 10 })).toBe('steady 30/min, at once 40, worst minute 70');
    expect(limitWords({ count: 120, periodMs: 300_000, burst: 0 })).toBe(
      'steady 120/5min, at once 120, worst 5min 240',
    );
  });
});

describe('the documents', () => {
  const page = (name: string) => readFileSync(new URL(`../../../../docs/${name}`, import.meta.url), 'utf8');

  it('list every reason and every error code, and no other', () => {
    expect(page('refusals.md')).toContain(`\n${reasonTable()}\n\n`);
    expect(page('errors.md')).toContain(`\n${errorTable()}\n\n`);
    expect([...REASONS.keys()]).toContain('rate_limited');
  });
});
