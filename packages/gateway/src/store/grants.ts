import type { Grant } from '../core/operator-records.ts';
import { addOnce, endOnce } from './once.ts';
import type { GrantsTable, Session } from './schema.ts';
import type { Grants } from './storage.ts';
import { counterKey, natural, readText, storedProse, storedText } from './values.ts';

/** Money granted on top of rules. */
export function grantsOn({ db }: Session): Grants {
  return {
    add: async (grant) =>
      addOnce(db, 'tg_grants', {
        id: storedText(grant.id),
        rule: storedText(grant.rule),
        key: grant.key === undefined ? null : counterKey(grant.key),
        principal: grant.principal === undefined ? null : storedText(grant.principal),
        amount: natural(grant.amount, 'amount'),
        unit: storedText(grant.unit),
        until: natural(grant.until, 'until'),
        reason: storedProse(grant.reason),
        granted_by: storedText(grant.by),
        at: natural(grant.at, 'at'),
        revoked_at: null,
        revoked_by: null,
      }),

    async active(at) {
      const rows = await db
        .selectFrom('tg_grants')
        .selectAll()
        .where('at', '<=', natural(at, 'at'))
        .where('until', '>', at)
        .where('revoked_at', 'is', null)
        .orderBy('at')
        .orderBy('id')
        .execute();
      return rows.map(grantOf);
    },

    revoke: (id, by, at) => endOnce(db, 'tg_grants', id, by, at),
  };
}

function grantOf(row: GrantsTable): Grant {
  return {
    id: readText(row.id),
    rule: readText(row.rule),
    key: row.key ?? undefined,
    principal: row.principal === null ? undefined : readText(row.principal),
    amount: row.amount,
    unit: readText(row.unit),
    until: row.until,
    reason: readText(row.reason),
    by: readText(row.granted_by),
    at: row.at,
  };
}
