export type Severity = 'low' | 'medium' | 'high' | 'critical';

/** One thing that a scan found; ids are a closed list, documented in `docs/operations-api.md`. */
export interface Finding {
  readonly id: string;
  readonly severity: Severity;
  /** JSON path in what was scanned, or the key of the configuration. */
  readonly where: string;
  /** What it is and why it matters; never the text itself, which may be a secret or another injection. */
  readonly what: string;
  readonly fix: string;
}

const RANK: Readonly<Record<Severity, number>> = { low: 0, medium: 1, high: 2, critical: 3 };

/** True for what must not pass: high and critical. */
export function blocks(finding: Finding): boolean {
  return RANK[finding.severity] >= RANK.high;
}

/** True for what counts as a threat: medium and up. The rest is advice. */
export function isThreat(finding: Finding): boolean {
  return RANK[finding.severity] >= RANK.medium;
}

/** The worst first; the rest in the order found. */
export function bySeverity(findings: readonly Finding[]): readonly Finding[] {
  return findings.toSorted((a, b) => RANK[b.severity] - RANK[a.severity]);
}
