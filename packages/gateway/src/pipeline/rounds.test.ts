import { describe, expect, it } from 'vitest';
import { TollgateError } from '../core/errors.ts';
import { ada, fakeCall } from '../protocol/bridge/testing.ts';
import { encode } from '../protocol/json/splice.ts';
import type { Message } from '../protocol/message.ts';
import { Rounds } from './rounds.ts';

const NOW = 1_700_000_000_000;
const clock = { now: NOW, wall: () => clock.now, monotonic: () => 0 };
const ROUND = { hold: 'tg-hold', round: 1 };

const asked = (state?: unknown): Message =>
  encode({
    jsonrpc: '2.0',
    id: 4,
    result: {
      resultType: 'input_required',
      inputRequests: { q: { method: 'roots/list' } },
      ...(state === undefined ? {} : { requestState: state }),
    },
  });
const first = () => fakeCall('modern', 'tools/call', { name: 't', arguments: { n: 1 } });
const next = (requestState: unknown, over: Record<string, unknown> = {}, more: Parameters<typeof fakeCall>[3] = {}) =>
  fakeCall('modern', 'tools/call', { name: 't', arguments: { n: 1 }, ...over, requestState }, more);
const stateIn = (message: Message) => (message.object() as { result: { requestState: string } }).result.requestState;
const codeOf = (run: () => unknown): string => {
  try {
    run();
  } catch (error) {
    if (TollgateError.is(error)) return error.code;
  }
  return 'opened';
};

describe('rounds of a paid call', () => {
  it.each([['server-state'], [undefined], ['x'.repeat(300_000)]])('give the server back what it said', (own) => {
    const rounds = new Rounds(clock);
    const answer = rounds.seal(first(), asked(own), ROUND, 60_000);
    expect(stateIn(answer)).not.toContain('server-state');
    const call = next(stateIn(answer), { inputResponses: { q: { roots: [] } } });
    expect(rounds.open(call)).toEqual({ hold: 'tg-hold', round: 2 });
    const params = call.outbound!.object()['params'] as Record<string, unknown>;
    expect(params['requestState']).toBe(own);
    expect(params['inputResponses']).toEqual({ q: { roots: [] } });
  });

  it('make a call of its own of a round that its hold is past', () => {
    const rounds = new Rounds(clock);
    const one = stateIn(rounds.seal(first(), asked('one'), ROUND, 60_000));
    expect(rounds.open(next(one))).toEqual({ hold: 'tg-hold', round: 2 });
    const two = stateIn(rounds.seal(next(one), asked('two'), { hold: 'tg-hold', round: 2 }, 60_000));
    const replayed = next(one);
    expect(rounds.open(replayed)).toBeUndefined();
    expect((replayed.outbound!.object()['params'] as Record<string, unknown>)['requestState']).toBe('one');
    expect(rounds.open(next(two))).toEqual({ hold: 'tg-hold', round: 3 });
    // Of another hold nothing is past.
    const other = stateIn(rounds.seal(first(), asked('o'), { hold: 'tg-other', round: 1 }, 60_000));
    expect(rounds.open(next(other))).toEqual({ hold: 'tg-other', round: 2 });
  });

  it('leave a state alone that is none of theirs', () => {
    const call = next('the-servers-own');
    expect(new Rounds(clock).open(call)).toBeUndefined();
    expect(call.outbound).toBeUndefined();
  });

  it('refuse a state of another caller, call, gateway or time, and a changed one', () => {
    const rounds = new Rounds(clock);
    const state = stateIn(rounds.seal(first(), asked('s'), ROUND, 60_000));
    const middle = state.length >> 1;
    const changed = state.slice(0, middle) + (state[middle] === 'A' ? 'B' : 'A') + state.slice(middle + 1);
    const calls = [
      next(state, {}, { principal: { ...ada, id: 'test/eve' } }),
      next(state, { arguments: { n: 2 } }),
      next(state, { name: 'other' }),
      next(changed),
      next('tgr1.'),
    ];
    for (const call of calls) expect(codeOf(() => rounds.open(call))).toBe('input_state_invalid');
    expect(codeOf(() => new Rounds(clock).open(next(state)))).toBe('input_state_invalid');
    clock.now = NOW + 60_001;
    expect(codeOf(() => rounds.open(next(state)))).toBe('input_state_invalid');
    clock.now = NOW;
    expect(codeOf(() => rounds.open(next(state)))).toBe('opened');
  });

  it('open at every gateway that has the key', () => {
    const key = Buffer.alloc(32, 7);
    const state = stateIn(new Rounds(clock, key).seal(first(), asked('s'), ROUND, 60_000));
    expect(new Rounds(clock, key).open(next(state))).toEqual({ hold: 'tg-hold', round: 2 });
  });
});
