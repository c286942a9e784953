import { renameSync } from 'node:fs';
import { isAbsolute, join } from 'node:path';
import type { Kysely } from 'kysely';
import { TollgateError } from '../core/errors.ts';
import { DecisionRetention } from './decisions.ts';
import { classify, isDamaged, mustReopen, wasRolledBack } from './failure.ts';
import { ensureFolder, refuseLink, refuseStranger } from './folder.ts';
import { kindOf, perform, type Work } from './methods.ts';
import { migrate } from './migrate.ts';
import { openSqlite } from './node-sqlite.ts';
import type { StoreOptions } from './options.ts';
import { openPostgres } from './postgres.ts';
import { repositoriesOn } from './repositories.ts';
import type { Tables } from './schema.ts';
import { settingsOn } from './settings.ts';

/** What was found where the database should be. */
export interface SqlReport {
  readonly state: 'clean' | 'corrupt';
  /** Of a corrupt database: where its file is now. */
  readonly movedTo?: string;
}

interface Job {
  readonly work: Work;
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

const GROUP = 256;
const LIST = 512;
const ATTEMPTS = 3;
const MOST_WAITING = 20_000;

/**
 * Runs the work of all callers on one database. Writes wait for each other and share transactions: a commit that is
 * synced to the disk costs the same for one and for many. On PostgreSQL reads run beside them on connections of their
 * own; SQLite has one connection, so that nobody reads what is not committed.
 */
export class SqlService {
  readonly #options: StoreOptions;
  readonly #retention: DecisionRetention;
  readonly #queue: Job[] = [];
  readonly #waitingReads: Job[] = [];
  /** Reads that run now, each on a connection of its own. */
  readonly #reading = new Set<Promise<void>>();
  #running: Promise<void> | undefined;
  #opening: Promise<Kysely<Tables>> | undefined;
  #opened = false;
  #report: SqlReport = { state: 'clean' };

  constructor(options: StoreOptions) {
    this.#options = options;
    this.#retention = new DecisionRetention(options.keep);
  }

  /** Connects and migrates, once; a failed attempt is made anew by whoever needs the database next. */
  async open(): Promise<SqlReport> {
    await this.#database();
    return this.#report;
  }

  /** A small write of its own: a disk that is full and a replica that only reads answer every read. */
  async probe(): Promise<SqlReport> {
    await this.run({ repository: 'settings', method: 'set', args: ['probe', ''] });
    return this.#report;
  }

  run(work: Work): Promise<unknown> {
    const { sql } = this.#options;
    const beside = sql.kind === 'postgres' && kindOf(work) === 'read';
    const queue = beside ? this.#waitingReads : this.#queue;
    if (queue.length >= MOST_WAITING) {
      return Promise.reject(new TollgateError('storage_unavailable', 'Too much waits for the database'));
    }
    const done = new Promise<unknown>((resolve, reject) => queue.push({ work, resolve, reject }));
    if (beside) this.#readBeside(Math.max(1, sql.poolMax - 1));
    else this.#running ??= this.#drain();
    return done;
  }

  /** Finishes what was asked for, then disconnects. */
  async close(): Promise<void> {
    await this.#running;
    while (this.#reading.size > 0) await Promise.all(this.#reading);
    const db = await this.#opening?.catch(() => undefined);
    await db?.destroy();
  }

  async #drain(): Promise<void> {
    // One turn later: all that this turn brings belongs to the first transaction.
    await new Promise((resolve) => setImmediate(resolve));
    for (let jobs = this.#next(); jobs.length > 0; jobs = this.#next()) {
      await (kindOf(jobs[0]!.work) === 'read' ? this.#readAlone(jobs[0]!) : this.#write(jobs));
      await new Promise((resolve) => setImmediate(resolve));
    }
    this.#running = undefined;
  }

  /** The first read, or the writes before it. */
  #next(): Job[] {
    const end = this.#queue.slice(0, GROUP).findIndex((job) => kindOf(job.work) === 'read');
    return this.#queue.splice(0, end === 0 ? 1 : end < 0 ? GROUP : end);
  }

  async #readAlone(job: Job): Promise<void> {
    try {
      job.resolve(await this.#attempt(false, (db) => this.#read(db, job.work)));
    } catch (error) {
      job.reject(error);
    }
  }

  /** One connection of the pool is never taken by reads, so that they cannot keep a write waiting. */
  #readBeside(most: number): void {
    while (this.#reading.size < most) {
      const job = this.#waitingReads.shift();
      if (job === undefined) return;
      const reading = this.#readAlone(job).then(() => {
        this.#reading.delete(reading);
        this.#readBeside(most);
      });
      this.#reading.add(reading);
    }
  }

  #read(db: Kysely<Tables>, work: Work): Promise<unknown> {
    return perform(repositoriesOn({ kind: this.#options.sql.kind, db }, this.#retention), work);
  }

  async #write(jobs: readonly Job[]): Promise<void> {
    const merged = mergeLists(jobs);
    try {
      const results = await this.#attempt(jobs.length > 1, (db) =>
        db.transaction().execute(async (tx) => {
          const storage = repositoriesOn({ kind: this.#options.sql.kind, db: tx }, this.#retention);
          const done: unknown[] = [];
          for (const { work } of merged) done.push(await perform(storage, work));
          return done;
        }),
      );
      for (const [i, { parts }] of merged.entries()) hand(parts, results[i]);
    } catch (error) {
      if (jobs.length > 1 && (classify(error) === 'other' || wasRolledBack(error))) {
        // One of them is at fault, and the others must not fail with it; or together they hold what another gateway's
        // transaction waits for while that holds what they wait for, in another order, which one alone never does.
        for (const job of jobs) await this.#write([job]);
        return;
      }
      for (const job of jobs) job.reject(error);
    }
  }

  /**
   * A connection that breaks during COMMIT leaves open whether the transaction happened. It is simply run again:
   * every write is idempotent by its id. `several`: pieces of work that can be done one by one where others are in the way.
   */
  async #attempt<T>(several: boolean, action: (db: Kysely<Tables>) => Promise<T>): Promise<T> {
    const until = performance.now() + this.#patience();
    for (let attempt = 1; ; attempt++) {
      try {
        return await action(await this.#database());
      } catch (error) {
        if (mustReopen(error)) await this.#reopen();
        if (several && wasRolledBack(error)) throw error;
        if (classify(error) !== 'again' || attempt >= ATTEMPTS || performance.now() >= until) throw error;
        await new Promise((resolve) => setTimeout(resolve, 10 * attempt ** 2));
      }
    }
  }

  /** Milliseconds after which a failure is not tried again. */
  #patience(): number {
    const { sql } = this.#options;
    return sql.kind === 'sqlite' ? 2_000 : Math.min(sql.connectTimeoutMs, sql.statementTimeoutMs);
  }

  #database(): Promise<Kysely<Tables>> {
    this.#opening ??= this.#openOnce().then(
      (db) => {
        this.#opened = true;
        return db;
      },
      (error: unknown) => {
        this.#opening = undefined;
        throw error;
      },
    );
    return this.#opening;
  }

  async #reopen(): Promise<void> {
    const opening = this.#opening;
    this.#opening = undefined;
    const db = await opening?.catch(() => undefined);
    await db?.destroy().catch(() => {});
  }

  async #openOnce(): Promise<Kysely<Tables>> {
    const { sql, dataDir } = this.#options;
    ensureFolder(dataDir);
    if (sql.kind === 'postgres') return migrated(await openPostgres(sql), 'postgres');
    const file = isAbsolute(sql.file) ? sql.file : join(dataDir, sql.file);
    // An absolute path was written by the operator, who may well mean a link.
    if (!isAbsolute(sql.file)) {
      // A log beside the database is replayed into it, whoever wrote it.
      for (const suffix of ['', '-wal', '-shm', '-journal']) {
        refuseLink(file + suffix);
        refuseStranger(file + suffix);
      }
    }
    try {
      return await migrated(openSqlite(file), 'sqlite');
    } catch (error) {
      // A ledger that was in use is not put aside under the feet of those who rely on it.
      if (this.#opened || !isDamaged(error)) throw error;
      const movedTo = moveAside(file);
      const db = await migrated(openSqlite(file), 'sqlite');
      this.#report = { state: 'corrupt', movedTo };
      // Kept with the new database, so that a restart does not forget that money was lost sight of.
      await settingsOn({ kind: 'sqlite', db }).set('ledger_lost', movedTo);
      return db;
    }
  }
}

async function migrated(db: Kysely<Tables>, kind: 'sqlite' | 'postgres'): Promise<Kysely<Tables>> {
  try {
    await migrate(db, kind);
    return db;
  } catch (error) {
    await db.destroy().catch(() => {});
    throw error;
  }
}

/** Renames a damaged database with its log; returns the new path. */
function moveAside(file: string): string {
  const movedTo = `${file}.corrupt-${Date.now()}`;
  renameSync(file, movedTo);
  for (const suffix of ['-wal', '-shm']) {
    try {
      renameSync(file + suffix, movedTo + suffix);
    } catch {
      // A damaged database often has none.
    }
  }
  return movedTo;
}

interface Merged {
  readonly work: Work;
  /** Of a list: all items of all parts, the same array that `work` is called with. */
  readonly list: unknown[] | undefined;
  /** Which ids the list touches. */
  readonly ids: Set<unknown>;
  /** Whose answers these are, and how many items of the list each has; undefined for work that is not a list. */
  readonly parts: { readonly job: Job; readonly length: number | undefined }[];
}

/**
 * Calls of one list method become one call, although others lie between them: what concerns different ids commutes.
 * What concerns one id keeps its order, and so does everything before and after work that is not a list.
 */
function mergeLists(jobs: readonly Job[]): Merged[] {
  const merged: Merged[] = [];
  for (const job of jobs) {
    const { work } = job;
    const list = work.args[0];
    if (kindOf(work) !== 'list' || !Array.isArray(list)) {
      merged.push({ work, list: undefined, ids: new Set(), parts: [{ job, length: undefined }] });
      continue;
    }
    const ids = new Set((list as readonly { id: unknown }[]).map((item) => item?.id));
    const host = hostOf(merged, work, list.length, ids);
    if (host === undefined) {
      const whole = [...(list as unknown[])];
      merged.push({ work: { ...work, args: [whole] }, list: whole, ids, parts: [{ job, length: list.length }] });
    } else {
      host.list!.push(...(list as unknown[]));
      for (const id of ids) host.ids.add(id);
      host.parts.push({ job, length: list.length });
    }
  }
  return merged;
}

/** The latest call of the same method that the new work may join without passing work on one of its ids. */
function hostOf(merged: readonly Merged[], work: Work, length: number, ids: ReadonlySet<unknown>): Merged | undefined {
  for (const candidate of merged.toReversed()) {
    if (candidate.list === undefined) return undefined;
    const same = candidate.work.method === work.method && candidate.work.repository === work.repository;
    if (same && candidate.list.length + length <= LIST) return candidate;
    if (candidate.work.repository === work.repository && !candidate.ids.isDisjointFrom(ids)) return undefined;
  }
  return undefined;
}

/** Gives every caller its part of the answer. */
function hand(parts: Merged['parts'], result: unknown): void {
  let from = 0;
  for (const { job, length } of parts) {
    job.resolve(length === undefined ? result : (result as unknown[]).slice(from, from + length));
    from += length ?? 0;
  }
}
