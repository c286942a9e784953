/** From what the limiter or a check before it says to the record of a refusal. */
import type { Refused, Standing } from '@tollgate/limiter';
import type { Problem } from './asking.ts';
import type { Decision, LimitReason, ViolatedLimit } from './decision.ts';
import type { Target } from './limits.ts';
import type { Plan, Step } from './plan.ts';
import { lengthOf } from './rules.ts';

export interface RefusalFacts {
  readonly id: string;
  /** Milliseconds since the epoch. */
  readonly wall: number;
  readonly target: Target;
  readonly inSession: boolean;
}

const HOUR = 3_600_000;
const DAY = 86_400_000;

/** A limit had no room. */
export function limitDecision(outcome: Refused, plan: Plan, facts: RefusalFacts): Decision {
  const violated = outcome.violated.map((standing) => violation(standing, stepOf(plan, standing), facts.wall));
  const binding = violated.reduce((longest, limit) => (waitOf(limit) > waitOf(longest) ? limit : longest));
  return {
    id: facts.id,
    reason: binding.reason,
    at: facts.wall,
    binding,
    violated,
    retryAfterSeconds: outcome.retryAfter === undefined ? undefined : wholeSeconds(outcome.retryAfter),
    estimated: outcome.estimated,
    because: undefined,
    money: isMoney(binding),
    kind: facts.target.kind,
    inSession: facts.inSession,
  };
}

/** Something else was in the way, before any limit was asked. */
export function problemDecision({ reason, because, money, retryAfterSeconds }: Problem, facts: RefusalFacts): Decision {
  return {
    id: facts.id,
    reason,
    at: facts.wall,
    binding: undefined,
    violated: [],
    retryAfterSeconds,
    estimated: false,
    because,
    money,
    kind: facts.target.kind,
    inSession: facts.inSession,
  };
}

export function stepOf(plan: Plan, standing: Standing): Step {
  return plan.steps.find((step) => step.rule === standing.rule)!;
}

function violation(standing: Standing, { limit, quota }: Step, wall: number): ViolatedLimit {
  const { cost, used, held, remaining, retryAfter, resetAfter } = standing;
  const reason = reasonOf(standing, quota);
  return {
    limit: limit.options,
    quota,
    reason,
    cost,
    capacity: standing.limit,
    used,
    held,
    remaining,
    retryAfterSeconds:
      Number.isFinite(retryAfter) && reason !== 'limit_unavailable' ? wholeSeconds(retryAfter) : undefined,
    resetAt: resetAtOf(resetAfter, quota, wall),
  };
}

/**
 * Wall time in milliseconds at which all of a limit is back; undefined: only a reset helps. Pages of the calendar end
 * on whole seconds, whatever the clocks of the limiter and of this process differ by.
 */
export function resetAtOf(resetAfter: number, quota: Step['quota'], wall: number): number | undefined {
  if (!Number.isFinite(resetAfter)) return undefined;
  const at = wall + Math.ceil(resetAfter / 1000);
  return 'period' in quota && quota.period.kind === 'calendar' ? Math.round(at / 1000) * 1000 : at;
}

function reasonOf({ verdict }: Standing, quota: Step['quota']): LimitReason {
  if (verdict === 'unavailable') return 'limit_unavailable';
  switch (quota.kind) {
    case 'per-call':
      return 'per_request_cost_exceeded';
    case 'total':
      return 'budget_exhausted';
    case 'amount': {
      const ms = lengthOf(quota.period);
      return ms === HOUR ? 'hourly_cost_exceeded' : ms === DAY ? 'daily_cost_exceeded' : 'budget_exhausted';
    }
    default:
      if (verdict === 'cost_above_capacity') return 'cost_above_limit';
      return verdict === 'busy' ? 'concurrency_limited' : 'rate_limited';
  }
}

function isMoney({ reason, quota }: ViolatedLimit): boolean {
  return reason !== 'limit_unavailable' && 'amount' in quota;
}

function waitOf(limit: ViolatedLimit): number {
  return limit.retryAfterSeconds ?? Number.POSITIVE_INFINITY;
}

/** At least 1: a `Retry-After` of 0 would ask for a repeat that is refused again. */
function wholeSeconds(micros: number): number {
  return Math.max(1, Math.ceil(micros / 1e6));
}
