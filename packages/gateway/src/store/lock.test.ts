import { readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { verifies } from '@tollgate/testkit';
import { startChild } from '@tollgate/testkit/child';
import { temporaryDirectory } from '@tollgate/testkit/temporary-directory';
import { describe, expect, it } from 'vitest';
import { systemClock } from '../core/clock.ts';
import { silentLog } from '../core/log.ts';
import { lockState } from './lock.ts';

const deps = { log: silentLog, clock: systemClock };
const optionsOf = (dataDir: string) => ({ dataDir, sql: { kind: 'sqlite', file: 'tollgate.db' } }) as const;

describe('the lock of a folder', () => {
  it('keeps a second gateway out, names the ways out, and ends with its process', async () => {
    verifies('R0-23');
    await using folder = await temporaryDirectory('lock');
    const script = join(import.meta.dirname, 'fixtures/lock-child.ts');
    await using child = await startChild(process.execPath, [script, folder.path]);
    await child.waitFor(/locked/);
    await expect(lockState(optionsOf(folder.path), deps)).rejects.toMatchObject({
      code: 'storage_locked',
      message: expect.stringMatching(new RegExp(`${folder.path}.*state: redis.*tollgate --stdio.*dataDir`)),
    });
    await using second = await startChild(process.execPath, [script, folder.path]);
    expect((await second.exited).code).toBe(1);
    expect(second.stderr()).toContain('storage_locked');
    child.signal('SIGKILL');
    await child.exited;
    const mine = await lockState(optionsOf(folder.path), deps);
    expect(mine.state()).toBe('held');
    await expect(lockState(optionsOf(folder.path), deps)).rejects.toMatchObject({ code: 'storage_locked' });
    await mine.release();
    await mine.release();
    await (await lockState(optionsOf(folder.path), deps)).release();
  });

  it('is taken through no link', async () => {
    await using folder = await temporaryDirectory('lock');
    const victim = join(folder.path, 'victim');
    await writeFile(victim, '', { mode: 0o644 });
    await symlink(victim, join(folder.path, 'state.lock'));
    await expect(lockState(optionsOf(folder.path), deps)).rejects.toMatchObject({
      code: 'config_invalid',
      message: expect.stringContaining('is a link'),
    });
    expect(await readFile(victim, 'utf8')).toBe('');
    expect((await stat(victim)).mode & 0o777).toBe(0o644);
  });

  it('refuses a folder that every user may write to', async () => {
    verifies('R0-23');
    await expect(lockState(optionsOf('/tmp'), deps)).rejects.toMatchObject({ code: 'config_invalid' });
  });
});
