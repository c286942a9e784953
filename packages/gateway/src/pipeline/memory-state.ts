/**
 * The limiter in this process, made to last: every change of a turn is one record of the journal, a call that holds
 * money waits until its record is written, and a start finds the state as it was left, kill -9 included.
 */
import { MemoryLimiter } from '@tollgate/limiter';
import type { Clock } from '../core/clock.ts';
import type { Log } from '../core/log.ts';
import type { Journal, Recovery } from '../store/journal.ts';
import { readRecord, withNotes } from './ledger-journal.ts';
import type { LedgerWriter, LedgerWrites } from './ledger-writer.ts';

/** Bytes of journal after which a snapshot replaces it, and how many times the snapshot's own size it may reach. */
const MIN_JOURNAL = 8 * 1024 * 1024;
const MAX_GROWTH = 4;
/** Milliseconds between looks at overdue holds, the wall clock, and the size of the journal. */
const TICK = 1_000;

interface MemoryStateDeps {
  readonly journal: Journal;
  readonly clock: Clock;
  readonly log: Log;
  /** Its writes are kept with the changes of the limiter until the database has them. */
  readonly ledger: LedgerWriter;
}

export class MemoryState {
  readonly limiter: MemoryLimiter;
  /** Undefined: the start found what was left, if anything was. Else where the damaged state was moved, if it could be. */
  readonly damaged: { readonly movedTo: string | undefined } | undefined;
  readonly #deps: MemoryStateDeps;
  readonly #timer: NodeJS.Timeout;
  #scheduled = false;
  #written: Promise<void> | undefined;
  #snapshotSize = 0;
  #snapshotting: Promise<void> | undefined;
  /** Records were refused by the disk: only a snapshot makes the journal whole again. */
  #holes = false;
  /** Counters began empty and do not have what the ledger says. */
  #lost: boolean;

  /** Reads the journal. Never rejects for damaged content: rates then start empty and `recovered` says so. */
  static async open(deps: MemoryStateDeps): Promise<MemoryState> {
    const recovery = await deps.journal.recover();
    const { state, movedTo } = recovery.report;
    const { limiter, writes, lost } = restore(recovery, deps);
    const damaged = state === 'corrupt' || limiter === undefined ? { movedTo } : undefined;
    deps.ledger.replay(writes);
    const memory = new MemoryState(
      deps,
      limiter ?? newLimiter(deps),
      damaged,
      lost || damaged !== undefined || state === 'absent',
    );
    // What was recovered begins a file of its own, so that an old record is never read twice.
    await memory.snapshot().catch((error: unknown) => {
      deps.log.warn({ err: error }, 'no snapshot of the limits could be written');
    });
    return memory;
  }

  private constructor(deps: MemoryStateDeps, limiter: MemoryLimiter, damaged: MemoryState['damaged'], lost: boolean) {
    this.#deps = deps;
    this.limiter = limiter;
    this.damaged = damaged;
    this.#lost = lost;
    this.#timer = setInterval(() => this.#tick(), TICK);
    this.#timer.unref();
  }

  /** True: money has to be read from the ledger before any is spent; also after a start that ended before it was. */
  get lost(): boolean {
    return this.#lost;
  }

  /** Money was read from the ledger: a start from now on finds it in the journal. */
  async rebuilt(): Promise<void> {
    this.#lost = false;
    await this.#snapshotting?.catch(() => undefined);
    await this.snapshot().catch(() => {
      // The next look at the journal takes it again.
    });
  }

  /** Something was decided: its changes go into the journal at the end of this turn. */
  touch(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(this.#flushLater);
  }

  /** Resolves when everything decided so far is written; rejects with `storage_unavailable`. */
  whenWritten(): Promise<void> | undefined {
    this.#flush();
    return this.#written;
  }

  async snapshot(): Promise<void> {
    this.#snapshotting ??= this.#snapshot().finally(() => {
      this.#snapshotting = undefined;
    });
    await this.#snapshotting;
  }

  /** Writes what is left. The journal belongs to the store and is closed with it. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#flush();
    await this.#written?.catch(() => undefined);
    await this.#snapshotting?.catch(() => undefined);
  }

  readonly #flushLater = (): void => {
    this.#scheduled = false;
    this.#flush();
  };

  #flush(): void {
    const changes = this.limiter.changes();
    const writes = this.#deps.ledger.takeFresh();
    if (changes === undefined && writes === undefined) return;
    const record = writes === undefined ? changes! : withNotes(changes, { writes });
    const written = this.#deps.journal.append(record, 'os');
    this.#written = written;
    written.then(
      () => {
        if (this.#written === written) this.#written = undefined;
      },
      () => {
        // Reported by the journal itself. Who waits for this write is refused; the next one may succeed.
        if (this.#written === written) this.#written = undefined;
        this.#holes = true;
      },
    );
  }

  #tick(): void {
    const { clock, journal } = this.#deps;
    const now = clock.monotonic();
    // Calendars follow the wall, also after the machine slept or its clock was set.
    this.limiter.originMs = clock.wall() - now;
    this.limiter.sweep(Math.floor(now * 1000));
    this.#flush();
    const grown = journal.size() > Math.max(MIN_JOURNAL, MAX_GROWTH * this.#snapshotSize);
    if (!grown && !(this.#holes && journal.health().state === 'up')) return;
    this.snapshot().catch((error: unknown) => {
      this.#deps.log.warn({ err: error }, 'no snapshot of the limits could be written');
    });
  }

  async #snapshot(): Promise<void> {
    this.#holes = false;
    this.#flush();
    let size = 0;
    const counted = function* (chunks: Iterable<Uint8Array>): Generator<Uint8Array> {
      for (const chunk of chunks) {
        size += chunk.length;
        yield chunk;
      }
    };
    const notes = this.#notes(this.#deps.ledger.pending());
    try {
      await this.#deps.journal.snapshot(counted(chain(notes, this.limiter.snapshot())));
      this.#snapshotSize = size;
    } catch (error) {
      this.#holes = true;
      throw error;
    }
  }

  /** What a snapshot must keep beside the counters: it replaces the records that told it. */
  *#notes(pending: readonly LedgerWrites[]): Generator<Uint8Array> {
    if (this.#lost) yield withNotes(undefined, { lost: true });
    // Made one at a time, so that a long list is no pause. What was confirmed meanwhile does no harm.
    for (const writes of pending) yield withNotes(undefined, { writes });
  }
}

function newLimiter({ clock, ledger }: MemoryStateDeps): MemoryLimiter {
  return new MemoryLimiter({
    persist: true,
    originMs: clock.wall() - clock.monotonic(),
    onExpire: (id) => ledger.expired(id),
  });
}

interface Restored {
  /** Undefined: what was found cannot be read; a half-restored limiter is thrown away. */
  readonly limiter: MemoryLimiter | undefined;
  readonly writes: readonly LedgerWrites[];
  readonly lost: boolean;
}

function restore(recovery: Recovery, deps: MemoryStateDeps): Restored {
  const writes: LedgerWrites[] = [];
  let lost = false;
  const pieces: Uint8Array[] = [];
  try {
    for (const record of chain(recovery.snapshot, recovery.records)) {
      const { changes, notes } = readRecord(record);
      if (changes !== undefined) pieces.push(changes);
      if (notes?.writes !== undefined) writes.push(notes.writes);
      if (notes?.lost === true) lost = true;
    }
    // Counters as of some moment before the damage would be less than was spent.
    if (recovery.report.state === 'corrupt') return { limiter: undefined, writes, lost };
    const limiter = newLimiter(deps);
    limiter.restore(pieces);
    return { limiter, writes, lost };
  } catch (error) {
    deps.log.error({ err: error }, 'the state of the limits could not be read; rates start empty');
    return { limiter: undefined, writes, lost };
  }
}

function* chain(...parts: readonly Iterable<Uint8Array>[]): Generator<Uint8Array> {
  for (const part of parts) yield* part;
}
