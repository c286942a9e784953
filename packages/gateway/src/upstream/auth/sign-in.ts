/**
 * One sign-in of a person at a server, in two halves: before the browser leaves, and when it comes back. What lies
 * between is plain data, so that it can be kept by the command line or sealed into a cookie of the browser itself.
 */
import type {
  AuthorizationServerMetadata,
  FetchLike,
  StoredOAuthClientInformation,
} from '@modelcontextprotocol/client';
import type { Clock } from '../../core/clock.ts';
import { TollgateError } from '../../core/errors.ts';
import { randomId } from '../../core/ids.ts';
import type { SecretOwner } from '../../core/secrets.ts';
import type { HttpServerOptions } from '../http-client.ts';
import { isWebUrl, printable } from '../oauth-browser.ts';
import type { OAuthOptions } from '../options.ts';
import { challengeOf, checkInteractive, discover, type Provider, reasonOf, scopeUnion } from './discovery.ts';
import type { Grant, Grants, GrantTokens } from './grants.ts';
import { reachOf } from './reach.ts';
import { clientAt } from './registration.ts';

/** A token is renewed so long before its end that a call under way still finds it valid; a short one at half its life. */
const EARLY_MS = 30_000;

/** Everything the second half needs. `verifier` and `client` are secret. */
export interface PendingSignIn {
  readonly server: string;
  readonly url: string;
  readonly state: string;
  readonly verifier: string;
  /** Recorded before the browser leaves: the answer must come from this one (RFC 9207). */
  readonly issuer: string;
  readonly resource: string;
  readonly client: StoredOAuthClientInformation;
  readonly redirectUrl: string;
  readonly scope: string;
}

/** The answer of the authorization server, as the browser brings it. */
export interface SignInAnswer {
  readonly code: string | undefined;
  readonly iss: string | undefined;
  readonly error: string | undefined;
  readonly errorDescription: string | undefined;
}

export interface SignInDeps {
  readonly grants: Grants;
  readonly clock: Clock;
  /** Document that describes the gateway as a client; undefined: it has none. */
  readonly clientMetadataUrl: string | undefined;
  readonly signal: AbortSignal;
}

/** What the flow functions ask of `auth`: the sign-in of a server whose calls use another grant reads its lists. */
function oauthOf({
  auth,
}: HttpServerOptions): Pick<OAuthOptions, 'client' | 'clientMetadataUrl' | 'issuer' | 'scopes'> {
  if (auth?.kind === 'oauth') return auth;
  return { client: undefined, clientMetadataUrl: undefined, issuer: undefined, scopes: auth?.scopes ?? [] };
}

/** Discovers, registers where needed, and makes the page to open. Rejects with `server_login_required`. */
export async function beginSignIn(
  options: HttpServerOptions,
  owner: SecretOwner,
  redirectUrl: string,
  deps: SignInDeps,
): Promise<{ readonly page: URL; readonly pending: PendingSignIn }> {
  const { name: server, target } = options;
  try {
    const oauth = oauthOf(options);
    const fetchFn = await reachOf(options, deps.signal);
    const challenge = await challengeOf(target.url, fetchFn);
    const { issuer } = oauth;
    const provider = await discover({ server, url: target.url, fetchFn, issuer, challenge });
    checkInteractive(server, provider);
    // What was granted is asked for again: a new sign-in replaces the old grant (SEP-2350).
    const known = await deps.grants.read(server, owner, target.url.href);
    const before = known === undefined ? '' : scopeUnion(known.tokens?.scope ?? known.askedScope, known.wantedScope);
    const scope = scopesFor(provider, scopeUnion(before, oauth.scopes.join(' '), challenge.scope));
    const registered = await clientAt({
      server,
      provider,
      redirectUrl,
      registered: oauth.client,
      clientMetadataUrl: oauth.clientMetadataUrl ?? deps.clientMetadataUrl,
      scope,
      grants: deps.grants,
      fetchFn,
    });
    const { startAuthorization } = await import('@modelcontextprotocol/client');
    const state = randomId(26);
    const { issuer: found, metadata, resource } = provider;
    const { authorizationUrl, codeVerifier } = await startAuthorization(found, {
      metadata,
      clientInformation: registered,
      redirectUrl,
      state,
      resource,
      ...(scope === '' ? {} : { scope }),
    });
    if (!isWebUrl(authorizationUrl)) throw new TollgateError('server_login_required', 'The page is no web page');
    const url = target.url.href;
    const client = essentialsOf(registered);
    const pending = { server, url, state, verifier: codeVerifier, issuer: found, resource, client, redirectUrl, scope };
    return { page: authorizationUrl, pending };
  } catch (cause) {
    throw signInFailure(server, cause);
  }
}

/** What token requests need of a registration: the rest of its answer may be long. */
function essentialsOf(client: StoredOAuthClientInformation): StoredOAuthClientInformation {
  const { client_id, client_secret, issuer } = client;
  const full: Readonly<Record<string, unknown>> = { ...client };
  const kept = ['token_endpoint_auth_method', 'redirect_uris'].filter((member) => full[member] !== undefined);
  return {
    client_id,
    ...(client_secret === undefined ? {} : { client_secret }),
    ...(issuer === undefined ? {} : { issuer }),
    ...Object.fromEntries(kept.map((member) => [member, full[member]])),
  } as StoredOAuthClientInformation;
}

/** Challenge and configuration first, else what the resource supports; and the right to come back without a person. */
function scopesFor({ metadata, scopesSupported }: Provider, wanted: string): string {
  const scope = wanted === '' ? scopeUnion(scopesSupported?.join(' ')) : wanted;
  const offline = scope !== '' && metadata.scopes_supported?.includes('offline_access') === true;
  return offline ? scopeUnion(scope, 'offline_access') : scope;
}

/**
 * Redeems the answer for tokens, after its issuer was compared with the recorded one, in refusals too: nothing is sent
 * to anybody before. Rejects with `server_login_required`.
 */
export async function finishSignIn(
  options: HttpServerOptions,
  pending: PendingSignIn,
  answer: SignInAnswer,
  deps: SignInDeps,
): Promise<Grant> {
  const { server, issuer, client, resource } = pending;
  try {
    const sdk = await import('@modelcontextprotocol/client');
    const fetchFn = await reachOf(options, deps.signal);
    const metadata = await sdk.discoverAuthorizationServerMetadata(issuer, { fetchFn });
    if (metadata?.issuer !== issuer) throw new Error('the authorization server has changed meanwhile');
    sdk.validateAuthorizationResponseIssuer({
      iss: answer.iss,
      expectedIssuer: issuer,
      issParameterSupported: metadata['authorization_response_iss_parameter_supported'] === true,
    });
    if (answer.code === undefined) {
      const why = [answer.error, answer.errorDescription].filter((part) => part !== undefined).join(': ');
      throw new TollgateError('server_login_required', `The authorization server refused: ${printable(why)}`);
    }
    const tokens = await sdk.exchangeAuthorization(issuer, {
      metadata,
      clientInformation: client,
      authorizationCode: answer.code,
      ...(answer.iss === undefined ? {} : { iss: answer.iss }),
      codeVerifier: pending.verifier,
      redirectUri: pending.redirectUrl,
      resource,
      fetchFn,
    });
    const now = deps.clock.wall();
    return {
      version: 1,
      url: pending.url,
      issuer,
      tokenEndpoint: metadata.token_endpoint,
      ...authMethods(metadata),
      resource,
      client,
      tokens: storedTokens(tokens, now),
      askedScope: pending.scope,
      signedInAt: now,
    };
  } catch (cause) {
    throw signInFailure(server, cause);
  }
}

function authMethods(metadata: AuthorizationServerMetadata): { authMethods?: string[] } {
  const methods = metadata.token_endpoint_auth_methods_supported;
  return methods === undefined ? {} : { authMethods: methods };
}

interface TokenAnswer {
  readonly access_token: string;
  readonly refresh_token?: string | undefined;
  readonly scope?: string | undefined;
  readonly expires_in?: number | undefined;
}

/** What a token endpoint answered, as it is kept. */
export function storedTokens(tokens: TokenAnswer, now: number): GrantTokens {
  const lifeMs = tokens.expires_in === undefined ? undefined : tokens.expires_in * 1000;
  return {
    accessToken: tokens.access_token,
    ...(tokens.refresh_token === undefined ? {} : { refreshToken: tokens.refresh_token }),
    ...(tokens.scope === undefined ? {} : { scope: tokens.scope }),
    ...(lifeMs === undefined ? {} : { useUntil: now + lifeMs - Math.min(EARLY_MS, lifeMs / 2) }),
  };
}

/** A new access token for a refresh token, which is used up by it. Rejects with the SDK's `OAuthError` when refused. */
export async function refreshed(
  options: HttpServerOptions,
  grant: Grant,
  refreshToken: string,
  now: number,
  signal: AbortSignal,
): Promise<GrantTokens> {
  const { refreshAuthorization } = await import('@modelcontextprotocol/client');
  const fetchFn: FetchLike = await reachOf(options, signal);
  const tokens = await refreshAuthorization(grant.issuer, {
    metadata: {
      issuer: grant.issuer,
      authorization_endpoint: grant.tokenEndpoint,
      token_endpoint: grant.tokenEndpoint,
      response_types_supported: ['code'],
      ...(grant.authMethods === undefined ? {} : { token_endpoint_auth_methods_supported: grant.authMethods }),
    },
    clientInformation: grant.client as StoredOAuthClientInformation,
    refreshToken,
    ...(grant.resource === undefined ? {} : { resource: grant.resource }),
    fetchFn,
  });
  return { ...grant.tokens, ...storedTokens(tokens, now) };
}

/** The SDK's errors are for programmers; a person needs the sentence without the stack, and no secrets. */
function signInFailure(server: string, cause: unknown): TollgateError {
  if (TollgateError.is(cause)) return cause;
  return new TollgateError('server_login_required', `Signing in to ${server} failed: ${reasonOf(cause)}`, { cause });
}
