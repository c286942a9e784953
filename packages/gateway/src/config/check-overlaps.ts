/** One call is decided in one step over all limits that cover it; how many that can be is bounded at load. */
import type { Checks, ParsedConfig } from './check.ts';
import { routeLimitNames } from './compile-limits.ts';
import { canonicalPattern, overlap } from './globs.ts';
import { type KeyPath, mistake } from './problems.ts';
import { asList } from './values.ts';

type Limit = ParsedConfig['limits'][string];

/** Of one call. The limiter takes more; a call that is under more rules than a person can read is a mistake. */
const MAX_COVERING = 128;
/** In all, so that comparing each with each is done in seconds. */
const MAX_LIMITS = 4096;

const DEFAULT_METHODS: readonly string[] = ['tools/call', 'resources/read', 'prompts/get', 'completion/complete'];

/** Comparisons of patterns, some 10 µs each; beyond so many two patterns are taken to meet. */
const MAX_COMPARISONS = 200_000;

/** A pattern, and the plain text at its ends, which tells most pairs apart at once. */
interface Pattern {
  readonly text: string;
  /** False: it matches itself only, so that two different ones never meet. */
  readonly varies: boolean;
  readonly start: string;
  readonly end: string;
}
type Patterns = readonly Pattern[] | undefined;

/** What a limit covers; undefined: everything. */
interface Cover {
  readonly path: KeyPath;
  readonly name: string;
  /** Tenants, tiers, servers, endpoints, methods. */
  readonly parts: readonly Patterns[];
  /** By kind of object. */
  readonly objects: Readonly<Record<'tool' | 'resource' | 'prompt', Patterns>> | undefined;
}

const SPECIAL = /[*?[\\]/;

function patterns(texts: readonly string[] | undefined): Patterns {
  return texts?.map((text) => ({
    text,
    varies: SPECIAL.test(text),
    start: /^[^*?[\\]*/.exec(text)![0],
    // A bracket may hold what looks like the end of the pattern.
    end: /[[\\]/.test(text) ? '' : /[^*?]*$/.exec(text)![0],
  }));
}

const DEFAULT_PATTERNS = patterns(DEFAULT_METHODS);

export function checkOverlaps(checks: Checks): void {
  const { config, findings } = checks;
  const covers = [...Object.entries(config.limits).flatMap(coverOf), ...routeCovers(config)];
  if (covers.length > MAX_LIMITS) {
    const what = `There are ${covers.length} limits; at most ${MAX_LIMITS} are possible.`;
    findings.push(mistake(['limits'], what, 'Count by a key (by: [principal, tool]) in place of one limit for each.'));
    return;
  }
  if (covers.length <= MAX_COVERING) return;
  const budget = new Budget();
  const together = new Array<number>(covers.length).fill(1);
  covers.forEach((cover, i) => {
    for (let j = i + 1; j < covers.length; j++) {
      if (!meet(cover, covers[j]!, budget)) continue;
      together[i]!++;
      together[j]!++;
    }
  });
  const at = together.findIndex((count) => count > MAX_COVERING);
  if (at < 0) return;
  const { name, path } = covers[at]!;
  const what = `${together[at]} limits can cover one call that "${name}" covers; at most ${MAX_COVERING} are possible.`;
  findings.push(mistake(path, what, 'Join limits, or name more exactly what they cover.'));
}

function coverOf([name, limit]: readonly [string, Limit]): Cover[] {
  if (limit.mode === 'off') return [];
  return [
    {
      path: ['limits', name],
      name,
      parts: [
        patterns(asList(limit.tenant)),
        patterns(asList(limit.tier)),
        patterns(asList(limit.server)),
        patterns(asList(limit.endpoint)),
        patterns(asList(limit.on)) ?? DEFAULT_PATTERNS,
      ],
      objects:
        limit.tool === undefined && limit.resource === undefined && limit.prompt === undefined
          ? undefined
          : {
              tool: patterns(asList(limit.tool)?.map(canonicalPattern)),
              resource: patterns(asList(limit.resource)),
              prompt: patterns(asList(limit.prompt)?.map(canonicalPattern)),
            },
    },
  ];
}

/** A call has one route, so that the limits of routes never meet; any one of them stands for all. */
function routeCovers(config: ParsedConfig): Cover[] {
  const names = routeLimitNames(config);
  const index = names.findIndex((name) => name !== undefined);
  if (index < 0) return [];
  return [
    {
      path: ['routes', index, 'limit'],
      name: names[index]!,
      parts: [undefined, undefined, undefined, undefined, DEFAULT_PATTERNS],
      objects: undefined,
    },
  ];
}

/** Whether some call can be covered by both; true also when that is hard to tell. */
function meet(a: Cover, b: Cover, budget: Budget): boolean {
  for (let i = 0; i < a.parts.length; i++) if (!touch(a.parts[i], b.parts[i], budget)) return false;
  const [one, other] = [a.objects, b.objects];
  if (one === undefined || other === undefined) return true;
  return (
    both(one.tool, other.tool, budget) ||
    both(one.resource, other.resource, budget) ||
    both(one.prompt, other.prompt, budget)
  );
}

/** Where no pattern of a kind is named, beside those of another kind, nothing of that kind is covered. */
function both(a: Patterns, b: Patterns, budget: Budget): boolean {
  return a !== undefined && b !== undefined && touch(a, b, budget);
}

function touch(a: Patterns, b: Patterns, budget: Budget): boolean {
  if (a === undefined || b === undefined || a === b) return true;
  for (const one of a) {
    for (const other of b) {
      if (one.text === other.text) return true;
      if ((one.varies || other.varies) && endsFit(one, other) && budget.compare(one, other)) return true;
    }
  }
  return false;
}

function endsFit(a: Pattern, b: Pattern): boolean {
  return (
    (a.start.startsWith(b.start) || b.start.startsWith(a.start)) && (a.end.endsWith(b.end) || b.end.endsWith(a.end))
  );
}

/** Keeps the time of the check bounded, whatever a file holds. */
class Budget {
  #left = MAX_COMPARISONS;

  compare(a: Pattern, b: Pattern): boolean {
    return --this.#left < 0 || overlap(a.text, b.text);
  }
}
