import { createHash, timingSafeEqual } from 'node:crypto';
import type { Principal } from '../core/principal.ts';
import type { AuthMethod, Verified } from './method.ts';
import type { BearerEntry } from './options.ts';
import { configuredPrincipal, type PrincipalKeys } from './principals.ts';

/** One static token. Digests have one length, so the comparison says nothing about the token by its time. */
export class BearerMethod implements AuthMethod {
  readonly entry: string;
  readonly revision = 0;
  readonly #digest: Buffer;
  readonly #verified: Verified;

  constructor(entry: BearerEntry, keys: PrincipalKeys) {
    this.entry = entry.name;
    this.#digest = digest(entry.token);
    this.#verified = {
      principal: configuredPrincipal(keys, {
        entry: entry.name,
        subject: entry.subject,
        tenant: entry.tenant,
        tier: entry.tier,
        roles: Object.freeze([...entry.roles]),
        scopes: Object.freeze([...entry.scopes]),
        clientId: undefined,
      }),
      validUntil: Number.POSITIVE_INFINITY,
    };
  }

  verify(token: string): Verified | undefined {
    return timingSafeEqual(this.#digest, digest(token)) ? this.#verified : undefined;
  }

  recognises(principal: Principal): boolean {
    return principal === this.#verified.principal;
  }
}

function digest(token: string): Buffer {
  return createHash('sha256').update(token, 'utf8').digest();
}
