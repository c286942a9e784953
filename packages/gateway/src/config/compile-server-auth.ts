import type { ClientCredentialsOptions, RegisteredClient, ServerAuth } from '../upstream/options.ts';
import { signingAlgorithm } from './check-server-auth.ts';
import type { ServerConfig } from './schema.ts';

type AuthConfig = Exclude<NonNullable<ServerConfig['auth']>, 'oauth'>;

/** `auth` of a server as the upstream room takes it. */
export function compileServerAuth(auth: ServerConfig['auth']): ServerAuth | undefined {
  if (auth === undefined) return undefined;
  if (auth === 'oauth') return compileOauth({ mode: 'gateway', scopes: [] }, undefined);
  const lists = auth.clientCredentials && machine(auth.clientCredentials);
  if (auth.tokenExchange !== undefined) {
    const { tokenEndpoint, clientId, clientSecret, audience, scopes, subjectToken, requestedToken } =
      auth.tokenExchange;
    return {
      kind: 'token-exchange',
      tokenEndpoint,
      clientId,
      clientSecret,
      audience,
      scopes,
      subjectTokenType: subjectToken,
      requestedTokenType: requestedToken,
      lists,
    };
  }
  if (auth.enterprise !== undefined) {
    const { tokenEndpoint, clientId, clientSecret } = auth.enterprise.idp;
    return { kind: 'enterprise', idp: { tokenEndpoint, clientId, clientSecret }, ...machine(auth.enterprise), lists };
  }
  if (auth.oauth !== undefined) return compileOauth(auth.oauth, lists);
  return lists && { kind: 'client-credentials', ...lists };
}

function compileOauth(
  oauth: Pick<NonNullable<AuthConfig['oauth']>, 'mode' | 'scopes'> & Partial<NonNullable<AuthConfig['oauth']>>,
  lists: ClientCredentialsOptions | undefined,
): ServerAuth {
  const { mode, issuer, clientId, clientSecret, clientMetadataUrl, scopes } = oauth;
  const client: RegisteredClient | undefined =
    clientId === undefined || issuer === undefined
      ? undefined
      : { clientId, issuer, clientSecret, privateKey: undefined };
  return { kind: 'oauth', mode, client, clientMetadataUrl, issuer, scopes, lists };
}

function machine(client: NonNullable<AuthConfig['clientCredentials']>): ClientCredentialsOptions {
  const { issuer, clientId, clientSecret, privateKey: pem, algorithm, scopes } = client;
  const privateKey = pem === undefined ? undefined : { pem, algorithm: algorithm ?? signingAlgorithm(pem) ?? 'RS256' };
  return { client: { clientId, issuer, clientSecret, privateKey }, scopes };
}
