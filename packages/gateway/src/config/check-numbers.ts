/** The numbers of limits: what is counted how, and whether the rows of `tiers` and limits of routes fit. */
import { isDeepStrictEqual } from 'node:util';
import type { Algorithm } from '../admission/options.ts';
import type { Checks, ParsedConfig } from './check.ts';
import { routeLimitOf } from './compile-limits.ts';
import {
  algorithmOf,
  burstNumber,
  coveredTiers,
  isAmount,
  leadingQuota,
  rowFor,
  rowsOf,
  type TierRow,
  tiersOf,
} from './limit-rows.ts';
import { BASE_TIERS } from './preset.ts';
import { doubt, type KeyPath, mistake, suggest } from './problems.ts';
import { compileQuota, defaultAlgorithm, formatQuota, type NumberedQuota, type WrittenQuota } from './quotas.ts';

type Limit = ParsedConfig['limits'][string];

/** Beyond this the limiter cannot count in whole ticks; nobody waits so long for a refill. */
const MAX_REFILL_MS = 70 * 365 * 86_400_000;

export function checkNumbers(checks: Checks, name: string, limit: Limit): void {
  const path: KeyPath = ['limits', name];
  const { findings } = checks;
  const rows = rowsOf(checks.config.tiers, name);
  const leading = leadingQuota(limit, rows);
  if (limit.limit.kind === 'tier') {
    if (limit.burst !== undefined) {
      findings.push(mistake([...path, 'burst'], 'With limit: tier the rows have the bursts.', 'Move it to `tiers`.'));
    }
    checkEveryTier(checks, name, limit, rows);
  }
  if (leading === undefined) return;
  checkAlgorithm(checks, limit, leading, path);
  const algorithm = algorithmOf(limit, leading);
  if (limit.limit.kind !== 'tier') {
    checkBurst(checks, limit.limit, limit.burst, algorithm, path);
    checkCost(checks, limit.cost, limit.limit, limit.burst, [...path, 'cost']);
  }
  const tiers = coveredTiers(limit, tiersOf(checks.config), checks.config.preset);
  for (const row of rows) checkRow(checks, name, limit, row, leading, algorithm, tiers);
  if (limit.timezone !== undefined) {
    const compiled = compileQuota(leading, algorithm, 0);
    if (!('period' in compiled) || compiled.period.kind !== 'calendar') {
      const fix = 'Remove it, or count in windows of a named period: algorithm: fixed-window.';
      findings.push(mistake([...path, 'timezone'], 'This limit does not turn with a calendar.', fix));
    }
  }
}

/** Whoever is in a tier must find a number. */
function checkEveryTier(checks: Checks, name: string, limit: Limit, rows: readonly TierRow[]): void {
  const { config } = checks;
  if (checks.isAnyDamaged('tiers')) return;
  const without = coveredTiers(limit, tiersOf(config), config.preset).filter(
    (tier) => rowFor(rows, tier, config.preset) === undefined && rowFor(rows, 'default', config.preset) === undefined,
  );
  if (without.length === 0) return;
  const who = without.map((tier) => `"${tier}"`).join(', ');
  const fix = `Write tiers: { ${without.includes('default') ? 'default' : without[0]}: { ${name}: 30/min } }.`;
  const what = `Callers of tier ${who} would have no number: there is neither a row for them nor one in \`default\`.`;
  checks.findings.push(mistake(['limits', name, 'limit'], what, fix));
}

const NO_WINDOWS: Readonly<Record<string, string>> = {
  concurrency: 'Calls at once come back when they end',
  total: 'A total does not come back',
  'per-call': 'A limit on single calls keeps no count',
};

function checkAlgorithm(checks: Checks, limit: Limit, quota: NumberedQuota, path: KeyPath): void {
  const { algorithm } = limit;
  if (algorithm === undefined) return;
  const at = [...path, 'algorithm'];
  const why = NO_WINDOWS[quota.kind];
  if (why !== undefined) checks.findings.push(mistake(at, `${why}, so there is no algorithm.`, 'Remove the key.'));
  else if ('period' in quota && quota.period.ms === undefined && algorithm !== 'fixed-window') {
    const what = `A month has no one length, so it cannot be a ${algorithm.replace('-', ' ')}.`;
    checks.findings.push(mistake(at, what, 'Write algorithm: fixed-window, or a length such as 30d.'));
  }
}

/** Capacity in calls or millionths. */
function capacityOf(quota: NumberedQuota, burst: TierRow['burst']): number {
  return (isAmount(quota) ? quota.amount.micros : quota.count) + burstNumber(burst);
}

function checkBurst(
  checks: Checks,
  quota: NumberedQuota,
  burst: TierRow['burst'],
  algorithm: Algorithm,
  path: KeyPath,
): void {
  const problem = burstProblem(quota, burst, algorithm);
  if (problem !== undefined) checks.findings.push(mistake([...path, 'burst'], ...problem));
}

function burstProblem(
  quota: NumberedQuota,
  burst: TierRow['burst'],
  algorithm: Algorithm,
): [what: string, fix: string] | undefined {
  if (!('period' in quota)) {
    return burst === undefined ? undefined : [`${NO_WINDOWS[quota.kind]}, so it has no burst.`, 'Remove the key.'];
  }
  if (algorithm !== 'token-bucket') {
    const fix = quota.period.ms === undefined ? 'Remove the key.' : 'Remove the key, or write algorithm: token-bucket.';
    return burst === undefined ? undefined : ['Only a token bucket has a burst.', fix];
  }
  if (quota.kind === 'rate' && typeof burst === 'object') {
    return ['The limit counts calls, so its burst has no unit.', 'Write a whole number.'];
  }
  if (quota.kind === 'amount' && typeof burst === 'number') {
    return ['The limit is an amount, so its burst is one.', `Write burst: ${burst} ${quota.amount.unit}.`];
  }
  if (quota.kind === 'amount' && typeof burst === 'object' && burst.unit !== quota.amount.unit) {
    return [`The limit is in ${quota.amount.unit}, not in ${burst.unit}.`, `Write it in ${quota.amount.unit}.`];
  }
  const capacity = capacityOf(quota, burst);
  if (!Number.isSafeInteger(capacity)) {
    return ['Limit and burst together are too large to be counted exactly.', 'Lower one.'];
  }
  const refill = (capacity / capacityOf(quota, undefined)) * (quota.period.ms ?? 0);
  if (refill <= MAX_REFILL_MS) return undefined;
  return ['So large a burst would take more than 70 years to refill.', 'Lower `burst`, or raise `limit`.'];
}

/** A call that always weighs more than there ever is. */
function checkCost(
  checks: Checks,
  cost: Limit['cost'],
  quota: NumberedQuota,
  burst: TierRow['burst'],
  path: KeyPath,
): void {
  if (typeof cost !== 'number') return;
  const weight = isAmount(quota) ? cost * 1_000_000 : cost;
  if (weight <= capacityOf(quota, burst)) return;
  const what = `Every call weighs ${cost}, which is more than ${formatQuota(quota)} ever lets through.`;
  checks.findings.push(mistake(path, what, 'Lower `cost`, or raise the limit.'));
}

function checkRow(
  checks: Checks,
  name: string,
  limit: Limit,
  row: TierRow,
  leading: NumberedQuota,
  algorithm: Algorithm,
  tiers: readonly string[],
): void {
  const path: KeyPath = ['tiers', row.tier, name];
  const { findings } = checks;
  const { quota } = row;
  if (quota.kind === 'tier') return;
  if (!tiers.includes(row.tier)) {
    findings.push(mistake(path, `The limit "${name}" does not cover callers of this tier.`, 'Remove the row.'));
  }
  const problem = rowProblem(quota, leading, algorithm);
  if (problem !== undefined) {
    const fix = checks.isWritten(...path)
      ? `Write it like ${formatQuota(leading)}.`
      : `The preset has this row; write one of your own, like ${formatQuota(leading)}.`;
    findings.push(mistake(path, problem, fix));
    return;
  }
  checkBurst(checks, quota, row.burst, algorithm, path);
  checkCost(checks, limit.cost, quota, row.burst, path);
}

/** Rows change numbers: what is counted, and in which windows, is one for all, so that a caller can change tiers. */
function rowProblem(quota: NumberedQuota, leading: NumberedQuota, algorithm: Algorithm): string | undefined {
  if (quota.kind !== leading.kind) return `The limit is ${formatQuota(leading)}; this is another kind of number.`;
  if (isAmount(quota) && isAmount(leading) && quota.amount.unit !== leading.amount.unit) {
    return `The limit is in ${leading.amount.unit}, not in ${quota.amount.unit}.`;
  }
  const [own, other] = [compileQuota(quota, algorithm, 0), compileQuota(leading, algorithm, 0)];
  if ('period' in own && 'period' in other && !isDeepStrictEqual(own.period, other.period)) {
    return 'A row has the period of its limit: what was used could not move from tier to tier.';
  }
  return undefined;
}

export function checkTiers(checks: Checks): void {
  const { config, findings } = checks;
  const limits = Object.keys(config.limits);
  for (const [tier, rows] of Object.entries(config.tiers)) {
    for (const [name, row] of Object.entries(rows)) {
      const path: KeyPath = ['tiers', tier, name];
      const quota: WrittenQuota = 'kind' in row ? row : row.limit;
      if (quota.kind === 'tier') findings.push(mistake(path, 'A row says how much.', 'For example 50 USD/day.'));
      if (Object.hasOwn(config.limits, name) || checks.isDamaged('limits', name)) continue;
      findings.push(mistake(path, `There is no limit "${name}".`, suggest(name, limits)));
    }
  }
  if (config.preset === 'mcp' && config.tiers[BASE_TIERS.mcp] !== undefined) {
    const twice = config.tiers[BASE_TIERS.default];
    for (const name of Object.keys(config.tiers[BASE_TIERS.mcp]!)) {
      if (twice === undefined || !Object.hasOwn(twice, name)) continue;
      const what = `Under the preset "basic" and "default" are one tier, and both have a row for "${name}".`;
      findings.push(mistake(['tiers', BASE_TIERS.mcp, name], what, 'Remove one.'));
    }
  }
  checkAuthTiers(checks);
}

/** A tier of an auth entry that changes nothing is probably mistyped. */
function checkAuthTiers(checks: Checks): void {
  const { config } = checks;
  const known = tiersOf({ ...config, auth: undefined });
  if (Object.keys(config.tiers).length === 0 || checks.isAnyDamaged('tiers')) return;
  config.auth?.forEach((entry, i) => {
    const kind = entry.bearer === undefined ? 'anonymous' : 'bearer';
    const tier = entry.bearer?.tier ?? (typeof entry.anonymous === 'object' ? entry.anonymous.tier : undefined);
    if (tier === undefined || known.includes(tier)) return;
    const meant = Object.values(config.limits).some(
      (limit) => limit.tier !== undefined && coveredTiers(limit, [tier], undefined).length > 0,
    );
    if (meant) return;
    const what = `The tier "${tier}" has no rows, so that these callers have the numbers of the limits themselves.`;
    checks.findings.push(doubt(['auth', i, kind, 'tier'], what, suggest(tier, known)));
  });
}

export function checkRouteLimits(checks: Checks): void {
  checks.config.routes.forEach((route, i) => {
    if (route.limit === undefined) return;
    const path: KeyPath = ['routes', i, 'limit'];
    const written: WrittenQuota = 'kind' in route.limit ? route.limit : route.limit.limit;
    if (written.kind === 'tier') {
      const fix = 'Write a number, or a limit in `limits` with the pattern of the route.';
      checks.findings.push(mistake(path, 'The limit of a route has no name that `tiers` could have rows for.', fix));
      return;
    }
    const { burst } = routeLimitOf(route)!;
    checkBurst(checks, written, burst, defaultAlgorithm(written), path);
  });
}
