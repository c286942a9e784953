import type { Clock } from '../core/clock.ts';
import { keepNewest } from '../core/keep-newest.ts';
import type { TierRecord, Tiers } from './storage.ts';

interface Known {
  readonly tier: string | undefined;
  /** Monotonic time of the answer. */
  readonly asked: number;
}

export interface TierCacheOptions {
  /** Callers remembered; the least recently used goes first. Default 10,000. */
  readonly size?: number;
  /** Milliseconds after which an answer is asked for again, while the old one still serves. Default 1000. */
  readonly maxAge?: number;
}

/**
 * The stored tiers of the callers that are around, answered without a promise (R0-28). A change made by this process
 * is seen at once, one by another gateway within `maxAge` of the next call. While the database is away the last
 * answer goes on serving.
 */
export class TierCache {
  readonly #tiers: Tiers;
  readonly #clock: Clock;
  readonly #size: number;
  readonly #maxAge: number;
  readonly #known = new Map<string, Known>();
  readonly #asking = new Map<string, Promise<string | undefined>>();

  constructor(tiers: Tiers, clock: Clock, options: TierCacheOptions = {}) {
    this.#tiers = tiers;
    this.#clock = clock;
    this.#size = options.size ?? 10_000;
    this.#maxAge = options.maxAge ?? 1_000;
  }

  /** The tier set for this caller (`undefined`: none is), or a promise of it for a caller not seen lately. */
  tier(principal: string): string | undefined | Promise<string | undefined> {
    const known = this.#known.get(principal);
    if (known === undefined) return this.#ask(principal);
    if (this.#clock.monotonic() - known.asked > this.#maxAge) this.#ask(principal).catch(() => {});
    this.#known.delete(principal);
    this.#known.set(principal, known);
    return known.tier;
  }

  async setTier(record: TierRecord): Promise<void> {
    await this.#tiers.setTier(record.principal, record.tier, record.by, record.at);
    // An answer that is on its way may be older than this change.
    this.#asking.delete(record.principal);
    this.#keep(record.principal, record.tier);
  }

  #ask(principal: string): Promise<string | undefined> {
    let asking = this.#asking.get(principal);
    if (asking === undefined) {
      asking = this.#tiers.tier(principal).then(
        (record) => {
          if (this.#asking.get(principal) !== asking) return this.#known.get(principal)?.tier ?? record?.tier;
          this.#asking.delete(principal);
          this.#keep(principal, record?.tier);
          return record?.tier;
        },
        (error: unknown) => {
          if (this.#asking.get(principal) === asking) this.#asking.delete(principal);
          throw error;
        },
      );
      this.#asking.set(principal, asking);
    }
    return asking;
  }

  #keep(principal: string, tier: string | undefined): void {
    this.#known.delete(principal);
    this.#known.set(principal, { tier, asked: this.#clock.monotonic() });
    keepNewest(this.#known, this.#size);
  }
}
