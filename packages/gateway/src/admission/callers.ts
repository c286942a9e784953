import type { Ask } from '@tollgate/limiter';
import { type Lanes, lanesOf, type Principal } from '../core/principal.ts';
import { Field, type Message } from '../protocol/message.ts';
import { canonicalJson } from './canonical.ts';
import type { CompiledLimit } from './limits.ts';
import type { TierBook } from './tiers.ts';

/** Whose request is counted. A `Call` is one. */
export interface Asker {
  readonly principal: Principal;
  readonly session: { readonly id: string } | undefined;
  readonly address: string | undefined;
  readonly message: Pick<Message, 'kind' | 'method' | 'raw' | 'json'>;
  /** Digest of the arguments, once it was made. */
  argumentLanes: Lanes | undefined;
  /** Id of the decision, made when somebody needs it. */
  decisionId: string | undefined;
}

/** What is worked out once of a principal: tier in force, and what stands for it in keys. */
export interface Caller {
  readonly tierVersion: number;
  readonly tier: string;
  readonly tenant: Lanes | undefined;
  readonly client: Lanes | undefined;
  /** Where a cluster keeps the counters. */
  readonly tag: string;
  /** By the limit's place: 0 not asked yet, 1 covered, 2 not covered. */
  readonly tenants: Uint8Array;
}

/** Addresses whose digest is kept; then all are forgotten and made again. */
const MAX_ADDRESSES = 10_000;

/** What stands for callers in keys; every digest is made once. */
export class Callers {
  readonly #tiers: TierBook;
  readonly #limits: number;
  readonly #prefixOf: (address: string) => string;
  readonly #known = new WeakMap<Principal, Caller>();
  readonly #sessions = new WeakMap<object, Lanes>();
  readonly #addresses = new Map<string, Lanes>();

  constructor(tiers: TierBook, limits: number, prefixOf: (address: string) => string) {
    this.#tiers = tiers;
    this.#limits = limits;
    this.#prefixOf = prefixOf;
  }

  of(principal: Principal): Caller {
    const known = this.#known.get(principal);
    if (known !== undefined && known.tierVersion === this.#tiers.version) return known;
    const caller = this.as(principal, this.#tiers.of(principal));
    this.#known.set(principal, caller);
    return caller;
  }

  /** The caller in this tier, whatever is stored. */
  as(principal: Principal, tier: string): Caller {
    const { tenant, clientId, id } = principal;
    return {
      tierVersion: this.#tiers.version,
      tier,
      tenant: tenant === undefined ? undefined : lanesOf(tenant),
      client: clientId === undefined ? undefined : lanesOf(clientId),
      tag: tenant ?? id,
      tenants: new Uint8Array(this.#limits),
    };
  }

  /**
   * Adds to the last rule of the ask what the limit counts by. The parts come in one fixed order and each is as long
   * as every other of its kind, so that no two callers share a key by accident.
   */
  addKey(ask: Ask, limit: CompiledLimit, asker: Asker, caller: Caller): void {
    const { principal } = asker;
    if (limit.bySession) {
      const session = asker.session ?? principal.session;
      addOr(ask, session === undefined ? undefined : this.#sessionLanes(session), principal.lanes);
    }
    if (limit.byPrincipal) ask.key(principal.lanes[0]).key(principal.lanes[1]);
    // Who has no tenant, or no client id, shares a counter with nobody.
    if (limit.byTenant) addOr(ask, caller.tenant, principal.lanes);
    if (limit.byClient) addOr(ask, caller.client, principal.lanes);
    if (limit.byAddress) addOr(ask, this.#addressLanes(asker.address), principal.lanes);
    if (limit.byArguments) {
      asker.argumentLanes ??= lanesOf(canonicalJson(asker.message.json(Field.arguments)));
      ask.key(asker.argumentLanes[0]).key(asker.argumentLanes[1]);
    }
  }

  #sessionLanes(session: { readonly id: string }): Lanes {
    let lanes = this.#sessions.get(session);
    if (lanes === undefined) {
      lanes = lanesOf(session.id);
      this.#sessions.set(session, lanes);
    }
    return lanes;
  }

  #addressLanes(address: string | undefined): Lanes | undefined {
    if (address === undefined) return undefined;
    let lanes = this.#addresses.get(address);
    if (lanes === undefined) {
      lanes = lanesOf(this.#prefixOf(address));
      if (this.#addresses.size >= MAX_ADDRESSES) this.#addresses.clear();
      this.#addresses.set(address, lanes);
    }
    return lanes;
  }
}

/** The mark keeps a session and the principal of the same digest apart. */
function addOr(ask: Ask, lanes: Lanes | undefined, otherwise: Lanes): void {
  if (lanes === undefined) ask.key(0).key(otherwise[0]).key(otherwise[1]);
  else ask.key(1).key(lanes[0]).key(lanes[1]);
}
