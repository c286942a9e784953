import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';
import { fileKeys } from './file-keys.ts';
import { vaultRecordsContract } from './fixtures/records-contract.ts';
import { memoryRecords } from './memory-records.ts';

const records = memoryRecords();
const folder = mkdtempSync(join(tmpdir(), 'vault-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const file = join(folder, `${randomBytes(4).toString('hex')}.key`);
vaultRecordsContract(
  'records in memory',
  () => records,
  () => fileKeys(file),
);
