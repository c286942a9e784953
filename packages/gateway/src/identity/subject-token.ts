/**
 * The caller's own token, for whoever exchanges it for another at an authorization server (RFC 8693). It is no member
 * of the principal, which goes to logs, records and expressions.
 */
import type { Principal } from '../core/principal.ts';

const tokens = new WeakMap<Principal, string>();

export function keepSubjectToken(principal: Principal, token: string): void {
  tokens.set(principal, token);
}

/** Undefined: this caller came without a token that somebody else could exchange (key, static token, anonymous, stdio). */
export function subjectToken(principal: Principal): string | undefined {
  return tokens.get(principal);
}
