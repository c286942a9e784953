import { describe, expect, it } from 'vitest';
import { startChild } from './child.ts';
import { findProgram } from './services.ts';
import { temporaryDirectory } from './temporary-directory.ts';

const SERVICES = `${import.meta.dirname}/services.ts`;

describe('the services set-up', () => {
  it('finds programs in the search path, and says undefined for what is not there', () => {
    expect(findProgram('sh')).toMatch(/\/sh$/);
    expect(findProgram('no-such-program-anywhere')).toBeUndefined();
  });

  it('fails in one line that names both variables when it may not install', async () => {
    await using folder = await temporaryDirectory('services');
    const program = `
      process.getuid = () => 1000;
      const { install } = await import(${JSON.stringify(SERVICES)});
      try { install('redis-server', 'TEST_REDIS_URL', () => undefined) } catch (error) { console.log(error.message) }`;
    await using child = await startChild(process.execPath, ['--input-type=module', '-e', program], {
      cwd: folder.path,
    });
    await child.exited;
    const lines = child.stdout().trim().split('\n');
    expect(lines).toHaveLength(1);
    expect(lines[0]).toContain('TEST_REDIS_URL');
    expect(lines[0]).toContain('TEST_POSTGRES_URL');
  });
});
