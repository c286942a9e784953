import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { misbehave } from './fake-http-faults.ts';
import { createAnswers, type FakeOptions, type JsonObject, requestedFault } from './fake-tools.ts';

export interface RecordedRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  /** Names and values in turn, as they were on the wire. */
  readonly rawHeaders: readonly string[];
  readonly body: string;
  /** The body as JSON; undefined when it has none. */
  readonly message: JsonObject | undefined;
  /** Whether the client went away before the answer was complete. */
  abandoned: boolean;
}

export interface FakeHttpServer extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
  /** Every request so far, in order of arrival. */
  readonly requests: RecordedRequest[];
  /** Requests whose JSON-RPC method is `method`. */
  seen(method: string): RecordedRequest[];
  /** Number of requests whose JSON-RPC method is `method`, those beyond `keep` included. */
  count(method: string): number;
  /** Long-lived streams that are open now: listen (modern), GET (legacy). */
  openStreams(): number;
  /** TCP connections so far. */
  accepted(): number;
  /** Sends a notification on every open long-lived stream. */
  notify(method: string, params?: JsonObject): void;
  /** Ends all legacy sessions, as a restart does. */
  forgetSessions(): void;
}

/** `modern`: 2026-07-28. `session`: Streamable HTTP up to 2025-11-25. `sse`: HTTP+SSE of 2024-11-05. */
export type FakeHttpKind = 'modern' | 'session' | 'sse';

interface Stream {
  readonly response: ServerResponse;
  readonly subscription: unknown;
}

/** Starts a fake MCP server over HTTP on a free loopback port. */
export async function startFakeHttp(kind: FakeHttpKind, options: FakeOptions = {}): Promise<FakeHttpServer> {
  const answers = createAnswers(options);
  const requests: RecordedRequest[] = [];
  const streams = new Set<Stream>();
  const sessions = new Set<string>();
  const postBack = new Map<string, ServerResponse>();
  const sockets = new Set<Socket>();
  const counts = new Map<string, number>();
  let accepted = 0;

  const event = (data: string): string => `event: message\ndata: ${data}\n\n`;

  function openStream(response: ServerResponse, subscription: unknown): void {
    const stream = { response, subscription };
    streams.add(stream);
    response.on('close', () => streams.delete(stream));
  }

  async function record(request: IncomingMessage, response: ServerResponse): Promise<RecordedRequest> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks).toString('utf8');
    let message: JsonObject | undefined;
    try {
      message = JSON.parse(body) as JsonObject;
    } catch {
      // No JSON: the test reads `body`.
    }
    const { method = '', url = '', headers, rawHeaders } = request;
    const entry: RecordedRequest = { method, path: url, headers, rawHeaders, body, message, abandoned: false };
    if (requests.length < (options.keep ?? Number.POSITIVE_INFINITY)) requests.push(entry);
    const rpc = String(message?.['method']);
    counts.set(rpc, (counts.get(rpc) ?? 0) + 1);
    response.on('close', () => {
      if (!response.writableFinished) entry.abandoned = true;
    });
    return entry;
  }

  async function answerMessage(message: JsonObject, response: ServerResponse, headers: Record<string, string>) {
    if (message['id'] === undefined || message['method'] === undefined) {
      response.writeHead(202, headers).end();
      return;
    }
    const fault = requestedFault(message);
    if (fault !== undefined)
      return misbehave(fault, { id: message['id'], response, sockets, sse: options.answer === 'sse' });
    const era = kind === 'modern' ? 'modern' : 'legacy';
    if (options.answer === 'sse') {
      response.writeHead(200, { 'content-type': 'text/event-stream', ...headers });
      const token = ((message['params'] as JsonObject | undefined)?.['_meta'] as JsonObject | undefined)?.[
        'progressToken'
      ];
      if (token !== undefined) {
        const params = { progressToken: token, progress: 1, total: 2 };
        response.write(event(JSON.stringify({ jsonrpc: '2.0', method: 'notifications/progress', params })));
      }
      response.end(event(await answers.answer(message, era)));
      return;
    }
    const body = await answers.answer(message, era);
    response.writeHead(200, { 'content-type': 'application/json', ...headers }).end(body);
  }

  const refuse = (response: ServerResponse, status: number, code: number, text: string, id: unknown = null): void => {
    const body = JSON.stringify({ jsonrpc: '2.0', id, error: { code, message: text } });
    response.writeHead(status, { 'content-type': 'application/json' }).end(body);
  };

  async function serveModern(entry: RecordedRequest, response: ServerResponse): Promise<void> {
    const { message } = entry;
    if (entry.method !== 'POST') return void response.writeHead(405, { allow: 'POST' }).end();
    if (message === undefined) return refuse(response, 400, -32700, 'Parse error');
    const version = entry.headers['mcp-protocol-version'];
    if (version !== '2026-07-28') {
      const error = { code: -32022, message: 'Unsupported', data: { supported: ['2026-07-28'], requested: version } };
      const body = JSON.stringify({ jsonrpc: '2.0', id: message['id'], error });
      return void response.writeHead(400, { 'content-type': 'application/json' }).end(body);
    }
    if (message['method'] === 'subscriptions/listen') {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      const { notifications } = message['params'] as JsonObject;
      const params = { notifications, _meta: { 'io.modelcontextprotocol/subscriptionId': message['id'] } };
      response.write(
        event(JSON.stringify({ jsonrpc: '2.0', method: 'notifications/subscriptions/acknowledged', params })),
      );
      return openStream(response, message['id']);
    }
    return answerMessage(message, response, {});
  }

  async function serveSession(entry: RecordedRequest, response: ServerResponse): Promise<void> {
    const { message } = entry;
    if (entry.method === 'POST' && message === undefined) return refuse(response, 400, -32700, 'Parse error');
    if (message?.['method'] === 'initialize') {
      const id = randomUUID();
      sessions.add(id);
      return answerMessage(message, response, { 'mcp-session-id': id });
    }
    const id = entry.headers['mcp-session-id'];
    if (typeof id !== 'string') return refuse(response, 400, -32000, 'Bad Request: session required');
    if (!sessions.has(id)) return refuse(response, 404, -32001, 'Session not found');
    if (entry.method === 'DELETE') {
      sessions.delete(id);
      return void response.writeHead(204).end();
    }
    if (entry.method === 'GET') {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.flushHeaders();
      return openStream(response, undefined);
    }
    return answerMessage(message ?? {}, response, {});
  }

  async function serveSse(entry: RecordedRequest, response: ServerResponse): Promise<void> {
    const target = new URL(entry.path, 'http://localhost');
    if (entry.method === 'GET') {
      const id = randomUUID();
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write(`event: endpoint\ndata: /messages?session=${id}\n\n`);
      postBack.set(id, response);
      response.on('close', () => postBack.delete(id));
      return openStream(response, undefined);
    }
    const stream = postBack.get(target.searchParams.get('session') ?? '');
    if (entry.method !== 'POST' || stream === undefined) return void response.writeHead(404).end();
    response.writeHead(202).end();
    const message = entry.message ?? {};
    if (message['id'] === undefined || message['method'] === undefined) return;
    const fault = requestedFault(message);
    if (fault === 'garbage') stream.write('data: {not json\n\n');
    else if (fault === 'half_close' || fault === 'die') stream.end();
    else if (fault === 'wrong_id') stream.write(event(JSON.stringify({ jsonrpc: '2.0', id: 'nobody', result: {} })));
    else if (fault === undefined) stream.write(event(await answers.answer(message, 'legacy')));
  }

  const serve = { modern: serveModern, session: serveSession, sse: serveSse }[kind];
  const server = createServer((request, response) => {
    record(request, response)
      .then((entry) => serve(entry, response))
      .catch(() => response.destroy());
  });
  server.keepAliveTimeout = 60_000;
  server.on('connection', (socket) => {
    sockets.add(socket);
    accepted += 1;
    socket.on('error', () => {}).on('close', () => sockets.delete(socket));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}${kind === 'sse' ? '/sse' : '/mcp'}`,
    port,
    requests,
    seen: (method) => requests.filter((entry) => entry.message?.['method'] === method),
    count: (method) => counts.get(method) ?? 0,
    openStreams: () => streams.size,
    accepted: () => accepted,
    notify: (method, params = {}) => {
      for (const { response, subscription } of streams) {
        const meta =
          subscription === undefined ? {} : { _meta: { 'io.modelcontextprotocol/subscriptionId': subscription } };
        response.write(event(JSON.stringify({ jsonrpc: '2.0', method, params: { ...params, ...meta } })));
      }
    },
    forgetSessions: () => sessions.clear(),
    [Symbol.asyncDispose]: async () => {
      server.close();
      for (const socket of sockets) socket.destroy();
      if (server.listening) await once(server, 'close');
    },
  };
}
