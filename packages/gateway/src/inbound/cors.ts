import { EXPOSED, type Exchange } from './exchange.ts';
import type { CorsOptions } from './options.ts';

/** Request headers a page may send. `*` would not cover Authorization, and the dynamic ones must be named anyway. */
const ALLOWED = [
  'accept',
  'authorization',
  'content-type',
  'last-event-id',
  'mcp-method',
  'mcp-name',
  'mcp-protocol-version',
  'mcp-session-id',
];
const PARAM = /^mcp-param-[!#$%&'*+.^_`|~0-9a-z-]{1,100}$/;
const MAX_REQUESTED = 64;

/**
 * Answers OPTIONS. The origin was checked before; for a page the answer names what it may send, `Mcp-Param-*` headers
 * of its tools included (they are dynamic, so those it asks for are repeated).
 */
export function answerOptions(
  exchange: Exchange,
  requested: string | undefined,
  allow: string,
  { allowedHeaders, maxAge }: CorsOptions,
): void {
  if (exchange.origin === undefined) {
    exchange.empty(204, [['allow', allow]]);
    return;
  }
  const names = (requested ?? '')
    .toLowerCase()
    .split(',', MAX_REQUESTED)
    .map((name) => name.trim());
  const headers = [...ALLOWED, ...allowedHeaders, ...names.filter((name) => PARAM.test(name))];
  exchange.empty(204, [
    ['access-control-allow-methods', allow],
    ['access-control-allow-headers', headers.join(', ')],
    ['access-control-max-age', String(Math.floor(maxAge / 1000))],
  ]);
}

/** Value of `Access-Control-Expose-Headers`. Cookies are never allowed along: nothing here is recognised by one. */
export function exposedHeaders({ exposedHeaders: more }: CorsOptions): string {
  return [EXPOSED, ...more].join(', ');
}
