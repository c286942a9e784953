/**
 * The gateway's own `subscriptions/listen` on a modern server: one stream with the union of what callers watch and
 * the list changes, re-opened when the union changes, when it breaks and after a restart.
 */
import { TollgateError } from '../core/errors.ts';
import { Lifetime } from '../core/lifetime.ts';
import type { Log } from '../core/log.ts';
import { encode } from '../protocol/json/splice.ts';
import { Field, type Message } from '../protocol/message.ts';
import { methodInfo } from '../protocol/methods.ts';
import type { Connection, ListKind, ReplyHandler, ServerEvent } from '../protocol/peer.ts';
import { resumption } from './backoff.ts';
import { type ClientIdentity, ownParams } from './discover.ts';

const SUBSCRIPTION_ID = 'io.modelcontextprotocol/subscriptionId';
const FILTERS: Readonly<Record<ListKind, string>> = {
  tools: 'toolsListChanged',
  prompts: 'promptsListChanged',
  resources: 'resourcesListChanged',
};
/** Different resources watched on one server. */
const MAX_WATCHED = 10_000;

export interface ListenOptions {
  readonly server: string;
  readonly clientInfo: ClientIdentity;
  readonly log: Log;
  /** Milliseconds until the server must have acknowledged. */
  readonly timeout: number;
  readonly emit: (event: ServerEvent) => void;
  /** A connection to listen on; used again after a break. */
  readonly connect: () => Promise<Connection>;
}

interface Watch {
  count: number;
  /** Those who wait for the acknowledgement. */
  waiting: { resolve: () => void; reject: (error: TollgateError) => void }[];
}

interface Stream {
  readonly lifetime: Lifetime;
  readonly connection: Connection;
  acknowledged: boolean;
  timer: NodeJS.Timeout | undefined;
}

export class Listening {
  readonly #options: ListenOptions;
  readonly #watched = new Map<string, Watch>();
  /** Acknowledged and delivering. */
  #stream: Stream | undefined;
  /** Sent, not yet acknowledged; replaces `#stream` then, so that nothing is missed in between. */
  #next: Stream | undefined;
  #connection: Connection | undefined;
  /** The connection whose server has no listen streams at all. */
  #refusedBy: Connection | undefined;
  /** The server may have said things that nobody heard. */
  #gap = false;
  #failures = 0;
  #retry: NodeJS.Timeout | undefined;
  #scheduled = false;
  #closed = false;

  constructor(options: ListenOptions) {
    this.#options = options;
  }

  get watched(): number {
    return this.#watched.size;
  }

  /** Streams open now; on HTTP they count among a connection's pending requests. */
  get streams(): number {
    return (this.#stream === undefined ? 0 : 1) + (this.#next === undefined ? 0 : 1);
  }

  /** A modern connection is open: listens on it. */
  connected(connection: Connection): void {
    if (this.#closed || this.#connection === connection) return;
    this.#connection = connection;
    this.#failures = 0;
    clearTimeout(this.#retry);
    this.#retry = undefined;
    this.#reopen();
  }

  /** The connection is gone. What is watched is listened to again on the next one. */
  disconnected(connection: Connection): void {
    if (this.#connection !== connection) return;
    this.#connection = undefined;
    this.#broken();
  }

  /**
   * Watches a resource; resolves when the server has acknowledged it, to the way to stop. Rejects with
   * `method_not_found` when the server has no resource subscriptions, with `invalid_params` when it does not honour
   * this one, with `server_unavailable` when streams keep breaking.
   */
  async watch(uri: string): Promise<() => void> {
    const { server } = this.#options;
    let watch = this.#watched.get(uri);
    if (watch === undefined) {
      if (this.#watched.size >= MAX_WATCHED) {
        throw new TollgateError('server_busy', `More than ${MAX_WATCHED} resources of server "${server}" are watched`);
      }
      watch = { count: 0, waiting: [] };
      this.#watched.set(uri, watch);
    }
    watch.count++;
    const mine = watch;
    if (mine.count === 1 || mine.waiting.length > 0) {
      const settled = new Promise<void>((resolve, reject) => mine.waiting.push({ resolve, reject }));
      if (mine.count === 1) this.#changed();
      try {
        await settled;
      } catch (error) {
        this.#unwatch(uri, mine);
        throw error;
      }
    }
    let stopped = false;
    return () => {
      if (stopped) return;
      stopped = true;
      this.#unwatch(uri, mine);
    };
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#retry);
    this.#rejectWaiting(new TollgateError('shutting_down', 'The gateway is stopping'));
    this.#end(this.#stream);
    this.#end(this.#next);
    this.#stream = undefined;
    this.#next = undefined;
  }

  #unwatch(uri: string, watch: Watch): void {
    if (--watch.count > 0 || this.#watched.get(uri) !== watch) return;
    this.#watched.delete(uri);
    this.#changed();
  }

  /** The union changed. Several changes in one turn of the loop cost one stream. */
  #changed(): void {
    if (this.#scheduled || this.#closed) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#reopen();
    });
  }

  #reopen(): void {
    const connection = this.#connection;
    if (this.#closed || connection === undefined) return;
    const filter = this.#filter(connection);
    if (this.#refusedBy === connection || filter === undefined) {
      this.#rejectWaiting(
        new TollgateError('method_not_found', `Server "${this.#options.server}" offers no resource subscriptions`),
      );
      this.#end(this.#stream);
      this.#stream = undefined;
      return;
    }
    this.#end(this.#next);
    const stream: Stream = { lifetime: new Lifetime(), connection, acknowledged: false, timer: undefined };
    this.#next = stream;
    stream.timer = setTimeout(() => {
      this.#lost(stream, 'it did not acknowledge the subscription in time');
    }, this.#options.timeout).unref();
    const message = encode({
      jsonrpc: '2.0',
      id: 0,
      method: 'subscriptions/listen',
      params: ownParams({ notifications: filter }, this.#options.clientInfo),
    });
    connection.request(
      { message, target: undefined, headerName: undefined, paramHeaders: undefined, lifetime: stream.lifetime },
      this.#handler(stream),
    );
  }

  #filter(connection: Connection): Record<string, unknown> | undefined {
    const filter: Record<string, unknown> = {};
    for (const [kind, name] of Object.entries(FILTERS)) {
      if (capability(connection, kind)['listChanged'] === true) filter[name] = true;
    }
    if (this.#watched.size > 0) {
      if (capability(connection, 'resources')['subscribe'] === true) {
        filter['resourceSubscriptions'] = [...this.#watched.keys()];
      } else {
        this.#rejectWaiting(
          new TollgateError('method_not_found', `Server "${this.#options.server}" offers no resource subscriptions`),
        );
      }
    }
    return Object.keys(filter).length === 0 ? undefined : filter;
  }

  #handler(stream: Stream): ReplyHandler {
    return {
      onNotification: (message) => this.#heard(stream, message),
      onServerRequest: (_message, answer) =>
        answer(new TollgateError('method_not_found', 'A server sends no requests on a subscription')),
      onResponse: (message) => {
        if (message.kind === 'error' && !stream.acknowledged) this.#refused(stream, message);
        else this.#lost(stream, 'it ended the subscription');
      },
      onFailure: (error) => this.#lost(stream, error.message),
    };
  }

  #heard(stream: Stream, message: Message): void {
    if (stream.lifetime.over) return;
    if (message.method === 'notifications/subscriptions/acknowledged') {
      this.#acknowledged(stream, message);
      return;
    }
    this.#deliver(message);
  }

  #deliver(message: Message): void {
    const { emit } = this.#options;
    if (message.method === 'notifications/resources/updated') {
      const uri = message.string(Field.uri);
      if (uri === undefined || !this.#watched.has(uri)) return;
      emit({ type: 'resource_updated', uri, message: untagged(message), connection: undefined });
      return;
    }
    const kind = methodInfo(message.method)?.list;
    if (kind !== undefined) emit({ type: 'list_changed', kind });
  }

  #acknowledged(stream: Stream, message: Message): void {
    if (this.#next !== stream) return;
    clearTimeout(stream.timer);
    stream.acknowledged = true;
    const before = this.#stream;
    this.#stream = stream;
    this.#next = undefined;
    this.#failures = 0;
    this.#end(before);
    const honoured = honouredUris(message);
    for (const [uri, watch] of this.#watched) {
      const { waiting } = watch;
      if (waiting.length === 0) continue;
      watch.waiting = [];
      for (const one of waiting) {
        if (honoured.has(uri)) one.resolve();
        else one.reject(new TollgateError('invalid_params', `The server does not let ${uri.slice(0, 200)} be watched`));
      }
    }
    if (!this.#gap) return;
    this.#gap = false;
    // What changed while nobody listened is unknown; saying that everything may have is the safe side.
    for (const kind of ['tools', 'prompts', 'resources'] as const) {
      if (capability(stream.connection, kind)['listChanged'] === true)
        this.#options.emit({ type: 'list_changed', kind });
    }
    for (const uri of this.#watched.keys()) {
      const updated = encode({ jsonrpc: '2.0', method: 'notifications/resources/updated', params: { uri } });
      this.#options.emit({ type: 'resource_updated', uri, message: updated, connection: undefined });
    }
  }

  /** An error instead of an acknowledgement: the server has no such streams, or not these. */
  #refused(stream: Stream, message: Message): void {
    if (this.#next !== stream) return;
    this.#options.log.info({ code: Number(message.raw(Field.errorCode)) }, 'The server refuses subscriptions/listen');
    clearTimeout(stream.timer);
    this.#next = undefined;
    if (this.#stream === undefined) this.#refusedBy = stream.connection;
    this.#rejectWaiting(
      new TollgateError('method_not_found', `Server "${this.#options.server}" refuses to let resources be watched`),
    );
  }

  #lost(stream: Stream, why: string): void {
    clearTimeout(stream.timer);
    // Ended by ourselves.
    if (stream.lifetime.over) return;
    if (stream !== this.#stream && stream !== this.#next) return;
    this.#options.log.info({ reason: why }, 'The subscription to the server broke');
    this.#end(stream);
    this.#broken();
  }

  /** Nothing delivers any more: tries again, later and later. */
  #broken(): void {
    this.#gap = true;
    this.#end(this.#next);
    this.#end(this.#stream);
    this.#next = undefined;
    this.#stream = undefined;
    const wanted = this.#watched.size > 0 || this.#connection !== undefined;
    if (this.#closed || !wanted) return;
    if (this.#failures >= 3) {
      this.#rejectWaiting(
        new TollgateError(
          'server_unavailable',
          `Server "${this.#options.server}" does not keep its subscriptions open`,
        ),
      );
    }
    // A death is told twice, by the stream and by its connection.
    if (this.#retry !== undefined) return;
    this.#retry = setTimeout(() => this.#again(), resumption(this.#failures++)).unref();
  }

  #again(): void {
    this.#retry = undefined;
    if (this.#connection !== undefined) {
      this.#reopen();
      return;
    }
    // Nobody watches anything: the next caller's connection is early enough.
    if (this.#watched.size === 0) return;
    this.#options.connect().then(
      (connection) => {
        if (connection.era === 'modern') this.connected(connection);
        else this.#rejectWaiting(new TollgateError('server_unavailable', 'The server changed its protocol era'));
      },
      () => this.#broken(),
    );
  }

  #rejectWaiting(error: TollgateError): void {
    for (const watch of this.#watched.values()) {
      const { waiting } = watch;
      watch.waiting = [];
      for (const one of waiting) one.reject(error);
    }
  }

  #end(stream: Stream | undefined): void {
    if (stream === undefined) return;
    clearTimeout(stream.timer);
    if (!stream.lifetime.over) stream.lifetime.end(new TollgateError('cancelled', 'The subscription is replaced'));
  }
}

function capability(connection: Connection, kind: string): Readonly<Record<string, unknown>> {
  const value = connection.capabilities[kind];
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

function honouredUris(message: Message): Set<string> {
  const params = message.json(Field.params) as { notifications?: { resourceSubscriptions?: unknown } } | undefined;
  const uris = params?.notifications?.resourceSubscriptions;
  return new Set(Array.isArray(uris) ? uris.filter((uri) => typeof uri === 'string') : []);
}

/** The notification without the id of the gateway's own subscription, which means nothing to anybody else. */
function untagged(message: Message): Message {
  const object = message.object() as { params?: { _meta?: Record<string, unknown> } };
  const meta = object.params?._meta;
  if (meta === undefined || !Object.hasOwn(meta, SUBSCRIPTION_ID)) return message;
  delete meta[SUBSCRIPTION_ID];
  if (Object.keys(meta).length === 0) delete object.params?._meta;
  return encode(object);
}
