/** Where records are kept, as the log needs it; the `decisions` repository of the store room is one. */
import { ACCESS_REASONS } from '../../core/access-refusal.ts';
import { keepNewest } from '../../core/keep-newest.ts';

/** One record with what it is found by. */
export interface StoredDecision {
  readonly id: string;
  /** Wall time in milliseconds. */
  readonly at: number;
  readonly verdict: 'admitted' | 'refused';
  readonly principal: string;
  /** Canonical id of the tool, or what else was asked for; empty where there is no object. */
  readonly tool: string;
  readonly method: string;
  /** Empty: admitted. */
  readonly reason: string;
  /** The record as one line of JSON. */
  readonly json: string;
}

export interface DecisionQuery {
  readonly verdict?: 'admitted' | 'refused';
  /** What has decided: limits (admissions included), or access. Default: both. */
  readonly by?: 'limits' | 'access';
  /** False: without those of which their caller was told that the name does not exist. Default true. */
  readonly hidden?: boolean;
  readonly principal?: string;
  /** Wall time in milliseconds, at or after `from` and before `to`. */
  readonly from?: number;
  readonly to?: number;
  /** Default 1000, at most 10,000. */
  readonly limit?: number;
  /** Cursor of the part that this one follows. */
  readonly after?: string;
}

export interface DecisionPage {
  /** The latest first. */
  readonly items: readonly StoredDecision[];
  /** Undefined: this is the last part. */
  readonly next: string | undefined;
}

export interface DecisionStore {
  /** Writing an id again changes nothing. Rejects in bounded time. */
  put(records: readonly StoredDecision[]): Promise<unknown>;
  get(id: string): Promise<StoredDecision | undefined>;
  list(query?: DecisionQuery): Promise<DecisionPage>;
}

/** Records in memory, for a gateway without storage: the last of each verdict, gone with the process. */
export class MemoryDecisions implements DecisionStore {
  readonly #keep: number;
  readonly #records = {
    admitted: new Map<string, StoredDecision>(),
    refused: new Map<string, StoredDecision>(),
    denied: new Map<string, StoredDecision>(),
  };

  /** `keep`: admissions, refusals by limits, and refusals by access, of each so many. Default 10,000. */
  constructor(keep = 10_000) {
    this.#keep = keep;
  }

  put(records: readonly StoredDecision[]): Promise<void> {
    for (const record of records) {
      const kept = this.#records[isByAccess(record) ? 'denied' : record.verdict];
      if (!kept.has(record.id)) kept.set(record.id, record);
      keepNewest(kept, this.#keep);
    }
    return Promise.resolve();
  }

  get(id: string): Promise<StoredDecision | undefined> {
    const { admitted, refused, denied } = this.#records;
    return Promise.resolve(refused.get(id) ?? denied.get(id) ?? admitted.get(id));
  }

  list(query: DecisionQuery = {}): Promise<DecisionPage> {
    const { admitted, refused, denied } = this.#records;
    const sorted = [...admitted.values(), ...refused.values(), ...denied.values()]
      .filter((record) => fits(record, query))
      .sort((a, b) => b.at - a.at || (a.id < b.id ? 1 : -1));
    const start = query.after === undefined ? 0 : sorted.findIndex(({ id }) => id === query.after) + 1;
    const items = sorted.slice(start, start + (query.limit ?? 1000));
    const more = start + items.length < sorted.length;
    return Promise.resolve({ items, next: more ? items.at(-1)?.id : undefined });
  }
}

function isByAccess({ reason }: StoredDecision): boolean {
  return (ACCESS_REASONS as readonly string[]).includes(reason);
}

function fits(
  record: StoredDecision,
  { verdict, by, hidden, principal, from = 0, to = Infinity }: DecisionQuery,
): boolean {
  return (
    record.at >= from &&
    record.at < to &&
    (principal ?? record.principal) === record.principal &&
    (verdict ?? record.verdict) === record.verdict &&
    (by === undefined || (by === 'access') === isByAccess(record)) &&
    (hidden !== false || record.reason !== 'hidden')
  );
}
