import { type SelectQueryBuilder, sql } from 'kysely';
import { TollgateError } from '../core/errors.ts';
import type { Tables } from './schema.ts';
import type { Page, Part } from './storage.ts';
import { natural } from './values.ts';

export function pageSize(limit: number | undefined): number {
  return Math.min(Math.max(natural(limit ?? 1000, 'limit'), 1), 10_000);
}

/** A cursor is the sort key of the last item; it is opaque to callers. */
export function writeCursor(...parts: readonly (string | number)[]): string {
  return Buffer.from(JSON.stringify(parts)).toString('base64url');
}

export function readCursor<T extends readonly (string | number)[]>(
  cursor: string,
  shape: { [K in keyof T]: 'string' | 'number' },
): T {
  try {
    const parts = JSON.parse(Buffer.from(cursor, 'base64url').toString()) as unknown;
    if (Array.isArray(parts) && parts.length === shape.length && parts.every((part, i) => typeof part === shape[i])) {
      return parts as unknown as T;
    }
  } catch {
    // Falls through to the one message for every wrong cursor.
  }
  throw new TollgateError('invalid_params', 'The cursor `after` is not one that this list gave');
}

/** The first `size` of `rows`, which holds one more when there is a next part. */
export function page<Row, T>(
  rows: readonly Row[],
  size: number,
  item: (row: Row) => T,
  cursor: (row: Row) => string,
): { items: T[]; next: string | undefined } {
  const shown = rows.slice(0, size);
  return { items: shown.map(item), next: rows.length > size ? cursor(shown.at(-1)!) : undefined };
}

type Named = 'tg_keys' | 'tg_pins' | 'tg_tiers';

/** One part of `rows` in the order of a column that is unique. */
export async function inOrder<C extends 'id' | 'principal', Row extends Readonly<Record<C, string>>, T>(
  rows: SelectQueryBuilder<Tables, Named, Row>,
  column: C,
  part: Part,
  item: (row: Row) => T,
): Promise<Page<T>> {
  const size = pageSize(part.limit);
  const { after } = part;
  const rest =
    after === undefined
      ? rows
      : rows.where(sql<string>`${sql.ref(column)}`, '>', readCursor<[string]>(after, ['string'])[0]);
  const found = await rest
    .orderBy(column)
    .limit(size + 1)
    .execute();
  return page(found, size, item, (row) => writeCursor(row[column]));
}

type Dated = 'tg_actions' | 'tg_decisions';

/** One part of `rows`, the latest first; those at or after `from` and before `to`. */
export async function latestFirst<D extends Dated, T>(
  rows: SelectQueryBuilder<Tables, D, Tables[D]>,
  query: Part & { readonly from?: number; readonly to?: number },
  item: (row: Tables[D]) => T,
): Promise<Page<T>> {
  const size = pageSize(query.limit);
  let part = rows as SelectQueryBuilder<Tables, Dated, Tables[D]>;
  if (query.from !== undefined) part = part.where('at', '>=', natural(query.from, 'from'));
  if (query.to !== undefined) part = part.where('at', '<', natural(query.to, 'to'));
  if (query.after !== undefined) {
    const [at, id] = readCursor<[number, string]>(query.after, ['number', 'string']);
    part = part.where(sql<boolean>`(at, id) < (cast(${at} as bigint), ${id})`);
  }
  const found = await part
    .orderBy('at', 'desc')
    .orderBy('id', 'desc')
    .limit(size + 1)
    .execute();
  return page(found as readonly Tables[D][], size, item, (row) => writeCursor(row.at, row.id));
}
