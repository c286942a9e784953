import type { Clock } from '../core/clock.ts';
import { TollgateError } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import { type Journal, type JournalHealth, ThreadJournal } from './journal.ts';
import { storageOver, type Work } from './methods.ts';
import type { StoreOptions } from './options.ts';
import type { SqlReport } from './sql-service.ts';
import type { Storage } from './storage.ts';
import { StoreThread } from './thread.ts';

export interface StoreDeps {
  readonly log: Log;
  readonly clock: Clock;
}

export interface StoreHealth {
  readonly sql: 'up' | 'down';
  /** Wall time of the last change of `sql`. */
  readonly since: number;
  readonly lastError?: string;
  readonly journal: JournalHealth;
}

/** Everything that must last. */
export interface Store extends Storage {
  readonly journal: Journal;
  health(): StoreHealth;
  /** Writes what was asked for, within five seconds, and ends the threads. */
  close(): Promise<void>;
}

const SQLITE_TIMEOUT = 10_000;
const PROBE_PAUSE = 500;
const CLOSE_GRACE = 5_000;

/**
 * Opens the storage and brings it to the current version. A database that is away is no failure of this: the store
 * is `down`, every method rejects with `storage_unavailable`, and it recovers by itself. A database file that cannot
 * be read at all is moved aside; the setting `ledger_lost` then names it until somebody removes the setting.
 * @throws `config_invalid` (missing driver, shared folder), `storage_incompatible` (newer version).
 */
export async function openStore(options: StoreOptions, deps: StoreDeps): Promise<Store> {
  if (options.encryptionKey !== undefined && options.encryptionKey.length !== 32) {
    throw new TollgateError(
      'config_invalid',
      `The encryption key has ${options.encryptionKey.length} bytes; it must have 32`,
    );
  }
  const store = new ThreadStore(options, deps);
  try {
    await store.open();
  } catch (error) {
    await store.close();
    throw error;
  }
  return store.face();
}

class ThreadStore {
  readonly #options: StoreOptions;
  readonly #deps: StoreDeps;
  readonly #sql: StoreThread;
  readonly #journalThread: StoreThread;
  readonly #journal: ThreadJournal;
  readonly #timeout: number;
  #state: 'up' | 'down' = 'up';
  #since: number;
  #lastError: string | undefined;
  #movedTo: string | undefined;
  #probing = false;
  #timer: NodeJS.Timeout | undefined;
  #closed: Promise<void> | undefined;

  constructor(options: StoreOptions, deps: StoreDeps) {
    this.#options = options;
    this.#deps = deps;
    this.#since = deps.clock.wall();
    this.#sql = new StoreThread('sql', options, deps.log);
    this.#journalThread = new StoreThread('journal', options, deps.log);
    this.#journal = new ThreadJournal(this.#journalThread, deps.log, deps.clock);
    // Once for what is running when the work arrives, once for the work itself.
    const { sql } = options;
    this.#timeout =
      sql.kind === 'sqlite' ? SQLITE_TIMEOUT : 2 * (sql.connectTimeoutMs + sql.statementTimeoutMs) + 1_000;
  }

  async open(): Promise<void> {
    this.#sql.start();
    this.#journalThread.start();
    try {
      this.#heed((await this.#sql.request('open', [], this.#timeout)) as SqlReport);
    } catch (error) {
      if (!isAway(error)) throw error;
      this.#down(error);
      this.#probeLater();
    }
  }

  face(): Store {
    return {
      ...storageOver((work) => this.#run(work)),
      journal: this.#journal,
      health: () => this.#health(),
      close: () => this.close(),
    };
  }

  close(): Promise<void> {
    this.#closed ??= (async () => {
      clearTimeout(this.#timer);
      this.#journal.close();
      await Promise.all([this.#journalThread.close(CLOSE_GRACE), this.#sql.close(CLOSE_GRACE)]);
    })();
    return this.#closed;
  }

  async #run(work: Work): Promise<unknown> {
    // Who waits for a server that is known to be away learns nothing; the probe finds out when it is back.
    if (this.#state === 'down' && this.#options.sql.kind === 'postgres') {
      throw new TollgateError('storage_unavailable', this.#lastError ?? 'Storage is not available', {
        retryAfterSeconds: 1,
      });
    }
    try {
      return await this.#sql.request('run', [work], this.#timeout);
    } catch (error) {
      if (isAway(error)) void this.#probe();
      throw error;
    }
  }

  #health(): StoreHealth {
    return {
      sql: this.#state,
      since: this.#since,
      ...(this.#lastError === undefined ? {} : { lastError: this.#lastError }),
      journal: this.#journal.health(),
    };
  }

  /** One statement that took too long is not an outage: whether the database is away, a small write of its own tells. */
  async #probe(): Promise<void> {
    if (this.#probing || this.#closed !== undefined) return;
    this.#probing = true;
    try {
      this.#heed((await this.#sql.request('probe', [], this.#timeout)) as SqlReport);
      this.#up();
    } catch (error) {
      if (this.#closed === undefined) {
        this.#down(error);
        this.#probeLater();
      }
    } finally {
      this.#probing = false;
    }
  }

  #heed(report: SqlReport): void {
    if (report.state === 'clean' || report.movedTo === this.#movedTo) return;
    this.#movedTo = report.movedTo;
    this.#deps.log.error({ ...report }, 'The database could not be read; it was moved aside and an empty one made');
  }

  #probeLater(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#probe(), PROBE_PAUSE).unref();
  }

  #up(): void {
    if (this.#state === 'up') return;
    this.#state = 'up';
    this.#since = this.#deps.clock.wall();
    this.#deps.log.info({}, 'The database answers again');
  }

  #down(error: unknown): void {
    this.#lastError = TollgateError.from(error).message;
    if (this.#state === 'down') return;
    this.#state = 'down';
    this.#since = this.#deps.clock.wall();
    this.#deps.log.error({ error: this.#lastError }, 'The database does not answer');
  }
}

function isAway(error: unknown): boolean {
  return TollgateError.is(error) && error.code === 'storage_unavailable';
}
