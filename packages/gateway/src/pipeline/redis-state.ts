/** Counters and money that gateways share through Redis, with an answer for when it is away. */
import {
  Ask,
  type HoldResult,
  type Limiter,
  MemoryLimiter,
  type Outcome,
  type Rule,
  type RuleOptions,
  type Settlement,
  type Standing,
} from '@tollgate/limiter';
import { checkServer, RedisLimiter, ResilientLimiter, StoreError, seed } from '@tollgate/limiter/redis';
import type { Admission } from '../admission/contract.ts';
import type { Clock } from '../core/clock.ts';
import { TollgateError } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import { connectRedis, type RedisConnection } from '../store/redis.ts';
import type { RedisOptions } from '../store/redis-options.ts';
import type { Store } from '../store/store.ts';
import { readMoney } from './rebuild.ts';

interface RedisStateDeps {
  readonly clock: Clock;
  readonly log: Log;
  readonly store: Store;
}

/** Milliseconds between two attempts to seed the same tenant's money. */
const SEED_PAUSE = 1_000;

export class RedisState {
  readonly limiter: Limiter;
  readonly #connection: RedisConnection;
  readonly #redis: RedisLimiter;
  readonly #resilient: ResilientLimiter;
  readonly #deps: RedisStateDeps;
  #admission: Admission | undefined;
  #warnings: readonly string[] = [];
  #foreign: string | undefined;

  /**
   * Connects, waiting at most the connect timeout; a Redis that is away is no failure. Rejects with `config_invalid`
   * for a missing client library, and for a Redis that holds the money of another ledger.
   */
  static async open(options: RedisOptions, deps: RedisStateDeps): Promise<RedisState> {
    const ledgerId = await deps.store.settings.ledgerId();
    const connection = await connectRedis(options, deps.log);
    const state = new RedisState(options, connection, ledgerId, deps);
    if (!(await connection.reached)) return state;
    state.#warnings = await checkServer(state.#redis).catch(() => []);
    for (const warning of state.#warnings) deps.log.warn({ address: connection.address }, warning);
    await state.#resilient.start().catch(() => undefined);
    return state;
  }

  private constructor(options: RedisOptions, connection: RedisConnection, ledgerId: string, deps: RedisStateDeps) {
    this.#connection = connection;
    this.#deps = deps;
    this.#redis = new RedisLimiter(connection.port, {
      prefix: options.ledger,
      deadline: options.commandTimeoutMs,
      ledgerId,
    });
    const { clock, log } = deps;
    const local = new MemoryLimiter({ originMs: clock.wall() - clock.monotonic() });
    this.#resilient = new ResilientLimiter(this.#redis, local, {
      onChange: ({ state, words }) => {
        if (state === 'ok') log.info({ address: connection.address }, words);
        else log.error({ address: connection.address }, words);
      },
    });
    this.limiter = new SeededLimiter(this.#resilient, (tenant) => this.#seed(tenant));
  }

  /** From now on money that Redis does not have is read from the ledger for these limits. */
  begin(admission: Admission): void {
    this.#admission = admission;
  }

  /** What an operator should know, in sentences; empty when all is well. */
  problems(): string[] {
    const { state, words, queued } = this.#resilient.status();
    return [
      ...(state === 'ok' ? [] : [words]),
      ...(queued === 0 ? [] : [`${queued} ends of holds wait for Redis.`]),
      ...(this.#foreign === undefined ? [] : [this.#foreign]),
      ...this.#warnings,
    ];
  }

  async close(): Promise<void> {
    await this.#resilient.close();
    await this.#connection.close();
  }

  async #seed(tenant: string): Promise<void> {
    const { store, clock, log } = this.#deps;
    if (this.#admission === undefined) throw new TollgateError('storage_unavailable', 'The limits are not ready yet');
    const money = await readMoney(store.ledger, this.#admission, clock.wall());
    try {
      const mine = await seed(this.#redis, {
        tenant,
        counters: [...money.windows, ...money.rates],
        holds: money.holds,
      });
      if (mine)
        log.warn({ holds: money.holds.length }, 'Redis had no money of this ledger; it was seeded from the ledger');
    } catch (error) {
      if (error instanceof StoreError && error.failure === 'foreign') this.#foreign = error.message;
      throw error;
    }
  }
}

/** Seeds a Redis that lost its money, or never had it, and asks again. */
class SeededLimiter implements Limiter {
  readonly #inner: ResilientLimiter;
  readonly #seed: (tenant: string) => Promise<void>;
  readonly #seeding = new Map<string, Promise<void>>();

  constructor(inner: ResilientLimiter, seedTenant: (tenant: string) => Promise<void>) {
    this.#inner = inner;
    this.#seed = seedTenant;
  }

  rule(options: RuleOptions, previous?: Rule): Rule {
    return this.#inner.rule(options, previous);
  }
  decide(ask: Ask, now: number): Promise<Outcome> {
    return this.#seeded(ask, (same) => this.#inner.decide(same, now));
  }
  async decideAll(asks: readonly Ask[], now: number): Promise<readonly Outcome[]> {
    return Promise.all(asks.map((ask) => this.decide(ask, now)));
  }
  check(ask: Ask, now: number): Promise<Outcome> {
    return this.#seeded(ask, (same) => this.#inner.check(same, now));
  }
  inspect(ask: Ask, now: number): Promise<readonly Standing[]> {
    return this.#seeded(ask, (same) => this.#inner.inspect(same, now));
  }
  take(ask: Ask, now: number): Promise<readonly number[]> {
    return this.#seeded(ask, (same) => this.#inner.take(same, now));
  }
  adjust(ask: Ask, now: number, at?: number): Promise<void> {
    return this.#seeded(ask, (same) => this.#inner.adjust(same, now, at));
  }
  settle(settlement: Settlement, now: number): Promise<HoldResult> {
    return this.#inner.settle(settlement, now);
  }
  release(id: string, now: number): Promise<HoldResult> {
    return this.#inner.release(id, now);
  }
  renew(id: string, ttl: number, now: number): Promise<HoldResult> {
    return this.#inner.renew(id, ttl, now);
  }
  reset(ask: Ask, now: number): Promise<void> {
    return this.#seeded(ask, (same) => this.#inner.reset(same, now));
  }

  async #seeded<T>(ask: Ask, run: (ask: Ask) => Promise<T>): Promise<T> {
    // The ask serves the next call as soon as this returns, so a repeat needs a copy; made only where money may be asked for.
    const copy = hasMoney(ask) ? copyOf(ask) : ask;
    try {
      return await run(ask);
    } catch (error) {
      if (!(error instanceof StoreError) || error.failure !== 'unseeded' || copy === ask) throw error;
      await this.#once(error.tenant ?? '');
      return run(copy);
    }
  }

  #once(tenant: string): Promise<void> {
    let running = this.#seeding.get(tenant);
    if (running === undefined) {
      running = this.#seed(tenant).finally(() => {
        setTimeout(() => this.#seeding.delete(tenant), SEED_PAUSE).unref();
      });
      this.#seeding.set(tenant, running);
    }
    return running;
  }
}

function hasMoney(ask: Ask): boolean {
  for (let i = 0; i < ask.size; i++) if (ask.rules[i]!.options.settles === true) return true;
  return false;
}

function copyOf(ask: Ask): Ask {
  const copy = new Ask().tenant(ask.tag).patience(ask.patienceFor);
  for (let i = 0; i < ask.size; i++) {
    copy.change(ask.rules[i]!, ask.costs[i]!).extra(ask.extras[i]!);
    copy.high[i] = ask.high[i]!;
    copy.low[i] = ask.low[i]!;
  }
  return ask.holdId === undefined ? copy : copy.hold(ask.holdId, ask.holdFor, ask.holdExpiry);
}
