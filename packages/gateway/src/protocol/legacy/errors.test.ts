import { describe, expect, it } from 'vitest';
import { TollgateError } from '../../core/errors.ts';
import { statusOfRpcCode } from '../modern/errors.ts';
import { legacyRpcCode } from './errors.ts';

describe('error codes of the eras', () => {
  it('an unknown resource is -32002 to a legacy client, an unknown tool is -32602', () => {
    const unknown = new TollgateError('unknown_name', 'x');
    expect(legacyRpcCode(unknown, 'resources/read')).toBe(-32002);
    expect(legacyRpcCode(unknown, 'tools/call')).toBe(-32602);
    expect(unknown.rpc).toBe(-32602);
  });

  it('codes of 2026-07-28 do not reach a legacy client', () => {
    for (const code of ['header_mismatch', 'missing_client_capability', 'unsupported_version'] as const) {
      expect(legacyRpcCode(new TollgateError(code, 'x'), 'tools/call')).toBe(-32600);
    }
    expect(legacyRpcCode(new TollgateError('rate_limited', 'x'), 'tools/call')).toBe(429);
  });

  it('a modern client sees the pinned statuses', () => {
    expect([-32700, -32600, -32601, -32020, -32021, -32022].map(statusOfRpcCode)).toEqual([
      400, 400, 404, 400, 400, 400,
    ]);
    expect([-32602, -32603, 429, 1].map(statusOfRpcCode)).toEqual([200, 200, 200, 200]);
  });
});
