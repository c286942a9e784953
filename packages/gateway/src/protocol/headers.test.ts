import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  buildParamHeaders,
  checkMirroredHeaders,
  checkParamHeaders,
  compileParamHeaders,
  decodeHeaderValue,
  decodeParamHeaders,
  encodeHeaderValue,
  type ParamHeaders,
} from './headers.ts';
import { parseLossless } from './json/lossless.ts';
import { DEFAULT_SCAN_CAPS, scan } from './json/scan.ts';
import { encode } from './json/splice.ts';

const META = {
  'io.modelcontextprotocol/protocolVersion': '2026-07-28',
  'io.modelcontextprotocol/clientCapabilities': {},
};

describe('value encoding', () => {
  it.each([
    ['us-west1', 'us-west1'],
    ['Hello, 世界', '=?base64?SGVsbG8sIOS4lueVjA==?='],
    [' padded ', '=?base64?IHBhZGRlZCA=?='],
    ['line1\nline2', '=?base64?bGluZTEKbGluZTI=?='],
    ['=?base64?literal?=', '=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?='],
    ['', ''],
    ['a\tb c', 'a\tb c'],
    ['=?BASE64?eA==?=', '=?BASE64?eA==?='],
  ])('encodes %j as in the table of the specification', (value, header) => {
    expect(encodeHeaderValue(value)).toBe(header);
    expect(decodeHeaderValue(header)).toBe(value);
  });

  it('round-trips every text through characters that a header may have', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (value) => {
        const header = encodeHeaderValue(value);
        expect(header).toMatch(/^[\x20-\x7e\t]*$/);
        expect(decodeHeaderValue(header)).toBe(value);
      }),
    );
  });

  it('trims blanks around the value', () => {
    expect(decodeHeaderValue(' \tus-west1 ')).toBe('us-west1');
  });

  it.each([
    '=?base64?eA?=',
    '=?base64?eA===?=',
    '=?base64?eB==?=',
    '=?base64?e A=?=',
    '=?base64?eA==\t?=',
    '=?base64?-_-_?=',
    '=?base64?/w==?=',
    '=?base64?!?=',
    'caf\u00e9',
    'a\u0000',
    'a\u007f',
  ])('refuses %j: not canonical, not UTF-8, or not header text', (header) => {
    expect(decodeHeaderValue(header)).toBeUndefined();
  });
});

describe('checkMirroredHeaders', () => {
  const read = (method: string, params: Record<string, unknown>) =>
    encode({ jsonrpc: '2.0', id: 1, method, params: { ...params, _meta: META } });
  const call = read('tools/call', { name: 'get_weather' });
  const good = { protocolVersion: '2026-07-28', mcpMethod: 'tools/call', mcpName: 'get_weather' };

  it.each<[string, Partial<typeof good>]>([
    ['plain', {}],
    ['with blanks around', { mcpMethod: ' tools/call', mcpName: 'get_weather\t', protocolVersion: ' 2026-07-28 ' }],
    ['needlessly encoded', { mcpName: '=?base64?Z2V0X3dlYXRoZXI=?=' }],
  ])('accepts equal headers: %s', (_case, change) => {
    expect(checkMirroredHeaders(call, { ...good, ...change })).toBeUndefined();
  });

  it.each<[string, Partial<Record<keyof typeof good, string | undefined>>]>([
    ['no version', { protocolVersion: undefined }],
    ['another version', { protocolVersion: '2025-11-25' }],
    ['no method', { mcpMethod: undefined }],
    ['another method', { mcpMethod: 'tools/list' }],
    ['the method in upper case', { mcpMethod: 'Tools/Call' }],
    ['an encoded method', { mcpMethod: '=?base64?dG9vbHMvY2FsbA==?=' }],
    ['no name', { mcpName: undefined }],
    ['an empty name', { mcpName: '' }],
    ['another name', { mcpName: 'get_weathers' }],
    ['the name in upper case', { mcpName: 'GET_WEATHER' }],
    ['base64 without padding', { mcpName: '=?base64?Z2V0X3dlYXRoZXI?=' }],
    ['joined repeats', { mcpName: 'get_weather, get_weather' }],
    ['characters outside ASCII', { mcpName: 'get_weather\u00e9' }],
  ])('refuses %s with -32020 and 400', (_case, change) => {
    const error = checkMirroredHeaders(call, { ...good, ...change });
    expect(error).toMatchObject({ code: 'header_mismatch', rpc: -32020, http: 400 });
  });

  it('compares names that need encoding, and escapes in the body, by what they mean', () => {
    const uri = 'file:///größe\\"x';
    const message = read('resources/read', { uri });
    const headers = { ...good, mcpMethod: 'resources/read' };
    expect(checkMirroredHeaders(message, { ...headers, mcpName: encodeHeaderValue(uri) })).toBeUndefined();
    const bytes = Buffer.from(call.bytes.toString().replace('get_weather', 'get\\u005fweather'));
    expect(checkMirroredHeaders(scan(bytes, DEFAULT_SCAN_CAPS), good)).toBeUndefined();
    // The header is read as latin1; its bytes may equal those of the body without being the same text.
    const latin = read('tools/call', { name: 'é' });
    expect(checkMirroredHeaders(latin, { ...good, mcpName: '\u00c3\u00a9' })?.code).toBe('header_mismatch');
    const back = read('tools/call', { name: 'a\\b' });
    expect(checkMirroredHeaders(back, { ...good, mcpName: 'a\\b' })).toBeUndefined();
    expect(checkMirroredHeaders(back, { ...good, mcpName: 'a\\\\b' })?.code).toBe('header_mismatch');
  });

  it('refuses a name header when the body has no name, and asks for none where no method has one', () => {
    expect(checkMirroredHeaders(read('tools/call', {}), good)?.code).toBe('header_mismatch');
    expect(checkMirroredHeaders(read('tools/call', { name: 7 }), { ...good, mcpName: '7' })?.code).toBe(
      'header_mismatch',
    );
    const list = { ...good, mcpMethod: 'tools/list', mcpName: undefined };
    expect(checkMirroredHeaders(read('tools/list', {}), list)).toBeUndefined();
    expect(checkMirroredHeaders(read('tools/list', {}), { ...list, mcpName: 'ignored' })).toBeUndefined();
  });

  it('names the task of the tasks extension', () => {
    const message = read('tasks/get', { taskId: 't1' });
    expect(checkMirroredHeaders(message, { ...good, mcpMethod: 'tasks/get', mcpName: 't1' })).toBeUndefined();
    expect(checkMirroredHeaders(message, { ...good, mcpMethod: 'tasks/get', mcpName: 't2' })?.code).toBe(
      'header_mismatch',
    );
  });
});

const object = (properties: Record<string, unknown>, rest: Record<string, unknown> = {}) => ({
  type: 'object',
  properties,
  ...rest,
});
const text = (name: unknown) => ({ type: 'string', 'x-mcp-header': name });

describe('compileParamHeaders', () => {
  it('finds annotated properties at any depth of properties', () => {
    const schema = object({
      region: text('Region'),
      limits: object({
        rows: { type: 'integer', 'x-mcp-header': 'Rows' },
        dry: { type: 'boolean', 'x-mcp-header': 'dry' },
      }),
      plain: { type: 'string' },
    });
    expect(compileParamHeaders(schema)).toEqual([
      { header: 'Mcp-Param-Region', key: 'region', path: ['region'], type: 'string' },
      { header: 'Mcp-Param-Rows', key: 'rows', path: ['limits', 'rows'], type: 'integer' },
      { header: 'Mcp-Param-dry', key: 'dry', path: ['limits', 'dry'], type: 'boolean' },
    ]);
  });

  it('is undefined without annotations, also where the name is that of a property or in data', () => {
    for (const schema of [
      object({ a: { type: 'string' } }),
      object({ 'x-mcp-header': { type: 'string' } }),
      object({ a: { type: 'object', default: { 'x-mcp-header': 'X' }, enum: [{ 'x-mcp-header': 'X' }] } }),
      undefined,
      true,
    ]) {
      expect(compileParamHeaders(schema)).toBeUndefined();
    }
  });

  it.each<[string, unknown]>([
    ['empty name', object({ a: text('') })],
    ['name with a blank', object({ a: text('My Region') })],
    ['name with a line break', object({ a: text('a\r\nX-Evil: 1') })],
    ['name with a delimiter', object({ a: text('a:b') })],
    ['name outside ASCII', object({ a: text('größe') })],
    ['name that is no string', object({ a: text(7) })],
    ['same name in another case', object({ a: text('Region'), b: text('REGION') })],
    ['type number', object({ a: { type: 'number', 'x-mcp-header': 'A' } })],
    ['type object', object({ a: { type: 'object', 'x-mcp-header': 'A' } })],
    ['type array', object({ a: { type: 'array', 'x-mcp-header': 'A' } })],
    ['no type', object({ a: { 'x-mcp-header': 'A' } })],
    ['several types', object({ a: { type: ['string', 'null'], 'x-mcp-header': 'A' } })],
    ['root', { ...object({}), 'x-mcp-header': 'A' }],
    ['items', object({ a: { type: 'array', items: text('A') } })],
    ['properties below items', object({ a: { type: 'array', items: object({ b: text('A') }) } })],
    ['prefixItems', object({ a: { type: 'array', prefixItems: [text('A')] } })],
    ['oneOf', object({ a: { oneOf: [text('A')] } })],
    ['anyOf', object({}, { anyOf: [object({ a: text('A') })] })],
    ['allOf', object({}, { allOf: [object({ a: text('A') })] })],
    ['not', object({}, { not: object({ a: text('A') }) })],
    ['then', JSON.parse('{"if":{},"then":{"properties":{"a":{"type":"string","x-mcp-header":"A"}}}}')],
    ['$defs', object({ a: { $ref: '#/$defs/a' } }, { $defs: { a: text('A') } })],
    ['patternProperties', object({}, { patternProperties: { '^a': text('A') } })],
    ['additionalProperties', object({}, { additionalProperties: text('A') })],
    ['dependentSchemas', object({}, { dependentSchemas: { x: object({ a: text('A') }) } })],
  ])('says what is wrong with %s', (_case, schema) => {
    expect(compileParamHeaders(schema)).toMatch(/x-mcp-header/);
  });
});

describe('parameter headers of a call', () => {
  const compiled = compileParamHeaders(
    object({
      tenant: text('Tenant'),
      id: { type: 'integer', 'x-mcp-header': 'Id' },
      deep: object({ dry: { type: 'boolean', 'x-mcp-header': 'Dry' } }),
    }),
  ) as ParamHeaders;
  const check = (args: unknown, ...headers: [string, string][]) => {
    const decoded = decodeParamHeaders(headers);
    if (decoded instanceof Error) throw decoded;
    checkParamHeaders(compiled, args, decoded);
  };
  const mismatch = expect.objectContaining({ code: 'header_mismatch', rpc: -32020, http: 400 });

  it.each<[unknown, [string, string][]]>([
    [
      { tenant: 'acme', id: 7, deep: { dry: true } },
      [
        ['tenant', 'acme'],
        ['id', '7'],
        ['dry', 'true'],
      ],
    ],
    [{ id: 42 }, [['id', '42.0']]],
    [{ id: -7 }, [['id', '-7']]],
    [{ id: parseLossless('42.0', true) }, [['id', '42']]],
    [{ tenant: '世' }, [['tenant', encodeHeaderValue('世')]]],
    [{ tenant: '' }, [['tenant', '']]],
    [{ tenant: null, deep: null }, []],
    [{}, [['unknown', '=?base64?!?=']]],
    [undefined, []],
    [{ tenant: ['not a string'] }, []],
  ])('accepts %j with %j', (args, headers) => {
    expect(() => check(args, ...headers)).not.toThrow();
  });

  it.each<[string, unknown, [string, string][]]>([
    ['missing', { tenant: 'acme' }, []],
    ['another value', { tenant: 'acme' }, [['tenant', 'evil']]],
    ['another case', { tenant: 'acme' }, [['tenant', 'Acme']]],
    ['no value in the body', {}, [['tenant', 'acme']]],
    ['null in the body', { tenant: null }, [['tenant', 'acme']]],
    ['null as text', { tenant: null }, [['tenant', 'null']]],
    ['malformed base64', { tenant: '=?base64?!?=' }, [['tenant', '=?base64?!?=']]],
    ['base64 that is not canonical', { tenant: 'x' }, [['tenant', '=?base64?eB==?=']]],
    ['forbidden characters', { tenant: 'é' }, [['tenant', '\u00e9']]],
    ['another integer', { id: 7 }, [['id', '8']]],
    ['exponents', { id: 100 }, [['id', '1e2']]],
    ['hexadecimal', { id: 16 }, [['id', '0x10']]],
    ['blank for zero', { id: 0 }, [['id', '']]],
    ['unsafe integers', { id: parseLossless('9007199254740993', true) }, [['id', '9007199254740993']]],
    ['unsafe integer without header', { id: 1 }, [['id', '1.0000000000000001']]],
    ['boolean in upper case', { deep: { dry: true } }, [['dry', 'True']]],
    ['inherited properties', { deep: Object.create({ dry: true }) }, [['dry', 'true']]],
    ['objects', { tenant: {} }, [['tenant', '[object Object]']]],
  ])('refuses: %s', (_case, args, headers) => {
    expect(() => check(args, ...headers)).toThrow(mismatch);
  });

  it('builds headers that pass the check', () => {
    expect(buildParamHeaders(compiled, { tenant: 'ä', id: -0, deep: { dry: false } })).toEqual([
      ['Mcp-Param-Tenant', '=?base64?w6Q=?='],
      ['Mcp-Param-Id', '0'],
      ['Mcp-Param-Dry', 'false'],
    ]);
    expect(buildParamHeaders(compiled, { other: 1, tenant: null })).toBeUndefined();
    fc.assert(
      fc.property(
        fc.record(
          // The scanner lets no NUL through, and the check refuses it in a header.
          {
            tenant: fc.string({ unit: 'binary' }).map((text) => text.replaceAll('\0', '')),
            id: fc.maxSafeInteger(),
            deep: fc.record({ dry: fc.boolean() }),
          },
          { requiredKeys: [] },
        ),
        (args) => {
          const built = buildParamHeaders(compiled, args) ?? [];
          check(args, ...built.map(([name, value]): [string, string] => [name.slice(10).toLowerCase(), value]));
        },
      ),
    );
  });
});
