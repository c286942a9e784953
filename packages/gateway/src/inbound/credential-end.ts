import type { Clock } from '../core/clock.ts';
import { TollgateError } from '../core/errors.ts';
import type { Lifetime } from '../core/lifetime.ts';
import type { Principal } from '../core/principal.ts';

/** Longest wait of one timer. */
const MAX_WAIT = 2 ** 31 - 1;

/**
 * Ends what outlives a request (a listen stream, a session) together with the credential under which it was opened, or
 * the latest one that its client showed since. Without it a stream would tell on for ever whom nobody lets in any more.
 */
export class CredentialEnd {
  readonly #clock: Clock;
  readonly #lifetime: Lifetime;
  #endsAt: number;
  #timer: NodeJS.Timeout | undefined;

  constructor(clock: Clock, lifetime: Lifetime, principal: Principal) {
    this.#clock = clock;
    this.#lifetime = lifetime;
    this.#endsAt = principal.expiresAt ?? Number.POSITIVE_INFINITY;
    if (principal.expiresAt === undefined) return;
    lifetime.onEnd(() => this.stop());
    this.#wait();
  }

  /** The client came again, with this credential. */
  renewed(principal: Principal): void {
    if (this.#endsAt !== Number.POSITIVE_INFINITY) {
      this.#endsAt = Math.max(this.#endsAt, principal.expiresAt ?? Number.POSITIVE_INFINITY);
    }
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  #wait(): void {
    const left = this.#endsAt - this.#clock.wall();
    if (left <= 0) {
      this.#lifetime.end(
        new TollgateError('session_not_found', 'The credential has ended. Come back with a new one.', {
          executed: 'unknown',
        }),
      );
    } else if (left !== Number.POSITIVE_INFINITY) {
      this.#timer = setTimeout(() => this.#wait(), Math.min(left, MAX_WAIT)).unref();
    }
  }
}
