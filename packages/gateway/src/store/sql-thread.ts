import type { ThreadService } from './messages.ts';
import type { Work } from './methods.ts';
import type { StoreOptions } from './options.ts';
import { SqlService } from './sql-service.ts';

/** What the thread of the database does. */
export function sqlThread(options: StoreOptions): ThreadService {
  const service = new SqlService(options);
  return {
    open: () => service.open(),
    run: (work: Work) => service.run(work),
    // A write, because a disk that is full and a replica that only reads answer every read.
    probe: () => service.run({ repository: 'settings', method: 'set', args: ['probe', ''] }),
    close: () => service.close(),
  };
}
