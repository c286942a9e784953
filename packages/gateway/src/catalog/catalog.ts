/**
 * What exists behind one endpoint: the merged tools, prompts, resources and templates of its servers. Lists wait for
 * a server only so long; lookups never wait. A name that is not here is never forwarded.
 */

import type { Clock } from '../core/clock.ts';
import { TollgateError } from '../core/errors.ts';
import { compileCanonicalGlob } from '../core/glob.ts';
import { randomId } from '../core/ids.ts';
import type { Log } from '../core/log.ts';
import type { ListKind, Server } from '../protocol/peer.ts';
import type { Era } from '../protocol/versions.ts';
import { mergeCapabilities, mergeInstructions } from './capabilities.ts';
import { KINDS, type Kind, LISTS } from './items.ts';
import type { Listing, Listings } from './listing.ts';
import { type Entry, type Rules, sameAdvertised, type Withheld } from './merge.ts';
import { type Conflict, NameBook } from './naming.ts';
import type { CatalogOptions } from './options.ts';
import {
  Cursors,
  makePage,
  PAGE_SIZE,
  type Page,
  type Position,
  resultText,
  type Shortfall,
  type Shown,
  withOwn,
} from './page.ts';
import { EMPTY_SNAPSHOT, type Memory, newMemory, type Snapshot, takeSnapshot } from './snapshot.ts';
import { type CatalogView, viewServer } from './view.ts';

export interface CatalogDeps {
  /** Shared by all endpoints, so that a server is read once. */
  readonly listings: Listings;
  readonly clock: Clock;
  readonly log: Log;
  /** For `_meta["io.modelcontextprotocol/serverInfo"]` of modern lists; undefined: none. */
  readonly serverInfo?: Readonly<Record<string, unknown>>;
  /** False: the entry exists but is not listed, as no route takes it. Default: all are. */
  readonly advertise?: (entry: Entry) => boolean;
  /** The catalog that this one replaces on a reload: names already given are kept. */
  readonly previous?: Catalog;
  /** Entries of one page. Default 1000. */
  readonly pageSize?: number;
}

export interface ListResult {
  /** JSON text of the whole `result` object in the era asked for. */
  readonly body: string;
  readonly count: number;
  readonly nextCursor: string | undefined;
  readonly ttlMs: number;
  readonly cacheScope: 'public' | 'private';
  /** Servers that are missing or cut; also in the body under `_meta["tollgate/partial"]`. */
  readonly partial: readonly Shortfall[];
}

/** What a completion refers to, as it stands in `params.ref`. */
export interface CompletionRef {
  readonly type?: unknown;
  readonly name?: unknown;
  readonly uri?: unknown;
}

const MAX_CONFLICTS = 1000;
/** Groups of callers whose first pages are kept; the one that was added first gives way. */
const MAX_GROUPS = 64;

export function createCatalog(
  options: CatalogOptions,
  servers: ReadonlyMap<string, Server>,
  deps: CatalogDeps,
): Catalog {
  return new Catalog(options, servers, deps);
}

export class Catalog {
  readonly #options: CatalogOptions;
  readonly #deps: Omit<CatalogDeps, 'previous'>;
  readonly #rules: Rules;
  readonly #memory: Memory;
  readonly #listeners = new Set<(kind: ListKind) => void>();
  readonly #conflicts = new Map<string, Conflict>();
  #listings: readonly Listing[] = [];
  #listingOf: ReadonlyMap<string, Listing> = new Map();
  #unlisten: (() => void)[] = [];
  #snapshot: Snapshot = EMPTY_SNAPSHOT;
  /** First pages by what is shown, made when asked for; undefined: everything is. */
  #pages = new Map<Shown | undefined, Map<string, Page>>();
  readonly #cursors = new Cursors();
  #epoch = randomId(8);
  #settled: Promise<void>;
  #ready = false;
  #closed = false;
  #dirty = false;
  #announced = new Set<ListKind>();

  constructor(options: CatalogOptions, servers: ReadonlyMap<string, Server>, { previous, ...deps }: CatalogDeps) {
    this.#options = options;
    // Without `previous`: each reload would otherwise keep all catalogs before it alive.
    this.#deps = deps;
    this.#rules = {
      allow: options.allow?.map(compileCanonicalGlob),
      deny: options.deny.map(compileCanonicalGlob),
      advertise: deps.advertise ?? (() => true),
    };
    const old = previous === undefined ? undefined : previous.#memory.books;
    this.#memory = newMemory({
      tools: new NameBook(options.naming, options.names, old?.tools),
      prompts: new NameBook(options.naming, new Map(), old?.prompts),
    });
    this.#settled = this.#follow(options.servers, servers);
  }

  /** False until every server was tried once or had `listTimeout`; until then lookups find nothing. */
  get ready(): boolean {
    return this.#ready;
  }

  /** Resolves when `ready`, at the latest after `listTimeout`. Never rejects. */
  settled(): Promise<void> {
    return this.#settled;
  }

  /** A tool by its advertised name. */
  tool(name: string): Entry | undefined {
    return this.#snapshot.merged.tools.byName.get(name);
  }

  /** Every tool, advertised or not, in the order of the list. */
  get tools(): readonly Entry[] {
    return this.#snapshot.merged.tools.entries;
  }

  get prompts(): readonly Entry[] {
    return this.#snapshot.merged.prompts.entries;
  }

  /** Every resource that is listed by itself, not by a template. */
  get resources(): readonly Entry[] {
    return this.#snapshot.merged.resources.entries;
  }

  /** A prompt by its advertised name. */
  prompt(name: string): Entry | undefined {
    return this.#snapshot.merged.prompts.byName.get(name);
  }

  /** The owner of a URI: listed, referred to by a tool, or fitting a template (the most specific one). */
  resource(uri: string): Entry | undefined {
    return this.#snapshot.resource(uri);
  }

  /** Why a name that is not in the catalog is not: for the operator's record, never for the caller. */
  withheld(kind: Kind, name: string): Withheld | undefined {
    return this.#snapshot.merged[kind].withheld.get(name);
  }

  /** What `completion/complete` refers to: a prompt by advertised name, a template or resource by URI. */
  completion(ref: CompletionRef): Entry | undefined {
    if (ref.type === 'ref/prompt' && typeof ref.name === 'string') return this.prompt(ref.name);
    if (ref.type !== 'ref/resource' || typeof ref.uri !== 'string') return undefined;
    return this.#snapshot.merged.templates.byName.get(ref.uri) ?? this.resource(ref.uri);
  }

  /**
   * One page of a list. `shown` leaves out what this caller may not see, and `audience` is who it is: nobody else can
   * use the cursor. Waits at most `listTimeout` for servers. `own` is the JSON text of the gateway's own entries, which
   * come last. Rejects with `invalid_params` for a bad cursor, and with `server_unavailable` when a server is missing
   * and the endpoint says `onUnavailable: fail`.
   */
  async list(
    kind: Kind,
    cursor: string | undefined,
    era: Era,
    shown?: Shown,
    own?: string,
    audience = '',
  ): Promise<ListResult> {
    const reader = shown === undefined ? undefined : audience;
    const after = cursor === undefined ? undefined : this.#cursors.decode(this.#epoch, kind, cursor, reader);
    if (!this.#ready) await this.#settled;
    if (after === undefined) {
      const waits: Promise<void>[] = [];
      for (const listing of this.#listings) {
        const wait = listing.ensure(kind, this.#options.listTimeout);
        if (wait !== undefined) waits.push(wait);
      }
      if (waits.length > 0) await Promise.all(waits);
    }
    this.#rebuild(false);
    const partial = this.#shortfalls(kind, shown);
    if (partial.length > 0 && this.#options.onUnavailable === 'fail') {
      const missing = partial.map(({ server, reason }) => `${server} (${reason})`).join(', ');
      throw new TollgateError('server_unavailable', `${LISTS[kind].method} is incomplete, missing: ${missing}`, {
        data: { partial },
      });
    }
    const page = withOwn(this.#page(kind, era, after, shown), own);
    const nextCursor = page.next && this.#cursors.encode(this.#epoch, kind, page.next, reader);
    const { ttlMs, cacheScope } = this.#hints(kind, partial.length > 0, shown !== undefined);
    return {
      body: resultText(kind, era, page, nextCursor, { ttlMs, cacheScope, partial, serverInfo: this.#deps.serverInfo }),
      count: page.count,
      nextCursor,
      ttlMs,
      cacheScope,
      partial,
    };
  }

  /**
   * Before a call of an entry: undefined, or a wait for the list of its server, where that said that the list has
   * changed and changes are blocked. Rejects with `server_unavailable` when the list cannot be read in time.
   */
  recheck(kind: 'tools' | 'prompts', name: string): Promise<void> | undefined {
    const entry = this.#snapshot.merged[kind].byName.get(name);
    if (entry?.standing === undefined) return undefined;
    const { listTimeout } = this.#options;
    return this.#listingOf
      .get(entry.server)
      ?.recheck(kind, listTimeout)
      ?.then((read) => {
        if (read) return;
        throw new TollgateError(
          'server_unavailable',
          `${entry.server} says that its ${kind} have changed and does not list them: none is called until it does`,
        );
      });
  }

  /** For `initialize` (legacy) and `server/discover` (modern). Wait for `settled` first. */
  capabilities(era: Era): Record<string, unknown> {
    return mergeCapabilities(this.#listings, era);
  }

  /** What the servers say of themselves; of those that are shown only. */
  instructions(shown?: Shown): string | undefined {
    return mergeInstructions(this.#listings, shown?.server);
  }

  /**
   * Called when what clients are shown of a list has changed, or a server has announced a change of it and it has
   * been read again; not on the first reading.
   */
  onChange(listener: (kind: ListKind) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Lists that clients were shown differently by another catalog of the same endpoint. */
  differs(other: Catalog): readonly ListKind[] {
    return differences(other.#snapshot.merged, this.#snapshot.merged);
  }

  /** Reads the lists of one server, or of all, again now. Resolves when done; never rejects. */
  async refresh(server?: string): Promise<void> {
    const chosen = this.#listings.filter((listing) => server === undefined || listing.server.name === server);
    await Promise.all(chosen.map((listing) => listing.refresh()));
    this.#rebuild(false);
  }

  /** Adds and removes servers at run time. Names given are kept, also for servers that come back. */
  setServers(order: readonly string[], servers: ReadonlyMap<string, Server>): Promise<void> {
    const before = this.#listings.map((listing) => listing.server.name);
    if (!before.every((name, i) => order[i] === name)) this.#epoch = randomId(8);
    this.#settled = this.#follow(order, servers);
    return this.#settled;
  }

  /** Names that two entries wanted, for `validate`, start-up print and log; at most 1000. */
  get conflicts(): readonly Conflict[] {
    return [...this.#conflicts.values()];
  }

  view(): CatalogView {
    const servers = this.#listings.map((listing) => viewServer(listing, this.#snapshot.merged));
    return {
      servers,
      tools: servers.reduce((sum, one) => sum + one.tools, 0),
      tokens: servers.reduce((sum, one) => sum + one.tokens, 0),
    };
  }

  close(): void {
    this.#closed = true;
    for (const unlisten of this.#unlisten) unlisten();
    for (const listing of this.#listings) this.#deps.listings.release(listing.server);
    this.#listeners.clear();
  }

  async #follow(order: readonly string[], servers: ReadonlyMap<string, Server>): Promise<void> {
    const old = this.#listings;
    for (const unlisten of this.#unlisten) unlisten();
    const found = order.map((name) => servers.get(name)).filter((server) => server !== undefined);
    this.#listings = found.map((server) => this.#deps.listings.acquire(server));
    this.#listingOf = new Map(this.#listings.map((listing) => [listing.server.name, listing]));
    for (const listing of old) this.#deps.listings.release(listing.server);
    // What was removed is gone at once; what was added may take its time.
    if (this.#ready) {
      this.#dirty = true;
      this.#rebuild(false);
    }
    this.#unlisten = this.#listings.map((listing) => listing.onChange((announced) => this.#schedule(announced)));
    const waiting = this.#listings.filter((listing) => !listing.attempted).map((listing) => listing.firstAttempt);
    if (waiting.length > 0) {
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, this.#options.listTimeout);
      });
      await Promise.race([Promise.all(waiting), late]);
      clearTimeout(timer);
    }
    const first = !this.#ready;
    this.#ready = true;
    this.#dirty = true;
    this.#rebuild(first);
  }

  /** Changes of several servers in one turn make one merge and one announcement. */
  #schedule(announced: readonly Kind[]): void {
    if (!this.#ready || this.#closed) return;
    for (const kind of announced) this.#announced.add(listKindOf(kind));
    if (this.#dirty) return;
    this.#dirty = true;
    setImmediate(() => this.#rebuild(false));
  }

  #rebuild(silent: boolean): void {
    if (this.#closed || !this.#dirty) return;
    this.#dirty = false;
    const before = this.#snapshot.merged;
    this.#snapshot = takeSnapshot(this.#listings, this.#snapshot, this.#memory, this.#rules);
    this.#report(this.#snapshot.conflicts);
    this.#pages = new Map();
    const changed = this.#announced;
    this.#announced = new Set();
    if (silent) return;
    for (const kind of differences(before, this.#snapshot.merged)) changed.add(kind);
    for (const kind of changed) for (const listener of [...this.#listeners]) this.#tell(listener, kind);
  }

  #tell(listener: (kind: ListKind) => void, kind: ListKind): void {
    try {
      listener(kind);
    } catch (error) {
      this.#deps.log.error({ endpoint: this.#options.endpoint, err: error }, 'A listener of the catalog failed');
    }
  }

  #shortfalls(kind: Kind, shown: Shown | undefined): Shortfall[] {
    const partial: Shortfall[] = [];
    for (const listing of this.#listings) {
      if (shown?.server(listing.server.name) === false) continue;
      const reason = listing.shortfall(kind);
      if (reason !== undefined) partial.push({ server: listing.server.name, reason });
    }
    return partial;
  }

  #page(kind: Kind, era: Era, after: Position | undefined, shown: Shown | undefined): Page {
    const size = this.#deps.pageSize ?? PAGE_SIZE;
    const merged = this.#snapshot.merged[kind];
    if (after !== undefined) return makePage(merged, era, after, size, shown);
    let pages = this.#pages.get(shown);
    if (pages === undefined) {
      if (this.#pages.size >= MAX_GROUPS) this.#pages.delete(this.#pages.keys().next().value);
      pages = new Map();
      this.#pages.set(shown, pages);
    }
    const key = `${kind} ${era}`;
    let page = pages.get(key);
    if (page === undefined) {
      page = makePage(merged, era, undefined, size, shown);
      pages.set(key, page);
    }
    return page;
  }

  /** Least remaining lifetime of the parts. A list that is not whole, or depends on the caller, is shared with nobody. */
  #hints(kind: Kind, isPartial: boolean, filtered: boolean): { ttlMs: number; cacheScope: 'public' | 'private' } {
    const now = this.#deps.clock.monotonic();
    let ttlMs = Number.POSITIVE_INFINITY;
    let open = !isPartial && !filtered;
    for (const listing of this.#listings) {
      if (!listing.offers(kind)) continue;
      ttlMs = Math.min(ttlMs, listing.freshFor(kind, now));
      if (listing.list(kind)?.scope !== 'public') open = false;
    }
    const none = !Number.isFinite(ttlMs);
    return { ttlMs: isPartial || none ? 0 : ttlMs, cacheScope: open && !none ? 'public' : 'private' };
  }

  #report(conflicts: readonly Conflict[]): void {
    for (const conflict of conflicts) {
      const { name, owner, newcomer, renamed, reason } = conflict;
      const known = this.#conflicts.get(newcomer);
      if (known?.name === name && known.renamed === renamed) continue;
      if (known === undefined && this.#conflicts.size >= MAX_CONFLICTS) continue;
      this.#conflicts.set(newcomer, conflict);
      const fields = { endpoint: this.#options.endpoint, name, owner, newcomer, renamed };
      const why =
        reason === 'reserved'
          ? 'the prefix tollgate_ is reserved'
          : reason === 'confusable'
            ? `it looks like "${name}"`
            : `${owner} has the name "${name}"`;
      if (renamed !== undefined) this.#deps.log.info(fields, `${newcomer} is advertised as ${renamed}: ${why}`);
      else this.#deps.log.warn(fields, `${newcomer} is left out of ${this.#options.endpoint}: ${why}`);
    }
  }
}

function differences(before: Snapshot['merged'], after: Snapshot['merged']): ListKind[] {
  const changed = new Set<ListKind>();
  for (const kind of KINDS) {
    if (!sameAdvertised(before[kind], after[kind])) changed.add(listKindOf(kind));
  }
  return [...changed];
}

function listKindOf(kind: Kind): ListKind {
  return kind === 'templates' ? 'resources' : kind;
}
