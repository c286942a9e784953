/** What the listener serves beside MCP: health, metadata of the protected resources, and what is mounted. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { TollgateError } from '../core/errors.ts';
import { answerOptions } from './cors.ts';
import type { Exchange } from './exchange.ts';
import type { CorsOptions } from './options.ts';
import type { RequestHead } from './request-head.ts';
import { securityHeaders } from './security-headers.ts';

/**
 * Handler of paths that are no MCP endpoint (control API, console, pages), after Host, Origin and path were checked.
 * False: not its path. It authenticates by itself and answers exactly once; security and CORS headers are set already,
 * and give way to those it sets.
 */
export type Mount = (request: IncomingMessage, response: ServerResponse, path: string, client: MountClient) => boolean;

/** What the edge knows of the client, trusted proxies taken into account. */
export interface MountClient {
  /** Undefined once the socket is gone. */
  readonly address: string | undefined;
  /** It speaks TLS. */
  readonly secure: boolean;
}

export interface BesideDeps {
  /** JSON text of the metadata at a path (RFC 9728). */
  readonly metadata: (path: string) => string | undefined;
  readonly ready: () => boolean;
  readonly mount: Mount | undefined;
  readonly cors: CorsOptions;
}

/** Methods of what is mounted, for pages that ask. */
const MOUNTED = 'GET, POST, PUT, PATCH, DELETE, OPTIONS';

export function serveBeside(
  request: IncomingMessage,
  exchange: Exchange,
  head: RequestHead,
  path: string,
  deps: BesideDeps,
): void {
  exchange.always = securityHeaders(head.secure);
  if (path === '/healthz') health(request, exchange, true);
  else if (path === '/readyz') health(request, exchange, deps.ready());
  else {
    const metadata = deps.metadata(path);
    if (metadata !== undefined) document(request, exchange, metadata, deps.cors);
    else if (request.method === 'OPTIONS' && exchange.origin !== undefined) {
      answerOptions(exchange, request.headers['access-control-request-headers'], MOUNTED, deps.cors);
    } else mounted(request, exchange, head, path, deps.mount);
  }
}

function mounted(
  request: IncomingMessage,
  exchange: Exchange,
  { address, secure }: RequestHead,
  path: string,
  mount: Mount | undefined,
): void {
  const { response, origin } = exchange;
  const always = securityHeaders(secure);
  for (let i = 0; i < always.length; i += 2) response.setHeader(always[i]!, always[i + 1]!);
  if (origin !== undefined) {
    response.setHeader('access-control-allow-origin', origin);
    response.setHeader('access-control-expose-headers', exchange.exposed);
    response.setHeader('vary', 'Origin');
  }
  if (mount?.(request, response, path, { address, secure }) === true) return;
  for (const name of response.getHeaderNames()) response.removeHeader(name);
  exchange.refuse(new TollgateError('not_found', 'Nothing is served at this path.'));
}

function health(request: IncomingMessage, exchange: Exchange, well: boolean): void {
  if (request.method === 'GET' || request.method === 'HEAD') exchange.empty(well ? 200 : 503);
  else exchange.empty(405, [['allow', 'GET, HEAD']]);
}

/** Open to everybody: a client reads it before it has a token (RFC 9728 section 3). */
function document(request: IncomingMessage, exchange: Exchange, text: string, cors: CorsOptions): void {
  if (request.method === 'OPTIONS') {
    answerOptions(exchange, request.headers['access-control-request-headers'], 'GET, HEAD, OPTIONS', cors);
  } else if (request.method === 'GET' || request.method === 'HEAD') {
    exchange.json(Buffer.from(text), { status: 200, headers: [['cache-control', 'public, max-age=300']] });
  } else exchange.empty(405, [['allow', 'GET, HEAD, OPTIONS']]);
}
