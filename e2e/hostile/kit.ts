/** What the hostile tests share: a server whose every byte is up to the test, and requests that are not what they seem. */
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { modernHeaders, modernRequest } from '@tollgate/testkit/modern-request';
import { exchange, type RawRequest, type RawResponse } from '@tollgate/testkit/raw-http';
import { parseSse } from '@tollgate/testkit/sse';

export interface RpcMessage {
  readonly id?: string | number;
  readonly method?: string;
  readonly params?: { readonly name?: string; readonly arguments?: Record<string, unknown>; readonly _meta?: object };
  readonly result?: unknown;
  readonly error?: { readonly code: number; readonly message: string };
}

export interface Received {
  readonly message: RpcMessage;
  readonly body: string;
  readonly rawHeaders: readonly string[];
  readonly headers: IncomingMessage['headers'];
  /** Session the request names; legacy servers only. */
  readonly session: string | undefined;
}

export interface Script {
  readonly era: 'modern' | 'legacy';
  /** Its tools, or the JSON text of the whole `tools` member. */
  readonly tools: readonly object[] | string;
  /** Answers a tools/call in any way it likes. Default: the text `ok`. */
  readonly call?: (received: Received, response: ServerResponse) => void;
  readonly instructions?: string;
  /** Refuses `initialize` with this message. */
  readonly refuses?: string;
}

export interface ScriptedServer extends AsyncDisposable {
  readonly url: string;
  /** Every tools/call and everything else that came with a body, in order. */
  readonly received: Received[];
  /** Calls that reached it. */
  calls(): Received[];
  /** Open GET streams of a legacy server by session. */
  readonly streams: ReadonlyMap<string, ServerResponse>;
}

/** A text result for `id`. */
export function textResult(id: unknown, text: string): string {
  return JSON.stringify({ jsonrpc: '2.0', id, result: { resultType: 'complete', content: [{ type: 'text', text }] } });
}

export function sendJson(response: ServerResponse, body: string, headers: Record<string, string> = {}): void {
  response.writeHead(200, { 'content-type': 'application/json', ...headers }).end(body);
}

/** An MCP server on a free loopback port whose calls a test answers byte by byte. */
export async function startScripted(script: Script): Promise<ScriptedServer> {
  const received: Received[] = [];
  const streams = new Map<string, ServerResponse>();
  const sockets = new Set<Socket>();
  const tools = typeof script.tools === 'string' ? script.tools : JSON.stringify(script.tools);
  const call = script.call ?? (({ message }, response) => sendJson(response, textResult(message.id, 'ok')));
  const result = (id: unknown, text: string): string => `{"jsonrpc":"2.0","id":${JSON.stringify(id)},"result":${text}}`;
  const modern = script.era === 'modern';
  const hints = modern ? '"resultType":"complete","ttlMs":600000,"cacheScope":"private",' : '';
  const about = {
    capabilities: { tools: {} },
    ...(script.instructions === undefined ? {} : { instructions: script.instructions }),
  };

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const session = request.headers['mcp-session-id'] as string | undefined;
    if (request.method === 'GET' && !modern && session !== undefined) {
      response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders();
      streams.set(session, response);
      return;
    }
    if (request.method !== 'POST') return void response.writeHead(405, { allow: 'POST' }).end();
    const body = Buffer.concat(chunks).toString('utf8');
    const message = JSON.parse(body) as RpcMessage;
    const { id } = message;
    const { rawHeaders, headers } = request;
    const entry: Received = { message, body, rawHeaders, headers, session };
    received.push(entry);
    if (id === undefined || message.method === undefined) return void response.writeHead(202).end();
    switch (message.method) {
      case 'server/discover':
        if (!modern) break;
        return sendJson(
          response,
          result(id, `{${hints}${JSON.stringify({ supportedVersions: ['2026-07-28'], ...about }).slice(1)}`),
        );
      case 'initialize': {
        if (modern) break;
        if (script.refuses !== undefined) {
          const error = { code: -32000, message: script.refuses };
          return sendJson(response, JSON.stringify({ jsonrpc: '2.0', id, error }));
        }
        const hello = { protocolVersion: '2025-11-25', serverInfo: { name: 'scripted', version: '1' }, ...about };
        return sendJson(response, result(id, JSON.stringify(hello)), { 'mcp-session-id': randomUUID() });
      }
      case 'tools/list':
        return sendJson(response, result(id, `{${hints}"tools":${tools}}`));
      case 'tools/call':
        return call(entry, response);
    }
    const error = { code: -32601, message: 'Method not found' };
    response
      .writeHead(modern ? 404 : 400, { 'content-type': 'application/json' })
      .end(JSON.stringify({ jsonrpc: '2.0', id, error }));
  }

  const server = createServer((request, response) => {
    response.on('error', () => {});
    serve(request, response).catch(() => response.destroy());
  });
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.on('error', () => {}).on('close', () => sockets.delete(socket));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`,
    received,
    calls: () => received.filter(({ message }) => message.method === 'tools/call'),
    streams,
    [Symbol.asyncDispose]: async () => {
      server.close();
      for (const socket of sockets) socket.destroy();
      if (server.listening) await once(server, 'close');
    },
  };
}

/** The JSON-RPC response in an answer of the gateway, whether JSON or event stream. */
export function rpc(response: RawResponse): RpcMessage {
  const stream = response.header('content-type')?.startsWith('text/event-stream') === true;
  return JSON.parse(stream ? (parseSse(response.body).at(-1)?.data ?? '{}') : response.body) as RpcMessage;
}

/** A modern tools/call whose body is the given text; headers say `name`. */
export function callWithBody(
  body: string,
  name: string,
  more: readonly (readonly [string, string])[] = [],
): RawRequest {
  return { headers: [...modernHeaders('tools/call', { name }), ...more], body };
}

/** `_meta` of a modern request as JSON text, for bodies that are written by hand. */
export const META =
  '"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"h","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}';

/** A sound modern call; the gateway and its servers must still be there for it. */
export async function callTool(
  port: number,
  name: string,
  args: object = {},
  timeout = 30_000,
  path = '/mcp',
): Promise<RpcMessage> {
  return rpc(await exchange(port, modernRequest(1, 'tools/call', { name, arguments: args }, path), timeout));
}

export const LEGACY_HEADERS: readonly (readonly [string, string])[] = [
  ['Content-Type', 'application/json'],
  ['Accept', 'application/json, text/event-stream'],
  ['MCP-Protocol-Version', '2025-11-25'],
];

/** Opens a legacy session; gives its id. */
export async function openSession(
  port: number,
  more: readonly (readonly [string, string])[] = [],
  path = '/mcp',
  capabilities: object = {},
): Promise<string> {
  const params = { protocolVersion: '2025-11-25', capabilities, clientInfo: { name: 'hostile', version: '1' } };
  const body = JSON.stringify({ jsonrpc: '2.0', id: 0, method: 'initialize', params });
  const opened = await exchange(port, { path, headers: [...LEGACY_HEADERS, ...more], body });
  const session = opened.header('mcp-session-id');
  if (session === undefined) throw new Error(`No session: ${opened.status} ${opened.body}`);
  const headers = [...LEGACY_HEADERS, ...more, ['Mcp-Session-Id', session] as const];
  await exchange(port, { path, headers, body: '{"jsonrpc":"2.0","method":"notifications/initialized"}' });
  return session;
}
