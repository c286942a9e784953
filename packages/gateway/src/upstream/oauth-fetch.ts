/**
 * `fetch` for the URLs of a sign-in. They come from the server (RFC 9728) and from what it points to, so they are not
 * trusted, except for the server itself, which the operator wrote: where it stands, what it points to may stand too.
 */
import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import { TollgateError } from '../core/errors.ts';
import { reachOf } from '../egress/addresses.ts';
import { createEgress } from '../egress/egress.ts';
import type { SecureConnect } from './secure-connect.ts';

const MAX_REDIRECTS = 3;

export type SignInFetch = (url: string | URL, init?: RequestInit) => Promise<Response>;

/**
 * For the sign-in at one server. `written`: other origins that the operator wrote; `connect`: how the server itself is
 * recognised. Rejects with `server_login_required` for places that are not followed.
 */
export async function signInFetch(
  server: URL,
  signal: AbortSignal,
  written: readonly string[] = [],
  connect?: SecureConnect | undefined,
): Promise<SignInFetch> {
  const egress = createEgress({
    reach: await whereIs(server),
    trusted: [server.origin, ...written],
    redirects: MAX_REDIRECTS,
    connect: (origin) => (origin === server.origin ? connect : undefined),
    signal,
  });
  return async (url, init = {}) => {
    const { method, body } = init;
    try {
      return await egress(url, {
        method: (method ?? 'GET') as 'GET' | 'POST' | 'HEAD',
        headers: Object.fromEntries(new Headers(init.headers)),
        ...(body === undefined || body === null ? {} : { body: String(body) }),
        ...(init.signal ? { signal: init.signal } : {}),
      });
    } catch (cause) {
      if (!TollgateError.is(cause) || cause.code !== 'egress_refused') throw cause;
      throw new TollgateError('server_login_required', `The sign-in cannot go on: ${cause.message}`, { cause });
    }
  };
}

/**
 * Where a server stands. A name leads to this machine only where it can mean nothing else: whoever answers for another
 * name could make it so for the moment of a sign-in. Private networks are then still guarded by their certificates.
 */
async function whereIs(server: URL): Promise<'public' | 'private' | 'loopback'> {
  const host = server.hostname.replace(/^\[|\]$/g, '');
  if (host === 'localhost' || host.endsWith('.localhost')) return 'loopback';
  if (isIP(host) !== 0) {
    const found = reachOf(host);
    return found === 'never' ? 'public' : found;
  }
  const addresses = await lookup(host, { all: true });
  return addresses.every(({ address }) => reachOf(address) !== 'public') ? 'private' : 'public';
}
