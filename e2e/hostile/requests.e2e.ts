/** Table 1.2 of the threat model from the client's side: what was authorised is what is forwarded, or nothing is. */
import { type FakeHttpServer, startFakeHttp } from '@tollgate/testkit/fake-http';
import { type RunningGateway, startGateway } from '@tollgate/testkit/gateway';
import { modernBody, modernHeaders, modernRequest } from '@tollgate/testkit/modern-request';
import { exchange, rawConnection, rawRequest } from '@tollgate/testkit/raw-http';
import { verifies } from '@tollgate/testkit/verifies';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { callTool, callWithBody, LEGACY_HEADERS, META, openSession, rpc } from './kit.ts';

const stack = new AsyncDisposableStack();
let gateway: RunningGateway;
let modern: FakeHttpServer;
let legacy: FakeHttpServer;

beforeAll(async () => {
  modern = stack.use(await startFakeHttp('modern'));
  legacy = stack.use(await startFakeHttp('session'));
  gateway = stack.use(
    await startGateway({
      version: 1,
      caps: { body: '256KiB', keys: 1000, string: '64KiB' },
      // Whatever is refused before it is a call uses up nothing; a smuggled call would.
      limits: { calls: { on: 'tools/call', tool: 'modern/fail', by: 'everyone', limit: '1/h' } },
      endpoints: { '/mcp': { servers: '*', naming: 'prefix' } },
      servers: { modern: { url: modern.url }, legacy: { url: legacy.url, protocol: 'legacy' } },
    }),
  );
});
afterAll(() => stack.disposeAsync());
afterEach(async () => {
  expect(gateway.child.transcript()).not.toContain('was not handled');
  const answer = await callTool(gateway.port, 'modern_echo', { text: 'still here' });
  expect(JSON.stringify(answer)).toContain('still here');
});

const forwarded = (): number => modern.seen('tools/call').length + legacy.seen('tools/call').length;

/** A call of `modern_echo` with the given text after the name; the whole body is ours. */
const echo = (params: string, id = '7'): string =>
  `{"jsonrpc":"2.0","id":${id},"method":"tools/call","params":{"name":"modern_echo",${params}${META}}}`;

describe('a body that two parsers could read differently', () => {
  it.each([
    [
      'a second method',
      '{"jsonrpc":"2.0","id":7,"method":"tools/list","method":"tools/call","params":{"name":"modern_echo",' +
        META +
        '}}',
    ],
    ['a second name', echo('"name":"modern_fail",')],
    ['a second name written with escapes', echo('"n\\u0061me":"modern_fail",')],
    ['a second params', `${echo('').slice(0, -1)},"params":{"name":"modern_fail",${META}}}`],
    ['a second key deep in the arguments', echo('"arguments":{"a":[{"path":"/safe","path":"/etc"}]},')],
    ['Name beside name (GHSA-4gph-2hhr-5mwg)', echo('"Name":"modern_fail",')],
    ['NAME alone of CVE-2026-27896', echo('').replace('"name"', '"NAME"')],
    ['Method beside method', `${echo('').slice(0, -1)},"Method":"tools/list"}`],
    ['paramſ with the long s', `${echo('').slice(0, -1)},"paramſ":{"name":"modern_fail"}}`],
    ['the Kelvin sign in a token', echo('').replace('"_meta":{', '"_meta":{"progressToKen":1,"progressTo\u212aen":2,')],
    ['Arguments beside arguments', echo('"arguments":{"text":"a"},"Arguments":{"text":"b"},')],
    ['__proto__ in the envelope', `${echo('').slice(0, -1)},"__proto__":{"method":"x"}}`],
    ['__proto__ in params', echo('"__proto__":{"name":"modern_fail"},')],
    ['__proto__ in arguments', echo('"arguments":{"__proto__":{"text":"x"}},')],
    ['__proto__ written with escapes, deep', echo('"arguments":{"a":{"\\u005f_proto__":{}}},')],
    ['an infinite number', echo('"arguments":{"n":1e400},')],
    ['a lone surrogate', echo('"arguments":{"text":"\\ud800"},')],
    ['a NUL', echo('"arguments":{"text":"a\\u0000b"},')],
    ['a raw control character', echo('"arguments":{"text":"a\nb"},')],
    ['a byte order mark', `\ufeff${echo('')}`],
    ['something after its end', `${echo('')}{"jsonrpc":"2.0","id":8,"method":"tools/call"}`],
    ['a batch of one', `[${echo('')}]`],
    [
      'a batch of a thousand',
      `[${Array.from({ length: 1000 }, () => '{"jsonrpc":"2.0","id":1,"method":"ping"}').join(',')}]`,
    ],
    ['20,000 levels', echo(`"arguments":{"a":${'['.repeat(20_000)}${']'.repeat(20_000)}},`)],
    ['a string over the cap', echo(`"arguments":{"text":"${'x'.repeat(65 * 1024)}"},`)],
    ['keys over the cap', echo(`"arguments":{${Array.from({ length: 1001 }, (_, i) => `"k${i}":0`).join(',')}},`)],
  ])('%s: refused in both eras, nothing forwarded, nothing used up', async (_name, body) => {
    verifies('R1-62');
    const before = forwarded();
    const response = await exchange(gateway.port, callWithBody(body, 'modern_echo'));
    expect(response.status).toBe(400);
    expect([-32700, -32600]).toContain(rpc(response).error?.code);
    // The same bytes in a legacy session, where no header mirrors the body.
    const session = await openSession(gateway.port);
    const headers = [...LEGACY_HEADERS, ['Mcp-Session-Id', session] as const];
    const old = await exchange(gateway.port, { headers, body });
    expect(old.status).toBe(400);
    expect([-32700, -32600]).toContain(rpc(old).error?.code);
    expect(forwarded()).toBe(before);
  });

  it('bytes that are not UTF-8 are refused, nothing forwarded', async () => {
    const before = forwarded();
    const [head = '', tail = ''] = echo('"arguments":{"text":"BYTES"},').split('BYTES');
    const body = Buffer.concat([Buffer.from(head), Buffer.from([0xc0, 0xae]), Buffer.from(tail)]);
    await using connection = await rawConnection(gateway.port);
    const headers = [
      ...modernHeaders('tools/call', { name: 'modern_echo' }),
      ['Content-Length', String(body.length)] as const,
    ];
    connection.send(rawRequest(gateway.port, { headers }));
    connection.send(body);
    const response = await connection.response();
    expect(response.status).toBe(400);
    expect(rpc(response).error?.code).toBe(-32700);
    expect(forwarded()).toBe(before);
  });

  it('a compressed or oversized body is refused whole, never read in part', async () => {
    const before = forwarded();
    const compressed = await exchange(
      gateway.port,
      callWithBody(echo(''), 'modern_echo', [['Content-Encoding', 'gzip']]),
    );
    expect(compressed.status).toBe(415);
    // The marker stands behind the cap: a parser of the first part would have found a sound call.
    const large = `${echo('')}${' '.repeat(257 * 1024)}`;
    expect((await exchange(gateway.port, callWithBody(large, 'modern_echo'))).status).toBe(413);
    expect(forwarded()).toBe(before);
  });
});

describe('what is forwarded', () => {
  it.each([
    ['large integers', '{"n":12345678901234567890,"m":-9223372036854775808}'],
    ['numbers as they are written', '{"a":1.0,"b":-0,"c":1E+2,"d":0.10}'],
    ['escapes and white space', '{ "text" : "\\u0041\\/\\u00e9" ,\t"x":[ 1 , 2 ] }'],
    [
      'keys of objects in other languages',
      '{"constructor":{"prototype":{"a":1}},"toString":1,"Name":"x","METHOD":"y"}',
    ],
    ['text that looks like another message', '{"text":"\\"},\\"method\\":\\"tools/list\\",{\\""}'],
  ])('are the bytes that were authorised: %s', async (_name, args) => {
    verifies('R1-24');
    const body = echo(`"arguments":${args},`);
    const response = await exchange(gateway.port, callWithBody(body, 'modern_echo'));
    expect(rpc(response).error).toBeUndefined();
    const sent = modern.seen('tools/call').at(-1)!;
    expect(sent.body).toContain(`"arguments":${args}`);
    expect(sent.message).toMatchObject({ method: 'tools/call', params: { name: 'echo' } });
    expect(sent.headers['mcp-method']).toBe('tools/call');
    expect(sent.headers['mcp-name']).toBe('echo');
    // Over the bridge to the other era the message is written anew: equal in meaning, every number as it was.
    const other = body.replace('modern_echo', 'legacy_echo');
    expect(rpc(await exchange(gateway.port, callWithBody(other, 'legacy_echo'))).error).toBeUndefined();
    const bridged = legacy.seen('tools/call').at(-1)!;
    const bare = (text: string): string[] => text.match(/-?\d[\dEe.+]*/g) ?? [];
    expect(bridged.message?.['params']).toMatchObject({ name: 'echo', arguments: JSON.parse(args) });
    for (const number of bare(args.replaceAll(/"(?:[^"\\]|\\.)*"/g, ''))) expect(bridged.body).toContain(number);
  });

  it.each([
    '9223372036854775807',
    '-9223372036854775808',
    '9007199254740993',
    '"1"',
    '1',
    '0',
    '-0',
    '""',
    '"__proto__"',
  ])('has an id of the gateway, and the answer echoes %s as it was written', async (id) => {
    const response = await exchange(gateway.port, callWithBody(echo('"arguments":{"text":"id"},', id), 'modern_echo'));
    expect(response.status).toBe(200);
    expect(response.body).toContain(`"id":${id},`);
    expect(response.body).toContain('"text":"id"');
    expect(JSON.stringify(modern.seen('tools/call').at(-1)!.message?.['id'])).not.toBe(id === '-0' ? '0' : id);
  });

  it.each(['null', '1.0', '1e0', '1.5', 'true', '{}', '[1]'])('the id %s is refused, not guessed at', async (id) => {
    const before = forwarded();
    const response = await exchange(gateway.port, callWithBody(echo('', id), 'modern_echo'));
    expect(response.status).toBe(400);
    expect(rpc(response).error?.code).toBe(-32600);
    expect(forwarded()).toBe(before);
  });
});

describe('headers that say one thing and a body that says another', () => {
  const sentinel = (text: string): string => `=?base64?${Buffer.from(text).toString('base64')}?=`;
  it.each([
    ['the name of a harmless tool', 'Mcp-Name', 'modern_echo'],
    ['its base64 form', 'Mcp-Name', sentinel('modern_echo')],
    ['base64 without padding', 'Mcp-Name', sentinel('modern_fail').replace('=?=', '?=')],
    ['base64 with stray bits', 'Mcp-Name', '=?base64?bW9kZXJuX2ZhaWx=?='],
    ['another case', 'Mcp-Name', 'Modern_Fail'],
    ['the joined form of two headers', 'Mcp-Name', 'modern_fail, modern_fail'],
    ['another method', 'Mcp-Method', 'tools/list'],
    ['an encoded method', 'Mcp-Method', sentinel('tools/call')],
    ['an older version', 'MCP-Protocol-Version', '2025-11-25'],
  ])('%s: 400, -32020, nothing forwarded', async (_name, header, value) => {
    verifies('R1-62');
    const before = forwarded();
    const name = 'modern_fail';
    const headers = modernHeaders('tools/call', { name }).map(([key, old]): [string, string] => [
      key,
      key === header ? value : old,
    ]);
    const response = await exchange(gateway.port, { headers, body: modernBody(5, 'tools/call', { name }) });
    expect(response.status).toBe(400);
    expect(rpc(response)).toMatchObject({ id: 5, error: { code: -32020 } });
    expect(forwarded()).toBe(before);
  });

  it('the canonical base64 form is the name, and what goes on is written anew', async () => {
    const headers = modernHeaders('tools/call', { name: sentinel('modern_echo') });
    const response = await exchange(gateway.port, { headers, body: echo('"arguments":{"text":"b64"},') });
    expect(response.body).toContain('"text":"b64"');
    expect(modern.seen('tools/call').at(-1)!.headers['mcp-name']).toBe('echo');
  });

  it('in a legacy session mirrored headers mean nothing: the body alone decides', async () => {
    const session = await openSession(gateway.port);
    const headers = [
      ...LEGACY_HEADERS,
      ['Mcp-Session-Id', session],
      ['Mcp-Name', 'modern_fail'],
      ['Mcp-Method', 'tools/list'],
    ] as const;
    const body = JSON.stringify({
      jsonrpc: '2.0',
      id: 3,
      method: 'tools/call',
      params: { name: 'modern_echo', arguments: { text: 'body' } },
    });
    const response = await exchange(gateway.port, { headers, body });
    expect(rpc(response)).toMatchObject({ id: 3, result: { content: [{ text: 'body' }] } });
  });
});

describe('a second request inside the first', () => {
  const canary = modernRequest(99, 'tools/call', { name: 'modern_fail' });
  const body = modernBody(1, 'tools/call', { name: 'modern_echo', arguments: { text: 'outer' } });
  const length = Buffer.byteLength(body);
  const chunked = `${length.toString(16)}\r\n${body}\r\n0\r\n\r\n`;

  it.each([
    [
      'length and chunked',
      [
        ['Content-Length', String(length)],
        ['Transfer-Encoding', 'chunked'],
      ],
      chunked,
    ],
    [
      'a short length and chunked',
      [
        ['Content-Length', '4'],
        ['Transfer-Encoding', 'chunked'],
      ],
      chunked,
    ],
    [
      'two lengths',
      [
        ['Content-Length', String(length)],
        ['Content-Length', '0'],
      ],
      body,
    ],
    [
      'chunked twice',
      [
        ['Transfer-Encoding', 'chunked'],
        ['Transfer-Encoding', 'chunked'],
      ],
      chunked,
    ],
    ['chunked behind a vertical tab', [['Transfer-Encoding', '\u000bchunked']], chunked],
    ['chunked, then identity', [['Transfer-Encoding', 'chunked, identity']], chunked],
    [
      'an underscore for the dash',
      [
        ['Content_Length', '0'],
        ['Transfer_Encoding', 'chunked'],
        ['Content-Length', '+3'],
      ],
      body,
    ],
    ['a chunk size that overflows', [['Transfer-Encoding', 'chunked']], `FFFFFFFFFFFFFFFF1\r\n${body}`],
    ['bare line feeds in a chunk', [['Transfer-Encoding', 'chunked']], chunked.replaceAll('\r\n', '\n')],
  ] as [string, [string, string][], string][])('%s: the smuggled call never runs', async (_name, framing, payload) => {
    const before = forwarded();
    await using connection = await rawConnection(gateway.port);
    const headers = [...modernHeaders('tools/call', { name: 'modern_echo' }), ...framing];
    connection.send(rawRequest(gateway.port, { headers }) + payload + rawRequest(gateway.port, canary));
    const text = await connection.closed();
    expect(text === '' || text.startsWith('HTTP/1.1 4')).toBe(true);
    expect(forwarded()).toBe(before);
  });

  it('in a body of the right length is data', async () => {
    const text = rawRequest(gateway.port, canary);
    await using connection = await rawConnection(gateway.port);
    connection.send(
      rawRequest(gateway.port, modernRequest(1, 'tools/call', { name: 'modern_echo', arguments: { text } })),
    );
    connection.send(
      rawRequest(gateway.port, modernRequest(2, 'tools/call', { name: 'modern_echo', arguments: { text: 'second' } })),
    );
    expect(rpc(await connection.response())).toMatchObject({ id: 1, result: { content: [{ text }] } });
    expect(rpc(await connection.response())).toMatchObject({ id: 2, result: { content: [{ text: 'second' }] } });
    expect(
      modern.seen('tools/call').some(({ message }) => JSON.stringify(message?.['params']).includes('"name":"fail"')),
    ).toBe(false);
  });

  it('pieces of a request that stops half-way reach nobody', async () => {
    const before = forwarded();
    const whole = rawRequest(gateway.port, modernRequest(1, 'tools/call', { name: 'modern_echo' }));
    for (const cut of [10, whole.indexOf('\r\n\r\n') + 2, whole.length - 1]) {
      await using connection = await rawConnection(gateway.port);
      connection.send(whole.slice(0, cut));
      connection.halfClose();
      expect(await connection.closed()).not.toContain('HTTP/1.1 200');
    }
    expect(forwarded()).toBe(before);
  });

  it('none of all this has used up the limit of one call', async () => {
    verifies('R1-14');
    const answer = await callTool(gateway.port, 'modern_fail');
    expect(JSON.stringify(answer)).toContain('The tool failed');
    expect((await callTool(gateway.port, 'modern_fail')).error?.code).toBe(429);
  });
});

describe('names of the prototype', () => {
  it.each([
    'constructor',
    'toString',
    '__proto__',
    'hasOwnProperty',
    'valueOf',
    'modern_constructor',
    'modern___proto__',
  ])('%s is a tool that nobody offers: -32602, nothing forwarded', async (name) => {
    const before = forwarded();
    expect((await callTool(gateway.port, name)).error?.code).toBe(-32602);
    const session = await openSession(gateway.port);
    const headers = [...LEGACY_HEADERS, ['Mcp-Session-Id', session] as const];
    for (const [method, params] of [
      ['tools/call', { name }],
      ['prompts/get', { name }],
      ['resources/read', { uri: name }],
    ] as const) {
      const response = await exchange(gateway.port, {
        headers,
        body: JSON.stringify({ jsonrpc: '2.0', id: 1, method, params }),
      });
      expect(rpc(response).error?.code, method).toBeLessThan(0);
      expect(rpc(response).error?.code, method).not.toBe(-32603);
    }
    const unknown = { headers, body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: name, params: {} }) };
    expect(rpc(await exchange(gateway.port, unknown)).error?.code).toBe(-32601);
    expect(forwarded()).toBe(before);
  });

  it('as headers, query and paths have no effect (CVE-2026-21710)', async () => {
    const request = modernRequest(
      1,
      'tools/call',
      { name: 'modern_echo', arguments: { text: 'fine' } },
      '/mcp?__proto__[a]=1&constructor=x',
    );
    const headers = [
      ...(request.headers ?? []),
      ['__proto__', 'x'],
      ['constructor', 'y'],
      ['Mcp-Param-__proto__', 'z'],
    ] as const;
    const response = await exchange(gateway.port, { ...request, headers });
    expect(response.status).toBe(200);
    const sent = modern
      .seen('tools/call')
      .at(-1)!
      .rawHeaders.map((text) => text.toLowerCase());
    for (const name of ['__proto__', 'constructor', 'mcp-param-__proto__']) expect(sent).not.toContain(name);
    for (const path of ['/__proto__', '/constructor', '/s/__proto__', '/s/constructor', '/toString']) {
      expect((await exchange(gateway.port, modernRequest(1, 'tools/list', {}, path))).status, path).toBe(404);
    }
  });
});
