import { keepNewest } from '../../core/keep-newest.ts';

/** Refusals by access that one caller can have recorded at once, and each second after that. */
const OF_CALLER = { burst: 60, perSecond: 1 };
/** The same of all callers together. */
const OF_ALL = { burst: 600, perSecond: 20 };
/** Callers counted one by one; the one that was refused longest ago gives way. */
const MAX_CALLERS = 1000;

interface Bucket {
  left: number;
  at: number;
}

/**
 * How many refusals by access become records. A refusal by a limit has used up something first, this one costs its
 * caller nothing: without a bound a program that knocks at a closed door would fill the storage and push out the rest.
 */
export class Allowance {
  readonly #all: Bucket = { left: OF_ALL.burst, at: 0 };
  readonly #callers = new Map<string, Bucket>();

  /** Whether one more of this caller is recorded. `at`: wall time in milliseconds. */
  take(caller: string, at: number): boolean {
    let bucket = this.#callers.get(caller);
    if (bucket === undefined) bucket = { left: OF_CALLER.burst, at };
    else this.#callers.delete(caller);
    this.#callers.set(caller, bucket);
    keepNewest(this.#callers, MAX_CALLERS);
    refill(bucket, OF_CALLER, at);
    refill(this.#all, OF_ALL, at);
    // Who has none left takes nothing from the others.
    if (bucket.left < 1 || this.#all.left < 1) return false;
    bucket.left--;
    this.#all.left--;
    return true;
  }
}

/** A clock that is set back refills nothing, and starts anew from there. */
function refill(bucket: Bucket, { burst, perSecond }: typeof OF_CALLER, at: number): void {
  bucket.left = Math.min(burst, bucket.left + (Math.max(0, at - bucket.at) * perSecond) / 1000);
  bucket.at = at;
}
