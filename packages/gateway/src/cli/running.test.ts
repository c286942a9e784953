import { once } from 'node:events';
import { chmod, lstat, mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { temporaryDirectory } from '@tollgate/testkit/temporary-directory';
import { describe, expect, it } from 'vitest';
import { adminToken, findHolder, findRunning, removeRecord, writeRecord } from './running.ts';

describe('the admin token', () => {
  it('is made once, random, in a file for its owner', async () => {
    await using folder = await temporaryDirectory('running');
    const dataDir = join(folder.path, 'data');
    const all = await Promise.all(Array.from({ length: 5 }, () => adminToken(dataDir)));
    expect(new Set(all).size).toBe(1);
    expect(all[0]).toMatch(/^tga_[\w-]{43}$/);
    expect((await lstat(join(dataDir, 'admin.token'))).mode & 0o777).toBe(0o600);
    expect((await lstat(dataDir)).mode & 0o777).toBe(0o700);
    await rm(join(dataDir, 'admin.token'));
    expect(await adminToken(dataDir)).not.toBe(all[0]);
  });

  it('that came with a repository, or that others can read, is not used', async () => {
    await using folder = await temporaryDirectory('running');
    const file = join(folder.path, 'admin.token');
    const planted = `tga_${'x'.repeat(43)}`;
    await writeFile(file, planted);
    for (const mode of [0o644, 0o640, 0o604, 0o660]) {
      await chmod(file, mode);
      await expect(adminToken(folder.path)).rejects.toMatchObject({
        code: 'config_invalid',
        message: expect.stringMatching(/others can read it\. Delete it/),
      });
    }
    await chmod(file, 0o600);
    expect(await adminToken(folder.path)).toBe(planted);
    await writeFile(file, 'short\n');
    await expect(adminToken(folder.path)).rejects.toMatchObject({ code: 'config_invalid' });
    await rm(file);
    const elsewhere = join(folder.path, 'elsewhere');
    await writeFile(elsewhere, planted, { mode: 0o600 });
    await symlink(elsewhere, file);
    await expect(adminToken(folder.path)).rejects.toMatchObject({ code: 'config_invalid' });
  });
});

describe('the record of a running gateway', () => {
  const record = { url: 'http://127.0.0.1:1', control: 'http://127.0.0.1:1', configuration: '/c', startedAt: 'now' };

  it('is for the owner, found while its process lives, and removed by nobody else', async () => {
    await using folder = await temporaryDirectory('running');
    await mkdir(join(folder.path, 'data'));
    const dataDir = join(folder.path, 'data');
    await writeRecord(dataDir, { pid: process.pid, ...record });
    expect((await lstat(join(dataDir, 'gateway.json'))).mode & 0o777).toBe(0o600);
    expect(await findRunning(dataDir)).toMatchObject({ pid: process.pid });
    await removeRecord(dataDir, process.pid + 1);
    expect(await readFile(join(dataDir, 'gateway.json'), 'utf8')).toContain('"pid"');
    await removeRecord(dataDir, process.pid);
    expect(await findRunning(dataDir)).toBeUndefined();
  });

  it('that came with a repository, or is none, is not believed', async () => {
    await using folder = await temporaryDirectory('running');
    const file = join(folder.path, 'gateway.json');
    // Process 1 always lives; whoever believed this would show the admin token to that address.
    const planted = JSON.stringify({ ...record, pid: 1, control: 'http://192.0.2.1/' });
    for (const mode of [0o644, 0o620]) {
      await writeFile(file, planted);
      await chmod(file, mode);
      expect(await findRunning(folder.path)).toBeUndefined();
    }
    await rm(file);
    const elsewhere = join(folder.path, 'elsewhere');
    await writeFile(elsewhere, planted, { mode: 0o600 });
    await symlink(elsewhere, file);
    expect(await findRunning(folder.path)).toBeUndefined();
    await rm(file);
    for (const text of ['null', '{}', '[]', '7', '{"pid":"1"}', JSON.stringify({ ...record, pid: 0 })]) {
      await writeFile(file, text, { mode: 0o600 });
      expect(await findRunning(folder.path), text).toBeUndefined();
      await rm(file);
    }
  });

  it('is written through no link that lies in wait', async () => {
    await using folder = await temporaryDirectory('running');
    const victim = join(folder.path, 'victim');
    await writeFile(victim, 'precious');
    await symlink(victim, join(folder.path, `gateway.json.${process.pid}`));
    await symlink(victim, join(folder.path, 'gateway.json'));
    await writeRecord(folder.path, { pid: process.pid, ...record });
    expect(await readFile(victim, 'utf8')).toBe('precious');
    expect(await findRunning(folder.path)).toMatchObject({ pid: process.pid });
  });

  it('that a crash left counts for nothing when its number belongs to another program', async () => {
    await using folder = await temporaryDirectory('running');
    const closed = createServer().listen(0, '127.0.0.1');
    await once(closed, 'listening');
    const { port } = closed.address() as AddressInfo;
    const left = { ...record, pid: process.ppid, control: `http://127.0.0.1:${port}` };
    await writeRecord(folder.path, left);
    closed.on('connection', (socket) => socket.destroy());
    expect(await findHolder(folder.path)).toMatchObject({ pid: process.ppid });
    closed.close();
    await once(closed, 'close');
    expect(await findRunning(folder.path)).toMatchObject({ pid: process.ppid });
    expect(await findHolder(folder.path)).toBeUndefined();
  });
});
