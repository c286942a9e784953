/**
 * The limiter in this process, made to last: every change of a turn is one record of the journal, a call that holds
 * money waits until its record is written, and a start finds the state as it was left, kill -9 included.
 */
import { MemoryLimiter } from '@tollgate/limiter';
import type { Clock } from '../core/clock.ts';
import type { Log } from '../core/log.ts';
import type { Journal, Recovery } from '../store/journal.ts';

/** Bytes of journal after which a snapshot replaces it, and how many times the snapshot's own size it may reach. */
const MIN_JOURNAL = 8 * 1024 * 1024;
const MAX_GROWTH = 4;
/** Milliseconds between looks at overdue holds, the wall clock, and the size of the journal. */
const TICK = 1_000;

interface MemoryStateDeps {
  readonly journal: Journal;
  readonly clock: Clock;
  readonly log: Log;
  /** Told of holds that nobody ended in time. */
  readonly onExpire: (id: string, assumed: 'spent' | 'free') => void;
}

export class MemoryState {
  readonly limiter: MemoryLimiter;
  /** What the start found; `corrupt` and `absent` mean that counters began empty. */
  readonly recovered: 'clean' | 'torn' | 'corrupt' | 'absent';
  readonly #deps: MemoryStateDeps;
  readonly #timer: NodeJS.Timeout;
  #scheduled = false;
  #written: Promise<void> | undefined;
  #snapshotSize = 0;
  #snapshotting: Promise<void> | undefined;
  /** Records were refused by the disk: only a snapshot makes the journal whole again. */
  #holes = false;

  /** Reads the journal. Never rejects for damaged content: rates then start empty and `recovered` says so. */
  static async open(deps: MemoryStateDeps): Promise<MemoryState> {
    const recovery = await deps.journal.recover();
    const restored = restore(recovery, deps);
    const state = new MemoryState(
      deps,
      restored ?? newLimiter(deps),
      restored === undefined ? 'corrupt' : recovery.report.state,
    );
    // What was recovered begins a file of its own, so that an old record is never read twice.
    await state.snapshot().catch((error: unknown) => {
      deps.log.warn({ err: error }, 'no snapshot of the limits could be written');
    });
    return state;
  }

  private constructor(deps: MemoryStateDeps, limiter: MemoryLimiter, recovered: MemoryState['recovered']) {
    this.#deps = deps;
    this.limiter = limiter;
    this.recovered = recovered;
    this.#timer = setInterval(() => this.#tick(), TICK);
    this.#timer.unref();
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
    const bytes = this.limiter.changes();
    if (bytes === undefined) return;
    const written = this.#deps.journal.append(bytes, 'os');
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
    try {
      await this.#deps.journal.snapshot(counted(this.limiter.snapshot()));
      this.#snapshotSize = size;
    } catch (error) {
      this.#holes = true;
      throw error;
    }
  }
}

function newLimiter({ clock, onExpire }: MemoryStateDeps): MemoryLimiter {
  return new MemoryLimiter({ persist: true, originMs: clock.wall() - clock.monotonic(), onExpire });
}

/** Undefined: what was found cannot be read; a half-restored limiter is thrown away. */
function restore(recovery: Recovery, deps: MemoryStateDeps): MemoryLimiter | undefined {
  if (recovery.report.state === 'corrupt') return undefined;
  const limiter = newLimiter(deps);
  try {
    limiter.restore(payloads(recovery));
    return limiter;
  } catch (error) {
    deps.log.error({ err: error }, 'the state of the limits could not be read; rates start empty');
    return undefined;
  }
}

function* payloads({ snapshot, records }: Recovery): Generator<Uint8Array> {
  yield* snapshot;
  yield* records;
}
