/** What the identity room needs to know: complete and checked, made by `config/compile`. */
export interface IdentityOptions {
  /** In file order; tried in turn until one accepts. */
  readonly entries: readonly AuthEntry[];
  /**
   * Entry names an endpoint accepts, by path; a path that is absent accepts every entry, an empty list nobody.
   * `anonymous` names the anonymous entry.
   */
  readonly endpointEntries: ReadonlyMap<string, readonly string[]>;
  /** Listening on loopback: anonymous callers are one principal. Elsewhere their key is the address prefix. */
  readonly loopback: boolean;
}

export type AuthEntry = BearerEntry | KeysEntry | AnonymousEntry;

export interface BearerEntry {
  readonly kind: 'bearer';
  readonly name: string;
  /** The shared secret, compared in constant time; never logged. */
  readonly token: string;
  readonly subject: string;
  readonly tenant: string | undefined;
  readonly tier: string | undefined;
  readonly roles: readonly string[];
  /** Granted scopes; an empty list grants none. */
  readonly scopes: readonly string[];
}

/** API keys that Tollgate issues; which there are is no configuration. */
export interface KeysEntry {
  readonly kind: 'keys';
  readonly name: string;
  /** Tier of keys that have none of their own. */
  readonly tier: string | undefined;
}

export interface AnonymousEntry {
  readonly kind: 'anonymous';
  readonly name: 'anonymous';
  readonly tier: string | undefined;
}
