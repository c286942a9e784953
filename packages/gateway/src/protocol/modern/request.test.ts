import { describe, expect, it } from 'vitest';
import { encode } from '../json/splice.ts';
import { checkModernRequest } from './request.ts';

const MCP = 'io.modelcontextprotocol/';
const META = { [`${MCP}protocolVersion`]: '2026-07-28', [`${MCP}clientCapabilities`]: {} };
const check = (params?: unknown) => checkModernRequest(encode({ jsonrpc: '2.0', id: 1, method: 'tools/list', params }));

describe('checkModernRequest', () => {
  it.each([
    [META],
    [{ ...META, [`${MCP}clientInfo`]: { name: 'a', version: '1' }, [`${MCP}logLevel`]: 'warning', progressToken: 'x' }],
    [{ ...META, progressToken: -7, 'acme/other': null }],
  ])('accepts %j', (_meta) => {
    expect(check({ _meta })).toBeUndefined();
  });

  it.each<[unknown]>([
    [undefined],
    [{}],
    [{ _meta: [] }],
    [{ _meta: 'x' }],
    [{ _meta: {} }],
    [{ _meta: { ...META, [`${MCP}protocolVersion`]: undefined } }],
    [{ _meta: { ...META, [`${MCP}protocolVersion`]: 20260728 } }],
    [{ _meta: { ...META, [`${MCP}clientCapabilities`]: undefined } }],
    [{ _meta: { ...META, [`${MCP}clientCapabilities`]: [] } }],
    [{ _meta: { ...META, [`${MCP}clientInfo`]: 'x' } }],
  ])('refuses the params %j with -32602 and 400', (params) => {
    expect(check(params)).toMatchObject({ code: 'invalid_meta', rpc: -32602, http: 400 });
  });

  it('names the supported versions to a client of another one', () => {
    for (const version of ['2025-11-25', '2099-01-01', '']) {
      expect(check({ _meta: { ...META, [`${MCP}protocolVersion`]: version } })).toMatchObject({
        code: 'unsupported_version',
        rpc: -32022,
        http: 400,
        data: { supported: ['2026-07-28'], requested: version },
      });
    }
  });

  it.each([
    [{ [`${MCP}logLevel`]: 'loud' }],
    [{ [`${MCP}logLevel`]: 3 }],
    [{ progressToken: 1.5 }],
    [{ progressToken: null }],
    [{ progressToken: {} }],
  ])('refuses the optional keys %j with -32602', (extra) => {
    expect(check({ _meta: { ...META, ...extra } })).toMatchObject({ code: 'invalid_params', rpc: -32602 });
  });
});
