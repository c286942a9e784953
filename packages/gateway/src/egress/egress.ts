/**
 * The one way to URLs that no operator wrote: metadata of authorization servers, client id documents, icons. Who names
 * them is a stranger, who could name a service inside the operator's network (SSRF), answer without end, or send the
 * gateway on to somewhere else.
 */
import { lookup } from 'node:dns/promises';
import { isIP, type LookupFunction } from 'node:net';
import type { PeerCertificate } from 'node:tls';
import { Agent, type Response as Answer, fetch } from 'undici';
import type { Egress, EgressInit } from '../core/egress.ts';
import { TollgateError } from '../core/errors.ts';
import { type Reach, reachOf } from './addresses.ts';

export interface ResolvedAddress {
  readonly address: string;
  readonly family: number;
}

export interface EgressOptions {
  /**
   * How far into the operator's networks it may lead. Default `public`: not at all. `private`: private networks too.
   * `loopback`: this machine too, there also over plain HTTP; for what a server on this machine points to.
   */
  readonly reach?: Exclude<Reach, 'never'> | undefined;
  /** Origins that the operator wrote: reached wherever they are, as everything else of the gateway reaches them. */
  readonly trusted?: readonly string[] | undefined;
  /** Redirects of a GET that are followed, each checked like the first URL. Default 0: a redirect is the answer. */
  readonly redirects?: number | undefined;
  /** PEM of the authorities to trust instead of the well-known ones. */
  readonly ca?: string | undefined;
  /** How an origin is recognised over TLS, in place of the usual way; it is verified in any case. */
  readonly connect?: ((origin: string) => EgressConnect | undefined) | undefined;
  /** Ends every fetch. */
  readonly signal?: AbortSignal | undefined;
  /** All addresses of a name. Default: the system's resolver. */
  readonly resolve?: ((hostname: string) => Promise<readonly ResolvedAddress[]>) | undefined;
}

/** Options of `tls.connect`. */
export interface EgressConnect {
  readonly minVersion?: 'TLSv1.2' | 'TLSv1.3';
  readonly ca?: string;
  readonly servername?: string;
  readonly checkServerIdentity?: (host: string, certificate: PeerCertificate) => Error | undefined;
}

const MAX_URL = 2048;
const MAX_BYTES = 1024 * 1024;
const TIMEOUT_MS = 15_000;
/** A resolver that hangs holds one of the few threads of the process. */
const MAX_OPEN = 32;
const ENCODINGS = /^(?:identity|gzip|x-gzip|deflate|br)?$/i;
const NO_BODY: readonly number[] = [101, 103, 204, 205, 304];
/** Said of the bytes on the wire, no longer true of the body that is given back. */
const OF_THE_WIRE: readonly string[] = ['content-encoding', 'content-length', 'transfer-encoding', 'connection'];

/**
 * Makes the client. It rejects with `egress_refused` for a URL or an answer that is never taken, and with
 * `egress_failed` where the network failed or the time was up, which a repeat may cure.
 */
export function createEgress(options: EgressOptions = {}): Egress {
  let open = 0;
  return async (url, init = {}) => {
    if (open >= MAX_OPEN) throw failed('too many documents are being fetched');
    open++;
    try {
      return await follow(url, init, options);
    } finally {
      open--;
    }
  };
}

async function follow(input: string | URL, init: EgressInit, options: EgressOptions): Promise<Response> {
  const { timeout = TIMEOUT_MS, method = 'GET' } = init;
  const signals = [AbortSignal.timeout(timeout), options.signal, init.signal].filter((one) => one !== undefined);
  const signal = AbortSignal.any(signals);
  let url = parsed(input);
  for (let hops = 0; ; hops++) {
    const response = await one(url, init, options, signal);
    const location = response.headers.get('location');
    const redirects = response.status >= 300 && response.status < 400 && location !== null;
    if (!redirects || method !== 'GET' || hops >= (options.redirects ?? 0)) return response;
    url = parsed(location, url);
  }
}

function parsed(input: string | URL, base?: URL): URL {
  const text = String(input);
  // Readers of URLs differ on backslashes, and drop some controls in silence.
  const clear = text.length <= MAX_URL && !/[\\\x00-\x20\x7f]/.test(text);
  const url = clear ? URL.parse(text, base?.href) : null;
  if (url === null)
    throw new TollgateError('egress_refused', `Not fetched: no plain URL of at most ${MAX_URL} characters`);
  return url;
}

/** One request, to the addresses that were checked and to no other. */
async function one(url: URL, init: EgressInit, options: EgressOptions, signal: AbortSignal): Promise<Response> {
  const why = refusedByForm(url, options);
  if (why !== undefined) throw refused(url, why);
  let dispatcher: Agent | undefined;
  try {
    const addresses = await checkedAddresses(url, options, signal);
    dispatcher = new Agent({
      connect: {
        ...(options.ca === undefined ? {} : { ca: options.ca }),
        ...options.connect?.(url.origin),
        lookup: only(addresses),
        timeout: TIMEOUT_MS,
        // Said, so that no setting of the process can switch it off.
        rejectUnauthorized: true,
      },
      allowH2: false,
      maxHeaderSize: 16_384,
    });
    const { method = 'GET', headers, body } = init;
    const request = { method, headers: { ...headers }, redirect: 'manual', signal, dispatcher } as const;
    return await complete(url, await fetch(url, body === undefined ? request : { ...request, body }), init);
  } catch (cause) {
    if (TollgateError.is(cause)) throw cause;
    throw failed(signal.aborted ? `${url.origin} did not answer in time` : `${url.origin} could not be reached`, cause);
  } finally {
    void dispatcher?.destroy();
  }
}

/** What can be told without asking anybody. Undefined: nothing is wrong. */
function refusedByForm(url: URL, { reach = 'public', trusted = [] }: EgressOptions): string | undefined {
  if (url.protocol !== 'https:' && url.protocol !== 'http:') return 'is not HTTPS';
  if (url.username !== '' || url.password !== '') return 'carries a user name or a password';
  if (trusted.includes(url.origin)) return undefined;
  if (url.protocol === 'http:' && reach !== 'loopback') return 'is not HTTPS';
  const port = url.port === '' ? undefined : Number(url.port);
  // Below 1024 live mail, shells and files, whose servers may take an HTTP request for one of theirs.
  if (port !== undefined && port < 1024) return 'names a port on which no such document is served';
  return undefined;
}

/** Resolves once, and refuses when one address is not allowed: who mixes good ones with bad ones means the bad ones. */
async function checkedAddresses(
  url: URL,
  options: EgressOptions,
  signal: AbortSignal,
): Promise<readonly ResolvedAddress[]> {
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const family = isIP(host);
  if (family !== 0) {
    check(url, host, options);
    return [{ address: host, family }];
  }
  const addresses = await bounded((options.resolve ?? resolveAll)(host), signal);
  if (addresses.length === 0) throw failed(`${url.origin} has no address`);
  for (const { address } of addresses) check(url, address, options);
  return addresses;
}

function check(url: URL, address: string, { reach = 'public', trusted = [] }: EgressOptions): void {
  if (trusted.includes(url.origin)) return;
  const found = reachOf(address);
  const allowed =
    found === 'public' || (found === 'private' && reach !== 'public') || (found === 'loopback' && reach === 'loopback');
  if (!allowed) throw refused(url, 'is an internal address');
  if (url.protocol === 'http:' && found !== 'loopback') throw refused(url, 'is not HTTPS');
}

function resolveAll(hostname: string): Promise<readonly ResolvedAddress[]> {
  return lookup(hostname, { all: true });
}

/** What the resolver does cannot be ended, but nobody waits for it any longer. */
function bounded<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}

/** Between the check and the connection nobody is asked again, so the answer cannot change (rebinding). */
function only(addresses: readonly ResolvedAddress[]): LookupFunction {
  return (_hostname, options, callback) => {
    const [first] = addresses;
    if (options.all === true) callback(null, [...addresses]);
    else callback(null, first!.address, first!.family);
  };
}

async function complete(url: URL, answer: Answer, { maxBytes = MAX_BYTES }: EgressInit): Promise<Response> {
  // One layer at most: a chain of them multiplies (undici CVE-2026-22036).
  if (!ENCODINGS.test(answer.headers.get('content-encoding') ?? ''))
    throw refused(url, 'answers in an encoding of its own');
  const headers = [...answer.headers].filter(([name]) => !OF_THE_WIRE.includes(name)) as [string, string][];
  // The SDK asks for the global class.
  return new Response(NO_BODY.includes(answer.status) ? null : await limited(url, answer.body, maxBytes), {
    status: answer.status,
    headers,
  });
}

/** Counts what comes out of the decoder, so a small answer cannot become a large one. */
async function limited(
  url: URL,
  body: AsyncIterable<Uint8Array> | null,
  maxBytes: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of body ?? []) {
    size += chunk.length;
    if (size > maxBytes) throw refused(url, `answers with more than ${sizeText(maxBytes)}`);
    chunks.push(chunk);
  }
  return new Uint8Array(Buffer.concat(chunks, size));
}

function sizeText(bytes: number): string {
  return bytes % (1024 * 1024) === 0 ? `${bytes / 1024 / 1024} MiB` : `${bytes} bytes`;
}

function refused(url: URL, why: string): TollgateError {
  return new TollgateError('egress_refused', `${url.origin} ${why}; it is not fetched from`);
}

function failed(what: string, cause?: unknown): TollgateError {
  return new TollgateError('egress_failed', `Not fetched: ${what}`, cause === undefined ? {} : { cause });
}
