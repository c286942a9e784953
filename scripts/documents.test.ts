import { readFileSync } from 'node:fs';
import { verifies } from '@tollgate/testkit/verifies';
import { describe, expect, it } from 'vitest';

const read = (path: string) => readFileSync(new URL(`../${path}`, import.meta.url), 'utf8');

describe('docs/operations.md', () => {
  it('has a way out of what goes wrong with limits', () => {
    verifies('R0-67');
    const page = read('docs/operations.md');
    const rows = page.slice(page.indexOf('## Troubleshooting')).split('\n');
    for (const symptom of [
      'State cannot be written',
      'Costs are not enforced',
      'Limits are too strict',
      'Memory use',
    ]) {
      expect(
        rows.filter((row) => row.startsWith(`| **${symptom}** | `) && row.length > 200),
        symptom,
      ).toHaveLength(1);
    }
  });
});

describe('the operations', () => {
  it('have as many tests of function and of hardening as were asked for', () => {
    verifies('R0-49', 'R0-50');
    const tests = (file: string) =>
      read(`packages/gateway/src/api/operations/${file}`).match(/^ {2}it(\.each)?\(/gm)?.length ?? 0;
    expect(tests('operations.test.ts')).toBeGreaterThanOrEqual(23);
    expect(tests('hardening.test.ts')).toBeGreaterThanOrEqual(14);
  });
});
