import { MemoryLimiter } from '@tollgate/limiter';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { TollgateError } from '../core/errors.ts';
import type { Call } from '../protocol/call.ts';
import type { Decision, Verdict } from './decision.ts';
import type { LimitOptions, Rung } from './options.ts';
import {
  ADA,
  atOnce,
  budget,
  call,
  limit,
  price,
  principal,
  Rig,
  rate,
  remote,
  Sent,
  START,
  toolTarget,
  usd,
} from './testing.ts';

const RUNGS: readonly Rung[] = [{ kind: 'wait', ms: 10_000 }, { kind: 'refuse' }];
// biome-ignore lint/suspicious/noThenProperty: a list, and a key of the product's configuration.
const WAIT = { then: RUNGS };

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

/** Moves the clock of the rig and the timers together. */
async function pass(rig: Rig, ms: number): Promise<void> {
  const until = rig.clock.now + ms;
  while (rig.clock.now < until) {
    const step = Math.min(50, until - rig.clock.now);
    rig.clock.now += step;
    await vi.advanceTimersByTimeAsync(step);
  }
}

type Ending = 'running' | 'admitted' | Decision | Error;

/** A call that is on its way in; `ending` says how far it is. */
function begin(rig: Rig, one: Call, target = toolTarget()): { readonly call: Call; ending: Ending } {
  const begun: { readonly call: Call; ending: Ending } = { call: one, ending: 'running' };
  const done = (verdict: Verdict): void => {
    if (verdict.allowed) one.charge = verdict.charge;
    begun.ending = verdict.allowed ? 'admitted' : verdict.decision;
  };
  const verdict = rig.admission.admit(one, target, rig.clock.now);
  if (verdict instanceof Promise) {
    verdict.then(done, (error: Error) => {
      begun.ending = error;
    });
  } else {
    done(verdict);
  }
  return begun;
}

describe('waiting for a rate', () => {
  it('takes its place in the future once, and runs then', async () => {
    const rig = new Rig({ limits: [limit('calls', rate(60), WAIT)] });
    for (let i = 0; i < 60; i++) expect(rig.run(call())).toBeUndefined();
    const waiting = [begin(rig, call()), begin(rig, call())];
    await pass(rig, 950);
    expect(waiting.map(({ ending }) => ending)).toEqual(['running', 'running']);
    await pass(rig, 100);
    expect(waiting.map(({ ending }) => ending)).toEqual(['admitted', 'running']);
    await pass(rig, 1000);
    expect(waiting[1]!.ending).toBe('admitted');
  });

  it('refuses at once what would take longer than it may wait', () => {
    const rig = new Rig({ limits: [limit('calls', rate(1), WAIT)] });
    rig.run(call());
    expect(begin(rig, call()).ending).toMatchObject({ reason: 'rate_limited', retryAfterSeconds: 60 });
  });

  it('refuses at once when a limit in the way does not let calls wait', () => {
    const rig = new Rig({ limits: [limit('a', rate(60), WAIT), limit('b', rate(60))] });
    for (let i = 0; i < 60; i++) rig.run(call());
    expect(begin(rig, call()).ending).toMatchObject({ reason: 'rate_limited' });
  });

  it('gives its place back when the caller leaves', async () => {
    const rig = new Rig({ limits: [limit('calls', rate(60), WAIT)] });
    for (let i = 0; i < 60; i++) rig.run(call());
    const leaves = begin(rig, call());
    await pass(rig, 500);
    leaves.call.lifetime.end(new TollgateError('cancelled', 'Cancelled'));
    await pass(rig, 0);
    await vi.advanceTimersByTimeAsync(0);
    expect(leaves.ending).toMatchObject({ code: 'cancelled' });
    await pass(rig, 500);
    expect(rig.run(call())).toBeUndefined();
  });

  it('tells a client that asked for progress, growing towards 0', async () => {
    const rig = new Rig({ limits: [limit('calls', rate(6), WAIT)] });
    for (let i = 0; i < 6; i++) rig.run(call());
    const sent = new Sent();
    const waits = begin(rig, call({ progressToken: 'p1', reply: sent }));
    await pass(rig, 10_000);
    expect(waits.ending).toBe('admitted');
    const told = sent.notified.map((message) => message['params'] as { progressToken: string; progress: number });
    expect(told.length).toBeGreaterThan(1);
    expect(told.every(({ progressToken }) => progressToken === 'p1')).toBe(true);
    const progress = told.map((params) => params.progress);
    expect(progress).toEqual(progress.toSorted((a, b) => a - b));
    expect(progress.at(-1)).toBeLessThanOrEqual(0);
    await pass(rig, 20_000);
    expect(sent.notified).toHaveLength(told.length);
  });
});

describe('waiting in line', () => {
  const busy: LimitOptions = limit('busy', atOnce(1), { by: ['server'], ...WAIT });

  it('goes in the order of arrival, and nobody passes', async () => {
    const rig = new Rig({ limits: [busy] });
    const order: string[] = [];
    const running = begin(rig, call());
    const waiting = ['a', 'b', 'c'].map((name) => ({
      name,
      ...keep(begin(rig, call({ principal: principal(`x/${name}`) }))),
    }));
    for (let i = 0; i < 4; i++) {
      const done = [running, ...waiting.map(({ begun }) => begun)].find(({ ending }) => ending === 'admitted')!;
      rig.finish(done.call);
      done.ending = new Error('done');
      // A newcomer that comes at this very moment goes behind the others.
      if (i === 0) begin(rig, call({ principal: principal('x/late') }));
      await pass(rig, 50);
      for (const { name, begun } of waiting) if (begun.ending === 'admitted' && !order.includes(name)) order.push(name);
    }
    expect(order).toEqual(['a', 'b', 'c']);
  });

  it('refuses when its time is over, and holds nothing of the other limits', async () => {
    const rig = new Rig({ limits: [busy, limit('calls', rate(2))] });
    begin(rig, call());
    const late = begin(rig, call());
    await pass(rig, 9950);
    expect(late.ending).toBe('running');
    await pass(rig, 100);
    expect(late.ending).toMatchObject({ reason: 'concurrency_limited' });
    expect(rig.run(call(), toolTarget('files/read'))).toBeUndefined();
  });

  it('lets the next one in when the first of the line leaves', async () => {
    const rig = new Rig({ limits: [busy] });
    const running = begin(rig, call());
    const [first, second] = [begin(rig, call()), begin(rig, call())];
    first.call.lifetime.end(new TollgateError('cancelled', 'Cancelled'));
    rig.finish(running.call);
    await pass(rig, 50);
    expect([first.ending, second.ending]).toMatchObject([{ code: 'cancelled' }, 'admitted']);
  });

  it('waits for a window to end', async () => {
    const window = limit('window', rate(1, 0, { kind: 'length', ms: 5000 }), { algorithm: 'fixed-window', ...WAIT });
    const rig = new Rig({ limits: [window] });
    rig.run(call());
    const waits = begin(rig, call());
    await pass(rig, 4950);
    expect(waits.ending).toBe('running');
    await pass(rig, 100);
    expect(waits.ending).toBe('admitted');
  });

  it('does not take a slot while it waits for money', async () => {
    const rig = new Rig({
      limits: [limit('busy', atOnce(1)), limit('spend', budget(5, { kind: 'calendar', page: 'minute' }), WAIT)],
      prices: { 'math/add': price({ each: usd(5) }) },
    });
    rig.clock.now = 55_000;
    rig.run(call());
    const waits = begin(rig, call());
    expect(rig.run(call(), toolTarget('files/read'))).toBeUndefined();
    await pass(rig, 5050);
    expect(waits.ending).toBe('admitted');
  });

  it('is bounded for everybody and for one principal', async () => {
    const rig = new Rig({ limits: [busy] });
    begin(rig, call());
    const mine = Array.from({ length: 21 }, () => begin(rig, call({ principal: ADA })));
    expect(mine.filter(({ ending }) => ending === 'running')).toHaveLength(20);
    const others = Array.from({ length: 1000 }, (_, i) => begin(rig, call({ principal: principal(`y/${i}`) })));
    expect(others.filter(({ ending }) => ending === 'running')).toHaveLength(980);
    rig.admission.close();
    await vi.advanceTimersByTimeAsync(0);
    expect([...mine, ...others].filter(({ ending }) => ending === 'running')).toEqual([]);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('hears of slots that another gateway gives back', async () => {
    const memory = new MemoryLimiter({ seed: [1, 2], originMs: START });
    const rig = new Rig({ limits: [busy], deps: { limiter: remote(memory) } });
    const elsewhere = new Rig({ limits: [busy], deps: { limiter: memory } });
    const running = call();
    elsewhere.admit(running);
    const waits = begin(rig, call());
    await pass(rig, 1000);
    expect(waits.ending).toBe('running');
    elsewhere.finish(running);
    await pass(rig, 300);
    expect(waits.ending).toBe('admitted');
  });
});

function keep(begun: ReturnType<typeof begin>): { readonly begun: ReturnType<typeof begin> } {
  return { begun };
}
