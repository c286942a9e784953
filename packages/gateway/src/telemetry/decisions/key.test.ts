import { chmod, mkdtemp, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { decisionKey } from './key.ts';

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tollgate-key-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

describe('the key of decision records', () => {
  it('is made once, also by several that start together, and only its owner reads it', async () => {
    const dataDir = join(folder, 'data');
    const keys = await Promise.all(Array.from({ length: 8 }, () => decisionKey(dataDir)));
    expect(new Set(keys.map((key) => key.toString('hex'))).size).toBe(1);
    expect(await decisionKey(dataDir)).toEqual(keys[0]);
    expect(keys[0]).toHaveLength(32);
    expect((await stat(join(dataDir, 'decisions.key'))).mode & 0o777).toBe(0o600);
  });

  it('is not used where others could have made or read it', async () => {
    const file = join(folder, 'decisions.key');
    await writeFile(file, `${'0'.repeat(64)}\n`);
    await chmod(file, 0o644);
    await expect(decisionKey(folder)).rejects.toThrow('others can read it');
    await rm(file);
    await symlink('/etc/hostname', file);
    await expect(decisionKey(folder)).rejects.toThrow('no regular file');
    await rm(file);
    await writeFile(file, 'short', { mode: 0o600 });
    await expect(decisionKey(folder)).rejects.toThrow('64 hexadecimal digits');
  });
});
