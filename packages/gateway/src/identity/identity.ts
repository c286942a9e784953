/** Who is calling: tries the configured methods on a request's credential and gives the Principal. */
import { isDeepStrictEqual } from 'node:util';
import { TollgateError } from '../core/errors.ts';
import type { Principal } from '../core/principal.ts';
import { addressPrefix } from './address.ts';
import { BearerMethod } from './bearer.ts';
import { type TokenDeps, TokenMethod } from './jwt.ts';
import { type KeySource, KeysMethod } from './keys.ts';
import type { Audience, AuthMethod, MethodView, Outcome } from './method.ts';
import type { AnonymousEntry, AuthEntry, IdentityOptions } from './options.ts';
import { AnonymousTable, LOCAL, loopbackAnonymous, type PrincipalKeys } from './principals.ts';
import { CredentialMemory, Remembered } from './remembered.ts';

/** Longer credentials are refused unread. */
const MAX_CREDENTIAL = 8192;
/** Different credentials that may be under verification at a time: a flood of new ones cannot queue without end. */
const MAX_VERIFYING = 1024;
/** Milliseconds after which an answer is given without the method that is still at work. */
const VERIFY_TIME = 10_000;
/** Paths for which what they accept is kept; endpoints are named by the configuration, so this is never reached. */
const MAX_DOORS = 10_000;

/** What one connection remembers of its last caller: the same credential again then costs one comparison of texts. */
export interface CallerSlot {
  lastCaller: object | undefined;
}

export interface Identity {
  /**
   * The caller of an endpoint, from the raw Authorization header (undefined: none was sent) and the peer's address.
   * At once for a credential that was seen before, and wherever nothing has to be fetched or computed. Otherwise
   * `unauthorized`: a credential that no method accepts is never treated as anonymous; `identity_unavailable`: it could
   * not be judged now. The promise never rejects and is bounded in time.
   */
  identify(
    authorization: string | undefined,
    endpoint: string,
    address: string | undefined,
    slot?: CallerSlot,
  ): Principal | TollgateError | Promise<Principal | TollgateError>;
  /**
   * Whether a caller identified earlier would be that still: under the same credential, with the same rights, on this
   * endpoint. False after a reload that took away or changed either, and for what was revoked or has ended.
   */
  recognises(principal: Principal, endpoint: string): boolean;
  /** Grows when something that was accepted may no longer be; then `recognises` may answer otherwise than before. */
  readonly revision: number;
  /** Methods that depend on something outside, for `status`. */
  readonly view: readonly MethodView[];
  /** Ends the methods, but those that `kept` goes on with. */
  close(kept?: Identity): void;
}

export interface IdentityDeps extends TokenDeps {
  /** Canonical URI of an endpoint's path; of the REST and admin surfaces for the empty path. Asked when first needed. */
  readonly resource: (path: string) => string;
  /** API keys that were issued; absent: entries of `keys` accept nobody. */
  readonly issued?: KeySource | undefined;
  /**
   * Methods of an entry that other rooms make (keys, tokens of the bridge), tried after the entry's own. Default none.
   * Whoever makes them gives the same ones again for an entry that did not change.
   */
  readonly methods?: ((entry: AuthEntry) => readonly AuthMethod[]) | undefined;
}

type AnonymousSource = (address: string | undefined) => Principal;

/** The methods of one entry, kept over a reload as long as the entry is as it was. */
interface EntryMethods {
  readonly entry: AuthEntry;
  readonly own: AuthMethod | undefined;
  readonly all: readonly AuthMethod[];
}

/** What the next configuration takes over of this one. */
interface Lasting {
  readonly entries: readonly EntryMethods[];
  readonly anonymous:
    | { readonly entry: AnonymousEntry; readonly loopback: boolean; readonly source: AnonymousSource }
    | undefined;
}

/** What one endpoint accepts. */
interface Door {
  readonly path: string;
  readonly methods: readonly AuthMethod[];
  readonly anonymous: AnonymousSource | undefined;
  audience: Audience | undefined;
}

const lasting = new WeakMap<Identity, Lasting>();

/** Compiles the entries. An entry that is as it was in `previous` gives the same principals, the same objects. */
export function createIdentity(options: IdentityOptions, deps: IdentityDeps, previous?: Identity): Identity {
  return new ConfiguredIdentity(options, deps, previous === undefined ? undefined : lasting.get(previous));
}

class ConfiguredIdentity implements Identity {
  readonly #deps: IdentityDeps;
  readonly #kept: Lasting;
  readonly #allowed: ReadonlyMap<string, readonly string[]>;
  readonly #doors = new Map<string, Door>();
  readonly #memory = new CredentialMemory();
  readonly #verifying = new Map<string, Promise<Principal | TollgateError>>();

  constructor(options: IdentityOptions, deps: IdentityDeps, before: Lasting | undefined) {
    this.#deps = deps;
    this.#allowed = options.endpointEntries;
    this.#kept = {
      entries: options.entries.map((entry) => methodsOf(entry, deps, before)),
      anonymous: anonymousOf(options, before, deps.keys),
    };
    lasting.set(this, this.#kept);
  }

  identify(
    authorization: string | undefined,
    endpoint: string,
    address: string | undefined,
    slot?: CallerSlot,
  ): Principal | TollgateError | Promise<Principal | TollgateError> {
    if (authorization === undefined) return this.#door(endpoint).anonymous?.(address) ?? missing();
    const last = slot?.lastCaller;
    if (
      last instanceof Remembered &&
      last.memory === this.#memory &&
      last.endpoint === endpoint &&
      last.authorization === authorization &&
      this.#holds(last)
    ) {
      return last.principal;
    }
    // Only texts that were accepted before are keys here, so a lookup tells a guesser nothing by its time.
    const known = this.#memory.find(authorization, endpoint);
    if (known !== undefined && this.#holds(known)) {
      if (slot !== undefined) slot.lastCaller = known;
      return known.principal;
    }
    return this.#firstSeen(authorization, endpoint);
  }

  recognises(principal: Principal, endpoint: string): boolean {
    // The local user comes through the attach socket, of which no configuration says anything.
    if (principal.entry === LOCAL) return true;
    const door = this.#door(endpoint);
    if (principal.entry === 'anonymous') return door.anonymous !== undefined;
    const wall = this.#deps.clock.wall();
    return door.methods.some(
      (method) => method.entry === principal.entry && (method.recognises?.(principal, wall) ?? true),
    );
  }

  get revision(): number {
    let sum = 0;
    for (const { all } of this.#kept.entries) for (const method of all) sum += method.revision;
    return sum;
  }

  get view(): readonly MethodView[] {
    return this.#kept.entries.flatMap(({ all }) => all.flatMap((method) => method.view ?? []));
  }

  close(kept?: Identity): void {
    const living = new Set(kept === undefined ? [] : lasting.get(kept)?.entries.map(({ own }) => own));
    for (const { own } of this.#kept.entries) if (!living.has(own)) own?.close?.();
  }

  #holds(one: Remembered): boolean {
    return (
      one.revision === one.method.revision &&
      (one.validUntil === Number.POSITIVE_INFINITY || this.#deps.clock.wall() < one.validUntil)
    );
  }

  #door(path: string): Door {
    const known = this.#doors.get(path);
    if (known !== undefined) return known;
    const names = this.#allowed.get(path);
    const accepts = (entry: string): boolean => names === undefined || names.includes(entry);
    const door: Door = {
      path,
      methods: this.#kept.entries.filter(({ entry }) => accepts(entry.name)).flatMap(({ all }) => all),
      anonymous: accepts('anonymous') ? this.#kept.anonymous?.source : undefined,
      audience: undefined,
    };
    if (this.#doors.size < MAX_DOORS) this.#doors.set(path, door);
    return door;
  }

  #firstSeen(authorization: string, endpoint: string): Principal | TollgateError | Promise<Principal | TollgateError> {
    const token = bearerToken(authorization);
    if (token === undefined) return rejected();
    // One spelling, so that a holder of one token cannot fill the memory with spellings of it.
    const text = `Bearer ${token}`;
    const known = text === authorization ? undefined : this.#memory.find(text, endpoint);
    if (known !== undefined && this.#holds(known)) return known.principal;
    const place = `${endpoint}\n${text}`;
    const running = this.#verifying.get(place);
    if (running !== undefined) return running;
    if (this.#verifying.size >= MAX_VERIFYING) return overloaded();
    const door = this.#door(endpoint);
    const judged = this.#judge(door, text, token, 0, false);
    if (!(judged instanceof Promise)) return judged;
    const bounded = inTime(judged).finally(() => this.#verifying.delete(place));
    this.#verifying.set(place, bounded);
    return bounded;
  }

  /** Asks the methods in turn, from `index` on; goes on asynchronously from the first one that has to wait. */
  #judge(
    door: Door,
    text: string,
    token: string,
    index: number,
    unavailable: boolean,
  ): Principal | TollgateError | Promise<Principal | TollgateError> {
    let away = unavailable;
    door.audience ??= { path: door.path, resource: this.#deps.resource(door.path) };
    for (let at = index; at < door.methods.length; at++) {
      const method = door.methods[at]!;
      // Read before the verification: what is revoked while it runs must not be remembered as good.
      const { revision } = method;
      const outcome = method.verify(token, door.audience, this.#deps.clock.wall());
      if (outcome instanceof Promise) {
        return outcome.then((late) => {
          const accepted = this.#accept(late, method, revision, door, text);
          return accepted ?? this.#judge(door, text, token, at + 1, away || late === 'unavailable');
        });
      }
      const accepted = this.#accept(outcome, method, revision, door, text);
      if (accepted !== undefined) return accepted;
      if (outcome === 'unavailable') away = true;
    }
    return away ? unavailableNow() : rejected();
  }

  #accept(outcome: Outcome, method: AuthMethod, revision: number, door: Door, text: string): Principal | undefined {
    if (outcome === undefined || outcome === 'unavailable') return undefined;
    const { principal, validUntil } = outcome;
    this.#memory.add(new Remembered(this.#memory, text, door.path, principal, validUntil, method, revision));
    return principal;
  }
}

function methodsOf(entry: AuthEntry, deps: IdentityDeps, before: Lasting | undefined): EntryMethods {
  const known = before?.entries.find((one) => isDeepStrictEqual(one.entry, entry));
  const own = known === undefined ? methodOf(entry, deps) : known.own;
  const others = deps.methods?.(entry) ?? [];
  return { entry, own, all: own === undefined ? others : [own, ...others] };
}

/** The method that this room has for an entry; undefined: it has none, or another room makes it. */
function methodOf(entry: AuthEntry, deps: IdentityDeps): AuthMethod | undefined {
  switch (entry.kind) {
    case 'bearer':
      return new BearerMethod(entry, deps.keys);
    case 'keys':
      return deps.issued === undefined ? undefined : new KeysMethod(entry, deps.issued, deps.keys);
    case 'jwt':
    case 'oidc':
      return new TokenMethod(entry, deps);
    case 'anonymous':
      return undefined;
  }
}

/** Where anonymous callers come from; the table of before, where nothing changed: it has their keys. */
function anonymousOf(
  { entries, loopback }: IdentityOptions,
  before: Lasting | undefined,
  keys: PrincipalKeys,
): Lasting['anonymous'] {
  const entry = entries.find((one) => one.kind === 'anonymous');
  if (entry === undefined) return undefined;
  const known = before?.anonymous;
  if (known !== undefined && known.loopback === loopback && isDeepStrictEqual(known.entry, entry)) return known;
  return { entry, loopback, source: anonymousSource(entry, loopback, keys) };
}

function anonymousSource(entry: AnonymousEntry, loopback: boolean, keys: PrincipalKeys): AnonymousSource {
  if (loopback) {
    const one = loopbackAnonymous(keys, entry.tier);
    return () => one;
  }
  const table = new AnonymousTable(keys, entry.tier);
  return (address) => table.get(addressPrefix(address));
}

/** The token of `Bearer <token>` (RFC 6750 section 2.1), or undefined. */
function bearerToken(authorization: string): string | undefined {
  if (authorization.length > MAX_CREDENTIAL) return undefined;
  const match = /^bearer +([\x21-\x7e]+)$/i.exec(authorization);
  return match?.[1];
}

/** A method that hangs must not hold its caller; what it says later still counts for the next request. */
function inTime(judged: Promise<Principal | TollgateError>): Promise<Principal | TollgateError> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve(unavailableNow()), VERIFY_TIME);
    judged.then(
      (who) => {
        clearTimeout(timer);
        resolve(who);
      },
      (error: unknown) => {
        clearTimeout(timer);
        resolve(TollgateError.from(error));
      },
    );
  });
}

function rejected(): TollgateError {
  return new TollgateError(
    'unauthorized',
    'The credential was not accepted. Send `Authorization: Bearer <token>` with a token of this gateway.',
  );
}

function missing(): TollgateError {
  return new TollgateError('unauthorized', 'A credential is required: send `Authorization: Bearer <token>`.');
}

function unavailableNow(): TollgateError {
  return new TollgateError(
    'identity_unavailable',
    'The credential cannot be checked now: what it is checked with is away. Not run. Repeat this later.',
    { retryAfterSeconds: 5 },
  );
}

function overloaded(): TollgateError {
  return new TollgateError(
    'identity_unavailable',
    'Too many new credentials are being checked at this moment. Not run. Repeat this later.',
    { retryAfterSeconds: 1 },
  );
}
