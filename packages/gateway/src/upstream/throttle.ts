/** Slows down a child that floods: reading what nobody needs must not take the time of everybody else's calls. */
import type { Readable } from 'node:stream';
import type { Clock } from '../core/clock.ts';

const WINDOW_MS = 1000;

/**
 * A stream may cost `perSecond` units; what it costs beyond that waits in its pipe until the second is over, so that
 * the flooding process is held up by its own pipe.
 */
export class Throttle {
  readonly #stream: Readable;
  readonly #clock: Clock;
  readonly #perSecond: number;
  #since: number;
  #spent = 0;
  #resting: NodeJS.Timeout | undefined;

  constructor(stream: Readable, clock: Clock, perSecond: number) {
    this.#stream = stream;
    this.#clock = clock;
    this.#perSecond = perSecond;
    this.#since = clock.monotonic();
  }

  /** Counts. Looks at the clock only when the allowance is used up: an ordinary server never makes it. */
  spend(units: number): void {
    this.#spent += units;
    if (this.#spent < this.#perSecond || this.#resting !== undefined) return;
    const rest = this.#since + WINDOW_MS - this.#clock.monotonic();
    if (rest <= 0) {
      this.#again();
      return;
    }
    this.#stream.pause();
    this.#resting = setTimeout(() => {
      this.#again();
      this.#stream.resume();
    }, rest);
    this.#resting.unref();
  }

  /** Reads on at once, for good: what a dead process left in its pipe is its last word. */
  release(): void {
    clearTimeout(this.#resting);
    this.#spent = Number.NEGATIVE_INFINITY;
    this.#resting = undefined;
    this.#stream.resume();
  }

  #again(): void {
    this.#resting = undefined;
    this.#spent = 0;
    this.#since = this.#clock.monotonic();
  }
}
