import type { Clock } from '../core/clock.ts';
import { TollgateError } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import type { RecoveryReport } from './journal-recovery.ts';
import type { StoreThread } from './thread.ts';

/** `os`: written, survives the end of the process. `disk`: synced, survives a power loss. */
export type Durability = 'os' | 'disk';

export interface Recovery {
  readonly report: RecoveryReport;
  /** The parts of the newest snapshot, as they were given. */
  readonly snapshot: Iterable<Uint8Array>;
  /** The records appended after it, in order. */
  readonly records: Iterable<Uint8Array>;
}

export interface JournalHealth {
  readonly state: 'up' | 'failing';
  /** Wall time of the last change. */
  readonly since: number;
  readonly lastError?: string;
}

/** The write-ahead record of state that lives in memory. What the records say is its owner's business. */
export interface Journal {
  /**
   * Copies `bytes` and resolves when they are as durable as asked. Everything appended in one turn of the event loop is
   * one write. Rejects with `storage_unavailable` when the disk does not take it; ignoring that is safe.
   */
  append(bytes: Uint8Array, durability: Durability): Promise<void>;
  /**
   * Replaces what was appended before this call by `chunks`; what is appended after the call is recovered on top of
   * them. Chunks that are made later than the call must still show the state of the moment of the call.
   */
  snapshot(chunks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>): Promise<void>;
  /** What an earlier process left. Never rejects for damaged content: see the report. Call it once, before `append`. */
  recover(): Promise<Recovery>;
  /** Bytes appended since the last snapshot: when they outgrow the state, take the next one. */
  size(): number;
  /** `failing` until a write succeeds. What was rejected meanwhile is not in the journal: take a snapshot after it. */
  health(): JournalHealth;
}

const TIMEOUT = 5_000;
const SNAPSHOT_TIMEOUT = 60_000;
const FIRST_BUFFER = 64 * 1024;
const KEPT_BUFFERS = 4;
/** Bytes that may wait for the disk; beyond that it does not keep up, and memory must not pay for it. */
const MOST_WAITING = 64 * 1024 * 1024;
const PREFIX = 4;

interface Batch {
  bytes: Uint8Array;
  used: number;
  records: number;
  written: PromiseWithResolvers<void> | undefined;
  synced: PromiseWithResolvers<void> | undefined;
}

/** Who carries out what the journal asks for: the thread, or in its place the same service without one. */
export type JournalThread = Pick<StoreThread, 'request'>;

/** The main thread's half: collects a turn's records in one buffer and hands it over; no allocation for each record. */
export class ThreadJournal implements Journal {
  readonly #thread: JournalThread;
  readonly #log: Log;
  readonly #clock: Clock;
  readonly #spare: ArrayBuffer[] = [];
  #batch: Batch | undefined;
  #waiting = 0;
  #size = 0;
  #health: JournalHealth;
  #snapshotting = false;
  #closed = false;

  constructor(thread: JournalThread, log: Log, clock: Clock) {
    this.#thread = thread;
    this.#log = log;
    this.#clock = clock;
    this.#health = { state: 'up', since: clock.wall() };
  }

  append(bytes: Uint8Array, durability: Durability): Promise<void> {
    if (this.#closed) return Promise.reject(new TollgateError('shutting_down', 'The journal is closed'));
    if (this.#waiting > MOST_WAITING) {
      return Promise.reject(new TollgateError('storage_unavailable', 'The disk does not keep up with the journal'));
    }
    this.#batch ??= this.#newBatch();
    const batch = this.#batch;
    const end = batch.used + PREFIX + bytes.length;
    if (end > batch.bytes.length) {
      const larger = new Uint8Array(Math.max(end, batch.bytes.length * 2));
      larger.set(batch.bytes.subarray(0, batch.used));
      batch.bytes = larger;
    }
    const length = bytes.length;
    batch.bytes[batch.used] = length & 0xff;
    batch.bytes[batch.used + 1] = (length >>> 8) & 0xff;
    batch.bytes[batch.used + 2] = (length >>> 16) & 0xff;
    batch.bytes[batch.used + 3] = length >>> 24;
    batch.bytes.set(bytes, batch.used + PREFIX);
    batch.used = end;
    batch.records++;
    if (durability === 'os') {
      batch.written ??= waiter();
      return batch.written.promise;
    }
    batch.synced ??= waiter();
    return batch.synced.promise;
  }

  async snapshot(chunks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>): Promise<void> {
    if (this.#snapshotting) throw new TollgateError('storage_unavailable', 'A snapshot is being written already');
    this.#snapshotting = true;
    this.#flush();
    const covered = this.#size;
    try {
      await this.#ask('snapshotBegin');
      for await (const chunk of chunks) await this.#ask('snapshotAdd', new Uint8Array(chunk));
      await this.#ask('snapshotFinish');
      this.#size -= covered;
      this.#succeeded();
    } catch (error) {
      void this.#thread.request('snapshotAbandon', [], SNAPSHOT_TIMEOUT).catch(() => {});
      throw error;
    } finally {
      this.#snapshotting = false;
    }
  }

  /** One step of a snapshot. */
  async #ask(method: string, chunk?: Uint8Array<ArrayBuffer>): Promise<void> {
    const [args, transfer] = chunk === undefined ? [[], []] : [[chunk], [chunk.buffer]];
    try {
      await this.#thread.request(method, args, SNAPSHOT_TIMEOUT, transfer);
    } catch (error) {
      throw this.#failed(error);
    }
  }

  async recover(): Promise<Recovery> {
    const { report, snapshot, journal } = (await this.#thread.request(
      'recover',
      [this.#clock.wall()],
      SNAPSHOT_TIMEOUT,
    )) as { report: RecoveryReport; snapshot: ArrayBuffer; journal: ArrayBuffer };
    if (report.state === 'corrupt') {
      this.#log.error({ ...report }, 'The stored state is damaged; it was moved aside as far as it could not be read');
    }
    return {
      report,
      snapshot: { [Symbol.iterator]: () => recordsOf(snapshot) },
      records: { [Symbol.iterator]: () => recordsOf(journal) },
    };
  }

  size(): number {
    return this.#size;
  }

  health(): JournalHealth {
    return this.#health;
  }

  /** Hands over what was appended; nothing more is taken. */
  close(): void {
    this.#flush();
    this.#closed = true;
  }

  #newBatch(): Batch {
    setImmediate(() => this.#flush());
    const bytes = new Uint8Array(this.#spare.pop() ?? new ArrayBuffer(FIRST_BUFFER));
    return { bytes, used: 0, records: 0, written: undefined, synced: undefined };
  }

  #flush(): void {
    const batch = this.#batch;
    if (batch === undefined) return;
    this.#batch = undefined;
    this.#waiting += batch.used;
    this.#size += batch.used;
    const buffer = batch.bytes.buffer as ArrayBuffer;
    const args = [buffer, batch.used, batch.records];
    const written = this.#thread.request('append', args, TIMEOUT, [buffer]);
    const synced = batch.synced === undefined ? undefined : this.#thread.request('sync', [], TIMEOUT);
    void this.#settle(batch, written, synced);
  }

  async #settle(batch: Batch, written: Promise<unknown>, synced: Promise<unknown> | undefined): Promise<void> {
    // Both are awaited below, but a rejection of the second must have a listener while the first is pending.
    synced?.catch(() => {});
    try {
      const buffer = (await written) as ArrayBuffer;
      if (this.#spare.length < KEPT_BUFFERS && buffer.byteLength === FIRST_BUFFER) this.#spare.push(buffer);
      batch.written?.resolve();
      await synced;
      batch.synced?.resolve();
      this.#succeeded();
    } catch (error) {
      const failure = this.#failed(error);
      batch.written?.reject(failure);
      batch.synced?.reject(failure);
    } finally {
      this.#waiting -= batch.used;
    }
  }

  #succeeded(): void {
    if (this.#health.state === 'up') return;
    this.#health = { state: 'up', since: this.#clock.wall() };
    this.#log.info({}, 'The journal can be written again');
  }

  /** Said once an episode; every caller learns of its own record. */
  #failed(error: unknown): TollgateError {
    const cause = TollgateError.from(error);
    const failure =
      cause.code === 'storage_unavailable'
        ? cause
        : new TollgateError('storage_unavailable', `The journal cannot be written: ${cause.message}`, { cause });
    if (this.#health.state === 'up') {
      this.#log.error({ error: failure.message }, 'The journal cannot be written; decisions go on without it');
    }
    const since = this.#health.state === 'up' ? this.#clock.wall() : this.#health.since;
    this.#health = { state: 'failing', since, lastError: failure.message };
    return failure;
  }
}

/** One promise for all who wait for the same write; that nobody looks at it must not end the process. */
function waiter(): PromiseWithResolvers<void> {
  const waiter = Promise.withResolvers<void>();
  waiter.promise.catch(() => {});
  return waiter;
}

function* recordsOf(frame: ArrayBuffer): Generator<Uint8Array, undefined> {
  const view = new DataView(frame);
  for (let at = 0; at + PREFIX <= frame.byteLength; ) {
    const length = view.getUint32(at, true);
    if (at + PREFIX + length > frame.byteLength) return;
    yield new Uint8Array(frame, at + PREFIX, length);
    at += PREFIX + length;
  }
}
