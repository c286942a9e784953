/**
 * Streamable HTTP of 2026-07-28: stateless. Every POST is decided alone, a session id is ignored and never echoed,
 * and closing the response is the cancellation of the call.
 */
import { TollgateError } from '../core/errors.ts';
import { Lifetime } from '../core/lifetime.ts';
import type { Principal } from '../core/principal.ts';
import { type AnswerListener, Call, type Reply, type ResponseHead } from '../protocol/call.ts';
import { checkMirroredHeaders, checkVersionHeader, decodeParamHeaders } from '../protocol/headers.ts';
import { responseBytes, responseSlices } from '../protocol/json/splice.ts';
import { Field, Message } from '../protocol/message.ts';
import { checkModernRequest } from '../protocol/modern/request.ts';
import { encodeEvent } from '../protocol/sse.ts';
import { LATEST_MODERN } from '../protocol/versions.ts';
import { type Accepted, accepted } from './accept.ts';
import { CredentialEnd } from './credential-end.ts';
import { cannotAsk, clientLeft, type Edge, type OpenCall, type Posted } from './edge.ts';
import { type Exchange, SMALL } from './exchange.ts';
import type { EventStream } from './stream.ts';

/** As JSON text: known without making a string of what was sent. */
const LATEST = JSON.stringify(LATEST_MODERN);

/** Checks and runs one modern message. */
export function serveModern(edge: Edge, posted: Posted): void {
  const { exchange, head, message, endpoint, principal } = posted;
  if (message.kind !== 'request') {
    // This revision defines no header rules for a posted notification, and none that means anything here.
    endpoint.notified(message, undefined, principal);
    exchange.empty(202);
    return;
  }
  const id = message.raw(Field.id)!;
  const wrong = checkVersionHeader(message, head) ?? checkModernRequest(message) ?? checkMirroredHeaders(message, head);
  if (wrong !== undefined) {
    exchange.refuse(wrong, id);
    return;
  }
  const params = head.params === undefined ? undefined : decodeParamHeaders(head.params);
  if (TollgateError.is(params)) {
    exchange.refuse(params, id);
    return;
  }
  const forms = accepted(head.accept);
  const refused = message.method === 'subscriptions/listen' ? admitListen(edge, forms, principal) : undefined;
  if (refused !== undefined) {
    exchange.refuse(refused, id);
    return;
  }
  const reply = new ModernReply(edge, exchange, forms, message.method, id, principal.key);
  if (principal.expiresAt !== undefined && message.method === 'subscriptions/listen') reply.endWith(principal);
  endpoint.handle(
    new Call({
      message,
      era: 'modern',
      version: message.spells(Field.protocolVersion, LATEST)
        ? LATEST_MODERN
        : (message.string(Field.protocolVersion) ?? ''),
      endpoint: endpoint.path,
      principal,
      session: undefined,
      transport: 'http',
      lifetime: reply.lifetime,
      reply,
      paramHeaders: params,
      address: posted.address,
      startedAt: posted.startedAt,
    }),
  );
}

function admitListen(edge: Edge, forms: Accepted, principal: Principal): TollgateError | undefined {
  if (!forms.stream)
    return new TollgateError('not_acceptable', 'subscriptions/listen needs `Accept: text/event-stream`.');
  return edge.streams.admit(principal.key);
}

/** Answers as JSON, unless something is said before the end: then as an event stream. */
class ModernReply implements Reply, OpenCall {
  readonly canAsk = false;
  readonly lifetime = new Lifetime();
  readonly method: string;
  place = -1;
  readonly #edge: Edge;
  readonly #exchange: Exchange;
  readonly #forms: Accepted;
  readonly #id: string;
  readonly #principalKey: number;
  #stream: EventStream | undefined;
  #credential: CredentialEnd | undefined;
  #done = false;

  constructor(edge: Edge, exchange: Exchange, forms: Accepted, method: string, id: string, principalKey: number) {
    this.#edge = edge;
    this.#exchange = exchange;
    this.#forms = forms;
    this.method = method;
    this.#id = id;
    this.#principalKey = principalKey;
    edge.calls.add(this);
    exchange.whenGone(() => this.lifetime.end(clientLeft()));
  }

  /** The stream lasts no longer than the credential. */
  endWith(principal: Principal): void {
    this.#credential = new CredentialEnd(this.#edge.clock, this.lifetime, principal);
  }

  notify(message: Message): void {
    if (this.#done || !this.#forms.stream) return;
    this.#open()?.send(encodeEvent(message.bytes));
  }

  /** Servers never send requests in this era; the pipeline bridges them into an input-required result. */
  ask(_method: string, _params: string | undefined, listener: AnswerListener): (reason: string) => void {
    listener(cannotAsk());
    return () => {};
  }

  respond(body: Message | Buffer, head?: ResponseHead): void {
    if (this.#done) return;
    this.#done = true;
    this.#edge.calls.delete(this);
    this.#credential?.stop();
    this.lifetime.release();
    if (body instanceof Message && body.length > SMALL && this.#stream === undefined && this.#forms.json) {
      this.#exchange.json(responseSlices(body, this.#id), head);
      return;
    }
    const bytes = body instanceof Message ? responseBytes(body, this.#id) : body;
    if (this.#stream !== undefined) this.#stream.end(encodeEvent(bytes));
    // A challenge is told by its status, which an event stream no longer has.
    else if (this.#forms.json || (head?.status ?? 200) !== 200) this.#exchange.json(bytes, head);
    else this.#open()?.end(encodeEvent(bytes));
  }

  #open(): EventStream | undefined {
    if (this.#stream === undefined && !this.#exchange.started) {
      this.#stream = this.#exchange.stream(this.#edge.streams, this.#principalKey);
      this.#stream.whenOverflow((reason) => this.lifetime.end(reason));
    }
    return this.#stream;
  }
}
