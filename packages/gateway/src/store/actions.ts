import { sql } from 'kysely';
import type { Session, Tables } from './schema.ts';
import type { ActionRecord, Actions, Page, Part } from './storage.ts';
import { natural, page, pageSize, readCursor, readText, storedProse, storedText, writeCursor } from './values.ts';

/** What administrators and operators did. Rows are added and never changed. */
export function actionsOn({ db }: Session): Actions {
  return {
    async append(action) {
      const added = await db
        .insertInto('tg_actions')
        .values({
          id: storedText(action.id),
          at: natural(action.at, 'at'),
          done_by: storedText(action.by),
          action: storedText(action.action),
          details: storedProse(action.details),
        })
        .onConflict((conflict) => conflict.column('id').doNothing())
        .returning('id')
        .executeTakeFirst();
      return added !== undefined;
    },

    async list(query: Part & { readonly from?: number; readonly to?: number } = {}): Promise<Page<ActionRecord>> {
      const size = pageSize(query.limit);
      let rows = db.selectFrom('tg_actions').selectAll();
      if (query.from !== undefined) rows = rows.where('at', '>=', natural(query.from, 'from'));
      if (query.to !== undefined) rows = rows.where('at', '<', natural(query.to, 'to'));
      if (query.after !== undefined) {
        const [at, id] = readCursor<[number, string]>(query.after, ['number', 'string']);
        rows = rows.where(sql<boolean>`(at, id) < (cast(${at} as bigint), ${id})`);
      }
      const found = await rows
        .orderBy('at', 'desc')
        .orderBy('id', 'desc')
        .limit(size + 1)
        .execute();
      return page(found, size, record, (row) => writeCursor(row.at, row.id));
    },
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
