import { setImmediate } from 'node:timers/promises';
import { describe, expect, it, vi } from 'vitest';
import type { Clock } from '../../core/clock.ts';
import { TollgateError } from '../../core/errors.ts';
import type { Call } from '../call.ts';
import { encode } from '../json/splice.ts';
import { DEFAULT_PARKING, ParkedCalls } from './modern-to-legacy.ts';
import { ada, FakeConnection, FakeOutcome, FakeReply, fakeCall } from './testing.ts';

const destination = { target: undefined, headerName: undefined, paramHeaders: undefined };
const META = 'io.modelcontextprotocol/';
const form = { message: 'Name?', requestedSchema: { type: 'object', properties: {} } };

class TestClock implements Clock {
  now = 1_000_000;
  wall(): number {
    return this.now;
  }
  monotonic(): number {
    return this.now;
  }
}

function round(
  extra: Record<string, unknown> = {},
  capabilities: unknown = { elicitation: {}, sampling: {}, roots: {} },
  over: { reply?: FakeReply; principal?: typeof ada } = {},
): Call {
  const { name = 't', ...rest } = extra;
  return fakeCall(
    'modern',
    'tools/call',
    {
      name,
      arguments: { n: 1 },
      ...rest,
      _meta: {
        [`${META}protocolVersion`]: '2026-07-28',
        [`${META}clientCapabilities`]: capabilities,
        traceparent: 'x',
      },
    },
    over,
  );
}

function begin(call = round(), parked = new ParkedCalls(new TestClock())) {
  const connection = new FakeConnection('legacy');
  const outcome = new FakeOutcome();
  parked.run(call, connection, destination, outcome);
  return { parked, connection, outcome, call };
}

async function parkedOnce(parked = new ParkedCalls(new TestClock())) {
  const started = begin(round(), parked);
  const asked = started.connection.ask('elicitation/create', form);
  await setImmediate();
  const state = started.outcome.result['requestState'] as string;
  const [key] = Object.keys(started.outcome.result['inputRequests'] as object);
  return { ...started, asked, state, key: key! };
}

function resume(parked: ParkedCalls, call: Call) {
  const outcome = new FakeOutcome();
  parked.run(call, new FakeConnection('legacy'), destination, outcome);
  return outcome;
}

describe('a modern client on a legacy server', () => {
  it('keeps the envelope to itself and completes the result', () => {
    const { connection, outcome } = begin();
    expect(connection.last().body.params).toEqual({ name: 't', arguments: { n: 1 }, _meta: { traceparent: 'x' } });
    connection.answer({ content: [] });
    expect(outcome.result).toMatchObject({ resultType: 'complete', content: [] });
  });

  it('parks the call on a server request and joins the next round with it', async () => {
    const { parked, connection, asked, state, key, outcome } = await parkedOnce();
    expect(outcome.result).toMatchObject({
      resultType: 'input_required',
      inputRequests: { [key]: { method: 'elicitation/create', params: { mode: 'form', message: 'Name?' } } },
    });
    expect(parked.size).toBe(1);
    const second = resume(
      parked,
      round({ requestState: state, inputResponses: { [key]: { action: 'accept', content: { a: 1 } }, other: {} } }),
    );
    expect(asked.answers).toEqual([{ jsonrpc: '2.0', id: 0, result: { action: 'accept', content: { a: 1 } } }]);
    expect(connection.sent).toHaveLength(1);
    connection.answer({ content: [{ type: 'text', text: 'hi' }] });
    expect(second.result).toMatchObject({ resultType: 'complete', content: [{ type: 'text', text: 'hi' }] });
    expect(parked.size).toBe(0);
  });

  it('lets several questions of one turn travel in one round, and asks again for what was left open', async () => {
    const { parked, connection, outcome } = begin();
    const first = connection.ask('elicitation/create', form);
    const other = connection.ask('roots/list', {});
    await setImmediate();
    const requests = outcome.result['inputRequests'] as Record<string, { method: string }>;
    expect(Object.values(requests).map((r) => r.method)).toEqual(['elicitation/create', 'roots/list']);
    const [a, b] = Object.keys(requests);
    const second = resume(
      parked,
      round({ requestState: outcome.result['requestState'], inputResponses: { [a!]: { action: 'decline' } } }),
    );
    expect(first.answers).toHaveLength(1);
    expect(other.answers).toHaveLength(0);
    expect(Object.keys(second.result['inputRequests'] as object)).toEqual([b]);
    resume(parked, round({ requestState: second.result['requestState'], inputResponses: { [b!]: { roots: [] } } }));
    expect(other.answers).toHaveLength(1);
  });

  it('accepts a state once, for the same caller, tool and arguments, and not after its time', async () => {
    const clock = new TestClock();
    const { parked, state } = await parkedOnce(new ParkedCalls(clock));
    const eve = { ...ada, id: 'test/eve', key: 2 };
    for (const call of [
      round({ requestState: state }, {}, { principal: eve }),
      round({ requestState: state, name: 'other' }),
      round({ requestState: state, arguments: { n: 2 } }),
      round({ requestState: `${state}A` }),
      round({ requestState: `${state.slice(0, -2)}${state.endsWith('AA') ? 'BB' : 'AA'}` }),
      round({ requestState: 'forged' }),
      round({ requestState: 5 }),
    ]) {
      expect(resume(parked, call).error.code).toBe('input_state_invalid');
    }
    clock.now += DEFAULT_PARKING.ttl + 1;
    expect(resume(parked, round({ requestState: state })).error.code).toBe('input_state_invalid');
    clock.now -= DEFAULT_PARKING.ttl + 1;
    expect(resume(parked, round({ requestState: state })).result['resultType']).toBe('input_required');
    expect(resume(parked, round({ requestState: state })).error.code).toBe('input_state_invalid');
  });

  it('declines what this very request did not declare', async () => {
    const { connection, outcome } = begin(round({}, { elicitation: {} }));
    const sampling = connection.ask('sampling/createMessage', {});
    const url = connection.ask('elicitation/create', {
      mode: 'url',
      url: 'https://x.example',
      message: 'm',
      elicitationId: '1',
    });
    const strange = connection.ask('tasks/get', {});
    await setImmediate();
    for (const { answers } of [sampling, url, strange]) expect(answers).toEqual([expect.any(TollgateError)]);
    connection.answer({ content: [] });
    expect(outcome.result['resultType']).toBe('complete');
  });

  it('gives the client a result that came while it was away', async () => {
    const { parked, connection, state } = await parkedOnce();
    connection.answer({ content: [] });
    expect(resume(parked, round({ requestState: state })).result).toMatchObject({ resultType: 'complete' });
  });

  it('declines on return what the server asked meanwhile and this round did not declare', async () => {
    const { parked, connection, asked, state, key } = await parkedOnce();
    const sampling = connection.ask('sampling/createMessage', {});
    const roots = connection.ask('roots/list', {});
    const back = resume(
      parked,
      round({ requestState: state, inputResponses: { [key]: { action: 'decline' } } }, { elicitation: {}, roots: {} }),
    );
    expect(asked.answers).toHaveLength(1);
    expect(sampling.answers).toEqual([expect.objectContaining({ code: 'method_not_found' })]);
    expect(roots.answers).toHaveLength(0);
    const requests = Object.values(back.result['inputRequests'] as Record<string, { method: string }>);
    expect(requests.map(({ method }) => method)).toEqual(['roots/list']);
  });

  it('leaves no timer behind, however the call ends', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    try {
      const done = await parkedOnce();
      expect(vi.getTimerCount()).toBe(1);
      const responses = { [done.key]: { action: 'decline' } };
      resume(done.parked, round({ requestState: done.state, inputResponses: responses }));
      expect(vi.getTimerCount()).toBe(0);
      done.connection.answer({ content: [] });
      const away = await parkedOnce();
      away.connection.answer({ content: [] });
      resume(away.parked, round({ requestState: away.state }));
      const closed = await parkedOnce();
      closed.parked.close(new TollgateError('shutting_down', 'bye'));
      expect(vi.getTimerCount()).toBe(0);
      const late = await parkedOnce();
      vi.advanceTimersByTime(DEFAULT_PARKING.ttl + 1);
      expect(late.asked.answers).toEqual([expect.objectContaining({ code: 'deadline_exceeded' })]);
      expect(late.parked.size).toBe(0);
    } finally {
      vi.useRealTimers();
    }
  });

  it('cancels upstream when the client leaves, and when it does not come back', async () => {
    const here = begin();
    here.call.lifetime.end(new TollgateError('cancelled', 'left'));
    expect(here.connection.last().request.lifetime.over).toBe(true);
    expect(here.outcome.error.code).toBe('cancelled');
    const { parked, connection, asked } = await parkedOnce();
    parked.close(new TollgateError('shutting_down', 'bye'));
    expect(connection.last().request.lifetime.reason?.code).toBe('shutting_down');
    expect(asked.answers).toEqual([expect.any(TollgateError)]);
    expect(parked.size).toBe(0);
  });

  it('bounds what one caller may park, and leaves room for others', async () => {
    const parked = new ParkedCalls(new TestClock(), { ...DEFAULT_PARKING, maxPerPrincipal: 2 });
    await parkedOnce(parked);
    await parkedOnce(parked);
    const third = begin(round(), parked);
    third.connection.ask('elicitation/create', form);
    await setImmediate();
    expect(third.outcome.error.code).toBe('server_busy');
    expect(third.connection.last().request.lifetime.over).toBe(true);
    const eve = begin(round({}, undefined, { principal: { ...ada, id: 'test/eve', key: 2 } }), parked);
    eve.connection.ask('elicitation/create', form);
    await setImmediate();
    expect(eve.outcome.result['resultType']).toBe('input_required');
  });

  it('drops log messages without a log level in the request, and progress that nobody asked for', () => {
    const reply = new FakeReply();
    const { connection } = begin(round({}, {}, { reply }));
    const note = (method: string) => encode({ jsonrpc: '2.0', method, params: {} });
    connection.last().handler.onNotification(note('notifications/message'));
    connection.last().handler.onNotification(note('notifications/progress'));
    expect(reply.notes).toEqual([]);
  });

  it('gives each round its progress under its own token', async () => {
    const withToken = (token: unknown, reply: FakeReply, more: Record<string, unknown> = {}) =>
      fakeCall(
        'modern',
        'tools/call',
        {
          name: 't',
          arguments: { n: 1 },
          ...more,
          _meta: { progressToken: token, [`${META}clientCapabilities`]: { elicitation: { form: {} } } },
        },
        { reply },
      );
    const progress = (connection: FakeConnection, done: number) =>
      connection.last().handler.onNotification(
        encode({
          jsonrpc: '2.0',
          method: 'notifications/progress',
          params: { progressToken: 'first', progress: done },
        }),
      );
    const replies = [new FakeReply(), new FakeReply()] as const;
    const { parked, connection, outcome } = begin(withToken('first', replies[0]));
    progress(connection, 1);
    connection.ask('elicitation/create', form);
    await setImmediate();
    const { requestState, inputRequests } = outcome.result as { requestState: string; inputRequests: object };
    const inputResponses = { [Object.keys(inputRequests)[0]!]: { action: 'accept', content: {} } };
    const second = withToken(7, replies[1], { requestState, inputResponses });
    parked.run(second, connection, destination, new FakeOutcome());
    progress(connection, 2);
    expect(replies[0].notes).toMatchObject([{ params: { progressToken: 'first', progress: 1 } }]);
    expect(replies[1].notes).toMatchObject([{ params: { progressToken: 7, progress: 2 } }]);
  });

  it('opens the log of the server to the level of a request, and gives each call its own part', () => {
    const reply = new FakeReply();
    const levelled = (level: string) =>
      fakeCall(
        'modern',
        'tools/call',
        { name: 't', _meta: { [`${META}clientCapabilities`]: {}, [`${META}logLevel`]: level } },
        { reply },
      );
    const parked = new ParkedCalls(new TestClock());
    const connection = Object.assign(new FakeConnection('legacy'), { capabilities: { logging: {} } });
    const levels: string[] = [];
    Object.assign(connection, { setLogLevel: (level: string) => levels.push(level) });
    for (const level of ['warning', 'info', 'error']) {
      parked.run(levelled(level), connection, destination, new FakeOutcome());
    }
    expect(levels).toEqual(['warning', 'info']);
    for (const level of ['info', 'error']) {
      const params = { level, data: level };
      connection.last().handler.onNotification(encode({ jsonrpc: '2.0', method: 'notifications/message', params }));
    }
    expect(reply.notes).toMatchObject([{ params: { data: 'error' } }]);
  });

  it('never says that nothing ran once the server was asked', async () => {
    const visit = begin(round({}, {}));
    visit.connection.answerError({
      code: -32042,
      message: 'go',
      data: { elicitations: [{ url: 'https://x.example' }] },
    });
    expect(visit.outcome.error).toMatchObject({ code: 'missing_client_capability', executed: 'yes' });
    const drained = begin();
    drained.call.lifetime.end(new TollgateError('shutting_down', 'The gateway is shutting down'));
    expect(drained.outcome.error).toMatchObject({ code: 'shutting_down', executed: 'unknown' });
    const { parked, connection, state } = await parkedOnce();
    const later = resume(parked, round({ requestState: state, inputResponses: {} }, {}));
    connection.last().handler.onFailure(new TollgateError('server_unavailable', 'gone'));
    expect(later.error).toMatchObject({ code: 'server_unavailable', executed: 'unknown' });
  });

  it('turns the legacy codes into their modern forms', () => {
    const missing = begin();
    missing.connection.answerError({ code: -32002, message: 'Resource not found' });
    expect(missing.outcome.ends[0]).toMatchObject({ error: { code: -32602, message: 'Resource not found' } });
    const elicitations = [{ mode: 'url', elicitationId: 'e', url: 'https://x.example', message: 'Sign in' }];
    const plain = begin();
    plain.connection.answerError({ code: -32042, message: 'go', data: { elicitations } });
    expect(plain.outcome.error).toMatchObject({
      code: 'missing_client_capability',
      data: { requiredCapabilities: { elicitation: { url: {} } } },
    });
    const url = begin(round({}, { elicitation: { url: {} } }));
    url.connection.answerError({ code: -32042, message: 'go', data: { elicitations } });
    expect(url.outcome.result['inputRequests']).toEqual({
      u1: { method: 'elicitation/create', params: { mode: 'url', url: 'https://x.example', message: 'Sign in' } },
    });
    const again = round(
      { requestState: url.outcome.result['requestState'], inputResponses: { u1: { action: 'accept' } } },
      { elicitation: { url: {} } },
    );
    const connection = new FakeConnection('legacy');
    url.parked.run(again, connection, destination, new FakeOutcome());
    expect(connection.last().body.params).toEqual({ name: 't', arguments: { n: 1 }, _meta: { traceparent: 'x' } });
  });
});
