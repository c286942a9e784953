/**
 * What limits do, as numbers for Prometheus. Labels come from the configuration, never from callers. For a file of
 * ToolHive its four metrics are kept as well, under their own names.
 */
import type { Ask, HoldResult, Limiter, Outcome, Rule, RuleOptions, Settlement, Standing } from '@tollgate/limiter';
import { CONTENT_TYPE, type Counter, type Histogram, Registry } from './registry.ts';

/** The part of an admission that is counted; records of admission events fit. */
export interface SeenAdmission {
  readonly rules: readonly { readonly limit: string; readonly shadow: boolean }[];
  /** Shadow limits that would have refused. */
  readonly shadowed: readonly string[];
  /** How an unreachable store was stood in for. */
  readonly degraded: 'local' | 'open' | 'closed' | undefined;
  /** Undefined: admitted. */
  readonly refusal: { readonly violated: readonly { readonly limit: { readonly name: string } }[] } | undefined;
}

/** A bucket of a ToolHive file, by the labels of its metrics. */
export interface BucketLabels {
  readonly namespace: string;
  readonly server: string;
  readonly scope: 'shared' | 'per_user';
  readonly operation: 'server' | 'tool';
}

/** The file's resource and its buckets by the name of the limit that each became. */
export interface ToolhiveBuckets {
  readonly namespace: string;
  readonly name: string;
  readonly buckets: Readonly<Record<string, BucketLabels>>;
}

/** Numbers that others keep. */
export interface MetricSources {
  readonly guardDenials: () => number;
  /** By a reason of a fixed list. */
  readonly refusedCallers: () => Readonly<Record<string, number>>;
  /** Refusals by access beyond what is recorded. */
  readonly unrecordedRefusals: () => number;
  readonly ledgerWaiting: () => number;
  /** Undefined: no ledger, or not compared yet. */
  readonly ledgerDrift: () => number | undefined;
  /** Definitions of servers that are neither listed nor called. */
  readonly blockedDefinitions: () => number;
}

/** Seconds. Decisions take microseconds to milliseconds; the boundaries of ToolHive begin at 10 ms. */
const LATENCIES = [0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5];

export class LimitMetrics {
  /** Of `text()`. */
  readonly contentType: string = CONTENT_TYPE;
  readonly #registry = new Registry();
  readonly #decisions: Counter;
  readonly #degraded: Counter;
  readonly #definitions: Counter;
  readonly #toolhive: {
    readonly decisions: Counter;
    readonly redisErrors: Counter;
    readonly failOpen: Counter;
    readonly latency: Histogram;
  };
  #file: ToolhiveBuckets | undefined;

  constructor(sources: MetricSources) {
    const registry = this.#registry;
    this.#decisions = registry.counter('tollgate_limit_decisions_total', 'What each limit said of a call.', [
      'limit',
      'verdict',
    ]);
    this.#degraded = registry.counter(
      'tollgate_limit_degraded_total',
      'Decisions without the shared store, by what stood in for it.',
      ['policy'],
    );
    registry.counted(
      'tollgate_session_guard_denials_total',
      'Requests that the session guard refused.',
      sources.guardDenials,
    );
    registry.countedBy(
      'tollgate_refused_callers_total',
      'Callers turned away before limits were asked.',
      'reason',
      sources.refusedCallers,
    );
    registry.counted(
      'tollgate_refusals_unrecorded_total',
      'Refusals by access without a record, because their caller had too many.',
      sources.unrecordedRefusals,
    );
    registry.gauge('tollgate_ledger_waiting', 'Writes that the ledger has not confirmed.', sources.ledgerWaiting);
    registry.gauge(
      'tollgate_ledger_drift',
      'What counters and ledger differ by, in millionths; 0 when idle.',
      sources.ledgerDrift,
    );
    this.#definitions = registry.counter(
      'tollgate_trust_definitions_total',
      'Definitions of servers that nobody had approved when they were seen.',
      ['server', 'state', 'action'],
    );
    registry.gauge(
      'tollgate_trust_blocked',
      'Definitions of servers that are neither listed nor called until somebody approves them.',
      sources.blockedDefinitions,
    );
    const place = ['namespace', 'server'];
    this.#toolhive = {
      decisions: registry.counter(
        'toolhive_rate_limit_decisions_total',
        'Total number of rate limit bucket decisions',
        [...place, 'decision', 'scope', 'operation_type'],
      ),
      redisErrors: registry.counter(
        'toolhive_rate_limit_redis_errors_total',
        'Total number of Redis errors during rate limit checks',
        [...place, 'error_type'],
      ),
      failOpen: registry.counter(
        'toolhive_rate_limit_fail_open_total',
        'Total number of rate limit checks allowed after an enforcement error',
        place,
      ),
      latency: registry.histogram(
        'toolhive_rate_limit_check_latency_seconds',
        'Duration of Redis Lua rate limit checks in seconds',
        place,
        LATENCIES,
      ),
    };
  }

  /** The file in force; undefined: it is not one of ToolHive, and its metrics stand still. */
  configure(file: ToolhiveBuckets | undefined): void {
    this.#file = file;
  }

  /** True when the duration of checks is wanted: then the limiter is wrapped with `timed`. */
  get timesChecks(): boolean {
    return this.#file !== undefined;
  }

  admitted(seen: SeenAdmission): void {
    this.#degrade(seen);
    for (const { limit, shadow } of seen.rules) {
      const verdict = shadow && seen.shadowed.includes(limit) ? 'shadow_refused' : 'admitted';
      this.#decisions.add({ limit, verdict });
      // A check that failed is no decision.
      if (seen.degraded === undefined) this.#bucket(limit, 'allowed');
    }
  }

  refused(seen: SeenAdmission): void {
    this.#degrade(seen);
    const violated = seen.refusal?.violated ?? [];
    for (const { limit } of violated) this.#decisions.add({ limit: limit.name, verdict: 'refused' });
    // As ToolHive counts: once, for the first bucket in the way.
    const first = violated.find(({ limit }) => this.#file?.buckets[limit.name] !== undefined);
    if (first !== undefined && seen.degraded === undefined) this.#bucket(first.limit.name, 'rejected');
  }

  /** A server offers definitions that nobody has approved. */
  noticed(notice: {
    readonly server: string;
    readonly state: string;
    readonly action: string;
    readonly count: number;
  }): void {
    const { server, state, action, count } = notice;
    this.#definitions.add({ server, state, action }, count);
  }

  /** A decision took so many seconds, failed ones included. */
  checked(seconds: number): void {
    const place = this.#place();
    if (place !== undefined) this.#toolhive.latency.observe(place, seconds);
  }

  /** The store did not answer a question; `failure` is that of its `StoreError`. */
  storeFailed(failure: string): void {
    const place = this.#place();
    if (place !== undefined) this.#toolhive.redisErrors.add({ ...place, error_type: errorType(failure) });
  }

  /** The body of `GET /metrics`. */
  text(): string {
    return this.#registry.text();
  }

  #degrade({ degraded }: SeenAdmission): void {
    if (degraded === undefined) return;
    this.#degraded.add({ policy: degraded });
    const place = this.#place();
    if (degraded === 'open' && place !== undefined) this.#toolhive.failOpen.add(place);
  }

  #bucket(limit: string, decision: 'allowed' | 'rejected'): void {
    const bucket = this.#file?.buckets[limit];
    if (bucket === undefined) return;
    const { namespace, server, scope, operation } = bucket;
    this.#toolhive.decisions.add({ namespace, server, decision, scope, operation_type: operation });
  }

  #place(): { readonly namespace: string; readonly server: string } | undefined {
    const file = this.#file;
    return file === undefined ? undefined : { namespace: file.namespace, server: file.name };
  }
}

function errorType(failure: string): string {
  switch (failure) {
    case 'deadline':
      return 'timeout';
    // Left alone because it did not answer before.
    case 'breaker':
    case 'connection':
      return 'connection';
    case 'permission':
      return 'auth';
    default:
      return 'other';
  }
}

/** The same limiter; `done` gets the seconds of every decision, also of one that fails. */
export function timed(limiter: Limiter, done: (seconds: number) => void): Limiter {
  return new TimedLimiter(limiter, done);
}

class TimedLimiter implements Limiter {
  readonly #inner: Limiter;
  readonly #done: (seconds: number) => void;

  constructor(inner: Limiter, done: (seconds: number) => void) {
    this.#inner = inner;
    this.#done = done;
  }

  rule(options: RuleOptions, previous?: Rule): Rule {
    return this.#inner.rule(options, previous);
  }
  decide(ask: Ask, now: number): Outcome | Promise<Outcome> {
    const started = performance.now();
    const end = () => this.#done((performance.now() - started) / 1000);
    const outcome = this.#inner.decide(ask, now);
    if (outcome instanceof Promise) return outcome.finally(end);
    end();
    return outcome;
  }
  decideAll(asks: readonly Ask[], now: number): readonly Outcome[] | Promise<readonly Outcome[]> {
    return this.#inner.decideAll(asks, now);
  }
  check(ask: Ask, now: number): Outcome | Promise<Outcome> {
    return this.#inner.check(ask, now);
  }
  inspect(ask: Ask, now: number): readonly Standing[] | Promise<readonly Standing[]> {
    return this.#inner.inspect(ask, now);
  }
  take(ask: Ask, now: number): readonly number[] | Promise<readonly number[]> {
    return this.#inner.take(ask, now);
  }
  adjust(ask: Ask, now: number, at?: number): void | Promise<void> {
    return this.#inner.adjust(ask, now, at);
  }
  settle(settlement: Settlement, now: number): HoldResult | Promise<HoldResult> {
    return this.#inner.settle(settlement, now);
  }
  release(id: string, now: number): HoldResult | Promise<HoldResult> {
    return this.#inner.release(id, now);
  }
  renew(id: string, ttl: number, now: number): HoldResult | Promise<HoldResult> {
    return this.#inner.renew(id, ttl, now);
  }
  reset(ask: Ask, now: number): void | Promise<void> {
    return this.#inner.reset(ask, now);
  }
}
