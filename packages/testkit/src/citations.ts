import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const TEST_FILES = [
  'packages/*/src/**/*.test.ts',
  'conformance/**/*.test.ts',
  'e2e/**/*.e2e.ts',
  'bench/**/*.test.ts',
  'scripts/**/*.test.ts',
];

/** The files under `root` whose tests cite each id by a literal `verifies('R0-01', …)`. */
export function findCitations(root: string): Map<string, string[]> {
  const citations = new Map<string, string[]>();
  for (const file of globSync(TEST_FILES, { cwd: root, exclude: ['**/node_modules/**'] }).sort()) {
    for (const id of citedIds(readFileSync(join(root, file), 'utf8'))) {
      const files = citations.get(id) ?? [];
      if (!files.includes(file)) files.push(file);
      citations.set(id, files);
    }
  }
  return citations;
}

/** The literal ids of every `verifies(…)` call in a source text, in order. */
export function citedIds(source: string): string[] {
  return [...source.matchAll(/\bverifies\(([^)]*)\)/g)].flatMap((call) =>
    [...(call[1] ?? '').matchAll(/['"]([RCX]\d?-?[\w-]*)['"]/g)].map((literal) => literal[1] ?? ''),
  );
}

export interface Judgement {
  readonly covered: readonly string[];
  readonly planned: readonly string[];
  readonly uncited: readonly string[];
  /** Cited but still called planned. */
  readonly flippable: readonly string[];
  /** What makes the report fail, in words. */
  readonly problems: readonly string[];
}

/** Compares the manifest with the citations. Ids that do not start with R (rulings, extras) are not in the manifest. */
export function judgeRequirements(
  requirements: readonly { readonly id: string; readonly status: 'covered' | 'planned' }[],
  citations: ReadonlyMap<string, readonly string[]>,
): Judgement {
  const ids = new Set(requirements.map(({ id }) => id));
  const of = (status: string) => requirements.filter((entry) => entry.status === status).map(({ id }) => id);
  const covered = of('covered');
  const planned = of('planned');
  return {
    covered,
    planned,
    uncited: requirements.filter(({ id }) => !citations.has(id)).map(({ id }) => id),
    flippable: planned.filter((id) => citations.has(id)),
    problems: [
      ...covered.filter((id) => !citations.has(id)).map((id) => `${id} is called covered, but no test cites it`),
      ...[...citations]
        .filter(([id]) => id.startsWith('R') && !ids.has(id))
        .map(([id, files]) => `${id} is cited in ${files.join(', ')}, but there is no such requirement`),
    ],
  };
}
