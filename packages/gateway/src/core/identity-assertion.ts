/**
 * What the identity provider said of a person who signed in through the OAuth bridge, kept in that person's part of the
 * vault: the bridge asks with it whether they may still be here, enterprise-managed authorization exchanges it.
 */
import type { SecretId } from './secrets.ts';

export interface IdentityAssertion {
  /** The provider that made it; for nobody else. */
  readonly issuer: string;
  /** The gateway's client id there. */
  readonly clientId: string;
  readonly idToken: string;
  /** Undefined: the provider gave none. */
  readonly refreshToken: string | undefined;
  /** Wall milliseconds at which the ID token ends. */
  readonly expiresAt: number;
}

/** Where it is kept: under the person, by auth entry. Write it inside `exclusive` of this id. */
export function identityAssertionId(principal: string, entry: string): SecretId {
  return { owner: { kind: 'principal', principal }, purpose: 'identity-assertion', name: entry };
}

export function writeIdentityAssertion(assertion: IdentityAssertion): string {
  return JSON.stringify(assertion);
}

/** Undefined for a text that is none. */
export function readIdentityAssertion(text: string | undefined): IdentityAssertion | undefined {
  if (text === undefined) return undefined;
  try {
    const read = JSON.parse(text) as Partial<IdentityAssertion> | null;
    if (typeof read?.issuer !== 'string' || typeof read.idToken !== 'string') return undefined;
    return { ...(read as IdentityAssertion), refreshToken: read.refreshToken };
  } catch {
    return undefined;
  }
}
