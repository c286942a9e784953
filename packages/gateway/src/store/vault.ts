import { sql } from 'kysely';
import { TollgateError } from '../core/errors.ts';
import { randomId } from '../core/ids.ts';
import {
  type StoredHead,
  VAULT_VERSION,
  type VaultHead,
  type VaultKey,
  type VaultRecords,
  type VaultRewrap,
} from '../core/vault-records.ts';
import type { Session, Tables, VaultHeadsTable } from './schema.ts';
import { settingsOn } from './settings.ts';
import { natural, readText, storedProse, storedText } from './values.ts';

/** Sealed secrets, the versions of the master key, and who works on a secret alone. Nothing here can be read back. */
export function vaultOn(session: Session): VaultRecords {
  const { db, kind } = session;
  const settings = settingsOn(session);

  /**
   * What people set and revoke is followed by other gateways; tokens that gateways renew are not, they change all the
   * time. In the same transaction: who dies in between would leave a revoked secret in use elsewhere.
   */
  async function changed({ purpose }: VaultHead): Promise<void> {
    if (purpose === 'secret' || purpose === 'provider-key') await settings.set(VAULT_VERSION, randomId(12));
  }

  /** How many versions a key wraps, once nobody can begin to write another under it. */
  async function needed(version: number): Promise<boolean> {
    const row = await db.selectFrom('tg_vault_versions').select('slot').where('kek', '=', version).limit(1).execute();
    return row.length > 0;
  }

  /** A put holds the key that it uses, so that the key cannot be retired between its count and the commit. */
  async function keyState(version: number, lock: 'share' | 'update'): Promise<string | undefined> {
    let query = db.selectFrom('tg_vault_keys').select('state').where('version', '=', natural(version, 'kek'));
    if (kind === 'postgres') query = lock === 'share' ? query.forShare() : query.forUpdate();
    return (await query.executeTakeFirst())?.state;
  }

  async function usable(version: number): Promise<void> {
    const state = await keyState(version, 'share');
    if (state === 'active' || state === 'previous') return;
    throw new TollgateError('vault_unavailable', `The master key ${version} of the vault is ${state ?? 'unknown'}`);
  }

  return {
    async keys() {
      const rows = await db.selectFrom('tg_vault_keys').selectAll().orderBy('version').execute();
      return rows.map(keyOf);
    },

    async addKey(key) {
      const added = await db
        .insertInto('tg_vault_keys')
        .values({
          version: natural(key.version, 'version'),
          key: storedText(key.key),
          state: key.state,
          check_text: storedProse(key.check),
          at: natural(key.at, 'at'),
          made_by: storedText(key.by),
        })
        .onConflict((conflict) => conflict.column('version').doNothing())
        .returning('version')
        .executeTakeFirst();
      if (added === undefined) {
        const there = await db
          .selectFrom('tg_vault_keys')
          .select('check_text')
          .where('version', '=', key.version)
          .executeTakeFirst();
        return there?.check_text === storedProse(key.check);
      }
      await db
        .updateTable('tg_vault_keys')
        .set({ state: 'previous' })
        .where('version', '<', key.version)
        .where('state', '=', 'active')
        .execute();
      return true;
    },

    async moveKey(version, from, to) {
      const state = await keyState(version, 'update');
      if (state === to) return true;
      if (state !== from || (to !== 'previous' && (await needed(version)))) return false;
      await db.updateTable('tg_vault_keys').set({ state: to }).where('version', '=', version).execute();
      return true;
    },

    async read(slot) {
      // One statement: of two, the second could see what was written between them.
      const rows = await db
        .selectFrom('tg_vault_heads as h')
        .leftJoin('tg_vault_versions as v', (join) =>
          join.onRef('v.slot', '=', 'h.slot').onRef('v.version', '<=', 'h.version'),
        )
        .selectAll('h')
        .select(['v.version as value_version', 'v.envelope as envelope', 'v.kek as kek'])
        .where('h.slot', '=', slot)
        .orderBy('v.version', 'desc')
        .limit(2)
        .execute();
      const [first] = rows;
      return {
        head: first === undefined ? undefined : headOf(first),
        versions: rows.flatMap((row) =>
          row.envelope === null || row.value_version === null || row.kek === null
            ? []
            : [{ slot, version: row.value_version, envelope: row.envelope, kek: row.kek }],
        ),
      };
    },

    async put(head, version) {
      await usable(version.kek);
      const values = columnsOf(head);
      const moved =
        head.version === 1
          ? await db
              .insertInto('tg_vault_heads')
              .values({ ...values, last_used_at: null })
              .onConflict((conflict) => conflict.column('slot').doNothing())
              .returning('slot')
              .executeTakeFirst()
          : await db
              .updateTable('tg_vault_heads')
              .set(values)
              .where('slot', '=', head.slot)
              .where('version', '=', head.version - 1)
              .returning('slot')
              .executeTakeFirst();
      if (moved === undefined) {
        const there = await db
          .selectFrom('tg_vault_versions')
          .select('envelope')
          .where('slot', '=', head.slot)
          .where('version', '=', head.version)
          .executeTakeFirst();
        return there?.envelope === version.envelope;
      }
      await db
        .insertInto('tg_vault_versions')
        .values({ ...version, kek: natural(version.kek, 'kek') })
        .execute();
      const oldest = head.overlapUntil === 0 ? head.version : head.version - 1;
      await db.deleteFrom('tg_vault_versions').where('slot', '=', head.slot).where('version', '<', oldest).execute();
      await changed(head);
      return true;
    },

    async close(head) {
      const closed = await db
        .updateTable('tg_vault_heads')
        .set(columnsOf(head))
        .where('slot', '=', head.slot)
        .where('version', '=', head.version)
        .returning('slot')
        .executeTakeFirst();
      if (closed === undefined) return false;
      await db.deleteFrom('tg_vault_versions').where('slot', '=', head.slot).execute();
      await changed(head);
      return true;
    },

    async list({ ownerKind, owner, purpose }) {
      let rows = db.selectFrom('tg_vault_heads').selectAll().where('state', '<>', 'removed');
      if (ownerKind !== undefined) rows = rows.where('owner_kind', '=', ownerKind);
      if (owner !== undefined) rows = rows.where('owner', '=', storedText(owner));
      if (purpose !== undefined) rows = rows.where('purpose', '=', storedText(purpose));
      const found = await rows.orderBy('owner_kind').orderBy('owner').orderBy('purpose').orderBy('name').execute();
      return found.map(headOf);
    },

    async used(slot, at) {
      await db
        .updateTable('tg_vault_heads')
        .set({ last_used_at: natural(at, 'at') })
        .where('slot', '=', slot)
        .where((is) => is.or([is('last_used_at', 'is', null), is('last_used_at', '<', at)]))
        .execute();
    },

    async notUnder(kek, after, limit) {
      const rows = await db
        .selectFrom('tg_vault_versions')
        .selectAll()
        .where('kek', '<>', natural(kek, 'kek'))
        .where('slot', '>=', after)
        .orderBy('slot')
        .orderBy('version')
        .limit(limit)
        .execute();
      return rows;
    },

    async underEach() {
      const count = sql<number>`cast(count(*) as bigint)`.as('count');
      return db.selectFrom('tg_vault_versions').select(['kek', count]).groupBy('kek').orderBy('kek').execute();
    },

    async rewrap(list) {
      const done: boolean[] = [];
      for (const one of list) {
        await usable(one.kek);
        done.push(await rewrapped(one));
      }
      return done;
    },

    async lease(slot, holder, now, until) {
      const got = await db
        .insertInto('tg_vault_leases')
        .values({ slot, holder, until: natural(until, 'until') })
        .onConflict((conflict) =>
          conflict
            .column('slot')
            .doUpdateSet({ holder, until })
            .where((is) => is.or([is('tg_vault_leases.holder', '=', holder), is('tg_vault_leases.until', '<=', now)])),
        )
        .returning('slot')
        .executeTakeFirst();
      return got !== undefined;
    },

    async release(slot, holder) {
      await db.deleteFrom('tg_vault_leases').where('slot', '=', slot).where('holder', '=', holder).execute();
    },
  };

  async function rewrapped({ slot, version, from, to, kek }: VaultRewrap): Promise<boolean> {
    const row = await db
      .updateTable('tg_vault_versions')
      .set({ envelope: to, kek })
      .where('slot', '=', slot)
      .where('version', '=', version)
      .where('envelope', 'in', [from, to])
      .returning('slot')
      .executeTakeFirst();
    return row !== undefined;
  }
}

function columnsOf(head: VaultHead): Omit<VaultHeadsTable, 'last_used_at'> {
  return {
    slot: head.slot,
    record: head.record,
    owner_kind: head.ownerKind,
    owner: storedText(head.owner),
    purpose: storedText(head.purpose),
    name: storedText(head.name),
    version: natural(head.version, 'version'),
    state: head.state,
    fingerprint: head.fingerprint,
    created_at: natural(head.createdAt, 'createdAt'),
    updated_at: natural(head.updatedAt, 'updatedAt'),
    updated_by: storedText(head.updatedBy),
    expires_at: head.expiresAt === undefined ? null : natural(head.expiresAt, 'expiresAt'),
    overlap_until: natural(head.overlapUntil, 'overlapUntil'),
    labels: storedProse(head.labels),
    reason: storedProse(head.reason),
    tag: head.tag,
  };
}

function headOf(row: VaultHeadsTable): StoredHead {
  return {
    slot: row.slot,
    record: row.record,
    ownerKind: row.owner_kind,
    owner: readText(row.owner),
    purpose: readText(row.purpose),
    name: readText(row.name),
    version: row.version,
    state: row.state,
    fingerprint: row.fingerprint,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
    updatedBy: readText(row.updated_by),
    expiresAt: row.expires_at ?? undefined,
    overlapUntil: row.overlap_until,
    labels: readText(row.labels),
    reason: readText(row.reason),
    tag: row.tag,
    lastUsedAt: row.last_used_at ?? undefined,
  };
}

function keyOf(row: Tables['tg_vault_keys']): VaultKey {
  return {
    version: row.version,
    key: readText(row.key),
    state: row.state,
    check: readText(row.check_text),
    at: row.at,
    by: readText(row.made_by),
  };
}
