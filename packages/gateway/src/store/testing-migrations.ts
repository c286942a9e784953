import { type Kysely, sql } from 'kysely';
import { describe, expect, it } from 'vitest';
import { DecisionRetention } from './decisions.ts';
import { migrate } from './migrate.ts';
import { MIGRATIONS } from './migrations.ts';
import { repositoriesOn } from './repositories.ts';
import type { SqlKind, Tables } from './schema.ts';

export interface EmptyDatabase {
  readonly db: Kysely<Tables>;
  close(): Promise<void>;
}

const KEY = '00000000000000aa';

/** Rows that a gateway of each version could have written, in the columns of that version. */
const WRITTEN: readonly (readonly string[])[] = [
  [],
  [
    `insert into tg_entries values ('e1', 1000, 'ci/ci', 'acme', 'exa', 'exa/search', '/mcp', null, null, 2000, null, 'open'),
      ('e2', 1001, 'ci/ci', null, 'exa', 'exa/search', '/mcp', 's', 'tg-1', 2000, 1500, 'settled')`,
    `insert into tg_amounts values ('e1', 'USD', 100, 100, 'estimated'), ('e2', 'USD', 100, 60, 'reported')`,
    `insert into tg_postings (entry_id, rule, key, window_start, unit, amount)
      values ('e1', 'spend', '${KEY}', 0, 'USD', 100), ('e2', 'spend', '${KEY}', 0, 'USD', 60)`,
    `insert into tg_tiers values ('ci/ci', 'premium', 'ops', 1000)`,
    `insert into tg_stops values ('s1', 'everything', null, 'incident', 'ops', 1000, null, null, null)`,
    `insert into tg_decisions values ('tg-1', 1001, 'admitted', 'ci/ci', 'exa/search', 'tools/call', '', '{}')`,
  ],
  ["update tg_postings set open = 1 where entry_id = 'e1'"],
  [],
];

/** What every database goes through from any version that was ever released. */
export function migrationContract(name: string, kind: SqlKind, empty: () => Promise<EmptyDatabase>): void {
  describe(`migrations on ${name}`, () => {
    it.each(MIGRATIONS.map((_, version) => version))('keep what version %i had written', async (version) => {
      const { db, close } = await empty();
      try {
        for (let at = 1; at <= version; at++) {
          await migrate(db, kind, at);
          for (const statement of WRITTEN[at]!) await sql.raw(statement).execute(db);
        }
        await migrate(db, kind);
        const storage = repositoriesOn({ kind, db }, new DecisionRetention());
        const spent = version === 0 ? { settled: 0, open: 0 } : { settled: 60, open: 100 };
        expect(await storage.ledger.spent({ rule: 'spend', key: KEY })).toMatchObject(spent);
        if (version > 0) {
          expect(await storage.tiers.tier('ci/ci')).toMatchObject({ tier: 'premium' });
          expect(await storage.stops.active(5000)).toHaveLength(1);
          expect(await storage.decisions.get('tg-1')).toMatchObject({ principal: 'ci/ci' });
        }
        await storage.ledger.settle([{ id: 'e1', at: 3000, amounts: { USD: 10 }, source: 'reported' }]);
        expect(await storage.ledger.prune(5000)).toBe(version === 0 ? 0 : 2);
        expect((await storage.ledger.spent({ rule: 'spend' })).total).toBe(version === 0 ? 0 : 70);
      } finally {
        await close();
      }
    });

    it('run once when many gateways start together', async () => {
      const { db, close } = await empty();
      try {
        await Promise.all(Array.from({ length: 4 }, () => migrate(db, kind)));
        const version = await db.selectFrom('tg_meta').select('value').where('name', '=', 'schema_version').execute();
        expect(version).toEqual([{ value: String(MIGRATIONS.length) }]);
      } finally {
        await close();
      }
    });

    it('refuse a database that a newer Tollgate has changed', async () => {
      const { db, close } = await empty();
      try {
        await migrate(db, kind);
        await db.updateTable('tg_meta').set({ value: '99' }).where('name', '=', 'schema_version').execute();
        await expect(migrate(db, kind)).rejects.toMatchObject({
          code: 'storage_incompatible',
          message: expect.stringContaining(`version 99, this Tollgate knows ${MIGRATIONS.length}`),
        });
      } finally {
        await close();
      }
    });
  });
}
