import { randomUUID } from 'node:crypto';
import type { Ask } from '../ask.ts';
import type { HoldResult, Limiter, Outcome, Rule, RuleOptions, Settlement, Standing } from '../types.ts';
import { StoreError, type StoreFailure } from './errors.ts';
import { Fallback, Snapshot } from './fallback.ts';
import type { RedisLimiter } from './limiter.ts';
import type { BreakerState } from './link.ts';
import { Nodes } from './nodes.ts';

export interface ResilientOptions {
  /** Ends of holds that wait for Redis to come back; more are dropped and the holds expire. Default 10,000. */
  readonly maxQueued?: number;
  /** Told of each change between `ok` and `degraded`, with the words of `status`. */
  readonly onChange?: (status: LimiterStatus) => void;
  /** Told of every question that the store did not answer, also of those that it was not asked (`breaker`). */
  readonly onFailure?: (failure: StoreFailure) => void;
}

export interface LimiterStatus {
  readonly state: 'ok' | 'degraded';
  /** Unix milliseconds. */
  readonly since: number;
  readonly words: string;
  /** Decisions since the start that Redis did not make, by how they were made. */
  readonly failOpen: number;
  readonly failLocal: number;
  readonly failClosed: number;
  /** Ends of holds that wait, and those that were dropped. */
  readonly queued: number;
  readonly dropped: number;
  readonly nodes: number;
  readonly breaker: BreakerState;
}

interface End {
  readonly settlement: Settlement | undefined;
}

/** Ends of holds that are sent at once after an outage. */
const AT_ONCE = 64;

/**
 * A limiter on Redis that has an answer when Redis has none, by each rule's `onError`: `local` enforces this gateway's
 * share of the limit, `open` passes and is counted, `closed` refuses as `unavailable`; rules that settle are always
 * closed. A call passes when none of its rules is closed and its local ones have room. What was used locally is not
 * charged again afterwards. Ends of holds wait, by id, until Redis is back. `unseeded` and `foreign` are thrown: the
 * caller seeds, or stops.
 */
export class ResilientLimiter implements Limiter {
  readonly #remote: RedisLimiter;
  readonly #local: Limiter;
  readonly #fallback: Fallback;
  readonly #nodes: Nodes;
  readonly #maxQueued: number;
  readonly #onChange: (status: LimiterStatus) => void;
  readonly #onFailure: ((failure: StoreFailure) => void) | undefined;
  readonly #queue = new Map<string, End>();
  #draining = false;
  #failure: StoreError | undefined;
  #since = Date.now();
  #open = 0;
  #localCount = 0;
  #closed = 0;
  #dropped = 0;

  /** `local`: a limiter in memory of its own, for outages. */
  constructor(remote: RedisLimiter, local: Limiter, options: ResilientOptions = {}) {
    this.#remote = remote;
    this.#local = local;
    this.#maxQueued = options.maxQueued ?? 10_000;
    this.#onChange = options.onChange ?? (() => {});
    this.#onFailure = options.onFailure;
    this.#nodes = new Nodes(remote, randomUUID(), () => this.#answered());
    this.#fallback = new Fallback(local, () => this.#nodes.count);
  }

  /** Counts the gateways that share the limits from now on; they are asked about, never told, when Redis is away. */
  start(): Promise<void> {
    return this.#nodes.start();
  }

  /** Ends the signs of life and what is under way. Resolves when ends of holds were tried once more. */
  async close(): Promise<void> {
    this.#nodes.stop();
    await this.#drain();
    await this.#remote.end();
  }

  status(): LimiterStatus {
    const failure = this.#failure;
    return {
      state: failure === undefined ? 'ok' : 'degraded',
      since: this.#since,
      words: failure === undefined ? 'Limits are shared through Redis.' : this.#words(failure),
      failOpen: this.#open,
      failLocal: this.#localCount,
      failClosed: this.#closed,
      queued: this.#queue.size,
      dropped: this.#dropped,
      nodes: this.#nodes.count,
      breaker: this.#remote.breaker,
    };
  }

  rule(options: RuleOptions, previous?: Rule): Rule {
    return this.#remote.rule(options, previous);
  }

  decide(ask: Ask, now: number): Promise<Outcome> {
    return this.#decide(ask, now, true);
  }

  decideAll(asks: readonly Ask[], now: number): Promise<readonly Outcome[]> {
    return Promise.all(asks.map((ask) => this.#decide(ask, now, true)));
  }

  check(ask: Ask, now: number): Promise<Outcome> {
    return this.#decide(ask, now, false);
  }

  /** What is decided of an ask while nobody can ask Redis: money is refused. For when it answers, but has no money. */
  async withoutStore(ask: Ask, now: number, charging: boolean): Promise<Outcome> {
    return (await this.#fallback.decide(new Snapshot(ask), now, charging)).outcome;
  }

  async inspect(ask: Ask, now: number): Promise<readonly Standing[]> {
    const asked = new Snapshot(ask);
    return this.#either(this.#remote.inspect(ask), () => this.#fallback.inspect(asked, now));
  }

  async take(ask: Ask, now: number): Promise<readonly number[]> {
    const asked = new Snapshot(ask);
    return this.#either(this.#remote.take(ask), () => this.#fallback.take(asked, now));
  }

  /** Rejects while Redis is away: whoever corrects or resets a counter has to know that it did not happen. */
  async adjust(ask: Ask, _now: number, at?: number): Promise<void> {
    await this.#either(this.#remote.adjust(ask, undefined, at));
  }

  async reset(ask: Ask, _now: number): Promise<void> {
    await this.#either(this.#remote.reset(ask));
  }

  settle(settlement: Settlement, now: number): Promise<HoldResult> {
    const copy: Settlement = { id: settlement.id, amounts: { ...settlement.amounts } };
    return this.#end(copy.id, settlement.amounts === undefined ? { id: copy.id } : copy, now);
  }

  release(id: string, now: number): Promise<HoldResult> {
    return this.#end(id, undefined, now);
  }

  async renew(id: string, ttl: number, now: number): Promise<HoldResult> {
    const local = await this.#local.renew(id, ttl, now);
    const remote = await this.#either(this.#remote.renew(id, ttl), async () => local);
    return remote.state === 'unknown' ? local : remote;
  }

  async #decide(ask: Ask, now: number, charging: boolean): Promise<Outcome> {
    const asked = new Snapshot(ask);
    let failure: StoreError;
    try {
      const outcome = await (charging ? this.#remote.decide(ask) : this.#remote.check(ask));
      this.#answered();
      return outcome;
    } catch (error) {
      failure = this.#failed(error);
    }
    const { outcome, how } = await this.#fallback.decide(asked, now, charging);
    if (!charging) return outcome;
    if (how === 'open') this.#open++;
    else if (how === 'local') this.#localCount++;
    else this.#closed++;
    // Redis may have opened the hold all the same: nobody will run this call, so it must not keep what it took.
    if (!outcome.allowed && asked.holdId !== undefined && failure.uncertain) this.#keep(asked.holdId, undefined);
    return outcome;
  }

  /** Ends a hold where it was opened: in Redis, here, or, when a reply was lost, in both. */
  async #end(id: string, settlement: Settlement | undefined, now: number): Promise<HoldResult> {
    const local = await (settlement === undefined ? this.#local.release(id, now) : this.#local.settle(settlement, now));
    try {
      const remote = await this.#send(id, settlement);
      this.#answered();
      return remote.state === 'unknown' ? local : remote;
    } catch (error) {
      if (!(error instanceof StoreError) || error.failure === 'foreign') throw error;
      this.#failed(error, true);
      this.#keep(id, settlement);
      return { state: settlement === undefined ? 'released' : 'settled', changed: true, crossed: [] };
    }
  }

  #send(id: string, settlement: Settlement | undefined): Promise<HoldResult> {
    return settlement === undefined ? this.#remote.release(id) : this.#remote.settle(settlement);
  }

  /** The first end of a hold is the one that counts. */
  #keep(id: string, settlement: Settlement | undefined): void {
    if (this.#queue.has(id)) return;
    if (this.#queue.size >= this.#maxQueued) this.#dropped++;
    else this.#queue.set(id, { settlement });
  }

  async #drain(): Promise<void> {
    if (this.#draining) return;
    this.#draining = true;
    try {
      while (this.#queue.size > 0) {
        const some = [...this.#queue].slice(0, AT_ONCE);
        const results = await Promise.allSettled(some.map(([id, { settlement }]) => this.#send(id, settlement)));
        results.forEach(({ status }, i) => {
          if (status === 'fulfilled') this.#queue.delete(some[i]![0]);
        });
        if (results.some(({ status }) => status === 'rejected')) return;
      }
    } finally {
      this.#draining = false;
    }
  }

  async #either<T>(asked: Promise<T>, otherwise?: () => Promise<T>): Promise<T> {
    try {
      const answer = await asked;
      this.#answered();
      return answer;
    } catch (error) {
      const failure = this.#failed(error);
      if (otherwise === undefined) throw failure;
      return otherwise();
    }
  }

  #answered(): void {
    if (this.#queue.size > 0) void this.#drain();
    if (this.#failure === undefined) return;
    this.#failure = undefined;
    this.#since = Date.now();
    this.#onChange(this.status());
  }

  /** Throws what is not an outage: a mistake of the caller, and money that is not there. */
  #failed(error: unknown, ending = false): StoreError {
    if (!(error instanceof StoreError)) throw error;
    if (!ending && (error.failure === 'unseeded' || error.failure === 'foreign')) throw error;
    this.#onFailure?.(error.failure);
    const before = this.#failure;
    // The breaker only says that something failed before.
    if (before === undefined || error.failure !== 'breaker') this.#failure = error;
    if (before === undefined) {
      this.#since = Date.now();
      this.#onChange(this.status());
    }
    return error;
  }

  #words(failure: StoreError): string {
    const { count } = this.#nodes;
    const share = count === 1 ? 'by itself' : `at 1/${count} of each limit`;
    return `${failure.message}. Until it answers, this gateway enforces rates ${share}, refuses what costs money, and lets pass what is set to open.`;
  }
}
