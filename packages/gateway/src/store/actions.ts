import { addOnce } from './once.ts';
import { latestFirst } from './paging.ts';
import type { Session, Tables } from './schema.ts';
import type { ActionRecord, Actions } from './storage.ts';
import { natural, readText, storedProse, storedText } from './values.ts';

/** What administrators and operators did. Rows are added and never changed. */
export function actionsOn({ db }: Session): Actions {
  return {
    append: async (action) =>
      addOnce(db, 'tg_actions', {
        id: storedText(action.id),
        at: natural(action.at, 'at'),
        done_by: storedText(action.by),
        action: storedText(action.action),
        details: storedProse(action.details),
      }),

    list: (query = {}) => latestFirst(db.selectFrom('tg_actions').selectAll(), query, record),
  };
}

function record(row: Tables['tg_actions']): ActionRecord {
  return {
    id: readText(row.id),
    at: row.at,
    by: readText(row.done_by),
    action: readText(row.action),
    details: readText(row.details),
  };
}
