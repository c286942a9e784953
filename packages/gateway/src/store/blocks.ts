import type { BlocksTable, Session } from './schema.ts';
import type { Block, Blocks } from './storage.ts';
import { natural, readText, storedProse, storedText } from './values.ts';

/** Callers whom operators keep out: they outlive the process until they are over or somebody lifts them. */
export function blocksOn({ db }: Session): Blocks {
  return {
    async add(block) {
      const added = await db
        .insertInto('tg_blocks')
        .values({
          id: storedText(block.id),
          who: storedText(block.who),
          reason: storedProse(block.reason),
          blocked_by: storedText(block.by),
          at: natural(block.at, 'at'),
          until: block.until === undefined ? null : natural(block.until, 'until'),
          lifted_at: null,
          lifted_by: null,
        })
        .onConflict((conflict) => conflict.column('id').doNothing())
        .returning('id')
        .executeTakeFirst();
      return added !== undefined;
    },

    async active(at) {
      const rows = await db
        .selectFrom('tg_blocks')
        .selectAll()
        .where('lifted_at', 'is', null)
        .where((is) => is.or([is('until', 'is', null), is('until', '>', natural(at, 'at'))]))
        .orderBy('at')
        .orderBy('id')
        .execute();
      return rows.map(blockOf);
    },

    async lift(id, by, at) {
      const lifted = await db
        .updateTable('tg_blocks')
        .set({ lifted_at: natural(at, 'at'), lifted_by: storedText(by) })
        .where('id', '=', storedText(id))
        .where('lifted_at', 'is', null)
        .returning('id')
        .executeTakeFirst();
      return lifted !== undefined;
    },
  };
}

function blockOf(row: BlocksTable): Block {
  return {
    id: readText(row.id),
    who: readText(row.who),
    reason: readText(row.reason),
    by: readText(row.blocked_by),
    at: row.at,
    until: row.until ?? undefined,
  };
}
