/** What the upstream room needs to know about a server: complete and checked, made by `config/compile`. */
export interface StdioTarget {
  readonly kind: 'stdio';
  readonly command: string;
  readonly args: readonly string[];
  /** Declared environment, expanded. The child gets these and a minimal base, nothing else. */
  readonly env: Readonly<Record<string, string>>;
  /** Absolute. */
  readonly cwd: string;
}

export interface HttpTarget {
  readonly kind: 'http';
  readonly url: URL;
  /** Operator's headers, expanded; may hold secrets. */
  readonly headers: Readonly<Record<string, string>>;
  /** Undefined: plain HTTP. */
  readonly tls?: ServerTls | undefined;
}

/** How a server is recognised; it is verified in any case. */
export interface ServerTls {
  /** PEM file of authorities, absolute; undefined: those of the system. */
  readonly ca: string | undefined;
  /** SHA-256 of public keys (SPKI), base64, one of which must be in the chain; undefined: not asked. */
  readonly pins: readonly string[] | undefined;
  readonly serverName: string | undefined;
  readonly minVersion: 'TLSv1.2' | 'TLSv1.3';
}

export interface InstanceOptions {
  /** `auto`: shared for modern servers; for legacy ones per session, else per principal. */
  readonly mode: 'auto' | 'shared' | 'per-session' | 'per-principal';
  readonly max: number;
  /** Milliseconds without a call after which an instance is stopped. */
  readonly idle: number;
}

export interface ServerTimeouts {
  readonly connect: number;
  readonly firstByte: number;
  readonly idle: number;
  readonly request: number;
}

/** A client that an operator registered at an authorization server. Its secrets go to that issuer and to no other. */
export interface RegisteredClient {
  readonly clientId: string;
  readonly issuer: string;
  readonly clientSecret: string | undefined;
  readonly privateKey: SigningKey | undefined;
}

/** PKCS #8 in PEM, for JWT client assertions (RFC 7523). */
export interface SigningKey {
  readonly pem: string;
  readonly algorithm: string;
}

/** The grant of machines (RFC 6749 section 4.4). */
export interface ClientCredentialsOptions {
  readonly client: RegisteredClient;
  readonly scopes: readonly string[];
}

/** A person signs in with a browser: once for everybody (`gateway`), or each caller with an account of their own. */
export interface OAuthOptions {
  readonly kind: 'oauth';
  readonly mode: 'gateway' | 'user';
  /** Undefined: a client id metadata document or dynamic registration, as the authorization server allows. */
  readonly client: RegisteredClient | undefined;
  /** HTTPS URL of a client id metadata document. Undefined: the gateway's own, where `publicUrl` is HTTPS. */
  readonly clientMetadataUrl: string | undefined;
  /** The only authorization server to sign in at; undefined: the one that the server names. */
  readonly issuer: string | undefined;
  /** Asked for besides what the server's challenge names. */
  readonly scopes: readonly string[];
  /** What lists are read with where calls need the caller's own account. */
  readonly lists: ClientCredentialsOptions | undefined;
}

export interface MachineOptions extends ClientCredentialsOptions {
  readonly kind: 'client-credentials';
}

/** The caller's own token is exchanged at the operator's token endpoint (RFC 8693); the server never sees it. */
export interface TokenExchangeOptions {
  readonly kind: 'token-exchange';
  readonly tokenEndpoint: string;
  readonly clientId: string | undefined;
  readonly clientSecret: string | undefined;
  readonly audience: string | undefined;
  readonly scopes: readonly string[];
  /** Type of the caller's token, and of the wanted one, without `urn:ietf:params:oauth:token-type:`. */
  readonly subjectTokenType: 'access_token' | 'id_token' | 'jwt';
  readonly requestedTokenType: 'access_token' | 'jwt' | undefined;
  readonly lists: ClientCredentialsOptions | undefined;
}

/** Enterprise-managed authorization (SEP-990): ID-JAG of the identity provider, then RFC 7523 at the server's issuer. */
export interface EnterpriseOptions {
  readonly kind: 'enterprise';
  readonly idp: {
    readonly tokenEndpoint: string;
    readonly clientId: string;
    readonly clientSecret: string | undefined;
  };
  /** The gateway as a client of the server's authorization server. */
  readonly client: RegisteredClient;
  readonly scopes: readonly string[];
  readonly lists: ClientCredentialsOptions | undefined;
}

export type ServerAuth = OAuthOptions | MachineOptions | TokenExchangeOptions | EnterpriseOptions;

/** True where every caller has a credential of their own. */
export function isPerCaller(auth: ServerAuth | undefined): boolean {
  return (
    auth !== undefined && auth.kind !== 'client-credentials' && !(auth.kind === 'oauth' && auth.mode === 'gateway')
  );
}

export interface ServerOptions {
  readonly name: string;
  readonly target: StdioTarget | HttpTarget;
  readonly protocol: 'auto' | 'modern' | 'legacy' | 'sse';
  /** Headers or environment have secrets of the caller or its tenant: no two callers share a process. Default false. */
  readonly ownSecrets?: boolean;
  /** How the gateway gets the tokens it sends; undefined: it sends none, and `headers` may hold a credential. */
  readonly auth: ServerAuth | undefined;
  readonly timeout: ServerTimeouts;
  readonly instances: InstanceOptions;
  /** Connections kept to an HTTP server. */
  readonly pool: { readonly max: number };
  /** Bytes of one answer or event. */
  readonly maxResponse: number;
}
