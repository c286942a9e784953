/** One way to be recognised by a token; `identity.ts` tries those of the configuration in file order. */
import type { Principal } from '../core/principal.ts';

/** For whom a token must have been made. */
export interface Audience {
  /** Path of the endpoint; empty for REST and admin surfaces. */
  readonly path: string;
  /** Canonical URI that `aud` must name, exactly. */
  readonly resource: string;
}

export interface Verified {
  readonly principal: Principal;
  /** Wall time in milliseconds after which the credential must be verified again; at most its own end. */
  readonly validUntil: number;
}

/**
 * Who sent the token; undefined: this method does not accept it (for whatever reason: no caller learns which);
 * `unavailable`: it may be good, but what it takes to tell is away (keys that never came, storage).
 */
export type Outcome = Verified | 'unavailable' | undefined;

export interface AuthMethod {
  /** Name of the auth entry. */
  readonly entry: string;
  /**
   * Judges a token. A promise only where something has to be computed or fetched. Never throws; an internal failure is
   * logged and is undefined.
   */
  verify(token: string, audience: Audience, wall: number): Outcome | Promise<Outcome>;
  /**
   * Changes when something that was accepted may no longer be (a revoked key, another key set): what is remembered of
   * before is then verified again. Read on every request, so a plain number.
   */
  readonly revision: number;
  /**
   * Whether a principal that this method gave earlier would be given still, as far as that can be told without the
   * token: not revoked. Absent: always, as long as the entry is as it was.
   */
  recognises?(principal: Principal, wall: number): boolean;
  /** For `status`; absent: nothing can go wrong with it. */
  readonly view?: MethodView | undefined;
  /** Ends timers and fetches. */
  close?(): void;
}

/** How a method is doing. */
export interface MethodView {
  readonly entry: string;
  readonly state: 'ready' | 'waiting' | 'stale' | 'failing';
  /** In words; undefined: nothing is wrong. */
  readonly problem: string | undefined;
  readonly keys: number;
}
