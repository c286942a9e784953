/**
 * Writes what happens to money into the ledger, behind the calls: in the order of each hold, in batches, again and
 * again while the database is away. Every write is idempotent by id, so one whose outcome is unknown is repeated.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { AdmissionEvents, OpenedHold, ReleasedHold, RenewedHold, SettledHold } from '../admission/events.ts';
import type { Clock } from '../core/clock.ts';
import { TollgateError } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import type { EntryExpiry, Ledger } from '../store/storage.ts';

/** Writes waiting for a database that is away; with so many, calls that hold money are refused until it is back. */
const MAX_WAITING = 100_000;
/** Writes of one transaction. */
const BATCH = 500;
/** Batches in which the hold of a call that was refused at once is looked for: many can be refused in one turn. */
const REFUSED_BATCHES = 4;
const FIRST_RETRY = 100;
const LAST_RETRY = 5_000;
/** Milliseconds that a call may wait for its hold to be written. */
const PATIENCE = 2_000;

/** Writes to the ledger, by kind. */
export interface LedgerWrites {
  readonly opened: OpenedHold[];
  readonly renewed: RenewedHold[];
  readonly expired: EntryExpiry[];
  readonly settled: SettledHold[];
  readonly released: ReleasedHold[];
}

interface Batch extends LedgerWrites {
  /** Made when somebody waits for it. */
  done: PromiseWithResolvers<void> | undefined;
}

/** In the order of a hold's life. */
const KINDS = ['opened', 'renewed', 'expired', 'settled', 'released'] as const;

export class LedgerWriter implements AdmissionEvents {
  readonly #ledger: Ledger;
  readonly #clock: Clock;
  readonly #log: Log;
  /** The first is being written, while one is. */
  #batches: Batch[] = [];
  #writing = false;
  #waiting = 0;
  #told = 0;
  #running: Promise<void> | undefined;
  #closed = false;
  #failure: { readonly since: number; readonly error: string } | undefined;
  /** Told since they were last taken for a journal; undefined: no journal is kept. */
  #fresh: LedgerWrites | undefined;

  /** `journaled`: a journal keeps what the database has not confirmed yet, and takes it with `takeFresh`. */
  constructor(ledger: Ledger, deps: { readonly clock: Clock; readonly log: Log; readonly journaled?: boolean }) {
    this.#ledger = ledger;
    this.#clock = deps.clock;
    this.#log = deps.log;
    if (deps.journaled === true) this.#fresh = nothing();
  }

  /** Writes that the database has not confirmed yet. */
  get waiting(): number {
    return this.#waiting;
  }

  /** Number of writes told so far: whoever compares sees by it whether something happened meanwhile. */
  get told(): number {
    return this.#told;
  }

  /**
   * Why it cannot be written, and since when; undefined: it can. Storage that answers a small write may still have no room for
   * a batch.
   */
  get failure(): { readonly since: number; readonly error: string } | undefined {
    return this.#failure;
  }

  /** True: the database is so far behind that no more money may be held. */
  get full(): boolean {
    return this.#waiting >= MAX_WAITING;
  }

  opened(hold: OpenedHold): void {
    this.#last().opened.push(hold);
    this.#fresh?.opened.push(hold);
    this.#added();
  }

  renewed(hold: RenewedHold): void {
    this.#last().renewed.push(hold);
    this.#fresh?.renewed.push(hold);
    this.#added();
  }

  expired(id: string): void {
    const expiry = { id, at: Math.floor(this.#clock.wall()) };
    this.#last().expired.push(expiry);
    this.#fresh?.expired.push(expiry);
    this.#added();
  }

  settled(hold: SettledHold): void {
    this.#last().settled.push(hold);
    this.#fresh?.settled.push(hold);
    this.#added();
  }

  released(hold: ReleasedHold): void {
    this.#fresh?.released.push(hold);
    if (this.#forgotten(hold.id)) return;
    this.#last().released.push(hold);
    this.#added();
  }

  /** What was told since the last time, for a journal; undefined: nothing. */
  takeFresh(): LedgerWrites | undefined {
    const fresh = this.#fresh;
    if (fresh === undefined || sizeOf(fresh) === 0) return undefined;
    this.#fresh = nothing();
    return fresh;
  }

  /** What the database has not confirmed, in the order it was told. */
  pending(): readonly LedgerWrites[] {
    return [...this.#batches];
  }

  /** Takes up what an earlier process had told; most of it may be in the database already. */
  replay(writes: readonly LedgerWrites[]): void {
    for (const write of writes) {
      for (const kind of KINDS) {
        for (const one of write[kind]) {
          (this.#last()[kind] as (typeof one)[]).push(one);
          this.#added();
        }
      }
      // A batch is written kind by kind: what was told later must not come before what was told earlier.
      if (sizeOf(write) > 0) this.#batches.push(emptyBatch());
    }
  }

  /**
   * Resolves when everything told so far is written; undefined: it is. Rejects with `storage_unavailable` at once
   * while the database is away, and after two seconds.
   */
  whenWritten(): Promise<void> | undefined {
    const last = this.#batches.at(-1);
    if (last === undefined) return undefined;
    if (this.#failing) return Promise.reject(away());
    if (last.done === undefined) {
      last.done = Promise.withResolvers();
      const { promise, reject } = last.done;
      promise.catch(() => {});
      const timer = setTimeout(() => reject(away()), PATIENCE);
      const end = (): void => clearTimeout(timer);
      promise.then(end, end);
    }
    return last.done.promise;
  }

  /** Resolves when everything told so far is written, or after so many milliseconds. True: nothing waits. */
  async flush(ms: number): Promise<boolean> {
    const end = new AbortController();
    const late = sleep(ms, true, { signal: end.signal }).catch(() => true);
    try {
      while (this.#waiting > 0 && !this.#closed) {
        if ((await Promise.race([this.#running, late])) === true) break;
      }
    } finally {
      end.abort();
    }
    return this.#waiting === 0;
  }

  /** Writes what it can within so many milliseconds and stops trying. What is left then is still in the journal. */
  async close(ms: number): Promise<void> {
    await this.flush(ms);
    this.#closed = true;
    if (this.#waiting > 0) this.#log.error({ writes: this.#waiting }, 'the ledger was left behind at the end');
  }

  get #failing(): boolean {
    return this.#failure !== undefined;
  }

  #last(): Batch {
    const last = this.#batches.at(-1);
    const open = last !== undefined && !(this.#writing && this.#batches.length === 1);
    if (open && sizeOf(last) < BATCH) return last;
    const next = emptyBatch();
    this.#batches.push(next);
    return next;
  }

  #added(): void {
    this.#waiting++;
    this.#told++;
    // The rest of this turn still joins the batch.
    this.#running ??= new Promise<void>((resolve) => setImmediate(resolve)).then(() => this.#run());
  }

  /**
   * A call that was refused because its hold could not be written needs neither write: while the database is away, or
   * too far behind, such calls would fill the memory.
   */
  #forgotten(id: string): boolean {
    if (!this.#failing && !this.full) return false;
    const unwritten = Math.max(this.#writing ? 1 : 0, this.#batches.length - REFUSED_BATCHES);
    for (let i = this.#batches.length - 1; i >= unwritten; i--) {
      const { opened, renewed } = this.#batches[i]!;
      if (renewed.some((hold) => hold.id === id)) return false;
      const at = opened.findLastIndex((hold) => hold.id === id);
      if (at < 0) continue;
      opened.splice(at, 1);
      this.#waiting--;
      return true;
    }
    return false;
  }

  async #run(): Promise<void> {
    while (this.#batches.length > 0 && !this.#closed) {
      const batch = this.#batches[0]!;
      this.#writing = true;
      await this.#insist(batch);
      this.#writing = false;
      if (this.#closed && this.#failing) break;
      this.#batches.shift();
      this.#waiting -= sizeOf(batch);
      batch.done?.resolve();
    }
    this.#running = undefined;
  }

  async #insist(batch: LedgerWrites): Promise<void> {
    let retry = FIRST_RETRY;
    while (!this.#closed) {
      try {
        await this.#write(batch);
        if (this.#failing) this.#log.info({ waiting: this.#waiting }, 'the ledger is written again');
        this.#failure = undefined;
        return;
      } catch (thrown) {
        const error = TollgateError.from(thrown);
        if (error.code !== 'storage_unavailable') {
          await this.#singly(batch, error);
          return;
        }
        if (!this.#failing) this.#log.error({ err: error }, 'the ledger cannot be written; trying on');
        this.#failure ??= { since: this.#clock.wall(), error: error.message };
        for (const waited of this.#batches) {
          waited.done?.reject(error);
          waited.done = undefined;
        }
        await sleep(retry, undefined, { ref: false });
        retry = Math.min(retry * 2, LAST_RETRY);
      }
    }
  }

  /** One write that the ledger will never take must not hold up the others; the log keeps what it said. */
  async #singly(batch: LedgerWrites, error: TollgateError): Promise<void> {
    if (sizeOf(batch) === 1) {
      this.#log.error({ err: error.cause ?? error, write: batch }, 'the ledger refused a write');
      return;
    }
    for (const kind of KINDS) {
      for (const write of batch[kind]) await this.#insist({ ...nothing(), [kind]: [write] });
    }
  }

  /**
   * One hold may be opened, renewed and settled in one batch: kinds are written in the order of a hold's life. Whether
   * a settlement comes before or after an expiry makes no difference to the ledger.
   */
  async #write({ opened, renewed, expired, settled, released }: LedgerWrites): Promise<void> {
    if (opened.length > 0) await this.#ledger.open(opened);
    if (renewed.length > 0) await this.#ledger.renew(renewed);
    if (expired.length > 0) await this.#ledger.expire(expired);
    if (settled.length > 0) await this.#ledger.settle(settled);
    if (released.length > 0) await this.#ledger.release(released);
  }
}

/** Number of writes. */
export function sizeOf(batch: LedgerWrites): number {
  let size = 0;
  for (const kind of KINDS) size += batch[kind].length;
  return size;
}

function nothing(): LedgerWrites {
  return { opened: [], renewed: [], expired: [], settled: [], released: [] };
}

function emptyBatch(): Batch {
  return { ...nothing(), done: undefined };
}

function away(): TollgateError {
  return new TollgateError('storage_unavailable', 'The ledger cannot be written', { retryAfterSeconds: 5 });
}
