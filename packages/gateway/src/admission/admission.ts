/**
 * The admission of calls: stops, then every limit that covers the call in one decision of the limiter, then a verdict.
 * What an admitted call has to finish is its charge.
 */
import { randomBytes } from 'node:crypto';
import { type Limiter, MemoryLimiter, type Refused } from '@tollgate/limiter';
import type { Clock } from '../core/clock.ts';
import { TollgateError } from '../core/errors.ts';
import { silentLog } from '../core/log.ts';
import type { Call } from '../protocol/call.ts';
import { Asking, type Part, type Problem, stopProblem } from './asking.ts';
import { Callers } from './callers.ts';
import { LimitCharge } from './charge.ts';
import type { Admission, AdmissionDeps, CallEnd } from './contract.ts';
import { Deciding, type Reply } from './deciding.ts';
import { ALLOWED, type Denied, type Verdict } from './decision.ts';
import { ExternalDesk } from './desk.ts';
import type { AdmissionEvents } from './events.ts';
import type { External } from './external.ts';
import { GrantBook } from './grants.ts';
import { isAdmitted, isRefused, Ladder } from './ladder.ts';
import { Latches } from './latches.ts';
import { CompiledLimit, type Target } from './limits.ts';
import type { AdmissionOptions, LimitOptions } from './options.ts';
import { Plans } from './plan.ts';
import { PriceTable } from './price-table.ts';
import { QuotaDesk, type QuotaReport } from './quota.ts';
import { Restoring } from './restoring.ts';
import { Settling } from './settling.ts';
import { StopBook } from './stops.ts';
import { TierBook } from './tiers.ts';
import { WaitingRoom } from './waiting.ts';

/**
 * Compiles limits, tiers and prices. Throws `config_invalid` for a pattern, an expression, or numbers that cannot be
 * kept exactly; then nothing of `deps.previous` has changed.
 */
export function createAdmission(options: AdmissionOptions, deps: AdmissionDeps): Admission {
  return new LimitAdmission(options, deps);
}

/** Milliseconds of a call whose target does not say. */
const DEFAULT_TIMEOUT = 60_000;

class LimitAdmission implements Admission {
  readonly limits: readonly LimitOptions[];
  readonly tiers: TierBook;
  readonly external: External;
  readonly restoring: Restoring;
  readonly compiled: readonly CompiledLimit[];
  readonly lasting: Lasting;
  readonly #asking: Asking;
  readonly #clock: Clock;
  readonly #callers: Callers;
  readonly #plans: Plans;
  readonly #settling: Settling;
  readonly #deciding: Deciding;
  readonly #ladder: Ladder;
  readonly #quota: QuotaDesk;

  constructor(options: AdmissionOptions, deps: AdmissionDeps) {
    const { clock, log = silentLog } = deps;
    const previous = deps.previous instanceof LimitAdmission ? deps.previous : undefined;
    const lasting = lastingOf(deps, previous?.lasting);
    const { limiter, tiers, grants, stops, waiting, events, rounds } = lasting;
    this.tiers = tiers;
    // Rules of another limiter mean nothing to this one.
    const inherited = previous?.lasting.limiter === limiter ? previous.compiled : [];
    this.limits = options.limits;
    this.lasting = lasting;
    this.#clock = clock;
    this.compiled = compileLimits(options.limits, limiter, inherited);
    const prices = new PriceTable(options, log);
    this.#callers = new Callers(tiers, this.compiled.length, deps.addressPrefix ?? ((address) => address));
    this.#plans = new Plans({
      limits: this.compiled,
      pricesOf: (tool) => prices.of(tool),
      unpriced: (tool, limit) => prices.unpriced(tool, limit),
    });
    const { unpriced } = options;
    const asking = new Asking({ callers: this.#callers, grants, stops, unpriced, clock });
    this.#asking = asking;
    const latches = new Latches({ limiter, asking, stops, events, clock, log });
    this.#settling = new Settling({ limiter, asking, latches, waiting, events, clock, log, rounds });
    this.#deciding = new Deciding({
      limiter,
      asking,
      latches,
      settling: this.#settling,
      events,
      clock,
      log,
      whenWritten: deps.whenWritten,
      timeout: deps.defaultTimeout ?? DEFAULT_TIMEOUT,
    });
    this.#ladder = new Ladder({
      room: waiting,
      asking,
      clock,
      decide: (charge, now, patience) => this.#deciding.ask(charge, now, patience),
      giveBack: (charge) => this.#settling.finish(charge, NOT_RUN, clock.monotonic()),
    });
    const parts = { limiter, asking, plans: this.#plans, callers: this.#callers, tiers, clock, events };
    this.#quota = new QuotaDesk({ ...parts, limits: this.compiled });
    this.external = new ExternalDesk({
      ...parts,
      routeOf: options.routeOf,
      stops,
      deciding: this.#deciding,
      settling: this.#settling,
    });
    this.restoring = new Restoring(this.compiled);
    // Last, because it changes what the admission before sees.
    tiers.know(options.tiers);
  }

  admit(call: Call, target: Target, now: number): Verdict | Promise<Verdict> {
    return this.#admit(call, target, 'call', undefined, now);
  }

  admitHit(call: Call, target: Target, now: number): Verdict | Promise<Verdict> {
    return this.#admit(call, target, 'hit', undefined, now);
  }

  resume(call: Call, target: Target, holdId: string, now: number): Verdict | Promise<Verdict> {
    const { rounds } = this.lasting;
    if (rounds.has(holdId)) return this.admit(call, target, now);
    const open = this.#deciding.continues(this.#chargeOf(call, target, 'round'), holdId, now);
    rounds.add(holdId);
    const proceed = (held: boolean | undefined): Verdict | Promise<Verdict> => {
      if (held !== undefined) return this.#admit(call, target, 'round', { id: holdId, held }, now);
      rounds.delete(holdId);
      return this.admit(call, target, now);
    };
    if (!(open instanceof Promise)) return proceed(open);
    return open.then(proceed, (error: unknown) => {
      rounds.delete(holdId);
      throw error;
    });
  }

  park(call: Call, ttl: number, now: number): string | undefined {
    const { charge } = call;
    return charge instanceof LimitCharge ? charge.settling.park(charge, ttl, now) : undefined;
  }

  finish(call: Call, end: CallEnd, now: number): void {
    const { charge } = call;
    if (charge instanceof LimitCharge) charge.settling.finish(charge, end, now);
  }

  quota(call: Call, targets: readonly Target[], now: number): Promise<QuotaReport | undefined> {
    return this.#quota.report(call, targets, now);
  }

  covers(method: string, target: Target): boolean {
    return this.compiled.some((limit) => !limit.shadow && limit.covers(method, target));
  }

  covering(method: string, target: Target): readonly LimitOptions[] {
    const covering = this.compiled.filter((limit) => limit.covers(method, target));
    const certain = covering.filter((limit) => !limit.conditional && !limit.shadow);
    const replaced = new Set(certain.flatMap(({ options }) => options.replaces));
    return covering.filter(({ options }) => !replaced.has(options.name)).map(({ options }) => options);
  }

  standingRules(targets: readonly Target[]): string | undefined {
    return this.#quota.sentence(targets);
  }

  close(): void {
    this.lasting.waiting.close();
  }

  #admit(call: Call, target: Target, part: Part, round: Round | undefined, now: number): Verdict | Promise<Verdict> {
    // Responses and notifications never count: a client cannot be told of a refusal there.
    if (call.message.kind !== 'request') return ALLOWED;
    const charge = this.#chargeOf(call, target, part);
    if (round !== undefined) {
      charge.logicalId = round.id;
      charge.logicalHeld = round.held;
    }
    const stopped = this.#stopped(call, target);
    if (stopped !== undefined) return this.#deny(charge, call, stopped);
    if (charge.plan.empty) return ALLOWED;
    const problem = charge.plan.prices.length === 0 ? undefined : this.#deciding.estimate(charge);
    if (problem !== undefined) return this.#deny(charge, call, problem);
    if (charge.plan.waits && this.lasting.waiting.size > 0) return this.#behindOthers(charge, call, now);
    return this.#replied(charge, call, this.#deciding.ask(charge, now));
  }

  #chargeOf(call: Call, target: Target, part: Part): LimitCharge {
    const caller = this.#callers.of(call.principal);
    const plan = this.#plans.of(call.message.method, target, caller.tier);
    return new LimitCharge(plan, call, caller, target, part, this.#settling);
  }

  #stopped(call: Call, target: Target): Problem | undefined {
    const { stops } = this.lasting;
    if (!stops.any) return undefined;
    const wall = this.#clock.wall();
    const stop = stops.of(target, call.principal.tenant, wall);
    return stop === undefined ? undefined : stopProblem(stop, wall, false);
  }

  /** Whoever waits already goes first. */
  #behindOthers(charge: LimitCharge, call: Call, now: number): Verdict | Promise<Verdict> {
    this.#asking.fill(charge, charge.amounts, false);
    const waited = this.#ladder.behind(charge, call);
    if (waited === undefined) return this.#replied(charge, call, this.#deciding.ask(charge, now));
    return this.#ended(charge, call, waited);
  }

  #replied(charge: LimitCharge, call: Call, reply: Reply | Promise<Reply>): Verdict | Promise<Verdict> {
    if (reply instanceof Promise) {
      return reply.then(
        (settled) => this.#replied(charge, call, settled),
        (error: unknown) => this.#failed(charge, error),
      );
    }
    if (isAdmitted(reply)) return charge;
    const waited = isRefused(reply) && charge.plan.waits ? this.#ladder.wait(charge, call, reply) : undefined;
    return waited === undefined ? this.#deny(charge, call, reply) : this.#ended(charge, call, waited);
  }

  /** After waiting the answer is the last one. */
  #ended(charge: LimitCharge, call: Call, waited: Promise<Reply>): Promise<Verdict> {
    return waited.then(
      (reply) => (isAdmitted(reply) ? charge : this.#deny(charge, call, reply)),
      (error: unknown) => this.#failed(charge, error),
    );
  }

  #failed(charge: LimitCharge, error: unknown): never {
    if (charge.logicalId !== undefined) this.lasting.rounds.delete(charge.logicalId);
    throw error;
  }

  #deny(charge: LimitCharge, call: Call, reply: Refused | Problem): Denied {
    if (charge.logicalId !== undefined) this.lasting.rounds.delete(charge.logicalId);
    return { allowed: false, decision: this.#deciding.refuse(charge, reply, call.session !== undefined) };
  }
}

/** The hold of an earlier round, and whether the limiter has it. */
interface Round {
  readonly id: string;
  readonly held: boolean;
}

/** What outlives a configuration. */
interface Lasting {
  readonly limiter: Limiter;
  readonly tiers: TierBook;
  readonly grants: GrantBook;
  readonly stops: StopBook;
  readonly waiting: WaitingRoom;
  readonly events: AdmissionEvents;
  readonly rounds: Set<string>;
}

const NOT_RUN: CallEnd = { executed: 'no', answer: undefined };

function lastingOf(deps: AdmissionDeps, before: Lasting | undefined): Lasting {
  return {
    limiter: deps.limiter ?? before?.limiter ?? memoryLimiter(deps.clock),
    tiers: deps.tiers ?? before?.tiers ?? new TierBook(),
    grants: deps.grants ?? before?.grants ?? new GrantBook(),
    stops: deps.stops ?? before?.stops ?? new StopBook(),
    events: deps.events ?? before?.events ?? {},
    waiting: before?.waiting ?? new WaitingRoom(),
    rounds: before?.rounds ?? new Set(),
  };
}

function compileLimits(
  limits: readonly LimitOptions[],
  limiter: Limiter,
  inherited: readonly CompiledLimit[],
): readonly CompiledLimit[] {
  const compiled = limits.map((options, index) => {
    const name = options.was ?? options.name;
    const before =
      inherited.find((limit) => limit.options.name === options.name) ??
      inherited.find((limit) => limit.options.name === name);
    return new CompiledLimit(options, index, limiter, before);
  });
  const owners = new Map<string, string>();
  for (const { options, variants } of compiled) {
    for (const { rule } of variants) {
      const id = rule.options.id!;
      const owner = owners.get(id) ?? options.name;
      if (owner !== options.name) {
        throw new TollgateError(
          'config_invalid',
          `limits.${options.name} and limits.${owner} would share their counters: \`was\` names a limit that is still there.`,
        );
      }
      owners.set(id, owner);
    }
  }
  return compiled;
}

function memoryLimiter(clock: Clock): MemoryLimiter {
  const seed = randomBytes(8);
  return new MemoryLimiter({
    seed: [seed.readUInt32LE(0), seed.readUInt32LE(4)],
    originMs: Math.round(clock.wall() - clock.monotonic()),
  });
}
