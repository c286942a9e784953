import { createFakeClock } from '@tollgate/testkit/fake-clock';
import { describe, expect, it } from 'vitest';
import { TollgateError } from '../core/errors.ts';
import { type RefusedCaller, RefusedCallers } from './refused-callers.ts';

const AT = { endpoint: '/mcp', address: '192.0.2.7' };
const rejected = new TollgateError('unauthorized', 'The credential was not accepted');

function watched() {
  const clock = createFakeClock(1_000_000);
  const callers = new RefusedCallers(clock);
  const seen: RefusedCaller[] = [];
  return { clock, callers, seen, stop: callers.watch((caller) => seen.push(caller)) };
}

describe('callers that are turned away', () => {
  it('are told with reason, place and address to who watches', () => {
    const { callers, seen, stop } = watched();
    expect(callers.refused(rejected, true, AT)).toBe(rejected);
    callers.refused(rejected, false, { endpoint: '', address: undefined });
    callers.refused(new TollgateError('identity_unavailable', 'away'), true, AT);
    callers.refused(new TollgateError('blocked', 'out'), true, { ...AT, principal: 'ci/ci', decisionId: 'tg-1' });
    // These have a call, which is shown.
    callers.refused(new TollgateError('insufficient_scope', 'x'), true);
    callers.refused(new TollgateError('access_denied', 'x'), true);
    stop();
    callers.refused(rejected, true, AT);
    const told = { at: 1_000_000, ...AT, principal: undefined, decisionId: undefined, untold: 0 };
    expect(seen).toEqual([
      { ...told, reason: 'not_accepted' },
      { ...told, reason: 'no_credential', endpoint: '', address: undefined },
      { ...told, reason: 'unchecked' },
      { ...told, reason: 'blocked', principal: 'ci/ci', decisionId: 'tg-1' },
    ]);
    expect(callers.counts).toMatchObject({ not_accepted: 2, insufficient_scope: 1, access_rule: 1 });
  });

  it('are 20 at once and 5 a second in a flood, with the number of the others', () => {
    const { clock, callers, seen } = watched();
    for (let i = 0; i < 1000; i++) callers.refused(rejected, true, AT);
    expect(seen).toHaveLength(20);
    clock.advance(1000);
    for (let i = 0; i < 1000; i++) callers.refused(rejected, true, AT);
    expect(seen.slice(20).map(({ untold }) => untold)).toEqual([980, 0, 0, 0, 0]);
    expect(callers.counts.not_accepted).toBe(2000);
  });

  it('do not depend on who watches', () => {
    const { callers, seen } = watched();
    callers.watch(() => {
      throw new Error('a broken listener');
    });
    callers.refused(rejected, true, AT);
    callers.refused(rejected, true, AT);
    expect(seen).toHaveLength(2);
  });
});
