import { TollgateError } from '../core/errors.ts';

/**
 * The path to route on: the raw request target without its query. Never rebuilt through a URL object, whose
 * normalisation would let `//host`, dot segments or an absolute target change what is routed (CVE-2026-48710);
 * a target that two readers could understand differently is refused instead.
 */
export function routePath(target: string): string | TollgateError {
  const query = target.indexOf('?');
  const path = query < 0 ? target : target.slice(0, query);
  if (path.charCodeAt(0) !== 0x2f) return refuse('must start with `/` (absolute-form targets are not served)');
  if (path.length === 4 && path === '/mcp') return path;
  if (UNSAFE.test(path)) return refuse('may hold only plain path characters');
  if (path.includes('//')) return refuse('may not hold `//`');
  if (DOT_SEGMENT.test(path)) return refuse('may not hold dot segments');
  if (HIDDEN.test(path))
    return refuse('may not hold an encoded slash, backslash, dot, percent sign or control character');
  return path;
}

/** Everything but RFC 3986 `pchar` and `/`; a percent sign must begin an encoded byte. */
const UNSAFE = /[^A-Za-z0-9\-._~!$&'()*+,;=:@/%]|%(?![0-9A-Fa-f]{2})/;
const DOT_SEGMENT = /\/\.{1,2}(?:\/|$)/;
const HIDDEN = /%(?:2[fFeE5]|5[cC]|[01][0-9A-Fa-f]|7[fF])/;

function refuse(why: string): TollgateError {
  return new TollgateError('invalid_request', `The request target ${why}.`);
}
