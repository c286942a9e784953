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
    probe: () => service.probe(),
    close: () => service.close(),
  };
}
