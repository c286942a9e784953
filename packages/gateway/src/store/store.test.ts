import { createFakeClock } from '@tollgate/testkit/fake-clock';
import { temporaryDirectory } from '@tollgate/testkit/temporary-directory';
import { silentLog } from '../core/log.ts';
import { openStore } from './store.ts';
import { storageContract } from './testing.ts';

storageContract('SQLite', async () => {
  const folder = await temporaryDirectory('store');
  const options = {
    dataDir: folder.path,
    sql: { kind: 'sqlite', file: 'tollgate.db' },
    keep: { admissions: 1000 },
  } as const;
  const store = await openStore(options, { log: silentLog, clock: createFakeClock() });
  return {
    storage: store,
    close: async () => {
      await store.close();
      await folder[Symbol.asyncDispose]();
    },
  };
});
