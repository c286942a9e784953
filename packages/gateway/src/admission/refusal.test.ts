import { readFileSync } from 'node:fs';
import { verifies } from '@tollgate/testkit/verifies';
import { describe, expect, it } from 'vitest';
import { TollgateError } from '../core/errors.ts';
import type { Decision, ViolatedLimit } from './decision.ts';
import type { LimitOptions, Period, Quota } from './options.ts';
import { errorTable, REASONS, reasonTable } from './reasons.ts';
import { type RefusalContext, refuse } from './refusal.ts';
import { decisionText, errorText } from './refusal-text.ts';
import { atOnce, budget, limit, perCall, rate, START, total } from './testing.ts';
import { durationWords, quotaWords } from './words.ts';

const RESET = Date.UTC(2026, 10, 20, 12, 0, 30);
const every = (ms: number): Period => ({ kind: 'length', ms });

function violation(quota: Quota, over: Partial<LimitOptions> = {}, rest: Partial<ViolatedLimit> = {}): ViolatedLimit {
  const name = quota.kind === 'rate' ? 'calls' : 'spend';
  const burst = quota.kind === 'rate' ? quota.burst : 0;
  return {
    limit: limit(name, quota, over),
    quota,
    reason: 'rate_limited',
    cost: 1,
    capacity: ('amount' in quota ? quota.amount.micros : quota.count) + burst,
    used: 30,
    held: 0,
    remaining: 0,
    retryAfterSeconds: 2,
    resetAt: RESET,
    ...rest,
  };
}

function decide(quota: Quota = rate(30), over: Partial<LimitOptions> = {}, rest: Partial<Decision> = {}): Decision {
  return decided(violation(quota, over), rest);
}

function decided(binding: ViolatedLimit, rest: Partial<Decision> = {}): Decision {
  return {
    id: 'tg-7f3k',
    reason: binding.reason,
    at: START,
    binding,
    violated: [binding],
    retryAfterSeconds: binding.retryAfterSeconds,
    estimated: false,
    because: undefined,
    money: 'amount' in binding.quota,
    kind: 'tool',
    inSession: false,
    ...rest,
  };
}

/** A budget of 20 USD a day at 18:48 UTC. */
function money(rest: Partial<ViolatedLimit>, quota: Quota = budget(20), over: Partial<LimitOptions> = {}): Decision {
  const midnight = Date.UTC(2026, 10, 21);
  const numbers = { reason: 'daily_cost_exceeded', retryAfterSeconds: 18_720, resetAt: midnight, used: 20e6 } as const;
  return decided(violation(quota, over, { ...numbers, ...rest }));
}

/** Refused before any limit was asked. */
function without(reason: Decision['reason'], because: string, rest: Partial<Decision> = {}): Decision {
  const none = { reason, because, binding: undefined, violated: [], retryAfterSeconds: undefined };
  return decide(rate(1), {}, { ...none, ...rest });
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
      decide(rate(30, 10)),
    ],
    [
      'Not run, not charged. You may make 1 call of this tool every 5 min (calls). Repeat this same call in 4 min 10 s; not before, it would be refused again. [tg-7f3k]',
      decide(rate(1, 0, every(300_000)), { by: ['principal', 'tool'] }, { retryAfterSeconds: 250 }),
    ],
    [
      'Not run, not charged. This session may make 5 calls to this server at this endpoint a second (calls). Repeat this same call in 2 s. [tg-7f3k]',
      decide(rate(5, 0, every(1000)), { by: ['session', 'server', 'endpoint'] }, { inSession: true }),
    ],
    [
      'Not run, not charged. You may make 5 calls an hour (calls). Repeat this same call in 2 s. [tg-7f3k]',
      decide(rate(5, 0, every(3_600_000)), { by: ['session'] }),
    ],
    [
      'Not run, not charged. The limit calls, shared with other callers, is used up. Repeat this same call in 2 s. Ask in #ai-platform for more. [tg-7f3k]',
      decide(rate(30), { by: ['everyone'], message: 'Ask in #ai-platform for more' }),
    ],
    [
      'Not run, not charged. All callers together may make 30 calls of this resource a day (calls). Repeat this same call in 2 s. [tg-7f3k]',
      decide(rate(30, 0, every(86_400_000)), { by: ['tool'], disclose: 'full' }, { kind: 'resource' }),
    ],
    [
      'Not run, not charged. A limit is used up. Repeat this same call in 2 s. [tg-7f3k]',
      decide(rate(30), { disclose: 'none' }),
    ],
    [
      'Not run, not charged. You may make 30 calls a minute (calls). Also used up: loop. Repeat this same call in 2 s. [tg-7f3k]',
      decide(
        rate(30),
        {},
        { violated: [violation(rate(1), { name: 'loop' }), violation(rate(1), { name: 'hidden', disclose: 'none' })] },
      ),
    ],
    [
      'Not run, not charged. You may make 30 calls a week (calls). Do not repeat it: this one call takes more than the limit holds. [tg-7f3k]',
      decide(rate(30, 0, every(604_800_000)), {}, { reason: 'cost_above_limit', retryAfterSeconds: undefined }),
    ],
  ])('%s', (text, decision) => {
    expect(decisionText(decision)).toBe(text);
  });
});

describe('the text of a budget and of other reasons', () => {
  it.each<[string, Decision]>([
    [
      "Not run. Today's budget (spend) is used up: 20.00 of 20.00 USD; it resets at 00:00 UTC, in 5 h 12 min. Do not retry before then. Ask in #ai-platform for more. [tg-7f3k]",
      money({ cost: 1e6 }, budget(20), { message: 'Ask in #ai-platform for more.' }),
    ],
    [
      "Not run. Today's budget (spend) is used up: 20.00 of 20.00 USD, of which running calls hold 0.005 USD; it resets at 19:00 Europe/Berlin, in 5 h 12 min. Do not retry before then. [tg-7f3k]",
      money({ held: 5000, resetAt: Date.UTC(2026, 10, 20, 18) }, budget(20), { timezone: 'Europe/Berlin' }),
    ],
    [
      "Not run. Today's budget (spend) has 0.50 of 20.00 USD left and this call needs 0.75 USD; it resets at 00:00 UTC, in 5 h 12 min. Do not retry before then. [tg-7f3k]",
      money({ used: 19.5e6, remaining: 500_000, cost: 750_000 }),
    ],
    [
      "Not run. This month's budget of your tenant (spend) is used up: 20.00 of 20.00 USD; it resets at 2026-12-01 00:00 UTC, in 10 d 5 h. Do not retry before then. [tg-7f3k]",
      money(
        { resetAt: Date.UTC(2026, 11, 1), retryAfterSeconds: 10 * 86_400 + 18_000 },
        budget(20, { kind: 'calendar', page: 'month' }),
        { by: ['tenant'] },
      ),
    ],
    [
      'Not run. The budget of 7 d (spend) is used up: 3 of 3 credits; there is room for it in 2 h. Do not retry before then. [tg-7f3k]',
      money(
        { used: 3e6, retryAfterSeconds: 7200 },
        { kind: 'amount', amount: { unit: 'credits', micros: 3e6 }, period: every(604_800_000), burst: 0 },
      ),
    ],
    [
      'Not run. The total budget of all callers (spend) is used up: 1000.00 of 1000.00 USD; only an administrator can reset it. Do not retry. [tg-7f3k]',
      money({ reason: 'budget_exhausted', used: 1e9, retryAfterSeconds: undefined, resetAt: undefined }, total(1000), {
        by: ['everyone'],
        disclose: 'full',
      }),
    ],
    [
      'Not run. This call would cost 1.50 USD, and one call may cost 1.00 USD (spend). Do not repeat it with the same arguments. [tg-7f3k]',
      money({ reason: 'per_request_cost_exceeded', cost: 1.5e6, retryAfterSeconds: undefined }, perCall(1)),
    ],
    [
      'Not run. The limit spend, shared with other callers, is used up. Do not retry before 5 h 12 min have passed. [tg-7f3k]',
      money({}, budget(20), { by: ['everyone'] }),
    ],
    [
      'Not run. A limit on what calls cost is in the way. Do not retry before 5 h 12 min have passed. [tg-7f3k]',
      money({}, budget(20), { disclose: 'none' }),
    ],
    [
      'Not run, not charged. You may have 2 calls to this server at the same time (spend). Repeat this same call when running calls have ended, at the latest in 30 s. [tg-7f3k]',
      decided(violation(atOnce(2), { by: ['principal', 'server'] }, { reason: 'concurrency_limited' }), {
        retryAfterSeconds: 30,
        estimated: true,
      }),
    ],
    [
      'Not run, not charged. Its limits cannot be looked up at the moment. Repeat this same call in a moment. [tg-7f3k]',
      decided(violation(rate(1), {}, { reason: 'limit_unavailable', retryAfterSeconds: undefined })),
    ],
    [
      'Not run, not charged. Its limits cannot be looked up at the moment. Repeat this same call in 1 s. [tg-7f3k]',
      decided(violation(rate(1), {}, { reason: 'limit_unavailable' }), { retryAfterSeconds: 1, estimated: true }),
    ],
    [
      'Not run, not charged. Calls like this are stopped: maintenance. Do not retry. [tg-7f3k]',
      without('stopped', 'Calls like this are stopped: maintenance'),
    ],
    [
      'Not run, not charged. Calls like this are stopped: maintenance. Do not retry before 1 h have passed. [tg-7f3k]',
      without('stopped', 'Calls like this are stopped: maintenance', { retryAfterSeconds: 3600 }),
    ],
    [
      'Not run. This call would cost 6.00 USD. Do not repeat it with the same arguments. [tg-7f3k]',
      without('price_above_max', 'This call would cost 6.00 USD.', { money: true }),
    ],
  ])('%s', (text, decision) => {
    expect(decisionText(decision)).toBe(text);
  });
});

it('tells a short wait in seconds', () => {
  expect(decisionText(decide(rate(30), {}, { retryAfterSeconds: 60 }))).toContain('Repeat this same call in 60 s. [');
  expect(decisionText(decide(rate(30), {}, { retryAfterSeconds: 61 }))).toContain(
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
    const { status, headers, text } = wire(decide(rate(30, 10)), MODERN);
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

  it('money is 402, what cannot be decided now 503; amounts are exact texts and in no header', () => {
    const spent = money({ cost: 750_000, used: 19_500_000, remaining: 500_000, held: 1 });
    const { status, headers, body } = wire(spent, MODERN);
    expect(status).toBe(200);
    expect(headers).toEqual({ 'retry-after': '18720' });
    expect(body.error).toMatchObject({
      code: 402,
      data: { limit: '20', used: '19.5', held: '0.000001', remaining: '0.5', cost: '0.75', unit: 'USD' },
    });
    expect(wire(spent, { ...MODERN, style: 'http' }).status).toBe(402);
    expect(wire(spent, { ...MODERN, id: undefined }).status).toBe(402);
    for (const reason of ['limit_unavailable', 'stopped'] as const) {
      expect(wire(without(reason, 'x'), MODERN)).toMatchObject({ status: 200, body: { error: { code: 503 } } });
    }
    expect(wire(without('expression_failed', 'x'), MODERN).body.error.code).toBe(429);
    expect(wire(without('price_above_max', 'x', { money: true }), MODERN).body.error.code).toBe(402);
  });

  it('slots have their own unit, and a time that is only estimated', () => {
    const busy = violation(atOnce(2), {}, { reason: 'concurrency_limited', retryAfterSeconds: 30 });
    const { headers, body } = wire(decided(busy, { estimated: true }), MODERN);
    expect(headers).toEqual({
      'retry-after': '30',
      ratelimit: '"spend";r=0;t=30',
      'ratelimit-policy': '"spend";q=2;qu="concurrent-requests"',
    });
    expect(body.error).toMatchObject({ code: 429, data: { estimated: true, limit: 2, retryAfterSeconds: 30 } });
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
  const shared = (disclose: LimitOptions['disclose']) => wire(decide(rate(30), { by: ['everyone'], disclose }), MODERN);

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

  it('says what a limit allows', () => {
    const words = (quota: Quota) => quotaWords(quota, quota.kind === 'rate' ? 'token-bucket' : 'fixed-window');
    expect(words(rate(30, 10))).toBe('30 calls a minute, 40 at once');
    expect(words(rate(120, 0, every(300_000)))).toBe('120 calls every 5 min');
    expect(words(atOnce(1))).toBe('1 call at the same time');
    expect(words(budget(0.5))).toBe('0.50 USD a day');
    expect(words(perCall(1.234567))).toBe('1.234567 USD a call');
    expect(words(total(1000))).toBe('1000.00 USD in all');
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
