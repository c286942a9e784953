import type { Kysely, Transaction } from 'kysely';
import type { BridgeItemKind } from '../core/bridge-records.ts';
import type { VaultKeyState, VaultOwnerKind, VaultState } from '../core/vault-records.ts';
import type { AmountSource, HoldState, Verdict } from './storage.ts';

/** The tables as the latest migration leaves them. Booleans are 0 and 1: SQLite has no others. */
export interface Tables {
  tg_meta: { name: string; value: string };
  tg_entries: EntriesTable;
  tg_amounts: { entry_id: string; unit: string; estimate: number; amount: number; source: AmountSource };
  tg_postings: {
    entry_id: string;
    rule: string;
    key: string;
    window_start: number;
    unit: string;
    amount: number;
    open: number;
  };
  tg_tiers: { principal: string; tier: string; set_by: string; at: number };
  tg_grants: GrantsTable;
  tg_stops: StopsTable;
  tg_blocks: BlocksTable;
  tg_keys: KeysTable;
  tg_decisions: DecisionsTable;
  tg_bridge_clients: { id: string; json: string; at: number; used_at: number | null; expires_at: number };
  tg_bridge_families: BridgeFamiliesTable;
  tg_bridge_items: BridgeItemsTable;
  tg_vault_heads: VaultHeadsTable;
  tg_vault_versions: { slot: string; version: number; envelope: string; kek: number };
  tg_vault_keys: {
    version: number;
    key: string;
    state: VaultKeyState;
    check_text: string;
    at: number;
    made_by: string;
  };
  tg_vault_leases: { slot: string; holder: string; until: number };
  tg_pins: PinsTable;
  tg_actions: { id: string; at: number; done_by: string; action: string; details: string };
}

export interface VaultHeadsTable {
  slot: string;
  record: string;
  owner_kind: VaultOwnerKind;
  owner: string;
  purpose: string;
  name: string;
  version: number;
  state: VaultState;
  fingerprint: string;
  created_at: number;
  updated_at: number;
  updated_by: string;
  expires_at: number | null;
  overlap_until: number;
  labels: string;
  reason: string;
  tag: string;
  last_used_at: number | null;
}

export interface EntriesTable {
  id: string;
  at: number;
  principal: string;
  tenant: string | null;
  server: string;
  tool: string;
  endpoint: string;
  session: string | null;
  decision_id: string | null;
  expires_at: number;
  closed_at: number | null;
  state: HoldState;
}

export interface GrantsTable {
  id: string;
  rule: string;
  key: string | null;
  principal: string | null;
  amount: number;
  unit: string;
  until: number;
  reason: string;
  granted_by: string;
  at: number;
  revoked_at: number | null;
  revoked_by: string | null;
}

export interface StopsTable {
  id: string;
  scope: string;
  key: string | null;
  reason: string;
  stopped_by: string;
  at: number;
  until: number | null;
  lifted_at: number | null;
  lifted_by: string | null;
}

export interface KeysTable {
  id: string;
  entry: string;
  subject: string;
  tenant: string | null;
  tier: string | null;
  /** JSON lists. */
  roles: string;
  scopes: string;
  label: string | null;
  digest: string;
  created_at: number;
  created_by: string;
  expires_at: number | null;
  last_used_at: number | null;
  revoked_at: number | null;
  revoked_by: string | null;
}

export interface BlocksTable {
  id: string;
  who: string;
  reason: string;
  blocked_by: string;
  at: number;
  until: number | null;
  lifted_at: number | null;
  lifted_by: string | null;
}

export interface DecisionsTable {
  id: string;
  at: number;
  verdict: Verdict;
  principal: string;
  tool: string;
  method: string;
  reason: string;
  json: string;
}

export interface BridgeItemsTable {
  digest: string;
  kind: BridgeItemKind;
  family: string | null;
  sealed: string;
  at: number;
  expires_at: number;
  used_at: number | null;
  used_by: string | null;
}

export interface BridgeFamiliesTable {
  id: string;
  entry: string;
  principal: string;
  client: string;
  resource: string;
  at: number;
  expires_at: number;
  ended_at: number | null;
}

export interface PinsTable {
  id: string;
  server: string;
  kind: 'tool' | 'prompt' | 'template';
  name: string;
  digest: string;
  source: string;
  definition: string;
  approved_by: string;
  at: number;
}

export type SqlKind = 'sqlite' | 'postgres';

/** A connection or an open transaction, and which database it speaks to. */
export interface Session {
  readonly kind: SqlKind;
  readonly db: Kysely<Tables> | Transaction<Tables>;
}
