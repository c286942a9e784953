import { join } from 'node:path';
import { temporaryDirectory } from '@tollgate/testkit/temporary-directory';
import { migrationContract } from './fixtures/migration-contract.ts';
import { openSqlite } from './node-sqlite.ts';

migrationContract('SQLite', 'sqlite', async () => {
  const folder = await temporaryDirectory('migrate');
  const db = openSqlite(join(folder.path, 'tollgate.db'));
  return {
    db,
    close: async () => {
      await db.destroy();
      await folder[Symbol.asyncDispose]();
    },
  };
});
