import { verifies } from '@tollgate/testkit/verifies';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { TollgateError } from '../core/errors.ts';
import { DEFAULT_SCAN_CAPS, scan } from '../protocol/json/scan.ts';
import {
  answer,
  answerError,
  head,
  legacyBody,
  META,
  modernBody,
  modernPost,
  notification,
  optionsOf,
  post,
  type Rig,
  startEdge,
} from './fakes.ts';

let rig: Rig;

beforeAll(async () => {
  rig = await startEdge(optionsOf({ headerTime: 400, bodyTime: 400 }));
});
afterAll(async () => await rig.stop());
beforeEach(() => {
  rig.mcp.handlers.clear();
  rig.mcp.calls.length = 0;
});

function codeOf(body: string): number {
  return (JSON.parse(body) as { error: { code: number } }).error.code;
}

const MODERN = { 'MCP-Protocol-Version': '2026-07-28', 'Mcp-Method': 'tools/list' };

describe('a modern request', () => {
  it('is answered as JSON with the id it came with', async () => {
    verifies('R1-62');
    for (const id of [7, 'a"b', 9007199254740993n]) {
      const raw = typeof id === 'bigint' ? id.toString() : JSON.stringify(id);
      const body = modernBody('tools/list').replace('"id":1', `"id":${raw}`);
      const got = await rig.send(post(body, MODERN));
      expect(got.status).toBe(200);
      expect(got.headers.get('content-type')).toBe('application/json');
      expect(got.body).toContain(`"id":${raw}`);
    }
  });

  it('is answered whole, whether the answer is small or came in large pieces', async () => {
    const text = 'ä'.repeat(50_000);
    const whole = Buffer.from(`{"jsonrpc":"2.0","id":"server's","result":{"text":"${text}"}}`);
    const small = Buffer.from('{"jsonrpc":"2.0","id":5,"result":{}}');
    const large = [whole.subarray(0, 19), whole.subarray(19, 40_001), whole.subarray(40_001)];
    for (const bytes of [large, [small.subarray(0, 20), small.subarray(20)], whole, small]) {
      rig.mcp.handlers.set('tools/list', (call) => call.reply.respond(scan(bytes, DEFAULT_SCAN_CAPS)));
      const got = await rig.send(modernPost('tools/list'));
      const expected = (bytes === large || bytes === whole ? whole : small).toString().replace(/"id":[^,]+/, '"id":1');
      // The test's client reads bytes as latin1.
      expect(Buffer.from(got.body, 'latin1').equals(Buffer.from(expected))).toBe(true);
      expect(Number(got.headers.get('content-length'))).toBe(Buffer.byteLength(expected));
    }
  });

  it('reaches the endpoint with all that was said about it', async () => {
    await rig.send(
      modernPost(
        'tools/call',
        { name: 'add', arguments: { tenant: 'acme' } },
        { Authorization: 'Bearer a', 'Mcp-Param-Tenant': 'acme', 'mcp-param-note': '=?base64?w7w=?=' },
      ),
    );
    const [call] = rig.mcp.calls;
    expect(call).toMatchObject({
      era: 'modern',
      version: '2026-07-28',
      endpoint: '/mcp',
      transport: 'http',
      session: undefined,
      principal: { id: 'test/a' },
      paramHeaders: [
        ['tenant', 'acme'],
        ['note', 'ü'],
      ],
    });
    expect(call!.message.method).toBe('tools/call');
    expect(call!.lifetime.over).toBe(true);
    expect(call!.lifetime.reason).toBeUndefined();
  });

  it.each([10, 10_000])('is answered in the bytes of the endpoint, %i characters beyond ASCII', async (count) => {
    const text = 'ü€😀'.repeat(count);
    rig.mcp.handlers.set('tools/list', (call) => answer(call, { text }));
    const got = await rig.send(modernPost('tools/list'));
    expect(JSON.parse(Buffer.from(got.body, 'latin1').toString('utf8')).result).toEqual({ text });
  });

  it('ignores a session id and never echoes one', async () => {
    const got = await rig.send(modernPost('tools/list', {}, { 'Mcp-Session-Id': 'whatever' }));
    expect(got.status).toBe(200);
    expect(got.headers.has('mcp-session-id')).toBe(false);
    expect(rig.mcp.calls[0]!.session).toBeUndefined();
  });

  it('carries the status and headers the endpoint gives', async () => {
    rig.mcp.handlers.set('no/such', (call) =>
      answerError(call, new TollgateError('method_not_found', 'Method not found')),
    );
    const got = await rig.send(modernPost('no/such'));
    expect([got.status, codeOf(got.body)]).toEqual([404, -32601]);
  });

  it('is one message: a second answer is not sent', async () => {
    rig.mcp.handlers.set('tools/list', (call) => {
      answer(call, { first: true });
      answer(call, { second: true });
    });
    const client = await rig.open();
    client.write(modernPost('tools/list') + modernPost('prompts/list'));
    expect((await client.response()).body).toContain('first');
    expect((await client.response()).body).not.toContain('second');
  });
});

describe('mirrored headers', () => {
  it.each([
    ['no version header', { 'MCP-Protocol-Version': undefined }],
    ['another version', { 'MCP-Protocol-Version': '2025-11-25' }],
    ['no method header', { 'Mcp-Method': undefined }],
    ['another method', { 'Mcp-Method': 'tools/list' }],
    ['a method in other case', { 'Mcp-Method': 'Tools/Call' }],
    ['no name header', { 'Mcp-Name': undefined }],
    ['another name', { 'Mcp-Name': 'sub' }],
    ['a name in other case', { 'Mcp-Name': 'ADD' }],
    ['bad base64', { 'Mcp-Name': '=?base64?!!!?=' }],
    ['base64 of another name', { 'Mcp-Name': '=?base64?c3Vi?=' }],
  ])('with %s are refused with -32020', async (_name, headers) => {
    const got = await rig.send(modernPost('tools/call', { name: 'add' }, headers));
    expect([got.status, codeOf(got.body)]).toEqual([400, -32020]);
    expect(JSON.parse(got.body).id).toBe(1);
    expect(rig.mcp.calls).toHaveLength(0);
  });

  it.each([
    ['surrounding blanks', { 'Mcp-Name': ' \tadd \t', 'Mcp-Method': ' tools/call ' }],
    ['the base64 form', { 'Mcp-Name': '=?base64?YWRk?=' }],
  ])('with %s are the same', async (_name, headers) => {
    expect((await rig.send(modernPost('tools/call', { name: 'add' }, headers))).status).toBe(200);
  });

  it('of a parameter with characters that no header may have are refused', async () => {
    const got = await rig.send(modernPost('tools/call', { name: 'add' }, { 'Mcp-Param-X': 'a\u00e9' }));
    expect([got.status, codeOf(got.body)]).toEqual([400, -32020]);
  });
});

describe('the protocol version', () => {
  it('that is not served is refused with what is', async () => {
    const meta = { ...META, 'io.modelcontextprotocol/protocolVersion': '2099-01-01' };
    const body = JSON.stringify({ jsonrpc: '2.0', id: 4, method: 'tools/list', params: { _meta: meta } });
    const got = await rig.send(post(body, { ...MODERN, 'MCP-Protocol-Version': '2099-01-01' }));
    expect([got.status, codeOf(got.body)]).toEqual([400, -32022]);
    expect(JSON.parse(got.body).error.data).toMatchObject({ requested: '2099-01-01' });
    expect(JSON.parse(got.body).error.data.supported).toContain('2026-07-28');
  });

  it('in the header alone is a modern request without its _meta', async () => {
    const got = await rig.send(post(legacyBody('tools/list'), MODERN));
    expect([got.status, codeOf(got.body)]).toEqual([400, -32602]);
  });

  it('in the header alone does not go with initialize', async () => {
    const got = await rig.send(post(legacyBody('initialize'), MODERN));
    expect([got.status, codeOf(got.body)]).toEqual([400, -32020]);
  });

  it('that nobody knows, without a session, is refused with what is served', async () => {
    const got = await rig.send(post(legacyBody('tools/list'), { 'MCP-Protocol-Version': '1.0' }));
    expect([got.status, codeOf(got.body)]).toEqual([400, -32022]);
  });

  it.each(['io.modelcontextprotocol/clientCapabilities'])('goes with the required _meta key %s', async (key) => {
    const meta: Record<string, unknown> = { ...META };
    delete meta[key];
    const body = JSON.stringify({ jsonrpc: '2.0', id: 4, method: 'tools/list', params: { _meta: meta } });
    const got = await rig.send(post(body, MODERN));
    expect([got.status, codeOf(got.body), JSON.parse(got.body).id]).toEqual([400, -32602, 4]);
  });
});

describe('other messages', () => {
  it('notifications are accepted without a body', async () => {
    const body = JSON.stringify({ jsonrpc: '2.0', method: 'notifications/x', params: { _meta: META } });
    const got = await rig.send(post(body, { 'MCP-Protocol-Version': '2026-07-28' }));
    expect([got.status, got.body]).toEqual([202, '']);
    expect(rig.mcp.notifications.at(-1)?.message.method).toBe('notifications/x');
  });

  it('responses are refused', async () => {
    const got = await rig.send(post('{"jsonrpc":"2.0","id":1,"result":{}}', { 'MCP-Protocol-Version': '2026-07-28' }));
    expect(got.status).toBe(400);
  });

  it.each([
    ['a batch', `[${modernBody('tools/list')}]`],
    ['a batch of a thousand', `[${new Array(1000).fill('{"jsonrpc":"2.0","id":1,"method":"tools/list"}').join(',')}]`],
    ['an empty batch', '[]'],
    ['a repeated key', '{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/call"}'],
    ['a key in other case', '{"jsonrpc":"2.0","id":1,"method":"tools/list","Method":"tools/call"}'],
    ['deep nesting', `{"jsonrpc":"2.0","id":1,"method":"x","params":{"a":${'['.repeat(500)}${']'.repeat(500)}}}`],
    ['no JSON', 'tools/list'],
    ['half a message', '{"jsonrpc":"2.0","id":1,'],
    ['an id that is null', '{"jsonrpc":"2.0","id":null,"method":"tools/list"}'],
    ['nothing', ''],
  ])('%s is refused with 400', async (_name, body) => {
    const got = await rig.send(post(body, MODERN));
    expect(got.status).toBe(400);
    expect([-32700, -32600]).toContain(codeOf(got.body));
    expect(rig.mcp.calls).toHaveLength(0);
  });
});

describe('the body', () => {
  it('over the cap is refused by its length, and while it is read', async () => {
    const big = 'x'.repeat(70_000);
    const known = await rig.send(post(modernBody('tools/list', { big }), MODERN));
    expect([known.status, codeOf(known.body)]).toEqual([413, -32600]);
    expect(known.headers.get('connection')).toBe('close');
    const unsent = await rig.send(post('', { ...MODERN, 'Content-Length': '100000' }));
    expect(unsent.status).toBe(413);
    const body = modernBody('tools/list', { big });
    const headers = { ...MODERN, 'Content-Length': undefined, 'Transfer-Encoding': 'chunked' };
    const text = `${post('', headers)}${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`;
    expect((await rig.send(text)).status).toBe(413);
    expect(rig.mcp.calls).toHaveLength(0);
  });

  it('may come in chunks of any size', async () => {
    const body = modernBody('tools/list');
    const chunks = [...body].map((c) => `1\r\n${c}\r\n`).join('');
    const headers = { ...MODERN, 'Content-Length': undefined, 'Transfer-Encoding': 'chunked' };
    expect((await rig.send(`${post('', headers)}${chunks}0\r\nX-Trailer: y\r\n\r\n`)).status).toBe(200);
  });

  it.each([
    ['text/plain', undefined],
    [undefined, undefined],
    ['application/json; charset=latin1', undefined],
    ['application/json, text/plain', undefined],
    ['application/json', 'gzip'],
    ['application/json', 'identity, gzip'],
  ])('of type %s and encoding %s is refused', async (type, encoding) => {
    const headers = { ...MODERN, 'Content-Type': type, 'Content-Encoding': encoding };
    expect((await rig.send(post(modernBody('tools/list'), headers))).status).toBe(415);
  });

  it.each([
    'application/json; charset=utf-8',
    'Application/JSON',
    'application/json;charset="UTF-8"',
  ])('of type %s is JSON', async (type) => {
    expect((await rig.send(post(modernBody('tools/list'), { ...MODERN, 'Content-Type': type }))).status).toBe(200);
  });

  it('that never comes is given up with 408', async () => {
    const client = await rig.open();
    client.write(post('', { ...MODERN, 'Content-Length': '100' }));
    expect(await client.close()).toMatch(/^HTTP\/1.1 408 /);
  });

  it('whose head never ends is given up with 408', async () => {
    const client = await rig.open();
    client.write('POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\n');
    expect(await client.close()).toMatch(/^HTTP\/1.1 408 /);
  });

  it('cut off by a half-close reaches nobody', async () => {
    const client = await rig.open();
    client.write(post('{"jsonrpc"', { ...MODERN, 'Content-Length': '100' }));
    client.socket.end();
    await client.close();
    expect(rig.mcp.calls).toHaveLength(0);
  });

  it('headers over the cap are refused with 431', async () => {
    const got = await rig.send(modernPost('tools/list', {}, { 'X-Big': 'y'.repeat(20_000) }));
    expect(got.status).toBe(431);
  });
});

describe('what a client accepts', () => {
  it.each([
    ['application/json', 'application/json'],
    ['*/*', 'application/json'],
    [undefined, 'application/json'],
    ['text/event-stream', 'text/event-stream'],
    ['text/event-stream;q=0.5, application/json;q=0', 'text/event-stream'],
  ])('%s is answered as %s', async (accept, type) => {
    const got = await rig.send(modernPost('tools/list', {}, { Accept: accept }));
    expect(got.headers.get('content-type')).toBe(type);
    expect(got.body).toContain('"result":{}');
  });

  it('when it is nothing of ours is 406', async () => {
    expect((await rig.send(modernPost('tools/list', {}, { Accept: 'text/html' }))).status).toBe(406);
  });
});

describe('methods of HTTP', () => {
  it.each(['GET', 'DELETE', 'PUT', 'PATCH', 'HEAD', 'TRACE'])('%s without a session is 405', async (method) => {
    const client = await rig.open();
    client.write(head(method, { Host: '127.0.0.1', Connection: 'close' }));
    const text = await client.close();
    expect(text).toMatch(/^HTTP\/1.1 405 /);
    expect(text.toLowerCase()).toContain('allow: post');
  });
});

describe('authentication', () => {
  it('refuses a credential that nobody accepts with a bare challenge', async () => {
    const got = await rig.send(modernPost('tools/list', {}, { Authorization: 'Bearer wrong' }));
    expect(got.status).toBe(401);
    expect(got.headers.get('www-authenticate')).toBe('Bearer');
    expect(rig.mcp.calls).toHaveLength(0);
  });
});

describe('an event stream', () => {
  it('begins with the first notification and ends with the response', async () => {
    rig.mcp.hold('tools/call');
    const client = await rig.open();
    const next = rig.mcp.next('tools/call');
    client.write(modernPost('tools/call', { name: 'slow' }));
    const call = await next;
    call.reply.notify(notification('notifications/progress', { progress: 1, progressToken: 1 }));
    const text = await client.until((seen) => seen.includes('"progress":1'));
    expect(text).toMatch(/^HTTP\/1.1 200 /);
    expect(text.toLowerCase()).toMatch(/content-type: text\/event-stream\r\n/);
    expect(text.toLowerCase()).toMatch(/x-accel-buffering: no\r\n/);
    expect(text.toLowerCase()).toMatch(/cache-control: no-store\r\n/);
    expect(rig.edge.view.streams).toBe(1);
    answer(call, { done: true });
    const got = await client.response();
    const events = got.body.split('\n\n').filter((event) => event !== '');
    expect(events).toHaveLength(2);
    expect(events[1]).toContain('"done":true');
    expect(got.body).not.toContain('id: ');
    expect(rig.edge.view).toMatchObject({ streams: 0, calls: 0 });
  });

  it('is not given to a client that takes only JSON', async () => {
    rig.mcp.handlers.set('tools/call', (call) => {
      call.reply.notify(notification('notifications/progress', { progress: 1, progressToken: 1 }));
      answer(call, {});
    });
    const got = await rig.send(modernPost('tools/call', { name: 'x' }, { Accept: 'application/json' }));
    expect(got.headers.get('content-type')).toBe('application/json');
  });

  it('has no requests of servers', async () => {
    let refused: unknown;
    rig.mcp.handlers.set('tools/call', (call) => {
      call.reply.ask('elicitation/create', '{}', (reply) => {
        refused = reply;
      });
      answer(call, {});
    });
    await rig.send(modernPost('tools/call', { name: 'x' }));
    expect(refused).toMatchObject({ code: 'not_bridgeable' });
  });
});

describe('a client that leaves', () => {
  it('cancels its call before the answer, with or without a stream', async () => {
    rig.mcp.hold('tools/call');
    for (const streaming of [false, true]) {
      const next = rig.mcp.next('tools/call');
      const client = await rig.open();
      client.write(modernPost('tools/call', { name: 'slow' }));
      const call = await next;
      if (streaming) {
        call.reply.notify(notification('notifications/x'));
        await client.until((text) => text.includes('notifications/x'));
      }
      const ended = new Promise<TollgateError>((resolve) => call.lifetime.onEnd(resolve));
      client.socket.destroy();
      expect((await ended).code).toBe('cancelled');
      answer(call, {});
      expect(rig.edge.view).toMatchObject({ calls: 0, streams: 0 });
    }
  });

  it('after the answer cancels nothing', async () => {
    const client = await rig.open();
    client.write(modernPost('tools/list'));
    await client.response();
    client.socket.destroy();
    expect(rig.mcp.calls[0]!.lifetime.reason).toBeUndefined();
  });
});
