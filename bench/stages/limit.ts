import { Ask, MemoryLimiter, type Rule } from '@tollgate/limiter';
import { createAdmission } from '../../packages/gateway/src/admission/admission.ts';
import type { Admission } from '../../packages/gateway/src/admission/contract.ts';
import type { Target } from '../../packages/gateway/src/admission/limits.ts';
import type { LimitKey, LimitOptions } from '../../packages/gateway/src/admission/options.ts';
import { systemClock } from '../../packages/gateway/src/core/clock.ts';
import type { Principal } from '../../packages/gateway/src/core/principal.ts';
import type { Call } from '../../packages/gateway/src/protocol/call.ts';
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

function options(by: readonly LimitKey[], i: number, count: number): LimitOptions {
  const none = undefined;
  return {
    name: `limit-${i}`,
    on: none,
    tool: none,
    resource: none,
    prompt: none,
    server: none,
    endpoint: none,
    by,
    count,
    periodMs: DAY,
    burst: 0,
    message: none,
    disclose: 'mine',
  };
}

const TARGET: Target = { kind: 'tool', canonicalId: 'files/read', server: 'files', endpoint: '/mcp' };

/** The parts of a call that admission reads. */
const CALLS: readonly Call[] = Array.from(
  { length: 100 },
  (_, key) =>
    ({
      message: { kind: 'request', method: 'tools/call' },
      principal: { key } as Principal,
      session: undefined,
      decisionId: undefined,
    }) as unknown as Call,
);

function admission(count: number): Stage {
  const subject: Admission = createAdmission(
    KEYS.slice(0, count).map((by, i) => options(by, i, COUNT)),
    { clock: systemClock },
  );
  return {
    name: `admission: ${count} limit${count === 1 ? '' : 's'}, all admitted`,
    run(iterations) {
      for (let i = 0; i < iterations; i++) {
        const verdict = subject.admit(CALLS[i % CALLS.length]!, TARGET, 1);
        if (verdict instanceof Promise || !verdict.allowed) throw new Error('refused');
      }
    },
  };
}

function refusing(): Stage {
  const subject = createAdmission([options(['everyone'], 0, 1)], { clock: systemClock });
  return {
    name: 'admission: 1 limit, all refused',
    run(iterations) {
      for (let i = 0; i < iterations; i++) void subject.admit(CALLS[i % CALLS.length]!, TARGET, 0);
    },
  };
}

export const stages: readonly Stage[] = [engine(1), engine(7), admission(1), admission(7), refusing()];
