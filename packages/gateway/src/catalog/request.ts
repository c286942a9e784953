/** One request of the gateway itself to a server, over a connection of either era. */
import { TollgateError } from '../core/errors.ts';
import { Lifetime } from '../core/lifetime.ts';
import { encode } from '../protocol/json/splice.ts';
import { Field, type Message } from '../protocol/message.ts';
import type { Connection } from '../protocol/peer.ts';

/** As whom the gateway asks, in the envelope of modern requests. */
export interface CatalogClient {
  readonly info: { readonly name: string; readonly version: string };
  /** Capabilities that can be bridged: some servers list tools only to clients that declare them. */
  readonly capabilities: Readonly<Record<string, unknown>>;
}

export interface Answer {
  readonly result: Readonly<Record<string, unknown>>;
  /** Bytes of the whole message. */
  readonly bytes: number;
}

const META = 'io.modelcontextprotocol/';

/**
 * Asks and waits at most `timeout` milliseconds, less when `lifetime` ends. Rejects with `method_not_found` when the
 * server does not know the method, `server_protocol_error` for any other error or malformed answer, and with what
 * the connection or the lifetime reports.
 */
export function request(
  connection: Connection,
  client: CatalogClient,
  method: string,
  params: Readonly<Record<string, unknown>>,
  timeout: number,
  lifetime: Lifetime,
): Promise<Answer> {
  return new Promise<Answer>((resolve, reject) => {
    const own = new Lifetime();
    const unlink = lifetime.onEnd((reason) => own.end(reason));
    const settle = (act: () => void): void => {
      own.release();
      unlink();
      act();
    };
    own.deadline(timeout, () => new TollgateError('deadline_exceeded', `No answer to ${method} in ${timeout} ms`));
    own.onEnd((reason) => settle(() => reject(reason)));
    if (own.over) return;
    connection.request(
      {
        message: encode({ jsonrpc: '2.0', id: 0, method, params: envelope(connection, client, params) }),
        target: undefined,
        headerName: undefined,
        paramHeaders: undefined,
        lifetime: own,
      },
      {
        onNotification: ignore,
        onServerRequest: (asked, answer) => answer(declined(asked.method)),
        onFailure: (error) => settle(() => reject(error)),
        onResponse: (message) =>
          settle(() => {
            try {
              resolve(read(message, method));
            } catch (error) {
              reject(error);
            }
          }),
      },
    );
  });
}

/** The answer to a server that asks something while nobody is there to answer. */
export function declined(method: string): TollgateError {
  return new TollgateError('method_not_found', `${method} cannot be answered outside a call`);
}

function envelope(
  connection: Connection,
  client: CatalogClient,
  params: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  if (connection.era === 'legacy') return { ...params };
  return {
    ...params,
    _meta: {
      [`${META}protocolVersion`]: connection.version,
      [`${META}clientInfo`]: client.info,
      [`${META}clientCapabilities`]: client.capabilities,
    },
  };
}

function read(message: Message, method: string): Answer {
  if (message.kind === 'error') {
    const code = message.raw(Field.errorCode);
    if (Number(code) === -32601) throw new TollgateError('method_not_found', `The server does not know ${method}`);
    const error = message.json(Field.error) as { message?: unknown } | undefined;
    const text = typeof error?.message === 'string' ? error.message.slice(0, 200) : 'no message';
    throw new TollgateError('server_protocol_error', `The server answered ${method} with error ${code}: ${text}`);
  }
  const result = message.json(Field.result);
  if (message.kind !== 'result' || typeof result !== 'object' || result === null || Array.isArray(result)) {
    throw new TollgateError('server_protocol_error', `The server's answer to ${method} is not a result object`);
  }
  const type = (result as Record<string, unknown>)['resultType'];
  if (type !== undefined && type !== 'complete') {
    throw new TollgateError('server_protocol_error', `The server's answer to ${method} has an unfit resultType`);
  }
  return { result: result as Record<string, unknown>, bytes: message.bytes.length };
}

function ignore(): void {}
