import { compactVerify, errors } from 'jose';
import type { Clock } from '../core/clock.ts';
import type { Egress } from '../core/egress.ts';
import type { Log } from '../core/log.ts';
import type { Principal } from '../core/principal.ts';
import { claimsFault, principalOf } from './claims.ts';
import { type KeySource, keySourceOf, type VerificationKey } from './key-sources.ts';
import type { Audience, AuthMethod, MethodView, Outcome } from './method.ts';
import type { TokenEntry } from './options.ts';
import type { PrincipalKeys } from './principals.ts';
import { keepSubjectToken } from './subject-token.ts';
import { type ParsedToken, parseToken } from './token.ts';

/** Milliseconds for which a verified token is believed without looking again. */
const BELIEVED = 60_000;

export interface TokenDeps {
  /** Outlives a reload, so that principals keep their keys. */
  readonly keys: PrincipalKeys;
  readonly clock: Clock;
  readonly log: Log;
  /** Reaches the URLs of the configuration wherever they are, and what they name only in public. */
  readonly egress: Egress;
}

/**
 * Tokens of one issuer. Algorithms are those of the configuration: the header of a token can only name one of them,
 * and a secret is never compared with what a public key signed (CVE-2026-22817, RFC 8725 section 3.1).
 */
export class TokenMethod implements AuthMethod {
  readonly entry: string;
  readonly #options: TokenEntry;
  readonly #deps: TokenDeps;
  readonly #source: KeySource;
  readonly #given = new WeakSet<Principal>();

  constructor(options: TokenEntry, deps: TokenDeps) {
    this.entry = options.name;
    this.#options = options;
    this.#deps = deps;
    this.#source = keySourceOf(options, deps);
  }

  get revision(): number {
    return this.#source.revision;
  }

  get view(): MethodView | undefined {
    return this.#source.view;
  }

  verify(text: string, audience: Audience, wall: number): Outcome | Promise<Outcome> {
    const token = parseToken(text);
    const { rules } = this.#options;
    if (token === undefined) return undefined;
    if (!rules.algorithms.includes(token.algorithm)) return this.#refused('alg is not accepted', audience);
    // Nothing of it is believed yet; but what is wrong already needs no key, and costs the issuer no request.
    const fault = claimsFault(token, rules, audience, wall);
    return fault === undefined ? this.#verified(text, token, audience, wall) : this.#refused(fault, audience);
  }

  recognises(principal: Principal): boolean {
    // Not its end: in a session its client may have shown a newer one since, and what it opened ends by itself.
    return this.#given.has(principal);
  }

  close(): void {
    this.#source.close();
  }

  /** Its sender never learns why; who runs the gateway can, with `--debug`. Nothing of the token is in it. */
  #refused(reason: string, { resource }: Audience): undefined {
    this.#deps.log.debug({ entry: this.entry, resource, reason }, 'a token was not accepted');
    return undefined;
  }

  async #verified(text: string, token: ParsedToken, audience: Audience, wall: number): Promise<Outcome> {
    const { name, rules } = this.#options;
    try {
      const { algorithm: alg, keyId: kid } = token;
      const key = await this.#source.get(kid === undefined ? { alg } : { alg, kid });
      if (key === 'unavailable') return key;
      if (key === undefined) return this.#refused('no key of its issuer fits kid and alg', audience);
      if (!(await signed(text, key, alg))) return this.#refused('the signature is wrong', audience);
      const principal = principalOf(name, token.claims, rules, this.#deps.keys);
      if (principal === undefined) return this.#refused('its claims do not fit `map` or `scopes`', audience);
      this.#given.add(principal);
      keepSubjectToken(principal, text);
      return { principal, validUntil: Math.min(wall + BELIEVED, principal.expiresAt ?? Number.POSITIVE_INFINITY) };
    } catch (error) {
      this.#deps.log.error({ err: error, entry: name }, 'a token could not be verified');
      return undefined;
    }
  }
}

async function signed(text: string, key: VerificationKey, algorithm: string): Promise<boolean> {
  try {
    await compactVerify(text, key, { algorithms: [algorithm] });
    return true;
  } catch (error) {
    // A key of another kind than the algorithm is a TypeError there: it has not signed this.
    if (error instanceof errors.JOSEError || error instanceof TypeError) return false;
    throw error;
  }
}
