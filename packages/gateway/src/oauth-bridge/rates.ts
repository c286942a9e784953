/** How often a stranger may do something: fixed windows, in all and by address, in bounded memory. */
const MAX_ADDRESSES = 10_000;

export class Rates {
  readonly #window: number;
  readonly #all: number;
  readonly #each: number;
  #start = 0;
  #count = 0;
  readonly #byAddress = new Map<string, number>();

  /** `all` and `each` (of one address) in `windowMs`. */
  constructor(windowMs: number, all: number, each: number) {
    this.#window = windowMs;
    this.#all = all;
    this.#each = each;
  }

  /** Seconds to wait; undefined: go on, and it is counted. */
  take(address: string, wall: number): number | undefined {
    if (wall >= this.#start + this.#window || wall < this.#start) {
      this.#start = wall;
      this.#count = 0;
      this.#byAddress.clear();
    }
    const mine = this.#byAddress.get(address) ?? 0;
    const full = mine === 0 && this.#byAddress.size >= MAX_ADDRESSES;
    if (this.#count >= this.#all || mine >= this.#each || full) {
      return Math.max(1, Math.ceil((this.#start + this.#window - wall) / 1000));
    }
    this.#count++;
    this.#byAddress.set(address, mine + 1);
    return undefined;
  }
}
