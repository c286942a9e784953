/**
 * Counts callers that were turned away before limits were asked, and tells who watches of some of them. Nothing that a
 * stranger sent is kept or told; a flood costs one addition each, and a fixed number a second for each watcher.
 */
import type { Clock } from '../core/clock.ts';
import type { TollgateError } from '../core/errors.ts';

/**
 * `no_credential`: none was sent, as every sign-in of a client begins. `not_accepted`: no entry accepts it. `unchecked`:
 * it could not be judged. `blocked`: by an operator. `insufficient_scope`: 403. `access_rule`: rules give the name, but
 * not with these arguments. `hidden`: rules do not give the name, so that it does not exist for this caller.
 */
export type RefusedReason = keyof typeof NONE;
export type RefusedCounts = Readonly<Record<RefusedReason, number>>;

/** One that was turned away with no call to show. Its credential, or a digest of it, is in no member. */
export interface RefusedCaller {
  /** Wall time in milliseconds. */
  readonly at: number;
  /** Empty: the REST and admin surfaces. */
  readonly endpoint: string;
  /** Of the client, trusted proxies taken into account; undefined: not known here. */
  readonly address: string | undefined;
  readonly reason: 'no_credential' | 'not_accepted' | 'unchecked' | 'blocked';
  /** Of `blocked`: who it is, and the id of the record. */
  readonly principal: string | undefined;
  readonly decisionId: string | undefined;
  /** Others like it since the one before that were not told. */
  readonly untold: number;
}

/** Where a caller was turned away, and who it is where that is known. */
export interface RefusedAt {
  readonly endpoint: string;
  readonly address: string | undefined;
  readonly principal?: string | undefined;
  readonly decisionId?: string | undefined;
}

/** Told at once, and each second after that. */
const BURST = 20;
const PER_SECOND = 5;

const NONE = {
  no_credential: 0,
  not_accepted: 0,
  unchecked: 0,
  blocked: 0,
  insufficient_scope: 0,
  access_rule: 0,
  hidden: 0,
};

export class RefusedCallers {
  readonly #counts: Record<RefusedReason, number> = { ...NONE };
  readonly #clock: Clock;
  readonly #watchers = new Set<(caller: RefusedCaller) => void>();
  #left = BURST;
  #refilled = Number.NEGATIVE_INFINITY;
  #untold = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * Counts a refusal by its code and gives it back. `sent`: with a credential. Other codes are not counted. `at`: where
   * there is no call that shows it.
   */
  refused(error: TollgateError, sent: boolean, at?: RefusedAt): TollgateError {
    switch (error.code) {
      case 'unauthorized':
        this.#count(sent ? 'not_accepted' : 'no_credential', at);
        break;
      case 'identity_unavailable':
        this.#count('unchecked', at);
        break;
      case 'blocked':
        this.#count('blocked', at);
        break;
      case 'insufficient_scope':
        this.#counts.insufficient_scope++;
        break;
      case 'access_denied':
        this.#counts.access_rule++;
        break;
    }
    return error;
  }

  /** Calls back for callers that are turned away from now on; returns the way to stop. A listener that throws is dropped. */
  watch(listener: (caller: RefusedCaller) => void): () => void {
    // One function may watch twice.
    const watcher = (caller: RefusedCaller): void => listener(caller);
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }

  /** A name that rules hide from this caller was asked for. */
  hidden(): void {
    this.#counts.hidden++;
  }

  get counts(): RefusedCounts {
    return { ...this.#counts };
  }

  #count(reason: RefusedCaller['reason'], at: RefusedAt | undefined): void {
    this.#counts[reason]++;
    if (at === undefined || this.#watchers.size === 0) return;
    const now = this.#clock.monotonic();
    this.#left = Math.min(BURST, this.#left + ((now - this.#refilled) * PER_SECOND) / 1000);
    this.#refilled = now;
    if (this.#left < 1) {
      this.#untold++;
      return;
    }
    this.#left--;
    const { endpoint, address, principal, decisionId } = at;
    const caller = { at: this.#clock.wall(), endpoint, address, reason, principal, decisionId, untold: this.#untold };
    this.#untold = 0;
    for (const watcher of this.#watchers) {
      try {
        watcher(caller);
      } catch {
        // Whoever watches must never disturb who is watched.
        this.#watchers.delete(watcher);
      }
    }
  }
}
