import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { verifies } from '@tollgate/testkit';
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
