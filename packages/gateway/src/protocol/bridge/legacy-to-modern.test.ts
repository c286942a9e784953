import { describe, expect, it } from 'vitest';
import { TollgateError } from '../../core/errors.ts';
import { encode } from '../json/splice.ts';
import { callModernForLegacy } from './legacy-to-modern.ts';
import { FakeConnection, FakeOutcome, FakeReply, fakeCall, legacySession } from './testing.ts';

const destination = { target: undefined, headerName: undefined, paramHeaders: undefined };
const form = {
  method: 'elicitation/create',
  params: { mode: 'form', message: 'Name?', requestedSchema: { type: 'object' } },
};

function start(capabilities: Record<string, unknown>, version = '2025-11-25') {
  const reply = new FakeReply();
  const connection = new FakeConnection('modern');
  const outcome = new FakeOutcome();
  const session = legacySession(capabilities, { version, logLevel: 'warning' });
  const call = fakeCall(
    'legacy',
    'tools/call',
    { name: 't', arguments: { n: 1 }, _meta: { progressToken: 5, mine: 1 } },
    { session, reply, version },
  );
  callModernForLegacy(call, connection, destination, outcome);
  return { reply, connection, outcome, call };
}

const answer = (result: unknown) => encode({ jsonrpc: '2.0', id: 0, result });

describe('a legacy client on a modern server', () => {
  it('sends the state of the session as request metadata and keeps the rest of _meta', () => {
    const { connection } = start({ roots: {}, tasks: {} });
    expect(connection.last().body.params).toEqual({
      name: 't',
      arguments: { n: 1 },
      _meta: {
        progressToken: 5,
        mine: 1,
        'io.modelcontextprotocol/protocolVersion': '2026-07-28',
        'io.modelcontextprotocol/clientInfo': { name: 'host', version: '2' },
        'io.modelcontextprotocol/clientCapabilities': { roots: {} },
        'io.modelcontextprotocol/logLevel': 'warning',
      },
    });
  });

  it('strips what only the modern era knows from the result', () => {
    const { connection, outcome } = start({});
    connection.answer({ resultType: 'complete', content: [], ttlMs: 1, cacheScope: 'private', extra: { a: 1 } });
    expect(outcome.result).toEqual({ content: [], extra: { a: 1 } });
  });

  it('asks the client for each input and repeats the call with all answers and the state', () => {
    const { connection, outcome, reply } = start({ elicitation: {}, roots: {} });
    connection.answer({
      resultType: 'input_required',
      inputRequests: { a: form, b: { method: 'roots/list' } },
      requestState: 'opaque',
    });
    expect(reply.questions.map((q) => q.method)).toEqual(['elicitation/create', 'roots/list']);
    reply.questions[1]?.listener(answer({ roots: [] }));
    expect(connection.sent).toHaveLength(1);
    reply.questions[0]?.listener(answer({ action: 'accept', content: { name: 'x' } }));
    expect(connection.sent).toHaveLength(2);
    expect(connection.last().body.params).toMatchObject({
      name: 't',
      requestState: 'opaque',
      inputResponses: { a: { action: 'accept', content: { name: 'x' } }, b: { roots: [] } },
    });
    connection.answer({ resultType: 'complete', content: [] });
    expect(outcome.result).toEqual({ content: [] });
  });

  it('sends an older client no mode, and a 2025-11-25 client an elicitation id for a URL', () => {
    const old = start({ elicitation: {} }, '2025-06-18');
    old.connection.answer({ resultType: 'input_required', inputRequests: { a: form } });
    expect(old.reply.questions[0]?.params).toEqual({ message: 'Name?', requestedSchema: { type: 'object' } });
    const url = start({ elicitation: { url: {} } });
    const visit = { method: 'elicitation/create', params: { mode: 'url', url: 'https://x.example', message: 'Go' } };
    url.connection.answer({ resultType: 'input_required', inputRequests: { a: visit } });
    expect(url.reply.questions[0]?.params).toMatchObject({ mode: 'url', elicitationId: expect.any(String) as string });
  });

  it('repeats at once when only a state is given, and stops a server that never ends', () => {
    const { connection, outcome } = start({});
    for (let round = 0; round < 10; round++)
      connection.answer({ resultType: 'input_required', requestState: `s${round}` });
    expect(connection.sent).toHaveLength(11);
    connection.answer({ resultType: 'input_required', requestState: 's' });
    expect(outcome.error).toMatchObject({ code: 'server_protocol_error', executed: 'unknown' });
  });

  it('never says that nothing ran once the server has answered, whoever ends the call', () => {
    const ask = { resultType: 'input_required', requestState: 's', inputRequests: { a: form } };
    const silent = start({ elicitation: {} });
    silent.connection.answer(ask);
    silent.reply.questions[0]?.listener(new TollgateError('not_bridgeable', 'no stream'));
    expect(silent.outcome.error).toMatchObject({ code: 'not_bridgeable', executed: 'unknown' });
    const nameless = start({ elicitation: {} });
    nameless.connection.answer({ ...ask, inputRequests: { a: { method: 5 } } });
    expect(nameless.outcome.error.executed).toBe('unknown');
    const second = start({ elicitation: {} });
    second.connection.answer(ask);
    second.reply.questions[0]?.listener(answer({ action: 'decline' }));
    second.connection.last().handler.onFailure(new TollgateError('server_unavailable', 'gone'));
    expect(second.outcome.error).toMatchObject({ code: 'server_unavailable', executed: 'unknown' });
    const first = start({ elicitation: {} });
    first.connection.last().handler.onFailure(new TollgateError('server_unavailable', 'gone'));
    expect(first.outcome.error.executed).toBe('no');
  });

  it('fails clearly when the client cannot be asked, and withdraws what was asked already', () => {
    const { connection, outcome, reply } = start({ roots: {} });
    connection.answer({ resultType: 'input_required', inputRequests: { a: { method: 'roots/list' }, b: form } });
    expect(outcome.error).toMatchObject({
      code: 'not_bridgeable',
      data: { requiredCapabilities: { elicitation: {} } },
    });
    expect(reply.questions[0]?.withdrawn).toContain('elicitation/create');
    const silent = start({ elicitation: {} });
    silent.reply.canAsk = false;
    silent.connection.answer({ resultType: 'input_required', inputRequests: { a: form } });
    expect(silent.outcome.error.message).toContain('no event stream');
  });

  it('takes a refused elicitation as an answer, a refused sampling as the end', () => {
    const { connection, reply } = start({ elicitation: {} });
    connection.answer({ resultType: 'input_required', inputRequests: { a: form } });
    reply.questions[0]?.listener(encode({ jsonrpc: '2.0', id: 0, error: { code: -1, message: 'no' } }));
    expect(connection.last().body.params['inputResponses']).toEqual({ a: { action: 'cancel' } });
    const other = start({ sampling: {} });
    other.connection.answer({
      resultType: 'input_required',
      inputRequests: { a: { method: 'sampling/createMessage', params: {} } },
    });
    other.reply.questions[0]?.listener(encode({ jsonrpc: '2.0', id: 0, error: { code: -1, message: 'user said no' } }));
    expect(other.outcome.error.message).toContain('user said no');
  });

  it('hides the codes of the modern envelope, passes all others, and refuses tasks', () => {
    const envelope = start({});
    envelope.connection.answerError({ code: -32021, message: 'm' });
    expect(envelope.outcome.ends[0]).toMatchObject({ error: { code: -32603, message: 'm' } });
    const own = start({});
    own.connection.answerError({ code: -32602, message: 'bad', data: { x: 1 } });
    expect(own.outcome.ends[0]).toMatchObject({ error: { code: -32602, data: { x: 1 } } });
    const task = start({});
    task.connection.answer({ resultType: 'task', taskId: '1' });
    expect(task.outcome.error.code).toBe('not_bridgeable');
  });

  it('is told once when the answers come after a failure', () => {
    const { connection, outcome, reply } = start({ sampling: {}, roots: {} });
    connection.answer({
      resultType: 'input_required',
      inputRequests: { a: { method: 'roots/list' }, b: { method: 'sampling/createMessage', params: {} } },
    });
    reply.questions[1]?.listener(new TollgateError('cancelled', 'gone'));
    reply.questions[0]?.listener(answer({ roots: [] }));
    expect(outcome.ends).toHaveLength(1);
    expect(connection.sent).toHaveLength(1);
  });
});
