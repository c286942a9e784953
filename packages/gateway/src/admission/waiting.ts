/** Who waits for a turn: bounded in number, first come first served, gone at once when the call ends. */
import type { Lifetime } from '../core/lifetime.ts';

export interface WaitingOptions {
  /** Waiting calls in all, and of one principal. Defaults 1000 and 20. */
  readonly max?: number | undefined;
  readonly maxPerPrincipal?: number | undefined;
}

/** Why waiting stopped: it is the first's turn to ask again, its time is over, or its call has ended. */
export type Turn = 'turn' | 'late' | 'ended';

export class WaitingRoom {
  /** Calls that wait now. */
  size = 0;
  readonly #max: number;
  readonly #maxPerPrincipal: number;
  readonly #byPrincipal = new Map<string, number>();
  readonly #lines = new Map<string, Place[]>();

  constructor({ max = 1000, maxPerPrincipal = 20 }: WaitingOptions = {}) {
    this.#max = max;
    this.#maxPerPrincipal = maxPerPrincipal;
  }

  /** Takes one of the bounded places; false: the room is full, for everybody or for this principal. */
  enter(principal: string): boolean {
    const own = this.#byPrincipal.get(principal) ?? 0;
    if (this.size >= this.#max || own >= this.#maxPerPrincipal) return false;
    this.size++;
    this.#byPrincipal.set(principal, own + 1);
    return true;
  }

  leave(principal: string): void {
    this.size--;
    const own = this.#byPrincipal.get(principal)! - 1;
    if (own === 0) this.#byPrincipal.delete(principal);
    else this.#byPrincipal.set(principal, own);
  }

  /** A place at the end of the line for a key. */
  join(key: string, lifetime: Lifetime): Place {
    const line = this.#lines.get(key) ?? [];
    this.#lines.set(key, line);
    const place = new Place(key, lifetime, () => this.#gone(place));
    line.push(place);
    return place;
  }

  /** True when somebody stands in the line for a key. */
  hasLine(key: string): boolean {
    return this.#lines.has(key);
  }

  /** True for the first in its line. */
  first(place: Place): boolean {
    return this.#lines.get(place.key)?.[0] === place;
  }

  /** Something of the key came free: the first in its line may ask again. */
  wake(key: string): void {
    this.#lines.get(key)?.[0]?.wake();
  }

  /** Nobody waits any longer: all are told that their time is over. */
  close(): void {
    for (const line of [...this.#lines.values()]) for (const place of [...line]) place.expire();
  }

  #gone(place: Place): void {
    const line = this.#lines.get(place.key);
    const at = line?.indexOf(place) ?? -1;
    if (line === undefined || at < 0) return;
    line.splice(at, 1);
    if (line.length === 0) this.#lines.delete(place.key);
    else if (at === 0) line[0]!.wake();
  }
}

/** One call's place in a line. `leave` it on every path. */
export class Place {
  readonly key: string;
  readonly #lifetime: Lifetime;
  readonly #gone: () => void;
  #woken = false;
  #expired = false;
  #settle: ((turn: Turn) => void) | undefined;

  constructor(key: string, lifetime: Lifetime, gone: () => void) {
    this.key = key;
    this.#lifetime = lifetime;
    this.#gone = gone;
  }

  /** Resolves when it was woken, after `retry` milliseconds, or as `late` after `rest`. */
  turn(retry: number, rest: number): Promise<Turn> {
    if (this.#lifetime.over) return Promise.resolve('ended');
    if (this.#expired || rest <= 0) return Promise.resolve('late');
    if (this.#woken) {
      this.#woken = false;
      return Promise.resolve('turn');
    }
    return new Promise((resolve) => {
      const late = rest <= retry;
      const timer = setTimeout(() => this.#settle?.(late ? 'late' : 'turn'), Math.ceil(Math.min(retry, rest)));
      const forget = this.#lifetime.onEnd(() => this.#settle?.('ended'));
      this.#settle = (turn) => {
        this.#settle = undefined;
        clearTimeout(timer);
        forget();
        resolve(turn);
      };
    });
  }

  wake(): void {
    if (this.#settle === undefined) this.#woken = true;
    else this.#settle('turn');
  }

  expire(): void {
    this.#expired = true;
    this.#settle?.('late');
  }

  leave(): void {
    this.#gone();
  }
}

/** Sleeps; false when the call ended first. */
export function sleep(ms: number, lifetime: Lifetime): Promise<boolean> {
  if (lifetime.over) return Promise.resolve(false);
  return new Promise((resolve) => {
    const timer = setTimeout(() => {
      forget();
      resolve(true);
    }, Math.ceil(ms));
    const forget = lifetime.onEnd(() => {
      clearTimeout(timer);
      resolve(false);
    });
  });
}
