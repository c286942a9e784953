/** What every request of MCP 2026-07-28 must carry in `params._meta` (basic protocol, "Request metadata"). */
import { TollgateError } from '../../core/errors.ts';
import { Field, type FieldId, type Message } from '../message.ts';
import { isModernVersion, LATEST_MODERN, MODERN_VERSIONS } from '../versions.ts';

/** As JSON text: the usual case, seen without making a string. */
const LATEST = JSON.stringify(LATEST_MODERN);
const PREFIX = 'params._meta["io.modelcontextprotocol/';
const LOG_LEVELS = ['debug', 'info', 'notice', 'warning', 'error', 'critical', 'alert', 'emergency'];
const logLevels: ReadonlySet<string> = new Set(LOG_LEVELS);

function isObjectField(message: Message, field: FieldId): boolean {
  return message.at(message.spans[2 * field]!) === 0x7b;
}

function invalidMeta(message: string): TollgateError {
  return new TollgateError('invalid_meta', message);
}

/**
 * What is wrong with the metadata of a modern request, or undefined: `invalid_meta` when a required key is missing or
 * malformed, `unsupported_version` with `data.supported` and `data.requested`, `invalid_params` for optional keys.
 */
export function checkModernRequest(message: Message): TollgateError | undefined {
  if (!message.has(Field.meta)) return invalidMeta('params._meta is missing');
  if (!isObjectField(message, Field.meta)) return invalidMeta('params._meta must be an object');
  if (!message.spells(Field.protocolVersion, LATEST)) {
    const version = message.string(Field.protocolVersion);
    if (version === undefined) return invalidMeta(`${PREFIX}protocolVersion"] must be a string`);
    if (!isModernVersion(version)) return unsupported(version);
  }
  if (!message.has(Field.clientCapabilities) || !isObjectField(message, Field.clientCapabilities)) {
    return invalidMeta(`${PREFIX}clientCapabilities"] must be an object; it may be empty`);
  }
  if (message.has(Field.clientInfo) && !isObjectField(message, Field.clientInfo)) {
    return invalidMeta(`${PREFIX}clientInfo"] must be an object`);
  }
  return checkOptional(message);
}

function unsupported(version: string): TollgateError {
  return new TollgateError(
    'unsupported_version',
    `Protocol version ${JSON.stringify(version.slice(0, 64))} is not supported; use ${MODERN_VERSIONS.join(' or ')}`,
    { data: { supported: MODERN_VERSIONS, requested: version } },
  );
}

function checkOptional(message: Message): TollgateError | undefined {
  if (message.has(Field.logLevel) && !logLevels.has(message.string(Field.logLevel) ?? '')) {
    return new TollgateError('invalid_params', `${PREFIX}logLevel"] must be one of ${LOG_LEVELS.join(', ')}`);
  }
  if (message.has(Field.metaProgressToken) && !isToken(message)) {
    return new TollgateError('invalid_params', 'params._meta.progressToken must be a string or an integer');
  }
  return undefined;
}

function isToken(message: Message): boolean {
  const { spans } = message;
  let at = spans[2 * Field.metaProgressToken]!;
  const end = spans[2 * Field.metaProgressToken + 1]!;
  if (message.at(at) === 0x22) return true;
  if (message.at(at) === 0x2d) at++;
  for (; at < end; at++) if (message.at(at)! < 0x30 || message.at(at)! > 0x39) return false;
  return true;
}
