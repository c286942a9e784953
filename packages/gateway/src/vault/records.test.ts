import { randomBytes } from 'node:crypto';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileKeys } from './file-keys.ts';
import { vaultRecordsContract } from './fixtures/records-contract.ts';
import { memoryRecords } from './memory-records.ts';

const records = memoryRecords();
const file = join(mkdtempSync(join(tmpdir(), 'vault-')), `${randomBytes(4).toString('hex')}.key`);
vaultRecordsContract(
  'records in memory',
  () => records,
  () => fileKeys(file),
);
