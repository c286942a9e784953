import { isDeepStrictEqual } from 'node:util';
import type { Checks, ParsedConfig } from './check.ts';
import { canonicalPattern, covers, isPlainName, overlap, reachesServer, specificity } from './globs.ts';
import { doubt, type KeyPath, mistake, suggest } from './problems.ts';

/** The server part of a pattern reaches none of these servers. */
function checkReach(checks: Checks, pattern: string, path: KeyPath, servers: readonly string[]): void {
  if (servers.length === 0 || servers.some((server) => reachesServer(pattern, server))) return;
  const prefix = pattern.slice(0, pattern.indexOf('/'));
  const known = checks.servers.includes(prefix)
    ? `The server "${prefix}" is not served here.`
    : suggest(prefix, servers);
  checks.findings.push(mistake(path, `The pattern "${pattern}" can match nothing: no server fits "${prefix}".`, known));
}

function checkServerNames(checks: Checks, names: readonly string[], path: KeyPath, indexed: boolean): void {
  const seen = new Set<string>();
  names.forEach((name, i) => {
    const at = indexed ? [...path, i] : path;
    if (!checks.servers.includes(name) && !checks.isDamaged('servers')) {
      checks.findings.push(mistake(at, `There is no server "${name}".`, suggest(name, checks.servers)));
    } else if (seen.has(name)) {
      checks.findings.push(mistake(at, `The server "${name}" stands here twice.`, 'Remove one.'));
    }
    seen.add(name);
  });
}

export function checkEndpoints(checks: Checks): void {
  for (const [path, endpoint] of Object.entries(checks.config.endpoints ?? {})) {
    const at: KeyPath = ['endpoints', path];
    const servers = endpoint.servers === '*' ? checks.servers : endpoint.servers;
    if (endpoint.servers !== '*') {
      checkServerNames(checks, endpoint.servers, [...at, 'servers'], true);
      if (endpoint.servers.length === 0) {
        checks.findings.push(
          mistake(
            [...at, 'servers'],
            'An endpoint without servers serves nothing.',
            'Name servers, or write "*" for all.',
          ),
        );
      }
    }
    const { allow, deny } = endpoint.tools;
    const known = servers.filter((name) => checks.servers.includes(name));
    if (allow !== undefined && allow !== '*') {
      allow.forEach((pattern, i) => {
        checkReach(checks, pattern, [...at, 'tools', 'allow', i], known);
        const denied = deny.find((other) => covers(canonicalPattern(other), canonicalPattern(pattern)));
        if (denied !== undefined) {
          checks.findings.push(
            mistake(
              [...at, 'tools', 'allow', i],
              `What "${pattern}" allows, "${denied}" in \`deny\` takes away again.`,
              'Remove one of them.',
            ),
          );
        }
      });
    }
    deny.forEach((pattern, i) => {
      checkReach(checks, pattern, [...at, 'tools', 'deny', i], known);
    });
  }
  checkAlone(checks);
}

type Endpoint = NonNullable<ParsedConfig['endpoints']>[string];

/** What an endpoint asks of its callers or keeps from them, by the names of the keys. */
function restrictions({ scope, auth, tools }: Endpoint): string[] {
  const keys = ['scope', 'auth', 'tools.allow', 'tools.deny'];
  const held = [scope !== undefined, auth !== undefined, (tools.allow ?? '*') !== '*', tools.deny.length > 0];
  return keys.filter((_, i) => held[i]);
}

/**
 * What an endpoint asks holds at its own path, and `/s/<server>` stands open beside it. Where there are `access` rules
 * they hold there, too; without `auth` everybody is the one person at the machine. Translated
 * files filter both.
 */
function checkAlone(checks: Checks): void {
  const { config } = checks;
  if (config.access !== undefined || config.auth === undefined || checks.isAnyDamaged('access')) return;
  if (checks.translated) return;
  const endpoints = Object.entries(config.endpoints ?? {});
  const serversOf = ({ servers }: Endpoint): readonly string[] => (servers === '*' ? checks.servers : servers);
  const open = new Set(endpoints.flatMap(([, one]) => (restrictions(one).length === 0 ? serversOf(one) : [])));
  for (const [path, endpoint] of endpoints) {
    const kept = restrictions(endpoint);
    const server = serversOf(endpoint).find((name) => !open.has(name));
    if (kept.length === 0 || server === undefined) continue;
    const words = kept.map((key) => `\`${key}\``).join(' and ');
    checks.findings.push(
      doubt(
        ['endpoints', path, ...kept[0]!.split('.')],
        `${words} of this endpoint ${kept.length === 1 ? 'does' : 'do'} not hold at /s/${server}, where the whole server is open to every caller.`,
        'Write `access` rules: they hold at every endpoint.',
      ),
    );
  }
}

export function checkTools(checks: Checks): void {
  const { config, findings } = checks;
  const patterns = Object.entries(config.tools);
  const names = new Map<string, string>();
  for (const [pattern, tool] of patterns) {
    const at: KeyPath = ['tools', pattern];
    checkReach(checks, pattern, at, checks.servers);
    if (Object.values(tool).every((value) => value === undefined)) {
      findings.push(
        mistake(at, 'This entry sets nothing.', 'Write `as`, `timeout`, `validate` or `price`, or remove it.'),
      );
    }
    if (tool.as === undefined) continue;
    if (!isPlainName(pattern) || !pattern.includes('/')) {
      findings.push(
        mistake([...at, 'as'], 'A name is for one tool.', 'Write the key as server/tool without wildcards.'),
      );
      continue;
    }
    const other = names.get(tool.as);
    if (other !== undefined) {
      findings.push(mistake([...at, 'as'], `The name "${tool.as}" is given to ${other} too.`, 'Choose another name.'));
    }
    names.set(tool.as, pattern);
  }
  checkTies(checks);
}

/** Two patterns of one rank that can meet on a tool must not give it two values. */
function checkTies(checks: Checks): void {
  const byRank = Map.groupBy(
    Object.entries(checks.config.tools).map(([written, tool]) => ({
      written,
      tool,
      pattern: canonicalPattern(written),
    })),
    ({ pattern }) => specificity(pattern),
  );
  for (const equals of byRank.values()) {
    equals.forEach((later, i) => {
      for (const earlier of equals.slice(0, i)) {
        for (const key of ['timeout', 'validate', 'price'] as const) {
          const [a, b] = [later.tool[key], earlier.tool[key]];
          if (a === undefined || b === undefined || isDeepStrictEqual(a, b) || !overlap(later.pattern, earlier.pattern))
            continue;
          const what = `A tool that matches "${later.written}" and "${earlier.written}" has two values of \`${key}\`, and neither pattern is more specific.`;
          checks.findings.push(mistake(['tools', later.written, key], what, 'Make one pattern more exact.'));
        }
      }
    });
  }
}

type Route = ParsedConfig['routes'][number];

export function checkRoutes(checks: Checks): void {
  const { config, findings } = checks;
  const routes = config.routes;
  routes.forEach((route, i) => {
    const at: KeyPath = ['routes', i];
    const to = Array.isArray(route.to) ? route.to : [route.to];
    if (to.length === 0)
      findings.push(mistake([...at, 'to'], 'A route without a server takes nothing.', 'Name a server.'));
    checkServerNames(checks, to, [...at, 'to'], Array.isArray(route.to));
    const kinds = (['tool', 'resource', 'prompt'] as const).filter((kind) => route[kind] !== undefined);
    if (kinds.length > 1) {
      findings.push(
        mistake(
          [...at, kinds[1]!],
          `A route has one pattern; this one has ${kinds.join(' and ')}.`,
          'Write one route for each.',
        ),
      );
      return;
    }
    for (const kind of ['tool', 'prompt'] as const) {
      const pattern = route[kind];
      if (pattern === undefined) continue;
      checkReach(checks, pattern, [...at, kind], checks.servers);
      const known = to.filter((name) => checks.servers.includes(name));
      if (
        known.length > 0 &&
        checks.servers.some((name) => reachesServer(pattern, name)) &&
        !known.some((name) => reachesServer(pattern, name))
      ) {
        findings.push(
          mistake(
            [...at, kind],
            `The pattern "${pattern}" names nothing of ${known.join(', ')}, so this route takes nothing.`,
            'Change `to` or the pattern.',
          ),
        );
      }
    }
    if (routes.slice(0, i).some((earlier) => hides(earlier, route))) {
      const what =
        kinds.length === 0
          ? 'There is a default route already'
          : 'This route is never reached: an earlier one takes all it matches';
      findings.push(mistake(kinds.length === 0 ? at : [...at, kinds[0]!], `${what}.`, 'Remove it, or put it first.'));
    }
  });
}

function hides(earlier: Route, later: Route): boolean {
  if (isDefault(earlier)) return isDefault(later);
  for (const kind of ['tool', 'resource', 'prompt'] as const) {
    const wide = earlier[kind];
    const narrow = later[kind];
    if (wide === undefined || narrow === undefined) continue;
    return kind === 'resource' ? covers(wide, narrow) : covers(canonicalPattern(wide), canonicalPattern(narrow));
  }
  return false;
}

function isDefault(route: Route): boolean {
  return route.tool === undefined && route.resource === undefined && route.prompt === undefined;
}
