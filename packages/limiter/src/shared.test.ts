import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import { Ask } from './ask.ts';
import { SharedLimiter, sharedMemory } from './shared.ts';
import { limiterContract } from './testing/contract.ts';
import type { WorkerTask } from './testing/shared-worker.ts';
import { FULL } from './testing/stand.ts';
import type { Limiter, RuleOptions } from './types.ts';

const ORIGIN = Date.UTC(2026, 0, 5, 10);
const HOUR = 3_600_000_000;

/** Every call by another view of the same memory, as if two workers took turns. */
function takingTurns(buffer: SharedArrayBuffer): Limiter {
  const views = [new SharedLimiter(buffer), new SharedLimiter(buffer)];
  let turn = 0;
  const next = () => views[turn++ % 2]!;
  return {
    rule(options, previous) {
      for (const view of views) view.rule(options, previous);
      return views[0]!.rule(options, previous);
    },
    decide: (ask, now) => next().decide(ask, now),
    decideAll: (asks, now) => next().decideAll(asks, now),
    check: (ask, now) => next().check(ask, now),
    inspect: (ask, now) => next().inspect(ask, now),
    take: (ask, now) => next().take(ask, now),
    adjust: (ask, now, at) => next().adjust(ask, now, at),
    settle: (settlement, now) => next().settle(settlement, now),
    release: (id, now) => next().release(id, now),
    renew: (id, ttl, now) => next().renew(id, ttl, now),
    reset: (ask, now) => next().reset(ask, now),
  };
}

limiterContract(
  'a limiter in shared memory',
  () => {
    const buffer = sharedMemory({ origin: ORIGIN, keys: FULL ? 10_000 : 3000, holds: 200, charges: 3000 });
    let now = 0;
    return Promise.resolve({
      limiter: takingTurns(buffer),
      now: () => now,
      advance(micros: number) {
        now += micros;
      },
      close: () => Promise.resolve(),
      // Without the header, which has the time.
      dump: () => Buffer.from(buffer.slice(16 * 8)).toString('latin1'),
    });
  },
  { origin: ORIGIN, effort: 0.1 },
);

describe('worker threads on one memory', () => {
  async function run(buffer: SharedArrayBuffer, tasks: readonly Partial<WorkerTask>[]): Promise<number[]> {
    const start = new Int32Array(new SharedArrayBuffer(4));
    const usual = { buffer, start, rules: [], costs: [], calls: 0, keys: 1, hold: undefined, settleAt: undefined };
    const workers = tasks.map(
      (task) =>
        new Worker(new URL('./testing/shared-worker.ts', import.meta.url), { workerData: { ...usual, ...task } }),
    );
    try {
      await Promise.all(workers.map((worker) => once(worker, 'message')));
      const results = workers.map((worker) => once(worker, 'message'));
      Atomics.store(start, 0, 1);
      Atomics.notify(start, 0);
      return (await Promise.all(results)).map(([admitted]) => admitted as number);
    } finally {
      await Promise.all(workers.map((worker) => worker.terminate()));
    }
  }

  const minute = { periodMs: 3_600_000, limit: 10 };
  const kinds: readonly RuleOptions[] = [
    { algorithm: 'token-bucket', name: 'bucket', ...minute },
    { algorithm: 'sliding-window', name: 'sliding', ...minute },
    { algorithm: 'fixed-window', name: 'fixed', ...minute },
    { algorithm: 'total', name: 'total', limit: 10 },
  ];

  it('admit exactly 10 of 1000 calls from two workers', async () => {
    for (const options of FULL ? kinds : kinds.slice(0, 1)) {
      const admitted = await run(sharedMemory({ keys: 100 }), [
        { rules: [options], calls: 500 },
        { rules: [options], calls: 500 },
      ]);
      expect(admitted[0]! + admitted[1]!, options.name).toBe(10);
    }
  });

  it('admit exactly what there is room for under every key and rule at once', async () => {
    const buffer = sharedMemory({ keys: 1000 });
    const rules: readonly RuleOptions[] = [...kinds, { algorithm: 'total', name: 'most', limit: 400 }];
    const task = { rules, calls: 4000, keys: 100 };
    const admitted = await run(buffer, [task, task]);
    expect(admitted[0]! + admitted[1]!).toBe(1000);
    const limiter = new SharedLimiter(buffer);
    const most = limiter.rule(rules[4]!);
    const ask = new Ask();
    for (let key = 0; key < 100; key++) {
      expect(limiter.inspect(ask.clear().rule(most).key(key), 1000)[0]!.used).toBe(10);
    }
  });

  it('open and settle holds together: the money of ten calls is spent by ten', async () => {
    const buffer = sharedMemory({ keys: 100 });
    const money: RuleOptions = { algorithm: 'total', name: 'money', limit: 30, settles: true };
    const slots: RuleOptions = { algorithm: 'concurrency', name: 'slots', limit: 2 };
    const task = { rules: [money, slots], costs: [3], calls: 500, settleAt: 3 };
    const admitted = await run(buffer, [
      { ...task, hold: 'a' },
      { ...task, hold: 'b' },
    ]);
    expect(admitted[0]! + admitted[1]!).toBe(10);
    const limiter = new SharedLimiter(buffer);
    const ask = new Ask().clear().rule(limiter.rule(money), 0).key(0).rule(limiter.rule(slots), 0).key(0);
    expect(limiter.inspect(ask, 1000)).toMatchObject([
      { used: 30, held: 0 },
      { used: 0, held: 0 },
    ]);
  });

  it('report a worker that ended inside a call, and do not hang', () => {
    const buffer = sharedMemory({ keys: 100 });
    const limiter = new SharedLimiter(buffer);
    const rule = limiter.rule(kinds[0]!);
    // The lock as that worker has left it.
    new Int32Array(buffer)[1] = 1;
    expect(() => limiter.decide(new Ask().clear().rule(rule), 0)).toThrow(/locked by a worker that has ended/);
  });
});

describe('shared memory of fixed size', () => {
  it('refuses what it has no room for as unavailable, forgets nothing in use, and has room again afterwards', () => {
    const limiter = new SharedLimiter(sharedMemory({ keys: 50, holds: 50, charges: 2000 }));
    const rule = limiter.rule({ algorithm: 'fixed-window', name: 'hourly', limit: 1, periodMs: 3_600_000 });
    const ask = new Ask();
    const admitted: number[] = [];
    for (let key = 0; key < 1000; key++) {
      const outcome = limiter.decide(ask.clear().rule(rule).key(key), 0);
      if (outcome.allowed) admitted.push(key);
      else expect(outcome).toMatchObject({ retryAfter: undefined, violated: [{ verdict: 'unavailable' }] });
    }
    expect(admitted.length).toBeGreaterThanOrEqual(50);
    for (const key of admitted) expect(limiter.decide(ask.clear().rule(rule).key(key), 1).allowed).toBe(false);
    for (let key = 1000; key < 1050; key++) {
      expect(limiter.decide(ask.clear().rule(rule).key(key), HOUR).allowed).toBe(true);
    }
  });

  it('refuses a hold beyond its number, until ended ones are forgotten', () => {
    const limiter = new SharedLimiter(sharedMemory({ holds: 50 }));
    const rule = limiter.rule({ algorithm: 'total', name: 'money', limit: 1_000_000, settles: true });
    const ask = new Ask();
    const open = (id: string, now: number) =>
      limiter.decide(
        ask
          .clear()
          .rule(rule)
          .hold(id, 100 * HOUR),
        now,
      ).allowed;
    let holds = 0;
    while (open(`first ${holds}`, 0)) holds++;
    expect(holds).toBeGreaterThanOrEqual(50);
    expect(limiter.inspect(ask.clear().rule(rule, 0), 0)[0]).toMatchObject({ used: holds, held: holds });
    for (let i = 0; i < holds; i++) limiter.settle({ id: `first ${i}` }, 0);
    expect(open('early', 1)).toBe(false);
    expect(limiter.settle({ id: 'first 0' }, 1)).toMatchObject({ state: 'settled', changed: false });
    for (let i = 0; i < holds; i++) expect(open(`second ${i}`, HOUR)).toBe(true);
    expect(limiter.settle({ id: 'first 0' }, HOUR)).toMatchObject({ state: 'unknown', changed: false });
    expect(limiter.inspect(ask.clear().rule(rule, 0), HOUR)[0]).toMatchObject({ used: 2 * holds, held: holds });
  });

  it('gives no list away that it cannot have back: charges of ended windows and holds are used again', () => {
    const limiter = new SharedLimiter(sharedMemory({ keys: 64, holds: 64, charges: 400 }));
    const rule = limiter.rule({ algorithm: 'sliding-window', name: 'sliding', limit: 1000, periodMs: 1 });
    const ask = new Ask();
    for (let call = 0; call < 20_000; call++) {
      ask
        .clear()
        .rule(rule)
        .key(call % 200);
      if (call % 3 === 0) ask.hold(`hold ${call % 50}`, 10);
      const outcome = limiter.decide(ask, call * 300);
      if (!outcome.allowed) throw new Error(`call ${call}: ${outcome.violated[0]!.verdict}`);
    }
  });

  it('is refused with sizes that cannot be, and limiters with memory that is something else', () => {
    for (const keys of [0, -1, 0.5, Number.NaN, 2 ** 25]) expect(() => sharedMemory({ keys })).toThrow(RangeError);
    expect(() => new SharedLimiter(new SharedArrayBuffer(1024))).toThrow(TypeError);
  });
});
