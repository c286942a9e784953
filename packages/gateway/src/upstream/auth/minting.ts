/**
 * Grants without a browser: client credentials (RFC 6749, RFC 7523), token exchange (RFC 8693), enterprise-managed
 * authorization (SEP-990). Secrets and the caller's own token go to addresses that the operator wrote, and to issuers
 * that are compared with the configured one first.
 */
import type { FetchLike, OAuthClientProvider, StoredOAuthClientInformation } from '@modelcontextprotocol/client';
import { z } from 'zod';
import type { Clock } from '../../core/clock.ts';
import { TollgateError } from '../../core/errors.ts';
import type { HttpServerOptions } from '../http-client.ts';
import { printable } from '../oauth-browser.ts';
import type {
  ClientCredentialsOptions,
  EnterpriseOptions,
  RegisteredClient,
  TokenExchangeOptions,
} from '../options.ts';
import { challengeOf, discover, type Provider, reasonOf, scopeUnion } from './discovery.ts';
import { reachOf } from './reach.ts';
import { asClient } from './registration.ts';
import { storedTokens } from './sign-in.ts';
import type { AccessToken } from './tokens.ts';

const MINT_TIMEOUT_MS = 15_000;
/** Without `expires_in` a token is fetched anew after this time. */
const DEFAULT_LIFE_S = 300;

export type Mint = (scope: string) => Promise<AccessToken>;

/** One token request to the issuer of `client`: what the grant adds is in `params`. */
interface Question {
  readonly options: HttpServerOptions;
  readonly client: RegisteredClient;
  readonly scopes: string;
  readonly clock: Clock;
  readonly params: (provider: Provider, fetchFn: FetchLike) => Promise<URLSearchParams>;
}

export function clientCredentials(
  options: HttpServerOptions,
  { client }: ClientCredentialsOptions,
  clock: Clock,
): Mint {
  const params = async (): Promise<URLSearchParams> => new URLSearchParams({ grant_type: 'client_credentials' });
  return (scopes) => mint({ options, client, scopes, clock, params });
}

/** The identity provider turns the person's ID token into a grant for one authorization server, which redeems it. */
export function enterprise(
  options: HttpServerOptions,
  { idp, client }: EnterpriseOptions,
  idToken: () => Promise<string>,
  clock: Clock,
): Mint {
  return (scopes) =>
    mint({
      options,
      client,
      scopes,
      clock,
      params: async (provider, fetchFn) => {
        const { requestJwtAuthorizationGrant } = await import('@modelcontextprotocol/client');
        const { jwtAuthGrant } = await requestJwtAuthorizationGrant({
          tokenEndpoint: idp.tokenEndpoint,
          audience: provider.issuer,
          resource: provider.resource,
          idToken: await idToken(),
          clientId: idp.clientId,
          ...(idp.clientSecret === undefined ? {} : { clientSecret: idp.clientSecret }),
          ...(scopes === '' ? {} : { scope: scopes }),
          fetchFn,
        });
        return new URLSearchParams({
          grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer',
          assertion: jwtAuthGrant,
        });
      },
    });
}

async function mint({ options, client, scopes, clock, params }: Question): Promise<AccessToken> {
  const { name: server, target } = options;
  try {
    const sdk = await import('@modelcontextprotocol/client');
    const fetchFn = await reachOf(options, AbortSignal.timeout(MINT_TIMEOUT_MS));
    const challenge = await challengeOf(target.url, fetchFn);
    // The configured issuer is the only one that gets the secret, whatever the server says.
    const provider = await discover({ server, url: target.url, fetchFn, issuer: client.issuer, challenge });
    const { metadata, resource } = provider;
    const scope = scopeUnion(scopes, challenge.scope);
    const tokens = await sdk.fetchToken(
      await machine(client, scope, () => params(provider, fetchFn)),
      metadata.issuer,
      {
        metadata,
        resource,
        ...(scope === '' ? {} : { scope }),
        fetchFn,
      },
    );
    return lived(tokens, clock.wall());
  } catch (cause) {
    throw await mintFailure(server, cause);
  }
}

/** The part of the SDK's provider that `fetchToken` reads. */
async function machine(
  client: RegisteredClient,
  scope: string,
  params: () => Promise<URLSearchParams>,
): Promise<OAuthClientProvider> {
  const { createPrivateKeyJwtAuth } = await import('@modelcontextprotocol/client');
  const unused = (): never => {
    throw new Error('no browser takes part in this grant');
  };
  const { clientId, privateKey } = client;
  const information: StoredOAuthClientInformation = asClient(client);
  return {
    redirectUrl: undefined,
    clientMetadata: { redirect_uris: [] },
    clientInformation: () => information,
    tokens: () => undefined,
    saveTokens: unused,
    redirectToAuthorization: unused,
    saveCodeVerifier: unused,
    codeVerifier: unused,
    prepareTokenRequest: async () => {
      const form = await params();
      if (scope !== '') form.set('scope', scope);
      return form;
    },
    ...(privateKey === undefined
      ? {}
      : {
          addClientAuthentication: createPrivateKeyJwtAuth({
            issuer: clientId,
            subject: clientId,
            privateKey: privateKey.pem,
            alg: privateKey.algorithm,
          }),
        }),
  };
}

const Exchanged = z.object({
  access_token: z.string().min(1),
  issued_token_type: z.string(),
  expires_in: z.number().optional(),
  scope: z.string().optional(),
});

const Refused = z.object({ error: z.string(), error_description: z.string().optional() });

const TYPE = 'urn:ietf:params:oauth:token-type:';

/** RFC 8693 section 2.1. The SDK has this request only for ID-JAG. */
export function tokenExchange(
  options: HttpServerOptions,
  exchange: TokenExchangeOptions,
  subjectToken: () => Promise<string>,
  clock: Clock,
): Mint {
  return async (scope) => {
    const { name: server, target } = options;
    try {
      const { resourceUrlFromServerUrl } = await import('@modelcontextprotocol/client');
      const fetchFn = await reachOf(options, AbortSignal.timeout(MINT_TIMEOUT_MS));
      const { clientId, clientSecret, audience, requestedTokenType } = exchange;
      const form = new URLSearchParams({
        grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
        subject_token: await subjectToken(),
        subject_token_type: TYPE + exchange.subjectTokenType,
        resource: resourceUrlFromServerUrl(target.url).href,
      });
      if (audience !== undefined) form.set('audience', audience);
      if (requestedTokenType !== undefined) form.set('requested_token_type', TYPE + requestedTokenType);
      if (scope !== '') form.set('scope', scope);
      const headers: Record<string, string> = {
        'content-type': 'application/x-www-form-urlencoded',
        accept: 'application/json',
      };
      if (clientId !== undefined && clientSecret !== undefined) {
        const pair = `${encodeURIComponent(clientId)}:${encodeURIComponent(clientSecret)}`;
        headers['authorization'] = `Basic ${Buffer.from(pair).toString('base64')}`;
      } else if (clientId !== undefined) form.set('client_id', clientId);
      const response = await fetchFn(exchange.tokenEndpoint, { method: 'POST', headers, body: form });
      const body: unknown = await response.json().catch(() => undefined);
      if (!response.ok) throw await exchangeRefused(response.status, body);
      const tokens = Exchanged.parse(body);
      return lived(tokens, clock.wall());
    } catch (cause) {
      throw await mintFailure(server, cause);
    }
  };
}

async function exchangeRefused(status: number, body: unknown): Promise<Error> {
  const { OAuthError } = await import('@modelcontextprotocol/client');
  const refusal = Refused.safeParse(body);
  if (!refusal.success) return new Error(`HTTP ${status} of the token endpoint`);
  return new OAuthError(refusal.data.error, refusal.data.error_description ?? refusal.data.error);
}

function lived(tokens: Parameters<typeof storedTokens>[0], now: number): AccessToken {
  const { accessToken, useUntil } = storedTokens({ ...tokens, expires_in: tokens.expires_in ?? DEFAULT_LIFE_S }, now);
  return { token: accessToken, useUntil: useUntil ?? now };
}

/** A refusal is final until somebody changes something; anything else may pass. */
async function mintFailure(server: string, cause: unknown): Promise<TollgateError> {
  if (TollgateError.is(cause) && cause.code !== 'egress_failed') return cause;
  const { OAuthError, OAuthErrorCode } = await import('@modelcontextprotocol/client');
  const refused = cause instanceof OAuthError && cause.code !== OAuthErrorCode.ServerError;
  const said = cause instanceof Error && cause.message.startsWith('Token exchange failed: ');
  // The endpoint knows what it was sent: secret and token must not come back in its words, nor with the cause to the log.
  const reason = withoutTokens(reasonOf(cause));
  const kept = cause instanceof OAuthError || said ? {} : { cause };
  if (refused || said) {
    const what = refused ? `${withoutTokens(cause.code)}: ${reason}` : reason;
    return new TollgateError('access_denied', `${server}: no token was issued (${printable(what)})`, kept);
  }
  return new TollgateError('server_unavailable', `${server}: no token could be got now (${reason})`, kept);
}

/** A text without what may be a credential, whatever it is encoded in: long runs with a digit in them. */
function withoutTokens(text: string): string {
  return text.replaceAll(/[A-Za-z0-9+/=_.~%-]{16,}/g, (run) => (/\d/.test(run) ? '[secret]' : run));
}
