import { keepNewest } from '../../core/keep-newest.ts';

/** So many at once, and each second after that. */
export interface Rate {
  readonly burst: number;
  readonly perSecond: number;
}

/** Callers counted one by one; the one that was refused longest ago gives way. */
const MAX_CALLERS = 1000;

interface Bucket {
  left: number;
  at: number;
}

/**
 * How much is done about what costs its callers less than the gateway, refusals above all: without a bound a program that
 * knocks at a closed door would keep the gateway busy, fill the storage and push out the rest.
 */
export class Allowance {
  readonly #ofCaller: Rate;
  readonly #ofAll: Rate;
  readonly #all: Bucket;
  readonly #callers = new Map<string, Bucket>();

  constructor(ofCaller: Rate, ofAll: Rate) {
    this.#ofCaller = ofCaller;
    this.#ofAll = ofAll;
    this.#all = { left: ofAll.burst, at: 0 };
  }

  /** Whether this is done for one more of this caller. `at`: wall time in milliseconds. */
  take(caller: string, at: number): boolean {
    let bucket = this.#callers.get(caller);
    if (bucket === undefined) bucket = { left: this.#ofCaller.burst, at };
    else this.#callers.delete(caller);
    this.#callers.set(caller, bucket);
    keepNewest(this.#callers, MAX_CALLERS);
    refill(bucket, this.#ofCaller, at);
    refill(this.#all, this.#ofAll, at);
    // Who has none left takes nothing from the others.
    if (bucket.left < 1 || this.#all.left < 1) return false;
    bucket.left--;
    this.#all.left--;
    return true;
  }
}

/** A clock that is set back refills nothing, and starts anew from there. */
function refill(bucket: Bucket, { burst, perSecond }: Rate, at: number): void {
  bucket.left = Math.min(burst, bucket.left + (Math.max(0, at - bucket.at) * perSecond) / 1000);
  bucket.at = at;
}
