import { resolve } from 'node:path';
import { loadCases } from '../config/cases.ts';
import { runCase } from '../pipeline/case-run.ts';
import { loadForCommand } from './configuration.ts';
import { Exit, json, out } from './output.ts';

/**
 * `tollgate test CASES.yaml`: runs given/then cases against the limits of a configuration, on a virtual clock and
 * without servers. One line a case; 1 when one fails, 2 for a mistake in a file.
 */
export async function testCases(
  [file]: readonly (string | undefined)[],
  options: { readonly config?: string; readonly json?: boolean },
): Promise<number> {
  const { compiled } = await loadForCommand(options.config, { unapproved: true });
  const cases = await loadCases(resolve(file!), compiled);
  let failed = 0;
  const results = [];
  for (const test of cases) {
    const result = await runCase(test, compiled);
    results.push(result);
    if (result.failures.length > 0) failed++;
    if (options.json === true) continue;
    out(`${result.failures.length === 0 ? 'pass' : 'FAIL'}  ${result.name.replace(/\s+/g, ' ')}`);
    for (const failure of result.failures) out(`      ${failure}`);
  }
  if (options.json === true) json({ cases: results, passed: results.length - failed, failed });
  else out(`${results.length - failed} of ${results.length} cases passed.`);
  return failed === 0 ? Exit.ok : Exit.failure;
}
