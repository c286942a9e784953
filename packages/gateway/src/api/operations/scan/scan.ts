import { scanCharacters } from './characters.ts';
import { Corpus } from './corpus.ts';
import { bySeverity, type Finding } from './finding.ts';
import { scanMembers } from './members.ts';
import { scanTexts } from './text-scan.ts';
import { findTools, scanTools } from './tools.ts';

const MAX_FINDINGS = 200;

/**
 * Looks for attacks in any JSON value: arguments, tool definitions, results, configuration. The worst first, at most
 * 200. Advisory: what it does not find may be an attack all the same. Time is linear in the size of the value.
 */
export function scanContent(value: unknown): readonly Finding[] {
  const corpus = new Corpus(value);
  const found = [
    ...scanTexts(corpus),
    ...scanCharacters(corpus),
    ...scanMembers(value),
    ...scanTools(findTools(value)),
  ];
  return bySeverity(unique(found)).slice(0, MAX_FINDINGS);
}

/** Two rules may say the same of one place. */
function unique(findings: readonly Finding[]): readonly Finding[] {
  const seen = new Set<string>();
  return findings.filter(({ id, where }) => {
    const key = `${id} ${where}`;
    if (seen.has(key)) return false;
    seen.add(key);
    return true;
  });
}
