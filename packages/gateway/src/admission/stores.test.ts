/** What the options of a limit mean, seen from outside, whatever store decides. */
import { type Limiter, MemoryLimiter, type Outcome, type Rule, type Standing } from '@tollgate/limiter';
import { verifies } from '@tollgate/testkit/verifies';
import { describe, expect, it } from 'vitest';
import type { AdmissionRecord } from './events.ts';
import type { LimitOptions } from './options.ts';
import { refuse } from './refusal.ts';
import { atOnce, budget, call, limit, price, Rig, rate, START, usd } from './testing.ts';

/** A store that cannot be reached: answers as the contract says for each value of `onError`. */
function unreachable(seen: Rule[]): Limiter {
  const memory = new MemoryLimiter({ seed: [1, 2], originMs: START });
  return {
    rule: (...args) => {
      const rule = memory.rule(...args);
      seen.push(rule);
      return rule;
    },
    decide: (ask, now): Promise<Outcome> => {
      const rules = ask.rules.slice(0, ask.size);
      if (rules.some(({ options }) => options.onError === 'closed')) {
        const violated = rules.map((rule, i) => unavailable(rule, ask.costs[i]!));
        const refused = { retryAfter: undefined, estimated: false, standings: violated, shadowed: [] };
        return Promise.resolve({ allowed: false, violated, degraded: 'closed', ...refused });
      }
      const degraded = rules.every(({ options }) => options.onError === 'open') ? 'open' : 'local';
      if (degraded === 'local') {
        const outcome = memory.decide(ask, now) as Outcome;
        return Promise.resolve({ ...outcome, degraded });
      }
      const admitted = { wait: 0, repeated: false, shadowed: [], crossed: [] };
      return Promise.resolve({ allowed: true, degraded, ...admitted });
    },
    decideAll: () => Promise.reject(new Error('away')),
    check: () => Promise.reject(new Error('away')),
    inspect: () => Promise.reject(new Error('away')),
    take: () => Promise.reject(new Error('away')),
    adjust: () => Promise.reject(new Error('away')),
    settle: () => Promise.reject(new Error('away')),
    release: () => Promise.reject(new Error('away')),
    renew: () => Promise.reject(new Error('away')),
    reset: () => Promise.reject(new Error('away')),
  };
}

function unavailable(rule: Rule, cost: number): Standing {
  const numbers = { cost, limit: 0, used: 0, held: 0, remaining: 0, retryAfter: Number.POSITIVE_INFINITY };
  return { rule, verdict: 'unavailable', ...numbers, resetAfter: Number.POSITIVE_INFINITY };
}

describe('onError', () => {
  it.each(['local', 'open', 'closed'] as const)('%s', async (onError) => {
    const errors: object[] = [];
    const records: AdmissionRecord[] = [];
    const log = { debug() {}, info() {}, warn() {}, error: (fields: object) => errors.push(fields), child: () => log };
    const rig = new Rig({
      limits: [limit('calls', rate(1), { onError })],
      deps: {
        limiter: unreachable([]),
        log,
        events: { admitted: (record) => records.push(record), refused: (record) => records.push(record) },
      },
    });
    const first = call();
    const verdicts = [await rig.admitted(first), await rig.admitted(call())];
    expect(verdicts.map(({ allowed }) => allowed)).toEqual(
      { local: [true, false], open: [true, true], closed: [false, false] }[onError],
    );
    expect(records.map(({ degraded }) => degraded)).toEqual([onError, onError]);
    // Ends of calls that a store does not take harm nobody.
    rig.finish(first, 'no');
    await new Promise(setImmediate);
    expect(errors).toHaveLength(onError === 'local' ? 1 : 0);
    if (onError !== 'closed' || verdicts[0]!.allowed) return;
    expect(verdicts[0]!.decision).toMatchObject({ reason: 'limit_unavailable', money: false });
    const context = { era: 'modern', method: 'tools/call', id: '1', style: 'default' } as const;
    const body = JSON.parse(refuse(verdicts[0]!.decision, context).body.toString());
    expect(body.error).toMatchObject({ code: 503, data: { reason: 'limit_unavailable', executed: 'no' } });
  });

  it('is closed for money, whatever is written', () => {
    const rules: Rule[] = [];
    new Rig({
      limits: [limit('spend', budget(1), { onError: 'open' }), limit('busy', atOnce(1), { onError: 'open' })],
      deps: { limiter: unreachable(rules) },
    });
    expect(rules.map(({ options }) => options.onError)).toEqual(['closed', 'open']);
  });
});

describe('mode', () => {
  it.each(['enforce', 'shadow'] as const)('%s', (mode) => {
    const records: AdmissionRecord[] = [];
    const rig = new Rig({
      limits: [limit('trial', rate(3), { mode }), limit('real', rate(5))],
      deps: { events: { admitted: (record) => records.push(record) } },
    });
    let admitted = 0;
    while (admitted < 10 && rig.run(call()) === undefined) admitted++;
    expect(admitted).toBe(mode === 'shadow' ? 5 : 3);
    expect(records.filter(({ shadowed }) => shadowed.includes('trial'))).toHaveLength(mode === 'shadow' ? 2 : 0);
  });
});

describe('algorithm', () => {
  const options = (algorithm: LimitOptions['algorithm']) => limit('calls', rate(4), { algorithm });

  it.each([
    // One unit is back every 15 s: two were when the third call came.
    ['token-bucket', [30_000, 30_000, 45_000, 60_000, 75_000]],
    // Each call leaves the window a minute after it came.
    ['sliding-window', [60_000, 60_000, 90_000, 90_000, 120_000]],
    // The window begins with the first call.
    ['fixed-window', [60_000, 60_000, 60_000, 60_000, 120_000]],
  ] as const)('%s', (algorithm, expected) => {
    verifies('R1-18');
    const rig = new Rig({ limits: [options(algorithm)] });
    const admittedAt: number[] = [];
    for (const at of [0, 0, 30_000, 30_000]) {
      rig.clock.now = at;
      expect(rig.run(call())).toBeUndefined();
    }
    for (let now = 30_000; now <= 120_000; now += 1000) {
      rig.clock.now = now;
      while (admittedAt.length < 5 && rig.run(call()) === undefined) admittedAt.push(now);
    }
    expect(admittedAt).toEqual(expected);
  });
});

describe('records of decisions', () => {
  it('has every rule with its key and cost, on admission and on refusal', () => {
    const records: AdmissionRecord[] = [];
    const keep = (record: AdmissionRecord) => records.push(record);
    const rig = new Rig({
      limits: [limit('calls', rate(1)), limit('spend', budget(9))],
      prices: { 'math/add': price({ each: usd(2) }) },
      deps: { events: { admitted: keep, refused: keep } },
    });
    rig.run(call());
    rig.run(call());
    expect(records.map(({ rules }) => rules.map(({ limit: name, cost }) => [name, cost]))).toEqual(
      Array(2).fill([
        ['calls', 1],
        ['spend', 2e6],
      ]),
    );
    expect(records[0]!.rules[0]!.key).toBe(records[1]!.rules[0]!.key);
    expect(records.map(({ refusal }) => refusal?.reason)).toEqual([undefined, 'rate_limited']);
    expect(records[1]).toMatchObject({
      id: records[1]!.refusal!.id,
      tier: 'default',
      method: 'tools/call',
      object: 'math/add',
    });
  });

  it('is not made when nobody listens, and no id either', () => {
    const rig = new Rig({ limits: [limit('calls', rate(1))] });
    const one = call();
    rig.admit(one);
    expect(one.decisionId).toBeUndefined();
  });
});
