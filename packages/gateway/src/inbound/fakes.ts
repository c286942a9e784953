/** What the tests of this room share: a fake endpoint in place of the pipeline, and a client that speaks raw bytes. */
import { connect, type Socket } from 'node:net';
import { systemClock } from '../core/clock.ts';
import { TollgateError } from '../core/errors.ts';
import { silentLog } from '../core/log.ts';
import { lanesOf, type Principal } from '../core/principal.ts';
import type { Call, ClientSession, Endpoint, Face, SessionGuard } from '../protocol/call.ts';
import { encode, errorBytes, resultBytes } from '../protocol/json/splice.ts';
import { Field, type Message } from '../protocol/message.ts';
import { createHttpEdge, type HttpEdge, type HttpEdgeDeps } from './http.ts';
import type { InboundCaps, InboundOptions } from './options.ts';

export const CAPS: InboundCaps = {
  body: 64 * 1024,
  depth: 64,
  keys: 1000,
  string: 64 * 1024,
  headers: 16 * 1024,
  headerTime: 5000,
  bodyTime: 5000,
  streams: 5000,
  streamsPerPrincipal: 2000,
  sessions: 100,
  sessionIdle: 60_000,
  streamBuffer: 256 * 1024,
  keepAlive: 15_000,
};

export function optionsOf(caps: Partial<InboundCaps> = {}, more: Partial<InboundOptions> = {}): InboundOptions {
  return {
    host: '127.0.0.1',
    port: 0,
    allowedHosts: [],
    allowedOrigins: [],
    trustedProxies: [],
    cors: { allowedHeaders: [], exposedHeaders: [], maxAge: 600_000 },
    tls: undefined,
    attachSocket: undefined,
    caps: { ...CAPS, ...caps },
    ...more,
  };
}

export function principalOf(subject: string, key: number): Principal {
  return {
    id: `test/${subject}`,
    person: `test/${subject}`,
    key,
    lanes: lanesOf(`test/${subject}`),
    entry: 'test',
    subject,
    tenant: undefined,
    tier: undefined,
    roles: [],
    scopes: undefined,
    clientId: undefined,
  };
}

type Handler = (call: Call) => void;

/** Stands for the pipeline: records what arrives and answers by method; unknown methods get an empty result. */
export class FakeEndpoint implements Endpoint {
  readonly path: string;
  readonly calls: Call[] = [];
  readonly notifications: { message: Message; session: ClientSession | undefined }[] = [];
  readonly handlers = new Map<string, Handler>();
  #waiting: { method: string; resolve: (call: Call) => void }[] = [];

  constructor(path: string) {
    this.path = path;
    this.handlers.set('initialize', (call) =>
      answer(call, {
        protocolVersion: call.session?.version,
        capabilities: {},
        serverInfo: { name: 'fake', version: '1' },
      }),
    );
  }

  handle(call: Call): void {
    this.calls.push(call);
    const handler = this.handlers.get(call.message.method);
    if (handler === undefined) answer(call, {});
    else handler(call);
    this.#waiting = this.#waiting.filter((one) => {
      if (one.method !== call.message.method) return true;
      one.resolve(call);
      return false;
    });
  }

  notified(message: Message, session: ClientSession | undefined): void {
    this.notifications.push({ message, session });
  }

  /** Calls of a method stay open until the test answers them. */
  hold(method: string): void {
    this.handlers.set(method, () => {});
  }

  /** The next call of a method. */
  async next(method: string): Promise<Call> {
    return await new Promise((resolve) => this.#waiting.push({ method, resolve }));
  }
}

/** Answers a call with a result, in bytes that the edge sends as they are. */
export function answer(call: Call, result: unknown): void {
  call.reply.respond(resultBytes(call.message.raw(Field.id)!, JSON.stringify(result)));
}

export function answerError(call: Call, error: TollgateError): void {
  call.reply.respond(errorBytes(call.message.raw(Field.id), error.rpc, error.message), { status: error.http });
}

export function notification(method: string, params: Record<string, unknown> = {}): Message {
  return encode({ jsonrpc: '2.0', method, params });
}

export interface Rig {
  readonly edge: HttpEdge;
  readonly port: number;
  readonly mcp: FakeEndpoint;
  readonly team: FakeEndpoint;
  readonly face: {
    draining: boolean;
    withdrawals: number;
    guard: SessionGuard | undefined;
    identify: Face['identify'];
    barred: Face['barred'];
  };
  /** Sends raw bytes on a new connection and gives everything that came back until it closed or a response ended. */
  send(text: string | Buffer): Promise<RawResponse>;
  open(): Promise<RawClient>;
  stop(): Promise<void>;
}

/** Tokens `a` and `b` are two principals, none is a third; everything else is refused. */
export function faceOf(endpoints: ReadonlyMap<string, Endpoint>): Face & Rig['face'] {
  const principals = new Map<string | undefined, Principal>([
    [undefined, principalOf('nobody', 1)],
    ['Bearer a', principalOf('a', 2)],
    ['Bearer b', principalOf('b', 3)],
  ]);
  return {
    draining: false,
    withdrawals: 0,
    guard: undefined,
    barred: () => undefined,
    endpoint: (path) => endpoints.get(path),
    identify: (authorization) =>
      principals.get(authorization) ?? new TollgateError('unauthorized', 'The credential was not accepted.'),
  };
}

export async function startEdge(options = optionsOf(), deps: Partial<HttpEdgeDeps> = {}): Promise<Rig> {
  const mcp = new FakeEndpoint('/mcp');
  const team = new FakeEndpoint('/team');
  const face = faceOf(
    new Map([
      ['/mcp', mcp],
      ['/team', team],
    ]),
  );
  const edge = createHttpEdge(options, () => face, { log: silentLog, clock: systemClock, ready: () => true, ...deps });
  const { port } = await edge.listen();
  const clients: RawClient[] = [];
  const open = async (): Promise<RawClient> => {
    const client = await RawClient.connect(port);
    clients.push(client);
    return client;
  };
  return {
    edge,
    port,
    mcp,
    team,
    face,
    open,
    async send(text) {
      const client = await open();
      client.write(text);
      return await client.response();
    },
    async stop() {
      for (const client of clients) client.socket.destroy();
      await edge.close();
    },
  };
}

export interface RawResponse {
  readonly status: number;
  readonly headers: ReadonlyMap<string, string>;
  readonly body: string;
}

/** A client that sees exactly what is on the wire. */
export class RawClient {
  readonly socket: Socket;
  text = '';
  closed = false;
  #changed: (() => void)[] = [];

  static async connect(port: number): Promise<RawClient> {
    const socket = connect(port, '127.0.0.1');
    const client = new RawClient(socket);
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', () => resolve());
      socket.once('error', reject);
    });
    return client;
  }

  constructor(socket: Socket) {
    this.socket = socket;
    socket.setEncoding('latin1');
    socket.on('data', (chunk: string) => {
      this.text += chunk;
      this.#wake();
    });
    socket.on('error', () => {});
    socket.on('close', () => {
      this.closed = true;
      this.#wake();
    });
  }

  write(text: string | Buffer): void {
    this.socket.write(text);
  }

  /** Resolves when what was read satisfies the test; rejects when the connection closes before. */
  async until(test: (text: string) => boolean): Promise<string> {
    while (!test(this.text)) {
      if (this.closed) throw new Error(`closed after: ${this.text}`);
      await this.#change();
    }
    return this.text;
  }

  async close(): Promise<string> {
    while (!this.closed) await this.#change();
    return this.text;
  }

  /** The next whole response; takes it off what was read. */
  async response(): Promise<RawResponse> {
    for (;;) {
      const found = takeResponse(this.text, this.closed);
      if (found !== undefined) {
        this.text = this.text.slice(found.size);
        return found.response;
      }
      if (this.closed) throw new Error(`closed without a response: ${this.text}`);
      await this.#change();
    }
  }

  async #change(): Promise<void> {
    await new Promise<void>((resolve) => this.#changed.push(resolve));
  }

  #wake(): void {
    const changed = this.#changed;
    this.#changed = [];
    for (const resolve of changed) resolve();
  }
}

function takeResponse(text: string, closed: boolean): { response: RawResponse; size: number } | undefined {
  const end = text.indexOf('\r\n\r\n');
  if (end < 0) return undefined;
  const [first = '', ...lines] = text.slice(0, end).split('\r\n');
  const status = Number(first.split(' ')[1]);
  const headers = new Map(
    lines.map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 1).trim()]),
  );
  const start = end + 4;
  if (status === 100) return undefined;
  const length = headers.get('content-length');
  if (length !== undefined || status === 204) {
    const size = start + Number(length ?? 0);
    if (text.length < size) return undefined;
    return { response: { status, headers, body: text.slice(start, size) }, size };
  }
  const last = text.indexOf('0\r\n\r\n', start);
  if (last < 0 && !closed) return undefined;
  const size = last < 0 ? text.length : last + 5;
  return { response: { status, headers, body: unchunk(text.slice(start, size)) }, size };
}

/** Bodies of tests are ASCII, so characters are bytes. */
export function unchunk(text: string): string {
  let body = '';
  for (let at = 0; ; ) {
    const line = text.indexOf('\r\n', at);
    if (line < 0) return body;
    const size = Number.parseInt(text.slice(at, line), 16);
    if (!(size > 0)) return body;
    body += text.slice(line + 2, line + 2 + size);
    at = line + 2 + size + 2;
  }
}

export const META = {
  'io.modelcontextprotocol/protocolVersion': '2026-07-28',
  'io.modelcontextprotocol/clientInfo': { name: 'test', version: '1' },
  'io.modelcontextprotocol/clientCapabilities': {},
};

export function modernBody(method: string, params: Record<string, unknown> = {}, id: number | string = 1): string {
  return JSON.stringify({ jsonrpc: '2.0', id, method, params: { ...params, _meta: META } });
}

export function legacyBody(method: string, params: Record<string, unknown> = {}, id: number | string = 1): string {
  return JSON.stringify({ jsonrpc: '2.0', id, method, params });
}

/** A POST as text; headers given as undefined are left out of the usual ones. */
export function post(body: string, headers: Record<string, string | undefined> = {}, path = '/mcp'): string {
  const all: Record<string, string | undefined> = {
    Host: '127.0.0.1',
    'Content-Type': 'application/json',
    Accept: 'application/json, text/event-stream',
    'Content-Length': String(Buffer.byteLength(body)),
    ...headers,
  };
  return `${head('POST', all, path)}${body}`;
}

/** A modern POST with its mirrored headers. */
export function modernPost(
  method: string,
  params: Record<string, unknown> = {},
  headers: Record<string, string | undefined> = {},
  path = '/mcp',
): string {
  const name = params['name'] ?? params['uri'];
  return post(
    modernBody(method, params),
    {
      'MCP-Protocol-Version': '2026-07-28',
      'Mcp-Method': method,
      'Mcp-Name': typeof name === 'string' ? name : undefined,
      ...headers,
    },
    path,
  );
}

export function head(method: string, headers: Record<string, string | undefined>, path = '/mcp'): string {
  const lines = Object.entries(headers).flatMap(([name, value]) => (value === undefined ? [] : [`${name}: ${value}`]));
  return `${method} ${path} HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n`;
}
