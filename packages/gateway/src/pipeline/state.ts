/**
 * What a gateway knows beyond its configuration: counters and money, tiers and stops, the ledger, the records. Opened
 * before the gateway is built, closed after it has ended.
 */
import { randomBytes } from 'node:crypto';
import type { Limiter } from '@tollgate/limiter';
import type { Admission, AdmissionDeps } from '../admission/contract.ts';
import type { AdmissionEvents, Alert } from '../admission/events.ts';
import type { CompiledConfig } from '../config/compile.ts';
import type { Clock } from '../core/clock.ts';
import { TollgateError } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import { lockState, type StateLock } from '../store/lock.ts';
import type { StoreOptions } from '../store/options.ts';
import { openStore, type Store } from '../store/store.ts';
import { decisionKey } from '../telemetry/decisions/key.ts';
import { DecisionLog } from '../telemetry/decisions/log.ts';
import { Skeletons } from '../telemetry/decisions/skeleton.ts';
import { type DecisionStore, MemoryDecisions } from '../telemetry/decisions/store.ts';
import { LimitMetrics, timed } from '../telemetry/metrics.ts';
import { Webhooks } from '../telemetry/webhooks.ts';
import type { Vault } from '../vault/vault.ts';
import { Books } from './books.ts';
import { decisionPolicy } from './decision-policy.ts';
import { KeyBook } from './key-book.ts';
import { type Drift, LedgerWatch } from './ledger-watch.ts';
import { LedgerWriter } from './ledger-writer.ts';
import { MemoryState } from './memory-state.ts';
import { MoneyRecovery } from './money-recovery.ts';
import { RedisState } from './redis-state.ts';
import { tellRenamedCallers } from './renamed-callers.ts';
import { checkKeyFile } from './same-user.ts';
import { VaultSource } from './secret-source.ts';
import { requireToolhiveRedis } from './toolhive-start.ts';
import { Trust } from './trust.ts';
import { storedVault, transientVault, VaultEvents } from './vault-state.ts';

interface StateDeps {
  readonly clock: Clock;
  readonly log: Log;
}

/** For `status`: every line is a sentence for an operator; none when all is well. */
export interface StateView {
  readonly kind: 'memory' | 'redis' | 'transient';
  readonly storage: 'up' | 'down' | 'none';
  readonly problems: readonly string[];
  /** Writes that the ledger still has to confirm. */
  readonly ledgerWaiting: number;
  /** What counters and ledger differed by at the last quiet moment; 0 when nothing runs. Undefined: not compared yet. */
  readonly drift: Drift | undefined;
  readonly alerts: number;
}

/** Setting under which gateways of one storage keep the key that seals the rounds of paid calls. */
const ROUND_KEY = 'round_key';
const CLOSE_MS = 5_000;
const ROUND_KEY_PAUSE = 2_000;

export class GatewayState {
  readonly books: Books;
  /** API keys; without storage there are none. */
  readonly keys: KeyBook;
  /** Which definitions of servers are approved. */
  readonly trust: Trust;
  readonly decisions: DecisionLog;
  /** Undefined: no storage, nothing outlives the process. */
  readonly store: Store | undefined;
  /** Seals rounds of paid calls; shared by the gateways of one storage. */
  readonly roundKey: Buffer;
  readonly webhooks: Webhooks;
  /** Secrets, sealed in the storage. */
  readonly vault: Vault;
  /** The same, as servers use it. */
  readonly secrets: VaultSource;
  readonly vaultEvents: VaultEvents;
  readonly metrics: LimitMetrics;
  /** Requests that the session guard refused; the gateway has the guard. */
  guardDenials: () => number = () => 0;
  /** Callers that the gateway turned away, by reason. */
  refusedCallers: () => Readonly<Record<string, number>> = () => ({});
  readonly #deps: StateDeps;
  readonly #memory: MemoryState | undefined;
  readonly #redis: RedisState | undefined;
  readonly #ledger: LedgerWriter | undefined;
  readonly #lock: StateLock | undefined;
  #alerts = 0;
  #watch: LedgerWatch | undefined;
  #measured: Limiter | undefined;
  #recovery: MoneyRecovery | undefined;

  /** State of a gateway that keeps nothing: the library without a data folder, tests. */
  static async transient(deps: StateDeps): Promise<GatewayState> {
    const nothing = { ...deps, storage: undefined, shared: false };
    const vaultEvents = new VaultEvents(deps.log);
    return new GatewayState(deps, {
      books: await Books.open(nothing),
      keys: await KeyBook.open(nothing),
      vault: transientVault({ ...deps, onEvent: vaultEvents.tell }),
      vaultEvents,
      trust: new Trust({ ...deps, storage: undefined, shared: false }),
      decisions: new MemoryDecisions(),
      roundKey: randomBytes(32),
      key: randomBytes(32),
    });
  }

  /**
   * Opens storage and counters. Rejects with `storage_locked` when another gateway keeps its state in memory on this
   * storage, with `storage_incompatible` for one of a newer version, with `config_invalid` for a missing driver.
   * Storage or Redis that is away is no failure: what needs it is refused, and it recovers by itself. Only limits of a
   * ToolHive file need their Redis at the start (`storage_unavailable`).
   * `resolve` puts secrets of the vault into the configuration, before anything is opened that needs one.
   */
  static async open(
    written: CompiledConfig,
    deps: StateDeps,
    resolve?: (vault: Vault) => Promise<CompiledConfig>,
  ): Promise<GatewayState> {
    let config = written;
    await requireToolhiveRedis(config);
    checkKeyFile(config, deps.log);
    const options: StoreOptions = { dataDir: config.dataDir, ...config.storage };
    const lock = config.state.kind === 'memory' ? await lockState(options, deps) : undefined;
    let store: Store | undefined;
    let vault: Vault | undefined;
    let keys: KeyBook | undefined;
    try {
      store = await openStore(options, deps);
      const vaultEvents = new VaultEvents(deps.log);
      vault = await storedVault(config.vault, store, { ...deps, onEvent: vaultEvents.tell });
      config = (await resolve?.(vault)) ?? config;
      const shared = config.state.kind === 'redis';
      const books = await Books.open({ ...deps, storage: store, shared });
      keys = await KeyBook.open({ ...deps, storage: store, shared });
      void tellRenamedCallers({
        store,
        books,
        keys,
        identity: config.identity,
        wall: deps.clock.wall(),
        log: deps.log,
      });
      const ledger = new LedgerWriter(store.ledger, { ...deps, journaled: !shared });
      const parts = {
        books,
        keys,
        trust: await Trust.open({ ...deps, storage: store, shared }),
        decisions: store.decisions,
        store,
        vault,
        vaultEvents,
        lock,
        ledger,
        roundKey: await roundKey(store, shared),
        key: await decisionKey(config.dataDir),
      };
      if (config.state.kind === 'redis') {
        const redis = await RedisState.open(config.state, { ...deps, store, ledger });
        return new GatewayState(deps, { ...parts, redis }).#for(config);
      }
      const memory = await MemoryState.open({ ...deps, journal: store.journal, ledger });
      return new GatewayState(deps, { ...parts, memory }).#for(config);
    } catch (error) {
      await vault?.close();
      await keys?.close();
      await store?.close();
      await lock?.release();
      throw error;
    }
  }

  private constructor(
    deps: StateDeps,
    parts: {
      readonly books: Books;
      readonly keys: KeyBook;
      readonly trust: Trust;
      readonly decisions: DecisionStore;
      readonly roundKey: Buffer;
      readonly key: Buffer;
      readonly vault: Vault;
      readonly vaultEvents: VaultEvents;
      readonly store?: Store;
      readonly lock?: StateLock | undefined;
      readonly ledger?: LedgerWriter;
      readonly memory?: MemoryState;
      readonly redis?: RedisState;
    },
  ) {
    this.#deps = deps;
    this.books = parts.books;
    this.keys = parts.keys;
    this.trust = parts.trust;
    this.store = parts.store;
    this.roundKey = parts.roundKey;
    this.webhooks = new Webhooks(deps.log);
    this.vault = parts.vault;
    this.vaultEvents = parts.vaultEvents;
    this.secrets = new VaultSource(parts.vault, parts.vaultEvents);
    this.vaultEvents.alert = (kind, at, data) => this.webhooks.tell(kind, at, data);
    this.vaultEvents.record = (by, action, details) => this.books.record(by, action, details);
    this.metrics = new LimitMetrics({
      guardDenials: () => this.guardDenials(),
      refusedCallers: () => this.refusedCallers(),
      unrecordedRefusals: () => this.decisions.view.unrecorded,
      ledgerWaiting: () => this.#ledger?.waiting ?? 0,
      ledgerDrift: () => this.#watch?.drift?.amount,
      blockedDefinitions: () => this.trust.blocked,
    });
    this.trust.onNotice = (notice) => {
      this.metrics.noticed(notice);
      this.webhooks.tell(notice.state === 'new' ? 'definition_new' : 'definition_changed', notice.at, notice);
    };
    this.decisions = new DecisionLog({
      store: parts.decisions,
      skeletons: new Skeletons(parts.key),
      policy: decisionPolicy(undefined),
      log: deps.log,
    });
    this.#memory = parts.memory;
    this.#redis = parts.redis;
    this.#ledger = parts.ledger;
    this.#lock = parts.lock;
    if (this.#redis !== undefined && this.store !== undefined) void this.vaultEvents.follow(this.store);
    this.#redis?.whenFailing((failure) => this.metrics.storeFailed(failure));
  }

  /** Where money is booked; undefined: no ledger is kept. */
  get ledger(): LedgerWriter | undefined {
    return this.#ledger;
  }

  /** True: other gateways change the same storage. */
  get shared(): boolean {
    return this.#redis !== undefined;
  }

  get limiter(): Limiter | undefined {
    return this.#memory?.limiter ?? this.#redis?.limiter;
  }

  /** What admission is built with. */
  admission(): Omit<AdmissionDeps, 'previous'> {
    const { clock, log } = this.#deps;
    return {
      clock,
      log,
      limiter: this.#timed(),
      tiers: this.books.tiers,
      grants: this.books.grants,
      stops: this.books.stops,
      events: this.#events(),
      whenWritten: () => this.#whenWritten(),
    };
  }

  /**
   * A configuration is in force: records name it, and money that the counters lost is read from the ledger.
   * `admission`: that of the configuration in force, also after a reload.
   */
  async begin(config: CompiledConfig, admission: () => Admission): Promise<void> {
    this.adopt(config);
    if (this.store === undefined || this.#ledger === undefined || this.limiter === undefined) return;
    this.#redis?.begin(admission);
    const common = { ...this.#deps, writer: this.#ledger, admission };
    this.#watch = new LedgerWatch({ ...common, ledger: this.store.ledger, limiter: this.limiter });
    this.#watch.start();
    this.#recovery = new MoneyRecovery({ ...common, store: this.store, memory: this.#memory });
    await this.#recovery.start();
  }

  /** See `MoneyRecovery.acceptLoss`. Rejects with `storage_unavailable`. False: nothing was lost. */
  async acceptLoss(by: string, reason: string): Promise<boolean> {
    return (
      (await this.#recovery?.acceptLoss((lost) => this.books.record(by, 'accept_loss', { lost, reason }))) ?? false
    );
  }

  #for(config: CompiledConfig): this {
    this.adopt(config);
    return this;
  }

  adopt(config: CompiledConfig): void {
    this.metrics.configure(config.toolhive);
    this.decisions.policy = decisionPolicy(config);
    this.webhooks.configure(config.webhooks);
  }

  /** Something was decided or finished: it goes into the journal with this turn. */
  readonly touch = (): void => this.#memory?.touch();

  view(): StateView {
    const health = this.store?.health();
    const problems: string[] = [];
    if (health?.sql === 'down') {
      problems.push(
        `Storage is away since ${instant(health.since)}: ${health.lastError ?? 'no answer'}. Nothing that costs money is admitted once its ledger is behind.`,
      );
    }
    const behind = this.#ledger?.failure;
    if (behind !== undefined && health?.sql !== 'down') {
      problems.push(
        `The ledger cannot be written since ${instant(behind.since)}: ${behind.error}. What happened to money waits, and is tried again.`,
      );
    }
    if (health?.journal.state === 'failing') {
      problems.push(
        `The journal cannot be written since ${instant(health.journal.since)}: ${health.journal.lastError ?? 'unknown'}. Calls that hold money are refused; counters would be lost with the process.`,
      );
    }
    if (this.#lock?.state() === 'lost')
      problems.push('Another gateway has taken the lock of this storage: this one refuses money. Stop one of the two.');
    if (this.#lock?.state() === 'unsure')
      problems.push('The connection that holds the lock of this storage broke and is being made anew.');
    if (this.books.stale) problems.push('Stops cannot be read from storage: calls that cost money are refused.');
    problems.push(...(this.#recovery?.problems() ?? []));
    problems.push(...(this.#redis?.problems() ?? []));
    return {
      kind: this.#redis !== undefined ? 'redis' : this.#memory !== undefined ? 'memory' : 'transient',
      storage: health?.sql ?? 'none',
      problems,
      ledgerWaiting: this.#ledger?.waiting ?? 0,
      drift: this.#watch?.drift,
      alerts: this.#alerts,
    };
  }

  /** Writes what is left, within a few seconds each, and lets go of everything. */
  async close(): Promise<void> {
    this.#watch?.close();
    this.#recovery?.close();
    await this.#memory?.close();
    await this.#ledger?.close(CLOSE_MS);
    await this.decisions.close();
    this.books.close();
    await this.keys.close();
    this.trust.close();
    this.vaultEvents.close();
    this.webhooks.close();
    await this.#redis?.close();
    await this.vault.close();
    await this.store?.close();
    await this.#lock?.release();
  }

  /** The duration of a check is a metric of ToolHive; others do not pay for two reads of the clock. */
  #timed(): Limiter | undefined {
    const { limiter, metrics } = this;
    if (limiter === undefined || !metrics.timesChecks) return limiter;
    this.#measured ??= timed(limiter, (seconds) => metrics.checked(seconds));
    return this.#measured;
  }

  #events(): AdmissionEvents {
    const { decisions, metrics } = this;
    const ledger = this.#ledger;
    return {
      ...(ledger === undefined
        ? {}
        : {
            opened: (hold) => ledger.opened(hold),
            settled: (hold) => ledger.settled(hold),
            released: (hold) => ledger.released(hold),
            renewed: (hold) => ledger.renewed(hold),
            expired: (id) => ledger.expired(id),
          }),
      crossed: (alert) => this.#alert(alert),
      stopped: (stop) => {
        this.#alerts++;
        this.webhooks.tell('stopped', stop.at, stop);
        this.books.latched(stop);
      },
      admitted: (record) => {
        metrics.admitted(record);
        decisions.admitted(record);
      },
      refused: (record) => {
        metrics.refused(record);
        decisions.refused(record);
      },
    };
  }

  /** Admission has logged it. */
  #alert(alert: Alert): void {
    this.#alerts++;
    this.webhooks.tell(alert.kind, alert.at, alert);
  }

  /** Rejects when what a call would spend cannot be recorded, or a stop may have been missed. */
  #whenWritten(): Promise<void> | undefined {
    if (this.#ledger?.full === true) return Promise.reject(away('The ledger is too far behind'));
    const unknown = this.#recovery?.unknown;
    if (unknown !== undefined) return Promise.reject(away(unknown));
    if (this.books.stale) return Promise.reject(away('Stops cannot be read'));
    if (this.#lock?.state() === 'lost') return Promise.reject(away('Another gateway has the lock of this storage'));
    // A journal keeps what the ledger is told. Without one the ledger itself must have the hold before a server may
    // spend it: another Redis would be seeded from the ledger alone.
    return this.#memory === undefined ? this.#ledger?.whenWritten() : this.#memory.whenWritten();
  }
}

function away(why: string): TollgateError {
  return new TollgateError('storage_unavailable', why, { retryAfterSeconds: 5 });
}

function instant(at: number): string {
  return new Date(at).toISOString();
}

/** With a storage that is away the key is this process's own until it answers: rounds then only continue here. */
async function roundKey(store: Store, shared: boolean): Promise<Buffer> {
  const key = randomBytes(32);
  const own = key.toString('hex');
  const ask = async (): Promise<void> => {
    Buffer.from(await store.settings.once(ROUND_KEY, own), 'hex').copy(key);
  };
  const later = (error: unknown): void => {
    if (!TollgateError.is(error) || error.code !== 'storage_unavailable') return;
    setTimeout(() => void ask().catch(later), ROUND_KEY_PAUSE).unref();
  };
  if (shared) await ask().catch(later);
  return key;
}
