import { type Kysely, sql } from 'kysely';
import type { SqlKind } from './schema.ts';

/** One step of the database's form. `up` runs in a transaction of its own; what was released is never edited. */
export interface Migration {
  readonly about: string;
  up(db: Kysely<unknown>, kind: SqlKind): Promise<void>;
}

/** Forward only; the position is the version, from 1. */
export const MIGRATIONS: readonly Migration[] = [
  { about: 'Ledger, tiers, grants, stops, decisions, actions', up: createTables },
  { about: 'Postings know whether their entry is open, and sums read one index', up: addOpenToPostings },
  { about: 'Sums of windows without end outlive their entries', up: addCarried },
  { about: 'API keys, as digests', up: addKeys },
  { about: 'Clients, codes and tokens of the OAuth bridge', up: addBridge },
  { about: 'The vault: sealed secrets, the versions of its master key, leases', up: addVault },
  { about: 'Definitions that were approved', up: addPins },
  { about: 'Callers whom operators keep out', up: addBlocks },
  { about: 'Refusals by access are found and kept by themselves', up: addAccessRefusals },
];

/** The settings table comes before the first migration, because the version is kept in it. */
export async function createMeta(db: Kysely<unknown>, kind: SqlKind): Promise<void> {
  await run(db, kind, `create table if not exists tg_meta (name text primary key, value text not null)${strict(kind)}`);
}

async function createTables(db: Kysely<unknown>, kind: SqlKind): Promise<void> {
  const table = (name: string, ...columns: readonly string[]) =>
    run(db, kind, `create table ${name} (${columns.join(', ')})${strict(kind)}`);
  await table(
    'tg_entries',
    'id text primary key',
    'at bigint not null',
    'principal text not null',
    'tenant text',
    'server text not null',
    'tool text not null',
    'endpoint text not null',
    'session text',
    'decision_id text',
    'expires_at bigint not null',
    'closed_at bigint',
    "state text not null check (state in ('open', 'settled', 'released', 'expired'))",
  );
  await run(db, kind, 'create index tg_entries_at on tg_entries (at)');
  await run(db, kind, 'create index tg_entries_principal on tg_entries (principal, at)');
  await run(db, kind, "create index tg_entries_open on tg_entries (id) where state = 'open'");
  await table(
    'tg_amounts',
    'entry_id text not null references tg_entries (id) on delete cascade',
    'unit text not null',
    'estimate bigint not null',
    'amount bigint not null',
    "source text not null check (source in ('fixed', 'reported', 'estimated', 'expired'))",
    'primary key (entry_id, unit)',
  );
  await table(
    'tg_postings',
    'entry_id text not null references tg_entries (id) on delete cascade',
    'rule text not null',
    'key text not null',
    'window_start bigint not null',
    'unit text not null',
    'amount bigint not null',
    'primary key (entry_id, rule, key, window_start, unit)',
  );
  await table(
    'tg_tiers',
    'principal text primary key',
    'tier text not null',
    'set_by text not null',
    'at bigint not null',
  );
  await table(
    'tg_grants',
    'id text primary key',
    'rule text not null',
    'key text',
    'principal text',
    'amount bigint not null',
    'unit text not null',
    'until bigint not null',
    'reason text not null',
    'granted_by text not null',
    'at bigint not null',
    'revoked_at bigint',
    'revoked_by text',
  );
  await run(db, kind, 'create index tg_grants_until on tg_grants (until)');
  await table(
    'tg_stops',
    'id text primary key',
    'scope text not null',
    'key text',
    'reason text not null',
    'stopped_by text not null',
    'at bigint not null',
    'until bigint',
    'lifted_at bigint',
    'lifted_by text',
  );
  await run(db, kind, 'create index tg_stops_active on tg_stops (at) where lifted_at is null');
  await table(
    'tg_decisions',
    'id text primary key',
    'at bigint not null',
    "verdict text not null check (verdict in ('admitted', 'refused'))",
    'principal text not null',
    'tool text not null',
    'method text not null',
    'reason text not null',
    'json text not null',
  );
  await run(db, kind, 'create index tg_decisions_at on tg_decisions (at, id)');
  await run(db, kind, 'create index tg_decisions_verdict on tg_decisions (verdict, at, id)');
  await run(db, kind, 'create index tg_decisions_principal on tg_decisions (principal, at, id)');
  await table(
    'tg_actions',
    'id text primary key',
    'at bigint not null',
    'done_by text not null',
    'action text not null',
    'details text not null',
  );
  await run(db, kind, 'create index tg_actions_at on tg_actions (at, id)');
}

async function addOpenToPostings(db: Kysely<unknown>, kind: SqlKind): Promise<void> {
  await run(db, kind, 'alter table tg_postings add column open bigint not null default 0');
  await run(
    db,
    kind,
    "update tg_postings set open = 1 where entry_id in (select id from tg_entries where state = 'open')",
  );
  await run(db, kind, 'create index tg_postings_sum on tg_postings (rule, key, window_start, unit, open, amount)');
}

async function addCarried(db: Kysely<unknown>, kind: SqlKind): Promise<void> {
  await run(
    db,
    kind,
    `create table tg_carried (rule text not null, key text not null, window_start bigint not null, unit text not null,
      amount bigint not null, primary key (rule, key, window_start, unit))${strict(kind)}`,
  );
}

async function addKeys(db: Kysely<unknown>, kind: SqlKind): Promise<void> {
  await run(
    db,
    kind,
    `create table tg_keys (id text primary key, entry text not null, subject text not null, tenant text, tier text,
      roles text not null, scopes text not null, label text, digest text not null, created_at bigint not null,
      created_by text not null, expires_at bigint, last_used_at bigint, revoked_at bigint, revoked_by text)${strict(kind)}`,
  );
  await run(db, kind, 'create index tg_keys_live on tg_keys (id) where revoked_at is null');
}

async function addBridge(db: Kysely<unknown>, kind: SqlKind): Promise<void> {
  const end = strict(kind);
  await run(
    db,
    kind,
    `create table tg_bridge_clients (id text primary key, json text not null, at bigint not null, used_at bigint,
      expires_at bigint not null)${end}`,
  );
  await run(db, kind, 'create index tg_bridge_clients_unused on tg_bridge_clients (at) where used_at is null');
  await run(
    db,
    kind,
    `create table tg_bridge_families (id text primary key, entry text not null, principal text not null,
      client text not null, resource text not null, at bigint not null, expires_at bigint not null,
      ended_at bigint)${end}`,
  );
  await run(db, kind, 'create index tg_bridge_families_end on tg_bridge_families (expires_at)');
  await run(
    db,
    kind,
    `create table tg_bridge_items (digest text primary key,
      kind text not null check (kind in ('state', 'code', 'access', 'refresh')), family text, sealed text not null,
      at bigint not null, expires_at bigint not null, used_at bigint, used_by text)${end}`,
  );
  await run(db, kind, 'create index tg_bridge_items_end on tg_bridge_items (kind, expires_at)');
}

async function addVault(db: Kysely<unknown>, kind: SqlKind): Promise<void> {
  const table = (name: string, ...columns: readonly string[]) =>
    run(db, kind, `create table ${name} (${columns.join(', ')})${strict(kind)}`);
  await table(
    'tg_vault_heads',
    'slot text primary key',
    'record text not null',
    "owner_kind text not null check (owner_kind in ('gateway', 'tenant', 'principal'))",
    'owner text not null',
    'purpose text not null',
    'name text not null',
    'version bigint not null',
    "state text not null check (state in ('active', 'revoked', 'removed'))",
    'fingerprint text not null',
    'created_at bigint not null',
    'updated_at bigint not null',
    'updated_by text not null',
    'expires_at bigint',
    'overlap_until bigint not null',
    'labels text not null',
    'reason text not null',
    'tag text not null',
    'last_used_at bigint',
  );
  await run(db, kind, 'create index tg_vault_heads_owner on tg_vault_heads (owner_kind, owner, purpose)');
  await table(
    'tg_vault_versions',
    'slot text not null',
    'version bigint not null',
    'envelope text not null',
    'kek bigint not null',
    'primary key (slot, version)',
  );
  await run(db, kind, 'create index tg_vault_versions_kek on tg_vault_versions (kek)');
  await table(
    'tg_vault_keys',
    'version bigint primary key',
    'key text not null',
    "state text not null check (state in ('active', 'previous', 'retired', 'destroyed'))",
    'check_text text not null',
    'at bigint not null',
    'made_by text not null',
  );
  await table('tg_vault_leases', 'slot text primary key', 'holder text not null', 'until bigint not null');
}

async function addPins(db: Kysely<unknown>, kind: SqlKind): Promise<void> {
  await run(
    db,
    kind,
    `create table tg_pins (id text primary key, server text not null,
      kind text not null check (kind in ('tool', 'prompt', 'template')), name text not null, digest text not null,
      source text not null, definition text not null, approved_by text not null, at bigint not null)${strict(kind)}`,
  );
}

async function addBlocks(db: Kysely<unknown>, kind: SqlKind): Promise<void> {
  await run(
    db,
    kind,
    `create table tg_blocks (id text primary key, who text not null, reason text not null, blocked_by text not null,
      at bigint not null, until bigint, lifted_at bigint, lifted_by text)${strict(kind)}`,
  );
  await run(db, kind, 'create index tg_blocks_active on tg_blocks (at) where lifted_at is null');
}

/** The reasons of that version: a later one makes another index. */
async function addAccessRefusals(db: Kysely<unknown>, kind: SqlKind): Promise<void> {
  await run(
    db,
    kind,
    `create index tg_decisions_access on tg_decisions (at, id)
      where reason in ('insufficient_scope', 'access_denied', 'blocked', 'hidden')`,
  );
}

/** SQLite checks types in STRICT tables only. */
function strict(kind: SqlKind): string {
  return kind === 'sqlite' ? ' strict' : '';
}

/** Integers have eight bytes: `bigint` in PostgreSQL, `integer` in SQLite, whose STRICT tables know no `bigint`. */
async function run(db: Kysely<unknown>, kind: SqlKind, statement: string): Promise<void> {
  await sql.raw(kind === 'sqlite' ? statement.replaceAll('bigint', 'integer') : statement).execute(db);
}
