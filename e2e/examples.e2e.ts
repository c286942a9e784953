/** The programs of examples/, as their READMEs say to run them. Each exits with 1 when it sees something wrong. */
import { join, resolve } from 'node:path';
import { expectNoSurvivors, startChild } from '@tollgate/testkit/child';
import { verifies } from '@tollgate/testkit/verifies';
import { expect, it } from 'vitest';

const EXAMPLES = resolve(import.meta.dirname, '../examples');

it('the full proxy serves its client, refuses what it should, and counts it', async () => {
  verifies('R1-49', 'R1-46', 'R1-19', 'R1-20');
  await using proxy = await startChild(process.execPath, [join(EXAMPLES, 'proxy/proxy.ts'), '127.0.0.1:0']);
  const [, url] = await proxy.waitFor(/Serving (http:\S+)/);
  await proxy.waitFor(/\{"math":true,"data":true,"admin":true\}/);
  await using client = await startChild(process.execPath, [join(EXAMPLES, 'proxy/client.ts'), url!], { input: '' });
  const { code } = await client.exited;
  expect(client.transcript()).toContain('All as expected.');
  expect(code).toBe(0);
  const children = proxy.descendants();
  expect(await proxy.stop()).toEqual({ code: 0, signal: null });
  expect(proxy.stdout()).toMatch(/Statistics: \d+ calls, \d+ successful, 1 failed, 3 refused/);
  expect(proxy.stdout()).toMatch(/math: 11 calls/);
  expect(children.length).toBeGreaterThan(0);
  await expectNoSurvivors(children);
});

it('the client of the full proxy notices a proxy that is wrong', async () => {
  verifies('R1-49');
  await using client = await startChild(
    process.execPath,
    [join(EXAMPLES, 'proxy/client.ts'), 'http://127.0.0.1:1/mcp'],
    {
      input: '',
    },
  );
  expect((await client.exited).code).toBe(1);
});

it('the embedded gateway answers and ends by itself', async () => {
  verifies('R1-49', 'R1-47');
  await using program = await startChild(process.execPath, [join(EXAMPLES, 'embed/embed.ts')], { input: '' });
  const { code } = await program.exited;
  expect(program.transcript()).toContain('tools/call math/math_add answered');
  expect(program.stdout()).toContain('math_add ran 1 times, 0 calls were refused');
  expect(code).toBe(0);
});
