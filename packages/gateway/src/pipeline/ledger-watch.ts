/**
 * Looks after the ledger of a running gateway: what nobody ended is closed in it, and the counters are compared with
 * it whenever it is quiet.
 */
import type { Limiter } from '@tollgate/limiter';
import type { Admission } from '../admission/contract.ts';
import type { Clock } from '../core/clock.ts';
import { TollgateError } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import { everything } from '../store/everything.ts';
import type { Ledger } from '../store/storage.ts';
import { pause } from './follower.ts';
import type { LedgerWriter } from './ledger-writer.ts';
import { compareMoney } from './rebuild.ts';

const TICK = 1_000;
/** Milliseconds between comparisons where nothing is told: other gateways spend too. */
const SLOWLY = 5_000;
/** Milliseconds between looks for holds that are overdue. */
const SWEEP = 30_000;
/** Milliseconds after its end for which a hold may still be ended by whoever opened it. */
const OVERDUE = 60_000;
/** A comparison reads every counter in force: it may take one part in so many of the time. */
const SHARE = 20;
/** Before a difference counts, the settlements on their way get so many milliseconds. */
const AGAIN = 500;

interface LedgerWatchDeps {
  readonly ledger: Ledger;
  readonly writer: LedgerWriter;
  readonly limiter: Limiter;
  readonly admission: () => Admission;
  readonly clock: Clock;
  readonly log: Log;
}

/** What counters and ledger differ by. 0 when nothing runs. */
export interface Drift {
  /** Micro-units, summed over the counters of pages of the calendar and of totals. */
  readonly amount: number;
  /** Milliseconds since the epoch. */
  readonly at: number;
}

export class LedgerWatch {
  readonly #deps: LedgerWatchDeps;
  readonly #closed = new AbortController();
  #drift: Drift | undefined;
  /** What had been told to the ledger when it was compared. */
  #compared = -1;
  #nextComparison = 0;
  #nextSweep = 0;

  constructor(deps: LedgerWatchDeps) {
    this.#deps = deps;
  }

  /** The last comparison; undefined: there was no quiet moment yet. */
  get drift(): Drift | undefined {
    return this.#drift;
  }

  start(): void {
    void this.#run();
  }

  close(): void {
    this.#closed.abort();
  }

  async #run(): Promise<void> {
    const { clock, log } = this.#deps;
    while (await pause(TICK, this.#closed.signal)) {
      try {
        const now = clock.monotonic();
        if (now >= this.#nextSweep) {
          this.#nextSweep = now + SWEEP;
          await this.#sweep();
        }
        await this.#compare(now);
      } catch (thrown) {
        const error = TollgateError.from(thrown);
        // A storage or Redis that is away is told of by who needs it.
        if (error.code === 'internal')
          log.debug({ err: error.cause ?? error }, 'ledger and counters were not compared');
      }
    }
  }

  async #compare(now: number): Promise<void> {
    const { writer, clock } = this.#deps;
    const { told } = writer;
    const due = told !== this.#compared ? now >= this.#nextComparison : now >= this.#nextComparison + SLOWLY;
    if (!due || writer.waiting > 0) return;
    let amount = await this.#measure();
    this.#nextComparison = now + SHARE * (clock.monotonic() - now);
    if (amount !== 0 && (await pause(AGAIN, this.#closed.signal))) amount = Math.min(amount, await this.#measure());
    // Something was spent meanwhile: the two were not read at one moment.
    if (writer.told !== told) return;
    this.#compared = told;
    this.#drift = { amount, at: Math.floor(clock.wall()) };
  }

  async #measure(): Promise<number> {
    const { ledger, admission, limiter, clock } = this.#deps;
    const times = { wall: clock.wall(), now: Math.floor(clock.monotonic() * 1000) };
    return (await compareMoney(ledger, admission(), limiter, times)).drift;
  }

  /** Holds of gateways that are gone: spent, as their counters have it. A settlement that still comes replaces that. */
  async #sweep(): Promise<void> {
    const { ledger, clock } = this.#deps;
    const now = Math.floor(clock.wall());
    const overdue = await everything(
      (part) => ledger.openHolds(part),
      ({ expiresAt }) => expiresAt + OVERDUE <= now,
    );
    if (overdue.length > 0) await ledger.expire(overdue.map(({ id }) => ({ id, at: now })));
  }
}
