/**
 * The HTTP+SSE transport of 2024-11-05: a GET opens the one stream of a client and names the path to post to; every
 * answer comes on the stream. Served at `<endpoint>/sse` and `<endpoint>/messages/`, and for `/mcp` also at `/sse`
 * and `/messages/`.
 */
import type { IncomingMessage } from 'node:http';
import { TollgateError } from '../core/errors.ts';
import { newSessionId } from '../core/ids.ts';
import type { Principal } from '../core/principal.ts';
import type { Endpoint, Face } from '../protocol/call.ts';
import { Field } from '../protocol/message.ts';
import { encodeEvent } from '../protocol/sse.ts';
import { LEGACY_VERSIONS } from '../protocol/versions.ts';
import { accepted } from './accept.ts';
import { ChannelClient } from './channel.ts';
import { CredentialEnd } from './credential-end.ts';
import { clientLeft, type Edge, shuttingDown } from './edge.ts';
import type { Exchange } from './exchange.ts';
import { receive } from './receive.ts';
import type { RequestHead } from './request-head.ts';

export interface SseRoute {
  readonly endpoint: Endpoint;
  readonly what: 'stream' | 'messages';
  /** Path of the endpoint's messages, as this client was or will be told. */
  readonly messages: string;
}

interface SseClient {
  readonly id: string;
  readonly channel: ChannelClient;
  readonly principal: Principal;
  readonly credential: CredentialEnd;
  readonly endpoint: string;
}

const SUFFIX = /^(.*)\/(sse|messages)\/?$/;

export class LegacySse {
  readonly #edge: Edge;
  readonly #clients = new Map<string, SseClient>();

  constructor(edge: Edge) {
    this.#edge = edge;
  }

  get sessions(): number {
    return this.#clients.size;
  }

  close(): void {
    for (const { channel } of [...this.#clients.values()]) channel.lifetime.end(shuttingDown());
  }

  /** What of this transport is served at a path. */
  route(path: string, face: Face): SseRoute | undefined {
    const match = SUFFIX.exec(path);
    if (match === null) return undefined;
    const base = match[1] === '' ? '/mcp' : match[1]!;
    const endpoint = face.endpoint(base);
    if (endpoint === undefined) return undefined;
    return { endpoint, what: match[2] === 'sse' ? 'stream' : 'messages', messages: `${match[1]}/messages/` };
  }

  /** Id of the stream that a post belongs to, when it is the caller's own on this endpoint. */
  sessionOf(request: IncomingMessage, principal: Principal, endpoint: Endpoint): string | undefined {
    return this.#clientOf(request, principal, endpoint)?.id;
  }

  serve(request: IncomingMessage, exchange: Exchange, head: RequestHead, route: SseRoute, principal: Principal): void {
    const method = route.what === 'stream' ? 'GET' : 'POST';
    if (request.method !== method) {
      exchange.refuse(new TollgateError('method_not_allowed', `Only ${method} is served here.`), undefined, [
        ['allow', method],
      ]);
    } else if (route.what === 'stream') this.#open(exchange, head, route, principal);
    else this.#post(request, exchange, head, route, principal);
  }

  #open(exchange: Exchange, head: RequestHead, route: SseRoute, principal: Principal): void {
    const refused = accepted(head.accept).stream
      ? this.#edge.streams.admit(principal.key)
      : new TollgateError('not_acceptable', 'A GET needs `Accept: text/event-stream`.');
    if (refused !== undefined) {
      exchange.refuse(refused);
      return;
    }
    const id = newSessionId();
    const stream = exchange.stream(this.#edge.streams, principal.key);
    const channel = new ChannelClient({
      id,
      transport: 'sse',
      principal,
      endpoint: route.endpoint.path,
      face: this.#edge.face,
      clock: this.#edge.clock,
      address: head.address,
      calls: this.#edge.calls,
      maxCalls: this.#edge.options.caps.streamsPerPrincipal,
      send: (message) => stream.send(encodeEvent(message)),
    });
    const credential = new CredentialEnd(this.#edge.clock, channel.lifetime, principal);
    this.#clients.set(id, { id, channel, principal, credential, endpoint: route.endpoint.path });
    channel.lifetime.onEnd(() => {
      this.#clients.delete(id);
      stream.end();
    });
    // Nothing can be fetched later in this transport: with the stream its calls lose their reader, and end.
    exchange.whenGone(() => channel.lifetime.end(clientLeft()));
    stream.whenOverflow((reason) => channel.lifetime.end(reason));
    stream.send(Buffer.from(`event: endpoint\ndata: ${route.messages}?session_id=${id}\n\n`));
  }

  #post(request: IncomingMessage, exchange: Exchange, head: RequestHead, route: SseRoute, principal: Principal): void {
    const client = this.#clientOf(request, principal, route.endpoint);
    if (client === undefined) {
      exchange.refuse(new TollgateError('session_not_found', 'No such session. Open the event stream first.'));
      return;
    }
    client.credential.renewed(principal);
    receive(this.#edge, request, exchange, head, { endpoint: route.endpoint, principal }, (message, sender) => {
      if (message.kind === 'request' && message.has(Field.protocolVersion)) {
        exchange.refuse(
          new TollgateError('unsupported_version', 'This transport serves legacy versions only.', {
            data: { supported: [...LEGACY_VERSIONS], requested: message.json(Field.protocolVersion) },
          }),
          message.raw(Field.id),
        );
        return;
      }
      exchange.empty(202);
      client.channel.receive(message, sender.principal);
    });
  }

  #clientOf(request: IncomingMessage, principal: Principal, endpoint: Endpoint): SseClient | undefined {
    const id = /[?&](?:session_id|sessionId)=([a-z0-9]{1,64})(?:&|$)/.exec(request.url ?? '')?.[1];
    const client = id === undefined ? undefined : this.#clients.get(id);
    const own = client?.principal.key === principal.key && client.endpoint === endpoint.path;
    return own ? client : undefined;
  }
}
