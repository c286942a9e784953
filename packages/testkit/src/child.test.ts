import { describe, expect, it } from 'vitest';
import { expectNoSurvivors, startChild } from './child.ts';
import { residentBytes, survivors } from './process-table.ts';

const FAKE_STDIO = `${import.meta.dirname}/fake-stdio.ts`;

describe('a child process under test', () => {
  it('waits for a line, keeps the output, gets real signals', async () => {
    const program = `process.on('SIGUSR2', () => { console.log('got it'); process.exit(4) }); console.log('ready'); setInterval(() => {}, 1000)`;
    await using child = await startChild(process.execPath, ['-e', program]);
    await child.waitFor(/ready/);
    expect(residentBytes(child.pid)).toBeGreaterThan(1_000_000);
    child.signal('SIGUSR2');
    expect(await child.exited).toEqual({ code: 4, signal: null });
    expect(child.stdout()).toBe('ready\ngot it\n');
  });

  it('reports a child that ends before the line, with its output', async () => {
    await using child = await startChild(process.execPath, ['-e', `console.error('no config'); process.exit(2)`]);
    await expect(child.waitFor(/ready/)).rejects.toThrow(/no config/);
  });

  it('finds grandchildren, and ends them with the tree', async () => {
    const child = await startChild(process.execPath, [FAKE_STDIO, '{"grandchild":true,"stubborn":true}']);
    await child.waitFor(/fake-stdio \d+ up/);
    const tree = child.descendants();
    expect(tree).toHaveLength(1);
    child.signal('SIGKILL');
    await child.exited;
    expect(survivors(tree)).toHaveLength(1);
    await expect(expectNoSurvivors(tree, 50)).rejects.toThrow(/Left running/);
    await child[Symbol.asyncDispose]();
    await expectNoSurvivors(tree);
  });

  it('ends with the program that started it, when that is interrupted', async () => {
    const child = JSON.stringify(`${import.meta.dirname}/child.ts`);
    const program = `
      const { startChild } = await import(${child});
      await startChild(process.execPath, ['-e', 'setInterval(() => {}, 1000)']);
      console.log('started'); setInterval(() => {}, 1000)`;
    await using parent = await startChild(process.execPath, ['--input-type=module', '-e', program]);
    await parent.waitFor(/started/);
    const tree = parent.descendants();
    expect(tree).toHaveLength(1);
    parent.signal('SIGTERM');
    expect(await parent.exited).toEqual({ code: null, signal: 'SIGTERM' });
    await expectNoSurvivors(tree);
  });

  it('fails a stop that needs force', async () => {
    await using child = await startChild(process.execPath, [FAKE_STDIO, '{"stubborn":true}']);
    await child.waitFor(/up/);
    await expect(child.stop('SIGTERM', 200)).rejects.toThrow(/Did not end within 200 ms of SIGTERM/);
  });
});
