/** One way to be recognised by a token; `identity.ts` tries those of the configuration in file order. */
import type { Principal } from '../core/principal.ts';

/** For whom a token must have been made. */
export interface Audience {
  /** Path of the endpoint, or of the REST or admin surface. */
  readonly path: string;
  /** Canonical URI that `aud` must name, exactly. */
  readonly resource: string;
}

export interface Verified {
  readonly principal: Principal;
  /** Wall time in milliseconds after which the credential must be verified again; at most its own end. */
  readonly validUntil: number;
}

export interface AuthMethod {
  /** Name of the auth entry. */
  readonly entry: string;
  /**
   * Who sent the token; undefined: this method does not accept it (for whatever reason: no caller learns which). A
   * promise only where something has to be computed or fetched. Never throws; an internal failure is logged and is
   * undefined.
   */
  verify(token: string, audience: Audience, wall: number): Verified | undefined | Promise<Verified | undefined>;
  /**
   * Changes when something that was accepted may no longer be (a revoked key, another key set): what is remembered of
   * before is then verified again. Read on every request, so a plain number.
   */
  readonly revision: number;
  /** Ends timers and fetches. */
  close?(): void;
}
