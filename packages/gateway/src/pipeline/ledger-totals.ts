import type { Clock } from '../core/clock.ts';
import { keepNewest } from '../core/keep-newest.ts';
import type { Ledger, UsageRow } from '../store/storage.ts';
import { spentOf } from './operations-answers.ts';

/** Milliseconds that an answer waits for the ledger. */
const PATIENCE = 50;
/** Milliseconds after which the sum of all clients is read anew, behind the answer that asks for it. */
const MAX_AGE = 5_000;
/** The same for who they are: a long list, which costs the process more than the sum. */
const MAX_LIST_AGE = 600_000;
/** Clients whose last sum is remembered for when the ledger is busy. */
const MAX_KNOWN = 10_000;

/** Sums of the ledger over all clients. */
export interface AllSpent {
  readonly principals: ReadonlySet<string>;
  readonly total: number;
}

const NOTHING: AllSpent = { principals: new Set(), total: 0 };

/**
 * What was ever spent, by the ledger, without waiting for it: a ledger that is busy with writes, or away, answers with
 * what it said last. The sum of one client is exact while it answers in time; that of all is a few seconds old, the list of them some minutes.
 * Once an answer is late nobody waits until it has come, and nothing more is asked: questions would only stand in line
 * behind it, without bound where a client asks often.
 */
export class LedgerTotals {
  readonly #ledger: Ledger | undefined;
  readonly #clock: Clock;
  readonly #unit: () => string;
  readonly #known = new Map<string, number>();
  #all: AllSpent = NOTHING;
  #readAt = -Infinity;
  #listedAt = -Infinity;
  #reading: Promise<void> | undefined;
  /** Reads that somebody has given up on and that are still under way. */
  #late = 0;

  /** `ledger` undefined: nothing is kept, every sum is 0. Begins to read. */
  constructor(ledger: Ledger | undefined, clock: Clock, unit: () => string) {
    this.#ledger = ledger;
    this.#clock = clock;
    this.#unit = unit;
    void this.#refresh();
  }

  /** In millionths of the unit. */
  async of(principal: string): Promise<number> {
    const rows = this.#late > 0 ? undefined : await this.#inTime(this.#usage({ principal }));
    if (rows === undefined) return this.#known.get(principal) ?? 0;
    const total = spentOf(rows, this.#unit());
    this.#known.delete(principal);
    this.#known.set(principal, total);
    keepNewest(this.#known, MAX_KNOWN);
    return total;
  }

  async all(): Promise<AllSpent> {
    if (this.#late === 0 && this.#clock.monotonic() - this.#readAt > MAX_AGE) await this.#inTime(this.#refresh());
    return this.#all;
  }

  #refresh(): Promise<void> {
    this.#reading ??= this.#read().finally(() => {
      this.#reading = undefined;
    });
    return this.#reading;
  }

  async #read(): Promise<void> {
    const now = this.#clock.monotonic();
    const list = now - this.#listedAt > MAX_LIST_AGE;
    const rows = await this.#usage(list ? { groupBy: ['principal'] } : {}).catch(() => undefined);
    if (rows === undefined) return;
    const total = spentOf(rows, this.#unit());
    this.#readAt = now;
    if (list) {
      this.#all = { principals: new Set(rows.map(({ group }) => String(group.principal))), total };
      this.#listedAt = now;
    } else {
      this.#all = { principals: this.#all.principals, total };
    }
  }

  async #usage(query: {
    readonly principal?: string;
    readonly groupBy?: readonly ['principal'];
  }): Promise<readonly UsageRow[]> {
    return (await this.#ledger?.usage({ ...query, from: 0, to: Math.floor(this.#clock.wall()) + 1 })) ?? [];
  }

  /** Undefined: it failed, or takes longer than an answer can wait. */
  async #inTime<T>(work: Promise<T>): Promise<T | undefined> {
    let timer: NodeJS.Timeout | undefined;
    let late = false;
    const tooLate = new Promise<undefined>((resolve) => {
      timer = setTimeout(() => {
        late = true;
        this.#late++;
        resolve(undefined);
      }, PATIENCE);
    });
    const answer = work
      .catch(() => undefined)
      .finally(() => {
        clearTimeout(timer);
        if (late) this.#late--;
      });
    return Promise.race([answer, tooLate]);
  }
}
