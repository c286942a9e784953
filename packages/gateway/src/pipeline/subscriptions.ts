/**
 * Who wants to hear of which change: `subscriptions/listen` streams of modern clients and sessions of legacy ones.
 * The hub outlives a reload; endpoints bind their current catalog and servers to it.
 */
import { TollgateError } from '../core/errors.ts';
import type { Lifetime } from '../core/lifetime.ts';
import type { Log } from '../core/log.ts';
import type { Principal } from '../core/principal.ts';
import { missingCapability } from '../protocol/bridge/client-requests.ts';
import { isObject } from '../protocol/bridge/meta.ts';
import type { Call, ClientSession } from '../protocol/call.ts';
import { encode, resultBytes } from '../protocol/json/splice.ts';
import { Field, type Message } from '../protocol/message.ts';
import type { Connection, ListKind, Scope, Server, ServerEvent } from '../protocol/peer.ts';

const SUBSCRIPTION_ID = 'io.modelcontextprotocol/subscriptionId';
const CHANGED: Readonly<Record<ListKind, string>> = {
  tools: 'notifications/tools/list_changed',
  prompts: 'notifications/prompts/list_changed',
  resources: 'notifications/resources/list_changed',
};
const FILTERS: Readonly<Record<string, ListKind>> = {
  toolsListChanged: 'tools',
  promptsListChanged: 'prompts',
  resourcesListChanged: 'resources',
};
/** Resource subscriptions of one stream or session. */
const MAX_RESOURCES = 1000;

/** What the hub needs of an endpoint as it is now. */
export interface Subscribable {
  /** Lists that can change on this endpoint. */
  readonly lists: readonly ListKind[];
  /** The server that owns a resource, or undefined where there is none that this caller may read it from. */
  serverOf(uri: string, principal: Principal): Server | undefined;
}

interface ResourceWatch {
  readonly server: string;
  connection: Connection | undefined;
  stop: () => void;
}

/** One stream or session. `deliver` gets the method and params without subscription id. */
interface Subscriber {
  readonly endpoint: string;
  readonly kinds: ReadonlySet<ListKind>;
  readonly resources: Map<string, ResourceWatch>;
  /** Of the stream or session; what is agreed after its end is given back. */
  readonly lifetime: Lifetime;
  readonly scope: Scope & { readonly principal: Principal };
  deliver(method: string, params: Record<string, unknown>): void;
}

export class SubscriptionHub {
  readonly #endpoints = new Map<string, Subscribable>();
  readonly #streams = new Set<Subscriber & { readonly call: Call }>();
  readonly #sessions = new Map<ClientSession, Subscriber>();
  readonly #withdraw = new WeakMap<Message, (reason: string) => void>();
  readonly #log: Log;

  constructor(log: Log) {
    this.#log = log;
  }

  get streams(): number {
    return this.#streams.size;
  }

  /** The endpoints as they are now; those of before are forgotten. */
  bindAll(endpoints: Iterable<readonly [path: string, endpoint: Subscribable]>): void {
    this.#endpoints.clear();
    for (const [path, endpoint] of endpoints) this.#endpoints.set(path, endpoint);
  }

  /** Serves `subscriptions/listen`: acknowledges what can be honoured and stays open until the client leaves. */
  async listen(call: Call): Promise<void> {
    const endpoint = this.#endpoints.get(call.endpoint);
    const params = call.message.json(Field.params);
    const wanted = isObject(params) && isObject(params['notifications']) ? params['notifications'] : undefined;
    if (wanted === undefined || endpoint === undefined) {
      throw new TollgateError('invalid_params', 'subscriptions/listen needs params.notifications, an object');
    }
    const honoured: Record<string, unknown> = {};
    const kinds = new Set<ListKind>();
    for (const [filter, kind] of Object.entries(FILTERS)) {
      if (wanted[filter] !== true || !endpoint.lists.includes(kind)) continue;
      honoured[filter] = true;
      kinds.add(kind);
    }
    const id = JSON.parse(call.message.raw(Field.id) ?? 'null') as unknown;
    const tagged = { [SUBSCRIPTION_ID]: id };
    const stream = {
      call,
      endpoint: call.endpoint,
      kinds,
      resources: new Map<string, ResourceWatch>(),
      lifetime: call.lifetime,
      scope: call,
      deliver(method: string, members: Record<string, unknown>): void {
        const meta = isObject(members['_meta']) ? members['_meta'] : {};
        const message = { jsonrpc: '2.0', method, params: { ...members, _meta: { ...meta, ...tagged } } };
        call.reply.notify(encode(message));
      },
    };
    const uris: unknown[] = Array.isArray(wanted['resourceSubscriptions']) ? wanted['resourceSubscriptions'] : [];
    const texts = [...new Set(uris.slice(0, MAX_RESOURCES))].filter((uri) => typeof uri === 'string');
    // All at once: they then cost the server one new stream, and one that it does not answer holds up no other.
    const taken = await Promise.all(texts.map((uri) => this.#watch(stream, endpoint, uri)));
    const accepted = texts.filter((_, index) => taken[index] === true);
    if (accepted.length > 0) honoured['resourceSubscriptions'] = accepted;
    if (call.lifetime.over) {
      unwatchAll(stream);
      call.reply.respond(completion(call));
      return;
    }
    // The graceful end of a subscription is its completion result; a client that has left does not see it.
    call.lifetime.onEnd(() => {
      this.#streams.delete(stream);
      unwatchAll(stream);
      call.reply.respond(completion(call));
    });
    stream.deliver('notifications/subscriptions/acknowledged', { notifications: honoured });
    this.#streams.add(stream);
  }

  /** Serves legacy `resources/subscribe`. */
  async subscribe(session: ClientSession, uri: string): Promise<void> {
    const endpoint = this.#endpoints.get(session.endpoint);
    const subscriber = this.#subscriberOf(session);
    if (subscriber.resources.has(uri)) return;
    if (subscriber.resources.size >= MAX_RESOURCES) {
      throw new TollgateError('invalid_params', `A session can subscribe to at most ${MAX_RESOURCES} resources`);
    }
    if (endpoint === undefined || !(await this.#watch(subscriber, endpoint, uri))) {
      throw new TollgateError('unknown_name', `Resource not found or without subscriptions: ${uri}`, { data: { uri } });
    }
  }

  unsubscribe(session: ClientSession, uri: string): void {
    const watch = this.#sessions.get(session)?.resources.get(uri);
    if (watch === undefined) return;
    this.#sessions.get(session)?.resources.delete(uri);
    watch.stop();
  }

  /** From `initialize` on a session hears of every list change. */
  opened(session: ClientSession): void {
    this.#subscriberOf(session);
  }

  /** The advertised list of an endpoint changed. */
  listChanged(endpoint: string, kind: ListKind): void {
    for (const subscriber of this.#subscribers()) {
      if (subscriber.endpoint === endpoint && subscriber.kinds.has(kind)) subscriber.deliver(CHANGED[kind], {});
    }
  }

  /** Something a server said outside any request, for those whom it concerns and nobody else. */
  serverEvent(server: Server, event: ServerEvent): void {
    if (event.type === 'resource_updated') {
      const params = event.message.json(Field.params);
      for (const subscriber of this.#subscribers()) {
        const watch = subscriber.resources.get(event.uri);
        if (watch === undefined || watch.server !== server.name) continue;
        // A connection of its own per caller: an update is for those whose connection it came on.
        if (event.connection !== undefined && event.connection !== server.current(subscriber.scope)) continue;
        subscriber.deliver('notifications/resources/updated', isObject(params) ? params : { uri: event.uri });
      }
    } else if (event.type === 'log') {
      event.scope?.session?.notify(event.message);
    } else if (event.type === 'request') {
      // The catalog declines what is asked on its own connection.
      if (event.scope.purpose === 'call') this.#askSession(event);
    } else if (event.type === 'request_withdrawn') {
      this.#withdraw.get(event.message)?.('The server withdrew its request');
    }
  }

  /** A server's request outside any call: put to the legacy session whose connection it is, else declined. */
  #askSession(event: Extract<ServerEvent, { type: 'request' }>): void {
    const session = event.scope.session;
    const params = event.message.json(Field.params);
    if (session === undefined || session.era !== 'legacy') {
      event.answer(new TollgateError('not_bridgeable', 'No client of this connection can be asked outside a call'));
      return;
    }
    if (
      missingCapability(event.message.method, isObject(params) ? params : undefined, session.capabilities) !== undefined
    ) {
      event.answer(new TollgateError('method_not_found', 'The client did not declare this capability'));
      return;
    }
    const withdraw = session.ask(event.message.method, event.message.raw(Field.params), event.answer);
    if (withdraw === undefined) {
      event.answer(new TollgateError('not_bridgeable', 'The client has no stream open on which it could be asked'));
    } else {
      this.#withdraw.set(event.message, withdraw);
    }
  }

  /** Streams and sessions that their owners could not open again end, and with them their calls. */
  revoke(gone: (principal: Principal, endpoint: string) => TollgateError | undefined): void {
    const listening = [...this.#streams].map(({ call }) => call);
    for (const { principal, endpoint, lifetime } of [...listening, ...this.#sessions.keys()]) {
      const why = gone(principal, endpoint);
      if (why !== undefined) lifetime.end(why);
    }
  }

  /** After a reload: resources are watched at the servers as they are now. */
  async rebind(): Promise<void> {
    for (const subscriber of this.#subscribers()) {
      const endpoint = this.#endpoints.get(subscriber.endpoint);
      for (const [uri, watch] of [...subscriber.resources]) {
        const owner = endpoint?.serverOf(uri, subscriber.scope.principal);
        if (owner !== undefined && watch.connection === owner.current(subscriber.scope)) continue;
        watch.stop();
        subscriber.resources.delete(uri);
        if (endpoint !== undefined) await this.#watch(subscriber, endpoint, uri);
      }
    }
  }

  async #watch(subscriber: Subscriber, endpoint: Subscribable, uri: string): Promise<boolean> {
    const server = endpoint.serverOf(uri, subscriber.scope.principal);
    if (server === undefined) return false;
    try {
      const stop = await server.subscribe(uri, subscriber.scope);
      // Meanwhile it may have left, or have asked for the same once more: one way to stop is kept of each resource.
      if (subscriber.lifetime.over || subscriber.resources.has(uri)) stop();
      else {
        subscriber.resources.set(uri, { server: server.name, connection: server.current(subscriber.scope), stop });
      }
      return true;
    } catch (error) {
      this.#log.info(
        { server: server.name, uri, reason: TollgateError.from(error).message },
        'resource cannot be watched',
      );
      return false;
    }
  }

  #subscriberOf(session: ClientSession): Subscriber {
    const known = this.#sessions.get(session);
    if (known !== undefined) return known;
    const subscriber: Subscriber = {
      endpoint: session.endpoint,
      kinds: new Set<ListKind>(['tools', 'prompts', 'resources']),
      resources: new Map(),
      lifetime: session.lifetime,
      scope: { era: 'legacy', principal: session.principal, session, purpose: 'call' },
      deliver: (method, params) => {
        const members = Object.keys(params).length === 0 ? {} : { params };
        session.notify(encode({ jsonrpc: '2.0', method, ...members }));
      },
    };
    this.#sessions.set(session, subscriber);
    session.lifetime.onEnd(() => {
      this.#sessions.delete(session);
      unwatchAll(subscriber);
    });
    return subscriber;
  }

  *#subscribers(): Generator<Subscriber> {
    yield* this.#streams;
    yield* this.#sessions.values();
  }
}

function unwatchAll(subscriber: Subscriber): void {
  for (const watch of subscriber.resources.values()) watch.stop();
  subscriber.resources.clear();
}

function completion(call: Call): Buffer {
  const id = call.message.raw(Field.id) ?? 'null';
  return resultBytes(id, `{"resultType":"complete","_meta":{"${SUBSCRIPTION_ID}":${id}}}`);
}

/** Reads the `uri` of a legacy subscribe request. */
export function uriOf(message: Message): string {
  const uri = message.string(Field.uri);
  if (uri === undefined) throw new TollgateError('invalid_params', `${message.method} needs params.uri, a string`);
  return uri;
}
