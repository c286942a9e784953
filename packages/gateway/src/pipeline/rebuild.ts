/** Money whose counters were lost, read back from the ledger. */
import type { Ask } from '@tollgate/limiter';
import type { Admission } from '../admission/contract.ts';
import type { Ledger, LedgerCounter, LedgerEntry, Page, Part } from '../store/storage.ts';

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
  const from = wall - LONGEST_WINDOW;
  const windowed = await everything((part) => ledger.counters({ ...part, from }));
  // Windows without end begin at 0.
  const endless = await everything(
    (part) => ledger.counters(part),
    (counter) => counter.windowStart === 0,
  );
  const open = await everything((part) => ledger.openHolds(part));
  const sums = [...windowed, ...endless].map((counter) => ({ ...counter, total: counter.settled }));
  const { restoring } = admission;
  const holds = open.flatMap((entry) => restoring.hold(entry, wall) ?? []);
  // What expired while nobody ran is spent: its window counts it without a hold.
  const overdue = open.filter((entry) => entry.expiresAt <= wall).flatMap(postingsOf);
  return { ...restoring.counters([...sums, ...overdue], wall), holds };
}

function postingsOf({ postings }: LedgerEntry): (Pick<LedgerCounter, 'rule' | 'key' | 'windowStart' | 'unit'> & {
  total: number;
})[] {
  return postings.map(({ amount, ...posting }) => ({ ...posting, total: amount }));
}

async function everything<T>(
  read: (part: Part) => Promise<Page<T>>,
  keep: (item: T) => boolean = () => true,
): Promise<T[]> {
  const all: T[] = [];
  for (let after: string | undefined; ; ) {
    const { items, next } = await read({ limit: 10_000, ...(after === undefined ? {} : { after }) });
    for (const item of items) if (keep(item)) all.push(item);
    if (next === undefined) return all;
    after = next;
  }
}
