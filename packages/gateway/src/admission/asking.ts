/** From a plan and a caller to the one question of a decision. */

import { Ask } from '@tollgate/limiter';
import type { Clock } from '../core/clock.ts';
import { ExpressionError, ExpressionScope } from '../core/expression.ts';
import type { Stop } from '../core/operator-records.ts';
import { Field } from '../protocol/message.ts';
import type { Asker, Caller, Callers } from './callers.ts';
import type { LimitReason } from './decision.ts';
import type { GrantBook } from './grants.ts';
import type { Target } from './limits.ts';
import type { Amount, Unpriced } from './options.ts';
import { MAX_LIMITS_PER_CALL, type Plan, type Step } from './plan.ts';
import { amountText } from './price.ts';
import type { StopBook } from './stops.ts';

/**
 * What of a plan is asked for. `call`: all of it. `hit`: a result from the cache. `round`: a further round of a call
 * whose money is held already. `money`: only what is counted in amounts. `slots`: only those. `look`: all of it, also
 * what costs nothing and what cannot be worked out without arguments; never decided.
 */
export type Part = 'call' | 'hit' | 'round' | 'money' | 'slots' | 'look';

/** What refuses a call before any limit is asked. */
export interface Problem {
  readonly reason: LimitReason;
  readonly because: string;
  readonly money: boolean;
  readonly retryAfterSeconds: number | undefined;
  /** For the log; may quote expressions of the operator. */
  readonly detail: string | undefined;
}

export interface Request {
  readonly plan: Plan;
  readonly asker: Asker;
  readonly caller: Caller;
  readonly target: Target;
  readonly part: Part;
}

export interface AskingParts {
  readonly callers: Callers;
  readonly grants: GrantBook;
  readonly stops: StopBook;
  readonly unpriced: Unpriced;
  readonly clock: Clock;
}

/** Fills one `Ask` that is used again for every call; what it holds is good until the next one is filled. */
export class Asking {
  readonly ask = new Ask();
  /** The step behind each rule of the ask. */
  readonly asked: Step[] = [];
  /** True: the ask has amounts, so that its decision needs a hold. */
  amounts = false;
  /** True: the ask has slots. */
  slots = false;
  readonly #parts: AskingParts;
  /** By step: 0 does not cover the caller, 1 applies, 2 is stood in for by another. */
  readonly #applies = new Uint8Array(MAX_LIMITS_PER_CALL);
  #scope: ExpressionScope | undefined;
  /** Whose `#scope` it is: arguments are parsed once per call. */
  #scoped: Asker | undefined;

  constructor(parts: AskingParts) {
    this.#parts = parts;
  }

  /**
   * What the call is expected to cost, one amount for each price of the plan. `said` comes before the price in its
   * unit. Undefined: there are none.
   */
  estimate({ plan, asker, caller, target, part }: Request, said: Amount | undefined): number[] | Problem | undefined {
    if (plan.prices.length === 0) return undefined;
    const amounts: number[] = [];
    for (const price of plan.prices) {
      if (part === 'hit') {
        amounts.push(price.cached);
        continue;
      }
      let amount: number;
      if (said?.unit === price.unit) amount = said.micros;
      else {
        try {
          amount = price.estimate(price.computed ? this.#scopeOf(plan, asker, caller, target) : undefined);
        } catch (error) {
          if (part === 'look') amount = 0;
          else return failed(error, 'The price of this call could not be worked out from its arguments.', true);
        }
      }
      const max = price.options.max?.micros;
      if (max !== undefined && amount > max && part !== 'look') {
        const most = amountText(max, price.unit);
        return {
          reason: 'price_above_max',
          because: `This call would cost ${amountText(amount, price.unit)}; one call of this tool may cost at most ${most}.`,
          money: true,
          retryAfterSeconds: undefined,
          detail: undefined,
        };
      }
      amounts.push(amount);
    }
    return amounts;
  }

  /**
   * Fills `ask` and `asked`. With `guard`, for a call that wants in, a problem may come back: then it is refused
   * without asking. Without, for one that was let in before.
   */
  fill(request: Request, amounts: readonly number[] | undefined, guard: boolean): Problem | undefined {
    const { plan, asker, caller, part } = request;
    const { callers, grants, stops } = this.#parts;
    const ask = this.ask.clear().tenant(caller.tag);
    this.amounts = false;
    this.slots = false;
    if (plan.conditional) this.#decideConditions(request);
    for (let i = 0; i < plan.steps.length; i++) {
      const step = plan.steps[i]!;
      if ((plan.conditional && this.#applies[i] !== 1) || !concerns(step, part)) continue;
      if (guard && step.unpriced && this.#parts.unpriced === 'refuse' && part === 'call' && !step.limit.shadow) {
        return unpriced(step);
      }
      const cost = this.#cost(step, request, amounts);
      if (typeof cost !== 'number') return cost;
      // Nothing to take: except where only the result will say what it was.
      if (cost === 0 && part !== 'look' && !(step.price >= 0 && plan.prices[step.price]!.reported)) continue;
      ask.rule(step.rule, cost);
      callers.addKey(ask, step.limit, asker, caller);
      if (step.target !== undefined) ask.key(step.target[0]).key(step.target[1]);
      const at = ask.size - 1;
      this.asked[at] = step;
      this.amounts ||= step.amount && step.quota.kind !== 'per-call';
      this.slots ||= step.slots;
      if (grants.any) this.#grant(step, at, asker);
      if (guard && stops.any && !step.limit.shadow) {
        const stop = stops.latched(step.limit.options.name, this.keyOf(at), this.#parts.clock.wall());
        if (stop !== undefined) return stopProblem(stop, this.#parts.clock.wall(), step.amount);
      }
    }
    return undefined;
  }

  /** The key of a rule of the ask, as 16 hexadecimal digits. */
  keyOf(at: number): string {
    return keyText(this.ask.high[at]!, this.ask.low[at]!);
  }

  /** Name of the line in which calls wait for a rule of the ask. */
  lineOf(at: number): string {
    return `${this.asked[at]!.rule.options.id} ${this.keyOf(at)}`;
  }

  #grant(step: Step, at: number, asker: Asker): void {
    const { grants, clock } = this.#parts;
    const { name, by } = step.limit.options;
    if (!grants.concerns(name)) return;
    this.ask.extra(grants.extra(name, by, asker.principal.id, this.keyOf(at), clock.wall()));
  }

  #cost(
    step: Step,
    { plan, asker, caller, target, part }: Request,
    amounts: readonly number[] | undefined,
  ): number | Problem {
    if (step.price >= 0) return amounts?.[step.price] ?? 0;
    if (step.costs === undefined) return step.cost;
    const { name } = step.limit.options;
    const because = `What this call takes under ${name} could not be worked out from its arguments.`;
    try {
      const cost = (step.costs.evaluate(this.#scopeOf(plan, asker, caller, target)) as number) * step.scale;
      if (cost >= 0 && Number.isSafeInteger(cost)) return cost;
      return failed(new ExpressionError(`the cost is ${cost}`), because, step.amount);
    } catch (error) {
      if (part === 'look') return 0;
      return failed(error, because, step.amount);
    }
  }

  /** Which steps apply to this caller; those that stand in for others do so only where they apply themselves. */
  #decideConditions({ plan, asker, caller, target }: Request): void {
    const { steps } = plan;
    const applies = this.#applies;
    for (let i = 0; i < steps.length; i++) {
      const step = steps[i]!;
      const covered =
        !step.conditional ||
        (coversTenant(step, caller, asker) && this.#holds(step, this.#scopeOf(plan, asker, caller, target)));
      applies[i] = covered ? 1 : 0;
    }
    for (let i = 0; i < steps.length; i++) {
      if (applies[i] === 1 && steps[i]!.replacedBy.some((standIn) => applies[standIn] !== 0)) applies[i] = 2;
    }
  }

  #holds({ limit }: Step, scope: ExpressionScope): boolean {
    if (limit.when === undefined) return true;
    try {
      return limit.when.evaluate(scope) === true;
    } catch {
      // A condition that fails must not open what it guards: the limit applies.
      return true;
    }
  }

  #scopeOf(plan: Plan, asker: Asker, caller: Caller, target: Target): ExpressionScope {
    if (this.#scope !== undefined && this.#scoped === asker) return this.#scope;
    this.#scoped = asker;
    this.#scope = new ExpressionScope({
      arguments: asker.message.raw(Field.arguments),
      principal: asker.principal,
      tier: caller.tier,
      tool: target.kind === 'tool' ? target.canonicalId : undefined,
      server: target.server,
      endpoint: target.endpoint,
      method: plan.method,
    });
    return this.#scope;
  }
}

function concerns(step: Step, part: Part): boolean {
  switch (part) {
    case 'call':
      return true;
    case 'look':
      return !step.unpriced;
    case 'hit':
      return !step.slots && (step.price >= 0 || step.limit.options.hits);
    case 'round':
      return !step.amount;
    case 'money':
      return step.amount;
    case 'slots':
      return step.slots;
  }
}

function coversTenant(step: Step, caller: Caller, asker: Asker): boolean {
  const { index } = step.limit;
  if (caller.tenants[index] === 0) caller.tenants[index] = step.limit.coversTenant(asker.principal.tenant) ? 1 : 2;
  return caller.tenants[index] === 1;
}

/** The lanes of a key as 16 hexadecimal digits. */
export function keyText(high: number, low: number): string {
  return hex(high) + hex(low);
}

function hex(lane: number): string {
  return (lane >>> 0).toString(16).padStart(8, '0');
}

function unpriced({ limit }: Step): Problem {
  return {
    reason: 'unpriced',
    because: `This tool has no price, and ${limit.options.name} limits what calls may cost.`,
    money: true,
    retryAfterSeconds: undefined,
    detail: undefined,
  };
}

function failed(error: unknown, because: string, money: boolean): Problem {
  if (!(error instanceof ExpressionError)) throw error;
  return { reason: 'expression_failed', because, money, retryAfterSeconds: undefined, detail: error.message };
}

/** The refusal of a stopped call. */
export function stopProblem(stop: Stop, wall: number, money: boolean): Problem {
  const { until } = stop;
  return {
    reason: 'stopped',
    because: `Calls like this are stopped: ${stop.reason}`,
    money,
    retryAfterSeconds: until === undefined ? undefined : Math.max(1, Math.ceil((until - wall) / 1000)),
    detail: undefined,
  };
}
