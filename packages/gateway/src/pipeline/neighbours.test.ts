/** One caller must not take a server away from the others. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, it } from 'vitest';
import { type Json, startGateway, type TestGateway } from './testing.ts';

/** A legacy server as the SDKs write them: it checks what a client declares, and takes bodies of 100 kB. */
async function startStrict() {
  const handshakes: Json[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const text = Buffer.concat(chunks).toString();
      if (request.method !== 'POST') return response.writeHead(405).end();
      if (text.length > 100_000) return response.writeHead(413).end();
      const { id, method, params } = JSON.parse(text) as { id?: unknown; method: string; params?: Json };
      if (id === undefined) return response.writeHead(202).end();
      const answer = (body: Json, headers = {}) =>
        response
          .writeHead(200, { 'content-type': 'application/json', ...headers })
          .end(JSON.stringify({ jsonrpc: '2.0', id, ...body }));
      if (method === 'initialize') {
        const capabilities = params?.['capabilities'] as Json;
        handshakes.push(capabilities);
        const wrong = Object.values(capabilities).some((one) => typeof one !== 'object' || one === null);
        if (wrong) return answer({ error: { code: -32603, message: 'Invalid input: expected object' } });
        const result = {
          protocolVersion: '2025-06-18',
          capabilities: { tools: {} },
          serverInfo: { name: 's', version: '1' },
        };
        return answer({ result }, { 'mcp-session-id': `s${handshakes.length}` });
      }
      if (method === 'tools/list')
        return answer({ result: { tools: [{ name: 't', inputSchema: { type: 'object' } }] } });
      if (method === 'tools/call') return answer({ result: { content: [] } });
      return answer({ error: { code: -32601, message: 'Method not found' } });
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`,
    handshakes,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

/** A legacy client that declares this; gives the way to call the tool. */
async function client(gateway: TestGateway, capabilities: Json) {
  const post = async (body: Json, session?: string) =>
    await fetch(`${gateway.url}/mcp`, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        accept: 'application/json, text/event-stream',
        ...(session === undefined ? {} : { 'mcp-session-id': session }),
      },
      body: JSON.stringify({ jsonrpc: '2.0', ...body }),
    });
  const params = { protocolVersion: '2025-06-18', capabilities, clientInfo: { name: 't', version: '1' } };
  const opened = await post({ id: 0, method: 'initialize', params });
  const greeting = (await opened.json()) as Json;
  const session = opened.headers.get('mcp-session-id') ?? undefined;
  return {
    greeting,
    call: async () =>
      (await (await post({ id: 1, method: 'tools/call', params: { name: 't' } }, session)).json()) as Json,
  };
}

describe('what a legacy client declares', () => {
  it('cannot make a server unreachable for others, whatever it is', async () => {
    await using server = await startStrict();
    for (const protocol of ['auto', 'legacy']) {
      await using gateway = await startGateway({ servers: { s: { url: server.url, protocol } } });
      for (const capabilities of [{ roots: 5 }, { experimental: 'x' }, { sampling: { x: 'x'.repeat(200_000) } }]) {
        const hostile = await client(gateway, capabilities);
        if ('result' in hostile.greeting) expect(await hostile.call()).toMatchObject({ result: { isError: true } });
        const honest = await client(gateway, { roots: { listChanged: true } });
        expect(await honest.call()).toMatchObject({ result: { content: [] } });
      }
    }
    await using gateway = await startGateway({ servers: { s: { url: server.url } } });
    const large = await client(gateway, { sampling: { x: 'x'.repeat(70_000) } });
    expect(large.greeting).toMatchObject({
      error: { code: -32602, message: expect.stringContaining('65536') as string },
    });
    expect(server.handshakes).toContainEqual({ roots: { listChanged: true } });
  });
});
