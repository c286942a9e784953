/** What is wrong with a server, and from when on it is worth trying again. */
import type { Clock } from '../core/clock.ts';
import { TollgateError } from '../core/errors.ts';
import type { ClientSession } from '../protocol/call.ts';
import { backoff } from './backoff.ts';
import { statusOf } from './http-failure.ts';

/** A connection that lived so long was healthy: its death starts a new count. */
const HEALTHY_MS = 60_000;
/** A server's own Retry-After is obeyed up to this. */
const MAX_SERVER_WISH_MS = 60_000;

export class Restarts {
  /** Why the server cannot be used, or why the last connection died; undefined when all is well. */
  problem: TollgateError | undefined;
  /** Longest pause between two attempts, in milliseconds. */
  readonly longest: number;
  readonly #clock: Clock;
  #startFailures = 0;
  /** Deaths of the shared connection in quick succession. */
  #crashes = 0;
  #retryAt = 0;

  constructor(clock: Clock, longest: number) {
    this.#clock = clock;
    this.longest = longest;
  }

  /** Throws the problem again, with the seconds to wait, while it is too early for another attempt. */
  refuseTooEarly(): void {
    const wait = this.#retryAt - this.#clock.monotonic();
    const { problem } = this;
    if (problem === undefined || wait <= 0) return;
    const retryAfterSeconds = Math.ceil(wait / 1000);
    throw new TollgateError(problem.code, problem.message, { cause: problem, retryAfterSeconds });
  }

  connected(): void {
    this.problem = undefined;
    this.#startFailures = 0;
    this.#retryAt = 0;
  }

  startFailed(error: TollgateError): void {
    this.problem = error;
    const wish = Math.min((error.retryAfterSeconds ?? 0) * 1000, MAX_SERVER_WISH_MS);
    this.#retryAt = this.#clock.monotonic() + Math.max(wish, backoff(this.#startFailures++, this.longest));
  }

  /**
   * A connection opened at `openedAt` died. Only what all callers share delays all callers, from the second death
   * in a row on; one of many instances concerns its own. A server that answered, if only with a status that leaves its
   * era in doubt, is there: a caller whose call it refuses so must not close it to the others.
   */
  died(error: TollgateError, shared: boolean, openedAt: number): void {
    this.problem = error;
    if (!shared || statusOf(error) !== undefined) return;
    const now = this.#clock.monotonic();
    if (now - openedAt >= HEALTHY_MS) this.#crashes = 0;
    if (this.#crashes++ > 0) this.#retryAt = now + backoff(this.#crashes - 2, this.longest);
  }
}

/** The same for single sessions whose own handshake failed while the server served others. */
export class SessionRestarts {
  readonly #clock: Clock;
  readonly #longest: number;
  readonly #bySession = new WeakMap<ClientSession, Restarts>();

  constructor(clock: Clock, longest: number) {
    this.#clock = clock;
    this.#longest = longest;
  }

  refuseTooEarly(session: ClientSession): void {
    this.#bySession.get(session)?.refuseTooEarly();
  }

  startFailed(session: ClientSession, error: TollgateError): void {
    const restarts = this.#bySession.get(session) ?? new Restarts(this.#clock, this.#longest);
    restarts.startFailed(error);
    this.#bySession.set(session, restarts);
  }
}
