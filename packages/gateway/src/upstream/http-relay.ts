/** Reading a JSON-RPC message out of an HTTP answer whose status is an error. */
import { TollgateError } from '../core/errors.ts';
import type { ScanCaps } from '../protocol/json/caps.ts';
import { scan } from '../protocol/json/scan.ts';
import { responseBytes } from '../protocol/json/splice.ts';
import { Field, type Message } from '../protocol/message.ts';
import { protocolFailure } from './http-failure.ts';

/** What the scanner refused, as a failure of the server and not of the caller's own request. */
export function notAMessage(server: string, cause: unknown): TollgateError {
  const why = TollgateError.is(cause) ? cause.message : 'unreadable';
  return protocolFailure(server, `the answer is not a valid JSON-RPC message. ${why}`, cause);
}

/**
 * The JSON-RPC error in the body of a 4xx or 5xx answer under our id, or undefined when there is none. Servers that
 * fail before they read the id send `"id": null` or none at all; the exchange itself says which request is meant.
 */
export function relayedError(body: Buffer, id: string | undefined, caps: ScanCaps): Message | undefined {
  try {
    const message = scan(body, caps);
    if (message.kind !== 'error') return undefined;
    const its = message.raw(Field.id);
    if (id === undefined || its === id) return message;
    if (its !== undefined && its !== 'null') return undefined;
    return scan(responseBytes(message, id), caps);
  } catch {
    return undefined;
  }
}
