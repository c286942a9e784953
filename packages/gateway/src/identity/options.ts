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

export type AuthEntry = BearerEntry | TokenEntry | KeysEntry | AnonymousEntry;

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

/** Tokens of one issuer: `jwt` and `oidc` entries. */
export interface TokenEntry {
  readonly kind: 'jwt' | 'oidc';
  readonly name: string;
  readonly rules: TokenRules;
  readonly keys: KeyOptions;
}

/** Where the keys of an issuer are. */
export type KeyOptions =
  | { readonly kind: 'secret'; readonly secret: string }
  | { readonly kind: 'publicKey'; readonly pem: string }
  | { readonly kind: 'inline'; readonly jwks: JwkSet }
  | { readonly kind: 'file'; readonly path: string }
  | { readonly kind: 'url'; readonly url: string }
  /** Found by OpenID Connect Discovery at the issuer. */
  | { readonly kind: 'discovery' };

export interface JwkSet {
  readonly keys: readonly Readonly<Record<string, unknown>>[];
}

/** What is asked of a token, whatever key signed it. */
export interface TokenRules {
  readonly issuer: string;
  /** Undefined: the URI of the endpoint that is called. */
  readonly audience: readonly string[] | undefined;
  /** The only ones taken; what the token's header says never adds one. */
  readonly algorithms: readonly string[];
  /** Milliseconds that clocks may differ. */
  readonly skew: number;
  /** False: `exp` is neither required nor looked at. */
  readonly verifyExpiry: boolean;
  /** `typ` that the header must have; undefined: any. */
  readonly type: string | undefined;
  /** Scopes and claims that a token must carry. */
  readonly scopes: readonly string[];
  readonly require: readonly string[];
  /** Tier where the token says none. */
  readonly tier: string | undefined;
  readonly map: ClaimMap;
}

/** Which claims mean what; a claim that is not named here means nothing. */
export interface ClaimMap {
  /** Default `sub`. */
  readonly subject: string | undefined;
  readonly tenant: string | undefined;
  /** Tenants that this issuer may speak for; undefined: all. With a list, a token of no tenant is refused too. */
  readonly tenants: readonly string[] | undefined;
  readonly tier: string | undefined;
  readonly roles:
    | {
        readonly claim: string;
        /** Roles by the claim's value; only these give one of the four that open the admin surfaces. */
        readonly grant: ReadonlyMap<string, readonly string[]>;
      }
    | undefined;
  readonly session: string | undefined;
}

export interface AnonymousEntry {
  readonly kind: 'anonymous';
  readonly name: 'anonymous';
  readonly tier: string | undefined;
}
