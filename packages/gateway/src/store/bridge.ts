import type { Expression, ExpressionBuilder, SqlBool } from 'kysely';
import type { BridgeFamily, BridgeItem, BridgeRecords } from '../core/bridge-records.ts';
import { TollgateError } from '../core/errors.ts';
import { randomId } from '../core/ids.ts';
import type { BridgeItemsTable, Session, Tables } from './schema.ts';
import { settingsOn } from './settings.ts';
import { natural, readText, storedProse, storedText } from './values.ts';

const PRUNE = 5000;
const VERSION = 'bridge_version';

/** What the OAuth bridge has given out. Nothing here is of use to who reads it: texts are sealed, tokens are digests. */
export function bridgeOn(session: Session): BridgeRecords {
  const { db } = session;
  const settings = settingsOn(session);
  async function add(items: readonly BridgeItem[]): Promise<void> {
    if (items.length === 0) return;
    await db
      .insertInto('tg_bridge_items')
      .values(items.map(rowOf))
      .onConflict((conflict) => conflict.column('digest').doNothing())
      .execute();
  }

  async function keepFamily(family: BridgeFamily): Promise<void> {
    const expires = natural(family.expiresAt, 'expiresAt');
    await db
      .insertInto('tg_bridge_families')
      .values({
        id: storedText(family.id),
        entry: storedText(family.entry),
        principal: storedText(family.principal),
        client: storedText(family.client),
        resource: storedText(family.resource),
        at: natural(family.at, 'at'),
        expires_at: expires,
        ended_at: null,
      })
      .onConflict((conflict) => conflict.column('id').doUpdateSet({ expires_at: expires }))
      .execute();
  }

  return {
    async register(client, most) {
      const { count } = await db
        .selectFrom('tg_bridge_clients')
        .select(({ fn }) => fn.countAll().as('count'))
        .executeTakeFirstOrThrow();
      if (Number(count) >= most) {
        const unused = db
          .selectFrom('tg_bridge_clients')
          .select('id')
          .where('used_at', 'is', null)
          .orderBy('at')
          .limit(Number(count) - most + 1);
        const gone = await db.deleteFrom('tg_bridge_clients').where('id', 'in', unused).returning('id').execute();
        if (gone.length === 0) return false;
      }
      await db
        .insertInto('tg_bridge_clients')
        .values({
          id: storedText(client.id),
          json: storedProse(client.json),
          at: natural(client.at, 'at'),
          used_at: null,
          expires_at: natural(client.expiresAt, 'expiresAt'),
        })
        .onConflict((conflict) => conflict.column('id').doNothing())
        .execute();
      return true;
    },

    async client(id, at) {
      const row = await db
        .selectFrom('tg_bridge_clients')
        .selectAll()
        .where('id', '=', storedText(id))
        .where('expires_at', '>', natural(at, 'at'))
        .executeTakeFirst();
      if (row === undefined) return undefined;
      return { id: readText(row.id), json: readText(row.json), at: row.at, expiresAt: row.expires_at };
    },

    async clientUsed(id, at, expiresAt) {
      await db
        .updateTable('tg_bridge_clients')
        .set({ used_at: natural(at, 'at'), expires_at: natural(expiresAt, 'expiresAt') })
        .where('id', '=', storedText(id))
        .execute();
    },

    async put(item, most) {
      const { count } = await db
        .selectFrom('tg_bridge_items')
        .select(({ fn }) => fn.countAll().as('count'))
        .where('kind', '=', item.kind)
        .where('expires_at', '>', natural(item.at, 'at'))
        .where('used_at', 'is', null)
        .executeTakeFirstOrThrow();
      if (Number(count) >= most) return false;
      await add([item]);
      return true;
    },

    async find(digest, kind) {
      const row = await db
        .selectFrom('tg_bridge_items as item')
        .leftJoin('tg_bridge_families as family', 'family.id', 'item.family')
        .selectAll('item')
        .select('family.ended_at')
        .where('item.digest', '=', digestText(digest))
        .where('item.kind', '=', kind)
        .executeTakeFirst();
      if (row === undefined) return undefined;
      return {
        digest: row.digest,
        kind: row.kind,
        family: row.family === null ? undefined : readText(row.family),
        sealed: row.sealed,
        at: row.at,
        expiresAt: row.expires_at,
        usedAt: row.used_at ?? undefined,
        ended: row.ended_at !== null,
      };
    },

    async use({ digest, by, at, family, items }) {
      const marked = await db
        .updateTable('tg_bridge_items')
        .set({ used_at: natural(at, 'at'), used_by: storedText(by) })
        .where('digest', '=', digestText(digest))
        .where(unusedOrBy(storedText(by)))
        .where(({ not, exists, selectFrom }) =>
          not(
            exists(
              selectFrom('tg_bridge_families')
                .select('id')
                .whereRef('id', '=', 'tg_bridge_items.family')
                .where('ended_at', 'is not', null),
            ),
          ),
        )
        .returning('digest')
        .executeTakeFirst();
      if (marked === undefined) return false;
      if (family !== undefined) await keepFamily(family);
      await add(items);
      return true;
    },

    async end(family, at) {
      const ended = await db
        .updateTable('tg_bridge_families')
        .set({ ended_at: natural(at, 'at') })
        .where('id', '=', storedText(family))
        .where('ended_at', 'is', null)
        .returning('id')
        .executeTakeFirst();
      if (ended === undefined) return false;
      // In the same transaction: a gateway that dies in between would leave the sign-in open at the others.
      await settings.set(VERSION, randomId(12));
      return true;
    },

    async version() {
      return (await settings.get(VERSION)) ?? '';
    },

    async ended(since, most) {
      const rows = await db
        .selectFrom('tg_bridge_families')
        .select('id')
        .where('ended_at', '>=', natural(since, 'since'))
        .orderBy('ended_at', 'desc')
        .limit(most)
        .execute();
      return rows.map(({ id }) => readText(id));
    },

    async families(principal, at, most) {
      let query = db
        .selectFrom('tg_bridge_families')
        .select(['id', 'entry', 'principal', 'client', 'resource', 'at', 'expires_at'])
        .where('ended_at', 'is', null)
        .where('expires_at', '>', natural(at, 'at'));
      if (principal !== undefined) query = query.where('principal', '=', storedText(principal));
      const rows = await query.orderBy('at', 'desc').limit(natural(most, 'most')).execute();
      return rows.map(({ expires_at: expiresAt, at: since, ...row }) => ({
        id: readText(row.id),
        entry: readText(row.entry),
        principal: readText(row.principal),
        client: readText(row.client),
        resource: readText(row.resource),
        at: since,
        expiresAt,
      }));
    },

    async prune(before) {
      const until = natural(before, 'before');
      const items = db.selectFrom('tg_bridge_items').select('digest').where('expires_at', '<', until).limit(PRUNE);
      const families = db.selectFrom('tg_bridge_families').select('id').where('expires_at', '<', until).limit(PRUNE);
      const clients = db.selectFrom('tg_bridge_clients').select('id').where('expires_at', '<', until).limit(PRUNE);
      const gone = await Promise.all([
        db.deleteFrom('tg_bridge_items').where('digest', 'in', items).returning('digest').execute(),
        db.deleteFrom('tg_bridge_families').where('id', 'in', families).returning('id').execute(),
        db.deleteFrom('tg_bridge_clients').where('id', 'in', clients).returning('id').execute(),
      ]);
      return gone.reduce((sum, rows) => sum + rows.length, 0);
    },
  };
}

function unusedOrBy(by: string) {
  return (is: ExpressionBuilder<Tables, 'tg_bridge_items'>): Expression<SqlBool> =>
    is.or([is('used_by', 'is', null), is('used_by', '=', by)]);
}

function digestText(digest: string): string {
  if (!/^[0-9a-f]{64}$/.test(digest)) {
    throw new TollgateError('invalid_params', 'A digest must be 64 hexadecimal digits in lower case');
  }
  return digest;
}

function rowOf(item: BridgeItem): BridgeItemsTable {
  return {
    digest: digestText(item.digest),
    kind: item.kind,
    family: item.family === undefined ? null : storedText(item.family),
    sealed: storedProse(item.sealed),
    at: natural(item.at, 'at'),
    expires_at: natural(item.expiresAt, 'expiresAt'),
    used_at: null,
    used_by: null,
  };
}
