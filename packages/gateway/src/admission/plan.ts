/** What a request of one method on one target has to pass, worked out once for each tier. */
import type { Rule } from '@tollgate/limiter';
import { TollgateError } from '../core/errors.ts';
import type { Expression } from '../core/expression.ts';
import type { Lanes } from '../core/principal.ts';
import type { CompiledLimit, Target, Variant } from './limits.ts';
import type { PriceOptions, Quota } from './options.ts';
import { Price } from './price.ts';
import { isAmount, MICROS, unitOf } from './rules.ts';

/** More limits than this on one call is a mistake that the limiter could not decide in one step. */
export const MAX_LIMITS_PER_CALL = 128;
/** Memoised plans; resource URIs come from clients, so there may be any number of them. */
const MAX_PLANS = 20_000;
/** Longer names are not kept: clients and other systems choose them, and thousands of long ones would fill the memory. */
const MAX_NAME = 512;
/** Methods without an object share one target. */
const MAX_PLANS_OF_TARGET = 64;

/** One limit that covers the target. */
export interface Step {
  readonly limit: CompiledLimit;
  readonly rule: Rule;
  readonly quota: Quota;
  readonly unit: string;
  /** What tool, server and endpoint add to the key. */
  readonly target: Lanes | undefined;
  /** Counted in amounts rather than calls or slots. */
  readonly amount: boolean;
  readonly slots: boolean;
  /** True: part of the hold's estimate, so that a settlement replaces it. */
  readonly priced: boolean;
  /** What the call takes where nothing has to be evaluated: calls, slots or micro-units. */
  readonly cost: number;
  /** Instead of `cost`; its value is in whole units. */
  readonly costs: Expression | undefined;
  /** Multiplies the value of `costs`: micro-units in a unit of an amount. */
  readonly scale: number;
  /** Place of the price among the plan's; -1: the limit says its cost itself, or nothing has a price in its unit. */
  readonly price: number;
  /** A tool that has no price in the limit's unit. */
  readonly unpriced: boolean;
  /** Whether the caller decides that it applies: `when`, `tenant`. */
  readonly conditional: boolean;
  /** Conditional steps that stand in for this one where they apply, by place. */
  readonly replacedBy: readonly number[];
}

export interface Plan {
  readonly method: string;
  readonly tier: string;
  readonly steps: readonly Step[];
  readonly prices: readonly Price[];
  /** Some step is conditional: conditions come before costs. */
  readonly conditional: boolean;
  /** Some step takes slots, so that a decision has a hold. */
  readonly slots: boolean;
  /** Some step's limit lets calls wait. */
  readonly waits: boolean;
  /** Nothing to decide and nothing to charge. */
  readonly empty: boolean;
}

export interface PlanParts {
  readonly limits: readonly CompiledLimit[];
  readonly pricesOf: (canonicalId: string) => readonly Price[];
  /** Told once of every tool without a price that a limit on money covers. */
  readonly unpriced: (tool: string, limit: string) => void;
}

/** Plans by target. The pipeline shows the same target object as long as nothing about it changes. */
export class Plans {
  readonly #parts: PlanParts;
  /** One for each tier and method that met the target. */
  readonly #byTarget = new WeakMap<Target, Plan[]>();
  /** For targets that are made anew for every call: resources of a template, questions of other systems. */
  readonly #byName = new Map<string, Plan>();

  constructor(parts: PlanParts) {
    this.#parts = parts;
  }

  of(method: string, target: Target, tier: string): Plan {
    const known = this.#byTarget.get(target);
    if (known !== undefined) {
      for (const plan of known) if (plan.tier === tier && plan.method === method) return plan;
    }
    const plan = this.named(method, target, tier, undefined);
    if (known === undefined) this.#byTarget.set(target, [plan]);
    else if (known.length < MAX_PLANS_OF_TARGET) known.push(plan);
    return plan;
  }

  /** With `unit`, the asker says what the call costs in it, whether or not there is a price. */
  named(method: string, target: Target, tier: string, unit: string | undefined): Plan {
    const { kind, canonicalId = null, server = null, endpoint, route = null } = target;
    const name = JSON.stringify([method, tier, kind, canonicalId, server, endpoint, route, unit ?? null]);
    let plan = this.#byName.get(name);
    if (plan === undefined) {
      plan = makePlan(method, target, tier, unit, this.#parts);
      if (name.length > MAX_NAME) return plan;
      if (this.#byName.size >= MAX_PLANS) this.#byName.clear();
      this.#byName.set(name, plan);
    }
    return plan;
  }
}

function makePlan(
  method: string,
  target: Target,
  tier: string,
  unit: string | undefined,
  { limits, pricesOf, unpriced }: PlanParts,
): Plan {
  const tool = target.kind === 'tool' && method === 'tools/call' ? target.canonicalId : undefined;
  const known = tool === undefined ? [] : pricesOf(tool);
  const said = unit !== undefined && known.every((price) => price.unit !== unit);
  const prices = said ? [...known, new Price({ ...NO_PRICE, each: { unit, micros: 0 } }, tool ?? method)] : known;
  const covering = limits.filter((limit) => limit.covers(method, target, tier) && limit.variant(tier) !== undefined);
  const kept = covering.filter((limit) => !covering.some((other) => !other.conditional && replaces(other, limit)));
  if (kept.length > MAX_LIMITS_PER_CALL) {
    throw new TollgateError('internal', 'Internal error', {
      cause: new Error(`${kept.length} limits cover ${method}; at most ${MAX_LIMITS_PER_CALL} can be decided at once`),
    });
  }
  const steps = kept.map((limit) => {
    const standIns = kept.flatMap((other, place) => (other.conditional && replaces(other, limit) ? [place] : []));
    return makeStep(limit.variant(tier)!, target, prices, tool !== undefined, standIns);
  });
  const free = steps.find((step) => step.unpriced);
  if (free !== undefined) unpriced(tool!, free.limit.options.name);
  return {
    method,
    tier,
    steps,
    prices,
    conditional: steps.some((step) => step.conditional),
    slots: steps.some((step) => step.slots),
    waits: steps.some((step) => step.limit.patience > 0),
    empty: steps.length === 0 && prices.length === 0,
  };
}

const NO_PRICE: PriceOptions = {
  each: undefined,
  times: undefined,
  from: undefined,
  hold: undefined,
  max: undefined,
  cached: undefined,
};

/** A shadow limit refuses nothing, so it must not take the place of one that does. */
function replaces(limit: CompiledLimit, other: CompiledLimit): boolean {
  return limit !== other && (!limit.shadow || other.shadow) && limit.options.replaces.includes(other.options.name);
}

function makeStep(
  { limit, quota, rule }: Variant,
  target: Target,
  prices: readonly Price[],
  isTool: boolean,
  replacedBy: readonly number[],
): Step {
  const amount = isAmount(quota);
  const { cost } = limit.options;
  const unit = unitOf(quota);
  const scale = amount ? MICROS : 1;
  const priced = amount && cost === undefined;
  const price = priced ? prices.findIndex((known) => known.unit === unit) : -1;
  return {
    limit,
    rule,
    quota,
    unit,
    target: limit.targetLanes(target),
    amount,
    slots: quota.kind === 'concurrency',
    priced,
    cost: cost?.kind === 'fixed' ? cost.units * scale : amount ? 0 : 1,
    costs: limit.costs,
    scale,
    price,
    // Only tools have prices: reading a resource under a limit on money is free, not forgotten.
    unpriced: priced && price < 0 && isTool,
    conditional: limit.conditional,
    replacedBy,
  };
}
