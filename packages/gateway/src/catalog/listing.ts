/**
 * What one server offers, read over the gateway's own connection and kept: the last good list of each kind, when it
 * goes stale, and what is wrong. Shared by all endpoints that show the server.
 */
import type { Clock } from '../core/clock.ts';
import { TollgateError } from '../core/errors.ts';
import { Lifetime } from '../core/lifetime.ts';
import type { Log } from '../core/log.ts';
import type { Connection, Scope, Server, ServerEvent } from '../protocol/peer.ts';
import type { Era } from '../protocol/versions.ts';
import { DEFAULT_CAPS, EMPTY_LIST, type FetchCaps, type FetchedList, fetchList } from './fetch.ts';
import { type Item, KINDS, type Kind, LISTS } from './items.ts';
import { type CatalogClient, declined } from './request.ts';
import type { ListTrust, Standing } from './trust.ts';

export interface ListingDeps {
  readonly client: CatalogClient;
  readonly clock: Clock;
  readonly log: Log;
  readonly caps?: Partial<FetchCaps>;
  /** Who judges what a server lists. Default: nobody, all of it is taken. */
  readonly trust?: (server: Server) => ListTrust;
  /** Source of jitter in [0, 1). Default `Math.random`. */
  readonly random?: () => number;
}

/** What the server said of itself when the lists were last read. */
export interface ServerFacts {
  readonly era: Era;
  readonly version: string;
  readonly capabilities: Readonly<Record<string, unknown>>;
  readonly serverInfo: unknown;
  readonly instructions: string | undefined;
}

interface Slot {
  list: FetchedList | undefined;
  /** What stands of each entry of the list; undefined: nobody judges it. */
  standings: ReadonlyMap<string, Standing> | undefined;
  fetchedAt: number;
  /** When a list that the server gave a lifetime is read again; earlier than its end by the jitter. */
  staleAt: number;
  /** The server announced a change that has not been read yet. */
  dirty: boolean;
  /** It said so itself, and clients have not been told yet. */
  announced: boolean;
  problem: TollgateError | undefined;
}

/** `announced`: kinds of which the server itself said that they changed, whether or not a difference was found. */
export type ChangeListener = (announced: readonly Kind[]) => void;

const SCOPE: Scope = { era: 'modern', principal: undefined, session: undefined, purpose: 'catalog' };
/** A whole attempt, start of the server included. */
const ATTEMPT_MS = 120_000;
/** Legacy servers promise no lifetime; one that announces no changes either is read again after this. */
const LEGACY_TTL = 5 * 60_000;
/** No list is read again within this time because it went stale, and after an announced change. */
const STALE_FLOOR = 1_000;
const DIRTY_FLOOR = 250;
const DEBOUNCE = 50;
/** A dead server that somebody asks for is tried again before its backoff ends, but not more often than this. */
const EAGER_RETRY = 2_000;
const EAGER_WAIT = 300;
const BACKOFF_FIRST = 1_000;
const BACKOFF_LAST = 60_000;
/** A server that waits for a sign-in does not get well by itself. */
const BACKOFF_LOGIN = 5 * 60_000;
const MAX_WARNINGS = 100;
const MAX_ANNOUNCED = 10;

export class Listing {
  readonly server: Server;
  /** Resolves when the first attempt is over, whatever came of it. Never rejects. */
  readonly firstAttempt: Promise<void>;
  attempted = false;
  facts: ServerFacts | undefined;
  readonly #deps: ListingDeps;
  readonly #caps: FetchCaps;
  readonly #slots: Readonly<Record<Kind, Slot>>;
  readonly #listeners = new Set<ChangeListener>();
  readonly #lifetime = new Lifetime();
  readonly #unsubscribe: () => void;
  readonly #trust: ListTrust | undefined;
  readonly #wanted = new Set<Kind>();
  readonly #warnings = new Set<string>();
  #running: Promise<void> | undefined;
  #startedAt: number;
  #endedAt = 0;
  #failures = 0;
  #credit = MAX_ANNOUNCED;
  #creditAt = 0;
  #gone = false;
  #timer: NodeJS.Timeout | undefined;
  #timerAt = Number.POSITIVE_INFINITY;

  constructor(server: Server, deps: ListingDeps) {
    this.server = server;
    this.#deps = deps;
    this.#caps = { ...DEFAULT_CAPS, ...deps.caps };
    this.#slots = { tools: slot(), prompts: slot(), resources: slot(), templates: slot() };
    this.#startedAt = deps.clock.monotonic();
    this.#unsubscribe = server.onEvent((event) => this.#onEvent(event));
    this.#trust = deps.trust?.(server);
    this.#trust?.onChange(() => {
      for (const listener of [...this.#listeners]) listener([]);
    });
    this.firstAttempt = this.refresh();
  }

  /** The last good list; undefined when there has been none. */
  list(kind: Kind): FetchedList | undefined {
    return this.#slots[kind].list;
  }

  /** What stands of an entry of the list; undefined: it may be shown and called. */
  standing(kind: Kind, item: Item): Standing | undefined {
    return this.#slots[kind].standings?.get(item.name);
  }

  /**
   * Before a call: undefined, or a wait of at most `wait` milliseconds for the list that the server has announced to
   * have changed, where changes are blocked. False when it could not be read. Lists that merely got old are read again
   * in the background.
   */
  recheck(kind: Kind, wait: number): Promise<boolean> | undefined {
    if (this.#trust?.strict !== true) return undefined;
    const own = this.#slots[kind];
    const asked = this.#deps.clock.monotonic();
    if (!own.dirty && !own.announced) {
      if (asked >= own.staleAt && own.problem === undefined) void this.refresh([kind]);
      return undefined;
    }
    const read = (): boolean => own.fetchedAt >= asked && own.problem === undefined;
    return bounded(this.refresh([kind]), Math.max(1, wait))!.then(read);
  }

  /** False when the server does not declare the capability, so that it has no part in the list. */
  offers(kind: Kind): boolean {
    return this.#slots[kind].list !== EMPTY_LIST;
  }

  /** Milliseconds the list stays fresh from now; 0 when stale or when nothing was promised. */
  freshFor(kind: Kind, now: number): number {
    const { list, fetchedAt, dirty } = this.#slots[kind];
    if (list?.ttlMs === undefined || dirty) return 0;
    return Math.max(0, Math.floor(list.ttlMs - (now - fetchedAt)));
  }

  /** Why there is no list of this kind, or why it is not whole; undefined when all is well. */
  shortfall(kind: Kind): string | undefined {
    const { list, problem } = this.#slots[kind];
    if (list !== undefined) return list.truncated === undefined ? undefined : 'truncated';
    return problem?.code ?? 'starting';
  }

  /** What is wrong with the last attempt, for status and log; undefined when it went well. */
  get problem(): TollgateError | undefined {
    for (const kind of KINDS) if (this.#slots[kind].problem !== undefined) return this.#slots[kind].problem;
    return undefined;
  }

  /** Entries and members that were left out, and other oddities, latest last; at most 100. */
  get warnings(): readonly string[] {
    return [...this.#warnings];
  }

  /**
   * Makes the list fresh. Undefined when nothing is worth waiting for: it is fresh, or the last good one serves
   * meanwhile. Otherwise resolves when read, failed, or when the server has had `wait` milliseconds. Never rejects.
   */
  ensure(kind: Kind, wait: number): Promise<void> | undefined {
    const own = this.#slots[kind];
    const now = this.#deps.clock.monotonic();
    if (!this.attempted) return bounded(this.firstAttempt, wait - (now - this.#startedAt));
    if (own.list === undefined) {
      if (this.#running === undefined && now - this.#endedAt < EAGER_RETRY) return undefined;
      return bounded(this.#running ?? this.refresh(), Math.min(wait, EAGER_WAIT));
    }
    if (own.problem !== undefined) return undefined;
    if (own.dirty) {
      if (now - own.fetchedAt < DIRTY_FLOOR) return undefined;
      return bounded(this.refresh([kind]), wait);
    }
    if (now < own.staleAt) return undefined;
    // Joins an attempt under way; the wait counts from its start, so a hung server delays nobody twice.
    if (this.#running !== undefined) wait -= now - this.#startedAt;
    const refreshed = this.#running ?? this.refresh([kind]);
    // A change would have been announced (or, legacy, nobody knows): the known list serves while this one is read.
    return this.#announces(kind) || own.list.ttlMs === undefined ? undefined : bounded(refreshed, wait);
  }

  /** Reads these lists again, joining what is under way. Resolves when done; never rejects. */
  refresh(kinds: readonly Kind[] = KINDS): Promise<void> {
    for (const kind of kinds) this.#wanted.add(kind);
    if (this.#running === undefined) {
      this.#startedAt = this.#deps.clock.monotonic();
      this.#running = this.#run().finally(() => {
        this.#running = undefined;
      });
    }
    return this.#running;
  }

  /** Called when a list, a fact or the state of the server may look different, or a change was announced. */
  onChange(listener: ChangeListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  close(): void {
    this.#unsubscribe();
    this.#trust?.close();
    clearTimeout(this.#timer);
    this.#listeners.clear();
    this.#lifetime.end(new TollgateError('shutting_down', 'The catalog was closed'));
  }

  async #run(): Promise<void> {
    // The first turn is left to the caller, so that a constructor never runs a server's code.
    await Promise.resolve();
    while (this.#wanted.size > 0 && !this.#lifetime.over) {
      const kinds = KINDS.filter((kind) => this.#wanted.has(kind));
      this.#wanted.clear();
      await this.#attempt(kinds);
    }
  }

  async #attempt(kinds: readonly Kind[]): Promise<void> {
    const { clock } = this.#deps;
    this.#startedAt = clock.monotonic();
    this.#disarm();
    for (const kind of kinds) this.#slots[kind].dirty = false;
    const lifetime = new Lifetime();
    const unlink = this.#lifetime.onEnd((reason) => lifetime.end(reason));
    lifetime.deadline(ATTEMPT_MS, () => new TollgateError('deadline_exceeded', 'The lists took too long to read'));
    let changed = !this.attempted;
    try {
      const connection = this.server.current(SCOPE) ?? (await unlessOver(this.server.connect(SCOPE), lifetime));
      this.#gone = false;
      changed = this.#learn(connection) || changed;
      const done = await Promise.all(kinds.map((kind) => this.#read(connection, kind, lifetime)));
      changed = done.includes(true) || changed;
    } catch (error) {
      const problem = TollgateError.from(error);
      const news = kinds.filter((kind) => this.#fail(kind, problem));
      if (news.length > 0) this.#logFailure('its lists cannot be read', problem);
      changed = news.length > 0 || changed;
    } finally {
      unlink();
      lifetime.release();
    }
    if (this.#lifetime.over) return;
    this.attempted = true;
    this.#endedAt = clock.monotonic();
    this.#plan();
    const announced = this.#takeAnnounced(kinds);
    if (changed || announced.length > 0) for (const listener of [...this.#listeners]) listener(announced);
  }

  /**
   * Announcements to pass on. Those that changed nothing are bounded, as each is multiplied by the clients: ten at
   * once, then one a second.
   */
  #takeAnnounced(kinds: readonly Kind[]): Kind[] {
    const now = this.#deps.clock.monotonic();
    this.#credit = Math.min(MAX_ANNOUNCED, this.#credit + (now - this.#creditAt) / 1_000);
    this.#creditAt = now;
    const announced = kinds.filter((kind) => {
      const own = this.#slots[kind];
      if (!own.announced || own.dirty || own.problem !== undefined) return false;
      own.announced = false;
      return true;
    });
    if (announced.length === 0 || this.#credit < 1) return [];
    this.#credit--;
    return announced;
  }

  /** True when the facts differ from those known. */
  #learn(connection: Connection): boolean {
    const { era, version, capabilities, serverInfo, instructions } = connection;
    const before = JSON.stringify(this.facts);
    this.facts = { era, version, capabilities, serverInfo, instructions };
    return JSON.stringify(this.facts) !== before;
  }

  async #read(connection: Connection, kind: Kind, lifetime: Lifetime): Promise<boolean> {
    const own = this.#slots[kind];
    try {
      const list = isDeclared(connection.capabilities, kind)
        ? await fetchList(connection, kind, own.list, {
            client: this.#deps.client,
            caps: this.#caps,
            timeout: this.server.requestTimeout,
            lifetime,
            warn: (problem) => this.#warn(problem),
          })
        : EMPTY_LIST;
      const changed = own.problem !== undefined || own.list === undefined || !sameList(own.list, list);
      if (list.truncated !== undefined) this.#warn(`${kind}: the list is cut: ${list.truncated}`);
      const now = this.#deps.clock.monotonic();
      const ttl = list === EMPTY_LIST ? LEGACY_TTL : (list.ttlMs ?? LEGACY_TTL);
      const jitter = 0.9 + 0.1 * (this.#deps.random ?? Math.random)();
      // Judged before anybody can see it.
      own.standings = this.#trust?.judge(kind, list.items);
      own.list = list;
      own.fetchedAt = now;
      own.staleAt = now + Math.max(STALE_FLOOR, ttl * jitter);
      own.problem = undefined;
      return changed;
    } catch (error) {
      const problem = TollgateError.from(error);
      if (!this.#fail(kind, problem)) return false;
      this.#logFailure(`${LISTS[kind].method} failed`, problem);
      return true;
    }
  }

  /** True when it fails in another way than before. */
  #fail(kind: Kind, problem: TollgateError): boolean {
    const own = this.#slots[kind];
    const changed = own.problem?.code !== problem.code;
    own.problem = problem;
    return changed;
  }

  #logFailure(what: string, problem: TollgateError): void {
    if (this.#lifetime.over) return;
    const { name } = this.server;
    this.#deps.log.warn(
      { server: name, code: problem.code, err: problem.cause },
      `${name}: ${what}: ${problem.message}`,
    );
  }

  /** Arms the retry of what failed, or the reading of what changed meanwhile. */
  #plan(): void {
    const problem = this.problem;
    if (problem === undefined) {
      this.#failures = 0;
      if (KINDS.some((kind) => this.#slots[kind].dirty)) this.#arm(DIRTY_FLOOR);
      return;
    }
    const backoff =
      problem.code === 'server_login_required'
        ? BACKOFF_LOGIN
        : Math.min(BACKOFF_LAST, BACKOFF_FIRST * 2 ** Math.min(this.#failures, 16));
    this.#failures++;
    this.#arm(backoff * (0.75 + 0.5 * (this.#deps.random ?? Math.random)()));
  }

  #arm(ms: number): void {
    const at = this.#deps.clock.monotonic() + ms;
    if (this.#lifetime.over || at >= this.#timerAt) return;
    this.#disarm();
    this.#timerAt = at;
    this.#timer = setTimeout(() => {
      this.#timerAt = Number.POSITIVE_INFINITY;
      void this.refresh(KINDS.filter((kind) => this.#slots[kind].dirty || this.#slots[kind].problem !== undefined));
    }, ms).unref();
  }

  #disarm(): void {
    clearTimeout(this.#timer);
    this.#timerAt = Number.POSITIVE_INFINITY;
  }

  #onEvent(event: ServerEvent): void {
    if (event.type === 'list_changed') {
      const kinds: readonly Kind[] = event.kind === 'resources' ? ['resources', 'templates'] : [event.kind];
      for (const kind of kinds) {
        this.#slots[kind].dirty = true;
        this.#slots[kind].announced = true;
      }
      if (this.#running === undefined) {
        const since = this.#deps.clock.monotonic() - this.#endedAt;
        this.#arm(Math.max(DEBOUNCE, DIRTY_FLOOR - since));
      }
    } else if (event.type === 'state') {
      if (event.state === 'failed' || event.state === 'stopped') this.#gone = true;
      if (event.state !== 'ready' || this.#running !== undefined) return;
      if (this.#gone) for (const kind of KINDS) this.#slots[kind].dirty = true;
      if (this.#gone || this.problem !== undefined) this.#arm(DEBOUNCE);
    } else if (event.type === 'request' && event.scope.purpose === 'catalog') {
      // This connection is the gateway's own; no client stands behind it.
      event.answer(declined(event.message.method));
    }
  }

  #announces(kind: Kind): boolean {
    const capability = this.facts?.capabilities[capabilityOf(kind)];
    return typeof capability === 'object' && capability !== null && 'listChanged' in capability
      ? capability.listChanged === true
      : false;
  }

  #warn(problem: string): void {
    if (this.#warnings.has(problem) || this.#warnings.size >= MAX_WARNINGS) return;
    this.#warnings.add(problem);
    this.#deps.log.warn({ server: this.server.name }, `${this.server.name}: ${problem}`);
  }
}

/** The listings of all servers, each made once and closed when no endpoint shows its server any more. */
export class Listings {
  readonly #deps: ListingDeps;
  readonly #held = new Map<Server, { readonly listing: Listing; users: number }>();

  constructor(deps: ListingDeps) {
    this.#deps = deps;
  }

  /** The listing of a server, started when it is the first; give it back with `release`. */
  acquire(server: Server): Listing {
    let held = this.#held.get(server);
    if (held === undefined) {
      held = { listing: new Listing(server, this.#deps), users: 0 };
      this.#held.set(server, held);
    }
    held.users++;
    return held.listing;
  }

  release(server: Server): void {
    const held = this.#held.get(server);
    if (held === undefined || --held.users > 0) return;
    this.#held.delete(server);
    held.listing.close();
  }
}

function capabilityOf(kind: Kind): string {
  return kind === 'templates' ? 'resources' : kind;
}

function isDeclared(capabilities: Readonly<Record<string, unknown>>, kind: Kind): boolean {
  const value = capabilities[capabilityOf(kind)];
  return value !== undefined && value !== null && value !== false;
}

function sameList(a: FetchedList, b: FetchedList): boolean {
  return (
    a.items.length === b.items.length &&
    a.scope === b.scope &&
    a.truncated === b.truncated &&
    a.items.every((item, i) => item === b.items[i])
  );
}

function slot(): Slot {
  return {
    list: undefined,
    standings: undefined,
    fetchedAt: 0,
    staleAt: 0,
    dirty: false,
    announced: false,
    problem: undefined,
  };
}

/** Waits for `promise` at most `ms` milliseconds; undefined when there is no time left. */
function bounded(promise: Promise<void>, ms: number): Promise<void> | undefined {
  if (ms <= 0) return undefined;
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    void promise.then(() => {
      clearTimeout(timer);
      resolve();
    });
  });
}

function unlessOver<T>(promise: Promise<T>, lifetime: Lifetime): Promise<T> {
  return new Promise((resolve, reject) => {
    const unlink = lifetime.onEnd(reject);
    void promise.then(resolve, reject).finally(unlink);
  });
}
