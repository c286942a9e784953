import { createHash } from 'node:crypto';
import type { AdmissionOptions, CostOptions, LimitOptions, Quota } from '../admission/options.ts';
import { compileRoutes } from '../routing/router.ts';
import { compileRoute } from './compile-route.ts';
import { canonicalPattern } from './globs.ts';
import {
  algorithmOf,
  burstNumber,
  coveredTiers,
  isAmount,
  leadingQuota,
  rowFor,
  rowsOf,
  type TierRow,
  tierPatterns,
  tiersOf,
} from './limit-rows.ts';
import { BASE_TIERS } from './preset.ts';
import { compilePrices } from './prices.ts';
import { compileQuota, defaultAlgorithm, type NumberedQuota } from './quotas.ts';
import type { Config, LimitConfig, RouteConfig } from './schema.ts';
import { asList } from './values.ts';

export interface CompiledLimits {
  readonly admission: AdmissionOptions;
  /**
   * Index of the route whose calls a limit of a route covers, by the name of the limit. Its patterns alone cannot say
   * it: an earlier route may take a part of what they match.
   */
  readonly routeOfLimit: ReadonlyMap<string, number>;
}

/** Limits, tiers, prices and the session guard as admission takes them. The configuration has been checked. */
export function compileLimits(config: Config): CompiledLimits {
  const tiers = tiersOf(config);
  const limits = Object.entries(config.limits).flatMap(([name, limit]) =>
    limit.mode === 'off' ? [] : [compileLimit(name, limit, config, tiers)],
  );
  const names = routeLimitNames(config);
  const routeOfLimit = new Map<string, number>();
  config.routes.forEach((route, index) => {
    const name = names[index];
    if (name === undefined) return;
    limits.push(compileRouteLimit(name, route, index));
    routeOfLimit.set(name, index);
  });
  const guard = config.sessionGuard;
  return {
    admission: {
      limits,
      tiers,
      pricesOf: compilePrices(config.tools).of,
      unpriced: config.unpriced,
      routeOf: routeOfLimit.size === 0 ? undefined : routeFinder(config),
      sessionGuard:
        guard === undefined || String(guard.enabled) === 'false'
          ? undefined
          : { limit: guard.limit.count, periodMs: guard.limit.periodMs },
      preset: config.preset,
    },
    routeOfLimit,
  };
}

function routeFinder(config: Config): AdmissionOptions['routeOf'] {
  const router = compileRoutes(config.routes.map(compileRoute));
  return (kind, canonicalId) => {
    const slash = canonicalId.indexOf('/');
    const server = canonicalId.slice(0, Math.max(0, slash));
    return router.route(kind, { server, name: canonicalId.slice(slash + 1), canonicalId })?.index;
  };
}

function compileLimit(name: string, limit: LimitConfig, config: Config, tiers: readonly string[]): LimitOptions {
  const written = rowsOf(config.tiers, name);
  const leading = leadingQuota(limit, written)!;
  const algorithm = algorithmOf(limit, leading);
  const number = (quota: NumberedQuota, burst: TierRow['burst']): Quota =>
    compileQuota(quota, algorithm, burstNumber(burst));
  const ofRow = (row: TierRow): Quota => number(row.quota as NumberedQuota, row.burst);
  const own = limit.limit.kind === 'tier' ? undefined : number(limit.limit, limit.burst);
  const fallback = own ?? rowQuota(rowFor(written, BASE_TIERS.default, config.preset), ofRow);
  const rows = new Map<string, Quota>();
  for (const tier of coveredTiers(limit, tiers, config.preset)) {
    const row = rowQuota(rowFor(written, tier, config.preset), ofRow);
    // Complete where the limit has no number of its own, so that nobody has to know which row stands in for which.
    const quota = row ?? (own === undefined || config.preset !== undefined ? fallback : undefined);
    if (quota !== undefined) rows.set(tier, quota);
  }
  return {
    name,
    was: limit.was,
    on: asList(limit.on),
    tool: asList(limit.tool)?.map(canonicalPattern),
    resource: asList(limit.resource),
    prompt: asList(limit.prompt)?.map(canonicalPattern),
    server: asList(limit.server),
    endpoint: asList(limit.endpoint),
    tenant: asList(limit.tenant),
    tier: tierPatterns(limit, config.preset),
    when: limit.when,
    by: asList(limit.by)!,
    quota: own,
    rows,
    algorithm,
    cost: compileCost(limit.cost),
    hits: limit.hits,
    // biome-ignore lint/suspicious/noThenProperty: a list, and a key of the product's configuration.
    then: asList(limit.then) ?? [{ kind: 'refuse' }],
    mode: limit.mode === 'shadow' ? 'shadow' : 'enforce',
    onError: isAmount(leading) ? 'closed' : (limit.onError ?? 'local'),
    replaces: asList(limit.replaces) ?? [],
    latch: limit.latch,
    alerts: limit.alerts.map((share) => Number(share.slice(0, -1)) / 100).sort((a, b) => a - b),
    timezone: limit.timezone ?? 'UTC',
    message: limit.message,
    disclose: limit.disclose,
    origin: config.origins[name] ?? 'file',
  };
}

function rowQuota(row: TierRow | undefined, compile: (row: TierRow) => Quota): Quota | undefined {
  return row === undefined ? undefined : compile(row);
}

function compileCost(cost: LimitConfig['cost']): CostOptions | undefined {
  if (cost === undefined) return undefined;
  return typeof cost === 'number' ? { kind: 'fixed', units: cost } : { kind: 'expression', source: cost };
}

export interface WrittenRouteLimit {
  readonly quota: NumberedQuota;
  readonly burst: TierRow['burst'];
  readonly replaces: readonly string[];
}

/** The limit of a route in its long form; undefined: it has none. `tier` has been refused. */
export function routeLimitOf(route: Pick<RouteConfig, 'limit'>): WrittenRouteLimit | undefined {
  const { limit } = route;
  if (limit === undefined) return undefined;
  if ('kind' in limit) return { quota: limit as NumberedQuota, burst: undefined, replaces: [] };
  return { quota: limit.limit as NumberedQuota, burst: limit.burst, replaces: asList(limit.replaces) ?? [] };
}

/**
 * Names of the limits of routes, by index; undefined where a route has none. They come from the pattern and not from
 * the place in the list, so that a route put in front does not give its callers the counters of another.
 */
export function routeLimitNames(config: Pick<Config, 'routes' | 'limits'>): (string | undefined)[] {
  const taken = new Set(Object.keys(config.limits));
  const wanted = config.routes.map((route) => {
    if (route.limit === undefined) return undefined;
    const kind = (['tool', 'resource', 'prompt'] as const).find((key) => route[key] !== undefined);
    const pattern = kind === undefined ? 'default' : route[kind]!;
    const plain = `route-${pattern.replaceAll(/[^A-Za-z0-9_]+/g, '-').replaceAll(/^-|-$/g, '')}`.slice(0, 57);
    const digest = createHash('sha256').update(`${kind}\0${pattern}`).digest('hex').slice(0, 6);
    return { plain, full: `${plain}-${digest}` };
  });
  const counts = new Map<string, number>();
  for (const name of wanted) if (name !== undefined) counts.set(name.plain, (counts.get(name.plain) ?? 0) + 1);
  return wanted.map((name) => {
    if (name === undefined) return undefined;
    return counts.get(name.plain) === 1 && !taken.has(name.plain) ? name.plain : name.full;
  });
}

function compileRouteLimit(name: string, route: RouteConfig, index: number): LimitOptions {
  const { quota, burst, replaces } = routeLimitOf(route)!;
  const algorithm = defaultAlgorithm(quota);
  return {
    name,
    was: undefined,
    on: undefined,
    tool: route.tool === undefined ? undefined : [canonicalPattern(route.tool)],
    resource: route.resource === undefined ? undefined : [route.resource],
    prompt: route.prompt === undefined ? undefined : [canonicalPattern(route.prompt)],
    server: asList(route.to)!,
    // Its patterns cannot say that an earlier route took the call.
    route: index,
    endpoint: undefined,
    tenant: undefined,
    tier: undefined,
    when: undefined,
    by: ['principal'],
    quota: compileQuota(quota, algorithm, burstNumber(burst)),
    rows: new Map(),
    algorithm,
    cost: undefined,
    hits: false,
    // biome-ignore lint/suspicious/noThenProperty: a list, and a key of the product's configuration.
    then: [{ kind: 'refuse' }],
    mode: 'enforce',
    onError: isAmount(quota) ? 'closed' : 'local',
    replaces,
    latch: false,
    alerts: [],
    timezone: 'UTC',
    message: undefined,
    disclose: 'mine',
    origin: 'route',
  };
}
