/** Results of modern servers for legacy clients. */

type Json = Readonly<Record<string, unknown>>;

const SERVER_INFO = 'io.modelcontextprotocol/serverInfo';

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * A complete result of MCP 2026-07-28 without what only that revision has: `resultType`, `ttlMs`, `cacheScope` and
 * `serverInfo` in `_meta`. `structuredContent` that is no object, which legacy clients refuse, is left out, as text
 * when there is no other content. Keeps every other member, raw numbers included.
 */
export function legacyResult(result: Json): Record<string, unknown> {
  const { resultType: _type, ttlMs: _ttl, cacheScope: _scope, _meta, ...legacy } = result as Record<string, unknown>;
  if (isObject(_meta)) {
    const { [SERVER_INFO]: _info, ...meta } = _meta;
    if (Object.keys(meta).length > 0) legacy['_meta'] = meta;
  }
  const structured = legacy['structuredContent'];
  if (structured !== undefined && !isObject(structured)) {
    delete legacy['structuredContent'];
    const content = legacy['content'];
    if (!Array.isArray(content) || content.length === 0) {
      legacy['content'] = [{ type: 'text', text: JSON.stringify(structured) }];
    }
  }
  return legacy;
}
