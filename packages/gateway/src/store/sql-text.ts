import { type RawBuilder, sql } from 'kysely';
import type { SqlKind } from './schema.ts';

type Value = string | number | null;
type Column = 'text' | 'bigint';

/**
 * Rows as a table expression behind one parameter, so that one prepared statement serves batches of every size.
 * `columns` names them in the order of the values in a row.
 */
export function rowset(
  kind: SqlKind,
  columns: Readonly<Record<string, Column>>,
  rows: readonly (readonly Value[])[],
): RawBuilder<unknown> {
  const list = Object.entries(columns).map(
    ([name, type], i) => sql`cast(t.value ->> ${sql.lit(i)} as ${sql.raw(type)}) as ${sql.ref(name)}`,
  );
  const json = JSON.stringify(rows);
  const source =
    kind === 'sqlite' ? sql`json_each(${json}) as t` : sql`json_array_elements(cast(${json} as json)) as t(value)`;
  return sql`(select ${sql.join(list)} from ${source}) as v`;
}

/** A sum that stays an exact double: beyond 2^53 it stops there, which refuses rather than admits. */
export function exactSum(kind: SqlKind, expression: RawBuilder<unknown>): RawBuilder<number> {
  const total = sql`coalesce(sum(${expression}), 0)`;
  const [least, greatest] = kind === 'sqlite' ? [sql`min`, sql`max`] : [sql`least`, sql`greatest`];
  const most = sql.lit(Number.MAX_SAFE_INTEGER);
  return sql<number>`cast(${least}(${greatest}(${total}, -${most}), ${most}) as bigint)`;
}
