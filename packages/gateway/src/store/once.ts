import type { Session, Tables } from './schema.ts';
import { natural, storedText } from './values.ts';

type Db = Session['db'];

/** How rows of a table end before their time: `lifted_at` and `lifted_by`, or `revoked_at` and `revoked_by`. */
const ENDS = { tg_blocks: 'lifted', tg_stops: 'lifted', tg_grants: 'revoked', tg_keys: 'revoked' } as const;
type Ending = keyof typeof ENDS;

/** Adds a row. False: one of that id was there already, and stays as it is. */
export async function addOnce<T extends Ending | 'tg_actions'>(db: Db, table: T, row: Tables[T]): Promise<boolean> {
  const added = await db
    .insertInto<Ending | 'tg_actions'>(table)
    .values(row)
    .onConflict((conflict) => conflict.column('id').doNothing())
    .returning('id')
    .executeTakeFirst();
  return added !== undefined;
}

/** Ends a row before its time. False: unknown or ended already. */
export async function endOnce(db: Db, table: Ending, id: string, by: string, at: number): Promise<boolean> {
  const how = ENDS[table];
  const ended = await db
    .updateTable(table)
    .set(`${how}_at`, natural(at, 'at'))
    .set(`${how}_by`, storedText(by))
    .where('id', '=', storedText(id))
    .where(`${how}_at`, 'is', null)
    .returning('id')
    .executeTakeFirst();
  return ended !== undefined;
}

/** Rows that are in force at `at`: neither lifted nor over. */
export async function inForce<T extends 'tg_blocks' | 'tg_stops'>(db: Db, table: T, at: number): Promise<Tables[T][]> {
  return db
    .selectFrom<'tg_blocks' | 'tg_stops'>(table)
    .selectAll()
    .where('lifted_at', 'is', null)
    .where((is) => is.or([is('until', 'is', null), is('until', '>', natural(at, 'at'))]))
    .orderBy('at')
    .orderBy('id')
    .execute();
}
