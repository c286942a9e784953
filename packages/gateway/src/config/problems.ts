import path from 'node:path';
import { TollgateError } from '../core/errors.ts';
import { oneLine } from '../core/plain-text.ts';

/** Keys from the root of the configuration; list positions are numbers. */
export type KeyPath = readonly (string | number)[];

export interface Position {
  /** Absolute path of the file; undefined for a configuration given as an object. */
  readonly file: string | undefined;
  /** Both count from 1. */
  readonly line: number;
  readonly column: number;
}

/** One thing that is wrong (error) or doubtful (warning) in a configuration. Never holds the value of a secret. */
export interface Problem {
  readonly severity: 'error' | 'warning';
  readonly path: KeyPath;
  readonly what: string;
  /** What to write instead; empty when `what` says it all. */
  readonly fix: string;
  readonly position: Position | undefined;
}

/** A problem before its place in a file is known. */
export type Finding = Omit<Problem, 'position'>;

export function mistake(path: KeyPath, what: string, fix = ''): Finding {
  return { severity: 'error', path, what, fix };
}

export function doubt(path: KeyPath, what: string, fix = ''): Finding {
  return { severity: 'warning', path, what, fix };
}

/** `servers.files.args[0]`; a key that holds a dot, a slash or a blank is quoted. */
export function formatPath(keys: KeyPath): string {
  let out = '';
  for (const key of keys) {
    if (typeof key === 'number') out += `[${key}]`;
    else if (/^[A-Za-z0-9_-]+$/.test(key)) out += out === '' ? key : `.${key}`;
    else out += `[${JSON.stringify(key)}]`;
  }
  return out;
}

export function isWithin(path: KeyPath, ancestor: KeyPath): boolean {
  return ancestor.length <= path.length && ancestor.every((key, i) => key === path[i]);
}

/** In file order, errors and warnings mixed, repeated lines dropped. */
function sortProblems(problems: readonly Problem[]): Problem[] {
  const seen = new Set<string>();
  const unique = problems.filter((problem) => {
    const key = JSON.stringify([problem.severity, problem.path, problem.what, problem.position]);
    return seen.has(key) ? false : seen.add(key) !== undefined;
  });
  return unique.sort(
    (a, b) =>
      (a.position?.line ?? 0) - (b.position?.line ?? 0) || (a.position?.column ?? 0) - (b.position?.column ?? 0),
  );
}

/**
 * One line per problem: `file:line:column  key  what  fix`. Paths of files are relative to `cwd`
 * (default: the current folder) where that is shorter. Warnings are marked as such.
 */
export function formatProblems(problems: readonly Problem[], cwd = process.cwd()): string {
  return sortProblems(problems)
    .map((problem) => {
      const parts: string[] = [];
      if (problem.position !== undefined) parts.push(formatPosition(problem.position, cwd));
      const key = formatPath(problem.path);
      if (key !== '') parts.push(key);
      const label = parts.length > 0 ? `${parts.join(' ')}: ` : '';
      const fix = problem.fix === '' ? '' : ` ${problem.fix}`;
      // Keys and values of the file stand in it: none of them may look like another problem.
      return oneLine(`${label}${problem.severity === 'warning' ? 'warning: ' : ''}${problem.what}${fix}`);
    })
    .join('\n');
}

export function formatPosition(position: Position, cwd = process.cwd()): string {
  return `${position.file === undefined ? '(object)' : shortPath(position.file, cwd)}:${position.line}:${position.column}`;
}

export function shortPath(file: string, cwd: string): string {
  const relative = path.relative(cwd, file);
  return relative !== '' && !relative.startsWith('..') && !path.isAbsolute(relative) ? relative : file;
}

/** The one error for a configuration that cannot be used; `data.problems` has them all. */
export function invalidConfig(name: string, problems: readonly Problem[], cwd?: string): TollgateError {
  const errors = problems.filter((problem) => problem.severity === 'error').length;
  const head = `${name} has ${errors} ${errors === 1 ? 'mistake' : 'mistakes'}:`;
  const list = formatProblems(problems, cwd).replaceAll(/^/gm, '  ');
  return new TollgateError('config_invalid', `${head}\n${list}`, { data: { problems: sortProblems(problems) } });
}

/** The known word nearest to a mistyped one, or undefined when none is near enough. */
function nearest(word: string, known: Iterable<string>): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.max(1, Math.floor(word.length / 3)) + 1;
  const lower = word.toLowerCase();
  for (const candidate of known) {
    const distance = editDistance(lower, candidate.toLowerCase(), bestDistance);
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

/** `Did you mean "x"?`, or the list of what exists. */
export function suggest(word: string, known: readonly string[]): string {
  const near = nearest(word, known);
  if (near !== undefined) return `Did you mean "${near}"?`;
  return known.length === 0 ? '' : `Known: ${known.slice(0, 24).join(', ')}${known.length > 24 ? ', …' : ''}.`;
}

/** Edits (insert, delete, change, swap of neighbours) between two words; stops caring at `cap`. */
function editDistance(a: string, b: string, cap: number): number {
  if (Math.abs(a.length - b.length) >= cap) return cap;
  if (a.length > 64 || b.length > 64) return cap;
  let before: number[] = [];
  let previous = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const current = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = a[i - 1] === b[j - 1] ? 0 : 1;
      let cost = Math.min(previous[j]! + 1, current[j - 1]! + 1, previous[j - 1]! + change);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) cost = Math.min(cost, before[j - 2]! + 1);
      current.push(cost);
    }
    before = previous;
    previous = current;
  }
  return previous[b.length]!;
}
