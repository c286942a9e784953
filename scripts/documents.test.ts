import { readFileSync } from 'node:fs';
import { verifies } from '@tollgate/testkit/verifies';
import { describe, expect, it } from 'vitest';
import { processText } from '../packages/gateway/src/config/load.ts';

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

describe('docs/identity.md', () => {
  it('shows configurations that are taken as they stand', () => {
    const blocks = [...read('docs/identity.md').matchAll(/^```yaml\n(.*?)^```/gms)].map(([, code]) => code ?? '');
    expect(blocks.length).toBeGreaterThanOrEqual(3);
    const env = { DEV_SECRET: 'f0c1f3a2b4d5968778695a4b3c2d1e0f', TOKEN: 'a-token-that-is-long-enough' };
    for (const block of blocks) {
      const text = `servers: { files: { url: "http://127.0.0.1:9/mcp" } }\n${block}`;
      const context = {
        file: '/project/tollgate.yaml',
        kind: 'yaml',
        env,
        name: 'tollgate.yaml',
        cwd: '/project',
      } as const;
      expect(processText(Buffer.from(text), context).warnings, block).toEqual([]);
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
