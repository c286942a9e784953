/** Stored tiers of one gateway; a mistake beyond it, not a size to plan for. */
const MAX_TIERS = 1_000_000;

export const DEFAULT_TIER = 'default';

/** Who a tier is asked for. */
export interface Tiered {
  readonly id: string;
  /** From a mapped claim or the auth entry. */
  readonly tier: string | undefined;
}

/**
 * Which tier a caller is in: stored by an administrator for the principal, else of the credential, else `default`.
 * A tier that the configuration does not know is `default`: no caller can name its own. In memory; `load` brings back
 * what was kept, and `onChange` tells what to keep.
 */
export class TierBook {
  /** Counts changes, so that what was worked out from a tier can be seen to be old. */
  version = 0;
  readonly #stored = new Map<string, string>();
  readonly #onChange: ((principal: string, tier: string | undefined) => void) | undefined;
  #known: ReadonlySet<string> = new Set([DEFAULT_TIER]);

  constructor(onChange?: (principal: string, tier: string | undefined) => void) {
    this.#onChange = onChange;
  }

  /** The tiers of the configuration in force. */
  get known(): ReadonlySet<string> {
    return this.#known;
  }

  /** The configuration changed; stored tiers stay, also those that it does not know now. */
  know(tiers: Iterable<string>): void {
    this.#known = new Set([DEFAULT_TIER, ...tiers]);
    this.version++;
  }

  of(principal: Tiered): string {
    const tier = this.#stored.get(principal.id) ?? principal.tier ?? DEFAULT_TIER;
    return this.#known.has(tier) ? tier : DEFAULT_TIER;
  }

  /** The stored tier of a principal. */
  get(principal: string): string | undefined {
    return this.#stored.get(principal);
  }

  /** Every stored tier. */
  entries(): IterableIterator<[principal: string, tier: string]> {
    return this.#stored.entries();
  }

  /**
   * Stores a tier, or with undefined forgets it. Throws a RangeError for one that the configuration does not know,
   * and when a million are stored.
   */
  set(principal: string, tier: string | undefined): void {
    if (tier === undefined) {
      if (!this.#stored.delete(principal)) return;
    } else {
      if (!this.#known.has(tier))
        throw new RangeError(`unknown tier ${tier}; known are ${[...this.#known].join(', ')}`);
      if (this.#stored.get(principal) === tier) return;
      if (this.#stored.size >= MAX_TIERS && !this.#stored.has(principal)) {
        throw new RangeError(`${MAX_TIERS} tiers are stored already; remove some first`);
      }
      this.#stored.set(principal, tier);
    }
    this.version++;
    this.#onChange?.(principal, tier);
  }

  /** Adds what was kept; tells no listener. */
  load(stored: Iterable<readonly [principal: string, tier: string]>): void {
    for (const [principal, tier] of stored) this.#stored.set(principal, tier);
    this.version++;
  }
}
