import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { verifies } from '@tollgate/testkit';
import { startChild } from '@tollgate/testkit/child';
import { createFakeClock } from '@tollgate/testkit/fake-clock';
import { temporaryDirectory } from '@tollgate/testkit/temporary-directory';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { silentLog } from '../core/log.ts';
import { fileKeys } from '../vault/file-keys.ts';
import { vaultRecordsContract } from '../vault/fixtures/records-contract.ts';
import { Vault } from '../vault/vault.ts';
import { openStore, type Store } from './store.ts';

let folder: Awaited<ReturnType<typeof temporaryDirectory>>;
let store: Store;
beforeAll(async () => {
  folder = await temporaryDirectory('vault');
  const options = { dataDir: join(folder.path, 'data'), sql: { kind: 'sqlite', file: 'tollgate.db' } } as const;
  store = await openStore(options, { log: silentLog, clock: createFakeClock() });
});
afterAll(async () => {
  await store.close();
  await folder[Symbol.asyncDispose]();
});

vaultRecordsContract(
  'SQLite',
  () => store.vault,
  () => fileKeys(join(folder.path, 'master.key')),
);

it('leaves nothing of a value in the files of the database', async () => {
  verifies('R2-12');
  const canary = 'canary-3fa9c1d27b';
  const vault = new Vault({
    records: store.vault,
    provider: fileKeys(join(folder.path, 'master.key')),
    clock: createFakeClock(),
    log: silentLog,
  });
  const id = { owner: { kind: 'gateway' }, purpose: 'secret', name: 'canary' } as const;
  await vault.put(id, canary, { by: 'test', labels: { shown: 'label-that-is-no-secret' } });
  expect(await vault.get(id, 'test')).toBe(canary);
  const files = readdirSync(join(folder.path, 'data'), { recursive: true, withFileTypes: true });
  const bytes = files.filter((file) => file.isFile()).map((file) => readFileSync(join(file.parentPath, file.name)));
  const whole = Buffer.concat(bytes);
  // The search would find it: what is kept openly is there.
  expect(whole.includes('label-that-is-no-secret')).toBe(true);
  for (const form of ['utf8', 'hex', 'base64', 'base64url'] as const) {
    expect(whole.includes(Buffer.from(canary).toString(form).slice(0, 20))).toBe(false);
  }
});

const full = process.env['TOLLGATE_PROOF'] === 'full';

it('loses nothing when a rewrap is killed, with another one at work beside it', async () => {
  verifies('R2-48');
  await using place = await temporaryDirectory('rewrap');
  const key = join(place.path, 'master.key');
  const options = { dataDir: join(place.path, 'data'), sql: { kind: 'sqlite', file: 'tollgate.db' } } as const;
  const names = Array.from({ length: 40 }, (_, i) => `secret-${i}`);
  const id = (name: string) => ({ owner: { kind: 'principal', principal: 'ci/ci' }, purpose: 'secret', name }) as const;
  const inVault = async <T>(run: (vault: Vault) => Promise<T>): Promise<T> => {
    const own = await openStore(options, { log: silentLog, clock: createFakeClock() });
    try {
      return await run(
        new Vault({ records: own.vault, provider: fileKeys(key), clock: createFakeClock(), log: silentLog }),
      );
    } finally {
      await own.close();
    }
  };
  await inVault(async (vault) => {
    for (const name of names) await vault.put(id(name), `value of ${name}`, { by: 'test' });
  });
  const script = join(import.meta.dirname, 'fixtures/vault-child.ts');
  for (let round = 0; round < (full ? 100 : 1); round++) {
    await using one = await startChild(process.execPath, [script, place.path]);
    await using two = await startChild(process.execPath, [script, place.path]);
    await Promise.all([one, two].map((child) => child.waitFor(/rewrapping 1\n/, 30_000)));
    // Anywhere in the middle of a rewrap: the two are never at the same point.
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 50));
    one.signal('SIGKILL');
    two.signal('SIGKILL');
    await Promise.all([one.exited, two.exited]);
    await inVault(async (vault) => {
      const values = await Promise.all(names.map((name) => vault.get(id(name), 'test')));
      expect(values).toEqual(names.map((name) => `value of ${name}`));
    });
  }
  await inVault(async (vault) => {
    expect(await vault.rotation.rewrap('test', { rate: 100_000 })).toMatchObject({ left: 0, failed: 0 });
    const keys = await vault.rotation.keys();
    expect(keys.filter(({ state }) => state === 'active')).toHaveLength(1);
    for (const { version, state } of keys) if (state === 'previous') await vault.rotation.retire(version, 'test');
    expect(await vault.get(id(names[0]!), 'test')).toBe(`value of ${names[0]}`);
  });
});
