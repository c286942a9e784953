import { verifies } from '@tollgate/testkit/verifies';
import { describe, expect, it } from 'vitest';
import { silentLog } from '../core/log.ts';
import type { AdmissionEvents, Alert, OpenedHold, SettledHold } from './events.ts';
import { GrantBook } from './grants.ts';
import type { LimitOptions } from './options.ts';
import { microsOf, multiplyUp, Price } from './price.ts';
import { StopBook } from './stops.ts';
import type { CallOptions } from './testing.ts';
import {
  ADA,
  answer,
  atOnce,
  budget,
  call,
  DAY,
  limit,
  perCall,
  price,
  principal,
  Rig,
  type RigOptions,
  rate,
  START,
  toolTarget,
  total,
  usd,
} from './testing.ts';

/** What the tests listen to. */
function listener() {
  const opened: OpenedHold[] = [];
  const settled: SettledHold[] = [];
  const released: string[] = [];
  const alerts: Alert[] = [];
  const events: AdmissionEvents = {
    opened: (hold) => opened.push(hold),
    settled: (hold) => settled.push(hold),
    released: ({ id }) => released.push(id),
    crossed: (alert) => alerts.push(alert),
  };
  return { opened, settled, released, alerts, events };
}

const SPEND = limit('spend', budget(20));
const EACH_5 = { 'math/add': price({ each: usd(5) }) };

function usedOf(rig: Rig, options: CallOptions = {}): Promise<number> {
  return rig.admission.external
    .peek(
      { subject: { principal: (options.principal ?? ADA).id }, method: 'tools/call', tool: 'math/add' },
      rig.clock.now,
    )
    .then(({ limits }) => limits.find(({ limit: name }) => name === 'spend')!.used);
}

describe('budgets', () => {
  it('admits what fits exactly and refuses one millionth more', async () => {
    verifies('R0-16', 'R0-20');
    const rig = new Rig({ limits: [SPEND], prices: EACH_5 });
    for (let i = 0; i < 4; i++) expect(rig.run(call())).toBeUndefined();
    const refused = rig.run(call());
    expect(refused).toMatchObject({ reason: 'daily_cost_exceeded', money: true, retryAfterSeconds: 18_720 });
    expect(await usedOf(rig)).toBe(20e6);
    // Nobody spends from another's budget.
    expect(rig.run(call({ principal: principal('x/other') }))).toBeUndefined();
    rig.clock.now = 5 * 3_600_000 + 12 * 60_000 - 1;
    expect(rig.run(call())).toBeDefined();
    rig.clock.now++;
    expect(rig.run(call())).toBeUndefined();
  });

  it('knows the hour, the single call and every other window by name', () => {
    verifies('R0-14', 'R0-15', 'R0-19');
    const reason = (limited: LimitOptions): string | undefined => {
      const rig = new Rig({ limits: [limited], prices: EACH_5 });
      while (rig.run(call()) === undefined);
      return rig.run(call())!.reason;
    };
    expect(reason(limit('h', budget(9, { kind: 'calendar', page: 'hour' })))).toBe('hourly_cost_exceeded');
    expect(reason(limit('d', budget(9)))).toBe('daily_cost_exceeded');
    expect(reason(limit('m', budget(9, { kind: 'calendar', page: 'month' })))).toBe('budget_exhausted');
    expect(reason(limit('t', total(9)))).toBe('budget_exhausted');
    expect(reason(limit('e', perCall(4.999999)))).toBe('per_request_cost_exceeded');
    expect(new Rig({ limits: [limit('e', perCall(5))], prices: EACH_5 }).run(call())).toBeUndefined();
  });

  it('holds the estimate while a call runs, so that many at once cannot overspend', () => {
    const rig = new Rig({ limits: [SPEND], prices: EACH_5 });
    const running = Array.from({ length: 10 }, () => call());
    expect(running.filter((one) => rig.admit(one).allowed)).toHaveLength(4);
    expect(rig.run(call())?.binding).toMatchObject({ used: 20e6, held: 20e6, remaining: 0 });
  });

  it('charges what the server reports, in full, and the hold where it does not', async () => {
    const heard = listener();
    const reported = price({ from: ['_meta', 'cost'], hold: usd(1), max: usd(3) });
    const rig = new Rig({ limits: [SPEND], prices: { 'math/add': reported }, deps: { events: heard.events } });
    const charged = async (result: unknown): Promise<[number, string]> => {
      const before = await usedOf(rig);
      const one = call();
      expect(rig.admit(one).allowed).toBe(true);
      rig.finish(one, 'yes', answer(result));
      return [(await usedOf(rig)) - before, heard.settled.at(-1)!.source];
    };
    expect(await charged({ _meta: { cost: 0.25 } })).toEqual([250_000, 'reported']);
    expect(await charged({ _meta: { cost: 0.0000015 } })).toEqual([2, 'reported']);
    expect(await charged({ _meta: { cost: 0 } })).toEqual([0, 'reported']);
    expect(heard.alerts).toEqual([]);
    expect(await charged({ _meta: { cost: 4 } })).toEqual([4e6, 'reported']);
    expect(heard.alerts).toMatchObject([{ kind: 'price_above_max', actual: 4e6, unit: 'USD', tool: 'math/add' }]);
    const unreadable = [
      {},
      { _meta: { cost: -1 } },
      { _meta: { cost: '1' } },
      { _meta: { cost: 1e30 } },
      { _meta: 0.5 },
    ];
    for (const result of unreadable) expect(await charged(result)).toEqual([1e6, 'estimated']);
    expect(heard.alerts.slice(1).map(({ kind }) => kind)).toEqual(unreadable.map(() => 'price_unreadable'));
  });

  it('charges what was held when nobody knows whether the call ran', async () => {
    const rig = new Rig({ limits: [SPEND], prices: EACH_5 });
    const lost = call();
    rig.admit(lost);
    rig.finish(lost, 'unknown');
    rig.finish(lost, 'no');
    expect(await usedOf(rig)).toBe(5e6);
  });

  it('goes into debt for an actual above the hold, and lets nothing through until it is paid', () => {
    const reported = price({ from: ['cost'], hold: usd(1) });
    const rig = new Rig({ limits: [SPEND], prices: { 'math/add': reported } });
    const dear = call();
    rig.admit(dear);
    rig.finish(dear, 'yes', answer({ cost: 35 }));
    expect(rig.run(call())?.binding).toMatchObject({ used: 35e6, remaining: 0 });
  });
});

describe('prices', () => {
  it('multiplies exactly and rounds up once', () => {
    expect(multiplyUp(5000, 0.1)).toBe(500);
    expect(multiplyUp(2000, 1.5)).toBe(3000);
    expect(multiplyUp(1, 1e-7)).toBe(1);
    expect(multiplyUp(3, 0.3333)).toBe(1);
    expect(multiplyUp(5000, 0)).toBe(0);
    expect(multiplyUp(1_000_000, 1e9)).toBe(1e15);
    expect(multiplyUp(1_000_001, 1e9)).toBeUndefined();
    for (const bad of [-1, Number.NaN, Number.POSITIVE_INFINITY]) expect(multiplyUp(5, bad)).toBeUndefined();
  });

  it('reads decimals exactly, with an exponent too, and nothing else', () => {
    const exact = (text: string): unknown => (JSON as unknown as { rawJSON(text: string): unknown }).rawJSON(text);
    expect(microsOf(0.1)).toBe(100_000);
    expect(microsOf(exact('0.100000000000000000001'))).toBe(100_001);
    expect(microsOf(exact('1.10'))).toBe(1_100_000);
    expect(microsOf(exact('1e2'))).toBe(100e6);
    expect(microsOf(exact('1.5e-05'))).toBe(15);
    expect(microsOf(exact('1.5E-5'))).toBe(15);
    expect(microsOf(1.5e-7)).toBe(1);
    expect(microsOf(exact('1.0000000000001e1'))).toBe(10_000_001);
    expect(microsOf(exact('0.29e+2'))).toBe(29e6);
    expect(microsOf(exact('1e9'))).toBe(1e15);
    expect(microsOf(exact('1e-99'))).toBe(1);
    expect(microsOf(exact('0e99'))).toBe(0);
    const texts = ['1e10', '1e999', '1e-400', '-1e2', '1.00000000000000001e9', '1e', 'e1', '1e5.0', '0x1', '01'];
    for (const bad of ['1e2', '1.5e-05', Number.POSITIVE_INFINITY, ...texts.slice(0, 5).map(exact)]) {
      expect(microsOf(bad)).toBeUndefined();
    }
    for (const bad of texts) expect(microsOf(bad)).toBeUndefined();
    for (const bad of [exact('-1'), -0.5, Number.NaN, '1', null, [1], 1e21, exact('1000000001')]) {
      expect(microsOf(bad)).toBeUndefined();
    }
  });

  it('never follows a path into a prototype', () => {
    const reported = new Price(price({ from: ['constructor', 'length'], hold: usd(1) }), 'a/b');
    expect(reported.actual({})).toBeUndefined();
  });

  it('refuses an estimate above max before any limit is asked', () => {
    const rig = new Rig({
      limits: [SPEND, limit('calls', rate(1))],
      prices: { 'math/add': price({ each: usd(2), times: 'size(args.pages)', max: usd(5) }) },
    });
    const pages = (count: number) => call({ args: { pages: Array(count).fill(0) } });
    expect(rig.run(pages(3))).toMatchObject({ reason: 'price_above_max', violated: [] });
    expect(rig.run(call({ args: {} }))).toMatchObject({ reason: 'expression_failed', money: true });
    expect(rig.run(pages(2))).toBeUndefined();
  });

  it.each(['free', 'warn', 'refuse'] as const)('treats a tool without a price as %s', (unpriced) => {
    const warned: object[] = [];
    const log = { debug() {}, info() {}, warn: (fields: object) => warned.push(fields), error() {}, child: () => log };
    const rig = new Rig({ limits: [SPEND], unpriced, deps: { log } });
    for (let i = 0; i < 3; i++) expect(rig.run(call())?.reason).toBe(unpriced === 'refuse' ? 'unpriced' : undefined);
    expect(warned).toEqual(unpriced === 'warn' ? [{ tool: 'math/add', limit: 'spend' }] : []);
    const file = toolTarget('files/file:///x', { kind: 'resource' });
    expect(rig.run(call({ method: 'resources/read' }), file)).toBeUndefined();
  });

  it('counts a limit in its own unit by its own cost, without a price', () => {
    const credits = {
      ...limit('credits', { kind: 'amount', amount: { unit: 'credits', micros: 3e6 }, period: DAY, burst: 0 }),
      cost: { kind: 'fixed', units: 2 } as const,
    };
    const rig = new Rig({ limits: [credits], unpriced: 'refuse' });
    expect(rig.run(call())).toBeUndefined();
    expect(rig.run(call())?.binding).toMatchObject({ cost: 2e6, remaining: 1e6 });
  });

  it('takes the price of a cached result, and rates only where hits count', () => {
    const rig = new Rig({
      limits: [SPEND, limit('calls', rate(1)), limit('hits', rate(3), { hits: true }), limit('busy', atOnce(1))],
      prices: { 'math/add': price({ each: usd(5), cached: usd(8) }) },
    });
    rig.admit(call());
    const hit = () => rig.admission.admitHit(call(), toolTarget(), rig.clock.now);
    expect(hit()).toMatchObject({ allowed: true });
    expect(hit()).toMatchObject({ allowed: false, decision: { reason: 'daily_cost_exceeded' } });
  });
});

describe('what the ledger is told', () => {
  it('hears of every hold before the call runs, and of its one end', () => {
    const heard = listener();
    const acme = principal('corp/ann', { tenant: 'acme' });
    const limits = [
      SPEND,
      limit('all', total(100), { by: ['everyone'] }),
      limit('each', perCall(9)),
      limit('r', rate(9)),
    ];
    const rig = new Rig({ limits, prices: EACH_5, deps: { events: heard.events } });
    const [kept, dropped] = [call({ principal: acme }), call({ principal: acme })];
    rig.admit(kept);
    rig.admit(dropped);
    rig.finish(kept);
    rig.finish(dropped, 'no');
    for (const one of [kept, dropped]) rig.finish(one, 'unknown');
    expect(heard.opened.map(({ id }) => id)).toEqual([heard.settled[0]!.id, heard.released[0]]);
    expect([heard.settled.length, heard.released.length]).toEqual([1, 1]);
    expect(heard.opened[0]).toMatchObject({
      at: START,
      principal: 'corp/ann',
      tenant: 'acme',
      server: 'math',
      tool: 'math/add',
      estimate: { USD: 5e6 },
      expiresAt: START + 60_000,
      postings: [
        { rule: 'spend/principal/USD', windowStart: Date.UTC(2026, 10, 20), unit: 'USD' },
        { rule: 'all/everyone/USD', windowStart: 0, unit: 'USD' },
      ],
    });
    expect(heard.opened[0]!.postings[0]!.key).toMatch(/^[0-9a-f]{16}$/);
  });

  it('hears of calls that cost something where no limit counts it', () => {
    const heard = listener();
    const rig = new Rig({ prices: EACH_5, deps: { events: heard.events } });
    expect(rig.run(call())).toBeUndefined();
    expect(heard.opened).toMatchObject([{ estimate: { USD: 5e6 }, postings: [] }]);
    expect(heard.settled).toMatchObject([{ id: heard.opened[0]!.id, amounts: {}, source: 'fixed' }]);
  });

  it('lets no call that holds money run before its hold is written', async () => {
    const heard = listener();
    const written = Promise.withResolvers<void>();
    const rig = new Rig({
      limits: [SPEND],
      prices: EACH_5,
      deps: { events: heard.events, whenWritten: () => written.promise },
    });
    let verdict: unknown;
    const asked = rig.admitted(call()).then((got) => {
      verdict = got;
    });
    await Promise.resolve();
    expect([heard.opened.length, verdict]).toEqual([1, undefined]);
    written.resolve();
    await asked;
    expect(verdict).toMatchObject({ allowed: true });
    // What costs nothing waits for nobody.
    expect(rig.admit(call(), toolTarget('files/read')).allowed).toBe(true);
  });

  it('refuses and gives back what the ledger did not take', async () => {
    const options: RigOptions = { limits: [SPEND], prices: EACH_5 };
    const told: object[] = [];
    const log = { ...silentLog, error: (fields: object) => told.push(fields) };
    const rig = new Rig({
      ...options,
      deps: { events: listener().events, log, whenWritten: () => Promise.reject(new Error('disk full')) },
    });
    const refused = { allowed: false, decision: { reason: 'limit_unavailable' } };
    for (let i = 0; i < 50; i++) expect(await rig.admitted(call())).toMatchObject(refused);
    expect(await usedOf(rig)).toBe(0);
    // A disk that is full has no room for fifty lines.
    expect(told).toMatchObject([{ calls: 1 }]);
    rig.clock.now += 1000;
    expect(await rig.admitted(call())).toMatchObject(refused);
    expect(told).toMatchObject([{ calls: 1 }, { calls: 50 }]);
  });
});

describe('calls of several rounds', () => {
  const limits = [SPEND, limit('calls', rate(10)), limit('busy', atOnce(1))];

  function parked(rig: Rig): string {
    const first = call();
    expect(rig.admit(first).allowed).toBe(true);
    const id = rig.admission.park(first, 60_000, rig.clock.now);
    rig.finish(first, 'no');
    return id!;
  }

  async function resumed(rig: Rig, id: string) {
    const round = call();
    const verdict = await rig.admission.resume(round, toolTarget(), id, rig.clock.now);
    expect(verdict.allowed).toBe(true);
    round.charge = verdict.allowed ? verdict.charge : undefined;
    return round;
  }

  it('holds money once and counts every round for rate; slots are free between them', async () => {
    const heard = listener();
    const rig = new Rig({ limits, prices: EACH_5, deps: { events: heard.events } });
    const id = parked(rig);
    expect(await usedOf(rig)).toBe(5e6);
    // The slot is free: another call runs meanwhile.
    expect(rig.run(call(), toolTarget('files/read'))).toBeUndefined();
    const second = await resumed(rig, id);
    expect(rig.admission.park(second, 60_000, rig.clock.now)).toBe(id);
    const third = await resumed(rig, id);
    rig.finish(third);
    expect(await usedOf(rig)).toBe(5e6);
    const spent = heard.opened.map(({ id: opened, estimate }) => {
      const end = heard.settled.filter((settled) => settled.id === opened);
      expect(end).toHaveLength(1);
      return end[0]!.amounts['USD'] ?? estimate['USD']!;
    });
    expect(spent.reduce((sum, one) => sum + one)).toBe(5e6);
    const left = await rig.admission.quota(call(), [toolTarget()], rig.clock.now);
    expect(left!.limits.find(({ limit: name }) => name === 'calls')!.remaining).toBe('6');
  });

  it('keeps the hold when a round fails before dispatch', async () => {
    const rig = new Rig({ limits, prices: EACH_5 });
    const id = parked(rig);
    rig.finish(await resumed(rig, id), 'no');
    expect(await usedOf(rig)).toBe(5e6);
    rig.finish(await resumed(rig, id));
    expect(await usedOf(rig)).toBe(5e6);
  });

  it('charges a state that is used twice as two calls', async () => {
    const rig = new Rig({ limits: [SPEND], prices: EACH_5 });
    const id = parked(rig);
    const [one, again] = [await resumed(rig, id), await resumed(rig, id)];
    expect(await usedOf(rig)).toBe(10e6);
    rig.finish(one);
    rig.finish(again);
    rig.finish(await resumed(rig, id));
    expect(await usedOf(rig)).toBe(15e6);
  });

  it('charges a call that never comes back', async () => {
    const rig = new Rig({ limits: [SPEND], prices: EACH_5 });
    const id = parked(rig);
    rig.clock.now = 120_000;
    expect(await usedOf(rig)).toBe(5e6);
    rig.finish(await resumed(rig, id));
    expect(await usedOf(rig)).toBe(5e6);
  });
});

describe('stops, latches and grants', () => {
  it('refuses what is stopped before anything is counted, until its time is over', () => {
    const stops = new StopBook();
    const rig = new Rig({ limits: [limit('calls', rate(1))], deps: { stops } });
    const stop = { id: 's1', scope: 'server:math', reason: 'maintenance', by: 'local/ops', at: START } as const;
    stops.add({ ...stop, until: START + 90_000 });
    expect(stops.add(stop)).toBe(false);
    expect(rig.run(call())).toMatchObject({ reason: 'stopped', retryAfterSeconds: 90 });
    expect(rig.run(call(), toolTarget('files/read'))).toBeUndefined();
    rig.clock.now = 90_000;
    expect(rig.run(call())).toBeUndefined();
    expect(stops.any).toBe(false);
  });

  it.each([
    ['everything', true, true],
    ['tool:math/*', true, false],
    ['tool:read', false, true],
    ['tenant:acme', true, true],
    ['tenant:other', false, false],
  ] as const)('%s stops what it says', (scope, add, read) => {
    const stops = new StopBook();
    const rig = new Rig({ deps: { stops } });
    stops.add({ id: 's1', scope, reason: 'x', by: 'ops', at: START });
    const who = principal('x/a', { tenant: 'acme' });
    expect(rig.run(call({ principal: who })) !== undefined).toBe(add);
    expect(rig.run(call({ principal: who }), toolTarget('files/read')) !== undefined).toBe(read);
    stops.lift('s1');
    expect(rig.run(call({ principal: who }))).toBeUndefined();
  });

  it('shuts a latched limit for good when its total is spent, and only then', () => {
    verifies('R0-18', 'C-07');
    const stops = new StopBook();
    const stopped: string[] = [];
    const rig = new Rig({
      limits: [limit('stop', total(10), { by: ['everyone'], latch: true })],
      prices: EACH_5,
      deps: { stops, events: { stopped: ({ scope }) => stopped.push(scope) } },
    });
    const [first, second] = [call(), call()];
    rig.admit(first);
    rig.admit(second);
    // Reached by what is held only: that may still come back.
    rig.finish(second, 'no');
    rig.finish(first);
    expect(stopped).toEqual([]);
    expect(rig.run(call())).toBeUndefined();
    expect(stopped).toEqual(['rule:stop']);
    expect(rig.run(call({ principal: principal('x/else') }))).toMatchObject({ reason: 'stopped', money: true });
    // What costs nothing goes on.
    expect(rig.run(call(), toolTarget('files/read'))).toBeUndefined();
    // More room does not open it; lifting does.
    rig.reload({ limits: [limit('stop', total(100), { by: ['everyone'], latch: true })], prices: EACH_5 });
    expect(rig.run(call())?.reason).toBe('stopped');
    stops.lift(stops.list(START)[0]!.id);
    expect(rig.run(call())).toBeUndefined();
  });

  it('latches only the key that reached it', () => {
    const rig = new Rig({ limits: [limit('stop', total(5), { latch: true })], prices: EACH_5 });
    expect(rig.run(call())).toBeUndefined();
    expect(rig.run(call())?.reason).toBe('stopped');
    expect(rig.run(call({ principal: principal('x/other') }))).toBeUndefined();
  });

  it('tells once of each share that is reached', () => {
    const heard = listener();
    const rig = new Rig({
      limits: [limit('spend', budget(100), { alerts: [0.8, 0.95] })],
      prices: EACH_5,
      deps: { events: heard.events },
    });
    const at: number[] = [];
    for (let i = 1; i <= 20; i++) {
      rig.run(call());
      while (at.length < heard.alerts.length) at.push(i);
    }
    expect(at).toEqual([16, 19]);
    expect(heard.alerts).toMatchObject([
      { kind: 'share', limit: 'spend', share: 0.8, used: 80e6, of: 100e6, principal: ADA.id },
      { share: 0.95, used: 95e6 },
    ]);
  });

  it('adds what was granted, to whom it was granted, while it lasts', () => {
    const changes: string[] = [];
    const grants = new GrantBook((grant, change) => changes.push(`${change} ${grant.id}`));
    const rig = new Rig({ limits: [SPEND], prices: EACH_5, deps: { grants } });
    const more = {
      id: 'g1',
      rule: 'spend',
      principal: ADA.id,
      amount: 5e6,
      unit: 'USD',
      reason: 'x',
      by: 'ops',
      at: START,
    };
    grants.add({ ...more, until: START + 60_000 });
    const admitted = (who = ADA): number => {
      let count = 0;
      while (count < 10 && rig.run(call({ principal: who })) === undefined) count++;
      return count;
    };
    expect(admitted()).toBe(5);
    expect(admitted(principal('x/bob'))).toBe(4);
    grants.add({ ...more, id: 'g2', amount: 10e6, until: START + 60_000 });
    expect(admitted()).toBe(2);
    rig.clock.now = 60_000;
    expect(admitted()).toBe(0);
    expect(grants.any).toBe(false);
    expect(grants.revoke('g1')).toBeUndefined();
    expect(() => grants.add({ ...more, id: 'g3', amount: -1, until: START })).toThrow('positive');
    expect(changes).toEqual(['added g1', 'added g2']);
  });
});
