/** The report on the input that every answer carries (X0-10). Input is refused or taken as it is, never rewritten. */
import type { PlainObject } from './bounds.ts';
import type { OperationInput } from './input.ts';
import { type Finding, isThreat } from './scan/finding.ts';
import { scanContent } from './scan/scan.ts';

/** What answers name as the component, in the member that orchestrators read. */
export const COMPONENT = 'tollgate';

export interface SecurityMetadata {
  /** Always false: an input that was changed could be authorised as one thing and run as another. */
  readonly sanitization_applied: boolean;
  readonly security_issues_count: number;
  /** One sentence each: what of the input was refused, or looks like an attack. */
  readonly validation_warnings: readonly string[];
  /** Milliseconds. */
  readonly validation_time: number;
}

const MAX_WARNINGS = 20;
const scanned = new WeakMap<PlainObject, readonly Finding[]>();

/** Findings on an input; looked for once, though the report and a scan both ask. */
export function findingsOf(members: PlainObject): readonly Finding[] {
  let findings = scanned.get(members);
  if (findings === undefined) {
    findings = scanContent(members);
    scanned.set(members, findings);
  }
  return findings;
}

/** `input` undefined: it could not be read. */
export function securityMetadata(
  input: OperationInput | undefined,
  validationTime: number,
  problems: readonly string[],
): SecurityMetadata {
  const issues = input === undefined ? [] : findingsOf(input.members).filter(isThreat);
  return {
    sanitization_applied: false,
    security_issues_count: issues.length,
    validation_warnings: [...problems, ...issues.map(({ id, where }) => `${id} at ${where}`)].slice(0, MAX_WARNINGS),
    validation_time: validationTime,
  };
}
