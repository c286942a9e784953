/** Servers for the tests of this room: they answer lists from plain data, at once or when the test says so. */
import { TollgateError } from '../core/errors.ts';
import { encode } from '../protocol/json/splice.ts';
import type { Message } from '../protocol/message.ts';
import type {
  Connection,
  OutboundRequest,
  ReplyHandler,
  Scope,
  Server,
  ServerEvent,
  ServerView,
} from '../protocol/peer.ts';
import type { Era } from '../protocol/versions.ts';

type Json = Record<string, unknown>;

export class FakeServer implements Server {
  readonly name: string;
  requestTimeout = 5_000;
  era: Era = 'modern';
  capabilities: Json = { tools: {} };
  instructions: string | undefined = undefined;
  /** Entries by method; a function answers the params itself with a result object or an error object. */
  lists: Record<string, readonly unknown[] | ((params: Json) => Json)> = {};
  ttlMs: unknown = 60_000;
  cacheScope: unknown = 'public';
  /** Set: connecting fails with this. */
  down: TollgateError | undefined = undefined;
  /** Set: connecting waits for it. */
  gate: Promise<unknown> | undefined = undefined;
  /** True: requests are never answered. */
  mute = false;
  readonly asked: { method: string; params: Json }[] = [];
  connects = 0;
  readonly #listeners = new Set<(event: ServerEvent) => void>();

  constructor(name: string, tools: readonly unknown[] = []) {
    this.name = name;
    this.lists['tools/list'] = tools;
  }

  get view(): ServerView {
    throw new Error('not used by the catalog');
  }

  current(): Connection | undefined {
    return undefined;
  }

  async connect(scope: Scope): Promise<Connection> {
    this.connects++;
    if (scope.purpose !== 'catalog') throw new Error('The catalog uses its own scope');
    await this.gate;
    if (this.down !== undefined) throw this.down;

    return {
      era: this.era,
      version: this.era === 'modern' ? '2026-07-28' : '2025-11-25',
      capabilities: this.capabilities,
      serverInfo: { name: this.name, version: '1' },
      instructions: this.instructions,
      pending: 0,
      notify() {},
      request: (request, handler) => this.#answer(request, handler),
    };
  }

  connectionsOf(): readonly Connection[] {
    return [];
  }

  subscribe(): Promise<() => void> {
    return Promise.reject(new TollgateError('method_not_found', 'not used by the catalog'));
  }

  onEvent(listener: (event: ServerEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  emit(event: ServerEvent): void {
    for (const listener of [...this.#listeners]) listener(event);
  }

  get listeners(): number {
    return this.#listeners.size;
  }

  async close(): Promise<void> {}

  #answer({ message, lifetime }: OutboundRequest, handler: ReplyHandler): void {
    const { method } = message;
    const params = (message.object()['params'] ?? {}) as Json;
    this.asked.push({ method, params });
    if (this.mute) {
      lifetime.onEnd((reason) => handler.onFailure(reason));
      return;
    }
    queueMicrotask(() => handler.onResponse(this.#response(method, params)));
  }

  #response(method: string, params: Json): Message {
    const list = this.lists[method];
    if (list === undefined) return encode({ jsonrpc: '2.0', id: 1, error: { code: -32601, message: 'no' } });
    const hints =
      this.era === 'modern' ? { resultType: 'complete', ttlMs: this.ttlMs, cacheScope: this.cacheScope } : {};
    if (typeof list === 'function') {
      const result = list(params);
      return encode(
        'error' in result
          ? { jsonrpc: '2.0', id: 1, ...result }
          : { jsonrpc: '2.0', id: 1, result: { ...hints, ...result } },
      );
    }
    const member = method === 'resources/templates/list' ? 'resourceTemplates' : method.slice(0, method.indexOf('/'));
    return encode({ jsonrpc: '2.0', id: 1, result: { ...hints, [member]: list } });
  }
}

export function tool(name: string, more: Json = {}): Json {
  return { name, inputSchema: { type: 'object' }, ...more };
}

/** Answers with pages of `size` entries; the cursor is the index of the next one. */
export function paged(member: string, entries: readonly unknown[], size: number): (params: Json) => Json {
  return (params) => {
    const from = params['cursor'] === undefined ? 0 : Number(params['cursor']);
    const next = from + size < entries.length ? { nextCursor: String(from + size) } : {};
    return { [member]: entries.slice(from, from + size), ...next };
  };
}

export const DOWN = new TollgateError('server_unavailable', 'The server is down');
