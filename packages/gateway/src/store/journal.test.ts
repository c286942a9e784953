import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { verifies } from '@tollgate/testkit';
import { startChild } from '@tollgate/testkit/child';
import { createFakeClock } from '@tollgate/testkit/fake-clock';
import { type TemporaryDirectory, temporaryDirectory } from '@tollgate/testkit/temporary-directory';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Log, silentLog } from '../core/log.ts';
import type { FileSystem } from './file-system.ts';
import { nodeFileSystem } from './file-system.ts';
import { type Recovery, ThreadJournal } from './journal.ts';
import { journalThread } from './journal-thread.ts';
import { JournalWriter } from './journal-writer.ts';
import type { StoreOptions } from './options.ts';
import { StoreThread } from './thread.ts';

const full = process.env['TOLLGATE_PROOF'] === 'full';
const KEY = Buffer.alloc(32, 7);
const text = (bytes: Uint8Array) => Buffer.from(bytes).toString();
const texts = (recovery: Recovery) => [...recovery.records].map(text);

interface OpenJournal {
  readonly journal: ThreadJournal;
  close(): Promise<void>;
}

const optionsOf = (folder: string, more: Partial<StoreOptions>): StoreOptions => ({
  dataDir: folder,
  sql: { kind: 'sqlite', file: 'tollgate.db' },
  ...more,
});

/** The journal with what its thread does, but in this one: a thread costs more to start than most tests take. */
async function opened(folder: string, more: Partial<StoreOptions> = {}, log: Log = silentLog): Promise<OpenJournal> {
  const service = journalThread(optionsOf(folder, more)) as Record<string, (...args: unknown[]) => unknown>;
  const request = async (method: string, args: readonly unknown[]) => service[method]!(...args);
  const journal = new ThreadJournal({ request }, log, createFakeClock());
  return {
    journal,
    close: async () => {
      journal.close();
      await request('close', []);
    },
  };
}

/** The same with its real thread. */
function threaded(folder: string, more: Partial<StoreOptions>): OpenJournal {
  const thread = new StoreThread('journal', optionsOf(folder, more), silentLog);
  const journal = new ThreadJournal(thread, silentLog, createFakeClock());
  return {
    journal,
    close: async () => {
      journal.close();
      await thread.close(5_000);
    },
  };
}

/** Appends `records`, after a snapshot of `base` when there is one, and closes. */
async function written(folder: string, records: readonly string[], base?: string, more: Partial<StoreOptions> = {}) {
  const store = await opened(folder, more);
  if (base !== undefined) await store.journal.snapshot([Buffer.from(base)]);
  for (const record of records) await store.journal.append(Buffer.from(record), 'os');
  await store.close();
}

async function recovered(folder: string, more: Partial<StoreOptions> = {}): Promise<Recovery> {
  const store = await opened(folder, more);
  try {
    return await store.journal.recover();
  } finally {
    await store.close();
  }
}

function files(folder: TemporaryDirectory, kind: string): string[] {
  const state = join(folder.path, 'state');
  return readdirSync(state)
    .filter((name) => name.startsWith(kind) && name.endsWith('.tg'))
    .sort()
    .map((name) => join(state, name));
}

const forms = [
  ['plain', {}],
  ['compressed', { compress: true }],
  ['encrypted', { encryptionKey: KEY }],
  ['compressed and encrypted', { compress: true, encryptionKey: KEY }],
] as const;

describe('state that came with a repository', () => {
  it.each(['journal', 'snapshot'])('is not believed, and is left as it is: %s', async (kind) => {
    await using folder = await temporaryDirectory('journal');
    await written(folder.path, ['counted'], 'held');
    const [planted] = files(folder, kind);
    const before = readFileSync(planted!);
    // As a checkout leaves it, and as one for a group or with a stray bit would.
    for (const mode of [0o644, 0o640, 0o601]) {
      chmodSync(planted!, mode);
      await expect(recovered(folder.path)).rejects.toMatchObject({
        code: 'config_invalid',
        message: expect.stringMatching(/\.tg is not used.+chmod 600/),
      });
      expect([statSync(planted!).mode & 0o777, readFileSync(planted!).equals(before)]).toEqual([mode, true]);
    }
    chmodSync(planted!, 0o600);
    expect(texts(await recovered(folder.path))).toEqual(['counted']);
  });

  it('is not reached through a link, of a file or of the whole folder', async () => {
    await using mine = await temporaryDirectory('journal');
    await using theirs = await temporaryDirectory('journal');
    await written(mine.path, ['counted']);
    const refused = { code: 'config_invalid', message: expect.stringContaining('is a link') };
    symlinkSync(join(mine.path, 'state'), join(theirs.path, 'state'));
    await expect(recovered(theirs.path)).rejects.toMatchObject(refused);
    rmSync(join(theirs.path, 'state'));
    mkdirSync(join(theirs.path, 'state'));
    symlinkSync(files(mine, 'journal')[0]!, join(theirs.path, 'state/journal-00000001.tg'));
    await expect(recovered(theirs.path)).rejects.toMatchObject(refused);
    expect(texts(await recovered(mine.path))).toEqual(['counted']);
  });
});

describe('the journal', () => {
  it.each(forms)('recovers snapshot and later records, in order (%s)', async (_name, form) => {
    verifies('R0-21', 'R0-25', 'R0-27');
    await using folder = await temporaryDirectory('journal');
    expect((await recovered(folder.path, form)).report).toEqual({ state: 'absent', records: 0, bytes: 0 });
    const store = await opened(folder.path, form);
    const secret = 'principal ci/ci '.repeat(40);
    await store.journal.append(Buffer.from(`before ${secret}`), 'disk');
    const last = store.journal.append(Buffer.from('last before'), 'os');
    const snapshot = store.journal.snapshot([Buffer.from(secret), Buffer.alloc(0), Buffer.from('two')]);
    const after = [store.journal.append(Buffer.from('after 1'), 'os'), store.journal.append(Buffer.alloc(0), 'disk')];
    await Promise.all([last, snapshot, ...after]);
    await store.close();

    const names = readdirSync(join(folder.path, 'state'));
    expect(names.map((name) => statSync(join(folder.path, 'state', name)).mode & 0o777)).toEqual(
      names.map(() => 0o600),
    );
    expect(statSync(join(folder.path, 'state')).mode & 0o777).toBe(0o700);
    const [snapshotFile] = files(folder, 'snapshot');
    const bytes = readFileSync(snapshotFile!);
    expect(bytes.includes('principal ci/ci')).toBe(form === forms[0][1]);
    if ('compress' in form) expect(bytes.length).toBeLessThan(secret.length / 2);

    for (let restart = 0; restart < 2; restart++) {
      const found = await recovered(folder.path, form);
      expect(found.report).toMatchObject({ state: 'clean', records: 2 });
      expect([...found.snapshot].map(text)).toEqual([secret, '', 'two']);
      expect(texts(found)).toEqual(['after 1', '']);
    }
  });

  it('keeps every record of several runs until the next snapshot, which removes the files before it', async () => {
    await using folder = await temporaryDirectory('journal');
    await written(folder.path, ['a', 'b']);
    await written(folder.path, ['c']);
    expect(texts(await recovered(folder.path))).toEqual(['a', 'b', 'c']);
    await written(folder.path, ['e'], 'abc');
    expect([files(folder, 'journal').length, files(folder, 'snapshot').length]).toEqual([1, 1]);
    const found = await recovered(folder.path);
    expect([[...found.snapshot].map(text), texts(found)]).toEqual([['abc'], ['e']]);
  });

  it('takes a snapshot whose parts are made while records are appended', async () => {
    await using folder = await temporaryDirectory('journal');
    const store = await opened(folder.path);
    await store.journal.append(Buffer.from('covered'), 'os');
    async function* parts() {
      for (let i = 0; i < 3; i++) {
        await store.journal.append(Buffer.from(`during ${i}`), 'os');
        yield new Uint8Array(new Uint8Array(1000).fill(65 + i).buffer, 10, 4);
      }
    }
    const running = store.journal.snapshot(parts());
    await expect(store.journal.snapshot([])).rejects.toMatchObject({ code: 'storage_unavailable' });
    await running;
    expect(store.journal.size()).toBe(3 * (4 + 'during 0'.length));
    await store.close();
    const found = await recovered(folder.path);
    expect([...found.snapshot].map(text)).toEqual(['AAAA', 'BBBB', 'CCCC']);
    expect(texts(found)).toEqual(['during 0', 'during 1', 'during 2']);
  });

  it('leaves the old state in place when the owner fails in the middle of a snapshot', async () => {
    await using folder = await temporaryDirectory('journal');
    await written(folder.path, ['a'], 'base');
    const store = await opened(folder.path);
    function* failing() {
      yield Buffer.from('half');
      throw new Error('out of luck');
    }
    await expect(store.journal.snapshot(failing())).rejects.toThrow('out of luck');
    await store.journal.append(Buffer.from('b'), 'os');
    await store.close();
    expect(readdirSync(join(folder.path, 'state')).filter((name) => name.endsWith('.tmp'))).toEqual([]);
    const found = await recovered(folder.path);
    expect([[...found.snapshot].map(text), texts(found)]).toEqual([['base'], ['a', 'b']]);
  });

  it('refuses another key, a missing key and a newer form, and takes up a key for files that had none', async () => {
    verifies('R0-25');
    await using folder = await temporaryDirectory('journal');
    await written(folder.path, ['plain'], 'base');
    await written(folder.path, ['sealed'], undefined, { encryptionKey: KEY });
    expect(texts(await recovered(folder.path, { encryptionKey: KEY }))).toEqual(['plain', 'sealed']);
    for (const wrong of [{}, { encryptionKey: Buffer.alloc(32, 8) }]) {
      await expect(recovered(folder.path, wrong)).rejects.toMatchObject({
        code: 'storage_incompatible',
        message: expect.stringContaining('is encrypted'),
      });
    }
    expect(texts(await recovered(folder.path, { encryptionKey: KEY }))).toEqual(['plain', 'sealed']);
  });

  it('recovers a hundred thousand records, damaged or not, without loss of those before the damage', async () => {
    verifies('R0-22', 'R0-58');
    await using folder = await temporaryDirectory('journal');
    const store = threaded(folder.path, { compress: true, encryptionKey: KEY });
    for (let i = 0; i < 100_000; i += 100) {
      const turn = Array.from({ length: 100 }, (_, j) => store.journal.append(Buffer.from(`record ${i + j}`), 'os'));
      await Promise.all(turn);
    }
    await store.close();
    const [file] = files(folder, 'journal');
    const bytes = readFileSync(file!);
    bytes[bytes.length - 1000] = bytes[bytes.length - 1000]! ^ 1;
    writeFileSync(file!, bytes);
    const again = threaded(folder.path, { compress: true, encryptionKey: KEY });
    const begun = performance.now();
    const found = await again.journal.recover();
    let last = '';
    let count = 0;
    for (const record of found.records) {
      count++;
      last = text(record);
    }
    const took = performance.now() - begun;
    if (full) console.log(`100,000 records recovered in ${took.toFixed(1)} ms`);
    await again.close();
    expect(found.report).toMatchObject({ state: 'corrupt', records: count });
    expect(count).toBeGreaterThan(99_000);
    expect(last).toBe(`record ${count - 1}`);
  });
});

describe('damage to the files', () => {
  it.each(
    forms,
  )('never delivers what was not written, wherever a byte flips or the file ends (%s)', async (_name, form) => {
    verifies('R0-22');
    await using folder = await temporaryDirectory('journal');
    const sealing = { key: 'encryptionKey' in form ? KEY : undefined, compress: 'compress' in form };
    const records = Array.from({ length: 12 }, (_, i) => `record ${i} ${'x'.repeat(i * 20)}`);
    const make = (name: string) => {
      const path = join(folder.path, name);
      const writer = new JournalWriter(nodeFileSystem, path, sealing);
      for (const record of records) {
        const content = Buffer.alloc(4 + record.length);
        content.writeUInt32LE(record.length, 0);
        content.write(record, 4);
        writer.append(content, 1);
      }
      return { path, closed: writer.close() };
    };
    const original = make('original');
    await original.closed;
    const file = join(original.path, readdirSync(original.path)[0]!);
    const intact = readFileSync(file);
    let run = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 0, max: intact.length - 1 }),
        fc.constantFrom('flip', 'cut', 'zero the rest', 'append garbage'),
        fc.integer({ min: 1, max: 255 }),
        async (at, damage, bits) => {
          const path = join(folder.path, `run-${run++}`);
          nodeFileSystem.mkdir(path);
          let bytes = Buffer.from(intact);
          if (damage === 'flip') bytes[at] = bytes[at]! ^ bits;
          else if (damage === 'cut') bytes = bytes.subarray(0, at);
          else if (damage === 'zero the rest') bytes.fill(0, at);
          else bytes = Buffer.concat([bytes, Buffer.alloc(20, bits)]);
          writeFileSync(join(path, 'journal-00000001.tg'), bytes);
          const found = new JournalWriter(nodeFileSystem, path, sealing).recover(1);
          const delivered = found.journal.map((frame) => text(frame.subarray(4)));
          expect(delivered).toEqual(records.slice(0, delivered.length));
          expect(found.report.records).toBe(delivered.length);
          const lost = delivered.length < records.length || damage === 'append garbage';
          if (lost && at > 0 && damage === 'flip') expect(['corrupt', 'torn']).toContain(found.report.state);
          // A flip that is not in the last frame is damage, never taken for an unfinished write.
          if (damage === 'flip' && delivered.length < records.length - 1) expect(found.report.state).toBe('corrupt');
          if (damage === 'cut') expect(found.report.state).not.toBe('corrupt');
          if (found.report.state === 'corrupt') {
            expect(found.report.movedTo).toBe(join(path, 'journal-00000001.tg.corrupt-1'));
            // What was delivered stays for the next start, which finds no damage any more.
            const again = new JournalWriter(nodeFileSystem, path, sealing).recover(2);
            expect(again.journal.map((frame) => text(frame.subarray(4)))).toEqual(delivered);
            expect(again.report.state).toBe(delivered.length === 0 ? 'absent' : 'clean');
          }
        },
      ),
      { numRuns: full ? 1500 : 80 },
    );
  });

  it('starts empty, and says so, when the snapshot is damaged', async () => {
    verifies('R0-22');
    await using folder = await temporaryDirectory('journal');
    await written(folder.path, ['a', 'b'], 'base '.repeat(10));
    const [file] = files(folder, 'snapshot');
    const bytes = readFileSync(file!);
    bytes[70] = bytes[70]! ^ 255;
    writeFileSync(file!, bytes);
    const errors: string[] = [];
    const log = { ...silentLog, error: (_: object, message: string) => void errors.push(message) };
    const store = await opened(folder.path, {}, log);
    const found = await store.journal.recover();
    expect(found.report).toMatchObject({ state: 'corrupt', records: 0, movedTo: expect.stringContaining('.corrupt-') });
    expect([[...found.snapshot], texts(found)]).toEqual([[], []]);
    expect(errors).toEqual([expect.stringContaining('damaged')]);
    await store.journal.append(Buffer.from('new'), 'disk');
    await store.close();
    expect(texts(await recovered(folder.path))).toEqual(['new']);
  });

  it('does not accept a frame of another file or place under encryption', async () => {
    verifies('R0-25');
    await using folder = await temporaryDirectory('journal');
    await written(folder.path, ['first!', 'second'], undefined, { encryptionKey: KEY });
    const [file] = files(folder, 'journal');
    const bytes = readFileSync(file!);
    const half = (bytes.length - 48) / 2;
    const swapped = Buffer.concat([bytes.subarray(0, 48), bytes.subarray(48 + half), bytes.subarray(48, 48 + half)]);
    writeFileSync(file!, swapped);
    const found = await recovered(folder.path, { encryptionKey: KEY });
    expect([found.report.state, texts(found)]).toEqual(['corrupt', []]);
  });
});

describe('a process that is killed', () => {
  it.each(['os', 'disk'] as const)('has every record that was reported written (%s)', async (durability) => {
    verifies('R0-21', 'R0-22');
    for (let round = 0; round < (full ? 20 : 1); round++) {
      await using folder = await temporaryDirectory('journal');
      const script = join(import.meta.dirname, 'fixtures/journal-child.ts');
      await using child = await startChild(process.execPath, [script, folder.path, durability]);
      await child.waitFor(new RegExp(`\\n${round % 2 === 0 ? '[1-9]\\d\\d' : '50'}\\n`));
      child.signal('SIGKILL');
      await child.exited;
      const acknowledged = Number(child.stdout().trim().split('\n').at(-1));
      const found = await recovered(folder.path, { compress: true, encryptionKey: KEY });
      expect(['clean', 'torn']).toContain(found.report.state);
      expect([...found.snapshot].map(text)).toEqual(['base']);
      const records = texts(found);
      expect(records.length).toBeGreaterThanOrEqual(acknowledged);
      expect(records).toEqual(records.map((_, i) => `record ${i}`));
    }
  });
});

/** A file system that fails as the kernel does where `fail` says so. */
function failing(fail: { write?: string; sync?: string; create?: string }): FileSystem {
  const refuse = (code: string | undefined) => {
    if (code !== undefined) throw Object.assign(new Error(`${code}: failed`), { code });
  };
  return {
    ...nodeFileSystem,
    create: (path) => {
      refuse(fail.create);
      return nodeFileSystem.create(path);
    },
    write: (fd, bytes, from) => {
      if (fail.write === undefined) return nodeFileSystem.write(fd, bytes.subarray(0, from + 7), from);
      // A full disk takes a part first.
      if (from === 0 && bytes.length > 10) return nodeFileSystem.write(fd, bytes.subarray(0, 5), 0);
      refuse(fail.write);
      return 0;
    },
    syncLater: async (fd) => {
      refuse(fail.sync);
      await nodeFileSystem.syncLater(fd);
    },
  };
}

describe('a disk that fails', () => {
  const framed = (record: string) => Buffer.concat([Buffer.from([record.length, 0, 0, 0]), Buffer.from(record)]);

  it.each([
    'ENOSPC',
    'EIO',
    'EACCES',
    'EROFS',
  ])('loses only what it refused, and is used again after %s', async (code) => {
    verifies('R0-24');
    await using folder = await temporaryDirectory('journal');
    const fail: Parameters<typeof failing>[0] = {};
    const writer = new JournalWriter(failing(fail), folder.path, { key: undefined, compress: false });
    writer.append(framed('one'), 1);
    fail.write = code;
    expect(() => writer.append(framed('two'), 1)).toThrow(code);
    delete fail.write;
    writer.append(framed('three'), 1);
    fail.write = code;
    fail.create = code;
    for (let i = 0; i < 2; i++) expect(() => writer.append(framed('four'), 1)).toThrow(code);
    expect(() => writer.snapshot().add(framed('part'))).toThrow(code);
    delete fail.write;
    delete fail.create;
    fail.sync = code;
    writer.append(framed('written'), 1);
    await expect(writer.sync()).rejects.toThrow(code);
    delete fail.sync;
    writer.append(framed('five'), 1);
    await writer.sync();
    await writer.close();
    const found = new JournalWriter(nodeFileSystem, folder.path, { key: undefined, compress: false }).recover(1);
    expect(found.report.state).not.toBe('corrupt');
    expect(found.journal.map((frame) => text(frame.subarray(4)))).toEqual(['one', 'three', 'written', 'five']);
  });

  it('shares one sync among all that wait for the disk', async () => {
    await using folder = await temporaryDirectory('journal');
    let syncs = 0;
    const fs = {
      ...nodeFileSystem,
      syncLater: async (fd: number) => {
        syncs++;
        await nodeFileSystem.syncLater(fd);
      },
    };
    const writer = new JournalWriter(fs, folder.path, { key: undefined, compress: false });
    for (let i = 0; i < 3; i++) {
      await Promise.all(
        Array.from({ length: 50 }, () => {
          writer.append(framed('x'), 1);
          return writer.sync();
        }),
      );
    }
    expect(syncs).toBe(3);
    await writer.close();
  });

  it('is one write for everything that a turn appends', async () => {
    await using folder = await temporaryDirectory('journal');
    const store = await opened(folder.path);
    await Promise.all(Array.from({ length: 500 }, (_, i) => store.journal.append(Buffer.from(`r${i}`), 'os')));
    await store.journal.append(Buffer.alloc(200_000, 1), 'disk');
    await store.close();
    const writer = new JournalWriter(nodeFileSystem, join(folder.path, 'state'), { key: undefined, compress: false });
    const { journal, report } = writer.recover(1);
    expect([journal.length, report.records]).toEqual([2, 501]);
  });

  it('takes nothing more once it is closed', async () => {
    await using folder = await temporaryDirectory('journal');
    const store = await opened(folder.path);
    const last = store.journal.append(Buffer.from('last'), 'disk');
    await store.close();
    await last;
    await expect(store.journal.append(Buffer.from('late'), 'os')).rejects.toMatchObject({ code: 'shutting_down' });
    expect(texts(await recovered(folder.path))).toEqual(['last']);
  });
});
