/**
 * A modern client's call on a legacy server. A server-to-client request that arrives during the call parks it: the
 * client gets `input_required` with a sealed state, and its next round is joined with the call that still waits
 * upstream. This is stateful by nature, so it is bounded in count, per caller and in time.
 */

import type { Clock } from '../../core/clock.ts';
import { afterSending, TollgateError } from '../../core/errors.ts';
import { randomId } from '../../core/ids.ts';
import { Lifetime } from '../../core/lifetime.ts';
import type { AnswerListener, Call } from '../call.ts';
import { encode } from '../json/splice.ts';
import { Field, type Message } from '../message.ts';
import { modernResult } from '../modern/result.ts';
import type { Connection } from '../peer.ts';
import { type Capabilities, isBridgeable, missingCapability, paramsForModernClient } from './client-requests.ts';
import { isObject, legacyParams } from './meta.ts';
import type { Destination, Outcome } from './outcome.ts';
import { callDigest, invalidState, type SealedState, StateSeal } from './seal.ts';

export interface ParkingOptions {
  /** Milliseconds a parked call waits for the client's next round. Default 5 minutes. */
  readonly ttl: number;
  /** Parked calls in all, and of one principal. Defaults 1,000 and 50. */
  readonly max: number;
  readonly maxPerPrincipal: number;
}

export const DEFAULT_PARKING: ParkingOptions = { ttl: 300_000, max: 1000, maxPerPrincipal: 50 };

/** Methods whose result may be `input_required` (MCP 2026-07-28). */
const MAY_ASK: ReadonlySet<string> = new Set(['tools/call', 'prompts/get', 'resources/read']);
/** Legacy error: the caller must visit URLs first, then repeat the call. */
const URL_ELICITATION_REQUIRED = -32042;

type Json = Record<string, unknown>;

/** All calls of modern clients that run on legacy servers, parked or attached. */
export class ParkedCalls {
  readonly options: ParkingOptions;
  readonly clock: Clock;
  /** A parked call lives in this process only, so its state is sealed under a key of this process. */
  readonly #seal = new StateSeal<SealedState>({ prefix: 'tg1.', maxLength: 2048 });
  readonly #parked = new Map<string, Conversation>();
  readonly #perPrincipal = new Map<string, number>();

  constructor(clock: Clock, options: ParkingOptions = DEFAULT_PARKING) {
    this.clock = clock;
    this.options = options;
  }

  get size(): number {
    return this.#parked.size;
  }

  /**
   * Runs a modern call on a legacy connection; a round that carries a state of ours continues its parked call.
   * `input_state_invalid` when the state is forged, expired, used twice, or belongs to another call.
   */
  run(call: Call, connection: Connection, destination: Destination, outcome: Outcome): void {
    const message = call.outbound ?? call.message;
    const sealed = message.string(Field.requestState);
    if (sealed === undefined) {
      if (message.has(Field.requestState)) outcome.failed(invalidState());
      else new Conversation(this, call, connection).start(call, destination, outcome);
      return;
    }
    const state = this.#seal.open(sealed, this.clock.wall());
    if (state === undefined || !sameCall(state, call)) {
      outcome.failed(invalidState());
      return;
    }
    if (state.conversation === '') {
      new Conversation(this, call, connection).start(call, destination, outcome);
      return;
    }
    const conversation = this.#parked.get(state.conversation);
    if (conversation === undefined || conversation.round !== state.round) {
      outcome.failed(invalidState());
      return;
    }
    this.#unpark(conversation);
    conversation.resume(call, outcome);
  }

  /** Parks; false when there is no room. */
  park(conversation: Conversation): boolean {
    const mine = this.#perPrincipal.get(conversation.principal) ?? 0;
    if (this.#parked.size >= this.options.max || mine >= this.options.maxPerPrincipal) return false;
    this.#parked.set(conversation.id, conversation);
    this.#perPrincipal.set(conversation.principal, mine + 1);
    return true;
  }

  drop(conversation: Conversation): void {
    if (this.#parked.get(conversation.id) === conversation) this.#unpark(conversation);
  }

  stateFor(call: Call, conversation: string, round: number): string {
    return this.#seal.seal({
      conversation,
      principal: call.principal.id,
      endpoint: call.endpoint,
      method: call.method,
      digest: callDigest(call),
      round,
      expires: this.clock.wall() + this.options.ttl,
    });
  }

  close(reason: TollgateError): void {
    for (const conversation of [...this.#parked.values()]) conversation.abandon(reason);
  }

  #unpark(conversation: Conversation): void {
    this.#parked.delete(conversation.id);
    const mine = (this.#perPrincipal.get(conversation.principal) ?? 1) - 1;
    if (mine === 0) this.#perPrincipal.delete(conversation.principal);
    else this.#perPrincipal.set(conversation.principal, mine);
  }
}

interface Ask {
  readonly request: Message;
  readonly method: string;
  readonly params: Json | undefined;
  readonly answer: AnswerListener;
}

interface Attached {
  readonly call: Call;
  readonly outcome: Outcome;
  readonly unlink: () => void;
}

/** One logical call: one request upstream, one or more rounds with the client. */
class Conversation {
  readonly id = randomId(16);
  readonly principal: string;
  round = 0;
  readonly #owner: ParkedCalls;
  readonly #connection: Connection;
  /** Of the request upstream; it outlives the rounds. */
  readonly #lifetime = new Lifetime();
  readonly #asks = new Map<string, Ask>();
  #attached: Attached | undefined;
  #flushing = false;
  #nextKey = 0;
  /** While parked: the end of waiting for the client. Kept until then it would keep all of this alive. */
  #expiry: NodeJS.Timeout | undefined;
  /** How the server ended the call while no client was attached. */
  #ended: Message | TollgateError | undefined;

  constructor(owner: ParkedCalls, call: Call, connection: Connection) {
    this.#owner = owner;
    this.#connection = connection;
    this.principal = call.principal.id;
  }

  start(call: Call, destination: Destination, outcome: Outcome): void {
    this.#attach(call, outcome);
    openLevel(this.#connection, call.message.string(Field.logLevel));
    const message = encode({
      jsonrpc: '2.0',
      id: 0,
      method: call.method,
      params: legacyParams((call.outbound ?? call.message).object()['params']),
    });
    this.#connection.request(
      { ...destination, message, paramHeaders: undefined, lifetime: this.#lifetime, principal: call.principal },
      {
        onNotification: (notification) => this.#notified(notification),
        onServerRequest: (request, answer) => this.#asked(request, answer),
        onServerRequestWithdrawn: (request) => this.#withdrawn(request),
        onResponse: (response) => this.#finished(response),
        onFailure: (error) => this.#finished(error),
      },
    );
  }

  /** The client's next round: its answers go up; what it left open is asked again (MCP: ask again, not an error). */
  resume(call: Call, outcome: Outcome): void {
    this.#attach(call, outcome);
    const answers = call.message.json(Field.inputResponses);
    if (isObject(answers)) {
      for (const [key, ask] of [...this.#asks]) {
        const answer = Object.hasOwn(answers, key) ? answers[key] : undefined;
        if (!isObject(answer)) continue;
        this.#asks.delete(key);
        ask.answer(encode({ jsonrpc: '2.0', id: 0, result: answer }));
      }
    }
    // What was asked while nobody was there is put to this round only where this round can take it.
    for (const [key, ask] of [...this.#asks]) {
      const refusal = this.#refusal(ask, call);
      if (refusal === undefined) continue;
      this.#asks.delete(key);
      ask.answer(refusal);
    }
    if (this.#ended !== undefined) this.#finished(this.#ended);
    else if (this.#asks.size > 0) this.#flush();
  }

  /** Nobody comes back: the server's questions are declined and the request upstream is cancelled. */
  abandon(reason: TollgateError): void {
    clearTimeout(this.#expiry);
    this.#owner.drop(this);
    for (const ask of this.#asks.values()) ask.answer(reason);
    this.#asks.clear();
    this.#lifetime.end(reason);
  }

  #attach(call: Call, outcome: Outcome): void {
    clearTimeout(this.#expiry);
    const unlink = call.lifetime.onEnd((reason) => {
      this.#attached = undefined;
      this.abandon(reason);
      outcome.failed(afterSending(reason));
    });
    this.#attached = { call, outcome, unlink };
  }

  #detach(): Attached | undefined {
    const attached = this.#attached;
    this.#attached = undefined;
    attached?.unlink();
    return attached;
  }

  #notified(notification: Message): void {
    const call = this.#attached?.call;
    if (call === undefined) return;
    if (notification.method === 'notifications/message' && !this.#wantsLog(call, notification)) return;
    if (notification.method === 'notifications/progress') this.#progressed(call, notification);
    else call.reply.notify(notification);
  }

  /** The server knows the token of the first round only; the client waits for that of the round it sent last. */
  #progressed(call: Call, notification: Message): void {
    const token = call.message.raw(Field.metaProgressToken);
    const { params, ...envelope } = notification.object();
    if (token === undefined || !isObject(params)) return;
    if (this.round === 0) call.reply.notify(notification);
    else call.reply.notify(encode({ ...envelope, params: { ...params, progressToken: JSON.parse(token) } }));
  }

  /** Without a log level in this very request a server must not log to it (MCP 2026-07-28, logging). */
  #wantsLog(call: Call, notification: Message): boolean {
    const wanted = call.message.string(Field.logLevel);
    if (wanted === undefined) return false;
    const params = notification.json(Field.params);
    const level = isObject(params) ? params['level'] : undefined;
    return LOG_LEVELS.indexOf(String(level)) >= LOG_LEVELS.indexOf(wanted);
  }

  #asked(request: Message, answer: AnswerListener): void {
    const params = request.json(Field.params);
    const ask: Ask = { request, method: request.method, params: isObject(params) ? params : undefined, answer };
    const call = this.#attached?.call;
    const refusal = this.#refusal(ask, call);
    if (refusal !== undefined) {
      answer(refusal);
      return;
    }
    this.#asks.set(`q${++this.#nextKey}`, ask);
    if (call === undefined || this.#flushing) return;
    // Servers often ask several things at once; one turn of the loop lets them travel in one round.
    this.#flushing = true;
    setImmediate(() => this.#flush());
  }

  /** The server no longer wants to know; a client that answers all the same is not wrong. */
  #withdrawn(request: Message): void {
    for (const [key, ask] of this.#asks) if (ask.request === request) this.#asks.delete(key);
  }

  #refusal(ask: Ask, call: Call | undefined): TollgateError | undefined {
    if (!isBridgeable(ask.method)) {
      return new TollgateError('method_not_found', `${ask.method} cannot be put to a 2026-07-28 client`);
    }
    if (call === undefined) return undefined;
    if (!MAY_ASK.has(call.method)) {
      return new TollgateError('not_bridgeable', `A result of ${call.method} cannot ask for input`);
    }
    const declared = call.message.json(Field.clientCapabilities);
    const missing = missingCapability(ask.method, ask.params, (isObject(declared) ? declared : {}) as Capabilities);
    return missing === undefined
      ? undefined
      : new TollgateError('method_not_found', `The client of this request did not declare ${Object.keys(missing)[0]}`);
  }

  #flush(): void {
    this.#flushing = false;
    const attached = this.#attached;
    if (attached === undefined || this.#asks.size === 0) return;
    this.round++;
    if (!this.#owner.park(this)) {
      const error = new TollgateError('server_busy', 'Too many calls wait for input of their clients', {
        executed: 'unknown',
      });
      this.#detach();
      this.abandon(error);
      attached.outcome.failed(error);
      return;
    }
    this.#detach();
    const inputRequests: Json = {};
    for (const [key, ask] of this.#asks) {
      inputRequests[key] = { method: ask.method, params: paramsForModernClient(ask.method, ask.params) };
    }
    const requestState = this.#owner.stateFor(attached.call, this.id, this.round);
    this.#expireAfter(this.#owner.options.ttl);
    attached.outcome.responded(inputRequired({ inputRequests, requestState }));
  }

  #expireAfter(ms: number): void {
    this.#expiry = setTimeout(() => {
      this.abandon(
        new TollgateError('deadline_exceeded', 'The client did not answer in time', { executed: 'unknown' }),
      );
    }, ms);
    this.#expiry.unref();
  }

  #finished(end: Message | TollgateError): void {
    const attached = this.#detach();
    if (attached === undefined) {
      this.#ended ??= end;
      this.#asks.clear();
      return;
    }
    this.#owner.drop(this);
    this.#lifetime.release();
    if (TollgateError.is(end)) {
      attached.outcome.failed(this.round === 0 ? end : afterSending(end));
      return;
    }
    if (end.kind === 'error') {
      this.#errored(end, attached);
      return;
    }
    const result = end.json(Field.result);
    if (!isObject(result)) {
      attached.outcome.failed(
        new TollgateError('server_protocol_error', 'The result of the server is not an object', { executed: 'yes' }),
      );
      return;
    }
    attached.outcome.responded(encode({ jsonrpc: '2.0', id: 0, result: modernResult(attached.call.method, result) }));
  }

  #errored(message: Message, attached: Attached): void {
    const error = message.json(Field.error);
    const { call, outcome } = attached;
    if (!isObject(error)) {
      outcome.responded(message);
      return;
    }
    if (error['code'] === URL_ELICITATION_REQUIRED && MAY_ASK.has(call.method)) {
      const inputRequests = urlRequests(error['data']);
      const declared = call.message.json(Field.clientCapabilities);
      const missing = missingCapability('elicitation/create', { mode: 'url' }, isObject(declared) ? declared : {});
      if (missing !== undefined) {
        outcome.failed(
          new TollgateError('missing_client_capability', 'This call needs URL elicitation', {
            data: { requiredCapabilities: missing },
            // The server was asked: a client that leaves the capability out could ask it again and again for nothing.
            executed: 'yes',
          }),
        );
        return;
      }
      // Nothing waits upstream: the next round is simply the call again.
      outcome.responded(inputRequired({ inputRequests, requestState: this.#owner.stateFor(call, '', 0) }));
      return;
    }
    // -32002 ("resource not found") must not be emitted by a 2026-07-28 server; its place is -32602.
    outcome.responded(
      error['code'] === -32002 ? encode({ jsonrpc: '2.0', id: 0, error: { ...error, code: -32602 } }) : message,
    );
  }
}

/** Most verbose first. */
const LOG_LEVELS = ['debug', 'info', 'notice', 'warning', 'error', 'critical', 'alert', 'emergency'];
const openLevels = new WeakMap<Connection, number>();

/**
 * A connection that several calls share logs at the most verbose level that one of them asked for; each call then
 * takes its own part.
 */
function openLevel(connection: Connection, level: string | undefined): void {
  if (level === undefined || connection.capabilities['logging'] === undefined) return;
  const wanted = LOG_LEVELS.indexOf(level);
  if (wanted < 0 || wanted >= (openLevels.get(connection) ?? LOG_LEVELS.length)) return;
  openLevels.set(connection, wanted);
  connection.setLogLevel?.(level);
}

function inputRequired(members: Json): Message {
  return encode({ jsonrpc: '2.0', id: 0, result: { resultType: 'input_required', ...members } });
}

function urlRequests(data: unknown): Json {
  const requests: Json = {};
  const list = isObject(data) && Array.isArray(data['elicitations']) ? data['elicitations'] : [];
  list.filter(isObject).forEach((elicitation, index) => {
    requests[`u${index + 1}`] = {
      method: 'elicitation/create',
      params: paramsForModernClient('elicitation/create', { mode: 'url', ...elicitation }),
    };
  });
  return requests;
}

function sameCall(state: SealedState, call: Call): boolean {
  return (
    state.principal === call.principal.id &&
    state.endpoint === call.endpoint &&
    state.method === call.method &&
    state.digest === callDigest(call)
  );
}
