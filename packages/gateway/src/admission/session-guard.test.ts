import { verifies } from '@tollgate/testkit/verifies';
import { describe, expect, it } from 'vitest';
import { SessionWindows, sessionGuard } from './session-guard.ts';
import { principal, TestClock } from './testing.ts';

describe('the windows of sessions', () => {
  it('lets a limit through, refuses the next, and begins anew after the period', () => {
    verifies('R4-01', 'R4-02', 'R4-03', 'R4-04', 'R4-05', 'R4-06');
    const windows = new SessionWindows({ limit: 2, periodMs: 60_000 });
    expect(windows.check('a', 0)).toEqual({ allowed: true, retryAfterSeconds: undefined });
    expect(windows.check('a', 10_000).allowed).toBe(true);
    expect(windows.check('a', 10_001)).toEqual({ allowed: false, retryAfterSeconds: 50 });
    expect(windows.check('b', 10_001).allowed).toBe(true);
    expect(windows.check('a', 59_999)).toEqual({ allowed: false, retryAfterSeconds: 1 });
    expect(windows.check('a', 60_000).allowed).toBe(true);
    expect(windows.denials).toBe(2);
  });

  it('is not extended by refused requests', () => {
    verifies('X4-03');
    const windows = new SessionWindows({ limit: 1, periodMs: 1000 });
    for (let now = 0; now < 1000; now += 10) windows.check('a', now);
    expect(windows.check('a', 1000).allowed).toBe(true);
  });

  it('keeps 120 a minute by default, and refuses settings that are not positive', () => {
    verifies('R4-10', 'X4-01');
    const windows = new SessionWindows();
    const admitted = Array.from({ length: 130 }, (_, i) => windows.check('a', i)).filter(({ allowed }) => allowed);
    expect(admitted).toHaveLength(120);
    expect(windows.check('a', 59_999).retryAfterSeconds).toBe(1);
    for (const [limit, periodMs] of [
      [0, 1],
      [-1, 1],
      [1.5, 1],
      [1, 0],
      [1, Number.NaN],
    ] as const) {
      expect(() => new SessionWindows({ limit, periodMs }), `${limit} ${periodMs}`).toThrow('sessionGuard');
    }
  });

  it('has room for so many sessions, and drops those whose window is over or began first', () => {
    const windows = new SessionWindows({ limit: 1, periodMs: 1000 }, 100);
    for (let i = 0; i < 5000; i++) windows.check(`s${i}`, i / 10);
    expect(windows.size).toBe(100);
    expect(windows.check('s4999', 500).allowed).toBe(false);
    windows.check('late', 10_000);
    expect(windows.size).toBe(1);
  });
});

describe('the guard of requests', () => {
  it('counts by session, else by principal, and tells of every refusal', () => {
    verifies('R4-11', 'R4-13', 'R4-14');
    const clock = new TestClock();
    const denied: unknown[] = [];
    const guard = sessionGuard(
      new SessionWindows({ limit: 1, periodMs: 5000 }),
      () => clock.monotonic(),
      (who, session) => denied.push([who.id, session]),
    );
    const ada = principal('test/ada');
    expect(guard(ada, 'one')).toBeUndefined();
    expect(guard(ada, 'two')).toBeUndefined();
    expect(guard(ada, undefined)).toBeUndefined();
    expect(guard(principal('test/bob'), undefined)).toBeUndefined();
    expect(guard(ada, 'one')).toMatchObject({ code: 'rate_limited', http: 429, retryAfterSeconds: 5 });
    expect(guard(ada, undefined)).toMatchObject({ code: 'rate_limited' });
    expect(denied).toEqual([
      ['test/ada', 'one'],
      ['test/ada', undefined],
    ]);
  });

  it('works where nobody counts the refusals', () => {
    const guard = sessionGuard(new SessionWindows({ limit: 1, periodMs: 5000 }), () => 0);
    guard(principal('test/ada'), undefined);
    expect(guard(principal('test/ada'), undefined)).toBeDefined();
  });
});
