/** The request metadata that every modern request must carry in its body (MCP 2026-07-28, basic, `_meta`). */
import { TollgateError } from '../core/errors.ts';
import { Field, type Message } from '../protocol/message.ts';
import { isModernVersion, LEGACY_VERSIONS, MODERN_VERSIONS } from '../protocol/versions.ts';

const PREFIX = 'io.modelcontextprotocol/';
const BRACE = 0x7b;

/** What is wrong with a request's `_meta` (`invalid_meta`), or undefined. */
export function checkMeta(message: Message): TollgateError | undefined {
  if (message.string(Field.protocolVersion) === undefined) return wrong('protocolVersion', 'a version string');
  if (!isObject(message, Field.clientCapabilities)) return wrong('clientCapabilities', 'an object (`{}` when none)');
  if (message.has(Field.clientInfo) && !isObject(message, Field.clientInfo)) return wrong('clientInfo', 'an object');
  return undefined;
}

/** `unsupported_version` with what is served, unless the request's version is. */
export function checkVersion(message: Message): TollgateError | undefined {
  const requested = message.string(Field.protocolVersion) ?? '';
  return isModernVersion(requested) ? undefined : unsupportedVersion(requested);
}

/** The error that lets a client choose a version that is served. */
export function unsupportedVersion(requested: string): TollgateError {
  return new TollgateError(
    'unsupported_version',
    `The protocol version is not served here: ${requested.slice(0, 40)}`,
    {
      data: { supported: [...MODERN_VERSIONS, ...LEGACY_VERSIONS], requested },
    },
  );
}

function isObject(message: Message, field: typeof Field.clientCapabilities | typeof Field.clientInfo): boolean {
  return message.has(field) && message.bytes[message.spans[2 * field]!] === BRACE;
}

function wrong(key: string, what: string): TollgateError {
  return new TollgateError('invalid_meta', `params._meta["${PREFIX}${key}"] is missing or is not ${what}.`);
}
