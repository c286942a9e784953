/**
 * How many holds of other systems may be open at once: each is memory, and an entry of the ledger, for as long as a day.
 * Counted by this gateway, of the holds that it made itself.
 */

/** Of one principal, whoever asks for it. */
export const MAX_OPEN_OF_ONE = 1000;
/** Of all principals together. */
export const MAX_OPEN = 20_000;

/** Why there is no place: the bound that is reached, and when the first open hold expires (monotonic milliseconds). */
export interface Full {
  readonly bound: number;
  readonly until: number;
}

export class OpenHolds {
  readonly #open = new Map<string, { readonly principal: string; readonly expiresAt: number }>();
  readonly #ofPrincipal = new Map<string, number>();
  /** No open hold expires before; so a caller that is refused again and again costs no search. */
  #earliest = Infinity;

  /** Takes a place until `expiresAt`, or earlier with `end`. Returns why not; undefined: taken. */
  begin(id: string, principal: string, expiresAt: number, now: number): Full | undefined {
    let bound = this.#bound(principal);
    if (bound !== undefined && this.#earliest <= now) {
      this.#expire(now);
      bound = this.#bound(principal);
    }
    if (bound !== undefined) return { bound, until: this.#earliest };
    this.#open.set(id, { principal, expiresAt });
    this.#ofPrincipal.set(principal, (this.#ofPrincipal.get(principal) ?? 0) + 1);
    this.#earliest = Math.min(this.#earliest, expiresAt);
    return undefined;
  }

  /** Gives the place back; nothing for one that has none. */
  end(id: string): void {
    const hold = this.#open.get(id);
    if (hold === undefined) return;
    this.#open.delete(id);
    const left = this.#ofPrincipal.get(hold.principal)! - 1;
    if (left === 0) this.#ofPrincipal.delete(hold.principal);
    else this.#ofPrincipal.set(hold.principal, left);
  }

  #bound(principal: string): number | undefined {
    if ((this.#ofPrincipal.get(principal) ?? 0) >= MAX_OPEN_OF_ONE) return MAX_OPEN_OF_ONE;
    return this.#open.size >= MAX_OPEN ? MAX_OPEN : undefined;
  }

  #expire(now: number): void {
    this.#earliest = Infinity;
    for (const [id, { expiresAt }] of this.#open) {
      if (expiresAt <= now) this.end(id);
      else this.#earliest = Math.min(this.#earliest, expiresAt);
    }
  }
}
