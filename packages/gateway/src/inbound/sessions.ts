/**
 * Legacy sessions over Streamable HTTP. An id is a handle, not a credential: it works only for the principal and the
 * endpoint that opened it (MCP security best practices, session hijacking; GHSA-mvgg-jvj2-4frq).
 */
import type { Clock } from '../core/clock.ts';
import { TollgateError } from '../core/errors.ts';
import { newSessionId } from '../core/ids.ts';
import { Lifetime } from '../core/lifetime.ts';
import type { Principal } from '../core/principal.ts';
import type { AnswerListener, ClientSession } from '../protocol/call.ts';
import type { Message } from '../protocol/message.ts';
import { CredentialEnd } from './credential-end.ts';
import { type EventBudget, EventStore, type StoredStream } from './event-store.ts';
import type { Handshake } from './handshake.ts';
import { askOn, sendEvent } from './legacy-stream.ts';
import type { InboundCaps } from './options.ts';
import { PendingAsks } from './pending-asks.ts';

/** A call of a session, by the JSON text of its id. */
export interface SessionCall {
  readonly lifetime: Lifetime;
  /** The client sent `notifications/cancelled`: it wants no response. */
  cancelled(): void;
}

let lastKey = 0;

/** Sessions of every transport share one count, so that a key never means two of them. */
export function nextSessionKey(): number {
  return ++lastKey;
}

export class HttpSession implements ClientSession {
  readonly id = newSessionId();
  readonly key = nextSessionKey();
  readonly era = 'legacy';
  readonly principal: Principal;
  readonly endpoint: string;
  version: string;
  readonly clientInfo: unknown;
  readonly capabilities: Readonly<Record<string, unknown>>;
  logLevel: string | undefined = undefined;
  readonly lifetime = new Lifetime();
  readonly asks = new PendingAsks();
  readonly events: EventStore;
  readonly calls = new Map<string, SessionCall>();
  /** Set when the session becomes live: one that never does must not wait for anything. */
  credential: CredentialEnd | undefined = undefined;
  /** The stream of the client's GET; undefined before the first one. */
  standalone: StoredStream | undefined = undefined;
  lastUsed: number;

  constructor(principal: Principal, endpoint: string, handshake: Handshake, budget: EventBudget, now: number) {
    this.principal = principal;
    this.endpoint = endpoint;
    this.version = handshake.version;
    this.clientInfo = handshake.clientInfo;
    this.capabilities = handshake.capabilities;
    this.events = new EventStore(budget);
    this.lastUsed = now;
  }

  notify(message: Message): boolean {
    return this.standalone !== undefined && sendEvent(this, this.standalone, message.bytes);
  }

  ask(method: string, params: string | undefined, listener: AnswerListener): ((reason: string) => void) | undefined {
    const stream = this.standalone;
    if (stream?.live === undefined) return undefined;
    return askOn(this, () => stream, method, params, listener);
  }

  /** True when nothing of the client is under way. */
  get idle(): boolean {
    return this.calls.size === 0 && this.standalone?.live === undefined;
  }
}

export class SessionTable {
  readonly #caps: () => InboundCaps;
  readonly #clock: Clock;
  readonly #byId = new Map<string, HttpSession>();
  readonly #countByPrincipal = new Map<number, number>();
  readonly #timer: NodeJS.Timeout;

  constructor(caps: () => InboundCaps, clock: Clock) {
    this.#caps = caps;
    this.#clock = clock;
    this.#timer = setInterval(
      () => this.sweep(clock.monotonic()),
      Math.max(10, Math.min(30_000, caps().sessionIdle / 4)),
    ).unref();
  }

  get size(): number {
    return this.#byId.size;
  }

  /** The live session of an id for this caller; everything else looks the same: not found. */
  find(id: string, principal: Principal, endpoint: string): HttpSession | undefined {
    const session = this.#byId.get(id);
    return session !== undefined && session.principal.key === principal.key && session.endpoint === endpoint
      ? session
      : undefined;
  }

  /**
   * Whether a principal may open one more session. At its own cap, or when the table is full, its session that has
   * been unused longest gives way; nobody can push out a session of somebody else.
   */
  admit(principal: Principal): TollgateError | undefined {
    const { sessions, streamsPerPrincipal } = this.#caps();
    const own = this.#countByPrincipal.get(principal.key) ?? 0;
    if (this.#byId.size < sessions && own < streamsPerPrincipal) return undefined;
    let oldest: HttpSession | undefined;
    if (own > 0) {
      for (const session of this.#byId.values()) {
        if (session.principal.key !== principal.key || !session.idle) continue;
        if (oldest === undefined || session.lastUsed < oldest.lastUsed) oldest = session;
      }
    }
    if (oldest === undefined) {
      return new TollgateError('too_many_streams', `All ${sessions} sessions are taken (\`caps.sessions\`).`);
    }
    oldest.lifetime.end(new TollgateError('session_not_found', 'The session gave way to a newer one of yours.'));
    return undefined;
  }

  /** Makes a session live: from here on its id is honoured. Ending its lifetime removes it. */
  add(session: HttpSession): void {
    this.#byId.set(session.id, session);
    session.credential = new CredentialEnd(this.#clock, session.lifetime, session.principal);
    const key = session.principal.key;
    this.#countByPrincipal.set(key, (this.#countByPrincipal.get(key) ?? 0) + 1);
    session.lifetime.onEnd((reason) => {
      this.#byId.delete(session.id);
      const left = (this.#countByPrincipal.get(key) ?? 1) - 1;
      if (left === 0) this.#countByPrincipal.delete(key);
      else this.#countByPrincipal.set(key, left);
      for (const call of [...session.calls.values()]) call.lifetime.end(reason);
      session.asks.failAll(reason);
      session.events.clear();
    });
  }

  /** Ends sessions that were not used for `caps.sessionIdle`, and forgets old events. */
  sweep(now: number): void {
    for (const session of this.#byId.values()) {
      if (!session.idle) session.lastUsed = now;
      else if (now - session.lastUsed > this.#caps().sessionIdle) {
        session.lifetime.end(new TollgateError('session_not_found', 'The session was not used for too long.'));
        continue;
      }
      session.events.expire(now);
    }
  }

  /** Ends all sessions. */
  close(reason: TollgateError): void {
    clearInterval(this.#timer);
    for (const session of [...this.#byId.values()]) session.lifetime.end(reason);
  }
}
