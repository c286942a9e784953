/** Results of legacy servers for modern clients. */

type Json = Readonly<Record<string, unknown>>;

/** Results that must say how long and for whom they may be kept (SEP-2549). */
const CACHEABLE: ReadonlySet<string> = new Set([
  'server/discover',
  'tools/list',
  'prompts/list',
  'resources/list',
  'resources/templates/list',
  'resources/read',
]);

const SERVER_INFO = 'io.modelcontextprotocol/serverInfo';

/**
 * The result of a legacy server as a complete one of MCP 2026-07-28: with `resultType`, on cacheable methods with
 * `ttlMs` (default 0) and `cacheScope` (default `private`), and with `serverInfo` in `_meta` when given and missing.
 * Keeps every other member, raw numbers included.
 */
export function modernResult(method: string, result: Json, serverInfo?: unknown): Record<string, unknown> {
  // A legacy server means nothing by `resultType`: taken at its word it could make the client ask its user for input.
  const modern: Record<string, unknown> = { ...result, resultType: 'complete' };
  if (CACHEABLE.has(method)) {
    const { ttlMs, cacheScope } = result;
    modern['ttlMs'] = Number.isSafeInteger(ttlMs) && (ttlMs as number) >= 0 ? ttlMs : 0;
    modern['cacheScope'] = cacheScope === 'public' ? 'public' : 'private';
  }
  if (serverInfo !== undefined) {
    const meta = result['_meta'];
    modern['_meta'] = { [SERVER_INFO]: serverInfo, ...(typeof meta === 'object' ? meta : {}) };
  }
  return modern;
}
