import { createHash } from 'node:crypto';
import { Ask, type HoldResult, type Limiter, type Refused, type Standing } from '@tollgate/limiter';
import type { Clock } from '../core/clock.ts';
import { identityOf, type Principal, readPrincipalId } from '../core/principal.ts';
import { Field, type FieldId, type Message } from '../protocol/message.ts';
import { methodInfo } from '../protocol/methods.ts';
import { type Asking, type Problem, stopProblem } from './asking.ts';
import type { Asker, Callers } from './callers.ts';
import { LimitCharge } from './charge.ts';
import type { CallEnd } from './contract.ts';
import { type Deciding, decisionIdOf, type Reply } from './deciding.ts';
import type { AdmissionEvents } from './events.ts';
import type { Answer, External, HoldAnswer, LimitView, Question, ResetCounter, Subject } from './external.ts';
import { isAdmitted } from './ladder.ts';
import type { Target } from './limits.ts';
import type { AdmissionOptions, Amount } from './options.ts';
import type { Plans } from './plan.ts';
import { amountsOf, postingOf } from './records.ts';
import type { Settling } from './settling.ts';
import type { StopBook } from './stops.ts';
import { DEFAULT_TIER, type TierBook } from './tiers.ts';

export interface DeskParts {
  readonly limiter: Limiter;
  readonly asking: Asking;
  readonly plans: Plans;
  readonly callers: Callers;
  readonly tiers: TierBook;
  readonly stops: StopBook;
  readonly deciding: Deciding;
  readonly settling: Settling;
  readonly events: AdmissionEvents;
  readonly clock: Clock;
  readonly routeOf: AdmissionOptions['routeOf'];
}

const RAN: CallEnd = { executed: 'yes', answer: undefined };
const DEFAULT_ENDPOINT = '/mcp';
/** Names of operations beside the methods of the protocol. */
const OPERATIONS: ReadonlySet<string> = new Set(['server/initialize', 'server/ping']);

/** Answers questions about callers that are on no connection, from the same plans and counters. */
export class ExternalDesk implements External {
  readonly #parts: DeskParts;

  constructor(parts: DeskParts) {
    this.#parts = parts;
  }

  async peek(question: Question, now: number): Promise<Answer> {
    const { asking, limiter, deciding } = this.#parts;
    const charge = this.#charge(question);
    const problem = this.#stopped(charge) ?? deciding.estimate(charge, question.estimate);
    const standings = await this.#look(charge, now);
    const blocked = problem ?? asking.fill(charge, charge.amounts, true);
    if (blocked !== undefined) return this.#answer(charge, blocked, standings, false);
    if (asking.ask.size === 0) return this.#answer(charge, undefined, standings, false);
    deciding.hold(charge, 0);
    const outcome = await limiter.check(asking.ask, micros(now));
    return this.#answer(charge, outcome.allowed === true ? undefined : outcome, standings, false);
  }

  async consume(question: Question, now: number): Promise<Answer> {
    const charge = this.#charge(question);
    const answer = await this.#decide(charge, question, now);
    if (answer.allowed) this.#parts.settling.finish(charge, RAN, now);
    return answer;
  }

  async reserve(question: Question, id: string, ttl: number, now: number): Promise<Answer> {
    const charge = this.#charge(question);
    charge.asker.decisionId = externalHoldId(question.subject, id);
    charge.ttl = ttl;
    return this.#decide(charge, question, now);
  }

  async settle(subject: Subject, id: string, amounts: readonly Amount[], now: number): Promise<HoldAnswer> {
    const { limiter, events, clock } = this.#parts;
    const holdId = externalHoldId(subject, id);
    const byUnit = Object.fromEntries(amounts.map(({ unit, micros: amount }) => [unit, amount]));
    const result = await limiter.settle({ id: holdId, amounts: byUnit }, micros(now));
    // A hold that no limit counts is known to the ledger only.
    if (result.changed || result.state === 'unknown') {
      const source = amounts.length > 0 ? 'reported' : 'fixed';
      events.settled?.({ id: holdId, at: Math.floor(clock.wall()), amounts: byUnit, source });
    }
    return answerOf(result);
  }

  async release(subject: Subject, id: string, now: number): Promise<HoldAnswer> {
    const { limiter, events, clock } = this.#parts;
    const holdId = externalHoldId(subject, id);
    const result = await limiter.release(holdId, micros(now));
    if (result.changed || result.state === 'unknown') events.released?.({ id: holdId, at: Math.floor(clock.wall()) });
    return answerOf(result);
  }

  async reset(question: Question, limit: string, now: number): Promise<readonly ResetCounter[]> {
    const { asking, limiter, clock } = this.#parts;
    const { plan, asker, caller, target } = this.#charge(question);
    asking.fill({ plan, asker, caller, target, part: 'look' }, undefined, false);
    const chosen = new Ask().tenant(asking.ask.tag);
    const found: Omit<ResetCounter, 'used'>[] = [];
    for (let i = 0; i < asking.ask.size; i++) {
      const step = asking.asked[i]!;
      if (step.limit.options.name !== limit || step.quota.kind === 'per-call') continue;
      chosen.rule(step.rule, 0);
      chosen.high[chosen.size - 1] = asking.ask.high[i]!;
      chosen.low[chosen.size - 1] = asking.ask.low[i]!;
      // Whatever the question costs: prices are charged here, so the ledger has what was used.
      const amount = step.amount && step.rule.options.settles === true;
      found.push({ amount, ...postingOf(asking, i, clock.wall()) });
    }
    if (chosen.size === 0) return [];
    const standings = await limiter.inspect(chosen, micros(now));
    await limiter.reset(chosen, micros(now));
    return found.map((counter, i) => ({ ...counter, used: standings[i]!.used }));
  }

  async #decide(charge: LimitCharge, question: Question, now: number): Promise<Answer> {
    const { deciding } = this.#parts;
    const problem = this.#stopped(charge) ?? deciding.estimate(charge, question.estimate);
    const standings = await this.#look(charge, now);
    const reply: Reply = problem ?? (await deciding.ask(charge, now));
    return this.#answer(charge, isAdmitted(reply) ? undefined : reply, standings);
  }

  #charge({ subject, method, tool, server, endpoint, arguments: args, estimate, tier }: Question): LimitCharge {
    const { callers, plans, tiers, settling } = this.#parts;
    const asked = methodInfo(method) !== undefined || OPERATIONS.has(method) ? method : 'unknown';
    const asker = askerOf(subject, asked, args);
    const known = tier !== undefined && tiers.known.has(tier) ? tier : DEFAULT_TIER;
    const caller = tier === undefined ? callers.of(asker.principal) : callers.as(asker.principal, known);
    const kind = tool === undefined ? 'none' : kindOf(asked);
    const target: Target = {
      kind,
      route: kind === 'none' || tool === undefined ? undefined : this.#parts.routeOf?.(kind, tool),
      canonicalId: tool,
      server: server ?? tool?.slice(0, Math.max(0, tool.indexOf('/'))),
      endpoint: endpoint ?? DEFAULT_ENDPOINT,
    };
    const plan = plans.named(asked, target, caller.tier, estimate?.unit);
    return new LimitCharge(plan, asker, caller, target, 'call', settling);
  }

  #stopped({ target, asker }: LimitCharge): Problem | undefined {
    const { stops, clock } = this.#parts;
    if (!stops.any) return undefined;
    const wall = clock.wall();
    const stop = stops.of(target, asker.principal.tenant, wall);
    return stop === undefined ? undefined : stopProblem(stop, wall, false);
  }

  async #look(charge: LimitCharge, now: number): Promise<readonly Standing[]> {
    const { asking, limiter } = this.#parts;
    const { plan, asker, caller, target } = charge;
    asking.fill({ plan, asker, caller, target, part: 'look' }, charge.amounts, false);
    return asking.ask.size === 0 ? [] : await limiter.inspect(asking.ask, micros(now));
  }

  #answer(
    charge: LimitCharge,
    refusal: Refused | Problem | undefined,
    standings: readonly Standing[],
    told = true,
  ): Answer {
    const { deciding } = this.#parts;
    return {
      allowed: refusal === undefined,
      tier: charge.caller.tier,
      decisionId: decisionIdOf(charge),
      decision:
        refusal === undefined ? undefined : deciding.refuse(charge, refusal, charge.asker.session !== undefined, told),
      limits: standings.map(viewOf),
      cost: amountsOf(charge, charge.amounts ?? []),
    };
  }
}

function viewOf({ rule, cost, limit, used, held, remaining, retryAfter, resetAfter }: Standing): LimitView {
  return {
    limit: rule.name,
    unit: rule.options.unit ?? '',
    cost,
    capacity: limit,
    used,
    held,
    remaining,
    retryAfter: seconds(retryAfter),
    resetAfter: seconds(resetAfter),
    shadow: rule.options.shadow === true,
  };
}

function seconds(micros: number): number | undefined {
  return Number.isFinite(micros) ? micros / 1e6 : undefined;
}

function kindOf(method: string): 'tool' | 'resource' | 'prompt' {
  if (method.startsWith('resources/')) return 'resource';
  return method.startsWith('prompts/') ? 'prompt' : 'tool';
}

/** A principal that is on no connection: the same id has the same counters. */
function askerOf(subject: Subject, method: string, args: unknown): Asker {
  const { person, tenant = subject.tenant } = readPrincipalId(subject.principal);
  const slash = person.indexOf('/');
  const principal: Principal = {
    ...identityOf({ person, tenant }),
    key: 0,
    entry: slash < 0 ? '' : person.slice(0, slash),
    subject: person.slice(slash + 1),
    tenant,
    tier: subject.tier,
    roles: subject.roles ?? [],
    scopes: undefined,
    clientId: subject.client,
  };
  return {
    principal,
    session: subject.session === undefined ? undefined : { id: subject.session },
    address: subject.address,
    message: new Asked(method, args),
    argumentLanes: undefined,
    decisionId: undefined,
  };
}

/** The part of a message that limits read. */
class Asked implements Pick<Message, 'kind' | 'method' | 'raw' | 'json'> {
  readonly kind = 'request';
  readonly method: string;
  readonly #args: unknown;

  constructor(method: string, args: unknown) {
    this.method = method;
    this.#args = args;
  }

  raw(field: FieldId): string | undefined {
    return field === Field.arguments && this.#args !== undefined ? JSON.stringify(this.#args) : undefined;
  }

  json(field: FieldId): unknown {
    return field === Field.arguments ? this.#args : undefined;
  }
}

/** Ids of other systems are their own: two of them, or two principals, may use the same. */
export function externalHoldId(subject: Subject, id: string): string {
  const digest = createHash('sha256')
    .update(JSON.stringify([subject.principal, id]))
    .digest('hex');
  return `ext-${digest.slice(0, 40)}`;
}

function answerOf({ state, changed }: HoldResult): HoldAnswer {
  return { state, changed };
}

function micros(ms: number): number {
  return Math.floor(ms * 1000);
}
