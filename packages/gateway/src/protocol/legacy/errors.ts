/** Error codes of MCP up to 2025-11-25. */
import type { TollgateError } from '../../core/errors.ts';

/** "Resource not found" (MCP 2025-11-25, resources); became -32602 in 2026-07-28. */
const RESOURCE_NOT_FOUND = -32002;

/** Methods whose unknown name is a resource. */
const RESOURCE_METHODS: ReadonlySet<string> = new Set([
  'resources/read',
  'resources/subscribe',
  'resources/unsubscribe',
]);

/**
 * The JSON-RPC code of an error for a legacy client. The codes that 2026-07-28 introduced (-32020 to -32022) mean
 * nothing to it and become -32600.
 */
export function legacyRpcCode(error: TollgateError, method: string): number {
  if (error.code === 'unknown_name' && RESOURCE_METHODS.has(method)) return RESOURCE_NOT_FOUND;
  return error.rpc <= -32020 && error.rpc >= -32022 ? -32600 : error.rpc;
}
