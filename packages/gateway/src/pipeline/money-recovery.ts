/** Money at the start: read back from the ledger where its counters were lost, and stopped where nobody knows it. */
import type { Admission } from '../admission/contract.ts';
import type { Clock } from '../core/clock.ts';
import { TollgateError } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import type { Store } from '../store/store.ts';
import type { LedgerWriter } from './ledger-writer.ts';
import type { MemoryState } from './memory-state.ts';
import { compareMoney, readMoney, restoreMoney } from './rebuild.ts';

/** Setting that names a database which could not be read, until an admin has accepted the loss. */
const LEDGER_LOST = 'ledger_lost';
const PAUSE = 1_000;
/** Milliseconds that the start waits for writes of an earlier process before it compares. */
const CATCH_UP = 2_000;

interface MoneyRecoveryDeps {
  readonly store: Store;
  readonly writer: LedgerWriter;
  /** Undefined: the counters are in Redis, which is seeded when it is asked. */
  readonly memory: MemoryState | undefined;
  readonly admission: () => Admission;
  readonly clock: Clock;
  readonly log: Log;
}

export class MoneyRecovery {
  readonly #deps: MoneyRecoveryDeps;
  #unknown: string | undefined;
  /** A database that could not be read is named here; what it knew is missing in the ledger. */
  #ledgerLost: string | undefined;
  #running: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(deps: MoneyRecoveryDeps) {
    this.#deps = deps;
  }

  /** Why nobody knows what is spent, so that nothing may be; undefined: it is known. */
  get unknown(): string | undefined {
    return this.#unknown;
  }

  /** For an operator, in sentences; empty when all is well. */
  problems(): string[] {
    const problems: string[] = [];
    if (this.#unknown !== undefined) problems.push(this.#unknown);
    const damaged = this.#deps.memory?.damaged;
    if (damaged !== undefined) {
      const where = damaged.movedTo === undefined ? '' : ` and moved to ${damaged.movedTo}`;
      const money = this.#unknown === undefined ? ', budgets were read back from the ledger' : '';
      problems.push(`The state of the limits was damaged${where}: rates began empty at the start${money}.`);
    }
    if (this.#ledgerLost !== undefined) {
      problems.push(
        `The ledger could not be read and was moved to ${this.#ledgerLost}: what was spent before is only in the counters. ` +
          'Put it back, or accept the loss with `tollgate budget reset --lost --reason "…"`.',
      );
    }
    return problems;
  }

  /** Before the first call. What cannot be done now is tried until it can. */
  start(): Promise<void> {
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  /**
   * Spends money again after the ledger was lost, from what is known: the budgets of what nobody knows begin anew.
   * `record` keeps who did it. Rejects with `storage_unavailable`. False: nothing was lost.
   */
  async acceptLoss(record: (lost: string) => Promise<void>): Promise<boolean> {
    const { settings } = this.#deps.store;
    const lost = await settings.get(LEDGER_LOST);
    if (lost === undefined) return false;
    await record(lost);
    await settings.remove(LEDGER_LOST);
    await this.#running;
    await this.start();
    return true;
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  async #run(): Promise<void> {
    const { store, memory, log } = this.#deps;
    const lost = memory?.lost === true;
    try {
      if (lost) this.#unknown ??= 'Budgets are being read back from the ledger: calls that cost money wait for it.';
      this.#ledgerLost = await store.settings.get(LEDGER_LOST);
      if (memory === undefined) return;
      if (lost && this.#ledgerLost !== undefined) {
        const because =
          'The counters and the ledger were lost together, so nobody knows what was spent: calls that cost money are ' +
          'refused until an admin runs `tollgate budget reset --lost --reason "…"`.';
        this.#stop(because, { movedTo: this.#ledgerLost });
        return;
      }
      await (lost ? this.#rebuild(memory) : this.#raise(memory));
      this.#unknown = undefined;
    } catch (error) {
      if (lost) {
        this.#stop('Budgets were lost and the ledger cannot be read: calls that cost money are refused until it can.', {
          err: error,
        });
      } else if (!TollgateError.is(error) || error.code !== 'storage_unavailable') {
        log.error({ err: error }, 'counters and ledger could not be compared');
      }
      if (!this.#closed) this.#timer = setTimeout(() => void this.start(), PAUSE).unref();
    }
  }

  /** Money whose counters were lost is what the ledger says. */
  async #rebuild(memory: MemoryState): Promise<void> {
    const { store, admission, clock, log } = this.#deps;
    await this.#written();
    const money = await readMoney(store.ledger, admission(), clock.wall());
    restoreMoney(memory.limiter, money, Math.floor(clock.monotonic() * 1000));
    await memory.rebuilt();
    const counters = [...money.windows, ...money.rates].reduce((sum, ask) => sum + ask.size, 0);
    if (counters + money.holds.length > 0) {
      log.warn({ counters, holds: money.holds.length }, 'budgets were read back from the ledger');
    }
  }

  /** Counters that were not lost have at least what the ledger says: a file that somebody cut shows nothing missing. */
  async #raise(memory: MemoryState): Promise<void> {
    const { store, writer, admission, clock, log } = this.#deps;
    await this.#written();
    const { told } = writer;
    const times = { wall: clock.wall(), now: Math.floor(clock.monotonic() * 1000) };
    const { missing } = await compareMoney(store.ledger, admission(), memory.limiter, times);
    if (missing.length === 0) return;
    // What was given back between the two readings is missing nowhere.
    if (writer.told !== told) throw behind();
    for (const ask of missing) memory.limiter.adjust(ask, times.now);
    memory.touch();
    log.warn({}, 'the ledger knew of more than the counters; they were raised to it');
  }

  async #written(): Promise<void> {
    if (!(await this.#deps.writer.flush(CATCH_UP))) throw behind();
  }

  #stop(because: string, fields: object): void {
    if (this.#unknown !== because) this.#deps.log.error(fields, because);
    this.#unknown = because;
  }
}

function behind(): TollgateError {
  return new TollgateError('storage_unavailable', 'The ledger is behind', { retryAfterSeconds: 1 });
}
