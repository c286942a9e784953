import { verifies } from '@tollgate/testkit/verifies';
import { describe, expect, it } from 'vitest';
import { ADA, atOnce, budget, call, limit, price, principal, Rig, rate, session, toolTarget, usd } from './testing.ts';
import { TierBook } from './tiers.ts';

describe('limits of rate', () => {
  it('admits what a limit holds, then says when the next call fits', () => {
    verifies('R0-08');
    const rig = new Rig({ limits: [limit('calls', rate(3, 2))] });
    for (let i = 0; i < 5; i++) expect(rig.run(call())).toBeUndefined();
    expect(rig.run(call())).toMatchObject({ reason: 'rate_limited', retryAfterSeconds: 20, violated: [{ cost: 1 }] });
    rig.clock.now = 19_999;
    expect(rig.run(call())).toBeDefined();
    rig.clock.now = 20_000;
    expect(rig.run(call())).toBeUndefined();
  });

  it('charges nothing under any limit when one refuses', () => {
    verifies('R0-10', 'R1-14', 'R1-15', 'R1-16');
    const rig = new Rig({
      limits: [
        limit('all', rate(10), { by: ['everyone'] }),
        limit('mine', rate(5)),
        limit('tool', rate(2), { by: ['tool'] }),
      ],
    });
    const add = toolTarget('math/add');
    const other = toolTarget('math/other');
    for (let i = 0; i < 2; i++) expect(rig.run(call(), add)).toBeUndefined();
    for (let i = 0; i < 20; i++) expect(rig.run(call(), add)?.binding?.limit.name).toBe('tool');
    // The refusals took nothing from the limits that had room.
    for (let i = 0; i < 2; i++) expect(rig.run(call(), other)).toBeUndefined();
    const bob = principal('test/bob');
    const names = ['a', 'b', 'c'].map((name) => toolTarget(`math/${name}`));
    const admitted = names.flatMap((target) => [1, 2].map(() => rig.run(call({ principal: bob }), target)));
    expect(admitted.filter((decision) => decision === undefined)).toHaveLength(5);
  });

  it('counts only requests that a limit covers', () => {
    const rig = new Rig({ limits: [limit('calls', rate(1))] });
    const nothing = toolTarget('x/y', { kind: 'none', canonicalId: undefined, server: undefined });
    for (const method of ['tools/list', 'ping', 'initialize']) {
      for (let i = 0; i < 3; i++) expect(rig.run(call({ method }), nothing)).toBeUndefined();
    }
    for (let i = 0; i < 3; i++) expect(rig.run(call({ id: undefined }))).toBeUndefined();
    expect(rig.run(call())).toBeUndefined();
    expect(rig.run(call())).toBeDefined();
  });

  it('gives everything back for a call that reached no server', () => {
    const rig = new Rig({
      limits: [limit('calls', rate(1)), limit('busy', atOnce(1), { by: ['server'] }), limit('spend', budget(1))],
      prices: { 'math/add': price({ each: usd(1) }) },
    });
    for (let i = 0; i < 10; i++) {
      const failed = call();
      expect(rig.admit(failed).allowed).toBe(true);
      rig.finish(failed, 'no');
      rig.finish(failed, 'no');
    }
    expect(rig.run(call())).toBeUndefined();
    expect(rig.run(call())?.violated.map((violation) => violation.limit.name)).toEqual(['calls', 'spend']);
  });

  it('gives a pure rate back once, and not what a shadow limit never took', () => {
    const rig = new Rig({ limits: [limit('calls', rate(2)), limit('trial', rate(1), { mode: 'shadow' })] });
    const [first, second] = [call(), call()];
    expect(rig.admit(first).allowed && rig.admit(second).allowed).toBe(true);
    for (let i = 0; i < 5; i++) rig.finish(second, 'no');
    expect(rig.run(call())).toBeUndefined();
    expect(rig.run(call())).toBeDefined();
  });
});

describe('what a limit counts by', () => {
  const cases = [
    ['session', { session: session('a') }, { session: session('b') }],
    [
      'tenant',
      { principal: principal('t/x', { tenant: 'acme' }) },
      { principal: principal('t/y', { tenant: 'else' }) },
    ],
    ['client', { principal: principal('t/c', { clientId: 'x' }) }, { principal: principal('t/d', { clientId: 'y' }) }],
    ['ip', { address: '10.0.0.1' }, { address: '10.0.0.2' }],
    ['args', { args: { a: 1, b: [1, 2] } }, { args: { a: 1, b: [2, 1] } }],
  ] as const;
  for (const [key, one, two] of cases) {
    it(`keeps callers apart by ${key}`, () => {
      const rig = new Rig({ limits: [limit('calls', rate(1), { by: [key] })] });
      expect(rig.run(call(one))).toBeUndefined();
      expect(rig.run(call(one))).toBeDefined();
      expect(rig.run(call(two))).toBeUndefined();
    });
  }

  it('shares a counter between members of a tenant, and lets callers without one stand alone', () => {
    const rig = new Rig({ limits: [limit('calls', rate(1), { by: ['tenant'] })] });
    expect(rig.run(call({ principal: principal('t/a', { tenant: 'acme' }) }))).toBeUndefined();
    expect(rig.run(call({ principal: principal('t/b', { tenant: 'acme' }) }))).toBeDefined();
    expect(rig.run(call({ principal: principal('t/c') }))).toBeUndefined();
    expect(rig.run(call({ principal: principal('t/d') }))).toBeUndefined();
  });

  it('takes arguments in another order for the same', () => {
    const rig = new Rig({ limits: [limit('loop', rate(1), { by: ['principal', 'tool', 'args'] })] });
    expect(rig.run(call({ args: { a: 1, b: { c: 2, d: 3 } } }))).toBeUndefined();
    expect(rig.run(call({ args: { b: { d: 3, c: 2 }, a: 1 } }))).toBeDefined();
    expect(rig.run(call({ args: { b: { d: 3, c: 2 }, a: 2 } }))).toBeUndefined();
    expect(rig.run(call({ args: undefined }))).toBeUndefined();
  });

  it('has the same keys in another process, whatever small numbers principals have there', () => {
    const rig = new Rig({ limits: [limit('calls', rate(1))] });
    expect(rig.run(call({ principal: principal('test/ada', { key: 77 }) }))).toBeUndefined();
    expect(rig.run(call({ principal: principal('test/ada', { key: 78 }) }))).toBeDefined();
    expect(rig.run(call({ principal: principal('test/bob', { key: 77 }) }))).toBeUndefined();
  });

  it('keeps ids apart that differ only in lone surrogates, NUL or separators', () => {
    const rig = new Rig({ limits: [limit('calls', rate(1))] });
    for (const id of [
      't/\ud800',
      't/\ud801',
      't/a\u0000',
      't/a',
      't/{a}',
      't/a:b',
      't/a b',
      `t/${'x'.repeat(10_000)}`,
    ]) {
      expect(rig.run(call({ principal: principal(id) })), id.slice(0, 20)).toBeUndefined();
    }
  });
});

describe('which limits apply', () => {
  it('honours replaces where the other limit covers the call', () => {
    verifies('R1-17');
    const rig = new Rig({
      limits: [
        limit('calls', rate(1)),
        limit('more', rate(3), { tool: ['math/*'], replaces: ['calls'], origin: 'route' }),
      ],
    });
    for (let i = 0; i < 3; i++) expect(rig.run(call())).toBeUndefined();
    expect(rig.run(call())?.binding?.limit.name).toBe('more');
    // The counter of the replaced limit was not touched.
    expect(rig.run(call(), toolTarget('files/read'))).toBeUndefined();
    expect(rig.run(call(), toolTarget('files/read'))?.binding?.limit.name).toBe('calls');
  });

  it('lets a conditional limit replace only where its condition holds', () => {
    const rig = new Rig({
      limits: [limit('calls', rate(1)), limit('big', rate(2), { when: 'args.size > 10', replaces: ['calls'] })],
    });
    expect(rig.run(call({ args: { size: 1 } }))).toBeUndefined();
    expect(rig.run(call({ args: { size: 1 } }))?.binding?.limit.name).toBe('calls');
    for (let i = 0; i < 2; i++) expect(rig.run(call({ args: { size: 11 } }))).toBeUndefined();
    expect(rig.run(call({ args: { size: 11 } }))?.binding?.limit.name).toBe('big');
    // A condition that fails applies.
    expect(rig.run(call({ args: { size: 'x' } }))?.binding?.limit.name).toBe('big');
  });

  it('never lets a shadow limit take the place of one in force', () => {
    const rig = new Rig({
      limits: [limit('calls', rate(1)), limit('trial', rate(100), { mode: 'shadow', replaces: ['calls'] })],
    });
    expect(rig.run(call())).toBeUndefined();
    expect(rig.run(call())?.binding?.limit.name).toBe('calls');
  });

  it('matches tenants and tiers by pattern', () => {
    const rig = new Rig({
      tiers: ['default', 'gold'],
      limits: [limit('t', rate(1), { tenant: ['ac*'] }), limit('g', rate(1), { tier: ['gold'] })],
    });
    const acme = principal('x/1', { tenant: 'acme' });
    const gold = principal('x/2', { tier: 'gold' });
    for (const who of [acme, gold]) {
      expect(rig.run(call({ principal: who }))).toBeUndefined();
      expect(rig.run(call({ principal: who }))).toBeDefined();
    }
    for (let i = 0; i < 5; i++)
      expect(rig.run(call({ principal: principal('x/3', { tenant: 'other' }) }))).toBeUndefined();
  });

  it('refuses a call whose cost cannot be worked out, and takes the whole number that it gives', () => {
    const rig = new Rig({
      limits: [limit('weighed', rate(10), { cost: { kind: 'expression', source: 'size(args.items)' } })],
    });
    expect(rig.run(call({ args: { items: [1, 2, 3, 4, 5, 6] } }))).toBeUndefined();
    expect(rig.run(call({ args: { items: [1, 2, 3, 4, 5] } }))).toMatchObject({ reason: 'rate_limited' });
    expect(rig.run(call({ args: { items: [1, 2, 3, 4] } }))).toBeUndefined();
    expect(rig.run(call({ args: { items: Array(11).fill(0) } }))).toMatchObject({ reason: 'cost_above_limit' });
    expect(rig.run(call({ args: {} }))).toMatchObject({
      reason: 'expression_failed',
      binding: undefined,
      money: false,
    });
  });
});

describe('tiers', () => {
  const rows = new Map([
    ['default', rate(1)],
    ['gold', rate(3)],
  ]);

  it('takes the stored tier first, then the credential, then default', () => {
    const rig = new Rig({
      tiers: ['default', 'gold'],
      limits: [limit('calls', undefined, { rows, algorithm: 'token-bucket' })],
    });
    const admitted = (who: typeof ADA): number => {
      let count = 0;
      while (count < 10 && rig.run(call({ principal: who })) === undefined) count++;
      return count;
    };
    expect(admitted(principal('x/plain'))).toBe(1);
    expect(admitted(principal('x/claims', { tier: 'gold' }))).toBe(3);
    expect(admitted(principal('x/unknown', { tier: 'platinum' }))).toBe(1);
  });

  it('keeps what was used when a caller moves to another tier', () => {
    const tiers = new TierBook();
    const rig = new Rig({
      tiers: ['default', 'gold'],
      limits: [limit('calls', undefined, { rows, algorithm: 'fixed-window' })],
      deps: { tiers },
    });
    expect(rig.run(call())).toBeUndefined();
    expect(rig.run(call())).toBeDefined();
    tiers.set(ADA.id, 'gold');
    for (let i = 0; i < 2; i++) expect(rig.run(call())).toBeUndefined();
    expect(rig.run(call())).toBeDefined();
    expect(() => tiers.set(ADA.id, 'platinum')).toThrow('known are default, gold');
  });
});

describe('a reload', () => {
  it('keeps what was used, across a rename and another algorithm', () => {
    const rig = new Rig({ limits: [limit('calls', rate(5))] });
    for (let i = 0; i < 4; i++) rig.run(call());
    rig.reload({ limits: [limit('requests', rate(5), { was: 'calls' })] });
    expect(rig.run(call())).toBeUndefined();
    expect(rig.run(call())).toBeDefined();
    rig.reload({ limits: [limit('requests', rate(6), { was: 'calls', algorithm: 'sliding-window' })] });
    expect(rig.run(call())).toBeUndefined();
    expect(rig.run(call())).toBeDefined();
  });

  it('ends calls that were admitted before it', () => {
    const rig = new Rig({ limits: [limit('busy', atOnce(1))] });
    const running = call();
    rig.admit(running);
    rig.reload({ limits: [limit('busy', atOnce(1)), limit('calls', rate(10))] });
    expect(rig.run(call())).toMatchObject({ reason: 'concurrency_limited', estimated: true });
    rig.finish(running);
    expect(rig.run(call())).toBeUndefined();
  });

  it('refuses numbers that cannot be kept and names that would share counters', () => {
    expect(() => new Rig({ limits: [limit('x', rate(0.5))] })).toThrow('limits.x');
    expect(() => new Rig({ limits: [limit('a', rate(1)), limit('b', rate(1), { was: 'a' })] })).toThrow('`was`');
    expect(() => new Rig({ limits: [limit('x', rate(1), { when: 'args.' })] })).toThrow('limits.x.when');
  });
});
