import { hasScope } from '../access/scopes.ts';
import { TollgateError } from '../core/errors.ts';
import { compileGlob } from '../core/glob.ts';
import { compileRoutes } from '../routing/router.ts';
import type { LoadedConfig } from './assemble.ts';
import { type CompiledConfig, compile, type EndpointOptions } from './compile.ts';
import { originOf } from './explain.ts';
import { explainLimits, type LimitExplanation } from './explain-limits.ts';
import { compilePrices, priceWords } from './prices.ts';
import { suggest } from './problems.ts';
import { formatDuration } from './units.ts';

export interface CallQuestion {
  /** Principal `entry/subject`, the name of an auth entry, or `anonymous`. Default: the first entry. */
  readonly caller?: string | undefined;
  /** Canonical id `server/tool`. */
  readonly tool: string;
}

/** What would happen to one tool called by one caller, as far as the configuration decides it. */
export interface CallExplanation {
  readonly caller: string;
  readonly tool: string;
  readonly endpoints: readonly EndpointExplanation[];
  /** Undefined: no routes are configured. */
  readonly route:
    | { readonly to: readonly string[]; readonly scope: string | undefined; readonly from: string }
    | undefined;
  /** Why no call can get through, whatever the endpoint; undefined when one can. */
  readonly refused: string | undefined;
  readonly timeout: { readonly value: string; readonly from: string };
  readonly validate: boolean;
  /** The caller's tier as its auth entry has it; an administrator may have stored another. */
  readonly tier: string;
  /** What the call costs, one text per unit; undefined: unpriced. */
  readonly price: { readonly values: readonly string[]; readonly from: string } | undefined;
  readonly limits: readonly LimitExplanation[];
}

interface EndpointExplanation {
  readonly path: string;
  /** Why the caller cannot call the tool here; undefined when it can. */
  readonly refused: string | undefined;
}

interface Caller {
  readonly id: string;
  readonly entry: string;
  readonly scopes: readonly string[] | undefined;
  readonly tenant: string | undefined;
  readonly tier: string | undefined;
}

/** Explains one call. Throws `usage` for a caller or a server that does not exist. */
export function explainCall(
  loaded: LoadedConfig,
  question: CallQuestion,
  compiled: CompiledConfig = compile(loaded.config),
): CallExplanation {
  const caller = findCaller(compiled, question.caller);
  const server = serverOf(compiled, question.tool);
  const tool = question.tool;
  const name = tool.slice(server.length + 1);
  const { source } = loaded;

  const router = compileRoutes(compiled.routes);
  const advertised = compiled.endpoints[0]?.catalog.names.get(tool) ?? name;
  const target = { server, name: advertised, canonicalId: tool };
  const route = router.configured ? router.route('tool', target) : undefined;
  const routed = !router.configured || router.takes('tool', target);
  let refused: string | undefined;
  if (!routed) refused = `no route takes ${tool} (-32602 No route)`;
  else if (route?.scope !== undefined && !hasScope(caller.scopes, route.scope)) {
    refused = `the route needs the scope ${route.scope}, which ${caller.id} has not (403)`;
  }

  const endpoints = compiled.endpoints
    .filter((endpoint) => endpoint.catalog.servers.includes(server))
    .map((endpoint) => ({ path: endpoint.path, refused: refusedAt(endpoint, compiled, caller, tool) }));
  const settings = compiled.tools.of(tool);
  const routePath = route === undefined ? undefined : (['routes', route.index] as const);
  const timeout =
    settings.timeout !== undefined
      ? { value: formatDuration(settings.timeout), from: 'tools' }
      : route?.timeout !== undefined
        ? { value: formatDuration(route.timeout), from: originOf([...routePath!, 'timeout'], source) }
        : {
            value: formatDuration(compiled.servers.find((candidate) => candidate.name === server)!.timeout.request),
            from: originOf(['servers', server, 'timeout', 'request'], source),
          };
  return {
    caller: caller.id,
    tool,
    endpoints,
    route: route === undefined ? undefined : { to: route.to, scope: route.scope, from: originOf(routePath!, source) },
    refused,
    timeout,
    validate: settings.validate === true,
    tier: caller.tier ?? 'default',
    price: explainPrice(loaded, tool),
    limits: explainLimits(loaded, compiled, {
      tool,
      server,
      endpoints: endpoints.map(({ path }) => path),
      route: route?.index,
      tenant: caller.tenant,
      tier: caller.tier ?? 'default',
    }),
  };
}

function explainPrice({ config, source }: LoadedConfig, tool: string): CallExplanation['price'] {
  const list = compilePrices(config.tools);
  const pattern = list.patternOf(tool);
  if (pattern === undefined) return undefined;
  return { values: list.of(tool)!.map(priceWords), from: originOf(['tools', pattern, 'price'], source) };
}

function findCaller(compiled: CompiledConfig, asked: string | undefined): Caller {
  const { entries } = compiled.identity;
  const callers: Caller[] = entries.map((entry) =>
    entry.kind === 'anonymous'
      ? { id: 'anonymous', entry: 'anonymous', scopes: undefined, tenant: undefined, tier: entry.tier }
      : {
          id: `${entry.name}/${entry.subject}`,
          entry: entry.name,
          scopes: entry.scopes,
          tenant: entry.tenant,
          tier: entry.tier,
        },
  );
  if (asked?.startsWith('local/') === true) {
    return { id: asked, entry: 'local', scopes: undefined, tenant: undefined, tier: undefined };
  }
  const found = asked === undefined ? callers[0] : callers.find(({ id, entry }) => id === asked || entry === asked);
  if (found !== undefined) return found;
  const known = callers.map(({ id }) => id);
  if (asked === undefined) throw new TollgateError('usage', 'Nobody may call: `auth` has no entry.');
  throw new TollgateError('usage', `There is no caller "${asked}". ${suggest(asked, known)}`);
}

function serverOf(compiled: CompiledConfig, tool: string): string {
  const names = compiled.servers.map(({ name }) => name);
  const slash = tool.indexOf('/');
  if (slash <= 0 || slash === tool.length - 1) {
    throw new TollgateError(
      'usage',
      `Write the tool as server/tool, for example ${names[0] ?? 'files'}/${tool.replaceAll('/', '') || 'read'}.`,
    );
  }
  const name = tool.slice(0, slash);
  if (names.includes(name)) return name;
  throw new TollgateError('usage', `There is no server "${name}". ${suggest(name, names)}`);
}

function refusedAt(
  endpoint: EndpointOptions,
  compiled: CompiledConfig,
  caller: Caller,
  tool: string,
): string | undefined {
  const { allow, deny } = endpoint.catalog;
  const accepted = compiled.identity.endpointEntries.get(endpoint.path);
  // `auth` does not apply to stdio clients.
  if (accepted !== undefined && caller.entry !== 'local' && !accepted.includes(caller.entry)) {
    return `does not accept the auth entry ${caller.entry} (401)`;
  }
  if (endpoint.scope !== undefined && !hasScope(caller.scopes, endpoint.scope)) {
    return `needs the scope ${endpoint.scope} (403)`;
  }
  const denied = deny.find((pattern) => compileGlob(pattern).matches(tool));
  if (denied !== undefined) return `hidden by deny "${denied}"`;
  if (allow !== undefined && !allow.some((pattern) => compileGlob(pattern).matches(tool))) return 'not in `allow`';
  return undefined;
}

/** The explanation as text. */
export function formatCall(call: CallExplanation): string {
  const lines = [`${call.caller} calls ${call.tool}:`];
  if (call.refused !== undefined) lines.push(`  refused: ${call.refused}`);
  for (const endpoint of call.endpoints) {
    const verdict = endpoint.refused ?? (call.refused === undefined ? 'allowed' : 'refused, see above');
    lines.push(`  at ${endpoint.path}: ${verdict}`);
  }
  if (call.route !== undefined) {
    const scope = call.route.scope === undefined ? '' : `, needs the scope ${call.route.scope}`;
    lines.push(`  route: to ${call.route.to.join(', ')}${scope} (${call.route.from})`);
  }
  lines.push(`  deadline: ${call.timeout.value} for the whole call (${call.timeout.from})`);
  if (call.validate) lines.push('  arguments are checked against the input schema first');
  for (const value of call.price?.values ?? []) lines.push(`  price: ${value} (${call.price!.from})`);
  if (call.limits.length === 0) lines.push('  limits: none apply');
  else if (call.tier !== 'default') lines.push(`  tier: ${call.tier}`);
  for (const limit of call.limits) {
    const everywhere = limit.endpoints.length === call.endpoints.length;
    const where = everywhere ? '' : `, at ${limit.endpoints.join(', ')}`;
    const notes = limit.notes.map((note) => `, ${note}`).join('');
    lines.push(`  limit ${limit.name}: ${limit.numbers}, ${limit.counts}${where}${notes} (${limit.from})`);
  }
  return lines.join('\n');
}
