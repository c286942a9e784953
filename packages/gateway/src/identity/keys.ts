/** API keys that Tollgate issued, as a method of authentication. */
import { randomBytes, timingSafeEqual } from 'node:crypto';
import type { Principal } from '../core/principal.ts';
import { keyDigest, keyId } from './key-format.ts';
import type { AuthMethod, MethodView, Outcome } from './method.ts';
import type { KeysEntry } from './options.ts';
import { configuredPrincipal, type PrincipalKeys } from './principals.ts';

/** A key that is accepted, as the book of keys has it; the same object while nothing about it changes. */
export interface IssuedKey {
  readonly id: string;
  /** Name of the auth entry that accepts it. */
  readonly entry: string;
  readonly subject: string;
  readonly tenant: string | undefined;
  readonly tier: string | undefined;
  readonly roles: readonly string[];
  readonly scopes: readonly string[];
  readonly digest: Buffer;
  /** Wall milliseconds. */
  readonly expiresAt: number | undefined;
}

/** The keys in force, in memory: a caller without a key makes nobody read a database. */
export interface KeySource {
  find(id: string): IssuedKey | undefined;
  /** Called when a key was verified: at most once a minute per key, as long as what was verified is remembered. */
  used(id: string, wall: number): void;
  /** Changes when a key is withdrawn. */
  readonly revision: number;
  /** How many keys are in force; undefined: that cannot be told, because the storage is or was away. */
  readonly known: number | undefined;
}

/** For how long a verified key may be remembered: so coarse is the time of its last use. */
const REMEMBER_MS = 60_000;
/** Compared with in place of the digest of a key that does not exist: both ways are the same work. */
const NOBODY = randomBytes(32);

export class KeysMethod implements AuthMethod {
  readonly entry: string;
  readonly #tier: string | undefined;
  readonly #source: KeySource;
  readonly #principals: PrincipalKeys;
  readonly #made = new WeakMap<IssuedKey, Principal>();

  constructor(entry: KeysEntry, source: KeySource, principals: PrincipalKeys) {
    this.entry = entry.name;
    this.#tier = entry.tier;
    this.#source = source;
    this.#principals = principals;
  }

  get revision(): number {
    return this.#source.revision;
  }

  get view(): MethodView {
    const { known } = this.#source;
    return known === undefined
      ? { entry: this.entry, state: 'failing', problem: 'Keys cannot be read from storage: none is accepted.', keys: 0 }
      : { entry: this.entry, state: 'ready', problem: undefined, keys: known };
  }

  verify(token: string, _audience: unknown, wall: number): Outcome {
    // What is no key of this form tells nothing about any key; from here on an unknown id costs what a known one does.
    const id = keyId(token);
    if (id === undefined) return undefined;
    if (this.#source.known === undefined) return 'unavailable';
    const key = this.#source.find(id);
    const equal = timingSafeEqual(keyDigest(token), key?.digest ?? NOBODY);
    if (!equal || key === undefined || key.entry !== this.entry) return undefined;
    if (key.expiresAt !== undefined && key.expiresAt <= wall) return undefined;
    this.#source.used(id, wall);
    const until = wall + REMEMBER_MS;
    return { principal: this.#principalOf(key), validUntil: Math.min(until, key.expiresAt ?? until) };
  }

  recognises(principal: Principal, wall: number): boolean {
    const key = principal.clientId === undefined ? undefined : this.#source.find(principal.clientId);
    if (key === undefined || (key.expiresAt !== undefined && key.expiresAt <= wall)) return false;
    return this.#made.get(key) === principal;
  }

  #principalOf(key: IssuedKey): Principal {
    let principal = this.#made.get(key);
    if (principal === undefined) {
      principal = configuredPrincipal(this.#principals, {
        entry: this.entry,
        subject: key.subject,
        tenant: key.tenant,
        tier: key.tier ?? this.#tier,
        roles: Object.freeze([...key.roles]),
        scopes: Object.freeze([...key.scopes]),
        clientId: key.id,
        keyId: key.id,
        expiresAt: key.expiresAt,
      });
      this.#made.set(key, principal);
    }
    return principal;
  }
}
