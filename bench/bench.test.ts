import { startChild } from '@tollgate/testkit/child';
import { verifies } from '@tollgate/testkit/verifies';
import { expect, it } from 'vitest';
import { callOfSize } from './measure.ts';
import { loadStages } from './stages.ts';

it('npm run bench measures every stage against the same baseline in one run', async () => {
  verifies('R1-67');
  const args = [`${import.meta.dirname}/main.ts`, '--only', 'stages', '--quick'];
  await using child = await startChild(process.execPath, args);
  expect((await child.exited).code, child.transcript()).toBe(0);
  const rows = child.stdout().split('\n');
  const baseline = rows.find((row) => row.startsWith('JSON.parse + JSON.stringify'));
  expect(baseline).toMatch(/\s1\.000\s+\d+\.\d$/);
  const stages = await loadStages();
  expect(stages.length).toBeGreaterThan(3);
  for (const { name } of stages) {
    const row = rows.find((candidate) => candidate.startsWith(name));
    expect(row, child.transcript()).toMatch(/\s\d+\.\d{3}\s+\d+\.\d$/);
  }
});

it('the measured call has exactly the stated size', () => {
  for (const size of [300, 100_000]) {
    const call = callOfSize(size);
    expect(Buffer.byteLength(call)).toBe(size);
    expect(JSON.parse(call)).toMatchObject({ jsonrpc: '2.0', id: 1, method: 'tools/call' });
  }
  expect(() => callOfSize(10)).toThrow(RangeError);
});
