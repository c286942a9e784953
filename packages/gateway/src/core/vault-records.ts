/** What the storage keeps for the vault: sealed texts and facts that may be seen. Shared by `vault/` and `store/`. */

export type VaultOwnerKind = 'gateway' | 'tenant' | 'principal';
/** `removed`: nothing is left but the number of the last version, so that an old one never becomes new again. */
export type VaultState = 'active' | 'revoked' | 'removed';

/** One secret, without its value. `tag` authenticates the rest: who can write to the database cannot make a head. */
export interface VaultHead {
  /** Digest of owner, purpose and name: 64 hexadecimal digits. */
  readonly slot: string;
  /** Random, the same for all versions. */
  readonly record: string;
  readonly ownerKind: VaultOwnerKind;
  /** Tenant or principal; empty for the gateway. */
  readonly owner: string;
  readonly purpose: string;
  readonly name: string;
  /** From 1, never reused. */
  readonly version: number;
  readonly state: VaultState;
  readonly fingerprint: string;
  readonly createdAt: number;
  readonly updatedAt: number;
  readonly updatedBy: string;
  readonly expiresAt: number | undefined;
  /** Until when the version before is given too; 0: not. */
  readonly overlapUntil: number;
  /** JSON text. */
  readonly labels: string;
  /** Why it was revoked; empty otherwise. */
  readonly reason: string;
  readonly tag: string;
}

export interface StoredHead extends VaultHead {
  /** Not authenticated: it is written often, and nothing depends on it. */
  readonly lastUsedAt: number | undefined;
}

/** The sealed value of one version. */
export interface VaultVersion {
  readonly slot: string;
  readonly version: number;
  readonly envelope: string;
  /** Number of the master key that wraps its data key. */
  readonly kek: number;
}

/** `active`: wraps new data keys. `previous`: only unwraps. `retired`: nothing needs it. `destroyed`: it is gone. */
export type VaultKeyState = 'active' | 'previous' | 'retired' | 'destroyed';

/** A version of the master key, as the vault knows it; the key itself is the provider's. */
export interface VaultKey {
  readonly version: number;
  /** The provider's name of it. */
  readonly key: string;
  readonly state: VaultKeyState;
  /** The vault's own root, sealed under this key: opening it proves that the key is the right one. */
  readonly check: string;
  readonly at: number;
  readonly by: string;
}

export interface VaultRewrap {
  /** Unique: `slot/version`. */
  readonly id: string;
  readonly slot: string;
  readonly version: number;
  readonly from: string;
  readonly to: string;
  readonly kek: number;
}

export interface VaultListQuery {
  readonly ownerKind?: VaultOwnerKind | undefined;
  readonly owner?: string | undefined;
  readonly purpose?: string | undefined;
}

/** The vault's part of the storage. Every write may be repeated; a conflict is an answer, not an error. */
/** The setting that changes with every change of a secret that people set, so that following them is one small read. */
export const VAULT_VERSION = 'vault_version';

export interface VaultRecords {
  keys(): Promise<readonly VaultKey[]>;
  /**
   * Adds a key, which becomes the one for new writes; the one before becomes `previous`. False: that number is taken by
   * another key.
   */
  addKey(key: VaultKey): Promise<boolean>;
  /** False: it is not in state `from`, or versions still need it. */
  moveKey(version: number, from: VaultKeyState, to: VaultKeyState): Promise<boolean>;
  /** The head, and its current and previous version where there are such. */
  read(slot: string): Promise<{ readonly head: StoredHead | undefined; readonly versions: readonly VaultVersion[] }>;
  /**
   * Writes the next version; older ones than the one before go, that one too where `head.overlapUntil` is 0. False: the
   * head is not at `head.version - 1`.
   */
  put(head: VaultHead, version: VaultVersion): Promise<boolean>;
  /** Closes the secret (`revoked`, `removed`) and erases its values. False: the head is not at `head.version`. */
  close(head: VaultHead): Promise<boolean>;
  list(query: VaultListQuery): Promise<readonly StoredHead[]>;
  used(slot: string, at: number): Promise<void>;
  /** Versions that another key than `kek` wraps, by slot and version, after the given ones. */
  notUnder(kek: number, after: string, limit: number): Promise<readonly VaultVersion[]>;
  /** How many versions each key wraps. */
  underEach(): Promise<readonly { readonly kek: number; readonly count: number }[]>;
  /** Replaces the sealed text where it is still `from`. */
  rewrap(list: readonly VaultRewrap[]): Promise<readonly boolean[]>;
  /** True: `holder` has the slot alone until `until`; false: somebody else has. Repeating it renews. */
  lease(slot: string, holder: string, now: number, until: number): Promise<boolean>;
  release(slot: string, holder: string): Promise<void>;
}
