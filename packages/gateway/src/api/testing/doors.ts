/** Every way by which a caller comes to a catalog, spoken by hand: for the matrix of callers. */
import { connect } from 'node:net';
import { modernBody, modernHeaders, modernMeta } from '@tollgate/testkit/modern-request';
import { parseSse } from '@tollgate/testkit/sse';
import type { Json } from '../../pipeline/testing.ts';
import type { TransportName } from '../../protocol/call.ts';
import type { Era } from '../../protocol/versions.ts';

export interface Told {
  readonly id?: unknown;
  readonly method?: string;
  readonly params?: Json;
  readonly result?: Json;
  readonly error?: { readonly code: number; readonly message: string; readonly data?: Json };
}

export interface DoorCaller {
  /** Undefined: this door has no such method. */
  ask(method: string, params: Json): Promise<Told> | undefined;
  leave(): void;
}

export interface Place {
  readonly url: string;
  readonly attachSocket: string;
  /** Undefined: without a credential. Over stdio there is none. */
  readonly token: string | undefined;
  readonly subject: string;
}

export interface Door {
  readonly name: string;
  readonly era: Era;
  /** Whoever comes here is the local user. */
  readonly local?: true;
  /** Only with a credential. */
  readonly named?: true;
  open(place: Place): Promise<DoorCaller>;
}

const ACKNOWLEDGED = 'notifications/subscriptions/acknowledged';
const INITIALIZE = { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 't', version: '1' } };

/** All of them, by what the product calls the transport: one without an entry does not compile. */
export const DOORS: Readonly<Record<TransportName, readonly Door[]>> = {
  http: [
    { name: '2026-07-28 over HTTP', era: 'modern', open: async (place) => modernHttp(place, '/mcp') },
    { name: '2026-07-28 over HTTP, the server alone', era: 'modern', open: async (place) => modernHttp(place, '/s/a') },
    { name: '2025-11-25 over HTTP', era: 'legacy', open: legacyHttp },
  ],
  sse: [{ name: 'HTTP+SSE of 2024-11-05', era: 'legacy', open: legacySse }],
  stdio: [
    { name: '2026-07-28 over stdio', era: 'modern', local: true, open: (place) => stdio(place, 'modern') },
    { name: '2025-11-25 over stdio', era: 'legacy', local: true, open: (place) => stdio(place, 'legacy') },
  ],
  rest: [{ name: 'the user API', era: 'modern', named: true, open: async (place) => rest(place) }],
};

function authorization({ token }: Place): Record<string, string> {
  return token === undefined ? {} : { authorization: `Bearer ${token}` };
}

const is = (method: string, value: Told): boolean => value.method === method;

/** The answer in a body; of a stream that stays open, what comes first. */
async function answerOf(response: Response): Promise<Told> {
  if (response.headers.get('content-type')?.startsWith('text/event-stream') !== true) {
    return (await response.json()) as Told;
  }
  let text = '';
  for await (const part of response.body!.pipeThrough(new TextDecoderStream())) {
    text += part;
    const [first] = parseSse(text);
    if (first !== undefined) return JSON.parse(first.data) as Told;
  }
  throw new Error('the stream ended without an answer');
}

function modernHttp(place: Place, path: string): DoorCaller {
  return {
    ask: async (method, params) => {
      const response = await fetch(place.url + path, {
        method: 'POST',
        headers: { ...Object.fromEntries(modernHeaders(method, params)), ...authorization(place) },
        body: modernBody(7, method, { _meta: modernMeta(), ...params }),
      });
      return answerOf(response);
    },
    leave: () => undefined,
  };
}

async function legacyHttp(place: Place): Promise<DoorCaller> {
  const post = (body: Json, session: Record<string, string>): Promise<Response> =>
    fetch(`${place.url}/mcp`, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        accept: 'application/json, text/event-stream',
        ...session,
        ...authorization(place),
      },
      body: JSON.stringify({ jsonrpc: '2.0', ...body }),
    });
  const opened = await post({ id: 0, method: 'initialize', params: INITIALIZE }, {});
  await opened.arrayBuffer();
  const session = { 'mcp-session-id': opened.headers.get('mcp-session-id')! };
  let id = 0;
  return {
    ask: async (method, params) => answerOf(await post({ id: ++id, method, params }, session)),
    leave: () => undefined,
  };
}

/** Answers come on one channel, in any order, and are known by their ids. */
class Channel {
  readonly #waiting = new Map<unknown, (told: Told) => void>();
  #id = 0;

  hear(told: Told): void {
    const meta = told.params?.['_meta'] as Json | undefined;
    const id = is(ACKNOWLEDGED, told) ? meta?.['io.modelcontextprotocol/subscriptionId'] : told.id;
    this.#waiting.get(id)?.(told);
  }

  /** What comes for a request that `send` sends. */
  async answer(send: (id: number) => unknown): Promise<Told> {
    const id = ++this.#id;
    const { promise, resolve } = Promise.withResolvers<Told>();
    this.#waiting.set(id, resolve);
    await send(id);
    return promise;
  }
}

async function legacySse(place: Place): Promise<DoorCaller> {
  const channel = new Channel();
  const stream = new AbortController();
  const response = await fetch(`${place.url}/mcp/sse`, { headers: authorization(place), signal: stream.signal });
  const { promise: messages, resolve } = Promise.withResolvers<string>();
  void (async () => {
    let text = '';
    for await (const part of response.body!.pipeThrough(new TextDecoderStream())) {
      text += part;
      for (const { event, data } of parseSse(text)) {
        if (event === 'endpoint') resolve(data);
        else channel.hear(JSON.parse(data) as Told);
      }
      text = text.slice(text.lastIndexOf('\n\n') + 2);
    }
  })().catch(() => undefined);
  const path = await messages;
  const say = async (body: Json): Promise<void> => {
    const { body: rest } = await fetch(place.url + path, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...authorization(place) },
      body: JSON.stringify({ jsonrpc: '2.0', ...body }),
    });
    await rest?.cancel();
  };
  const ask = (method: string, params: Json) => channel.answer((id) => say({ id, method, params }));
  await ask('initialize', { ...INITIALIZE, protocolVersion: '2024-11-05' });
  await say({ method: 'notifications/initialized' });
  return { ask, leave: () => stream.abort() };
}

async function stdio({ attachSocket }: Place, era: Era): Promise<DoorCaller> {
  const channel = new Channel();
  const socket = connect(attachSocket);
  let text = '';
  socket.setEncoding('utf8').on('data', (part: string) => {
    text += part;
    const lines = text.split('\n');
    text = lines.pop()!;
    for (const line of lines) channel.hear(JSON.parse(line) as Told);
  });
  socket.write('{"tollgate":1,"endpoint":"/mcp"}\n');
  const ask = (method: string, params: Json): Promise<Told> =>
    channel.answer((id) =>
      socket.write(
        `${era === 'modern' ? modernBody(id, method, { _meta: modernMeta(), ...params }) : JSON.stringify({ jsonrpc: '2.0', id, method, params })}\n`,
      ),
    );
  if (era === 'legacy') {
    await ask('initialize', INITIALIZE);
    socket.write('{"jsonrpc":"2.0","method":"notifications/initialized"}\n');
  }
  return { ask, leave: () => socket.destroy() };
}

/** Plain JSON, told as an MCP client would be told the same. */
function rest(place: Place): DoorCaller {
  const send = async (path: string, body?: Json): Promise<Told> => {
    const response = await fetch(place.url + path, {
      ...(body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) }),
      headers: { 'content-type': 'application/json', ...authorization(place) },
    });
    const told = (await response.json()) as Json;
    if (response.status < 300) return { result: told };
    const { decision: _, ...data } = told;
    return {
      error: { code: response.status === 404 ? -32602 : response.status, message: String(told['error']), data },
    };
  };
  return {
    ask: (method, { name }) => {
      if (method === 'tools/list') return send('/mcp/tools/available');
      if (method !== 'tools/call') return undefined;
      const invoked = { tool_name: name, parameters: {}, user_id: place.subject };
      return send(`/mcp/tools/${String(name)}/schema`).then(async (schema) => {
        const told = await send('/mcp/tools/invoke', invoked);
        // Who may not call a tool is not told what it takes either.
        if ((schema.error === undefined) !== (told.error === undefined)) throw new Error('schema and call differ');
        return told;
      });
    },
    leave: () => undefined,
  };
}

/** Whether a subscription to the resource was taken. */
export function subscribed(told: Told): boolean {
  if (!is(ACKNOWLEDGED, told)) return told.result !== undefined;
  const { resourceSubscriptions = [] } = told.params?.['notifications'] as { resourceSubscriptions?: unknown[] };
  return resourceSubscriptions.length > 0;
}
