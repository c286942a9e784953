/**
 * Where to sign in for a server: its challenge, protected-resource metadata (RFC 9728), authorization-server metadata
 * (RFC 8414, OpenID Connect). All of it is written by others, so each piece is checked against the one before: the
 * resource against the server, the issuer against its address, every endpoint against what a browser or a secret may
 * be sent to.
 */
import type { AuthorizationServerMetadata, FetchLike } from '@modelcontextprotocol/client';
import { TollgateError } from '../../core/errors.ts';
import { printable } from '../oauth-browser.ts';

/** What a 401 or 403 of the server said. */
export interface Challenge {
  readonly resourceMetadataUrl?: URL | undefined;
  readonly scope?: string | undefined;
}

export interface Provider {
  readonly issuer: string;
  readonly metadata: AuthorizationServerMetadata;
  /** Resource indicator for tokens (RFC 8707), as the server spells it. */
  readonly resource: string;
  /** Scopes for which the server can be asked, where its challenge named none. */
  readonly scopesSupported: readonly string[] | undefined;
}

export interface DiscoverOptions {
  readonly server: string;
  readonly url: URL;
  readonly fetchFn: FetchLike;
  /** Undefined: the one that the server names. */
  readonly issuer: string | undefined;
  readonly challenge: Challenge;
}

function refuse(server: string, why: string, cause?: unknown): TollgateError {
  return new TollgateError('server_login_required', `${server}: ${why}`, { cause });
}

/** Asks the server for nothing, so that its 401 says where its metadata is and which scope it wants. */
export async function challengeOf(url: URL, fetchFn: FetchLike): Promise<Challenge> {
  const { extractWWWAuthenticateParams } = await import('@modelcontextprotocol/client');
  const response = await fetchFn(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream' },
    body: '{"jsonrpc":"2.0","id":1,"method":"ping"}',
  });
  await response.body?.cancel();
  return response.status === 401 ? extractWWWAuthenticateParams(response) : {};
}

/**
 * Finds and checks the authorization server. Rejects with `server_login_required` that names what is wrong, before
 * anything was sent but requests for public documents.
 */
export async function discover({ server, url, fetchFn, issuer, challenge }: DiscoverOptions): Promise<Provider> {
  const sdk = await import('@modelcontextprotocol/client');
  const expected = sdk.resourceUrlFromServerUrl(url);
  const found = await resourceMetadata(url, challenge, fetchFn);
  if (
    found !== undefined &&
    !sdk.checkResourceAllowed({ requestedResource: expected, configuredResource: found.resource })
  ) {
    // A token for another resource would be good elsewhere (CVE-2025-69196 seen from the client).
    throw refuse(server, `its metadata is about ${printable(found.resource)}, not about ${expected.href}`);
  }
  const named = found?.authorization_servers ?? [];
  if (issuer !== undefined && named.length > 0 && !named.some((one) => sameIssuer(one, issuer))) {
    throw refuse(server, `it names other authorization servers than auth.issuer (${printable(named.join(', '))})`);
  }
  // 2025-03-26 servers have no resource metadata: the authorization server is then the origin.
  const place = issuer ?? named[0] ?? expected.origin;
  const metadata = await sdk.discoverAuthorizationServerMetadata(place, { fetchFn }).catch((cause: unknown) => {
    throw TollgateError.is(cause)
      ? cause
      : refuse(server, `no metadata of ${printable(place)}: ${reasonOf(cause)}`, cause);
  });
  if (metadata === undefined) throw refuse(server, `${printable(place)} publishes no authorization server metadata`);
  checkEndpoint(server, 'token_endpoint', metadata.token_endpoint);
  return {
    issuer: metadata.issuer,
    metadata,
    resource: found?.resource ?? expected.href,
    scopesSupported: found?.scopes_supported,
  };
}

type ResourceMetadata = Awaited<
  ReturnType<typeof import('@modelcontextprotocol/client').discoverOAuthProtectedResourceMetadata>
>;

async function resourceMetadata(
  url: URL,
  { resourceMetadataUrl }: Challenge,
  fetchFn: FetchLike,
): Promise<ResourceMetadata | undefined> {
  const { discoverOAuthProtectedResourceMetadata } = await import('@modelcontextprotocol/client');
  try {
    const where = resourceMetadataUrl === undefined ? {} : { resourceMetadataUrl };
    return await discoverOAuthProtectedResourceMetadata(url, where, fetchFn);
  } catch (cause) {
    // A place that may not be asked, or a document that was announced: not the same as "there is none".
    if (TollgateError.is(cause) || resourceMetadataUrl !== undefined || !isAbsence(cause)) throw cause;
    return undefined;
  }
}

function isAbsence(cause: unknown): boolean {
  return cause instanceof Error && /does not implement|HTTP 4\d\d/.test(cause.message);
}

/**
 * What a browser needs. Without S256 a stolen code is a stolen account, so an authorization server that does not say
 * that it knows it is refused (MCP 2026-07-28, authorization: PKCE).
 */
export function checkInteractive(server: string, { metadata, issuer }: Provider): void {
  if (metadata.code_challenge_methods_supported?.includes('S256') !== true) {
    throw refuse(server, `${printable(issuer)} does not offer PKCE with S256; signing in there is not safe`);
  }
  checkEndpoint(server, 'authorization_endpoint', metadata.authorization_endpoint);
}

/**
 * A URL of the metadata that a browser opens or a secret goes to: HTTPS, or HTTP to loopback, and nothing else. Other
 * schemes start programs (CVE-2025-6514).
 */
function checkEndpoint(server: string, what: string, text: string): void {
  const url = URL.parse(text);
  const loopback = url !== null && ['127.0.0.1', 'localhost', '[::1]'].includes(url.hostname);
  const good = url !== null && (url.protocol === 'https:' || (url.protocol === 'http:' && loopback));
  if (!good || url.username !== '' || url.password !== '') {
    throw refuse(server, `its ${what} is no HTTPS URL (${printable(text)}); it is not used`);
  }
}

/** One trailing slash apart is the same: the URL type of several languages adds it. */
export function sameIssuer(a: string, b: string): boolean {
  return a === b || a === `${b}/` || b === `${a}/`;
}

/** What a person needs of an error of the SDK or the network: one sentence, no stack, nothing secret. */
export function reasonOf(cause: unknown): string {
  if (!(cause instanceof Error)) return 'unknown reason';
  const root = cause.cause instanceof Error && cause.message === 'fetch failed' ? cause.cause : cause;
  return printable(root.message);
}

/** All scopes of the lists, each once; empty when there are none. */
export function scopeUnion(...scopes: readonly (string | undefined)[]): string {
  return [...new Set(scopes.flatMap((scope) => scope?.split(' ') ?? []))].filter((one) => one !== '').join(' ');
}

export function hasScopes(granted: string | undefined, wanted: string): boolean {
  const have = new Set(granted?.split(' ') ?? []);
  return wanted.split(' ').every((one) => one === '' || have.has(one));
}
