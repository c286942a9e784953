/** The two servers of the examples, `math` and `notes`: each has one tool. Arguments: their ports, by default 9701 and 9702. */
import { createServer } from 'node:http';

type Json = Record<string, unknown>;

const [mathPort = '9701', notesPort = '9702'] = process.argv.slice(2);

const SERVERS = [
  { port: Number(mathPort), name: 'math', tool: 'add', run: ({ a, b }: Json) => String(Number(a) + Number(b)) },
  { port: Number(notesPort), name: 'notes', tool: 'write', run: ({ text }: Json) => `Noted: ${String(text)}` },
];

for (const { port, name, tool, run } of SERVERS) {
  const answer = (method: string, params: Json): Json | undefined => {
    if (method === 'initialize') {
      const serverInfo = { name, version: '1.0.0' };
      return { protocolVersion: '2025-11-25', capabilities: { tools: {} }, serverInfo };
    }
    if (method === 'tools/list') return { tools: [{ name: tool, inputSchema: { type: 'object' } }] };
    if (method !== 'tools/call' || params['name'] !== tool) return undefined;
    return { content: [{ type: 'text', text: run((params['arguments'] ?? {}) as Json) }] };
  };
  createServer((request, response) => {
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
  }).listen(port, '127.0.0.1', () => console.log(`${name} listens on http://127.0.0.1:${port}/mcp`));
}
