/** Reads one request body under its cap. Time is limited by the listener (`requestTimeout`). */
import type { IncomingMessage } from 'node:http';
import { TollgateError } from '../core/errors.ts';
import type { RequestHead } from './request-head.ts';

/** Checks what the head says about the body: type, encoding, length. Undefined when it can be read. */
export function checkBodyHead(
  head: Pick<RequestHead, 'contentType' | 'contentEncoding' | 'contentLength'>,
  cap: number,
): TollgateError | undefined {
  if (head.contentType !== 'application/json' && !isJson(head.contentType)) {
    return new TollgateError('unsupported_media_type', 'The body must be `application/json` in UTF-8.');
  }
  // A compressed body is refused, not inspected: its size is not known before it is unpacked.
  if (head.contentEncoding !== undefined && head.contentEncoding.trim().toLowerCase() !== 'identity') {
    return new TollgateError('unsupported_media_type', 'The body must not be compressed (no Content-Encoding).');
  }
  if (head.contentLength !== undefined && Number(head.contentLength) > cap) return tooLarge(cap);
  return undefined;
}

function isJson(type: string | undefined): boolean {
  return type !== undefined && /^\s*application\/json\s*(?:;\s*charset\s*=\s*"?utf-8"?\s*)?;?\s*$/i.test(type);
}

/** Average size from which on pieces are not joined, in bytes. */
const PIECE = 4096;

/**
 * Calls back once with the whole body (in the pieces in which it came, when they are large), or with an error: `payload_too_large` as soon as the cap is passed. Nothing
 * is called when the client goes away first.
 */
export function readBody(
  request: IncomingMessage,
  cap: number,
  done: (body: Buffer | readonly Buffer[] | TollgateError) => void,
): void {
  let first: Buffer | undefined;
  let rest: Buffer[] | undefined;
  let size = 0;
  let over = false;
  request.on('data', (chunk: Buffer) => {
    if (over) return;
    size += chunk.length;
    if (size > cap) {
      over = true;
      first = rest = undefined;
      done(tooLarge(cap));
    } else if (first === undefined) {
      first = chunk;
    } else {
      rest ??= [first];
      rest.push(chunk);
    }
  });
  request.on('end', () => {
    if (over) return;
    over = true;
    if (rest === undefined) done(first ?? EMPTY);
    // Many small pieces would cost more than their bytes for as long as the message lives.
    else done(size >= rest.length * PIECE ? rest : Buffer.concat(rest, size));
  });
  request.on('error', ignore);
}

const EMPTY = Buffer.alloc(0);

/** The connection's own handlers report a broken request; here it only ends the reading. */
function ignore(): void {}

function tooLarge(cap: number): TollgateError {
  return new TollgateError('payload_too_large', `The body is larger than ${cap} bytes (\`caps.body\`).`);
}
