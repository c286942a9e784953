import { type Kysely, sql } from 'kysely';
import { TollgateError } from '../core/errors.ts';
import { createMeta, MIGRATIONS } from './migrations.ts';
import type { SqlKind, Tables } from './schema.ts';

/** Any constant that other programs on the same PostgreSQL do not use: ASCII of "tollgate". */
const ADVISORY_LOCK = '8390046067463677029';

/**
 * Brings the database to `target` (default: the latest), one transaction a step. Several gateways may start at once:
 * each step takes the database's lock first and then looks again at what is left to do.
 * @throws `storage_incompatible` for a database that a newer Tollgate has changed.
 */
export async function migrate(db: Kysely<Tables>, kind: SqlKind, target: number = MIGRATIONS.length): Promise<void> {
  for (;;) {
    const version = await db.transaction().execute(async (tx) => {
      if (kind === 'postgres') await sql`select pg_advisory_xact_lock(${sql.lit(ADVISORY_LOCK)}::bigint)`.execute(tx);
      await createMeta(tx as unknown as Kysely<unknown>, kind);
      const at = await schemaVersion(tx);
      if (at > MIGRATIONS.length) {
        throw new TollgateError(
          'storage_incompatible',
          `The database has version ${at}, this Tollgate knows ${MIGRATIONS.length}: run the Tollgate that made it, or a newer one`,
        );
      }
      if (at >= target) return at;
      await MIGRATIONS[at]!.up(tx as unknown as Kysely<unknown>, kind);
      const value = String(at + 1);
      await tx
        .insertInto('tg_meta')
        .values({ name: 'schema_version', value })
        .onConflict((conflict) => conflict.column('name').doUpdateSet({ value }))
        .execute();
      return at + 1;
    });
    if (version >= target) return;
  }
}

async function schemaVersion(db: Kysely<Tables>): Promise<number> {
  const row = await db.selectFrom('tg_meta').select('value').where('name', '=', 'schema_version').executeTakeFirst();
  return row === undefined ? 0 : Number(row.value);
}
