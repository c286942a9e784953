/** What listeners are told, made from the ask at hand: before the next one is filled. */
import { calendarWindow, type Standing } from '@tollgate/limiter';
import type { Asking } from './asking.ts';
import type { LimitCharge } from './charge.ts';
import type { Decision } from './decision.ts';
import { hiddenOf } from './disclosure.ts';
import type { AdmissionRecord, Amounts, OpenedHold, Posting, RuleRecord } from './events.ts';
import type { Step } from './plan.ts';
import { lengthOf } from './rules.ts';

/** Windows that are no calendar's are booked in so many parts, so that the ledger knows what is still in them. */
const PARTS = 60;

/** Amounts of the plan's prices, by unit. */
export function amountsOf({ plan }: LimitCharge, amounts: readonly (number | undefined)[]): Amounts {
  const byUnit: Record<string, number> = {};
  plan.prices.forEach(({ unit }, i) => {
    const amount = amounts[i];
    if (amount !== undefined) byUnit[unit] = amount;
  });
  return byUnit;
}

export function openedHold(charge: LimitCharge, asking: Asking, wall: number, expiresAt: number): OpenedHold {
  const { asker, target, plan } = charge;
  return {
    id: charge.holdId!,
    at: Math.floor(wall),
    principal: asker.principal.id,
    tenant: asker.principal.tenant,
    server: target.server ?? '',
    tool: target.canonicalId ?? plan.method,
    endpoint: target.endpoint,
    session: asker.session?.id,
    decisionId: asker.decisionId ?? charge.holdId!,
    expiresAt: Math.ceil(expiresAt),
    estimate: amountsOf(charge, charge.amounts ?? []),
    postings: postingsOf(asking, wall),
  };
}

function postingsOf(asking: Asking, wall: number): Posting[] {
  const postings: Posting[] = [];
  for (let i = 0; i < asking.ask.size; i++) {
    const step = asking.asked[i]!;
    if (step.priced && step.quota.kind !== 'per-call') postings.push(postingOf(asking, i, wall));
  }
  return postings;
}

/** The counter that a rule of the ask at hand is charged to. */
export function postingOf(asking: Asking, at: number, wall: number): Posting {
  const step = asking.asked[at]!;
  return {
    rule: step.rule.options.id ?? step.rule.name,
    key: asking.keyOf(at),
    windowStart: windowStart(step, wall),
    unit: step.unit,
  };
}

function windowStart({ quota, limit }: Step, wall: number): number {
  if (!('period' in quota)) return 0;
  const { period } = quota;
  if (period.kind === 'calendar' && limit.options.algorithm === 'fixed-window') {
    return calendarWindow(period.page, limit.options.timezone, wall).start;
  }
  const part = Math.max(1, Math.floor(lengthOf(period) / PARTS));
  return Math.floor(wall / part) * part;
}

export interface RecordFacts {
  readonly id: string;
  readonly wall: number;
  readonly rules: readonly RuleRecord[];
  readonly degraded: AdmissionRecord['degraded'];
  readonly refusal: Decision | undefined;
}

export function admissionRecord(charge: LimitCharge, facts: RecordFacts): AdmissionRecord {
  const { asker, caller, target, plan } = charge;
  return {
    id: facts.id,
    at: facts.wall,
    principal: asker.principal.id,
    tenant: asker.principal.tenant,
    tier: caller.tier,
    session: asker.session?.id,
    endpoint: target.endpoint,
    server: target.server,
    method: plan.method,
    object: target.canonicalId,
    rules: facts.rules,
    shadowed: charge.shadowed.map((standing) => standing.rule.name),
    waited: charge.wait / 1000,
    holdId: charge.holdId ?? charge.logicalId,
    degraded: facts.degraded,
    refusal: facts.refusal,
  };
}

/** Every rule of the ask at hand, and where it stood, as far as the limiter has told. */
export function rulesAsked(asking: Asking, standings: readonly Standing[] = []): RuleRecord[] {
  return Array.from({ length: asking.ask.size }, (_, i) => {
    const { limit, rule, unit } = asking.asked[i]!;
    const standing = standings.find((candidate) => candidate.rule === rule);
    return {
      limit: limit.options.name,
      rule: rule.options.id ?? rule.name,
      key: asking.keyOf(i),
      cost: asking.ask.costs[i]!,
      unit,
      shadow: limit.shadow,
      hidden: hiddenOf(limit.options),
      capacity: standing?.limit,
      used: standing?.used,
      held: standing?.held,
      remaining: standing?.remaining,
    };
  });
}
