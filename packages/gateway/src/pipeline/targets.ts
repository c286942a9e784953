/**
 * From the name in a call to the server that runs it: catalog (does it exist for this caller), route (where), scope
 * (may they). Three kinds of refusal must not be told apart more than the product says: a name whose first route needs
 * a scope the caller lacks is 403 whether or not it exists; what is hidden looks exactly like what does not exist.
 */
import { checkRouteScope } from '../access/scopes.ts';
import type { Catalog } from '../catalog/catalog.ts';
import type { Entry } from '../catalog/merge.ts';
import type { ToolRules } from '../config/tool-rules.ts';
import { TollgateError } from '../core/errors.ts';
import type { Principal } from '../core/principal.ts';
import type { Destination } from '../protocol/bridge/outcome.ts';
import type { Call } from '../protocol/call.ts';
import { buildParamHeaders, checkParamHeaders } from '../protocol/headers.ts';
import { Field } from '../protocol/message.ts';
import type { Server } from '../protocol/peer.ts';
import type { Route, RouteKind, Router } from '../routing/router.ts';

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
}

export const KIND_OF: Readonly<Record<Entry['kind'], RouteKind>> = {
  tools: 'tool',
  prompts: 'prompt',
  resources: 'resource',
  templates: 'resource',
};

export class TargetResolver {
  readonly #parts: TargetParts;
  /** An entry keeps its object while nothing about it changes, so what follows from it is worked out once. */
  readonly #targets = new WeakMap<Entry, Target | TollgateError>();

  constructor(parts: TargetParts) {
    this.#parts = parts;
  }

  tool(name: string, principal: Principal): Target {
    return this.#resolve('tool', name, this.#parts.catalog.tool(name), principal);
  }

  /** The tools that this caller is shown. */
  tools(principal: Principal): Target[] {
    const visible = this.visibility(principal);
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
    return this.#resolve('resource', uri, this.#parts.catalog.resource(uri), principal);
  }

  /** Where a call about this entry goes. Throws what refuses it. */
  entry(entry: Entry, principal: Principal): Target {
    return this.#resolve(KIND_OF[entry.kind], entry.name, entry, principal);
  }

  /** The server that owns a resource, for subscriptions; undefined when unknown, and for who may not read it. */
  ownerOf(uri: string, principal: Principal): Server | undefined {
    try {
      return this.resource(uri, principal).upstream;
    } catch (error) {
      if (TollgateError.is(error)) return undefined;
      throw error;
    }
  }

  /** Throws `insufficient_scope` for who may not use the endpoint at all; for methods without a name to decide by. */
  checkEndpoint(principal: Principal): void {
    throwIf(checkRouteScope(principal.scopes, this.#parts.scope));
  }

  /** Whether a list shows an entry to this caller; undefined when it shows everything to everybody. */
  visibility(principal: Principal): ((entry: Entry) => boolean) | undefined {
    const { router, scope } = this.#parts;
    if (!router.configured && scope === undefined) return undefined;
    return (entry) => {
      const target = this.#targetOf(KIND_OF[entry.kind], entry);
      return (
        !TollgateError.is(target) &&
        checkRouteScope(principal.scopes, scope) === undefined &&
        checkRouteScope(principal.scopes, target.scope) === undefined
      );
    };
  }

  #resolve(kind: RouteKind, name: string, entry: Entry | undefined, principal: Principal): Target {
    throwIf(checkRouteScope(principal.scopes, this.#parts.scope));
    if (entry === undefined) {
      throwIf(checkRouteScope(principal.scopes, this.#parts.router.routeUnknown(kind, name)?.scope));
      throw unknown(kind, name);
    }
    const target = this.#targetOf(kind, entry);
    if (TollgateError.is(target)) {
      throwIf(checkRouteScope(principal.scopes, this.#parts.router.route(kind, entry)?.scope));
      throw target;
    }
    throwIf(checkRouteScope(principal.scopes, target.scope));
    return target;
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

function throwIf(error: TollgateError | undefined): void {
  if (error !== undefined) throw error;
}
