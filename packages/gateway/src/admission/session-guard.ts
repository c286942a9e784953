/**
 * A fixed window of requests for each session, counted before anything of a request is read (C-01), on HTTP only
 * (C-20). Process-local: every gateway counts for itself.
 */
import { TollgateError } from '../core/errors.ts';
import type { Principal } from '../core/principal.ts';
import type { SessionGuard } from '../protocol/call.ts';

export interface SessionGuardOptions {
  /** Requests in a window. Default 120. */
  readonly limit: number;
  /** Default 60,000. */
  readonly periodMs: number;
}

export const DEFAULT_SESSION_GUARD: SessionGuardOptions = { limit: 120, periodMs: 60_000 };

/** Sessions that are counted one by one; the one whose window began first gives way. */
const MAX_SESSIONS = 100_000;

interface Window {
  readonly start: number;
  count: number;
}

/** What the guard says of one request. */
export interface GuardDecision {
  readonly allowed: boolean;
  /** Whole seconds until the window ends, at least 1; undefined: allowed. */
  readonly retryAfterSeconds: number | undefined;
}

const ALLOWED: GuardDecision = { allowed: true, retryAfterSeconds: undefined };

/** Counts requests of sessions. A refused request changes nothing, so that it does not make the wait longer. */
export class SessionWindows {
  /** Requests refused so far, for the metrics. */
  denials = 0;
  readonly #limit: number;
  readonly #periodMs: number;
  readonly #max: number;
  /** In the order in which their windows began. */
  readonly #windows = new Map<string, Window>();

  /** Throws `config_invalid` for a limit or period that is not positive. */
  constructor({ limit, periodMs }: SessionGuardOptions = DEFAULT_SESSION_GUARD, max = MAX_SESSIONS) {
    if (!(Number.isSafeInteger(limit) && limit > 0)) {
      throw new TollgateError(
        'config_invalid',
        `sessionGuard: the limit must be a positive whole number, got ${limit}.`,
      );
    }
    if (!(periodMs > 0 && Number.isFinite(periodMs))) {
      throw new TollgateError('config_invalid', `sessionGuard: the period must be longer than 0, got ${periodMs} ms.`);
    }
    this.#limit = limit;
    this.#periodMs = periodMs;
    this.#max = max;
  }

  get size(): number {
    return this.#windows.size;
  }

  /** Counts a request. `now` is in monotonic milliseconds. */
  check(session: string, now: number): GuardDecision {
    const window = this.#windows.get(session);
    if (window === undefined || now - window.start >= this.#periodMs) {
      this.#begin(session, now);
      return ALLOWED;
    }
    if (window.count < this.#limit) {
      window.count++;
      return ALLOWED;
    }
    this.denials++;
    const left = window.start + this.#periodMs - now;
    return { allowed: false, retryAfterSeconds: Math.max(1, Math.ceil(left / 1000)) };
  }

  #begin(session: string, now: number): void {
    // Taken out first, so that it comes to the end of the order.
    this.#windows.delete(session);
    for (const [other, window] of this.#windows) {
      const over = now - window.start >= this.#periodMs;
      if (!over && this.#windows.size < this.#max) break;
      this.#windows.delete(other);
    }
    this.#windows.set(session, { start: now, count: 1 });
  }
}

/** Counted by the session where there is one, else by the principal. `denied` is told of every refusal. */
export function sessionGuard(
  windows: SessionWindows,
  monotonic: () => number,
  denied?: (principal: Principal, session: string | undefined) => void,
): SessionGuard {
  return (principal, session) => {
    // A session id has no slash, a principal's id may: the mark keeps them apart.
    const decision = windows.check(session === undefined ? `p ${principal.id}` : `s ${session}`, monotonic());
    if (decision.allowed) return undefined;
    denied?.(principal, session);
    const { retryAfterSeconds } = decision;
    return new TollgateError('rate_limited', `Too many requests of this session. Repeat in ${retryAfterSeconds} s.`, {
      retryAfterSeconds: retryAfterSeconds!,
    });
  };
}
