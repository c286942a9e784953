import { type AccessRule, formatWho } from '../access/options.ts';
import { CompiledRule, EndpointAccess } from '../access/rules.ts';
import { hasScope } from '../access/scopes.ts';
import { TollgateError } from '../core/errors.ts';
import { compileGlob } from '../core/glob.ts';
import { canonicalPrincipalId, type Principal, principalId, readPrincipalId } from '../core/principal.ts';
import type { AuthEntry } from '../identity/options.ts';
import { compileRoutes } from '../routing/router.ts';
import type { LoadedConfig } from './assemble.ts';
import { type CompiledConfig, compile, type EndpointOptions } from './compile.ts';
import { originOf } from './explain.ts';
import { explainLimits, type LimitExplanation } from './explain-limits.ts';
import { compilePrices, priceWords } from './prices.ts';
import { suggest } from './problems.ts';
import { formatDuration } from './units.ts';

export interface CallQuestion {
  /** Principal `entry/subject` or `entry@tenant/subject`, the name of an auth entry, or `anonymous`. Default: the first entry. */
  readonly caller?: string | undefined;
  /** Canonical id `server/tool`. */
  readonly tool: string;
  /** What the caller's key or token says, which no configuration knows. Not for entries that say it themselves. */
  readonly said?: Said | undefined;
}

interface Said {
  readonly roles?: readonly string[] | undefined;
  readonly scopes?: readonly string[] | undefined;
  readonly tenant?: string | undefined;
}

/** What would happen to one tool called by one caller, as far as the configuration decides it. */
export interface CallExplanation {
  readonly caller: string;
  readonly tool: string;
  /** Roles, scopes and tenant come with the caller's key or token, and were not said in the question. */
  readonly unknown: boolean;
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
  /** What the rules of `access` say here, in words; undefined: there are none. */
  readonly access: string | undefined;
}

type Caller = Pick<Principal, 'id' | 'person' | 'entry' | 'scopes' | 'tenant' | 'tier' | 'roles'>;

/** Explains one call. Throws `usage` for a caller or a server that does not exist. */
export function explainCall(
  loaded: LoadedConfig,
  question: CallQuestion,
  compiled: CompiledConfig = compile(loaded.config),
): CallExplanation {
  const known = findCaller(compiled, question.caller);
  const bears = BEARING.has(compiled.identity.entries.find(({ name }) => name === known.entry)?.kind ?? '');
  const said = saidOf(question.said);
  if (said !== undefined && !bears) {
    throw new TollgateError(
      'usage',
      `What ${known.id} may stands in the configuration: leave out --roles, --scopes, --tenant.`,
    );
  }
  if (known.tenant !== undefined && said?.tenant !== undefined && said.tenant !== known.tenant) {
    throw new TollgateError('usage', `${known.id} is of the tenant ${known.tenant}: leave out --tenant.`);
  }
  const caller: Caller = named({ ...known, ...said });
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
    .map((endpoint) => {
      const verdict =
        compiled.access && accessAt(compiled.access, endpoint.path, caller, { canonicalId: tool, server });
      const hidden = verdict?.hidden === true ? `hidden by \`access\`: ${verdict.words}` : undefined;
      return {
        path: endpoint.path,
        refused: refusedAt(endpoint, compiled, caller, tool) ?? hidden,
        access: verdict?.words,
      };
    });
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
    unknown: bears && said === undefined,
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
  const callers = entries.map((entry) => callerOf(entry, asked));
  if (asked?.startsWith('local/') === true) {
    const none = { scopes: undefined, tenant: undefined, tier: undefined };
    return named({ ...none, person: asked, entry: 'local', roles: ['user'] });
  }
  const canonical = asked === undefined ? undefined : canonicalPrincipalId(asked);
  const found =
    canonical === undefined
      ? callers[0]
      : callers.find(({ id, person, entry }) => id === canonical || person === canonical || entry === canonical);
  if (found !== undefined) return found;
  const known = callers.map(({ id }) => id);
  if (asked === undefined) throw new TollgateError('usage', 'Nobody may call: `auth` has no entry.');
  throw new TollgateError('usage', `There is no caller "${asked}". ${suggest(asked, known)}`);
}

/** Kinds of entries whose credentials say what their bearer may. */
const BEARING: ReadonlySet<string> = new Set(['keys', 'jwt', 'oidc']);

function saidOf(said: Said | undefined): Partial<Caller> | undefined {
  const given = Object.entries(said ?? {}).filter(([, value]) => value !== undefined);
  return given.length === 0 ? undefined : Object.fromEntries(given);
}

/** Whom an entry accepts. What a key may is stored with it, what a token may is in it: the
 * configuration knows only the tier. */
function callerOf(entry: AuthEntry, asked: string | undefined): Caller {
  const { name } = entry;
  const written = readPrincipalId(asked ?? '');
  const anybody = { person: `${name}/…`, tenant: undefined };
  const tier = 'rules' in entry ? entry.rules.tier : entry.tier;
  const unknown = { entry: name, scopes: undefined, tenant: undefined, tier, roles: ['user'] };
  switch (entry.kind) {
    case 'anonymous':
      return named({ ...unknown, person: 'anonymous' });
    case 'jwt':
    case 'oidc':
      return named({ ...unknown, roles: [], ...(written.person.startsWith(`${name}/`) ? written : anybody) });
    case 'keys':
      return named({ ...unknown, ...(written.person.startsWith(`${name}/`) ? written : anybody) });
    case 'bearer':
      return named({
        ...unknown,
        person: `${name}/${entry.subject}`,
        scopes: entry.scopes,
        tenant: entry.tenant,
        roles: entry.roles,
      });
  }
}

function named(caller: Omit<Caller, 'id'>): Caller {
  return { ...caller, id: principalId(caller) };
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

/** Which rule of `access` decides over a tool on an endpoint, and why. */
function accessAt(
  rules: readonly AccessRule[],
  endpoint: string,
  caller: Caller,
  object: { readonly canonicalId: string; readonly server: string },
): { readonly hidden: boolean; readonly words: string } {
  const subject = caller.person.slice(caller.entry.length + 1);
  const principal: Principal = { ...caller, subject, key: 0, lanes: [0, 0], clientId: undefined };
  const tiers = { version: 0, of: () => caller.tier ?? 'default' };
  const access = new EndpointAccess(rules, endpoint, () => tiers).of(principal);
  const covering = access.rules.filter((rule) => rule.covers('tool', object));
  const found = access.conditionsOf('tool', object);
  if (found === false) {
    const near = rules.flatMap((rule, i) => {
      const why = missed(new CompiledRule(rule, i), rule, endpoint, principal, tiers.of(), object, covering);
      return why === undefined ? [] : [`access[${i}] ${why}`];
    });
    return { hidden: true, words: near.length === 0 ? 'no rule is about it' : near.slice(0, 5).join('; ') };
  }
  if (found === true) {
    const open = covering.find((rule) => rule.when?.readsArguments !== true) ?? covering[0]!;
    return { hidden: false, words: `allowed by ${ruleWords(rules, open.index)}` };
  }
  const each = found.map(({ index }) => `${ruleWords(rules, index)} when ${rules[index]!.when}`);
  return { hidden: false, words: `shown; a call is allowed by ${each.join(', or by ')}` };
}

/** Why a rule that is about the tool does not give it to this caller; undefined: it is about other tools. */
function missed(
  compiled: CompiledRule,
  rule: AccessRule,
  endpoint: string,
  principal: Principal,
  tier: string,
  object: { readonly canonicalId: string; readonly server: string },
  covering: readonly CompiledRule[],
): string | undefined {
  if (!compiled.covers('tool', object)) return undefined;
  if (rule.endpoint?.some((pattern) => compileGlob(pattern).matches(endpoint)) === false) {
    return `is for ${rule.endpoint.join(', ')}`;
  }
  if (!compiled.isFor(principal, tier)) return `is for ${rule.who.map(formatWho).join(', ')}`;
  const kept = covering.some(({ index }) => index === compiled.index);
  return kept || rule.when !== undefined ? `needs ${rule.when}` : undefined;
}

function ruleWords(rules: readonly AccessRule[], index: number): string {
  return `access[${index}] (${rules[index]!.who.map(formatWho).join(', ')})`;
}

/** The explanation as text. */
export function formatCall(call: CallExplanation): string {
  const lines = [`${call.caller} calls ${call.tool}:`];
  if (call.unknown) {
    lines.push('  its key or token may say roles, scopes and a tenant: add --roles, --scopes, --tenant to count them');
  }
  if (call.refused !== undefined) lines.push(`  refused: ${call.refused}`);
  for (const endpoint of call.endpoints) {
    const verdict = endpoint.refused ?? (call.refused === undefined ? 'allowed' : 'refused, see above');
    lines.push(`  at ${endpoint.path}: ${verdict}`);
    if (endpoint.access !== undefined && endpoint.refused === undefined) lines.push(`    access: ${endpoint.access}`);
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
