import { randomBytes } from 'node:crypto';
import { Ask, type Limiter, MemoryLimiter, type Refused, type Rule, type Standing } from '@tollgate/limiter';
import type { Clock } from '../core/clock.ts';
import { TollgateError } from '../core/errors.ts';
import { newDecisionId } from '../core/ids.ts';
import type { Call } from '../protocol/call.ts';
import { ALLOWED, type Denied, type Verdict, type ViolatedLimit } from './decision.ts';
import { CompiledLimit, type Target } from './limits.ts';
import type { LimitOptions } from './options.ts';

/** Memoised plans; resource URIs come from clients, so there may be any number of them. */
const MAX_PLANS = 20_000;
/** More limits than this on one call is a mistake that the limiter could not decide in one step. */
const MAX_LIMITS_PER_CALL = 128;

interface Step {
  readonly limit: CompiledLimit;
  /** The numbers that the target adds to the key. */
  readonly key: readonly number[];
}

/** The limits that cover one target, with everything done that does not depend on the caller. */
type Plan = readonly Step[];
type PlansById = Map<string | undefined, Plan>;

export interface AdmissionDeps {
  readonly clock: Clock;
  /** The admission that this one replaces on a reload: what was used under limits of the same name stays used. */
  readonly previous?: Admission | undefined;
  /** Default: one in memory. With `previous`, the limiter of that one. */
  readonly limiter?: Limiter | undefined;
}

/** Limits of a gateway, compiled once per configuration. */
export interface Admission {
  /**
   * Decides over every limit that covers the call, in one step: all have room and are charged, or nothing is.
   * `now` is monotonic milliseconds (`call.startedAt`). A promise only where the limiter is behind a network.
   */
  admit(call: Call, target: Target, now: number): Verdict | Promise<Verdict>;
  /** Where every limit that covers such a call stands for this caller; charges nothing. */
  inspect(call: Call, target: Target, now: number): readonly Standing[] | Promise<readonly Standing[]>;
  /** The limits that cover a method on a target, in the order of the configuration. */
  covering(method: string, target: Target): readonly LimitOptions[];
  readonly limits: readonly LimitOptions[];
}

/**
 * Compiles the limits. Throws `config_invalid` for a pattern or numbers that cannot be kept exactly.
 */
export function createAdmission(limits: readonly LimitOptions[], deps: AdmissionDeps): Admission {
  return new LimiterAdmission(limits, deps);
}

class LimiterAdmission implements Admission {
  readonly limits: readonly LimitOptions[];
  readonly #clock: Clock;
  readonly #limiter: Limiter;
  readonly #compiled: readonly CompiledLimit[];
  readonly #ask = new Ask();
  /** The pipeline shows the same target object as long as nothing about it changes. */
  readonly #byTarget = new WeakMap<Target, { readonly method: string; readonly plan: Plan }>();
  /** Method, endpoint, server, kind, canonical id: nested, so that no key is built per call. */
  readonly #plans = new Map<string, Map<string, Map<string | undefined, Map<Target['kind'], PlansById>>>>();
  #planCount = 0;

  constructor(limits: readonly LimitOptions[], deps: AdmissionDeps) {
    const previous = deps.previous instanceof LimiterAdmission ? deps.previous : undefined;
    this.limits = limits;
    this.#clock = deps.clock;
    this.#limiter = deps.limiter ?? (previous === undefined ? memoryLimiter() : previous.#limiter);
    // Rules of another limiter mean nothing to this one.
    const inherited = previous !== undefined && previous.#limiter === this.#limiter ? previous.#compiled : [];
    this.#compiled = limits.map((options) => {
      const before = inherited.find((limit) => limit.options.name === options.name && sameKeys(limit.options, options));
      return new CompiledLimit(options, this.#rule(options, before?.rule));
    });
  }

  admit(call: Call, target: Target, now: number): Verdict | Promise<Verdict> {
    // Responses and notifications never count: a client cannot be told of a refusal there.
    if (this.#compiled.length === 0 || call.message.kind !== 'request') return ALLOWED;
    const plan = this.#plan(call.message.method, target);
    if (plan.length === 0) return ALLOWED;
    const outcome = this.#limiter.decide(this.#fill(plan, call), Math.floor(now * 1000));
    if (outcome instanceof Promise) {
      return outcome.then((settled) => (settled.allowed === true ? ALLOWED : this.#deny(settled, plan, call, target)));
    }
    return outcome.allowed === true ? ALLOWED : this.#deny(outcome, plan, call, target);
  }

  inspect(call: Call, target: Target, now: number): readonly Standing[] | Promise<readonly Standing[]> {
    const plan = this.#plan(call.message.method, target);
    return this.#limiter.inspect(this.#fill(plan, call), Math.floor(now * 1000));
  }

  covering(method: string, target: Target): readonly LimitOptions[] {
    return this.#compiled.filter((limit) => limit.covers(method, target)).map((limit) => limit.options);
  }

  #fill(plan: Plan, call: Call): Ask {
    const ask = this.#ask.clear();
    for (const { limit, key } of plan) {
      ask.rule(limit.rule, 1);
      if (limit.bySession) {
        // The mark keeps session 5 and principal 5 apart.
        if (call.session === undefined) ask.key(0).key(call.principal.key);
        else ask.key(1).key(call.session.key);
      }
      if (limit.byPrincipal) ask.key(call.principal.key);
      for (const part of key) ask.key(part);
    }
    return ask;
  }

  #deny(outcome: Refused, plan: Plan, call: Call, target: Target): Denied {
    const wall = this.#clock.wall();
    const violated = outcome.violated.map((standing): ViolatedLimit => {
      const limit = plan.find((step) => step.limit.rule === standing.rule)!.limit.options;
      return {
        limit,
        remaining: standing.remaining,
        retryAfterSeconds: standing.retryAfter === Infinity ? undefined : wholeSeconds(standing.retryAfter),
        resetAt: wall + Math.ceil(standing.resetAfter / 1000),
      };
    });
    const wait = (limit: ViolatedLimit) => limit.retryAfterSeconds ?? Infinity;
    const binding = violated.reduce((longest, limit) => (wait(limit) > wait(longest) ? limit : longest));
    call.decisionId ??= newDecisionId();
    return {
      allowed: false,
      decision: {
        id: call.decisionId,
        reason: binding.retryAfterSeconds === undefined ? 'cost_above_limit' : 'rate_limited',
        binding,
        violated,
        retryAfterSeconds: binding.retryAfterSeconds,
        kind: target.kind,
        inSession: call.session !== undefined,
      },
    };
  }

  #plan(method: string, target: Target): Plan {
    const known = this.#byTarget.get(target);
    if (known !== undefined && known.method === method) return known.plan;
    const byId = this.#plans.get(method)?.get(target.endpoint)?.get(target.server)?.get(target.kind);
    const plan = byId?.get(target.canonicalId) ?? this.#makePlan(method, target);
    this.#byTarget.set(target, { method, plan });
    return plan;
  }

  #makePlan(method: string, target: Target): Plan {
    if (this.#planCount >= MAX_PLANS) {
      this.#plans.clear();
      this.#planCount = 0;
    }
    const plan: Step[] = [];
    for (const limit of this.#compiled) {
      if (limit.covers(method, target)) plan.push({ limit, key: limit.targetKey(target) });
    }
    if (plan.length > MAX_LIMITS_PER_CALL) {
      throw new TollgateError('internal', 'Internal error', {
        cause: new Error(
          `${plan.length} limits cover ${method}; at most ${MAX_LIMITS_PER_CALL} can be decided at once`,
        ),
      });
    }
    const byEndpoint = getOrAdd(this.#plans, method, () => new Map());
    const byServer = getOrAdd(byEndpoint, target.endpoint, () => new Map());
    const byKind = getOrAdd(byServer, target.server, () => new Map<Target['kind'], PlansById>());
    getOrAdd(byKind, target.kind, () => new Map()).set(target.canonicalId, plan);
    this.#planCount++;
    return plan;
  }

  #rule(options: LimitOptions, previous: Rule | undefined): Rule {
    const { name, count, periodMs, burst } = options;
    try {
      return this.#limiter.rule({ algorithm: 'token-bucket', name, limit: count, periodMs, burst }, previous);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      throw new TollgateError('config_invalid', `limits.${name}: ${error.message}; lower the burst or the period.`);
    }
  }
}

/** Counters keep their meaning only while they are keyed the same way. */
function sameKeys(a: LimitOptions, b: LimitOptions): boolean {
  const keys = (options: LimitOptions) => options.by.filter((key) => key !== 'everyone').toSorted();
  return keys(a).join() === keys(b).join();
}

/** At least 1: a `Retry-After` of 0 would ask for a repeat that is refused again. */
function wholeSeconds(micros: number): number {
  return Math.max(1, Math.ceil(micros / 1e6));
}

function memoryLimiter(): MemoryLimiter {
  const seed = randomBytes(8);
  return new MemoryLimiter({ seed: [seed.readUInt32LE(0), seed.readUInt32LE(4)] });
}

function getOrAdd<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  let value = map.get(key);
  if (value === undefined) {
    value = make();
    map.set(key, value);
  }
  return value;
}
