import type { Block } from '../core/operator-records.ts';
import { addOnce, endOnce, inForce } from './once.ts';
import type { BlocksTable, Session } from './schema.ts';
import type { Blocks } from './storage.ts';
import { natural, readText, storedProse, storedText } from './values.ts';

/** Callers whom operators keep out: they outlive the process until they are over or somebody lifts them. */
export function blocksOn({ db }: Session): Blocks {
  return {
    add: async (block) =>
      addOnce(db, 'tg_blocks', {
        id: storedText(block.id),
        who: storedText(block.who),
        reason: storedProse(block.reason),
        blocked_by: storedText(block.by),
        at: natural(block.at, 'at'),
        until: block.until === undefined ? null : natural(block.until, 'until'),
        lifted_at: null,
        lifted_by: null,
      }),

    async active(at) {
      return (await inForce(db, 'tg_blocks', at)).map(blockOf);
    },

    lift: (id, by, at) => endOnce(db, 'tg_blocks', id, by, at),
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
