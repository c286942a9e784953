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
const FIRST_RETRY = 100;
const LAST_RETRY = 5_000;

interface Batch {
  readonly opened: OpenedHold[];
  readonly renewed: RenewedHold[];
  readonly expired: EntryExpiry[];
  readonly settled: SettledHold[];
  readonly released: ReleasedHold[];
}

/** In the order of a hold's life. */
const KINDS = ['opened', 'renewed', 'expired', 'settled', 'released'] as const;
const NOTHING: Batch = { opened: [], renewed: [], expired: [], settled: [], released: [] };

export class LedgerWriter implements AdmissionEvents {
  readonly #ledger: Ledger;
  readonly #clock: Clock;
  readonly #log: Log;
  #batches: Batch[] = [];
  #waiting = 0;
  #running: Promise<void> | undefined;
  #closed = false;
  #failing = false;

  constructor(ledger: Ledger, deps: { readonly clock: Clock; readonly log: Log }) {
    this.#ledger = ledger;
    this.#clock = deps.clock;
    this.#log = deps.log;
  }

  /** Writes that the database has not confirmed yet. */
  get waiting(): number {
    return this.#waiting;
  }

  /** True: the database is so far behind that no more money may be held. */
  get full(): boolean {
    return this.#waiting >= MAX_WAITING;
  }

  opened(hold: OpenedHold): void {
    this.#last().opened.push(hold);
    this.#added();
  }

  renewed(hold: RenewedHold): void {
    this.#last().renewed.push(hold);
    this.#added();
  }

  expired(id: string): void {
    this.#last().expired.push({ id, at: Math.floor(this.#clock.wall()) });
    this.#added();
  }

  settled(hold: SettledHold): void {
    this.#last().settled.push(hold);
    this.#added();
  }

  released(hold: ReleasedHold): void {
    this.#last().released.push(hold);
    this.#added();
  }

  /** Resolves when everything told so far is written, or after so many milliseconds. True: it is. */
  async flush(ms: number): Promise<boolean> {
    const end = new AbortController();
    try {
      await Promise.race([this.#running, sleep(ms, undefined, { signal: end.signal })]);
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

  #last(): Batch {
    const last = this.#batches.at(-1);
    if (last !== undefined && sizeOf(last) < BATCH) return last;
    const next: Batch = { opened: [], renewed: [], expired: [], settled: [], released: [] };
    this.#batches.push(next);
    return next;
  }

  #added(): void {
    this.#waiting++;
    // The rest of this turn still joins the batch.
    this.#running ??= new Promise<void>((resolve) => setImmediate(resolve)).then(() => this.#run());
  }

  async #run(): Promise<void> {
    for (let batch = this.#batches.shift(); batch !== undefined && !this.#closed; batch = this.#batches.shift()) {
      await this.#insist(batch);
      this.#waiting -= sizeOf(batch);
    }
    this.#running = undefined;
  }

  async #insist(batch: Batch): Promise<void> {
    let retry = FIRST_RETRY;
    while (!this.#closed) {
      try {
        await this.#write(batch);
        if (this.#failing) this.#log.info({ waiting: this.#waiting }, 'the ledger is written again');
        this.#failing = false;
        return;
      } catch (thrown) {
        const error = TollgateError.from(thrown);
        if (error.code !== 'storage_unavailable') {
          await this.#singly(batch, error);
          return;
        }
        if (!this.#failing) this.#log.error({ err: error }, 'the ledger cannot be written; trying on');
        this.#failing = true;
        await sleep(retry);
        retry = Math.min(retry * 2, LAST_RETRY);
      }
    }
  }

  /** One write that the ledger will never take must not hold up the others; the log keeps what it said. */
  async #singly(batch: Batch, error: TollgateError): Promise<void> {
    if (sizeOf(batch) === 1) {
      this.#log.error({ err: error.cause ?? error, write: batch }, 'the ledger refused a write');
      return;
    }
    for (const kind of KINDS) {
      for (const write of batch[kind]) await this.#insist({ ...NOTHING, [kind]: [write] });
    }
  }

  /**
   * One hold may be opened, renewed and settled in one batch: kinds are written in the order of a hold's life. Whether
   * a settlement comes before or after an expiry makes no difference to the ledger.
   */
  async #write({ opened, renewed, expired, settled, released }: Batch): Promise<void> {
    if (opened.length > 0) await this.#ledger.open(opened);
    if (renewed.length > 0) await this.#ledger.renew(renewed);
    if (expired.length > 0) await this.#ledger.expire(expired);
    if (settled.length > 0) await this.#ledger.settle(settled);
    if (released.length > 0) await this.#ledger.release(released);
  }
}

function sizeOf(batch: Batch): number {
  let size = 0;
  for (const kind of KINDS) size += batch[kind].length;
  return size;
}
