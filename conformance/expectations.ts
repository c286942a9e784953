import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { parse } from 'yaml';
import type { SuiteResult, Version } from './suite.ts';
import type { TargetName } from './targets.ts';

export interface ExpectedFailure {
  /** `scenario` for all its checks, or `scenario:check-id`. */
  readonly check: string;
  readonly reason: string;
  /** The clause of the specification that forces it. */
  readonly clause: string;
}

type ExpectedFailures = Partial<Record<TargetName | 'client', Partial<Record<Version, readonly ExpectedFailure[]>>>>;

const FILE = resolve(import.meta.dirname, 'expected-failures.yaml');

/** The accepted failures of one target and version. An entry without reason or clause is refused. */
export function expectedFailures(target: TargetName | 'client', version: Version): readonly ExpectedFailure[] {
  const all = (parse(readFileSync(FILE, 'utf8')) ?? {}) as ExpectedFailures;
  const entries = all[target]?.[version] ?? [];
  for (const entry of entries) {
    if (!entry.check || !entry.reason || !entry.clause) {
      throw new Error(
        `${FILE}: ${target} ${version}: an entry needs check, reason and clause: ${JSON.stringify(entry)}`,
      );
    }
  }
  return entries;
}

export interface Verdict {
  /** Failed and not expected. */
  readonly unexpected: readonly string[];
  /** Expected and did not fail: the entry must be deleted. */
  readonly stale: readonly string[];
  readonly expected: number;
}

/** Compares a run with the accepted failures. */
export function judge(result: SuiteResult, entries: readonly ExpectedFailure[]): Verdict {
  const used = new Set<ExpectedFailure>();
  const unexpected: string[] = [];
  for (const failure of result.failures) {
    const scenario = failure.check.slice(0, failure.check.indexOf(':'));
    const entry = entries.find((candidate) => candidate.check === failure.check || candidate.check === scenario);
    if (entry === undefined) unexpected.push(`${failure.check}  ${failure.detail}`);
    else used.add(entry);
  }
  const stale = entries.filter((entry) => !used.has(entry)).map((entry) => entry.check);
  return { unexpected, stale, expected: result.failures.length - unexpected.length };
}
