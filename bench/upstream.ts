/**
 * The fast MCP server that everything in the wire benchmark stands in front of: modern protocol, fixed answers.
 * The path says the answer: /json-300, /sse-300, /json-100k, /sse-100k; /many-N offers 20 tools of its own.
 * It reads only the id of a call, so that it is never what is measured.
 */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

const TOOLS_PER_SERVER = 20;

interface Form {
  readonly sse: boolean;
  readonly before: string;
  readonly after: string;
}

/** An answer of about `size` bytes in two halves with the id between them. */
function form(sse: boolean, size: number): Form {
  const head = '{"jsonrpc":"2.0","id":';
  const tail = (text: string) => `,"result":{"resultType":"complete","content":[{"type":"text","text":"${text}"}]}}`;
  const text = '0123456789'.repeat(Math.ceil(size / 10)).slice(0, size - head.length - 1 - tail('').length);
  return sse
    ? { sse, before: `event: message\ndata: ${head}`, after: `${tail(text)}\n\n` }
    : { sse, before: head, after: tail(text) };
}

const FORMS: Record<string, Form> = {
  '/json-300': form(false, 300),
  '/sse-300': form(true, 300),
  '/json-100k': form(false, 100_000),
  '/sse-100k': form(true, 100_000),
};

function idOf(body: string): string {
  const start = body.indexOf('"id":') + 5;
  const quoted = body.charCodeAt(start) === 0x22;
  const end = quoted ? body.indexOf('"', start + 1) + 1 : body.slice(start, start + 32).search(/[,}]/) + start;
  return body.slice(start, end);
}

function answerOther(path: string, method: string): Record<string, unknown> {
  const complete = { resultType: 'complete', ttlMs: 3_600_000, cacheScope: 'public' };
  const inputSchema = { type: 'object', properties: { text: { type: 'string', description: 'Any text at all.' } } };
  const many = /^\/many-(\d+)$/.exec(path);
  switch (method) {
    case 'server/discover':
      return { ...complete, supportedVersions: ['2026-07-28'], capabilities: { tools: { listChanged: true } } };
    case 'tools/list': {
      const tools =
        many === null
          ? [{ name: 'echo', description: 'Fixed answer', inputSchema }]
          : Array.from({ length: TOOLS_PER_SERVER }, (_, i) => ({
              name: `tool_${many[1]}_${i}`,
              description: `Tool ${i} of server ${many[1]}, with a sentence of the usual length to describe it.`,
              inputSchema,
            }));
      return { ...complete, tools };
    }
    default:
      return { ...complete, resources: [], resourceTemplates: [], prompts: [] };
  }
}

function respond(request: IncomingMessage, response: ServerResponse, body: string): void {
  const path = request.url ?? '';
  const id = idOf(body);
  const method = String(request.headers['mcp-method']);
  if (method === 'tools/call') {
    const shape = FORMS[path] ?? (FORMS['/json-300'] as Form);
    const answer = shape.before + id + shape.after;
    if (shape.sse) response.writeHead(200, { 'content-type': 'text/event-stream' });
    else response.writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(answer) });
    response.end(answer);
    return;
  }
  if (method === 'subscriptions/listen') {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    const params = `{"notifications":{"toolsListChanged":true},"_meta":{"io.modelcontextprotocol/subscriptionId":${id}}}`;
    response.write(
      `data: {"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":${params}}\n\n`,
    );
    return;
  }
  const result = JSON.stringify(answerOther(path, method));
  response
    .writeHead(200, { 'content-type': 'application/json' })
    .end(`{"jsonrpc":"2.0","id":${id},"result":${result}}`);
}

const server = createServer((request, response) => {
  request.setEncoding('utf8');
  let body = '';
  request.on('data', (chunk: string) => {
    body += chunk;
  });
  request.on('end', () => respond(request, response, body));
});
server.keepAliveTimeout = 600_000;
server.listen(0, '127.0.0.1');
await once(server, 'listening');
console.log(`listening on ${(server.address() as AddressInfo).port}`);
