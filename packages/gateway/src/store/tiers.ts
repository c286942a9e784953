import { inOrder } from './paging.ts';
import type { Session } from './schema.ts';
import type { TierRecord, Tiers } from './storage.ts';
import { natural, readText, storedText } from './values.ts';

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

    allTiers: (part = {}) => inOrder(db.selectFrom('tg_tiers').selectAll(), 'principal', part, record),
  };
}

function record(row: { principal: string; tier: string; set_by: string; at: number }): TierRecord {
  return { principal: readText(row.principal), tier: readText(row.tier), by: readText(row.set_by), at: row.at };
}
