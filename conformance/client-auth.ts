import {
  type AuthProvider,
  auth,
  ClientCredentialsProvider,
  CrossAppAccessProvider,
  computeScopeUnion,
  extractWWWAuthenticateParams,
  type FetchLike,
  isStrictScopeSuperset,
  type OAuthClientInformationContext,
  type OAuthClientInformationMixed,
  type OAuthClientMetadata,
  type OAuthClientProvider,
  type OAuthDiscoveryState,
  type OAuthTokens,
  PrivateKeyJwtProvider,
  requestJwtAuthorizationGrant,
} from '@modelcontextprotocol/client';

type Context = Record<string, unknown>;

const text = (value: unknown): string => String(value ?? '');

/** Providers of the scenarios without a person: client credentials and enterprise-managed authorization. */
export function authProviderFor(scenario: string, context: Context): AuthProvider | OAuthClientProvider | undefined {
  const clientId = text(context['client_id']);
  const clientSecret = text(context['client_secret']);
  switch (scenario) {
    case 'auth/client-credentials-basic':
      return new ClientCredentialsProvider({ clientId, clientSecret });
    case 'auth/client-credentials-jwt':
      return new PrivateKeyJwtProvider({
        clientId,
        privateKey: text(context['private_key_pem']),
        algorithm: text(context['signing_algorithm'] ?? 'ES256'),
      });
    case 'auth/enterprise-managed-authorization':
      return new CrossAppAccessProvider({
        clientId,
        clientSecret,
        assertion: async (request) => {
          const grant = await requestJwtAuthorizationGrant({
            tokenEndpoint: text(context['idp_token_endpoint']),
            audience: request.authorizationServerUrl,
            resource: request.resourceUrl,
            idToken: text(context['idp_id_token']),
            clientId: text(context['idp_client_id']),
            fetchFn: request.fetchFn,
          });
          return grant.jwtAuthGrant;
        },
      });
    default:
      return undefined;
  }
}

/** A person whose browser only follows the redirect of the mock authorization server. */
class RobotUser implements OAuthClientProvider {
  readonly redirectUrl = 'http://localhost:3000/callback';
  readonly clientMetadataUrl?: string;
  callback: URLSearchParams = new URLSearchParams();
  readonly #preset: OAuthClientInformationMixed | undefined;
  readonly #byIssuer = new Map<string, OAuthClientInformationMixed>();
  #tokens: OAuthTokens | undefined;
  #verifier = '';
  #discovery: OAuthDiscoveryState | undefined;

  constructor(preset: OAuthClientInformationMixed | undefined) {
    this.#preset = preset;
    if (preset === undefined) this.clientMetadataUrl = 'https://conformance-test.local/client-metadata.json';
  }
  get clientMetadata(): OAuthClientMetadata {
    return {
      client_name: 'conformance-client',
      redirect_uris: [this.redirectUrl],
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      application_type: 'native',
    };
  }
  clientInformation(context?: OAuthClientInformationContext): OAuthClientInformationMixed | undefined {
    return this.#preset ?? this.#byIssuer.get(context?.issuer ?? '');
  }
  saveClientInformation(information: OAuthClientInformationMixed, context?: OAuthClientInformationContext): void {
    this.#byIssuer.set(context?.issuer ?? '', information);
  }
  tokens(): OAuthTokens | undefined {
    return this.#tokens;
  }
  saveTokens(tokens: OAuthTokens): void {
    this.#tokens = tokens;
  }
  saveCodeVerifier(verifier: string): void {
    this.#verifier = verifier;
  }
  codeVerifier(): string {
    return this.#verifier;
  }
  saveDiscoveryState(state: OAuthDiscoveryState): void {
    this.#discovery = state;
  }
  discoveryState(): OAuthDiscoveryState | undefined {
    return this.#discovery;
  }
  invalidateCredentials(scope: string): void {
    if (scope === 'all' || scope === 'tokens') this.#tokens = undefined;
    if (scope === 'all' || scope === 'discovery') this.#discovery = undefined;
  }
  async redirectToAuthorization(target: URL): Promise<void> {
    const response = await fetch(target, { redirect: 'manual' });
    this.callback = new URL(response.headers.get('location') ?? '').searchParams;
  }
}

/** A fetch that signs in when it is challenged, and once more for a step-up of scopes. */
export function authFetch(serverUrl: URL, scenario: string, context: Context): FetchLike {
  const preset =
    scenario === 'auth/pre-registration'
      ? { client_id: text(context['client_id']), client_secret: text(context['client_secret']) }
      : undefined;
  const user = new RobotUser(preset);
  return async (input, init) => {
    for (let attempts = 0; ; attempts += 1) {
      const headers = new Headers(init?.headers);
      const tokens = user.tokens();
      if (tokens !== undefined) headers.set('authorization', `Bearer ${tokens.access_token}`);
      const response = await fetch(input, { ...init, headers });
      const challenge = extractWWWAuthenticateParams(response);
      const stepUp = response.status === 403 && challenge.error === 'insufficient_scope';
      if ((response.status !== 401 && !stepUp) || attempts >= 2) return response;
      await response.text();
      if (response.status === 401) user.invalidateCredentials('discovery');
      const scope = stepUp ? computeScopeUnion(tokens?.scope, challenge.scope) : challenge.scope;
      const request = {
        serverUrl,
        fetchFn: fetch,
        ...(challenge.resourceMetadataUrl === undefined ? {} : { resourceMetadataUrl: challenge.resourceMetadataUrl }),
        ...(scope === undefined ? {} : { scope }),
      };
      const forceReauthorization = isStrictScopeSuperset(scope, tokens?.scope);
      if ((await auth(user, { ...request, forceReauthorization })) === 'REDIRECT') {
        const iss = user.callback.get('iss') ?? undefined;
        const authorizationCode = user.callback.get('code') ?? '';
        await auth(user, { ...request, authorizationCode, ...(iss === undefined ? {} : { iss }) });
      }
    }
  };
}
