/** As which client the gateway signs in: registered by the operator, by a client id metadata document, or at run time. */
import type { FetchLike, OAuthClientMetadata, StoredOAuthClientInformation } from '@modelcontextprotocol/client';
import { TollgateError } from '../../core/errors.ts';
import { printable } from '../oauth-browser.ts';
import type { RegisteredClient } from '../options.ts';
import { hasScopes, type Provider, reasonOf, sameIssuer } from './discovery.ts';
import type { Grants } from './grants.ts';

export interface ClientQuestion {
  readonly server: string;
  readonly provider: Provider;
  readonly redirectUrl: string;
  readonly registered: RegisteredClient | undefined;
  readonly clientMetadataUrl: string | undefined;
  readonly scope: string;
  readonly grants: Grants;
  readonly fetchFn: FetchLike;
}

/** What the gateway says about itself, in its document and in registrations. */
export function clientMetadata(redirectUris: readonly string[]): OAuthClientMetadata {
  return {
    client_name: 'Tollgate',
    redirect_uris: [...redirectUris],
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    // A loopback redirect is for everybody on the machine; a page of the gateway is its own (OpenID DCR section 2).
    application_type: redirectUris.every((uri) => uri.startsWith('http://127.0.0.1')) ? 'native' : 'web',
  };
}

/** The client as the SDK's flow functions take it. */
export function asClient({ clientId, clientSecret, issuer }: RegisteredClient): StoredOAuthClientInformation {
  return { client_id: clientId, issuer, ...(clientSecret === undefined ? {} : { client_secret: clientSecret }) };
}

/**
 * In the order of the specification: pre-registered, client id metadata document, dynamic registration. Rejects with
 * `server_login_required` when none is possible, or when the operator's client belongs to another issuer.
 */
export async function clientAt(question: ClientQuestion): Promise<StoredOAuthClientInformation> {
  const { server, provider, registered, clientMetadataUrl, redirectUrl, grants } = question;
  const { issuer, metadata } = provider;
  if (registered !== undefined) {
    if (sameIssuer(registered.issuer, issuer)) return asClient(registered);
    throw new TollgateError(
      'server_login_required',
      `${server}: the client in its configuration is registered at ${registered.issuer}, and the server now names ${printable(issuer)}; its secret is not sent there`,
    );
  }
  if (clientMetadataUrl !== undefined && metadata['client_id_metadata_document_supported'] === true) {
    return { client_id: clientMetadataUrl, issuer };
  }
  const known = await grants.registration(server, issuer, redirectUrl);
  const registeredScope = known?.client['scope'];
  // Registered for fewer scopes than are asked for now (a step-up): the authorization server would refuse them.
  const covers = typeof registeredScope !== 'string' || hasScopes(registeredScope, question.scope);
  if (known?.redirectUris.includes(redirectUrl) === true && covers) {
    return { ...known.client, issuer } as StoredOAuthClientInformation;
  }
  return register(question);
}

async function register(question: ClientQuestion): Promise<StoredOAuthClientInformation> {
  const { server, provider, redirectUrl, scope, grants, fetchFn } = question;
  const { issuer, metadata } = provider;
  if (metadata.registration_endpoint === undefined) {
    throw new TollgateError(
      'server_login_required',
      `${server}: ${printable(issuer)} registers no clients by itself. Register one there with the redirect ${redirectUrl}, and write it into servers.${server}.auth.oauth`,
    );
  }
  const { registerClient } = await import('@modelcontextprotocol/client');
  const method = preferredMethod(metadata.token_endpoint_auth_methods_supported);
  try {
    const client = await registerClient(issuer, {
      metadata,
      clientMetadata: {
        ...clientMetadata([redirectUrl]),
        ...(method === undefined ? {} : { token_endpoint_auth_method: method }),
      },
      ...(scope === '' ? {} : { scope }),
      fetchFn,
    });
    const stored = { ...client, issuer } as StoredOAuthClientInformation;
    await grants.register(server, redirectUrl, { issuer, client: stored, redirectUris: [redirectUrl] });
    return stored;
  } catch (cause) {
    if (TollgateError.is(cause)) throw cause;
    throw new TollgateError(
      'server_login_required',
      `${server}: ${printable(issuer)} did not register the gateway: ${reasonOf(cause)}`,
      {
        cause,
      },
    );
  }
}

/** No secret where none is needed; undefined: the authorization server's own default. */
function preferredMethod(supported: readonly string[] | undefined): string | undefined {
  return ['none', 'client_secret_basic', 'client_secret_post'].find((method) => supported?.includes(method));
}
