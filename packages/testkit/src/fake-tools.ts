import { setTimeout as sleep } from 'node:timers/promises';

export type JsonObject = Record<string, unknown>;

/**
 * Ways in which a server can go wrong. A fake server offers one tool `fault_<name>` for each that its transport can
 * express; calling the tool makes the server misbehave for that call alone.
 */
export const FAULTS = [
  /** Bytes that are not JSON. */
  'garbage',
  /** A web page with status 200. */
  'html',
  /** A well-formed answer to an id that nobody asked for. */
  'wrong_id',
  /** The answer twice. */
  'duplicate',
  /** No answer, the connection stays open. */
  'silent',
  /** An answer that never ends. */
  'endless',
  /** JSON whose string is not UTF-8. */
  'invalid_utf8',
  /** Half an answer, then the end of the stream. */
  'half_close',
  /** Half an answer, then a reset. */
  'reset',
  /** HTTP 500 without JSON; over stdio a JSON-RPC internal error. */
  'status_500',
  /** A redirect to another host, which must not be followed with credentials. */
  'redirect',
  /** The process (stdio) or every connection (HTTP) dies. */
  'die',
  /** A JSON-RPC response with neither result nor error. */
  'empty_response',
  /** A request where a response belongs. */
  'request_instead',
] as const;
export type Fault = (typeof FAULTS)[number];

export interface FakeOptions {
  /** How POSTs are answered over HTTP. Default `json`. */
  readonly answer?: 'json' | 'sse';
  /** Milliseconds before each tools/call is answered, or what it waits for; gets the number of the call. Default 0. */
  readonly latency?: (call: number) => number | Promise<unknown>;
  /** Tools `tool_0`… beside the built-in ones. Default 0. */
  readonly extraTools?: number;
  /** Tools of one page of tools/list; default: all in one. */
  readonly pageSize?: number;
  /** Requests of which a fake HTTP server keeps the record, the first ones; default: all. Counts go on. */
  readonly keep?: number;
  readonly name?: string;
  readonly instructions?: string;
  /** Cache hints of lists, modern only. Default 0 and `private`. */
  readonly ttlMs?: number;
  readonly cacheScope?: 'public' | 'private';
}

const BUILT_IN: readonly { name: string; description: string; properties: JsonObject }[] = [
  { name: 'echo', description: 'Returns its text, `delay` ms later.', properties: { text: {}, delay: {} } },
  { name: 'bytes', description: 'Returns `size` characters.', properties: { size: { type: 'integer' } } },
  { name: 'fail', description: 'A tool error.', properties: {} },
  { name: 'metered', description: 'Says in `_meta.usageTotalUsd` that it cost `usd`.', properties: { usd: {} } },
  { name: 'ask', description: 'Asks for roots first, 2026-07-28 only.', properties: {} },
  { name: 'big_number', description: 'An integer beyond 2^53 and fields no schema knows.', properties: {} },
];

/** A text of `size` characters that compresses badly enough to be no special case anywhere. */
export function filler(size: number): string {
  const line = '0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_';
  return line.repeat(Math.ceil(size / line.length)).slice(0, size);
}

export interface FakeAnswers {
  /** Answer to a request that is no fault: the JSON text of the whole response message. */
  answer(message: JsonObject, era: 'legacy' | 'modern'): Promise<string>;
}

/** The fault that a tools/call asks for, if any. */
export function requestedFault(message: JsonObject): Fault | undefined {
  if (message['method'] !== 'tools/call') return undefined;
  const name = String((message['params'] as JsonObject | undefined)?.['name']);
  return FAULTS.find((fault) => name === `fault_${fault}`);
}

/** The behaviour that all fake servers share, whatever their transport. */
export function createAnswers(options: FakeOptions = {}): FakeAnswers {
  let calls = 0;
  const tools = [
    ...BUILT_IN.map(({ name, description, properties }) => ({
      name,
      description,
      inputSchema: { type: 'object', properties },
    })),
    ...FAULTS.map((fault) => ({ name: `fault_${fault}`, inputSchema: { type: 'object' } })),
    ...Array.from({ length: options.extraTools ?? 0 }, (_, i) => ({
      name: `tool_${i}`,
      description: `Numbered tool ${i}`,
      inputSchema: { type: 'object', properties: { value: { type: 'string' } } },
    })),
  ];
  const identity = { name: options.name ?? 'fake', version: '1.0.0' };
  const capabilities = { tools: { listChanged: true }, resources: {}, prompts: {} };

  function respond(id: unknown, result: JsonObject, era: 'legacy' | 'modern'): string {
    const full =
      era === 'modern'
        ? {
            resultType: 'complete',
            ...result,
            _meta: { ...(result['_meta'] as JsonObject), 'io.modelcontextprotocol/serverInfo': identity },
          }
        : result;
    return JSON.stringify({ jsonrpc: '2.0', id, result: full });
  }
  function refuse(id: unknown, code: number, message: string): string {
    return JSON.stringify({ jsonrpc: '2.0', id, error: { code, message } });
  }
  const hints = (era: 'legacy' | 'modern'): JsonObject =>
    era === 'modern' ? { ttlMs: options.ttlMs ?? 0, cacheScope: options.cacheScope ?? 'private' } : {};

  async function call(id: unknown, params: JsonObject, era: 'legacy' | 'modern'): Promise<string> {
    const name = String(params['name']);
    const args = (params['arguments'] ?? {}) as JsonObject;
    const wait = (args['delay'] as number | undefined) ?? options.latency?.(calls) ?? 0;
    calls += 1;
    if (wait instanceof Promise) await wait;
    else if (Number(wait) > 0) await sleep(Number(wait));
    const text = (value: string): string => respond(id, { content: [{ type: 'text', text: value }] }, era);
    switch (name) {
      case 'echo':
        return text(String(args['text'] ?? ''));
      case 'bytes':
        return text(filler(Number(args['size'] ?? 0)));
      case 'fail':
        return respond(id, { content: [{ type: 'text', text: 'The tool failed' }], isError: true }, era);
      case 'metered':
        return respond(id, { content: [], _meta: { usageTotalUsd: args['usd'] } }, era);
      case 'ask': {
        if (params['requestState'] === 'asked') return text(JSON.stringify(params['inputResponses']));
        const inputRequests = { roots: { method: 'roots/list', params: {} } };
        return respond(id, { resultType: 'input_required', inputRequests, requestState: 'asked' }, era);
      }
      case 'big_number': {
        const answer = respond(id, { content: [], structuredContent: { n: 0 }, unknownField: { keep: true } }, era);
        return answer.replace('"n":0', '"n":12345678901234567890');
      }
      default:
        if (/^tool_\d+$/.test(name)) return text(`${identity.name}/${name}: ${String(args['value'] ?? '')}`);
        return refuse(id, -32602, `Unknown tool: ${name}`);
    }
  }

  return {
    answer: async (message, era) => {
      const id = message['id'];
      const params = (message['params'] ?? {}) as JsonObject;
      switch (message['method']) {
        case 'initialize':
          return respond(
            id,
            {
              protocolVersion: params['protocolVersion'] ?? '2025-11-25',
              capabilities,
              serverInfo: identity,
              ...(options.instructions === undefined ? {} : { instructions: options.instructions }),
            },
            'legacy',
          );
        case 'server/discover':
          return respond(
            id,
            {
              supportedVersions: ['2026-07-28'],
              capabilities,
              ...(options.instructions === undefined ? {} : { instructions: options.instructions }),
              ...hints(era),
            },
            era,
          );
        case 'ping':
          return respond(id, {}, era);
        case 'tools/list': {
          const size = options.pageSize ?? tools.length;
          const from = Number(params['cursor'] ?? 0);
          const next = from + size < tools.length ? { nextCursor: String(from + size) } : {};
          return respond(id, { tools: tools.slice(from, from + size), ...next, ...hints(era) }, era);
        }
        case 'resources/list':
          return respond(id, { resources: [], ...hints(era) }, era);
        case 'resources/templates/list':
          return respond(id, { resourceTemplates: [], ...hints(era) }, era);
        case 'prompts/list':
          return respond(id, { prompts: [], ...hints(era) }, era);
        case 'tools/call':
          return call(id, params, era);
        default:
          return refuse(id, -32601, `Method not found: ${String(message['method'])}`);
      }
    },
  };
}
