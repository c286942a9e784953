import { Ask, MemoryLimiter, type Rule } from '@tollgate/limiter';
import { createAdmission } from '../../packages/gateway/src/admission/admission.ts';
import type { Admission } from '../../packages/gateway/src/admission/contract.ts';
import type { AdmissionOptions, LimitKey, LimitOptions } from '../../packages/gateway/src/admission/options.ts';
import {
  atOnce,
  budget,
  call,
  limit,
  price,
  principal,
  rate,
  toolTarget,
  usd,
} from '../../packages/gateway/src/admission/testing.ts';
import { systemClock } from '../../packages/gateway/src/core/clock.ts';
import type { Stage } from '../stage.ts';

/** Many callers, so that slots are met cold as well as warm. */
const CALLERS = 10_000;
/** So high that nothing is refused, and so slow that every counter stays in use: the price of an admission. */
const COUNT = 1_000_000_000;
const DAY = 86_400_000;

function engine(count: number): Stage {
  const limiter = new MemoryLimiter();
  const rules: Rule[] = Array.from({ length: count }, (_, i) =>
    limiter.rule({ algorithm: 'token-bucket', name: `rule-${i}`, limit: COUNT, periodMs: DAY }),
  );
  const ask = new Ask();
  return {
    name: `limiter: ${count} limit${count === 1 ? '' : 's'}, all admitted`,
    run(iterations) {
      for (let i = 0; i < iterations; i++) {
        ask.clear();
        for (const rule of rules) ask.rule(rule).key(i % CALLERS);
        if (!limiter.decide(ask, 1).allowed) throw new Error('refused');
      }
    },
  };
}

const KEYS: readonly (readonly LimitKey[])[] = [
  ['principal'],
  ['everyone'],
  ['tool'],
  ['principal', 'tool'],
  ['server'],
  ['endpoint'],
  ['session'],
];

function options(limits: readonly LimitOptions[]): AdmissionOptions {
  return {
    limits,
    tiers: ['default'],
    pricesOf: () => PRICES,
    unpriced: 'free',
    sessionGuard: undefined,
    preset: undefined,
  };
}

const PRICES = [price({ each: usd(0.000001) })];
const TARGET = toolTarget('files/read');
const ENDPOINT = { ...TARGET, kind: 'resource' } as const;
const END = { executed: 'yes', answer: undefined } as const;
const CALLS = Array.from({ length: 100 }, (_, i) => call({ principal: principal(`bench/${i}`) }));
const READS = CALLS.map(({ principal: who }) => call({ principal: who, method: 'resources/read' }));

function rates(count: number): readonly LimitOptions[] {
  return KEYS.slice(0, count).map((by, i) => limit(`limit-${i}`, rate(COUNT, 0, { kind: 'length', ms: DAY }), { by }));
}

/** Admits and finishes. Reading a resource has no price: rates only. */
function admission(name: string, limits: readonly LimitOptions[], priced: boolean): Stage {
  const subject: Admission = createAdmission(options(limits), { clock: systemClock });
  const calls = priced ? CALLS : READS;
  const target = priced ? TARGET : ENDPOINT;
  return {
    name: `admission: ${name}, admitted and finished`,
    run(iterations) {
      for (let i = 0; i < iterations; i++) {
        const one = calls[i % calls.length]!;
        const verdict = subject.admit(one, target, 1);
        if (verdict instanceof Promise || !verdict.allowed) throw new Error('refused');
        one.charge = verdict.charge;
        subject.finish(one, END, 1);
        // A call is made once and so is its id.
        one.decisionId = undefined;
      }
    },
  };
}

function refusing(): Stage {
  const subject = createAdmission(options([limit('none', rate(1), { by: ['everyone'] })]), { clock: systemClock });
  return {
    name: 'admission: 1 limit, all refused',
    run(iterations) {
      for (let i = 0; i < iterations; i++) void subject.admit(READS[i % READS.length]!, ENDPOINT, 0);
    },
  };
}

const MONEY = [limit('spend', budget(1_000_000)), limit('all', budget(1_000_000), { by: ['everyone'] })];

export const stages: readonly Stage[] = [
  engine(1),
  engine(7),
  admission('1 limit', rates(1), false),
  admission('7 limits', rates(7), false),
  admission('7 limits, 2 budgets', [...rates(7), ...MONEY], true),
  admission('7 limits, 2 budgets, slots', [...rates(7), ...MONEY, limit('busy', atOnce(100))], true),
  refusing(),
];
