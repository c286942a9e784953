import { identityOf, lanesOf, type Principal } from '../core/principal.ts';
import { BoundedMap } from './bounded-map.ts';

/** Subjects of tokens whose key is remembered; one that was not seen for so long comes back under a new key. */
const MAX_CALLERS = 100_000;
/** Anonymous address prefixes that get a principal of their own; the least recently used gives way. */
const MAX_ANONYMOUS = 10_000;

/**
 * Mints the small integers that stand for principals in limits and sessions. One must never be given to somebody
 * else, so they count up and are never reused. The composition root keeps one of these over reloads: a principal
 * of the new configuration then has its old key, and what it used stays used.
 */
export class PrincipalKeys {
  #next = 1;
  readonly #byId = new Map<string, number>();
  readonly #callers: BoundedMap<string, number>;

  constructor(maxCallers = MAX_CALLERS) {
    this.#callers = new BoundedMap(maxCallers);
  }

  /** Key of a principal named by the configuration (so bounded by it): the same id always has the same key. */
  of(id: string): number {
    let key = this.#byId.get(id);
    if (key === undefined) {
      key = this.#next++;
      this.#byId.set(id, key);
    }
    return key;
  }

  /** Key of a caller whom somebody else names (the subject of a token, of a key): bounded. */
  ofCaller(id: string): number {
    let key = this.#byId.get(id) ?? this.#callers.get(id);
    if (key === undefined) {
      key = this.#next++;
      this.#callers.set(id, key);
    }
    return key;
  }

  /** Callers whose keys are remembered. */
  get callers(): number {
    return this.#callers.size;
  }

  /** A key that nobody had; it is not remembered here. */
  fresh(): number {
    return this.#next++;
  }
}

export type PrincipalInit = Omit<Principal, 'id' | 'person' | 'key' | 'lanes'>;

/** The principal of a configured entry or of the local user. */
export function configuredPrincipal(keys: PrincipalKeys, init: PrincipalInit): Principal {
  const identity = identityOf({ person: `${init.entry}/${init.subject}`, tenant: init.tenant });
  return Object.freeze({ ...identity, key: keys.of(identity.id), ...init });
}

/** The principal of a credential that was verified: all of one (entry, subject, tenant) have one key. */
export function callerPrincipal(keys: PrincipalKeys, init: PrincipalInit): Principal {
  const identity = identityOf({ person: `${init.entry}/${init.subject}`, tenant: init.tenant });
  return Object.freeze({ ...identity, key: keys.ofCaller(identity.id), ...init });
}

/** Role of those who bring no credential of their own. */
const USER_ROLE = Object.freeze(['user']);

/** The one anonymous principal of a loopback listener. */
export function loopbackAnonymous(keys: PrincipalKeys, tier: string | undefined): Principal {
  const id = 'anonymous';
  return Object.freeze({ ...anonymousInit(id, tier), id, person: id, key: keys.of(id), lanes: lanesOf(id) });
}

/** Entry of the local user; no configured entry can have this name. */
export const LOCAL = 'local';

/** Principal of the person at the machine, who speaks over stdio: no scopes apply to them. */
export function localPrincipal(keys: PrincipalKeys, user: string): Principal {
  return configuredPrincipal(keys, { ...anonymousInit(user, undefined), entry: LOCAL });
}

function anonymousInit(subject: string, tier: string | undefined): PrincipalInit {
  return {
    entry: 'anonymous',
    subject,
    tenant: undefined,
    tier,
    roles: USER_ROLE,
    scopes: undefined,
    clientId: undefined,
  };
}

/** Anonymous principals beyond loopback, one for each address prefix, bounded: random addresses cannot fill memory. */
export class AnonymousTable {
  readonly #keys: PrincipalKeys;
  readonly #tier: string | undefined;
  readonly #max: number;
  readonly #byPrefix = new Map<string, Principal>();

  constructor(keys: PrincipalKeys, tier: string | undefined, max = MAX_ANONYMOUS) {
    this.#keys = keys;
    this.#tier = tier;
    this.#max = max;
  }

  get size(): number {
    return this.#byPrefix.size;
  }

  /** The principal of a prefix; one that was pushed out comes back under a new key. */
  get(prefix: string): Principal {
    const known = this.#byPrefix.get(prefix);
    if (known !== undefined) {
      this.#byPrefix.delete(prefix);
      this.#byPrefix.set(prefix, known);
      return known;
    }
    if (this.#byPrefix.size >= this.#max) {
      const oldest = this.#byPrefix.keys().next();
      if (!oldest.done) this.#byPrefix.delete(oldest.value);
    }
    const id = `anonymous/${prefix}`;
    const made = Object.freeze({
      ...anonymousInit(prefix, this.#tier),
      id,
      person: id,
      key: this.#keys.fresh(),
      lanes: lanesOf(id),
    });
    this.#byPrefix.set(prefix, made);
    return made;
  }
}
