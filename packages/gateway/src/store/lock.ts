import { chmodSync, closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { Client } from 'pg';
import type { Clock } from '../core/clock.ts';
import { TollgateError } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import { receivedError, redactor, sentError } from './failure.ts';
import { ensureFolder, refuseLink } from './folder.ts';
import type { PostgresOptions, StoreOptions } from './options.ts';
import { connectionConfig, loadPg } from './postgres.ts';

/** `unsure`: the connection that holds it broke and is being made anew. `lost`: another gateway has it now; final. */
export type LockState = 'held' | 'unsure' | 'lost';

/** That this is the only gateway which keeps its state in memory on this storage. Ends with the process at the latest. */
export interface StateLock {
  state(): LockState;
  /** Called when the state changes. */
  listen(listener: (state: LockState) => void): void;
  release(): Promise<void>;
}

const WAYS_OUT =
  'Two gateways with `state: memory` on one storage would both spend its budgets. Either configure `state: redis://…` ' +
  'so that they share their state, or attach to the running one with `tollgate --stdio`, or give this one a dataDir and storage of its own';
/** How the refusal begins; a client that started a gateway knows by it that another one is starting. */
export const FOLDER_TAKEN = 'Another gateway keeps its state in';
const HEARTBEAT = 10_000;
const RETRY = 500;
/** How long a broken connection's session may live on in the server before its lock counts as somebody else's. */
const GRACE = 30_000;

/**
 * Takes the lock of the storage: of its folder, and on PostgreSQL of the database, which other machines use too.
 * @throws `storage_locked`, naming the ways out, when another gateway has it; `storage_unavailable` when nobody can tell.
 */
export async function lockState(
  options: StoreOptions,
  deps: { readonly log: Log; readonly clock: Clock },
  grace: number = GRACE,
): Promise<StateLock> {
  const folder = lockFolder(options.dataDir);
  if (options.sql.kind === 'sqlite') return folder;
  try {
    const database = new DatabaseLock(options.sql, deps, grace);
    await database.acquire();
    return {
      state: () => database.state(),
      listen: (listener) => database.listen(listener),
      release: async () => {
        await database.release();
        await folder.release();
      },
    };
  } catch (error) {
    await folder.release();
    throw error;
  }
}

/** An open database that nobody refers to would be closed by the garbage collector, and its lock with it. */
const held = new Set<DatabaseSync>();

/** A lock of the operating system on one file, held by an exclusive SQLite transaction: a dead process has none. */
function lockFolder(dataDir: string): StateLock {
  ensureFolder(dataDir);
  const file = join(dataDir, 'state.lock');
  refuseLink(file);
  try {
    closeSync(openSync(file, 'wx', 0o600));
  } catch {
    // It is there. It must not be opened here a second time: closing it would drop the lock of this process (POSIX).
  }
  const database = new DatabaseSync(file, { timeout: 0 });
  try {
    chmodSync(file, 0o600);
    database.exec('begin exclusive');
  } catch (cause) {
    database.close();
    if (((cause as { errcode?: number }).errcode ?? 0) % 256 === 5) {
      throw new TollgateError('storage_locked', `${FOLDER_TAKEN} ${dataDir}. ${WAYS_OUT}`);
    }
    throw new TollgateError(
      'storage_unavailable',
      `The lock file ${file} cannot be used: ${(cause as Error).message}`,
      { cause },
    );
  }
  held.add(database);
  return {
    state: () => 'held',
    listen: () => {},
    release: async () => {
      held.delete(database);
      if (database.isOpen) database.close();
    },
  };
}

/** An advisory lock of PostgreSQL: it belongs to a connection, so it has one of its own that does nothing else. */
class DatabaseLock implements StateLock {
  readonly #options: PostgresOptions;
  readonly #log: Log;
  readonly #clock: Clock;
  readonly #grace: number;
  readonly #listeners: ((state: LockState) => void)[] = [];
  #state: LockState = 'held';
  #client: Client | undefined;
  #timer: NodeJS.Timeout | undefined;
  #released = false;

  constructor(options: PostgresOptions, deps: { readonly log: Log; readonly clock: Clock }, grace: number) {
    this.#options = options;
    this.#log = deps.log;
    this.#clock = deps.clock;
    this.#grace = grace;
  }

  state(): LockState {
    return this.#state;
  }

  listen(listener: (state: LockState) => void): void {
    this.#listeners.push(listener);
  }

  async acquire(): Promise<void> {
    try {
      if (!(await this.#try())) {
        throw new TollgateError('storage_locked', `Another gateway keeps its state with this database. ${WAYS_OUT}`);
      }
    } catch (error) {
      throw receivedError(sentError(error, redactor(this.#options)));
    }
  }

  async release(): Promise<void> {
    this.#released = true;
    clearTimeout(this.#timer);
    await this.#client?.end().catch(() => {});
  }

  /** Connects and asks for the lock; false when another session has it. */
  async #try(): Promise<boolean> {
    const pg = await loadPg();
    const client = new pg.Client(connectionConfig(pg, { ...this.#options }));
    client.on('error', () => this.#broken(client));
    client.on('end', () => this.#broken(client));
    try {
      await client.connect();
      const { rows } = await client.query<{ held: boolean }>(
        "select pg_try_advisory_lock(hashtext('tollgate state: memory'), hashtext(current_schema())) as held",
      );
      if (rows[0]?.held !== true) {
        await client.end();
        return false;
      }
    } catch (error) {
      void client.end().catch(() => {});
      throw error;
    }
    this.#client = client;
    this.#become('held');
    this.#later(HEARTBEAT, () => this.#heartbeat(client));
    return true;
  }

  /** A connection that silently died would hold the lock in our eyes only. */
  async #heartbeat(client: Client): Promise<void> {
    try {
      await client.query('select 1');
      if (this.#client === client) this.#later(HEARTBEAT, () => this.#heartbeat(client));
    } catch {
      this.#broken(client);
      void client.end().catch(() => {});
    }
  }

  #broken(client: Client): void {
    if (this.#client !== client || this.#released) return;
    this.#client = undefined;
    this.#become('unsure');
    const until = this.#clock.monotonic() + this.#grace;
    this.#later(0, () => this.#regain(until));
  }

  /** Another holder counts only after the grace: it may be our own broken session, not yet noticed by the server. */
  async #regain(until: number): Promise<void> {
    let mine = true;
    try {
      mine = await this.#try();
      if (mine) return;
    } catch {
      // The database is away: nobody else gets the lock there either.
    }
    if (!mine && this.#clock.monotonic() >= until) this.#become('lost');
    else this.#later(RETRY, () => this.#regain(until));
  }

  #later(delay: number, action: () => Promise<void>): void {
    clearTimeout(this.#timer);
    if (!this.#released) this.#timer = setTimeout(() => void action(), delay).unref();
  }

  #become(state: LockState): void {
    if (this.#state === state || this.#released) return;
    this.#state = state;
    if (state === 'lost') this.#log.error({}, 'Another gateway took the lock of the storage');
    else if (state === 'unsure') this.#log.warn({}, 'The connection that holds the lock of the storage broke');
    else this.#log.info({}, 'The lock of the storage is held again');
    for (const listener of this.#listeners) listener(state);
  }
}
