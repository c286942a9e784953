/** What listeners are told, made from the ask at hand: before the next one is filled. */
import { calendarWindow, type Standing } from '@tollgate/limiter';
import { type Asking, keyText } from './asking.ts';
import type { LimitCharge } from './charge.ts';
import type { Decision } from './decision.ts';
import { hiddenOf } from './disclosure.ts';
import type { AdmissionRecord, Amounts, OpenedHold, Posting, RuleRecord } from './events.ts';
import type { Step } from './plan.ts';
import { lengthOf } from './rules.ts';

/** Windows that are no calendar's are booked in so many parts, so that the ledger knows what is still in them. */
const PARTS = 60;

const NONE: readonly never[] = Object.freeze([]);
const NOTHING: Amounts = Object.freeze({});

/** Amounts of the plan's prices, by unit. */
export function amountsOf({ plan }: LimitCharge, amounts: readonly (number | undefined)[]): Amounts {
  if (amounts.length === 0) return NOTHING;
  const byUnit: Record<string, number> = {};
  for (let i = 0; i < plan.prices.length; i++) {
    const amount = amounts[i];
    if (amount !== undefined) byUnit[plan.prices[i]!.unit] = amount;
  }
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
    shadowed: charge.shadowed.length === 0 ? NONE : charge.shadowed.map((standing) => standing.rule.name),
    waited: charge.wait / 1000,
    holdId: charge.holdId ?? charge.logicalId,
    degraded: facts.degraded,
    refusal: facts.refusal,
  };
}

/**
 * A rule as it was asked. Every admission makes one for each of its rules and few are ever read whole, so it keeps
 * what the words are made from.
 */
class AskedRule implements RuleRecord {
  readonly cost: number;
  readonly #step: Step;
  readonly #high: number;
  readonly #low: number;
  readonly #standing: Standing | undefined;

  constructor(step: Step, high: number, low: number, cost: number, standing: Standing | undefined) {
    this.cost = cost;
    this.#step = step;
    this.#high = high;
    this.#low = low;
    this.#standing = standing;
  }

  get limit(): string {
    return this.#step.limit.options.name;
  }

  get rule(): string {
    const { rule } = this.#step;
    return rule.options.id ?? rule.name;
  }

  get key(): string {
    return keyText(this.#high, this.#low);
  }

  get unit(): string {
    return this.#step.unit;
  }

  get shadow(): boolean {
    return this.#step.limit.shadow;
  }

  get hidden(): RuleRecord['hidden'] {
    return hiddenOf(this.#step.limit.options);
  }

  get capacity(): number | undefined {
    return this.#standing?.limit;
  }

  get used(): number | undefined {
    return this.#standing?.used;
  }

  get held(): number | undefined {
    return this.#standing?.held;
  }

  get remaining(): number | undefined {
    return this.#standing?.remaining;
  }
}

/** Every rule of the ask at hand, and where it stood, as far as the limiter has told. */
export function rulesAsked({ ask, asked }: Asking, standings: readonly Standing[] = []): RuleRecord[] {
  const rules: RuleRecord[] = [];
  for (let i = 0; i < ask.size; i++) {
    const step = asked[i]!;
    const standing = standings.length === 0 ? undefined : standings.find(({ rule }) => rule === step.rule);
    rules.push(new AskedRule(step, ask.high[i]!, ask.low[i]!, ask.costs[i]!, standing));
  }
  return rules;
}
