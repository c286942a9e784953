/** What the OAuth bridge needs to know: complete and checked, made by `config/compile`. */
export interface BridgeEntry {
  /** Name of the auth entry. */
  readonly name: string;
  /** The identity provider, as its metadata names itself. */
  readonly issuer: string;
  readonly clientId: string;
  readonly clientSecret: string;
  /** Scopes of this gateway that people may give to their clients, beside those that their claims carry. */
  readonly scopes: readonly string[];
  /** Scopes that are asked of the provider; undefined: `openid profile email`, and `offline_access` where it has that. */
  readonly ask: readonly string[] | undefined;
  /** More parameters of the request to the provider (`prompt`, `access_type`, `hd`). */
  readonly parameters: Readonly<Record<string, string>>;
}

/** What one endpoint is to the bridge. */
export interface BridgeEndpoint {
  readonly path: string;
  /** Its canonical URI: tokens are made for it and for nothing else. */
  readonly resource: string;
  /** Names of the bridged entries that it accepts, in file order. */
  readonly entries: readonly string[];
  /** Scopes that clients may meet there. */
  readonly scopes: readonly string[];
}

/** The bridge as the configuration in force has it. */
export interface BridgeView {
  /** Base URL of the gateway without a trailing slash; issuer of the whole gateway. */
  readonly base: string;
  readonly entries: ReadonlyMap<string, BridgeEntry>;
  readonly endpoints: readonly BridgeEndpoint[];
}

/** Milliseconds. RFC 6749 section 4.1.2 allows codes ten minutes; a client redeems one at once. */
export const CODE_LIFE = 60_000;
export const STATE_LIFE = 10 * 60_000;
export const ACCESS_LIFE = 30 * 60_000;
export const REFRESH_LIFE = 7 * 86_400_000;
/** How long a browser's approval of a client is remembered, where its person asked for that. */
export const CONSENT_LIFE = 86_400_000;
/** Registrations that nobody used, and since their last use. */
export const UNUSED_CLIENT_LIFE = 86_400_000;
export const CLIENT_LIFE = 90 * 86_400_000;
export const MAX_CLIENTS = 10_000;
/** Sign-ins under way, and codes that wait to be redeemed. */
export const MAX_SIGN_INS = 10_000;
