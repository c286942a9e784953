import { TollgateError } from '../core/errors.ts';
import { randomId } from '../core/ids.ts';
import { addOnce, endOnce } from './once.ts';
import { inOrder } from './paging.ts';
import type { KeysTable, Session } from './schema.ts';
import { settingsOn } from './settings.ts';
import type { Keys, KeyUse, NewKey, Page, Part, ReplacedKey, StoredKey } from './storage.ts';
import { natural, readText, storedProse, storedText } from './values.ts';

const DIGEST = /^[0-9a-f]{64}$/;
const VERSION = 'keys_version';

/** API keys as digests. Rows are never deleted: whose a key was must be answerable after it is gone. */
export function keysOn(session: Session): Keys {
  const { db } = session;
  const settings = settingsOn(session);
  // In the same transaction: a gateway that dies in between would leave a revoked key in force at the others.
  const changed = (): Promise<void> => settings.set(VERSION, randomId(12));
  return {
    async add(key: NewKey, replaces?: ReplacedKey): Promise<boolean> {
      if (!DIGEST.test(key.digest))
        throw new TollgateError('invalid_params', 'The digest of a key is a SHA-256 in hex');
      if (!(await addOnce(db, 'tg_keys', rowOf(key)))) return false;
      await changed();
      if (replaces === undefined) return true;
      const until = natural(replaces.until, 'until');
      const ended = await db
        .updateTable('tg_keys')
        .set((is) => ({
          expires_at: is
            .case()
            .when('expires_at', '<', until)
            .then(is.ref('expires_at'))
            .else(is.cast<number>(is.val(until), 'bigint'))
            .end(),
        }))
        .where('id', '=', storedText(replaces.id))
        .where('revoked_at', 'is', null)
        .returning('id')
        .executeTakeFirst();
      if (ended !== undefined) return true;
      throw new TollgateError('invalid_params', 'The key that should be replaced does not exist or is revoked');
    },

    async revoke(id: string, by: string, at: number): Promise<boolean> {
      if (!(await endOnce(db, 'tg_keys', id, by, at))) return false;
      await changed();
      return true;
    },

    async get(id: string): Promise<StoredKey | undefined> {
      const row = await db.selectFrom('tg_keys').selectAll().where('id', '=', storedText(id)).executeTakeFirst();
      return row === undefined ? undefined : keyOf(row);
    },

    async version(): Promise<string> {
      return (await settings.get(VERSION)) ?? '';
    },

    async list(query: Part & { readonly at?: number } = {}): Promise<Page<StoredKey>> {
      let rows = db.selectFrom('tg_keys').selectAll();
      if (query.at !== undefined) {
        const at = natural(query.at, 'at');
        rows = rows
          .where('revoked_at', 'is', null)
          .where((is) => is.or([is('expires_at', 'is', null), is('expires_at', '>', at)]));
      }
      return inOrder(rows, 'id', query, keyOf);
    },

    async used(uses: readonly KeyUse[]): Promise<readonly boolean[]> {
      const moved: boolean[] = [];
      for (const { id, at } of uses) {
        const row = await db
          .updateTable('tg_keys')
          .set({ last_used_at: natural(at, 'at') })
          .where('id', '=', storedText(id))
          .where((is) => is.or([is('last_used_at', 'is', null), is('last_used_at', '<', at)]))
          .returning('id')
          .executeTakeFirst();
        moved.push(row !== undefined);
      }
      return moved;
    },
  };
}

function rowOf(key: NewKey): KeysTable {
  return {
    id: storedText(key.id),
    entry: storedText(key.entry),
    subject: storedText(key.subject),
    tenant: key.tenant === undefined ? null : storedText(key.tenant),
    tier: key.tier === undefined ? null : storedText(key.tier),
    roles: storedProse(JSON.stringify(key.roles)),
    scopes: storedProse(JSON.stringify(key.scopes)),
    label: key.label === undefined ? null : storedProse(key.label),
    digest: key.digest,
    created_at: natural(key.createdAt, 'createdAt'),
    created_by: storedText(key.createdBy),
    expires_at: key.expiresAt === undefined ? null : natural(key.expiresAt, 'expiresAt'),
    last_used_at: null,
    revoked_at: null,
    revoked_by: null,
  };
}

function keyOf(row: KeysTable): StoredKey {
  const text = (value: string | null): string | undefined => (value === null ? undefined : readText(value));
  return {
    id: readText(row.id),
    entry: readText(row.entry),
    subject: readText(row.subject),
    tenant: text(row.tenant),
    tier: text(row.tier),
    roles: JSON.parse(readText(row.roles)) as string[],
    scopes: JSON.parse(readText(row.scopes)) as string[],
    label: text(row.label),
    digest: row.digest,
    createdAt: row.created_at,
    createdBy: readText(row.created_by),
    expiresAt: row.expires_at ?? undefined,
    lastUsedAt: row.last_used_at ?? undefined,
    revokedAt: row.revoked_at ?? undefined,
    revokedBy: text(row.revoked_by),
  };
}
