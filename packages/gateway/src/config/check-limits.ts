import { METHODS } from '../protocol/methods.ts';
import type { Checks, ParsedConfig } from './check.ts';
import { matches, overlap, reachesServer } from './globs.ts';
import { type KeyPath, mistake, suggest } from './problems.ts';

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

export function asList<T>(value: T | readonly T[] | undefined): readonly T[] | undefined {
  return value === undefined || Array.isArray(value) ? (value as readonly T[] | undefined) : [value as T];
}

export function checkLimits(checks: Checks): void {
  for (const [name, limit] of Object.entries(checks.config.limits)) {
    const path: KeyPath = ['limits', name];
    checkBy(checks, limit, path);
    checkRefill(checks, limit, path);
    checkPatterns(checks, limit, path);
  }
}

/** Beyond this the limiter cannot count in whole ticks; nobody waits so long for a refill. */
const MAX_REFILL_MS = 70 * 365 * 86_400_000;

function checkRefill(checks: Checks, limit: Limit, path: KeyPath): void {
  const { count, period } = limit.limit;
  if (((count + limit.burst) / count) * period <= MAX_REFILL_MS) return;
  checks.findings.push(
    mistake(
      [...path, 'burst'],
      'So large a burst would take more than 70 years to refill.',
      'Lower `burst`, or raise `limit`.',
    ),
  );
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
    key: 'on' | 'tool' | 'resource' | 'prompt' | 'server' | 'endpoint',
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
    if (COUNTABLE_METHODS.some((method) => matches(pattern, method))) return;
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
}
