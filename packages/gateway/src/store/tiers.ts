import type { Session } from './schema.ts';
import type { Page, Part, TierRecord, Tiers } from './storage.ts';
import { natural, page, pageSize, readCursor, readText, storedText, writeCursor } from './values.ts';

/** Tiers set at run time, by principal. */
export function tiersOn({ db }: Session): Tiers {
  return {
    async tier(principal) {
      const row = await db
        .selectFrom('tg_tiers')
        .selectAll()
        .where('principal', '=', storedText(principal))
        .executeTakeFirst();
      return row === undefined ? undefined : record(row);
    },

    async setTier(principal, tier, by, at) {
      const values = { tier: storedText(tier), set_by: storedText(by), at: natural(at, 'at') };
      await db
        .insertInto('tg_tiers')
        .values({ principal: storedText(principal), ...values })
        .onConflict((conflict) =>
          conflict.column('principal').doUpdateSet(values).where('tg_tiers.at', '<=', values.at),
        )
        .execute();
    },

    async allTiers(part: Part = {}): Promise<Page<TierRecord>> {
      const size = pageSize(part.limit);
      let query = db.selectFrom('tg_tiers').selectAll();
      if (part.after !== undefined)
        query = query.where('principal', '>', readCursor<[string]>(part.after, ['string'])[0]);
      const rows = await query
        .orderBy('principal')
        .limit(size + 1)
        .execute();
      return page(rows, size, record, (row) => writeCursor(row.principal));
    },
  };
}

function record(row: { principal: string; tier: string; set_by: string; at: number }): TierRecord {
  return { principal: readText(row.principal), tier: readText(row.tier), by: readText(row.set_by), at: row.at };
}
