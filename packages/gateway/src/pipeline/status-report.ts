import { describeLimits } from '../config/explain-limits.ts';
import { type CountedLimit, countedLimits } from '../config/forgotten.ts';
import { VERSION } from '../core/version.ts';
import type { MethodView } from '../identity/method.ts';
import type { ServerView } from '../protocol/peer.ts';
import type { CallCounts } from '../telemetry/calls.ts';
import type { RefusedCounts } from '../telemetry/refused-callers.ts';
import type { Gateway } from './gateway.ts';
import type { StateView } from './state.ts';
import type { DefinitionView } from './trust.ts';

/** What `tollgate status` and the start-up print show. No secrets. */
export interface StatusReport {
  readonly version: string;
  readonly pid: number;
  /** ISO time of the start. */
  readonly startedAt: string;
  readonly configuration: string;
  /** Number of the applied configuration, from 1; a reload adds 1. */
  readonly generation: number;
  /** Why the last reload was refused, or undefined. */
  readonly reloadProblem: string | undefined;
  readonly ready: boolean;
  /** Base URL of the endpoints. */
  readonly url: string;
  readonly endpoints: readonly EndpointReport[];
  /** Issuers whose keys have to be fetched, and how that goes. */
  readonly identity: readonly MethodView[];
  readonly servers: readonly ServerReport[];
  /** Rules of `access`; undefined: everybody may use what scopes and endpoints allow. */
  readonly accessRules: number | undefined;
  /** One sentence each: what is enforced. Empty: nothing is. */
  readonly limits: readonly string[];
  /** What the limits that keep something count by; `validate` compares it with a changed file. */
  readonly counters: readonly CountedLimit[];
  readonly sessions: number;
  readonly streams: number;
  readonly stdioClients: number;
  /** Calls that wait for input of their clients. */
  readonly parked: number;
  readonly calls: CallCounts;
  /** Callers turned away since the start before limits were asked, by reason. */
  readonly refusedCallers: RefusedCounts;
  /** Where counters and money are kept, and in words what is wrong there; undefined: only in this process. */
  readonly state: StateView | undefined;
}

export interface EndpointReport {
  readonly path: string;
  readonly url: string;
  readonly servers: readonly string[];
  readonly tools: number;
  readonly prompts: number;
  readonly resources: number;
  /** Size of the tool definitions in tokens (bytes / 4). */
  readonly tokens: number;
  /** Names that two servers wanted, and what became of them. */
  readonly conflicts: readonly string[];
}

export interface ServerReport extends ServerView {
  readonly tools: number;
  readonly prompts: number;
  readonly resources: number;
  readonly tokens: number;
  /** What a server offers that cannot be shown as it is. */
  readonly warnings: readonly string[];
}

export interface StatusContext {
  readonly configuration: string;
  readonly reloadProblem: string | undefined;
}

/** The gateway as it is now. */
export function statusReport(gateway: Gateway, context: StatusContext): StatusReport {
  const { generation, view } = gateway;
  const url = gateway.generation.config.publicUrl ?? gateway.listening?.url ?? '';
  const { servers: _servers, tools: _tools, ...calls } = gateway.calls.statistics();
  const offers = new Map<string, Omit<ServerReport, keyof ServerView>>();
  const endpoints = [...generation.endpoints.values()].map(({ options, catalog }): EndpointReport => {
    const offered = catalog.view();
    // `/s/<server>` shows all that a server offers, whatever other endpoints leave out.
    for (const one of offered.servers) if (options.path === `/s/${one.server}`) offers.set(one.server, one);
    const sum = (pick: (one: (typeof offered.servers)[number]) => number): number =>
      offered.servers.reduce((total, one) => total + pick(one), 0);
    return {
      path: options.path,
      url: url + options.path,
      servers: options.catalog.servers,
      tools: offered.tools,
      prompts: sum((one) => one.prompts),
      resources: sum((one) => one.resources + one.templates),
      tokens: offered.tokens,
      conflicts: catalog.conflicts.map(({ newcomer, owner, renamed }) =>
        renamed === undefined
          ? `${newcomer} is left out: ${owner ?? 'the gateway'} has the name`
          : `${newcomer} is advertised as ${renamed}: ${owner ?? 'the gateway'} has the name`,
      ),
    };
  });
  const unapproved = Map.groupBy(
    gateway.trust.list().filter(({ state }) => state !== 'approved'),
    ({ server }) => server,
  );
  const servers = [...generation.servers.values()].map((server): ServerReport => {
    const offer = offers.get(server.name);
    return {
      ...server.view,
      tools: offer?.tools ?? 0,
      prompts: offer?.prompts ?? 0,
      resources: offer?.resources ?? 0,
      tokens: offer?.tokens ?? 0,
      warnings: [...unapprovedLines(server.name, unapproved.get(server.name) ?? []), ...(offer?.warnings ?? [])],
    };
  });
  return {
    version: VERSION,
    pid: process.pid,
    startedAt: gateway.startedAt.toISOString(),
    configuration: context.configuration,
    generation: generation.number,
    reloadProblem: context.reloadProblem,
    ready: gateway.ready,
    url,
    endpoints,
    identity: generation.identity.view,
    servers,
    accessRules: generation.config.access?.length,
    limits: describeLimits(generation.config),
    counters: countedLimits(generation.config.admission),
    sessions: view.sessions,
    streams: view.streams,
    stdioClients: view.stdioClients,
    parked: gateway.parked.size,
    calls,
    refusedCallers: gateway.calls.callers.counts,
    state: gateway.state,
  };
}

/** What nobody has approved of a server, where its policy wants to hear of it. */
function unapprovedLines(server: string, definitions: readonly DefinitionView[]): string[] {
  return (['changed', 'new'] as const).flatMap((state) => {
    const of = definitions.filter((one) => one.state === state);
    if (of.length === 0) return [];
    const names = of.slice(0, 5).map(({ name }) => name);
    const more = of.length > names.length ? ` and ${of.length - names.length} more` : '';
    const what = state === 'changed' ? 'changed since approved' : 'not approved yet';
    const blocked = of.some((one) => one.blocked) ? ', blocked' : '';
    return `${what}${blocked}: ${names.join(', ')}${more}. See: tollgate trust diff ${server}`;
  });
}
