/** The face of the vault that other rooms see; `vault/` implements it, tests may use a map. */

/** Whose secret it is. One owner's secrets are never found under another. */
export type SecretOwner =
  | { readonly kind: 'gateway' }
  | { readonly kind: 'tenant'; readonly tenant: string }
  | { readonly kind: 'principal'; readonly principal: string };

/** What the secret is for; one name may stand once per owner and purpose. */
export type SecretPurpose =
  | 'secret'
  | 'provider-key'
  | 'upstream-token'
  | 'upstream-client'
  | 'identity-assertion'
  | 'bridge';

export interface SecretId {
  readonly owner: SecretOwner;
  readonly purpose: SecretPurpose;
  /** At most 200 characters. */
  readonly name: string;
}

/** What may be shown of a secret: never its value. */
export interface SecretInfo {
  readonly id: SecretId;
  readonly version: number;
  /** First 12 hex digits of a keyed digest of the value: equal values have equal fingerprints. */
  readonly fingerprint: string;
  readonly state: 'active' | 'expired' | 'revoked';
  /** Milliseconds since the epoch. */
  readonly createdAt: number;
  readonly updatedAt: number;
  readonly expiresAt: number | undefined;
  readonly lastUsedAt: number | undefined;
  readonly updatedBy: string;
  /** Free facts that are no secret (provider, scopes, user agent of the sign-in). */
  readonly labels: Readonly<Record<string, string>>;
}

export interface SecretWrite {
  /** Principal id, or `cli`, or `gateway`. */
  readonly by: string;
  readonly expiresAt?: number | undefined;
  readonly labels?: Readonly<Record<string, string>> | undefined;
  /** Milliseconds for which the version before is still given by `previous`; default 0. */
  readonly overlap?: number | undefined;
}

/** Every method rejects with `vault_unavailable` (sealed, key provider or storage away), never with a guess. */
export interface Secrets {
  /**
   * The value, for use now: not kept, not logged. `reason` goes to the record of the use. Undefined: none, expired or
   * revoked.
   */
  get(id: SecretId, reason: string): Promise<string | undefined>;
  /** The version before, while its overlap lasts. */
  previous(id: SecretId, reason: string): Promise<string | undefined>;
  info(id: SecretId): Promise<SecretInfo | undefined>;
  put(id: SecretId, value: string, write: SecretWrite): Promise<SecretInfo>;
  /** False: there was none. */
  remove(id: SecretId, by: string): Promise<boolean>;
  /** Never given again, kept for the record. False: there was none. */
  revoke(id: SecretId, by: string, reason: string): Promise<boolean>;
  list(owner: SecretOwner | 'all', purpose?: SecretPurpose): Promise<readonly SecretInfo[]>;
  /** Runs alone among all gateways on this storage, for this secret: a refresh token is used once. Bounded wait, 20 s. */
  exclusive<T>(id: SecretId, run: () => Promise<T>): Promise<T>;
}
