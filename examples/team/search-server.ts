/** A server that wants a key of its own: `search-server.ts [PORT]`, with the key in SEARCH_KEY. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

type Json = Record<string, unknown>;

const port = Number(process.argv[2] ?? '7120');
const key = process.env['SEARCH_KEY'];
if (key === undefined) throw new Error('Set SEARCH_KEY');

function answer(method: string, params: Json): Json | undefined {
  if (method === 'initialize') {
    const serverInfo = { name: 'search', version: '1.0.0' };
    return { protocolVersion: '2025-11-25', capabilities: { tools: {} }, serverInfo };
  }
  if (method === 'tools/list') {
    const inputSchema = { type: 'object', properties: { query: { type: 'string' } }, required: ['query'] };
    return { tools: [{ name: 'web_search', description: 'Searches the web.', inputSchema }] };
  }
  if (method !== 'tools/call') return undefined;
  const { query } = params['arguments'] as Json;
  return { content: [{ type: 'text', text: `Three pages about ${String(query)}.` }] };
}

const server = createServer((request, response) => {
  if (request.headers['x-api-key'] !== key) return void response.writeHead(401).end();
  if (request.method !== 'POST') return void response.writeHead(405).end();
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  request.on('end', () => {
    const { id, method, params = {} } = JSON.parse(Buffer.concat(chunks).toString()) as Json & { params?: Json };
    if (id === undefined) return void response.writeHead(202).end();
    const result = answer(String(method), params);
    const body = result === undefined ? { error: { code: -32601, message: 'Method not found' } } : { result };
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ jsonrpc: '2.0', id, ...body }));
  });
});
server.on('error', (error) => {
  console.error(`${error.message}. Another copy may run already.`);
  process.exitCode = 1;
});
server.listen(port, '127.0.0.1', () => {
  console.log(`search listens on http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`);
});
