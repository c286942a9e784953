/**
 * The identity provider as the gateway sees it: one confidential client that its operator registered there. Discovery,
 * the token requests and the comparison of `iss` are the SDK's, signatures are jose's.
 */
import type { AuthorizationServerMetadata, OAuthTokens } from '@modelcontextprotocol/client';
import { createRemoteJWKSet, customFetch, type JWTPayload, type JWTVerifyGetKey, jwtVerify } from 'jose';
import type { Egress } from '../core/egress.ts';
import { TollgateError } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import { PUBLIC_KEY_ALGORITHMS } from '../core/signature-algorithms.ts';
import { refusal } from './errors.ts';
import type { BridgeEntry } from './options.ts';
import { challengeOf } from './tokens.ts';

const METADATA_LIFE = 10 * 60_000;
const FAILURE_PAUSE = 3_000;
const REQUEST_TIMEOUT = 10_000;
const MAX_ANSWER = 1024 * 1024;
const MAX_CLAIMS = 32 * 1024;
const SKEW_SECONDS = 60;
const DEFAULT_ASK = ['openid', 'profile', 'email'];
/** Who signed in, as the provider says. */
export interface SignedIn {
  readonly claims: Readonly<Record<string, unknown>>;
  readonly idToken: string;
  /** Wall milliseconds. */
  readonly expiresAt: number;
  readonly refreshToken: string | undefined;
}

/** What a provider says when asked again. */
export interface StillSignedIn {
  /** Undefined: it gave no new ID token. */
  readonly signedIn: SignedIn | undefined;
  /** The one to ask with next time. */
  readonly refreshToken: string | undefined;
}

export interface ProviderRequest {
  readonly redirectUri: string;
  readonly state: string;
  readonly nonce: string;
  readonly verifier: string;
  /** Nobody is asked again later: no refresh token is wanted. Default false. */
  readonly once?: boolean;
}

export interface ProviderAnswer {
  readonly code: string;
  readonly iss: string | undefined;
  readonly redirectUri: string;
  readonly nonce: string;
  readonly verifier: string;
}

interface ProviderDeps {
  readonly log: Log;
  readonly now: () => number;
  /** The operator wrote the issuer, so it may be anywhere; what it names elsewhere may be in public only. */
  readonly egress: Egress;
}

type Metadata = AuthorizationServerMetadata & { readonly jwks_uri: string };

export class Provider {
  readonly entry: BridgeEntry;
  readonly #deps: ProviderDeps;
  #metadata: { readonly until: number; readonly value: Promise<Metadata> } | undefined;
  #keys: { readonly url: string; readonly get: JWTVerifyGetKey } | undefined;

  constructor(entry: BridgeEntry, deps: ProviderDeps) {
    this.entry = entry;
    this.#deps = deps;
  }

  /** Where the person signs in. */
  async authorizationUrl({ redirectUri, state, nonce, verifier, once = false }: ProviderRequest): Promise<URL> {
    const metadata = await this.#discover();
    const url = new URL(metadata.authorization_endpoint);
    for (const [name, value] of Object.entries(this.entry.parameters)) url.searchParams.set(name, value);
    // Google's word for a refresh token; it gives one at the first sign-in only, and that one is to be the bridge's.
    if (once) url.searchParams.delete('access_type');
    url.searchParams.set('response_type', 'code');
    url.searchParams.set('client_id', this.entry.clientId);
    url.searchParams.set('redirect_uri', redirectUri);
    const ask = this.#ask(metadata).filter((scope) => !once || scope !== 'offline_access');
    url.searchParams.set('scope', ask.join(' '));
    url.searchParams.set('state', state);
    url.searchParams.set('nonce', nonce);
    url.searchParams.set('code_challenge', challengeOf(verifier));
    url.searchParams.set('code_challenge_method', 'S256');
    return url;
  }

  /**
   * That an answer comes from this provider (RFC 9207): before anything else of it is believed, its errors included.
   * Rejects when it does not.
   */
  async checkIssuer(iss: string | undefined): Promise<void> {
    const metadata = await this.#discover();
    const { validateAuthorizationResponseIssuer } = await import('@modelcontextprotocol/client');
    try {
      validateAuthorizationResponseIssuer({
        iss,
        expectedIssuer: metadata.issuer,
        issParameterSupported: metadata['authorization_response_iss_parameter_supported'] === true,
      });
    } catch (cause) {
      throw refusal('invalid_request', 'This answer comes from another identity provider.', { cause });
    }
  }

  /** Redeems the provider's code. Rejects with `server_error`; why is in the log. */
  async redeem(answer: ProviderAnswer): Promise<SignedIn> {
    const metadata = await this.#discover();
    const { exchangeAuthorization } = await import('@modelcontextprotocol/client');
    const tokens = await exchangeAuthorization(this.entry.issuer, {
      metadata,
      clientInformation: this.#client(metadata),
      authorizationCode: answer.code,
      ...(answer.iss === undefined ? {} : { iss: answer.iss }),
      codeVerifier: answer.verifier,
      redirectUri: answer.redirectUri,
      fetchFn: this.#fetch,
    });
    if (tokens.id_token === undefined) throw new TollgateError('internal', 'The provider gave no ID token');
    return this.#signedIn(metadata, tokens, tokens.id_token, answer.nonce);
  }

  /** Asks the provider whether the person may still be here. Undefined: no. Rejects where it cannot be asked. */
  async refresh(refreshToken: string, subject: unknown): Promise<StillSignedIn | undefined> {
    const metadata = await this.#discover();
    const { OAuthError, refreshAuthorization } = await import('@modelcontextprotocol/client');
    let tokens: OAuthTokens;
    try {
      tokens = await refreshAuthorization(this.entry.issuer, {
        metadata,
        clientInformation: this.#client(metadata),
        refreshToken,
        fetchFn: this.#fetch,
      });
    } catch (cause) {
      if (cause instanceof OAuthError && cause.code === 'invalid_grant') return undefined;
      throw refusal('temporarily_unavailable', 'The identity provider cannot be asked now.', {
        cause,
        retryAfterSeconds: 10,
      });
    }
    const next = tokens.refresh_token;
    if (tokens.id_token === undefined) return { signedIn: undefined, refreshToken: next };
    const signedIn = await this.#signedIn(metadata, tokens, tokens.id_token, undefined).catch((cause: unknown) => {
      throw refusal('temporarily_unavailable', 'The identity provider gave an ID token that is not good.', { cause });
    });
    return signedIn.claims['sub'] === subject ? { signedIn, refreshToken: next } : undefined;
  }

  async #signedIn(
    metadata: Metadata,
    tokens: OAuthTokens,
    idToken: string,
    nonce: string | undefined,
  ): Promise<SignedIn> {
    const { payload } = await jwtVerify(idToken, this.#keysOf(metadata), {
      issuer: metadata.issuer,
      audience: this.entry.clientId,
      algorithms: [...PUBLIC_KEY_ALGORITHMS],
      clockTolerance: SKEW_SECONDS,
      currentDate: new Date(this.#deps.now()),
      requiredClaims: ['exp', 'iat', 'sub'],
    });
    // OpenID Connect Core 3.1.3.7: made for this sign-in, and for this client where it has several audiences.
    if (nonce !== undefined && payload['nonce'] !== nonce) throw mismatch('nonce');
    if (Array.isArray(payload.aud) && payload.aud.length > 1 && payload['azp'] !== this.entry.clientId) {
      throw mismatch('azp');
    }
    const expiresAt = (payload.exp ?? 0) * 1000;
    return { claims: claimsOf(payload), idToken, expiresAt, refreshToken: tokens.refresh_token };
  }

  #ask(metadata: Metadata): readonly string[] {
    const { ask } = this.entry;
    if (ask !== undefined) return ask.includes('openid') ? ask : ['openid', ...ask];
    return metadata.scopes_supported?.includes('offline_access') === true
      ? [...DEFAULT_ASK, 'offline_access']
      : DEFAULT_ASK;
  }

  #client(metadata: Metadata) {
    // The form does not need the percent-encoding that providers disagree about in the header (RFC 6749 section 2.3.1).
    const post = metadata.token_endpoint_auth_methods_supported?.includes('client_secret_post') === true;
    return {
      client_id: this.entry.clientId,
      client_secret: this.entry.clientSecret,
      token_endpoint_auth_method: post ? 'client_secret_post' : 'client_secret_basic',
    };
  }

  #keysOf({ jwks_uri: url }: Metadata): JWTVerifyGetKey {
    if (this.#keys?.url !== url) {
      const get = createRemoteJWKSet(new URL(url), { timeoutDuration: REQUEST_TIMEOUT, [customFetch]: this.#fetch });
      this.#keys = { url, get };
    }
    return this.#keys.get;
  }

  #discover(): Promise<Metadata> {
    const now = this.#deps.now();
    if (this.#metadata !== undefined && this.#metadata.until > now) return this.#metadata.value;
    const value = this.#read();
    const kept = { until: now + METADATA_LIFE, value };
    this.#metadata = kept;
    value.catch(() => {
      if (this.#metadata === kept) this.#metadata = { until: now + FAILURE_PAUSE, value };
    });
    return value;
  }

  async #read(): Promise<Metadata> {
    try {
      const { discoverAuthorizationServerMetadata } = await import('@modelcontextprotocol/client');
      const metadata = await discoverAuthorizationServerMetadata(this.entry.issuer, { fetchFn: this.#fetch });
      if (metadata === undefined) throw new TollgateError('internal', 'The provider publishes no metadata');
      const urls = [metadata.authorization_endpoint, metadata.token_endpoint, metadata['jwks_uri']];
      if (!urls.every(isSecure)) throw new TollgateError('internal', 'The provider names endpoints that are not https');
      return metadata as Metadata;
    } catch (cause) {
      this.#deps.log.warn(
        { err: cause, entry: this.entry.name },
        'the metadata of an identity provider cannot be read',
      );
      throw refusal('temporarily_unavailable', 'The identity provider cannot be reached now.', {
        cause,
        retryAfterSeconds: 5,
      });
    }
  }

  readonly #fetch = async (url: string | URL, init: RequestInit = {}): Promise<Response> => {
    const { method, headers, body } = init;
    return this.#deps.egress(url, {
      method: method === 'POST' ? 'POST' : 'GET',
      headers: Object.fromEntries(new Headers(headers)),
      ...(body === undefined || body === null ? {} : { body: String(body) }),
      maxBytes: MAX_ANSWER,
      timeout: REQUEST_TIMEOUT,
    });
  };
}

function isSecure(text: unknown): boolean {
  const url = typeof text === 'string' ? URL.parse(text) : null;
  if (url === null) return false;
  const loopback = url.hostname === 'localhost' || url.hostname === '127.0.0.1' || url.hostname === '[::1]';
  return url.protocol === 'https:' || (url.protocol === 'http:' && loopback);
}

function mismatch(claim: string): TollgateError {
  return new TollgateError('internal', `The ID token has another ${claim}`);
}

/** Claims about the person, without those about the token. */
function claimsOf(payload: JWTPayload): Readonly<Record<string, unknown>> {
  const claims = { ...payload };
  for (const name of ABOUT_THE_TOKEN) delete claims[name];
  if (JSON.stringify(claims).length > MAX_CLAIMS) throw new TollgateError('internal', 'The claims are too large');
  return claims;
}

const ABOUT_THE_TOKEN = ['nonce', 'at_hash', 'c_hash', 's_hash', 'exp', 'iat', 'nbf', 'jti', 'aud', 'azp'];
