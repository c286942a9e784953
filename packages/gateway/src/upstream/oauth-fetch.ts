/**
 * `fetch` for the URLs of a sign-in. They come from the server (RFC 9728) and from what it points to, so they are not
 * trusted: no plain HTTP, no address inside the operator's network unless the server itself is there, never the
 * metadata services of clouds, nothing large, nothing slow.
 */
import { lookup } from 'node:dns';
import { lookup as lookupAll } from 'node:dns/promises';
import { BlockList, isIP, type LookupFunction } from 'node:net';
import { Agent, fetch as undiciFetch } from 'undici';
import { TollgateError } from '../core/errors.ts';

const TIMEOUT_MS = 15_000;
const MAX_BODY = 1024 * 1024;
const MAX_REDIRECTS = 3;

const FORBIDDEN = blockList([
  ['0.0.0.0', 8],
  ['169.254.0.0', 16],
  ['224.0.0.0', 3],
  ['::', 128],
  ['fe80::', 10],
  ['ff00::', 8],
]);
const INTERNAL = blockList([
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['172.16.0.0', 12],
  ['192.168.0.0', 16],
  ['::1', 128],
  ['fc00::', 7],
]);

function blockList(subnets: readonly (readonly [string, number])[]): BlockList {
  const list = new BlockList();
  for (const [net, prefix] of subnets) list.addSubnet(net, prefix, net.includes(':') ? 'ipv6' : 'ipv4');
  return list;
}

function listed(list: BlockList, address: string): boolean {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (mapped !== undefined) return list.check(mapped);
  return list.check(address, address.includes(':') ? 'ipv6' : 'ipv4');
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
}

function bareHost(url: URL): string {
  return url.hostname.replace(/^\[|\]$/g, '');
}

async function isInternal(url: URL): Promise<boolean> {
  const host = bareHost(url);
  if (isIP(host) !== 0) return listed(INTERNAL, host);
  const addresses = await lookupAll(host, { all: true });
  return addresses.some(({ address }) => listed(INTERNAL, address));
}

function refuse(url: URL, why: string): TollgateError {
  return new TollgateError(
    'server_login_required',
    `The sign-in points to ${url.origin}, which ${why}; it is not followed`,
  );
}

export type SignInFetch = (url: string | URL, init?: RequestInit) => Promise<Response>;

/** For the sign-in at one server. Rejects with `server_login_required` for places that are not followed. */
export async function signInFetch(server: URL, signal: AbortSignal): Promise<SignInFetch> {
  const inside = await isInternal(server);
  const allowed = (address: string): boolean => !listed(FORBIDDEN, address) && (inside || !listed(INTERNAL, address));
  const check = (url: URL): void => {
    // What the operator wrote is trusted.
    if (url.origin === server.origin) return;
    const host = bareHost(url);
    const plain = url.protocol === 'http:' && isLoopback(host);
    if (url.protocol !== 'https:' && !plain) throw refuse(url, 'is not HTTPS');
    if (isIP(host) !== 0 && !allowed(host)) throw refuse(url, 'is an internal address');
  };
  const dispatcher = new Agent({
    connect: { lookup: filteredLookup(allowed), timeout: TIMEOUT_MS },
    allowH2: false,
    // Nothing is kept open after the few requests of a sign-in.
    pipelining: 0,
  });
  return async (input, init = {}) => {
    let url = new URL(input);
    const method = init.method ?? 'GET';
    for (let hops = 0; ; hops++) {
      check(url);
      const timeout = AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS), ...(init.signal ? [init.signal] : [])]);
      const response = await undiciFetch(url, {
        method,
        headers: [...new Headers(init.headers)] as [string, string][],
        ...(init.body === undefined || init.body === null ? {} : { body: String(init.body) }),
        redirect: 'manual',
        signal: timeout,
        dispatcher,
      });
      const location = response.headers.get('location');
      const redirects = response.status >= 300 && response.status < 400 && location !== null;
      if (redirects && method === 'GET' && hops < MAX_REDIRECTS) {
        await response.body?.cancel();
        url = new URL(location, url);
        continue;
      }
      const noBody = response.status === 204 || response.status === 304;
      // The SDK checks `instanceof Response`, which only the global class satisfies.
      return new Response(noBody ? null : await limited(response.body, url), {
        status: response.status,
        headers: [...response.headers] as [string, string][],
      });
    }
  };
}

async function limited(body: AsyncIterable<Uint8Array> | null, url: URL): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of body ?? []) {
    size += chunk.length;
    if (size > MAX_BODY) throw refuse(url, 'answers with more than 1 MiB');
    chunks.push(chunk);
  }
  const whole = new Uint8Array(size);
  let at = 0;
  for (const chunk of chunks) {
    whole.set(chunk, at);
    at += chunk.length;
  }
  return whole;
}

/** Checks what a name resolves to at the moment of connecting, so that it cannot change in between (rebinding). */
function filteredLookup(allowed: (address: string) => boolean): LookupFunction {
  return (hostname, options, callback) => {
    lookup(hostname, { ...options, all: true }, (error, addresses) => {
      if (error !== null) {
        callback(error, []);
        return;
      }
      const good = addresses.filter(({ address }) => allowed(address));
      const [first] = good;
      if (first === undefined) callback(new Error(`${hostname} resolves to an internal address only`), []);
      else if (options.all === true) callback(null, good);
      else callback(null, first.address, first.family);
    });
  };
}
