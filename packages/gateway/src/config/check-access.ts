import { formatWho, readTenantPattern, readWho, type Who } from '../access/options.ts';
import { compileGlob } from '../core/glob.ts';
import { principalId, readPrincipalId } from '../core/principal.ts';
import type { Checks, ParsedConfig } from './check.ts';
import { canonicalPattern, covers, matches, overlap, reachesServer } from './globs.ts';
import { tiersOf } from './limit-rows.ts';
import { doubt, type KeyPath, mistake, suggest } from './problems.ts';
import { asList } from './values.ts';

type Rule = NonNullable<ParsedConfig['access']>[number];

/** Entry of stdio clients, which no configuration has. */
const LOCAL = 'local';
/** Comparing every rule with every other is quadratic; beyond so many nobody reads the warnings either. */
const MAX_COMPARED = 500;

export function checkAccess(checks: Checks): void {
  const rules = checks.config.access;
  if (rules === undefined) return;
  if (rules.length === 0 && !checks.isAnyDamaged('access')) {
    checks.findings.push(
      doubt(['access'], 'An empty list of rules lets nobody use anything.', 'Write rules, or remove the key.'),
    );
  }
  rules.forEach((rule, i) => {
    checkLists(checks, rule, ['access', i]);
    checkWho(checks, rule, ['access', i]);
    checkReach(checks, rule, ['access', i]);
  });
  if (rules.length <= MAX_COMPARED) checkShadows(checks, rules);
}

function checkLists(checks: Checks, rule: Rule, path: KeyPath): void {
  for (const key of ['who', 'may', 'on', 'endpoint'] as const) {
    if (asList(rule[key])?.length !== 0) continue;
    const what = key === 'who' ? 'An empty list is nobody' : 'An empty list is nothing';
    checks.findings.push(mistake([...path, key], `${what}: this rule allows nothing.`, 'Remove the rule.'));
  }
}

function checkWho(checks: Checks, rule: Rule, path: KeyPath): void {
  asList(rule.who)!.forEach((text, i) => {
    const at = Array.isArray(rule.who) ? [...path, 'who', i] : [...path, 'who'];
    const problem = whoProblem(checks, readWho(text)!);
    if (problem !== undefined) checks.findings.push({ ...problem, path: at });
  });
}

/** Where callers bring their roles and tenants in a token nobody can say from here which there are. */
function fromTokens({ config }: Checks): boolean {
  return config.auth?.some((entry) => entry.bearer === undefined && entry.anonymous === undefined) === true;
}

function whoProblem(checks: Checks, { kind, pattern }: Who) {
  if (checks.isAnyDamaged('auth')) return undefined;
  const none = (what: string, known: readonly string[], severe: boolean) =>
    known.some((one) => matches(pattern, one))
      ? undefined
      : (severe ? mistake : doubt)([], `${what} "${pattern}".`, suggest(pattern, known));
  switch (kind) {
    case 'entry':
      return none('There is no auth entry', [...checks.entries, LOCAL], true);
    case 'principal':
      return principalProblem(checks, pattern);
    case 'tier':
      return checks.isAnyDamaged('tiers')
        ? undefined
        : none('No caller can be in a tier', tiersOf(checks.config), true);
    case 'tenant':
      return fromTokens(checks) ? undefined : none('No auth entry gives the tenant', checks.tenants, true);
    case 'role': {
      // Stdio and anonymous clients have the role `user`.
      const roles = ['user', ...(checks.config.auth?.flatMap((entry) => entry.bearer?.roles ?? []) ?? [])];
      return fromTokens(checks) ? undefined : none('No auth entry gives the role', [...new Set(roles)], false);
    }
    default:
      return undefined;
  }
}

function principalProblem(checks: Checks, pattern: string) {
  const entries = [...checks.entries, LOCAL];
  const tenanted = readTenantPattern(pattern);
  const glob = compileGlob(tenanted?.head ?? pattern);
  const fitting = entries.filter((entry) => glob.canStartWith(tenanted === undefined ? `${entry}/` : `${entry}@`));
  if (fitting.length === 0) {
    const named = pattern.slice(0, (tenanted === undefined ? /\// : /@/).exec(pattern)!.index);
    return mistake([], `No caller is called "${pattern}": there is no auth entry "${named}".`, suggest(named, entries));
  }
  if (tenanted === undefined) return undefined;
  const possible = fitting.some((entry) => {
    const tenants = checks.tenantsOf(entry);
    return tenants === 'any' || tenants.some((tenant) => glob.matches(principalId({ person: entry, tenant })));
  });
  if (possible) return undefined;
  const known = [...new Set(fitting.flatMap((entry) => checks.tenantsOf(entry)))];
  const fix =
    known.length === 0 ? `Write ${readPrincipalId(pattern).person}.` : `Their tenants are ${known.join(', ')}.`;
  return mistake([], `No caller is called "${pattern}": callers of ${fitting.join(', ')} have no such tenant.`, fix);
}

function checkReach(checks: Checks, rule: Rule, path: KeyPath): void {
  asList(rule.may)!.forEach((pattern, i) => {
    const at = Array.isArray(rule.may) ? [...path, 'may', i] : [...path, 'may'];
    if (checks.isDamaged('servers') || checks.servers.length === 0) return;
    if (checks.servers.some((server) => reachesServer(pattern, server))) return;
    const named = pattern.slice(0, pattern.indexOf('/'));
    const what = `The pattern "${pattern}" can match nothing: no server fits "${named}".`;
    checks.findings.push(mistake(at, what, suggest(named, checks.servers)));
  });
  asList(rule.endpoint)?.forEach((pattern, i) => {
    const at = Array.isArray(rule.endpoint) ? [...path, 'endpoint', i] : [...path, 'endpoint'];
    if (checks.isDamaged('endpoints') || checks.endpoints.some((endpoint) => overlap(pattern, endpoint))) return;
    checks.findings.push(mistake(at, `No endpoint is called "${pattern}".`, suggest(pattern, checks.endpoints)));
  });
}

/** Rules add up, so one that another without conditions covers changes nothing, and its own condition is never heard. */
function checkShadows(checks: Checks, rules: readonly Rule[]): void {
  rules.forEach((rule, i) => {
    if (asList(rule.who)!.length === 0 || asList(rule.may)!.length === 0) return;
    const others = rules.flatMap((wide, j) =>
      j !== i && shadows(wide, rule) && (j < i || !shadows(rule, wide)) ? [j] : [],
    );
    const other = others.find((j) => rules[j]!.when === undefined) ?? others[0];
    if (other === undefined) return;
    const what =
      rule.when === undefined || rules[other]!.when !== undefined
        ? `This rule adds nothing: access[${other}] allows all of it already.`
        : `The condition of this rule is never heard: access[${other}] allows the same without one.`;
    checks.findings.push(doubt(['access', i], what, 'Remove one of them, or make the other narrower.'));
  });
}

function shadows(wide: Rule, narrow: Rule): boolean {
  if (wide.when !== undefined) return wide.when === narrow.when && coversRest(wide, narrow);
  return coversRest(wide, narrow);
}

function coversRest(wide: Rule, narrow: Rule): boolean {
  const who = asList(wide.who)!.map((one) => readWho(one)!);
  const may = asList(wide.may)!.map(canonicalPattern);
  const endpoint = asList(wide.endpoint);
  const on = asList(wide.on);
  return (
    asList(narrow.who)!.every((one) => who.some((other) => coversWho(other, readWho(one)!))) &&
    asList(narrow.may)!.every((one) => may.some((other) => covers(other, canonicalPattern(one)))) &&
    (endpoint === undefined ||
      asList(narrow.endpoint)?.every((one) => endpoint.some((other) => covers(other, one))) === true) &&
    (on === undefined || asList(narrow.on)?.every((one) => on.includes(one)) === true)
  );
}

function coversWho(wide: Who, narrow: Who): boolean {
  if (wide.kind === 'everyone') return true;
  if (formatWho(wide) === formatWho(narrow)) return true;
  if (narrow.kind !== 'principal') return wide.kind === narrow.kind && covers(wide.pattern, narrow.pattern);
  const { person } = readPrincipalId(narrow.pattern);
  if (wide.kind === 'entry') return covers(`${wide.pattern}/*`, person);
  if (wide.kind !== 'principal') return false;
  const within = readTenantPattern(wide.pattern);
  if (within === undefined) return covers(wide.pattern, person);
  const one = readTenantPattern(narrow.pattern);
  return one !== undefined && covers(within.head, one.head) && covers(within.subject, one.subject);
}
