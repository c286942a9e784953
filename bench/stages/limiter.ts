import { Ask, MemoryLimiter, type Rule, type RuleOptions } from '@tollgate/limiter';
import type { Stage } from '../stage.ts';

/** Many callers, so that slots are met cold as well as warm. */
const CALLERS = 10_000;
const DAY = 86_400_000;
const MINUTE = 60_000_000;
/** Calls that are under way at once. */
const IN_FLIGHT = 64;
const IDS = 4096;

function bucket(limiter: MemoryLimiter, i: number): Rule {
  return limiter.rule({ algorithm: 'token-bucket', name: `rate-${i}`, limit: 1_000_000, periodMs: DAY, burst: 1e9 });
}

/** A call as the gateway makes it: seven rates, money of two windows held and settled when the call is done. */
function holding(name: string, rates: number, budgets: number, slots: number, persist: boolean): Stage {
  const limiter = new MemoryLimiter({ persist, originMs: Date.UTC(2026, 10, 21) });
  const rules = Array.from({ length: rates }, (_, i) => bucket(limiter, i));
  for (let i = 0; i < budgets; i++) {
    const period = i % 2 === 0 ? 'month' : 'day';
    const money = { algorithm: 'calendar-window', limit: 1e15, period, settles: true, unit: 'micro-USD' } as const;
    rules.push(limiter.rule({ ...money, name: `money-${i}` }));
  }
  for (let i = 0; i < slots; i++)
    rules.push(limiter.rule({ algorithm: 'concurrency', name: `slots-${i}`, limit: 1e6 }));
  const ids = Array.from({ length: IDS }, () => `tg-${crypto.randomUUID()}`);
  const ask = new Ask();
  const amounts = { 'micro-USD': 7 };
  let call = 0;
  return {
    name,
    run(iterations) {
      for (let i = 0; i < iterations; i++) {
        call++;
        ask.clear();
        for (let r = 0; r < rules.length; r++) ask.rule(rules[r]!, r < rates ? 1 : 10).key(call % CALLERS);
        if (!limiter.decide(ask.hold(ids[call % IDS]!, MINUTE), call).allowed) throw new Error('refused');
        if (call > IN_FLIGHT) limiter.settle({ id: ids[(call - IN_FLIGHT) % IDS]!, amounts }, call);
        if (persist && call % 1024 === 0) limiter.changes();
      }
    },
  };
}

function single(name: string, options: RuleOptions, step: number): Stage {
  const limiter = new MemoryLimiter({ originMs: Date.UTC(2026, 10, 21) });
  const rule = limiter.rule(options);
  const ask = new Ask();
  let call = 0;
  return {
    name: `limiter: ${name}`,
    run(iterations) {
      for (let i = 0; i < iterations; i++) {
        call++;
        if (
          !limiter.decide(
            ask
              .clear()
              .rule(rule)
              .key(call % CALLERS),
            call * step,
          ).allowed
        )
          throw new Error('refused');
      }
    },
  };
}

function refusing(): Stage {
  const limiter = new MemoryLimiter();
  const rules = Array.from({ length: 7 }, (_, i) => bucket(limiter, i));
  const full = limiter.rule({ algorithm: 'total', name: 'full', limit: 1 });
  const ask = new Ask();
  limiter.decide(ask.clear().rule(full), 1);
  return {
    name: 'limiter: 8 limits, the last refuses',
    run(iterations) {
      for (let i = 0; i < iterations; i++) {
        ask.clear();
        for (const rule of rules) ask.rule(rule).key(i % CALLERS);
        if (limiter.decide(ask.rule(full), 1).allowed) throw new Error('admitted');
      }
    },
  };
}

export const stages: readonly Stage[] = [
  holding('limiter: 7 limits and 2 holds of money, settled', 7, 2, 0, false),
  holding('limiter: the same and 1 of concurrency', 7, 2, 1, false),
  holding('limiter: 7 limits and 2 holds, persistent', 7, 2, 0, true),
  // Every caller comes back after 3 s: 20 charges in its log, none refused.
  single('sliding window, 30/min', { algorithm: 'sliding-window', name: 'w', limit: 30, periodMs: 60_000 }, 300),
  single(
    'sliding window, 30,000/min',
    { algorithm: 'sliding-window', name: 'w', limit: 30_000, periodMs: 60_000 },
    300,
  ),
  single('fixed window', { algorithm: 'fixed-window', name: 'w', limit: 30, periodMs: 60_000 }, 300),
  single('calendar window', { algorithm: 'calendar-window', name: 'w', limit: 1e15, period: 'day' }, 1),
  refusing(),
];
