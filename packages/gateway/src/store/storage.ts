import type { BridgeRecords } from '../core/bridge-records.ts';
import type { Block, Grant, Stop } from '../core/operator-records.ts';
import type { VaultRecords } from '../core/vault-records.ts';

/**
 * What must last, whatever holds it: the faces of the ledger, tiers, grants, stops, keys, decisions, settings, actions and pins.
 * Amounts are integers in micro-units within ±2^53, times are integer milliseconds since the epoch.
 *
 * Every write is idempotent by its id, so that one whose outcome is unknown can be repeated. A method rejects with
 * `storage_unavailable` in bounded time while the database is away, and with `invalid_params` for values that cannot
 * be kept exactly. A read sees every write that was answered before it was asked.
 */
export interface Storage {
  readonly ledger: Ledger;
  readonly tiers: Tiers;
  readonly grants: Grants;
  readonly stops: Stops;
  readonly blocks: Blocks;
  readonly keys: Keys;
  readonly decisions: Decisions;
  readonly settings: Settings;
  readonly actions: Actions;
  readonly bridge: BridgeRecords;
  readonly vault: VaultRecords;
  readonly pins: Pins;
}

/** Which part of a list: at most `limit` (default 1000, at most 10,000) after the cursor that the last part ended with. */
export interface Part {
  readonly limit?: number;
  readonly after?: string;
}

export interface Page<T> {
  readonly items: readonly T[];
  /** Cursor of the next part; undefined when this is the last. */
  readonly next: string | undefined;
}

export type HoldState = 'open' | 'settled' | 'released' | 'expired';
/** Where the amount of an entry comes from. */
export type AmountSource = 'fixed' | 'reported' | 'estimated' | 'expired';
export type Amounts = Readonly<Record<string, number>>;

/** One rule's share of a hold: which counter it is charged to. */
export interface Posting {
  readonly rule: string;
  /** Digest of the rule's key, 16 hexadecimal digits. */
  readonly key: string;
  /** Start of the window in milliseconds; 0 for a window without end (`total`). */
  readonly windowStart: number;
  readonly unit: string;
}

/** A hold, written before its call is dispatched. */
export interface NewEntry {
  readonly id: string;
  readonly at: number;
  readonly principal: string;
  readonly tenant?: string | undefined;
  readonly server: string;
  readonly tool: string;
  readonly endpoint: string;
  readonly session?: string | undefined;
  readonly decisionId?: string | undefined;
  readonly expiresAt: number;
  /** What is held, by unit (`USD`, `credits`). */
  readonly estimate: Amounts;
  readonly postings: readonly Posting[];
}

export interface EntryAmount {
  readonly unit: string;
  readonly estimate: number;
  /** What counts: the estimate while open, the charge once settled, 0 once released. */
  readonly amount: number;
  readonly source: AmountSource;
}

export interface LedgerEntry {
  readonly id: string;
  readonly at: number;
  readonly principal: string;
  readonly tenant: string | undefined;
  readonly server: string;
  readonly tool: string;
  readonly endpoint: string;
  readonly session: string | undefined;
  readonly decisionId: string | undefined;
  readonly expiresAt: number;
  readonly closedAt: number | undefined;
  readonly state: HoldState;
  readonly amounts: readonly EntryAmount[];
  readonly postings: readonly (Posting & { readonly amount: number })[];
}

/** What a call came to. Units left out are charged as they were held. */
export interface EntrySettlement {
  readonly id: string;
  readonly at: number;
  /** Negative only from source `fixed`: what an operator gave back. */
  readonly amounts?: Amounts;
  readonly source: AmountSource;
}

export interface EntryRelease {
  readonly id: string;
  readonly at: number;
}

export interface EntryExpiry {
  readonly id: string;
  readonly at: number;
  /** What is assumed of a call that nobody settled. Default `spent`. */
  readonly assume?: 'spent' | 'free';
}

export interface EntryRenewal {
  readonly id: string;
  readonly expiresAt: number;
}

/** The state of an entry after a write, and whether this write changed it. `unknown`: there is no such entry. */
export interface EntryResult {
  readonly id: string;
  readonly state: HoldState | 'unknown';
  readonly changed: boolean;
}

export interface SpentQuery {
  readonly rule: string;
  readonly key?: string;
  readonly windowStart?: number;
  readonly unit?: string;
}

/** `total` is `settled` plus `open`. */
export interface Spent {
  readonly settled: number;
  readonly open: number;
  readonly total: number;
}

/** What one counter must read, from the ledger. */
export interface LedgerCounter extends Posting, Spent {}

export type UsageGroup = 'principal' | 'tenant' | 'server' | 'tool' | 'endpoint' | 'day';

export interface UsageQuery {
  readonly principal?: string;
  readonly tenant?: string;
  readonly server?: string;
  readonly tool?: string;
  /** Entries at or after `from` and before `to`. */
  readonly from: number;
  readonly to: number;
  /** Default: one row a unit. `day` is the UTC day, as its first millisecond. */
  readonly groupBy?: readonly UsageGroup[];
}

export interface UsageRow {
  readonly group: Readonly<Partial<Record<UsageGroup, string | number | undefined>>>;
  readonly unit: string;
  readonly calls: number;
  readonly settled: number;
  readonly open: number;
}

/** The truth for money: what was held, charged and given back. Lists are written in one transaction, in their order. */
export interface Ledger {
  /** A repeated id changes nothing and answers with the state of the first. */
  open(entries: readonly NewEntry[]): Promise<readonly EntryResult[]>;
  /** Charges open entries and, once, expired ones; settled and released ones stay as they are. */
  settle(settlements: readonly EntrySettlement[]): Promise<readonly EntryResult[]>;
  /** Gives back open entries; all others stay as they are. */
  release(releases: readonly EntryRelease[]): Promise<readonly EntryResult[]>;
  /** Closes open entries by assumption; a later `settle` replaces the assumption, once. */
  expire(expiries: readonly EntryExpiry[]): Promise<readonly EntryResult[]>;
  /** Moves the expiry of open entries. */
  renew(renewals: readonly EntryRenewal[]): Promise<readonly EntryResult[]>;
  entry(id: string): Promise<LedgerEntry | undefined>;
  spent(query: SpentQuery): Promise<Spent>;
  /** Open entries by id, with their postings: the holds that a restart finds. */
  openHolds(part?: Part): Promise<Page<LedgerEntry>>;
  usage(query: UsageQuery): Promise<readonly UsageRow[]>;
  /** Every counter of the ledger; of one rule, and of windows that start at or after `from`, when given. */
  counters(query?: Part & { readonly rule?: string; readonly from?: number }): Promise<Page<LedgerCounter>>;
}

export interface TierRecord {
  readonly principal: string;
  readonly tier: string;
  readonly by: string;
  readonly at: number;
}

export interface Tiers {
  tier(principal: string): Promise<TierRecord | undefined>;
  /** The latest `at` wins, so that a repeat never undoes a later change. */
  setTier(principal: string, tier: string, by: string, at: number): Promise<void>;
  allTiers(part?: Part): Promise<Page<TierRecord>>;
}

export interface Grants {
  /** False: a grant of that id was there already. */
  add(grant: Grant): Promise<boolean>;
  /** Begun, not over, not revoked. */
  active(at: number): Promise<readonly Grant[]>;
  /** False: unknown or revoked already. */
  revoke(id: string, by: string, at: number): Promise<boolean>;
}

export interface Stops {
  /** False: a stop of that id was there already. */
  add(stop: Stop): Promise<boolean>;
  /** Neither lifted nor over. */
  active(at: number): Promise<readonly Stop[]>;
  /** False: unknown or lifted already. */
  lift(id: string, by: string, at: number): Promise<boolean>;
}

/** An API key that Tollgate issued. Of the key itself only a digest is kept: nobody can make the key from this. */
export interface StoredKey {
  readonly id: string;
  /** The auth entry that accepts it. */
  readonly entry: string;
  readonly subject: string;
  readonly tenant: string | undefined;
  readonly tier: string | undefined;
  readonly roles: readonly string[];
  readonly scopes: readonly string[];
  readonly label: string | undefined;
  /** SHA-256 of the whole key, 64 hexadecimal digits. */
  readonly digest: string;
  readonly createdAt: number;
  readonly createdBy: string;
  readonly expiresAt: number | undefined;
  readonly lastUsedAt: number | undefined;
  readonly revokedAt: number | undefined;
  readonly revokedBy: string | undefined;
}

export type NewKey = Omit<StoredKey, 'lastUsedAt' | 'revokedAt' | 'revokedBy'>;

/** A key that a new one takes the place of: from `until` on it is not accepted any more. */
export interface ReplacedKey {
  readonly id: string;
  readonly until: number;
}

export interface KeyUse {
  readonly id: string;
  readonly at: number;
}

export interface Keys {
  /** Adds a key and, in the same transaction, ends the one that it replaces. False: there is a key of that id. */
  add(key: NewKey, replaces?: ReplacedKey): Promise<boolean>;
  /** False: unknown or revoked already. */
  revoke(id: string, by: string, at: number): Promise<boolean>;
  get(id: string): Promise<StoredKey | undefined>;
  /** By id. `at`: only those that are accepted at that moment. */
  list(query?: Part & { readonly at?: number }): Promise<Page<StoredKey>>;
  /** Changes with every `add` and `revoke`, in their transaction; empty before the first. */
  version(): Promise<string>;
  /** Moves the last use of keys on, never back. */
  used(uses: readonly KeyUse[]): Promise<readonly boolean[]>;
}

export interface Blocks {
  /** False: a block of that id was there already. */
  add(block: Block): Promise<boolean>;
  /** Neither lifted nor over. */
  active(at: number): Promise<readonly Block[]>;
  /** False: unknown or lifted already. */
  lift(id: string, by: string, at: number): Promise<boolean>;
}

export type Verdict = 'admitted' | 'refused';

export interface DecisionRecord {
  readonly id: string;
  readonly at: number;
  readonly verdict: Verdict;
  readonly principal: string;
  /** Canonical id of the tool, or what else was asked for. */
  readonly tool: string;
  readonly method: string;
  readonly reason: string;
  /** The record itself, as JSON text. */
  readonly json: string;
}

export interface DecisionQuery extends Part {
  readonly verdict?: Verdict;
  /** What has decided: limits (admissions included), or access. Default: both. */
  readonly by?: 'limits' | 'access';
  /** False: without those of which their caller was told that the name does not exist. Default true. */
  readonly hidden?: boolean;
  readonly principal?: string;
  readonly from?: number;
  readonly to?: number;
}

export interface Decisions {
  /** Per record, whether it was new. Old ones beyond the retention go at the same time. */
  put(records: readonly DecisionRecord[]): Promise<readonly boolean[]>;
  get(id: string): Promise<DecisionRecord | undefined>;
  /** The latest first. */
  list(query?: DecisionQuery): Promise<Page<DecisionRecord>>;
}

export interface Settings {
  get(name: string): Promise<string | undefined>;
  set(name: string, value: string): Promise<void>;
  /** Sets what is not set yet and returns what is: of many that ask at once, all get the same. */
  once(name: string, value: string): Promise<string>;
  remove(name: string): Promise<void>;
  /** Random id of this ledger, made with the database. A Redis that holds money of another ledger differs in it. */
  ledgerId(): Promise<string>;
}

/** A definition of a tool, prompt or template that was approved. */
export interface PinRecord {
  /** Digest of server, kind and name, 64 hexadecimal digits. */
  readonly id: string;
  readonly server: string;
  readonly kind: 'tool' | 'prompt' | 'template';
  readonly name: string;
  /** SHA-256 of the definition as canonical JSON. */
  readonly digest: string;
  /** Digest of the program or address that offered it. */
  readonly source: string;
  readonly by: string;
  readonly at: number;
}

export interface Pins {
  /** Keeps the first of each id, with its definition; answers with what is kept of all ids that were given. */
  add(pins: readonly (PinRecord & { readonly definition: string })[]): Promise<readonly PinRecord[]>;
  /** In place of what was kept of these ids. The latest `at` wins, so that a repeat never undoes a later approval. */
  approve(pins: readonly (PinRecord & { readonly definition: string })[]): Promise<void>;
  /** The definition that was approved; empty when it was too large to be kept. Undefined: unknown. */
  definition(id: string): Promise<string | undefined>;
  all(part?: Part): Promise<Page<PinRecord>>;
}

export interface ActionRecord {
  readonly id: string;
  readonly at: number;
  readonly by: string;
  /** `grant`, `reset`, `stop`, `resume`, `tier`, … */
  readonly action: string;
  /** JSON text. */
  readonly details: string;
}

export interface Actions {
  /** False: an action of that id was there already. */
  append(action: ActionRecord): Promise<boolean>;
  /** The latest first. */
  list(query?: Part & { readonly from?: number; readonly to?: number }): Promise<Page<ActionRecord>>;
}
