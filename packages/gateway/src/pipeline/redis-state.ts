/** Counters and money that gateways share through Redis, with an answer for when it is away. */
import { setTimeout as sleep } from 'node:timers/promises';
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
import { checkServer, ledgerIn, RedisLimiter, ResilientLimiter, StoreError, seed } from '@tollgate/limiter/redis';
import type { Admission } from '../admission/contract.ts';
import type { Clock } from '../core/clock.ts';
import { TollgateError } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import { connectRedis, type RedisConnection } from '../store/redis.ts';
import type { RedisOptions } from '../store/redis-options.ts';
import type { Store } from '../store/store.ts';
import type { LedgerWriter } from './ledger-writer.ts';
import { readMoney } from './rebuild.ts';

interface RedisStateDeps {
  readonly clock: Clock;
  readonly log: Log;
  readonly store: Store;
  readonly ledger: LedgerWriter;
}

/** Milliseconds between two attempts to seed the same tenant's money. */
const SEED_PAUSE = 500;
/** How long a call waits for the seeding, and how often it asks whether another gateway has done it. */
const SEED_PATIENCE = 1_500;
const SEED_POLL = 50;
/** Between looks at how the server is set up. */
const CHECK_EVERY = 60_000;
const CHECK_SOON = 2_000;
/** Begins what stands for the id of a ledger that could not be asked for it yet. */
const UNKNOWN = 'unknown';

export class RedisState {
  readonly limiter: Limiter;
  readonly #connection: RedisConnection;
  readonly #redis: RedisLimiter;
  readonly #resilient: ResilientLimiter;
  readonly #deps: RedisStateDeps;
  #failing: (failure: string) => void = () => undefined;
  #admission: (() => Admission) | undefined;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;
  #warnings: readonly string[] = [];
  #foreign: string | undefined;

  /**
   * Connects, waiting at most the connect timeout; a Redis that is away is no failure. Rejects with `config_invalid`
   * for a missing client library, and for a Redis that holds the money of another ledger.
   */
  static async open(options: RedisOptions, deps: RedisStateDeps): Promise<RedisState> {
    const connection = await connectRedis(options, deps.log);
    const state = new RedisState(options, connection, deps);
    try {
      await state.#identify().catch(() => undefined);
      if (await connection.reached) await state.#refuseForeign();
    } catch (error) {
      await state.close();
      throw error;
    }
    await state.#resilient.start();
    await state.#check();
    return state;
  }

  private constructor(options: RedisOptions, connection: RedisConnection, deps: RedisStateDeps) {
    this.#connection = connection;
    this.#deps = deps;
    this.#redis = new RedisLimiter(connection.port, {
      prefix: options.keys.prefix,
      tag: options.keys.tag,
      deadline: options.commandTimeoutMs,
      // No Redis holds the money of this one, so none is spent before the ledger has told its id.
      ledgerId: UNKNOWN,
    });
    const { clock, log } = deps;
    const local = new MemoryLimiter({ originMs: clock.wall() - clock.monotonic() });
    this.#resilient = new ResilientLimiter(this.#redis, local, {
      onChange: ({ state, words }) => {
        if (state === 'ok') log.info({ address: connection.address }, words);
        else log.error({ address: connection.address }, words);
      },
      onFailure: (failure) => {
        // What stands in for Redis turns its calendars with the wall as well, also after the machine slept.
        local.originMs = clock.wall() - clock.monotonic();
        this.#failing(failure);
      },
    });
    this.limiter = new SeededLimiter(this.#resilient, (tenant) => this.#seed(tenant));
  }

  /** Calls back for every question that Redis did not answer, with why. */
  whenFailing(listener: (failure: string) => void): void {
    this.#failing = listener;
  }

  /** From now on money that Redis does not have is read from the ledger for these limits. */
  begin(admission: () => Admission): void {
    this.#admission = admission;
  }

  /** What an operator should know, in sentences; empty when all is well. */
  problems(): string[] {
    const { state, words, queued } = this.#resilient.status();
    const unknown = this.#redis.ledgerId === UNKNOWN;
    return [
      ...(state === 'ok' ? [] : [words]),
      ...(unknown ? ['The ledger has not answered yet, so nobody knows whether its money is in this Redis.'] : []),
      ...(queued === 0 ? [] : [`${queued} ends of holds wait for Redis.`]),
      ...(this.#foreign === undefined ? [] : [this.#foreign]),
      ...this.#warnings,
    ];
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    await this.#resilient.close();
    await this.#connection.close();
  }

  async #identify(): Promise<void> {
    if (this.#redis.ledgerId === UNKNOWN) this.#redis.ledgerId = await this.#deps.store.settings.ledgerId();
  }

  async #refuseForeign(): Promise<void> {
    const mine = this.#redis.ledgerId;
    if (mine === UNKNOWN) return;
    const found = await ledgerIn(this.#redis).catch(() => 'none');
    if (['ours', 'none', 'seeding'].includes(found)) return;
    throw new TollgateError(
      'config_invalid',
      `Redis at ${this.#connection.address} holds the money of ledger ${found}; the storage of this gateway is ledger ${mine}. ` +
        'Use the storage that belongs to it, another Redis, or another name in `state.ledger`.',
    );
  }

  /** How the server is set up; asked again, since it may be another one after a failover. */
  async #check(): Promise<void> {
    let next = CHECK_EVERY;
    try {
      const found = await checkServer(this.#redis);
      const { log } = this.#deps;
      for (const warning of found) {
        if (!this.#warnings.includes(warning)) log.warn({ address: this.#connection.address }, warning);
      }
      this.#warnings = found;
      if (this.#foreign !== undefined) {
        next = CHECK_SOON;
        await this.#isOurs('').catch(() => undefined);
      }
    } catch {
      next = CHECK_SOON;
    }
    this.#checkIn(next);
  }

  #checkIn(ms: number): void {
    clearTimeout(this.#timer);
    if (!this.#closed) this.#timer = setTimeout(() => void this.#check(), ms).unref();
  }

  async #seed(tenant: string): Promise<void> {
    const { store, clock, log, ledger } = this.#deps;
    await this.#identify();
    if (await this.#isOurs(tenant)) return;
    if (this.#admission === undefined) throw new TollgateError('storage_unavailable', 'The limits are not ready yet');
    // What this gateway has not told the ledger yet would be missing in what is read from it.
    if (!(await ledger.flush(SEED_PATIENCE))) {
      throw new TollgateError('storage_unavailable', 'The ledger is behind: money cannot be read from it');
    }
    const money = await readMoney(store.ledger, this.#admission(), clock.wall());
    const counters = [...money.windows, ...money.rates];
    if (!(await seed(this.#redis, { tenant, counters, holds: money.holds }))) return this.#whenSeeded(tenant);
    const seeded = { counters: counters.reduce((sum, ask) => sum + ask.size, 0), holds: money.holds.length };
    log.warn(seeded, 'Redis had no money of this ledger; it was seeded from the ledger');
  }

  /** False: no money is there yet. Rejects with `foreign` where another ledger's is. */
  async #isOurs(tenant: string): Promise<boolean> {
    const found = await ledgerIn(this.#redis, tenant);
    if (['ours', 'none', 'seeding'].includes(found)) {
      this.#foreign = undefined;
      return found === 'ours';
    }
    const words = `Redis holds the money of ledger ${found}, not of ${this.#redis.ledgerId}`;
    this.#foreign = `${words}: calls that cost money are refused. Use the Redis of this ledger, or another name in \`state.ledger\`.`;
    // Not before it is looked at again does anybody notice that it is another one.
    this.#checkIn(CHECK_SOON);
    throw new StoreError('foreign', words, { tenant });
  }

  /** Another gateway is at it. */
  async #whenSeeded(tenant: string): Promise<void> {
    const end = performance.now() + SEED_PATIENCE;
    while ((await ledgerIn(this.#redis, tenant)) === 'seeding' && performance.now() < end) await sleep(SEED_POLL);
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
    return this.#decided(ask, now, true);
  }
  async decideAll(asks: readonly Ask[], now: number): Promise<readonly Outcome[]> {
    return Promise.all(asks.map((ask) => this.decide(ask, now)));
  }
  check(ask: Ask, now: number): Promise<Outcome> {
    return this.#decided(ask, now, false);
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
  async renew(id: string, ttl: number, now: number): Promise<HoldResult> {
    try {
      return await this.#inner.renew(id, ttl, now);
    } catch (error) {
      if (!isMoneyless(error)) throw error;
      if (await this.#arrived(error)) return this.#inner.renew(id, ttl, now);
      throw error;
    }
  }
  reset(ask: Ask, now: number): Promise<void> {
    return this.#seeded(ask, (same) => this.#inner.reset(same, now));
  }

  /** Where the money cannot be found, what costs money is refused, in the same words as when Redis is away. */
  async #decided(ask: Ask, now: number, charging: boolean): Promise<Outcome> {
    const copy = hasMoney(ask) ? copyOf(ask) : ask;
    try {
      return await this.#asked(ask, copy, (same) =>
        charging ? this.#inner.decide(same, now) : this.#inner.check(same, now),
      );
    } catch (error) {
      if (!isMoneyless(error)) throw error;
      return this.#inner.withoutStore(copyOf(copy), now, charging);
    }
  }

  #seeded<T>(ask: Ask, run: (ask: Ask) => Promise<T>): Promise<T> {
    return this.#asked(ask, hasMoney(ask) ? copyOf(ask) : ask, run);
  }

  /** The ask serves the next call as soon as this returns, so a repeat needs a copy; made only where money may be asked for. */
  async #asked<T>(ask: Ask, copy: Ask, run: (ask: Ask) => Promise<T>): Promise<T> {
    try {
      return await run(ask);
    } catch (error) {
      if (copy === ask || !isMoneyless(error) || !(await this.#arrived(error))) throw error;
      return run(copyOf(copy));
    }
  }

  /** True: this or another gateway has put the money there. False: not in the time that a call can wait. */
  async #arrived({ tenant = '' }: StoreError): Promise<boolean> {
    const end = new AbortController();
    const late = sleep(SEED_PATIENCE, false, { signal: end.signal, ref: false }).catch(() => false);
    const seeded = this.#once(tenant).then(
      () => true,
      () => false,
    );
    try {
      return await Promise.race([seeded, late]);
    } finally {
      end.abort();
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

/** `foreign` may only mean that the ledger has not told its id yet. */
function isMoneyless(error: unknown): error is StoreError {
  return error instanceof StoreError && (error.failure === 'unseeded' || error.failure === 'foreign');
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
