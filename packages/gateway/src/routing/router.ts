/**
 * Where a call goes: the first route in file order whose pattern matches decides, and only its servers may run the
 * call. A route without a pattern is the default, wherever it stands in the file.
 */
import { compileCanonicalGlob, compileGlob, type Glob } from '../core/glob.ts';
import type { RouteOptions } from './options.ts';

export type RouteKind = 'tool' | 'prompt' | 'resource';

/** What is routed, as the catalog knows it. */
export interface RouteTarget {
  readonly server: string;
  /** Name as advertised, or URI. */
  readonly name: string;
  /** `server/name` with the server's own name. */
  readonly canonicalId: string;
}

export interface Route extends RouteOptions {
  /** Place in the file, from 0. */
  readonly index: number;
}

export interface Router {
  /** False when no routes are configured: then every server runs what it offers, and nothing needs a scope. */
  readonly configured: boolean;
  /** The route that decides: the first that matches, else the default. Check its scope before `takes`. */
  route(kind: RouteKind, target: RouteTarget): Route | undefined;
  /** True when the deciding route lets the target's own server run it, and when no routes are configured. */
  takes(kind: RouteKind, target: RouteTarget): boolean;
  /**
   * The route that would decide for a name or URI that the catalog does not know, were it on any server. Its scope is
   * checked all the same, so that a caller without it cannot find out which names exist.
   */
  routeUnknown(kind: RouteKind, name: string): Route | undefined;
  /** Every scope that some route needs, once. */
  readonly scopes: readonly string[];
  /** Those of the routes to this server. */
  scopesTo(server: string): readonly string[];
}

interface Rule {
  readonly route: Route;
  /** On canonical ids. */
  readonly canonical: Glob;
  /** On advertised names or URIs; undefined for a pattern that names a server. */
  readonly plain: Glob | undefined;
  /** On names of unknown servers: the part after the server's name. */
  readonly unknown: Glob;
}

interface Memo {
  readonly name: string;
  readonly route: Route | undefined;
}

interface Table {
  readonly rules: readonly Rule[];
  /** By canonical id. One id has different advertised names on different endpoints; the last asked for is kept. */
  readonly memo: Map<string, Memo>;
}

/** Entries of one memo; a catalog beyond this costs the walk through the routes again, never memory. */
const MAX_MEMO = 20_000;
/** Ids longer than this are not memoised: URIs that fit a template come from clients and may be of any length. */
const MAX_MEMO_ID = 512;

/** Throws `config_invalid` for a broken pattern. */
export function compileRoutes(options: readonly RouteOptions[]): Router {
  return new CompiledRouter(options);
}

class CompiledRouter implements Router {
  readonly configured: boolean;
  readonly #tables: Readonly<Record<RouteKind, Table>>;
  readonly #fallback: Route | undefined;
  readonly scopes: readonly string[];
  readonly #scopes = new Map<string, string[]>();

  constructor(options: readonly RouteOptions[]) {
    const routes = options.map((route, index): Route => ({ ...route, index }));
    this.configured = routes.length > 0;
    this.#fallback = routes.find((route) => patternOf(route) === undefined);
    const table = (kind: RouteKind): Table => ({ rules: rulesOf(kind, routes), memo: new Map() });
    this.scopes = [...new Set(routes.flatMap(({ scope }) => scope ?? []))];
    for (const { to, scope } of routes) {
      for (const server of scope === undefined ? [] : to) {
        const known = this.#scopes.get(server);
        if (known === undefined) this.#scopes.set(server, [scope!]);
        else if (!known.includes(scope!)) known.push(scope!);
      }
    }
    this.#tables = { tool: table('tool'), prompt: table('prompt'), resource: table('resource') };
  }

  route(kind: RouteKind, target: RouteTarget): Route | undefined {
    const { memo, rules } = this.#tables[kind];
    const known = memo.get(target.canonicalId);
    if (known !== undefined && known.name === target.name) return known.route;
    const rule = rules.find(
      ({ canonical, plain }) => canonical.matches(target.canonicalId) || plain?.matches(target.name) === true,
    );
    const route = rule === undefined ? this.#fallback : rule.route;
    if (target.canonicalId.length <= MAX_MEMO_ID) {
      if (memo.size >= MAX_MEMO) memo.clear();
      memo.set(target.canonicalId, { name: target.name, route });
    }
    return route;
  }

  takes(kind: RouteKind, target: RouteTarget): boolean {
    return !this.configured || this.route(kind, target)?.to.includes(target.server) === true;
  }

  routeUnknown(kind: RouteKind, name: string): Route | undefined {
    // Not memoised: the names come from clients.
    const rule = this.#tables[kind].rules.find(({ unknown }) => unknown.matches(name));
    return rule === undefined ? this.#fallback : rule.route;
  }

  scopesTo(server: string): readonly string[] {
    return this.#scopes.get(server) ?? NO_SCOPES;
  }
}

const NO_SCOPES: readonly string[] = [];

function rulesOf(kind: RouteKind, routes: readonly Route[]): Rule[] {
  const rules: Rule[] = [];
  for (const route of routes) {
    const pattern = route[kind];
    if (pattern === undefined) continue;
    // A URI has slashes of its own, so a resource pattern is read both ways: as a URI and as server/URI.
    const named = kind !== 'resource' && pattern.includes('/');
    rules.push({
      route,
      canonical: kind === 'resource' ? compileGlob(pattern) : compileCanonicalGlob(pattern),
      plain: named ? undefined : compileGlob(pattern),
      unknown: compileGlob(named ? pattern.slice(pattern.indexOf('/') + 1) || '*' : pattern),
    });
  }
  return rules;
}

function patternOf(route: RouteOptions): string | undefined {
  return route.tool ?? route.prompt ?? route.resource;
}
