/**
 * One applied configuration: servers, catalogs, endpoints, identity and limits, built whole before anything is
 * swapped. What did not change is taken over from the one before, so that a reload restarts no server and forgets no
 * counter.
 */
import { isDeepStrictEqual } from 'node:util';
import { compileAccess } from '../access/rules.ts';
import { createAdmission } from '../admission/admission.ts';
import { type Catalog, createCatalog } from '../catalog/catalog.ts';
import type { Listings } from '../catalog/listing.ts';
import type { Entry } from '../catalog/merge.ts';
import type { CompiledConfig, EndpointOptions } from '../config/compile.ts';
import type { Clock } from '../core/clock.ts';
import type { Log } from '../core/log.ts';
import { IMPLEMENTATION } from '../core/version.ts';
import { createEgress } from '../egress/egress.ts';
import { createIdentity, type Identity, type IdentityDeps } from '../identity/identity.ts';
import type { KeySource } from '../identity/keys.ts';
import type { AuthMethod } from '../identity/method.ts';
import type { AuthEntry } from '../identity/options.ts';
import type { PrincipalKeys } from '../identity/principals.ts';
import type { ParkedCalls } from '../protocol/bridge/modern-to-legacy.ts';
import type { Server } from '../protocol/peer.ts';
import { compileRoutes, type Router } from '../routing/router.ts';
import type { CallLog } from '../telemetry/calls.ts';
import type { DecisionLog } from '../telemetry/decisions/log.ts';
import type { TransformChains, TransformRegistry } from '../transform/registry.ts';
import type { ServerOptions } from '../upstream/options.ts';
import type { AccessRefusals } from './access-refusals.ts';
import { EndpointChain, type LimitsInForce } from './endpoint.ts';
import { ProtectedResources } from './protected-resources.ts';
import type { Rounds } from './rounds.ts';
import type { SubscriptionHub } from './subscriptions.ts';
import { KIND_OF, TargetResolver } from './targets.ts';
import type { TaskOwners } from './task-owners.ts';
import type { Trust } from './trust.ts';
import type { UserAccounts } from './user-accounts.ts';

/** What outlives a reload. */
export interface Lasting {
  readonly clock: Clock;
  readonly log: Log;
  readonly listings: Listings;
  readonly keys: PrincipalKeys;
  /** Base URL where no `publicUrl` is configured. */
  readonly url: () => string;
  /** API keys that were issued; absent: none can be. */
  readonly issued?: KeySource | undefined;
  /** Methods of other rooms for an auth entry: keys, tokens of the bridge. */
  readonly authMethods?: ((entry: AuthEntry) => readonly AuthMethod[]) | undefined;
  readonly parked: ParkedCalls;
  readonly rounds: Rounds;
  readonly users: UserAccounts | undefined;
  /** Records of decisions; undefined: none are kept. */
  readonly decisions: DecisionLog | undefined;
  /** Records of what access refused. */
  readonly refusals: AccessRefusals;
  readonly hub: SubscriptionHub;
  readonly tasks: TaskOwners;
  readonly calls: CallLog;
  readonly limits: LimitsInForce;
  /** Which definitions of servers are approved. */
  readonly trust: Trust;
  /** Absent: nothing is transformed. */
  readonly transforms?: TransformRegistry | undefined;
  readonly createServer: (options: ServerOptions) => Server;
}

export interface EndpointInUse {
  readonly options: EndpointOptions;
  readonly catalog: Catalog;
  readonly chain: EndpointChain;
}

export interface Generation {
  readonly number: number;
  readonly config: CompiledConfig;
  readonly servers: ReadonlyMap<string, Server>;
  readonly endpoints: ReadonlyMap<string, EndpointInUse>;
  readonly identity: Identity;
  readonly resources: ProtectedResources;
}

/** Builds; starts reading the lists of new servers. Throws `config_invalid` and leaves `previous` as it was. */
export function buildGeneration(
  config: CompiledConfig,
  lasting: Lasting,
  previous: Generation | undefined,
): Generation {
  const router = compileRoutes(config.routes);
  // Only to refuse what cannot be kept; the counters move when the generation is taken into use.
  createAdmission(config.admission, { clock: lasting.clock });
  const resources = new ProtectedResources(config, () => config.publicUrl ?? lasting.url());
  const identity = createIdentity(config.identity, identityDeps(config, resources, lasting), previous?.identity);
  const made: Server[] = [];
  const endpoints = new Map<string, EndpointInUse>();
  try {
    const servers = new Map<string, Server>();
    for (const options of config.servers) {
      const known = unchanged(options, previous);
      const server = known ?? lasting.createServer(options);
      if (known === undefined) {
        made.push(server);
        lasting.trust.introduce(server, options, config.trust);
      }
      servers.set(options.name, server);
    }
    const transforms = lasting.transforms?.compose() ?? NO_TRANSFORMS;
    const parts = { config, lasting, previous, router, servers, transforms, resources };
    for (const options of config.endpoints) endpoints.set(options.path, buildEndpoint(options, parts));
    return { number: (previous?.number ?? 0) + 1, config, servers, endpoints, identity, resources };
  } catch (error) {
    for (const { catalog } of endpoints.values()) catalog.close();
    for (const server of made) void server.close();
    identity.close(previous?.identity);
    throw error;
  }
}

/** Where rooms that make ways to be recognised meet the identity room. */
function identityDeps(config: CompiledConfig, resources: ProtectedResources, lasting: Lasting): IdentityDeps {
  return {
    keys: lasting.keys,
    clock: lasting.clock,
    log: lasting.log,
    egress: createEgress({ trusted: originsOf(config.identity.entries) }),
    resource: (path) => resources.resource(path),
    issued: lasting.issued,
    methods: lasting.authMethods,
  };
}

/** Of the issuers and key sets that the operator wrote: they may be anywhere. */
function originsOf(entries: readonly AuthEntry[]): readonly string[] {
  return entries.flatMap((entry) => {
    if (entry.kind !== 'jwt' && entry.kind !== 'oidc') return [];
    if (entry.keys.kind === 'url') return [new URL(entry.keys.url).origin];
    return entry.keys.kind === 'discovery' ? [new URL(entry.rules.issuer).origin] : [];
  });
}

/** Lists that differ after a reload are announced, as if a server had changed them; with other rules any may. */
export function announceDifference(
  path: string,
  before: EndpointInUse['catalog'],
  after: EndpointInUse | undefined,
  hub: SubscriptionHub,
  all: boolean,
): void {
  if (after === undefined) return;
  const kinds = all ? (['tools', 'prompts', 'resources'] as const) : after.catalog.differs(before);
  for (const kind of kinds) hub.listChanged(path, kind);
}

/** Servers of `before` that `after` does not use any more. */
export function retired(before: Generation, after: Generation): readonly Server[] {
  return [...before.servers.values()].filter((server) => after.servers.get(server.name) !== server);
}

/** Ends a generation that never came into force: what it shares with `inForce` stays. */
export async function discard(generation: Generation, inForce: Generation): Promise<void> {
  for (const { catalog } of generation.endpoints.values()) catalog.close();
  generation.identity.close(inForce.identity);
  await Promise.all(retired(generation, inForce).map((server) => server.close()));
}

function unchanged(options: ServerOptions, previous: Generation | undefined): Server | undefined {
  const before = previous?.config.servers.find((candidate) => candidate.name === options.name);
  return before !== undefined && isDeepStrictEqual(before, options) ? previous?.servers.get(options.name) : undefined;
}

const NO_TRANSFORMS: TransformChains = { request: undefined, response: undefined };

interface Parts {
  readonly config: CompiledConfig;
  readonly lasting: Lasting;
  readonly previous: Generation | undefined;
  readonly resources: ProtectedResources;
  readonly router: Router;
  readonly servers: ReadonlyMap<string, Server>;
  readonly transforms: TransformChains;
}

function buildEndpoint(options: EndpointOptions, parts: Parts): EndpointInUse {
  const { config, lasting, previous, router } = parts;
  const { path } = options;
  const servers = new Map(options.catalog.servers.map((name) => [name, parts.servers.get(name)!]));
  const before = previous?.endpoints.get(path)?.catalog;
  const catalog = createCatalog(options.catalog, servers, {
    listings: lasting.listings,
    clock: lasting.clock,
    log: lasting.log,
    serverInfo: IMPLEMENTATION,
    ...(router.configured ? { advertise: (entry: Entry) => router.takes(KIND_OF[entry.kind], entry) } : {}),
    ...(before === undefined ? {} : { previous: before }),
  });
  catalog.onChange((kind) => lasting.hub.listChanged(path, kind));
  const targets = new TargetResolver({
    endpoint: path,
    catalog,
    servers,
    router,
    scope: options.scope,
    tools: config.tools,
    access: compileAccess(config.access, path, () => lasting.limits.current.tiers),
    callers: lasting.calls.callers,
  });
  const chain = new EndpointChain({
    path,
    catalog,
    servers,
    targets,
    scope: options.scope,
    resourceMetadata: () => parts.resources.metadataUrl(path),
    limits: lasting.limits,
    refusals: options.refusals,
    parked: lasting.parked,
    rounds: lasting.rounds,
    users: lasting.users,
    decisions: lasting.decisions,
    accessRefusals: lasting.refusals,
    hub: lasting.hub,
    tasks: lasting.tasks,
    calls: lasting.calls,
    transforms: parts.transforms,
    clock: lasting.clock,
    log: lasting.log,
  });
  return { options, catalog, chain };
}
