/** A scripted 2026-07-28 server and a plain client, for the pipeline's tests over real sockets. */
import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { modernBody, modernHeaders, modernMeta } from '@tollgate/testkit/modern-request';
import { compile } from '../config/compile.ts';
import { loadConfigObject } from '../config/load.ts';
import { silentLog } from '../core/log.ts';
import { Gateway } from './gateway.ts';
import type { GatewayDeps } from './gateway-deps.ts';

export type Json = Record<string, unknown>;
/** Gives the result, or undefined when it answers by itself. A thrown `{code, message}` is a JSON-RPC error. */
export type Handler = (params: Json, response: ServerResponse, id: unknown) => Json | undefined;

export interface ScriptedServer extends AsyncDisposable {
  readonly url: string;
  readonly seen: {
    readonly path: string | undefined;
    readonly method: string;
    readonly params: Json;
    readonly headers: NodeJS.Dict<string | string[]>;
  }[];
  handlers: Record<string, Handler>;
}

export function tool(name: string, properties: Json = {}, more: Json = {}): Json {
  return { name, inputSchema: { type: 'object', properties, ...more } };
}

/** Answers discover and empty lists by itself; `handlers` come first and may be changed while it runs. */
export async function startScripted(handlers: Record<string, Handler>): Promise<ScriptedServer> {
  const hints = { ttlMs: 60_000, cacheScope: 'private' };
  const defaults: Record<string, Handler> = {
    'server/discover': () => ({
      supportedVersions: ['2026-07-28'],
      capabilities: { tools: { listChanged: true }, prompts: {}, resources: { subscribe: true }, completions: {} },
      ...hints,
    }),
    'tools/list': () => ({ tools: [], ...hints }),
    'prompts/list': () => ({ prompts: [], ...hints }),
    'resources/list': () => ({ resources: [], ...hints }),
    'resources/templates/list': () => ({ resourceTemplates: [], ...hints }),
    'tools/call': () => ({ content: [{ type: 'text', text: 'ran' }] }),
  };
  const scripted: ScriptedServer = {
    url: '',
    seen: [],
    handlers,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const {
        id,
        method,
        params = {},
      } = JSON.parse(Buffer.concat(chunks).toString()) as {
        id?: unknown;
        method: string;
        params?: Json;
      };
      scripted.seen.push({ path: request.url, method, params, headers: request.headers });
      const handler = scripted.handlers[method] ?? defaults[method];
      const reply = (status: number, body: Json): void => {
        response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
      };
      if (id === undefined) return response.writeHead(202).end();
      if (handler === undefined) return reply(404, { jsonrpc: '2.0', id, error: { code: -32601, message: 'no' } });
      try {
        const result = handler(params, response, id);
        if (result !== undefined) reply(200, { jsonrpc: '2.0', id, result: { resultType: 'complete', ...result } });
      } catch (error) {
        reply(200, { jsonrpc: '2.0', id, error });
      }
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return Object.assign(scripted, { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp` });
}

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: {
    readonly id?: unknown;
    readonly result?: Json;
    readonly error?: { code: number; message: string; data?: Json };
  };
}

export interface TestGateway extends AsyncDisposable {
  readonly gateway: Gateway;
  readonly url: string;
  reload(config: Json): Promise<void>;
  /** A modern call with all its headers. */
  call(method: string, params?: Json, options?: CallOptions): Promise<Answer>;
  names(kind?: 'tools' | 'prompts', options?: CallOptions): Promise<string[]>;
}

export interface CallOptions {
  readonly path?: string;
  readonly token?: string;
  readonly capabilities?: Json;
  readonly headers?: Readonly<Record<string, string>>;
}

/** A gateway of this configuration in this process, on a free port, with every server tried. */
export async function startGateway(config: Json, deps: Partial<GatewayDeps> = {}): Promise<TestGateway> {
  const complete = (value: Json) =>
    compile(loadConfigObject({ listen: '127.0.0.1:0', dataDir: '/nonexistent', ...value }).config);
  const withoutSocket = (value: Json) => {
    const compiled = complete(value);
    return { ...compiled, inbound: { ...compiled.inbound, attachSocket: undefined } };
  };
  const gateway = new Gateway(withoutSocket(config), { log: silentLog, ...deps });
  const { url } = await gateway.listen();
  await gateway.settled();
  const call = async (method: string, params: Json = {}, options: CallOptions = {}): Promise<Answer> => {
    const response = await fetch(url + (options.path ?? '/mcp'), {
      method: 'POST',
      headers: {
        ...Object.fromEntries(modernHeaders(method, params)),
        ...(options.token === undefined ? {} : { authorization: `Bearer ${options.token}` }),
        ...options.headers,
      },
      body: modernBody(7, method, { _meta: modernMeta(options.capabilities), ...params }),
    });
    return { status: response.status, headers: response.headers, body: (await response.json()) as Answer['body'] };
  };
  return {
    gateway,
    url,
    call,
    reload: async (value) => gateway.apply(withoutSocket(value)),
    names: async (kind = 'tools', options = {}) => {
      const { body } = await call(`${kind}/list`, {}, options);
      return (body.result?.[kind] as { name: string }[]).map((entry) => entry.name);
    },
    [Symbol.asyncDispose]: () => gateway.close(),
  };
}
