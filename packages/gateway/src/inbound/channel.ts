/**
 * A client that says and hears everything on one channel: stdio, or the POSTs and the one stream of the 2024-11-05
 * transport. The channel's end is the end of all its calls.
 */
import type { Clock } from '../core/clock.ts';
import { TollgateError } from '../core/errors.ts';
import { Lifetime } from '../core/lifetime.ts';
import type { Principal } from '../core/principal.ts';
import {
  type AnswerListener,
  Call,
  type ClientSession,
  type Endpoint,
  type Face,
  type Reply,
  type TransportName,
} from '../protocol/call.ts';
import { errorBytes, requestBytes, responseBytes } from '../protocol/json/splice.ts';
import { Field, Message } from '../protocol/message.ts';
import { checkModernRequest } from '../protocol/modern/request.ts';
import { type Era, LATEST_LEGACY, LATEST_MODERN } from '../protocol/versions.ts';
import { cannotAsk, type OpenCall, type OpenCalls, shuttingDown } from './edge.ts';
import { type Handshake, negotiatedVersion, readHandshake } from './handshake.ts';
import { cancelled } from './legacy-http.ts';
import { PendingAsks } from './pending-asks.ts';
import { nextSessionKey } from './sessions.ts';
import { cancelBytes, idKey } from './wire.ts';

export interface ChannelInit {
  readonly id: string;
  readonly transport: TransportName;
  readonly principal: Principal;
  readonly endpoint: string;
  readonly face: () => Face;
  readonly clock: Clock;
  /** Of the client's socket; undefined on stdio. */
  readonly address?: string | undefined;
  readonly calls: OpenCalls;
  /** Requests that may run at a time. */
  readonly maxCalls: number;
  /** Writes one message. False: the channel is closed. */
  readonly send: (message: Buffer) => boolean;
}

export class ChannelClient {
  readonly lifetime = new Lifetime();
  readonly #init: ChannelInit;
  readonly #asks = new PendingAsks();
  readonly #calls = new Map<string, ChannelReply>();
  readonly #modern: ChannelSession;
  #legacy: ChannelSession | undefined;

  constructor(init: ChannelInit) {
    this.#init = init;
    this.#modern = new ChannelSession(this, init, 'modern', undefined);
    this.lifetime.onEnd((reason) => {
      for (const call of [...this.#calls.values()]) call.lifetime.end(reason);
      this.#asks.failAll(reason);
    });
  }

  get calls(): number {
    return this.#calls.size;
  }

  /** Handles one scanned message. `principal` is the one identified for it. */
  receive(message: Message, principal: Principal): void {
    if (message.kind === 'result' || message.kind === 'error') {
      this.#asks.answer(message);
      return;
    }
    const endpoint = this.#init.face().endpoint(this.#init.endpoint);
    const era: Era = message.has(Field.protocolVersion) ? 'modern' : 'legacy';
    if (message.kind === 'notification') {
      if (message.method === 'notifications/cancelled') cancelled(message, (key) => this.#calls.get(key)?.cancelled());
      else if (this.#init.face().barred(principal) !== undefined) return;
      else endpoint?.notified(message, era === 'modern' ? this.#modern : this.#legacy, principal);
      return;
    }
    const id = message.raw(Field.id)!;
    const session = this.#admit(message, id, era, endpoint);
    if (session instanceof Error) {
      this.send(errorBytes(id, session.rpc, session.message, session.data));
      return;
    }
    this.#run(message, id, era, session, principal, endpoint!);
  }

  send(message: Buffer): boolean {
    return !this.lifetime.over && this.#init.send(message);
  }

  ask(method: string, params: string | undefined, listener: AnswerListener): (reason: string) => void {
    const id = this.#asks.add(listener);
    if (id === undefined) return () => {};
    if (!this.send(requestBytes(id, method, params))) {
      this.#asks.fail(id, cannotAsk());
      return () => {};
    }
    return (reason) => {
      if (this.#asks.withdraw(id)) this.send(cancelBytes(id, reason));
    };
  }

  /** Called by a reply when its call is over. */
  closed(reply: ChannelReply): void {
    this.#calls.delete(reply.key);
    this.#init.calls.delete(reply);
  }

  /** The handshake succeeded: requests of the legacy era are served in its session from here on. */
  opened(session: ChannelSession): void {
    this.#legacy = session;
  }

  /** The session a request belongs to, or why it is refused. */
  #admit(message: Message, id: string, era: Era, endpoint: Endpoint | undefined): ChannelSession | TollgateError {
    const face = this.#init.face();
    if (face.draining) return shuttingDown();
    const barred = face.barred(this.#init.principal, this.#init.endpoint);
    if (barred !== undefined) return barred;
    if (endpoint === undefined) return new TollgateError('not_found', 'This endpoint is no longer served.');
    if (this.#calls.has(idKey(id))) {
      return new TollgateError('invalid_request', `A request with the id ${id} is still running.`);
    }
    if (this.#calls.size >= this.#init.maxCalls) {
      return new TollgateError('too_many_streams', `${this.#calls.size} requests are running on this channel already.`);
    }
    if (era === 'modern') return checkModernRequest(message) ?? this.#modern;
    if (message.method === 'initialize') {
      if (this.#legacy !== undefined)
        return new TollgateError('invalid_request', 'The session is initialized already.');
      const handshake = readHandshake(message);
      return handshake instanceof Error ? handshake : new ChannelSession(this, this.#init, 'legacy', handshake);
    }
    return (
      this.#legacy ??
      new TollgateError('session_required', 'Send `initialize` first, or a 2026-07-28 request with its `_meta`.')
    );
  }

  #run(
    message: Message,
    id: string,
    era: Era,
    session: ChannelSession,
    principal: Principal,
    endpoint: Endpoint,
  ): void {
    const opening = era === 'legacy' && message.method === 'initialize' ? session : undefined;
    const reply = new ChannelReply(this, message.method, id, era === 'legacy' && opening === undefined, opening);
    this.#calls.set(reply.key, reply);
    this.#init.calls.add(reply);
    endpoint.handle(
      new Call({
        message,
        era,
        version: era === 'modern' ? (message.string(Field.protocolVersion) ?? LATEST_MODERN) : session.version,
        endpoint: endpoint.path,
        principal,
        session,
        transport: this.#init.transport,
        lifetime: reply.lifetime,
        reply,
        paramHeaders: undefined,
        address: this.#init.address,
        startedAt: this.#init.clock.monotonic(),
      }),
    );
  }
}

class ChannelSession implements ClientSession {
  readonly id: string;
  readonly key = nextSessionKey();
  readonly era: Era;
  readonly principal: Principal;
  readonly endpoint: string;
  readonly clientInfo: unknown;
  readonly capabilities: Readonly<Record<string, unknown>>;
  readonly lifetime: Lifetime;
  version: string;
  logLevel: string | undefined = undefined;
  readonly #client: ChannelClient;

  constructor(client: ChannelClient, init: ChannelInit, era: Era, handshake: Handshake | undefined) {
    this.#client = client;
    this.id = init.id;
    this.era = era;
    this.principal = init.principal;
    this.endpoint = init.endpoint;
    this.clientInfo = handshake?.clientInfo;
    this.capabilities = handshake?.capabilities ?? {};
    this.version = handshake?.version ?? (era === 'modern' ? LATEST_MODERN : LATEST_LEGACY);
    this.lifetime = client.lifetime;
  }

  notify(message: Message): boolean {
    return this.#client.send(message.bytes);
  }

  ask(method: string, params: string | undefined, listener: AnswerListener): ((reason: string) => void) | undefined {
    return this.era === 'modern' || this.lifetime.over ? undefined : this.#client.ask(method, params, listener);
  }
}

class ChannelReply implements Reply, OpenCall {
  readonly canAsk: boolean;
  readonly lifetime = new Lifetime();
  readonly method: string;
  place = -1;
  readonly key: string;
  readonly #client: ChannelClient;
  readonly #id: string;
  readonly #opening: ChannelSession | undefined;
  #asks: Set<(reason: string) => void> | undefined;
  #unwanted = false;
  #done = false;

  constructor(client: ChannelClient, method: string, id: string, canAsk: boolean, opening: ChannelSession | undefined) {
    this.#client = client;
    this.method = method;
    this.#id = id;
    this.key = idKey(id);
    this.canAsk = canAsk;
    this.#opening = opening;
  }

  notify(message: Message): void {
    if (!this.#done && !this.#unwanted) this.#client.send(message.bytes);
  }

  ask(method: string, params: string | undefined, listener: AnswerListener): (reason: string) => void {
    if (!this.canAsk || this.#done || this.#unwanted) {
      listener(cannotAsk());
      return () => {};
    }
    let withdraw: (reason: string) => void = () => {};
    withdraw = this.#client.ask(method, params, (answer) => {
      this.#asks?.delete(withdraw);
      listener(answer);
    });
    this.#asks ??= new Set();
    this.#asks.add(withdraw);
    return withdraw;
  }

  respond(body: Message | Buffer): void {
    if (this.#done) return;
    this.#done = true;
    this.#client.closed(this);
    this.lifetime.release();
    for (const withdraw of this.#asks ?? []) withdraw('The call has ended.');
    const bytes = body instanceof Message ? responseBytes(body, this.#id) : body;
    if (this.#opening !== undefined) {
      const version = negotiatedVersion(bytes);
      if (version !== undefined) {
        this.#opening.version = version;
        this.#client.opened(this.#opening);
      }
    }
    // After its cancel a client must hear nothing more of a call (MCP, cancellation).
    if (!this.#unwanted) this.#client.send(bytes);
  }

  cancelled(): void {
    this.#unwanted = true;
    this.lifetime.end(new TollgateError('cancelled', 'The client cancelled the call.', { executed: 'unknown' }));
  }
}
