import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { verifies } from '@tollgate/testkit';
import { startChild } from '@tollgate/testkit/child';
import { createFakeClock } from '@tollgate/testkit/fake-clock';
import { findProgram } from '@tollgate/testkit/services';
import { temporaryDirectory } from '@tollgate/testkit/temporary-directory';
import { waitUntil } from '@tollgate/testkit/wait';
import { describe, expect, it } from 'vitest';
import { type Log, silentLog } from '../core/log.ts';
import { storageContract } from './fixtures/contract.ts';
import type { Retention } from './options.ts';
import { openStore, type Store } from './store.ts';

const full = process.env['TOLLGATE_PROOF'] === 'full';
function opened(folder: string, log: Log = silentLog, keep: Retention = {}): Promise<Store> {
  return openStore(
    { dataDir: folder, sql: { kind: 'sqlite', file: 'tollgate.db' }, keep },
    { log, clock: createFakeClock() },
  );
}

storageContract('SQLite', async () => {
  const folder = await temporaryDirectory('store');
  const store = await opened(folder.path, silentLog, { admissions: 1000, accessRefusals: 200 });
  return {
    storage: store,
    close: async () => {
      await store.close();
      await folder[Symbol.asyncDispose]();
    },
  };
});

const hold = (id: string, principal = 'ci/ci') => ({
  id,
  at: 1,
  principal,
  server: 'exa',
  tool: 'exa/search',
  endpoint: '/mcp',
  expiresAt: 1000,
  estimate: { USD: 100 },
  postings: [{ rule: 'spend', key: '00000000000000aa', windowStart: 0, unit: 'USD' }],
});

describe('an SQLite storage', () => {
  it.each(['tollgate.db', 'tollgate.db-wal'])('is opened through no link at %s', async (name) => {
    await using folder = await temporaryDirectory('store');
    const victim = join(folder.path, 'victim.db');
    const other = new DatabaseSync(victim);
    other.exec('create table mine (a)');
    const dataDir = join(folder.path, 'data');
    mkdirSync(dataDir);
    symlinkSync(victim, join(dataDir, name));
    await expect(opened(dataDir)).rejects.toMatchObject({ code: 'config_invalid' });
    expect(other.prepare('select count(*) as n from sqlite_master').get()).toEqual({ n: 1 });
    other.close();
  });

  it('that came with a repository is not believed, and left as it is', async () => {
    await using folder = await temporaryDirectory('store');
    const file = join(folder.path, 'tollgate.db');
    await (await opened(folder.path)).close();
    // As a checkout leaves it.
    chmodSync(file, 0o644);
    const before = readFileSync(file);
    const refused = { code: 'config_invalid', message: expect.stringMatching(/tollgate\.db is not used.+chmod 600/) };
    await expect(opened(folder.path)).rejects.toMatchObject(refused);
    expect([statSync(file).mode & 0o777, readFileSync(file).equals(before)]).toEqual([0o644, true]);
    chmodSync(file, 0o600);
    await (await opened(folder.path)).close();
  });

  it.each(['-wal', '-journal'])('replays no log that came with a repository: %s', async (suffix) => {
    await using folder = await temporaryDirectory('store');
    await (await opened(folder.path)).close();
    const planted = join(folder.path, `tollgate.db${suffix}`);
    writeFileSync(planted, 'planted');
    chmodSync(planted, 0o644);
    await expect(opened(folder.path)).rejects.toMatchObject({
      code: 'config_invalid',
      message: expect.stringContaining(`${planted} is not used`),
    });
    expect(readFileSync(planted, 'utf8')).toBe('planted');
  });

  it('keeps tiers and costs over a restart, in files of its own user only', async () => {
    verifies('R0-21', 'R0-23');
    await using folder = await temporaryDirectory('store');
    const dataDir = join(folder.path, 'made/by/it');
    const first = await opened(dataDir);
    await first.tiers.setTier('ci/ci', 'premium', 'ops', 1);
    await first.ledger.open([hold('h1')]);
    const id = await first.settings.ledgerId();
    await first.journal.append(Buffer.from('x'), 'os');
    const mode = (name: string) => statSync(join(dataDir, name)).mode & 0o777;
    expect(readdirSync(dataDir).map((name) => [name, mode(name)])).toEqual([
      ['state', 0o700],
      ['tollgate.db', 0o600],
      ['tollgate.db-shm', 0o600],
      ['tollgate.db-wal', 0o600],
    ]);
    expect(mode('.')).toBe(0o700);
    await first.close();
    const second = await opened(dataDir);
    expect((await second.tiers.tier('ci/ci'))?.tier).toBe('premium');
    expect(await second.ledger.spent({ rule: 'spend' })).toMatchObject({ open: 100 });
    expect(await second.settings.ledgerId()).toBe(id);
    await second.close();
  });

  it('refuses a key of the wrong length', async () => {
    const options = {
      dataDir: '/nonexistent',
      sql: { kind: 'sqlite', file: 'x' },
      encryptionKey: Buffer.alloc(16),
    } as const;
    await expect(openStore(options, { log: silentLog, clock: createFakeClock() })).rejects.toMatchObject({
      code: 'config_invalid',
    });
  });

  it('has every hold that it took when its process is killed', async () => {
    verifies('R0-21');
    for (let round = 0; round < (full ? 20 : 1); round++) {
      await using folder = await temporaryDirectory('store');
      const script = join(import.meta.dirname, 'fixtures/ledger-child.ts');
      await using child = await startChild(process.execPath, [script, folder.path]);
      await child.waitFor(/\n[3-9]\d\n/);
      child.signal('SIGKILL');
      await child.exited;
      const taken = Number(child.stdout().trim().split('\n').at(-1)) + 1;
      const store = await opened(folder.path);
      const { settled, open } = await store.ledger.spent({ rule: 'spend' });
      const holds = (await store.ledger.openHolds()).items.length;
      expect(open).toBe(100 * holds);
      expect(settled + holds).toBeGreaterThanOrEqual(taken);
      expect(settled + holds).toBeLessThanOrEqual(taken + 1);
      expect(settled).toBeGreaterThanOrEqual(Math.ceil(taken / 2));
      await store.close();
      const check = new DatabaseSync(join(folder.path, 'tollgate.db'));
      expect(check.prepare('pragma integrity_check').get()).toEqual({ integrity_check: 'ok' });
      check.close();
    }
  });

  it('moves a file that is no database aside, says so, remembers it, and goes on empty', async () => {
    verifies('R0-22');
    await using folder = await temporaryDirectory('store');
    const file = join(folder.path, 'tollgate.db');
    writeFileSync(file, 'this is no database '.repeat(500), { mode: 0o600 });
    const errors: object[] = [];
    const store = await opened(folder.path, { ...silentLog, error: (fields) => void errors.push(fields) });
    const aside = readdirSync(folder.path).find((name) => name.startsWith('tollgate.db.corrupt-'));
    const movedTo = join(folder.path, aside!);
    expect(readFileSync(movedTo, 'utf8')).toContain('this is no database');
    expect(errors).toEqual([{ state: 'corrupt', movedTo }]);
    expect(await store.ledger.openHolds()).toEqual({ items: [], next: undefined });
    await store.close();
    const again = await opened(folder.path);
    expect(await again.settings.get('ledger_lost')).toBe(movedTo);
    await again.close();
  });

  it('waits for the transaction of another process on the same file', async () => {
    await using folder = await temporaryDirectory('store');
    const store = await opened(folder.path);
    const other = new DatabaseSync(join(folder.path, 'tollgate.db'));
    other.exec('begin immediate');
    const waiting = store.tiers.setTier('a', 'basic', 'ops', 1);
    setTimeout(() => other.exec('commit'), 50);
    await waiting;
    expect((await store.tiers.tier('a'))?.tier).toBe('basic');
    other.close();
    await store.close();
  });

  it('grows with the number of clients and no faster', async () => {
    verifies('R0-61');
    const sizes: number[] = [];
    for (const clients of full ? [1_000, 10_000, 100_000] : [500, 5_000]) {
      await using folder = await temporaryDirectory('store');
      const store = await opened(folder.path);
      for (let i = 0; i < clients; i += 500) {
        await store.ledger.open(Array.from({ length: 500 }, (_, j) => hold(`h${i + j}`, `keys/client-${i + j}`)));
      }
      await store.close();
      sizes.push(statSync(join(folder.path, 'tollgate.db')).size / clients);
    }
    if (full) console.log(`bytes a client with one hold: ${sizes.map(Math.round).join(', ')}`);
    expect(sizes.at(-1)! / sizes[0]!).toBeLessThan(1.2);
  });
});

/** A file system of 2 MB of its own; undefined where this process may not mount one. */
function smallDisk(path: string): Disposable | undefined {
  const [mount, unmount] = [findProgram('mount'), findProgram('umount')];
  mkdirSync(path);
  const args = ['-t', 'tmpfs', '-o', 'size=2m,mode=700', 'tmpfs', path];
  if (mount === undefined || unmount === undefined || spawnSync(mount, args).status !== 0) return undefined;
  return { [Symbol.dispose]: () => void spawnSync(unmount, ['-l', path]) };
}

describe('a full disk', () => {
  it('refuses writes with a clear error, damages nothing, and is used again when there is room', async ({ skip }) => {
    verifies('R0-24');
    await using parent = await temporaryDirectory('full');
    const folder = { path: join(parent.path, 'disk') };
    using disk = smallDisk(folder.path);
    // Without the right to mount, the file system that fails as the kernel does (journal.test.ts) stands for it.
    if (disk === undefined) skip();
    const said: string[] = [];
    const note = (_: object, message: string) => void said.push(message);
    const store = await opened(folder.path, { ...silentLog, error: note, info: note });
    await store.ledger.open([hold('h1')]);
    await store.journal.append(Buffer.from('kept'), 'disk');
    const ballast = join(folder.path, 'ballast');
    expect(() => writeFileSync(ballast, Buffer.alloc(4 * 1024 * 1024))).toThrow('ENOSPC');

    const record = Buffer.alloc(30_000, 1);
    const lost = await Promise.allSettled(Array.from({ length: 5 }, () => store.journal.append(record, 'disk')));
    expect(lost.every((one) => one.status === 'rejected' && one.reason.code === 'storage_unavailable')).toBe(true);
    await expect(store.journal.append(record, 'os')).rejects.toMatchObject({
      message: expect.stringContaining('ENOSPC'),
    });
    await expect(store.journal.snapshot([record])).rejects.toMatchObject({ code: 'storage_unavailable' });
    expect(store.journal.health().state).toBe('failing');
    const many = Array.from({ length: 3000 }, (_, i) => hold(`big-${i}`));
    await expect(store.ledger.open(many)).rejects.toMatchObject({ code: 'storage_unavailable' });
    await waitUntil('the probe', () => store.health().lastError !== undefined);
    expect(said.filter((message) => message.includes('journal'))).toHaveLength(1);
    expect(await store.ledger.spent({ rule: 'spend' })).toMatchObject({ total: 100 });

    rmSync(ballast);
    await store.journal.append(Buffer.from('after'), 'disk');
    expect(store.journal.health().state).toBe('up');
    expect(said.filter((message) => message.includes('journal'))).toHaveLength(2);
    await waitUntil('up', () => store.health().sql === 'up');
    expect(await store.ledger.open([hold('h2')])).toMatchObject([{ changed: true }]);
    await store.close();
    const again = await opened(folder.path);
    const found = await again.journal.recover();
    expect(found.report.state).not.toBe('corrupt');
    expect([...found.records].map((bytes) => Buffer.from(bytes).toString())).toEqual(['kept', 'after']);
    expect(await again.ledger.spent({ rule: 'spend' })).toMatchObject({ total: 200 });
    await again.close();
  });
});
