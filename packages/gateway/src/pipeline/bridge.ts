/** Where the OAuth bridge meets the rest: the configuration in force, who its people are, and their tokens as a method. */
import { randomBytes } from 'node:crypto';
import type { BridgeRecords } from '../core/bridge-records.ts';
import type { Clock } from '../core/clock.ts';
import type { Egress } from '../core/egress.ts';
import { TollgateError } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import type { Principal } from '../core/principal.ts';
import type { Secrets } from '../core/secrets.ts';
import { createEgress } from '../egress/egress.ts';
import { addressPrefix } from '../identity/address.ts';
import { principalOf } from '../identity/claims.ts';
import type { Audience, AuthMethod, Outcome } from '../identity/method.ts';
import type { AuthEntry, TokenEntry } from '../identity/options.ts';
import type { PrincipalKeys } from '../identity/principals.ts';
import type { Mount } from '../inbound/beside.ts';
import { type Bridge, createBridge } from '../oauth-bridge/bridge.ts';
import type { Person } from '../oauth-bridge/contract.ts';
import { MemoryRecords } from '../oauth-bridge/memory-records.ts';
import type { BridgeView } from '../oauth-bridge/options.ts';
import type { Proof } from '../oauth-bridge/proof.ts';
import { Follower } from './follower.ts';
import type { Generation } from './generation.ts';

/** Milliseconds for which a token is believed without looking again, should following what other gateways end fail. */
const BELIEVED = 60_000;

export interface BridgeDeps {
  readonly clock: Clock;
  readonly log: Log;
  readonly keys: PrincipalKeys;
  /** Undefined: in this process. */
  readonly records: BridgeRecords | undefined;
  /** True: other gateways change the same records. Default false. */
  readonly shared?: boolean;
  readonly secrets: Secrets | undefined;
  /** Shared by the gateways of one storage; undefined: of this process. */
  readonly key: Uint8Array | undefined;
  /** For documents that clients name. Default: what reaches only public addresses. */
  readonly egress?: Egress | undefined;
  readonly generation: () => Generation;
  /** Callers may not be let in any more. */
  readonly onEnd: () => void;
}

export class GatewayBridge {
  readonly #deps: BridgeDeps;
  readonly #bridge: Bridge;
  readonly #follower: Follower;
  readonly #methods = new Map<string, BridgeMethod>();
  #seen: { readonly generation: Generation; readonly base: string; readonly view: BridgeView } | undefined;

  constructor(deps: BridgeDeps) {
    this.#deps = deps;
    const key = deps.key ?? randomBytes(32);
    this.#bridge = createBridge({
      clock: deps.clock,
      log: deps.log,
      egress: deps.egress ?? createEgress(),
      records: deps.records ?? new MemoryRecords(),
      secrets: deps.secrets,
      key: () => key,
      view: () => this.#view(),
      person: (entry, claims) => this.#person(entry, claims),
      onEnd: deps.onEnd,
    });
    this.#follower = new Follower(deps.log, 'ended sign-ins of the OAuth bridge cannot be read');
    if (deps.shared === true) void this.#follower.follow(() => this.#bridge.follow());
  }

  get mount(): Mount {
    return (request, response, path, { address }) =>
      // Whoever has an IPv6 network has more addresses than could be counted.
      this.#bridge.handle(request, response, path, addressPrefix(address));
  }

  /** Whether who is at a browser is a caller, where its entry has a bridge. */
  get proof(): Proof {
    return this.#bridge.proof;
  }

  /** Tokens that the bridge made for people of this entry; none for an entry without a bridge. */
  methods(entry: AuthEntry): readonly AuthMethod[] {
    if (entry.kind !== 'oidc') return [];
    // One that has no bridge any more still has tokens: they are refused by the missing entry, not by chance.
    let method = this.#methods.get(entry.name);
    if (method === undefined) {
      method = new BridgeMethod(entry.name, this.#bridge, (token) => this.#caller(token), this.#deps.log);
      this.#methods.set(entry.name, method);
    }
    return [method];
  }

  /** The newest 1000 that are not over, of a principal  or of all. */
  signIns(principal: string | undefined): ReturnType<Bridge['signIns']> {
    return this.#bridge.signIns(principal);
  }

  /** Ends all of a principal, here at once and in other gateways within a second; returns how many there were. */
  endSignIns(principal: string): Promise<number> {
    return this.#bridge.endSignIns(principal);
  }

  close(): void {
    this.#follower.close();
    this.#bridge.close();
  }

  #view(): BridgeView {
    const generation = this.#deps.generation();
    const base = generation.resources.resource('');
    if (this.#seen?.generation === generation && this.#seen.base === base) return this.#seen.view;
    const { bridges, endpoints, identity } = generation.config;
    const view: BridgeView = {
      base,
      entries: new Map(bridges.map((entry) => [entry.name, entry])),
      endpoints: endpoints.map(({ path, scope }) => {
        const accepted = identity.endpointEntries.get(path);
        return {
          path,
          resource: generation.resources.resource(path),
          entries: bridges.map(({ name }) => name).filter((name) => accepted?.includes(name) ?? true),
          scopes: scope === undefined ? [] : [scope],
        };
      }),
    };
    this.#seen = { generation, base, view };
    return view;
  }

  #entry(name: string): TokenEntry | undefined {
    const { config } = this.#deps.generation();
    if (!config.bridges.some((bridge) => bridge.name === name)) return undefined;
    return config.identity.entries.find((entry): entry is TokenEntry => entry.kind === 'oidc' && entry.name === name);
  }

  /** Who signed in, by the `map` of the entry; what it requires of a token's claims it requires of these. */
  #person(name: string, claims: Readonly<Record<string, unknown>>): Person | undefined {
    const entry = this.#entry(name);
    if (entry === undefined || entry.rules.require.some((claim) => (claims[claim] ?? undefined) === undefined)) {
      return undefined;
    }
    const principal = principalOf(name, claims, { ...entry.rules, scopes: [] }, this.#deps.keys);
    return principal === undefined ? undefined : { principal: principal.id, scopes: principal.scopes ?? [] };
  }

  /** The caller of a token: the same as with a token of the provider, with the scopes that this one was given. */
  #caller(token: BridgeToken): Principal | undefined {
    const entry = this.#entry(token.entry);
    if (entry === undefined) return undefined;
    const { scopes: _, scp: __, ...about } = token.claims;
    const claims = { ...about, scope: token.scopes.join(' '), client_id: token.clientId };
    const principal = principalOf(entry.name, claims, entry.rules, this.#deps.keys);
    if (principal === undefined) return undefined;
    // A client id may be a URL, longer than what a claim may say.
    return Object.freeze({ ...principal, clientId: token.clientId, expiresAt: token.expiresAt });
  }
}

type BridgeToken = NonNullable<Awaited<ReturnType<Bridge['open']>>>;

/** Opaque tokens of the bridge: looked up when first seen, remembered like any other. */
class BridgeMethod implements AuthMethod {
  readonly entry: string;
  readonly #bridge: Bridge;
  readonly #caller: (token: BridgeToken) => Principal | undefined;
  readonly #log: Log;
  readonly #families = new WeakMap<Principal, string>();

  constructor(entry: string, bridge: Bridge, caller: (token: BridgeToken) => Principal | undefined, log: Log) {
    this.entry = entry;
    this.#bridge = bridge;
    this.#caller = caller;
    this.#log = log;
  }

  get revision(): number {
    return this.#bridge.revision;
  }

  verify(text: string, audience: Audience, wall: number): Outcome | Promise<Outcome> {
    return this.#bridge.recognises(text) ? this.#open(text, audience, wall) : undefined;
  }

  recognises(principal: Principal, wall: number): boolean {
    const family = this.#families.get(principal);
    return family !== undefined && !this.#bridge.ended(family) && wall < (principal.expiresAt ?? 0);
  }

  async #open(text: string, audience: Audience, wall: number): Promise<Outcome> {
    try {
      const token = await this.#bridge.open(text);
      // Made for one endpoint, and no other takes it (RFC 8707; CVE-2025-69196).
      if (token === undefined || token.entry !== this.entry || token.resource !== audience.resource) return undefined;
      const principal = this.#caller(token);
      if (principal === undefined) return undefined;
      this.#families.set(principal, token.family);
      return { principal, validUntil: Math.min(wall + BELIEVED, token.expiresAt) };
    } catch (error) {
      if (TollgateError.is(error) && error.code === 'storage_unavailable') return 'unavailable';
      this.#log.error({ err: error, entry: this.entry }, 'a token of the OAuth bridge could not be looked up');
      return undefined;
    }
  }
}
