/** Where records are kept, as the log needs it; the `decisions` repository of the store room is one. */

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
  readonly #records = { admitted: new Map<string, StoredDecision>(), refused: new Map<string, StoredDecision>() };

  /** `keep`: records of each verdict. Default 10,000. */
  constructor(keep = 10_000) {
    this.#keep = keep;
  }

  put(records: readonly StoredDecision[]): Promise<void> {
    for (const record of records) {
      const kept = this.#records[record.verdict];
      if (!kept.has(record.id)) kept.set(record.id, record);
      if (kept.size > this.#keep) kept.delete(kept.keys().next().value!);
    }
    return Promise.resolve();
  }

  get(id: string): Promise<StoredDecision | undefined> {
    return Promise.resolve(this.#records.refused.get(id) ?? this.#records.admitted.get(id));
  }

  list(query: DecisionQuery = {}): Promise<DecisionPage> {
    const { admitted, refused } = this.#records;
    const all =
      query.verdict === undefined
        ? [...admitted.values(), ...refused.values()]
        : [...this.#records[query.verdict].values()];
    const sorted = all
      .filter(
        ({ at, principal }) =>
          at >= (query.from ?? 0) && at < (query.to ?? Infinity) && (query.principal ?? principal) === principal,
      )
      .sort((a, b) => b.at - a.at || (a.id < b.id ? 1 : -1));
    const start = query.after === undefined ? 0 : sorted.findIndex(({ id }) => id === query.after) + 1;
    const items = sorted.slice(start, start + (query.limit ?? 1000));
    const more = start + items.length < sorted.length;
    return Promise.resolve({ items, next: more ? items.at(-1)?.id : undefined });
  }
}
