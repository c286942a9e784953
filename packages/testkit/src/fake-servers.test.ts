import { Client, SSEClientTransport, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';
import { describe, expect, it } from 'vitest';
import { type FakeHttpKind, startFakeHttp } from './fake-http.ts';
import { modernRequest } from './modern-request.ts';
import { exchange, rawConnection, rawRequest } from './raw-http.ts';
import { parseSse } from './sse.ts';
import { waitUntil } from './wait.ts';

const FAKE_STDIO = `${import.meta.dirname}/fake-stdio.ts`;

async function client(url: string, kind: FakeHttpKind): Promise<Client> {
  const options = kind === 'modern' ? { versionNegotiation: { mode: 'auto' as const } } : {};
  const mcp = new Client({ name: 'test', version: '1' }, options);
  const Transport = kind === 'sse' ? SSEClientTransport : StreamableHTTPClientTransport;
  await mcp.connect(new Transport(new URL(url)));
  return mcp;
}

describe.each(['modern', 'session', 'sse'] as const)('the fake %s server over HTTP', (kind) => {
  it.each(['json', 'sse'] as const)('serves a real client with %s answers', async (answer) => {
    await using server = await startFakeHttp(kind, { answer, extraTools: 3, pageSize: 5 });
    const mcp = await client(server.url, kind);
    const names = (await mcp.listTools()).tools.map((tool) => tool.name);
    expect(names).toEqual(expect.arrayContaining(['echo', 'fault_garbage', 'tool_2']));
    const result = await mcp.callTool({ name: 'echo', arguments: { text: 'hello' } });
    expect(result.content).toEqual([{ type: 'text', text: 'hello' }]);
    expect(server.seen('tools/call')).toHaveLength(1);
    await mcp.close();
  });
});

describe('the fake stdio server', () => {
  it.each([
    ['legacy', {}],
    ['modern', { versionNegotiation: { mode: 'auto' as const } }],
    ['dual', { versionNegotiation: { mode: 'auto' as const } }],
  ])('serves a real client, era %s', async (era, options) => {
    const mcp = new Client({ name: 'test', version: '1' }, options);
    const args = [FAKE_STDIO, JSON.stringify({ era })];
    await mcp.connect(new StdioClientTransport({ command: process.execPath, args, stderr: 'ignore' }));
    const result = await mcp.callTool({ name: 'echo', arguments: { text: era } });
    expect(result.content).toEqual([{ type: 'text', text: era }]);
    await mcp.close();
  });
});

describe('raw exchanges with a fake modern server', () => {
  it('keeps a number that JSON.parse would change', async () => {
    await using server = await startFakeHttp('modern');
    const response = await exchange(server.port, modernRequest(1, 'tools/call', { name: 'big_number' }));
    expect(response.body).toContain('"n":12345678901234567890');
  });

  it('misbehaves when a tool of that name is called', async () => {
    await using server = await startFakeHttp('modern', { answer: 'sse' });
    const call = (name: string) => exchange(server.port, modernRequest(1, 'tools/call', { name }));
    expect((await call('fault_status_500')).status).toBe(500);
    expect(parseSse((await call('fault_duplicate')).body)).toHaveLength(2);
    const garbage = parseSse((await call('fault_garbage')).body)[0]?.data ?? '';
    expect(() => JSON.parse(garbage)).toThrow(SyntaxError);
    await expect(call('fault_reset')).rejects.toThrow('closed before');
  });

  it('acknowledges a listen stream, notifies on it and counts it', async () => {
    await using server = await startFakeHttp('modern');
    await using stream = await rawConnection(server.port);
    const params = { notifications: { toolsListChanged: true } };
    stream.send(rawRequest(server.port, modernRequest(7, 'subscriptions/listen', params)));
    await stream.until(/subscriptions\/acknowledged.*"io\.modelcontextprotocol\/subscriptionId":7/);
    server.notify('notifications/tools/list_changed');
    await stream.until(/notifications\/tools\/list_changed/);
    expect(server.openStreams()).toBe(1);
    await stream[Symbol.asyncDispose]();
    await waitUntil('the end of the stream', () => server.openStreams() === 0);
  });

  it('records what a client sent, header by header', async () => {
    await using server = await startFakeHttp('modern');
    const request = modernRequest('a', 'tools/call', { name: 'echo', arguments: { text: 'x' } });
    await exchange(server.port, { ...request, headers: [...(request.headers ?? []), ['X-Extra', '1']] });
    expect(server.requests[0]?.rawHeaders).toEqual(expect.arrayContaining(['Mcp-Name', 'echo', 'X-Extra', '1']));
    expect(server.requests[0]?.message).toMatchObject({ id: 'a', method: 'tools/call' });
  });
});
