/** `fetch` for the sign-in at one server: freely to what the operator wrote, through the filter to everything else. */
import type { FetchLike } from '@modelcontextprotocol/client';
import type { HttpServerOptions } from '../http-client.ts';
import { signInFetch } from '../oauth-fetch.ts';
import { secureConnect } from '../secure-connect.ts';

/** The issuers and token endpoints in the `auth` of a server. */
function writtenByOperator({ auth }: HttpServerOptions): string[] {
  const texts: (string | undefined)[] = [];
  if (auth?.kind === 'oauth') texts.push(auth.issuer, auth.client?.issuer);
  else if (auth?.kind === 'client-credentials') texts.push(auth.client.issuer);
  else if (auth?.kind === 'token-exchange') texts.push(auth.tokenEndpoint);
  else if (auth?.kind === 'enterprise') texts.push(auth.idp.tokenEndpoint, auth.client.issuer);
  if (auth !== undefined && 'lists' in auth) texts.push(auth.lists?.client.issuer);
  return texts.flatMap((text) => (text === undefined ? [] : [new URL(text).origin]));
}

/** Rejects like `signInFetch` for places that are not followed. */
export function reachOf(options: HttpServerOptions, signal: AbortSignal): Promise<FetchLike> {
  const { url, tls } = options.target;
  const connect = tls === undefined ? undefined : secureConnect(options.name, tls);
  return signInFetch(url, signal, writtenByOperator(options), connect);
}
