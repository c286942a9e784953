/**
 * Which callers share a connection. Legacy servers keep state per connection, and a process cannot tell its callers
 * apart, so the instance policy of the configuration decides (docs: Instances).
 */

import { CAPABILITY_SETS } from '../protocol/bridge/client-requests.ts';
import type { ClientSession } from '../protocol/call.ts';
import type { Connection, Scope } from '../protocol/peer.ts';
import type { Opened } from './transport.ts';
import { Watches } from './watches.ts';

/** The place of one connection: it may be open, about to open, or waiting for its next use after a death. */
export class Slot {
  /** Whose it is; undefined: shared. */
  readonly scope: Scope | undefined;
  opened: Opened | undefined;
  opening: Promise<Connection> | undefined;
  /** Increases with each use; the smallest is the least recently used. */
  stamp = 0;
  /** Used since the last sweep. */
  used = true;
  /** Monotonic milliseconds since when sweeps have found it idle; set by the first sweep, which finds it used. */
  idleSince = 0;
  openedAt = 0;
  readonly watches = new Watches();
  /** Taken out: its session ended, it was idle, or the server closed. */
  removed = false;
  /** Stops listening to the end of its session. */
  untie: () => void = () => {};
  /** Attempts to reopen it for the sake of its subscriptions. */
  reopenings = 0;

  constructor(scope: Scope | undefined) {
    this.scope = scope;
  }

  /** The session of a legacy client, whose own declaration alone the server is shown. */
  get declaring(): ClientSession | undefined {
    return this.scope?.session?.era === 'legacy' ? this.scope.session : undefined;
  }

  /** The connection is gone or goes; gives it back. What is watched on it waits for the next one. */
  suspend(): Opened | undefined {
    const { opened } = this;
    this.opened = undefined;
    this.watches.suspend();
    return opened;
  }

  /** Nothing is in flight or subscribed, so it can be stopped without loss. */
  get disposable(): boolean {
    return (
      this.opened !== undefined &&
      this.opening === undefined &&
      this.opened.connection.pending === 0 &&
      this.watches.size === 0
    );
  }
}

/**
 * The idle connection, open only because its owner watches resources, that gives way to one more of `asking`: of the
 * caller who holds the most, and only from who still holds no fewer than the one who asks. Undefined: nobody has to.
 */
export function crowding(slots: Iterable<Slot>, asking: Slot): Slot | undefined {
  const held = new Map<number, number>();
  const idle: Slot[] = [];
  for (const slot of slots) {
    const owner = slot.scope?.principal?.key;
    if (owner === undefined || slot.opened === undefined) continue;
    held.set(owner, (held.get(owner) ?? 0) + 1);
    const { pending, era } = slot.opened.connection;
    if (pending === 0 && era === 'legacy' && slot.opening === undefined) idle.push(slot);
  }
  const holds = (slot: Slot): number => held.get(slot.scope?.principal?.key ?? -1) ?? 0;
  return idle
    .filter((slot) => holds(slot) >= holds(asking) + 2)
    .sort((a, b) => holds(b) - holds(a) || a.stamp - b.stamp)[0];
}

export type Sharing = 'shared' | 'per-session' | 'per-principal';

export class Instances {
  readonly sharing: Sharing;
  #shared: Slot | undefined;
  #catalog: Slot | undefined;
  /** By `ClientSession.key` and `Principal.key`: small integers, so that a lookup builds nothing. */
  readonly #sessions = new Map<number, Slot>();
  readonly #principals = new Map<number, Slot>();
  /** Where `byCapabilities`: modern callers, by their session or principal and what they declared. */
  readonly #declared = new Map<number, Slot>();
  readonly #byCapabilities: boolean;

  /**
   * `byCapabilities`: a modern caller, who declares its capabilities in each request, has a connection for each set
   * of them, so that a server of the legacy era is told exactly what the caller of this request can do.
   */
  constructor(sharing: Sharing, byCapabilities = false) {
    this.sharing = sharing;
    this.#byCapabilities = byCapabilities;
  }

  /** True where the connection of this scope is told what its caller declared in the request. */
  declares(scope: Scope): boolean {
    if (!this.#byCapabilities || this.sharing === 'shared' || scope.purpose === 'catalog') return false;
    return scope.session === undefined ? scope.principal !== undefined : scope.session.era === 'modern';
  }

  /** The slot of a scope, when it has one. */
  find(scope: Scope): Slot | undefined {
    if (this.sharing === 'shared') return this.#shared;
    if (scope.purpose === 'catalog') return this.#catalog;
    if (this.declares(scope)) return this.#declared.get(this.#declaredKey(scope));
    if (this.sharing === 'per-session' && scope.session !== undefined) return this.#sessions.get(scope.session.key);
    return scope.principal === undefined ? this.#shared : this.#principals.get(scope.principal.key);
  }

  /** The slot of a scope, made when it has none. */
  obtain(scope: Scope): Slot {
    const known = this.find(scope);
    if (known !== undefined) return known;
    const { era, principal, session, purpose, capabilitySet } = scope;
    let slot: Slot;
    if (this.sharing === 'shared') {
      this.#shared = slot = new Slot(undefined);
    } else if (purpose === 'catalog') {
      this.#catalog = slot = new Slot({ era, principal: undefined, session: undefined, purpose });
    } else if (this.declares(scope)) {
      const owner = this.sharing === 'per-session' ? session : undefined;
      slot = new Slot({ era, principal, session: owner, purpose, capabilitySet });
      this.#declared.set(this.#declaredKey(scope), slot);
    } else if (this.sharing === 'per-session' && session !== undefined) {
      slot = new Slot({ era, principal, session, purpose });
      this.#sessions.set(session.key, slot);
    } else if (principal === undefined) {
      this.#shared = slot = new Slot(undefined);
    } else {
      slot = new Slot({ era, principal, session: undefined, purpose });
      this.#principals.set(principal.key, slot);
    }
    return slot;
  }

  /** The slot that belongs to this session alone. */
  ofSession(session: ClientSession): Slot | undefined {
    return this.#sessions.get(session.key);
  }

  remove(slot: Slot): void {
    slot.removed = true;
    slot.untie();
    if (this.#shared === slot) this.#shared = undefined;
    if (this.#catalog === slot) this.#catalog = undefined;
    const { session, principal } = slot.scope ?? {};
    if (session !== undefined && this.#sessions.get(session.key) === slot) this.#sessions.delete(session.key);
    if (principal !== undefined && this.#principals.get(principal.key) === slot) this.#principals.delete(principal.key);
    if (slot.scope === undefined || !this.declares(slot.scope)) return;
    const key = this.#declaredKey(slot.scope);
    if (this.#declared.get(key) === slot) this.#declared.delete(key);
  }

  *all(): Generator<Slot> {
    if (this.#shared !== undefined) yield this.#shared;
    if (this.#catalog !== undefined) yield this.#catalog;
    yield* this.#sessions.values();
    yield* this.#principals.values();
    yield* this.#declared.values();
  }

  /** One number of whose it is and what was declared; 0 is nobody's key. */
  #declaredKey(scope: Scope): number {
    const session = this.sharing === 'per-session' ? scope.session : undefined;
    const owner = session === undefined ? 2 * (scope.principal?.key ?? 0) : 2 * session.key + 1;
    return owner * CAPABILITY_SETS + (scope.capabilitySet ?? 0);
  }
}
