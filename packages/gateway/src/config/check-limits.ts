import { METHODS } from '../protocol/methods.ts';
import type { Checks, ParsedConfig } from './check.ts';
import { checkBehaviour, checkReplacements } from './check-behaviour.ts';
import { checkNumbers, checkRouteLimits, checkTiers } from './check-numbers.ts';
import { checkOverlaps } from './check-overlaps.ts';
import { matches, overlap, reachesServer } from './globs.ts';
import { tiersOf } from './limit-rows.ts';
import { type KeyPath, mistake, suggest } from './problems.ts';
import { asList } from './values.ts';

type Limit = ParsedConfig['limits'][string];

/** What a client may ask for and a limit can count. */
const COUNTABLE_METHODS: readonly string[] = METHODS.filter(
  (info) => info.kind === 'request' && info.from !== 'server',
).map((info) => info.method);

/** Methods that a limit without `on` counts. */
const DEFAULT_METHODS: readonly string[] = ['tools/call', 'resources/read', 'prompts/get', 'completion/complete'];

/** Methods that can carry an object of each kind; a completion names a prompt or a resource template. */
const METHODS_OF: Readonly<Record<'tool' | 'resource' | 'prompt', readonly string[]>> = {
  tool: ['tools/call'],
  resource: ['resources/read', 'resources/subscribe', 'resources/unsubscribe', 'completion/complete'],
  prompt: ['prompts/get', 'completion/complete'],
};

/** Names that `check_mcp_limit` uses beside those of the protocol. */
const OPERATION_NAMES: readonly string[] = ['server/initialize', 'server/ping', 'unknown'];

export function checkLimits(checks: Checks): void {
  for (const [name, limit] of Object.entries(checks.config.limits)) {
    const path: KeyPath = ['limits', name];
    checkBy(checks, limit, path);
    checkPatterns(checks, limit, path);
    checkNumbers(checks, name, limit);
    checkBehaviour(checks, name, limit);
  }
  checkTiers(checks);
  checkRouteLimits(checks);
  checkReplacements(checks);
  checkOverlaps(checks);
}

function checkBy(checks: Checks, limit: Limit, path: KeyPath): void {
  const by = asList(limit.by)!;
  const at = [...path, 'by'];
  if (by.length === 0) checks.findings.push(mistake(at, 'An empty list counts by nothing.', 'Write everyone.'));
  if (by.includes('everyone') && by.length > 1) {
    checks.findings.push(
      mistake(at, '`everyone` is one counter for all; with another key it contradicts itself.', 'Remove one of them.'),
    );
  }
  if (new Set(by).size !== by.length) checks.findings.push(mistake(at, 'A key stands here twice.', 'Remove one.'));
}

function checkPatterns(checks: Checks, limit: Limit, path: KeyPath): void {
  const { findings } = checks;
  const each = (
    key: 'on' | 'tool' | 'resource' | 'prompt' | 'server' | 'endpoint' | 'tenant' | 'tier',
    check: (pattern: string, at: KeyPath) => void,
  ) => {
    const patterns = asList(limit[key]);
    if (patterns?.length === 0)
      findings.push(mistake([...path, key], 'An empty list matches nothing.', 'Remove the key.'));
    patterns?.forEach((pattern, i) => {
      check(pattern, Array.isArray(limit[key]) ? [...path, key, i] : [...path, key]);
    });
  };
  each('on', (pattern, at) => {
    if ([...COUNTABLE_METHODS, ...OPERATION_NAMES].some((method) => matches(pattern, method))) return;
    findings.push(mistake(at, `No request of a client is called "${pattern}".`, suggest(pattern, COUNTABLE_METHODS)));
  });
  const on = asList(limit.on);
  const methods =
    on === undefined
      ? DEFAULT_METHODS
      : COUNTABLE_METHODS.filter((method) => on.some((pattern) => matches(pattern, method)));
  for (const kind of ['tool', 'resource', 'prompt'] as const) {
    each(kind, (pattern, at) => {
      if (methods.length > 0 && !METHODS_OF[kind].some((method) => methods.includes(method))) {
        findings.push(
          mistake(
            at,
            `The limit counts ${methods.join(', ')}; none of them names a ${kind}.`,
            `Remove \`${kind}\`, or name ${METHODS_OF[kind][0]} in \`on\`.`,
          ),
        );
      } else if (
        kind !== 'resource' &&
        checks.servers.length > 0 &&
        !checks.servers.some((server) => reachesServer(pattern, server))
      ) {
        const prefix = pattern.slice(0, pattern.indexOf('/'));
        findings.push(
          mistake(
            at,
            `The pattern "${pattern}" can match nothing: no server fits "${prefix}".`,
            suggest(prefix, checks.servers),
          ),
        );
      }
    });
  }
  each('server', (pattern, at) => {
    if (checks.isDamaged('servers') || checks.servers.some((server) => matches(pattern, server))) return;
    findings.push(mistake(at, `No server is called "${pattern}".`, suggest(pattern, checks.servers)));
  });
  each('endpoint', (pattern, at) => {
    if (checks.endpoints.some((endpoint) => overlap(pattern, endpoint))) return;
    findings.push(mistake(at, `No endpoint is called "${pattern}".`, suggest(pattern, checks.endpoints)));
  });
  each('tier', (pattern, at) => {
    if (checks.isAnyDamaged('tiers') || checks.isAnyDamaged('auth')) return;
    const tiers = tiersOf(checks.config);
    if (tiers.some((tier) => matches(pattern, tier))) return;
    findings.push(mistake(at, `No caller can be in a tier called "${pattern}".`, suggest(pattern, tiers)));
  });
  each('tenant', (pattern, at) => {
    if (checks.isAnyDamaged('auth') || checks.anyTenant || checks.tenants.some((tenant) => matches(pattern, tenant)))
      return;
    findings.push(mistake(at, `No auth entry gives the tenant "${pattern}".`, suggest(pattern, checks.tenants)));
  });
}
