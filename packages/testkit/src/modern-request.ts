import type { JsonObject } from './fake-tools.ts';
import type { RawRequest } from './raw-http.ts';

const META = 'io.modelcontextprotocol/';

/** `_meta` of a 2026-07-28 request. */
export function modernMeta(capabilities: JsonObject = {}, more: JsonObject = {}): JsonObject {
  return {
    [`${META}protocolVersion`]: '2026-07-28',
    [`${META}clientInfo`]: { name: 'testkit', version: '1.0.0' },
    [`${META}clientCapabilities`]: capabilities,
    ...more,
  };
}

/** The JSON text of a 2026-07-28 request. */
export function modernBody(id: string | number, method: string, params: JsonObject = {}): string {
  const { _meta, ...rest } = params;
  return JSON.stringify({ jsonrpc: '2.0', id, method, params: { ...rest, _meta: _meta ?? modernMeta() } });
}

/** The mirrored headers of a 2026-07-28 request. */
export function modernHeaders(method: string, params: JsonObject = {}): [string, string][] {
  const name = method === 'resources/read' ? params['uri'] : params['name'];
  const mirrored = ['tools/call', 'prompts/get', 'resources/read'].includes(method);
  return [
    ['Content-Type', 'application/json'],
    ['Accept', 'application/json, text/event-stream'],
    ['MCP-Protocol-Version', '2026-07-28'],
    ['Mcp-Method', method],
    ...(mirrored ? [['Mcp-Name', String(name)] as [string, string]] : []),
  ];
}

/** A whole 2026-07-28 request for `exchange`. */
export function modernRequest(id: string | number, method: string, params: JsonObject = {}, path = '/mcp'): RawRequest {
  return { path, headers: modernHeaders(method, params), body: modernBody(id, method, params) };
}
