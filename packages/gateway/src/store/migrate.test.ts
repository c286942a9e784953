import { join } from 'node:path';
import { temporaryDirectory } from '@tollgate/testkit/temporary-directory';
import { openSqlite } from './node-sqlite.ts';
import { migrationContract } from './testing-migrations.ts';

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
