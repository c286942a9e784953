/** Money by the ledger: read back where counters were lost, and compared with what the counters say. */
import { Ask, type Limiter, type MemoryLimiter } from '@tollgate/limiter';
import type { Admission } from '../admission/contract.ts';
import { everything } from '../store/everything.ts';
import type { Ledger, LedgerCounter, LedgerEntry } from '../store/storage.ts';

/** Longest window in which a counter can still matter: a month of the calendar, and a day for time zones. */
const LONGEST_WINDOW = 32 * 86_400_000;

export interface Money {
  /** Settled amounts of current windows, at most 128 to an ask. */
  readonly windows: readonly Ask[];
  readonly rates: readonly Ask[];
  /** Open holds as they were asked for, with what is left of their time. */
  readonly holds: readonly Ask[];
}

/** Reads the ledger for the limits in force. Rejects with `storage_unavailable`. */
export async function readMoney(ledger: Ledger, admission: Admission, wall: number): Promise<Money> {
  const open = await everything((part) => ledger.openHolds(part));
  const sums = (await current(ledger, admission, wall)).map((counter) => ({ ...counter, total: counter.settled }));
  const { restoring } = admission;
  const holds = open.flatMap((entry) => restoring.hold(entry, wall) ?? []);
  // What expired while nobody ran is spent: its window counts it without a hold.
  const overdue = open.filter((entry) => entry.expiresAt <= wall).flatMap(postingsOf);
  return { ...restoring.counters([...sums, ...overdue], wall), holds };
}

/** Puts into a limiter that has counted no money what the ledger knows. */
export function restoreMoney(limiter: MemoryLimiter, { windows, rates, holds }: Money, now: number): void {
  for (const ask of windows) limiter.assume(ask, now);
  for (const ask of rates) limiter.adjust(ask, now);
  for (const ask of holds) {
    // A hold for which there is no room any more was spent all the same.
    if (!limiter.decide(ask, now).allowed) limiter.adjust(ask, now);
  }
}

export interface Comparison {
  /** Sum over all compared counters of what ledger and limiter differ by, in micro-units. */
  readonly drift: number;
  /** By how much counters are below what the ledger says, as changes. */
  readonly missing: readonly Ask[];
}

/**
 * Compares every counter of the ledger that can be told exactly (pages of the calendar, totals) with the limiter. The
 * others are kept in the ledger only by parts of their windows.
 */
export async function compareMoney(
  ledger: Ledger,
  admission: Admission,
  limiter: Limiter,
  times: { readonly wall: number; readonly now: number },
): Promise<Comparison> {
  const { windows } = admission.restoring.counters(await current(ledger, admission, times.wall), times.wall);
  const missing: Ask[] = [];
  let drift = 0;
  for (const ask of windows) {
    const standings = await limiter.inspect(ask, times.now);
    const less = new Ask();
    for (let i = 0; i < ask.size; i++) {
      const { algorithm } = ask.rules[i]!.options;
      if (algorithm !== 'calendar-window' && algorithm !== 'total') continue;
      const difference = ask.costs[i]! - standings[i]!.used;
      drift += Math.abs(difference);
      if (difference <= 0) continue;
      less.change(ask.rules[i]!, difference);
      less.high[less.size - 1] = ask.high[i]!;
      less.low[less.size - 1] = ask.low[i]!;
    }
    if (less.size > 0) missing.push(less);
  }
  return { drift, missing };
}

async function current(ledger: Ledger, { restoring }: Admission, wall: number): Promise<LedgerCounter[]> {
  const counters = await everything((part) => ledger.counters({ ...part, from: wall - LONGEST_WINDOW }));
  for (const rule of restoring.totals) {
    // Windows without end begin at 0.
    const endless = await everything(
      (part) => ledger.counters({ ...part, rule }),
      ({ windowStart }) => windowStart === 0,
    );
    counters.push(...endless);
  }
  return counters;
}

function postingsOf({ postings }: LedgerEntry): (Pick<LedgerCounter, 'rule' | 'key' | 'windowStart' | 'unit'> & {
  total: number;
})[] {
  return postings.map(({ amount, ...posting }) => ({ ...posting, total: amount }));
}
