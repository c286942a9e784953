/**
 * A legacy client's call on a modern server: the session's state becomes request metadata, and a server that needs
 * input is served by real server-to-client requests on the caller's stream, round by round.
 */
import { afterSending, TollgateError } from '../../core/errors.ts';
import type { Call } from '../call.ts';
import { encode } from '../json/splice.ts';
import { legacyResult } from '../legacy/result.ts';
import { Field, type Message } from '../message.ts';
import type { Connection } from '../peer.ts';
import { type Capabilities, missingCapability, paramsForLegacyClient } from './client-requests.ts';
import { isObject, modernParams } from './meta.ts';
import type { Destination, Outcome } from './outcome.ts';

/** Rounds of input one call may take; the SDKs stop at 8 to 10. */
const MAX_ROUNDS = 10;

type Json = Record<string, unknown>;

/** Runs the call; `outcome` is told once. A client that cannot be asked gets a clear error, never a hang. */
export function callModernForLegacy(
  call: Call,
  connection: Connection,
  destination: Destination,
  outcome: Outcome,
): void {
  new LegacyCaller(call, connection, destination, outcome).send({});
}

class LegacyCaller {
  readonly #call: Call;
  readonly #connection: Connection;
  readonly #destination: Destination;
  readonly #outcome: Outcome;
  readonly #params: Json;
  readonly #capabilities: Capabilities;
  #rounds = 0;

  constructor(call: Call, connection: Connection, destination: Destination, outcome: Outcome) {
    this.#call = call;
    this.#connection = connection;
    this.#destination = destination;
    this.#outcome = outcome;
    const session = call.session;
    this.#capabilities = session?.capabilities ?? {};
    this.#params = modernParams((call.outbound ?? call.message).object()['params'], {
      clientInfo: session?.clientInfo,
      capabilities: this.#capabilities,
      logLevel: session?.logLevel,
    });
  }

  send(answers: Json): void {
    const message = encode({
      jsonrpc: '2.0',
      id: 0,
      method: this.#call.method,
      params: { ...this.#params, ...answers },
    });
    this.#connection.request(
      { ...this.#destination, message, lifetime: this.#call.lifetime, principal: this.#call.principal },
      {
        onNotification: (notification) => this.#call.reply.notify(notification),
        onServerRequest: (_request, answer) =>
          answer(new TollgateError('server_protocol_error', 'A 2026-07-28 server must not send requests')),
        onResponse: (response) => this.#received(response),
        onFailure: (error) => this.#outcome.failed(this.#rounds === 0 ? error : afterSending(error)),
      },
    );
  }

  #received(response: Message): void {
    if (response.kind === 'error') {
      this.#outcome.responded(legacyError(response));
      return;
    }
    const result = response.json(Field.result);
    if (!isObject(result)) {
      this.#gaveUp(new TollgateError('server_protocol_error', 'The result of the server is not an object'));
      return;
    }
    const type = result['resultType'] ?? 'complete';
    if (type === 'complete') {
      this.#outcome.responded(encode({ jsonrpc: '2.0', id: 0, result: legacyResult(result) }));
    } else if (type === 'input_required') {
      this.#ask(result);
    } else {
      this.#outcome.failed(
        new TollgateError(
          'not_bridgeable',
          `The server answered with a ${JSON.stringify(type)} result, which only a 2026-07-28 client that declared its extension can take`,
          { executed: 'unknown' },
        ),
      );
    }
  }

  #ask(result: Json): void {
    if (++this.#rounds > MAX_ROUNDS) {
      this.#gaveUp(
        new TollgateError('server_protocol_error', `The server asked for input more than ${MAX_ROUNDS} times`),
      );
      return;
    }
    const state = result['requestState'] === undefined ? {} : { requestState: result['requestState'] };
    const requests = isObject(result['inputRequests']) ? Object.entries(result['inputRequests']) : [];
    if (requests.length === 0) {
      // Only a state: the server sheds load and wants the call again at once.
      this.send(state);
      return;
    }
    const responses: Json = {};
    let open = requests.length;
    let over = false;
    const withdraw: ((reason: string) => void)[] = [];
    const fail = (error: TollgateError): void => {
      if (over) return;
      over = true;
      for (const stop of withdraw) stop(error.message);
      this.#gaveUp(error);
    };
    for (const [key, request] of requests) {
      const question = this.#question(request);
      if (TollgateError.is(question)) {
        fail(question);
        return;
      }
      withdraw.push(
        this.#call.reply.ask(question.method, question.params, (answer) => {
          if (over) return;
          const response = inputResponse(question.method, answer);
          if (TollgateError.is(response)) {
            fail(response);
            return;
          }
          responses[key] = response;
          if (--open > 0) return;
          over = true;
          this.send({ ...state, inputResponses: responses });
        }),
      );
    }
  }

  /** The server has worked on the call already; who would not be asked, or not answer, must not have it for nothing. */
  #gaveUp(error: TollgateError): void {
    this.#outcome.failed(afterSending(error));
  }

  #question(request: unknown): { method: string; params: string | undefined } | TollgateError {
    const method = isObject(request) ? request['method'] : undefined;
    if (!isObject(request) || typeof method !== 'string') {
      return new TollgateError('server_protocol_error', 'An input request of the server has no method');
    }
    const params = isObject(request['params']) ? request['params'] : undefined;
    const missing = missingCapability(method, params, this.#capabilities);
    if (missing !== undefined) {
      return new TollgateError('not_bridgeable', `The server needs ${method}, which this client did not declare`, {
        data: { requiredCapabilities: missing },
        executed: 'unknown',
      });
    }
    if (!this.#call.reply.canAsk) {
      return new TollgateError(
        'not_bridgeable',
        `The server needs ${method}, but this client reads no event stream on which it could be asked`,
        { executed: 'unknown' },
      );
    }
    const translated = paramsForLegacyClient(method, params, this.#call.version);
    return { method, params: translated === undefined ? undefined : JSON.stringify(translated) };
  }
}

/** The client's answer as an entry of `inputResponses`. A refused elicitation is an answer, not a failure. */
function inputResponse(method: string, answer: Message | TollgateError): unknown {
  if (TollgateError.is(answer)) return answer;
  if (answer.kind === 'result') return answer.json(Field.result);
  if (method === 'elicitation/create') return { action: 'cancel' };
  return new TollgateError('not_bridgeable', `The client refused ${method}: ${errorMessage(answer)}`, {
    executed: 'unknown',
  });
}

function errorMessage(message: Message): string {
  const error = message.json(Field.error);
  return isObject(error) && typeof error['message'] === 'string' ? error['message'] : 'no reason given';
}

/** The modern envelope's own codes mean nothing to a legacy client; they describe the gateway's hop. */
function legacyError(message: Message): Message {
  const error = message.json(Field.error);
  if (!isObject(error)) return message;
  const code = Number(error['code']);
  return code <= -32020 && code >= -32022
    ? encode({ jsonrpc: '2.0', id: 0, error: { ...error, code: -32603 } })
    : message;
}
