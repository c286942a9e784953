/**
 * From the name in a call to the server that runs it: catalog (does it exist for this caller), route (where), scope
 * (may they). Three kinds of refusal must not be told apart more than the product says: a name whose first route needs
 * a scope the caller lacks is 403 whether or not it exists; what is hidden looks exactly like what does not exist.
 */
import type { AccessObject, CallerAccess, EndpointAccess } from '../access/rules.ts';
import { checkAllScopes, checkScopes, scopesOf } from '../access/scopes.ts';
import { isPlainUri } from '../access/uris.ts';
import type { Catalog } from '../catalog/catalog.ts';
import type { Kind } from '../catalog/items.ts';
import type { Entry, Withheld } from '../catalog/merge.ts';
import type { Shown } from '../catalog/page.ts';
import type { ToolRules } from '../config/tool-rules.ts';
import { TollgateError } from '../core/errors.ts';
import type { Principal } from '../core/principal.ts';
import type { Destination } from '../protocol/bridge/outcome.ts';
import type { Call } from '../protocol/call.ts';
import { buildParamHeaders, checkParamHeaders } from '../protocol/headers.ts';
import { Field } from '../protocol/message.ts';
import type { Server } from '../protocol/peer.ts';
import type { Route, RouteKind, Router } from '../routing/router.ts';
import type { RefusedCallers } from '../telemetry/refused-callers.ts';
import { refusedBy } from './access-refusals.ts';

/** Where a call goes; also what the limits see of it. */
export interface Target {
  readonly kind: RouteKind;
  readonly entry: Entry;
  readonly canonicalId: string;
  readonly endpoint: string;
  readonly server: string;
  readonly upstream: Server;
  readonly destination: Destination;
  /** Milliseconds for the whole call. */
  readonly timeout: number;
  /** Arguments are checked against the input schema before the call is admitted. */
  readonly validate: boolean;
  /** Scope that the route needs. */
  readonly scope: string | undefined;
  /** Index of the route. */
  readonly route: number | undefined;
}

export interface TargetParts {
  readonly endpoint: string;
  readonly catalog: Catalog;
  readonly servers: ReadonlyMap<string, Server>;
  readonly router: Router;
  /** Scope that the endpoint itself needs. */
  readonly scope: string | undefined;
  readonly tools: ToolRules;
  /** Rules of `access`; undefined: there are none. */
  readonly access?: EndpointAccess | undefined;
  readonly callers: RefusedCallers;
}

export const KIND_OF: Readonly<Record<Entry['kind'], RouteKind>> = {
  tools: 'tool',
  prompts: 'prompt',
  resources: 'resource',
  templates: 'resource',
};

const LIST_OF: Readonly<Record<RouteKind, Kind>> = { tool: 'tools', prompt: 'prompts', resource: 'resources' };

/** Combinations of scopes whose callers share one view; further ones have a view for each caller. */
const MAX_GROUPS = 1000;

export class TargetResolver {
  readonly #parts: TargetParts;
  /** An entry keeps its object while nothing about it changes, so what follows from it is worked out once. */
  readonly #targets = new WeakMap<Entry, Target | TollgateError>();
  /** What rules match of a template: one object each, as its decisions are kept with it. */
  readonly #templates = new WeakMap<Entry, AccessObject>();
  readonly #shown = new WeakMap<Principal, { readonly caller: CallerAccess | undefined; readonly shown: Shown }>();
  /** By class of callers, then by the scopes that they have; without rules all are one class. */
  readonly #groups = new WeakMap<object, Map<string, Shown>>();

  constructor(parts: TargetParts) {
    this.#parts = parts;
  }

  tool(name: string, principal: Principal): Target {
    return this.#resolve('tool', name, this.#parts.catalog.tool(name), principal);
  }

  /** The tools that this caller is shown. */
  tools(principal: Principal): Target[] {
    const visible = this.visibility(principal)?.entry;
    const found: Target[] = [];
    for (const entry of this.#parts.catalog.tools) {
      if (!entry.advertised || visible?.(entry) === false) continue;
      const target = this.#targetOf('tool', entry);
      if (!TollgateError.is(target)) found.push(target);
    }
    return found;
  }

  prompt(name: string, principal: Principal): Target {
    return this.#resolve('prompt', name, this.#parts.catalog.prompt(name), principal);
  }

  resource(uri: string, principal: Principal): Target {
    const { catalog, access, router } = this.#parts;
    const entry = catalog.resource(uri);
    // Of a template: the client wrote the URI, so its text is all that rules and routes have to go by.
    const unclear = entry?.kind === 'templates' && (access !== undefined || router.configured) && !isPlainUri(uri);
    return this.#resolve('resource', uri, unclear ? undefined : entry, principal);
  }

  /** Whether this caller may know of a tool or prompt with a standing: for nobody else its server is asked about it. */
  knows(list: 'tools' | 'prompts', name: string, principal: Principal): boolean {
    const { catalog, router, scope, access } = this.#parts;
    const entry = list === 'tools' ? catalog.tool(name) : catalog.prompt(name);
    if (entry?.standing === undefined) return false;
    const kind = KIND_OF[list];
    if (access?.of(principal).conditionsOf(kind, entry) === false) return false;
    return checkScopes(principal.scopes, scope, router.route(kind, entry)?.scope) === undefined;
  }

  /** Where a call about this entry goes. Throws what refuses it. */
  entry(entry: Entry, principal: Principal): Target {
    return this.#resolve(KIND_OF[entry.kind], entry.name, entry, principal, this.#objectOf(entry));
  }

  /** The server that owns a resource, for subscriptions; undefined when unknown, and for who may not read it. */
  serverOf(uri: string, principal: Principal): Server | undefined {
    try {
      const { kind, entry, upstream } = this.resource(uri, principal);
      const asked = { method: 'resources/subscribe', arguments: undefined };
      return this.#parts.access?.permits(principal, kind, entry, asked) === false ? undefined : upstream;
    } catch (error) {
      if (TollgateError.is(error)) return undefined;
      throw error;
    }
  }

  /**
   * Throws for who may not send this server a method that names nothing, so that it could touch all it has: who lacks
   * the endpoint's scope or one of a route to the server is told so; to whom the rules do not give all of the server
   * the method does not exist.
   */
  checkWhole(server: string, method: string, principal: Principal): void {
    const { router, scope, access } = this.#parts;
    this.#throwIf(checkAllScopes(principal.scopes, [scope, ...router.scopesTo(server)]), { server });
    if (access === undefined || access.of(principal).coversAll(server)) return;
    this.#parts.callers.hidden();
    throw refusedBy(new TollgateError('method_not_found', `Method not found: ${method}`), { by: 'rules', server });
  }

  /** Throws `insufficient_scope` for who may not use the endpoint at all. */
  checkEndpoint(principal: Principal): void {
    this.#throwIf(checkScopes(principal.scopes, this.#parts.scope));
  }

  /** Throws `access_denied` where the rules give the name to this caller, but not with these arguments. */
  checkCall({ kind, entry }: Target, call: Call): void {
    const { access } = this.#parts;
    if (access === undefined || access.of(call.principal).conditionsOf(kind, entry) === true) return;
    // A read has no arguments: what a client writes there no server looks at.
    const args = kind === 'resource' ? undefined : call.message.raw(Field.arguments);
    const asked = { method: call.method, arguments: args };
    if (access.permits(call.principal, kind, entry, asked)) return;
    const told = `Not run, not charged. You may use ${entry.name}, but not with these arguments. Repeating this call will not help.`;
    const error = this.#parts.callers.refused(new TollgateError('access_denied', told), true);
    const { canonicalId: object, server } = entry;
    throw refusedBy(error, {
      by: 'condition',
      object,
      server,
      rules: access.conditionsFor(call.principal, kind, entry),
    });
  }

  /** What lists show to this caller; undefined when they show everything to everybody. */
  visibility(principal: Principal): Shown | undefined {
    const { router, scope, access } = this.#parts;
    if (!router.configured && scope === undefined && access === undefined) return undefined;
    const caller = access?.of(principal);
    const known = this.#shown.get(principal);
    if (known !== undefined && known.caller === caller) return known.shown;
    const shown = this.#shownTo(caller, principal.scopes);
    this.#shown.set(principal, { caller, shown });
    return shown;
  }

  /** Callers of one class with the same of the scopes that matter here see the same, and share the object. */
  #shownTo(caller: CallerAccess | undefined, scopes: readonly string[] | undefined): Shown {
    const { scope, router } = this.#parts;
    const has = new Set([scope, ...router.scopes].filter((needed) => checkScopes(scopes, needed) === undefined));
    const groups = this.#groups.get(caller ?? this) ?? new Map<string, Shown>();
    this.#groups.set(caller ?? this, groups);
    const key = JSON.stringify([...has]);
    let shown = groups.get(key);
    if (shown === undefined) {
      const enters = has.has(scope);
      shown = {
        entry: (entry) => {
          if (!enters || !this.#isShown(entry, this.#objectOf(entry), caller)) return false;
          const target = this.#targetOf(KIND_OF[entry.kind], entry);
          return !TollgateError.is(target) && (target.scope === undefined || has.has(target.scope));
        },
        server: (server) => enters && caller?.reaches(server) !== false,
      };
      if (groups.size < MAX_GROUPS) groups.set(key, shown);
    }
    return shown;
  }

  /** What the endpoint hides, or nobody has approved, is no entry at all: the catalog does not have it. */
  #isShown(entry: Entry, object: AccessObject, caller: CallerAccess | undefined): boolean {
    // Also in the moment between a change of its standing and the next merge of the catalog.
    if (entry.standing?.blocked === true) return false;
    return caller === undefined || caller.conditionsOf(KIND_OF[entry.kind], object) !== false;
  }

  #resolve(
    kind: RouteKind,
    name: string,
    entry: Entry | undefined,
    principal: Principal,
    object: AccessObject | undefined = entry,
  ): Target {
    const { router, scope, access } = this.#parts;
    // What is hidden takes the very way of what does not exist.
    if (entry === undefined || !this.#isShown(entry, object!, access?.of(principal))) {
      const route = router.routeUnknown(kind, name);
      this.#throwIf(checkScopes(principal.scopes, scope, route?.scope), { route: route?.index });
      if (entry !== undefined && entry.standing?.blocked !== true) this.#parts.callers.hidden();
      throw this.#hidden(kind, name, entry);
    }
    const target = this.#targetOf(kind, entry);
    if (TollgateError.is(target)) {
      this.#throwIf(checkScopes(principal.scopes, scope, router.route(kind, entry)?.scope), { entry });
      throw target;
    }
    this.#throwIf(checkScopes(principal.scopes, scope, target.scope), { entry, route: target.route });
    return target;
  }

  /** What does not exist for this caller; where it exists for others, the operator's record says so. */
  #hidden(kind: RouteKind, name: string, entry: Entry | undefined): TollgateError {
    const error = unknown(kind, name);
    const why: Pick<Entry, 'server' | 'canonicalId'> | Withheld | undefined =
      entry ?? this.#parts.catalog.withheld(LIST_OF[kind], name);
    if (why === undefined) return error;
    const by = 'by' in why ? why.by : entry?.standing?.blocked === true ? 'pin' : 'rules';
    return refusedBy(error, { by, object: why.canonicalId, server: why.server });
  }

  #throwIf(
    error: TollgateError | undefined,
    {
      entry,
      server,
      route,
    }: { readonly entry?: Entry; readonly server?: string; readonly route?: number | undefined } = {},
  ): void {
    if (error === undefined) return;
    throw refusedBy(this.#parts.callers.refused(error, true), {
      by: 'scope',
      object: entry?.canonicalId,
      server: entry?.server ?? server,
      scopes: scopesOf(error).split(' '),
      route: route === undefined ? undefined : route + 1,
    });
  }

  /** Of a template itself. A URI that fits it is judged as what it is. */
  #objectOf(entry: Entry): AccessObject {
    const { template } = entry.item;
    if (entry.kind !== 'templates' || template === undefined) return entry;
    let object = this.#templates.get(entry);
    if (object === undefined) {
      const { canonicalId, server } = entry;
      object = { canonicalId, server, prefix: `${server}/${template.prefix}` };
      this.#templates.set(entry, object);
    }
    return object;
  }

  #targetOf(kind: RouteKind, entry: Entry): Target | TollgateError {
    let target = this.#targets.get(entry);
    if (target === undefined) {
      target = this.#build(kind, entry);
      this.#targets.set(entry, target);
    }
    return target;
  }

  #build(kind: RouteKind, entry: Entry): Target | TollgateError {
    const { router, servers, tools } = this.#parts;
    let route: Route | undefined;
    if (router.configured) {
      route = router.route(kind, entry);
      if (!router.takes(kind, entry)) return new TollgateError('no_route', `No route for ${entry.name}`);
    }
    const server = servers.get(entry.server);
    if (server === undefined) return unknown(kind, entry.name);
    const settings = kind === 'tool' && tools.any ? tools.of(entry.canonicalId) : undefined;
    return {
      kind,
      entry,
      canonicalId: entry.canonicalId,
      endpoint: this.#parts.endpoint,
      server: server.name,
      upstream: server,
      destination: { target: entry.target, headerName: entry.upstreamName, paramHeaders: undefined },
      timeout: settings?.timeout ?? route?.timeout ?? server.requestTimeout,
      validate: settings?.validate === true,
      scope: route?.scope,
      route: route?.index,
    };
  }
}

/**
 * Where a tool call goes, with the headers that mirror its arguments (MCP 2026-07-28, `x-mcp-header`): those of an
 * HTTP client are checked against the body, those for the server are made anew from it.
 */
export function destinationOf(call: Call, target: Target): Destination {
  const headers = target.entry.paramHeaders;
  if (headers === undefined) return target.destination;
  if (call.era === 'modern' && call.transport === 'http') {
    checkParamHeaders(headers, call.message.json(Field.arguments), call.paramHeaders ?? []);
  }
  return mirroredDestination(call, target);
}

/** The same for a call whose headers were checked before: against the list that the client had then. */
export function mirroredDestination(call: Call, target: Target): Destination {
  const headers = target.entry.paramHeaders;
  if (headers === undefined) return target.destination;
  const args = (call.outbound ?? call.message).json(Field.arguments);
  return { ...target.destination, paramHeaders: buildParamHeaders(headers, args) };
}

function unknown(kind: RouteKind, name: string): TollgateError {
  const noun = kind === 'tool' ? 'Unknown tool' : kind === 'prompt' ? 'Unknown prompt' : 'Resource not found';
  return new TollgateError('unknown_name', `${noun}: ${name}`, kind === 'resource' ? { data: { uri: name } } : {});
}
