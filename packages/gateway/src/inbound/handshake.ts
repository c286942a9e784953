import { TollgateError } from '../core/errors.ts';
import { Field, type Message } from '../protocol/message.ts';
import { isLegacyVersion, LATEST_LEGACY } from '../protocol/versions.ts';

/** What an `initialize` request says about its client. */
export interface Handshake {
  /** The version to serve: the one asked for, else the latest legacy one (MCP 2025-11-25, version negotiation). */
  readonly version: string;
  readonly clientInfo: unknown;
  readonly capabilities: Readonly<Record<string, unknown>>;
}

/** Bytes of the parameters of `initialize`: a session keeps them as long as it lives, and shows them to servers. */
const MAX_PARAMS = 65_536;

/** Reads the parameters of `initialize`; `invalid_params` names the one that is wrong. */
export function readHandshake(message: Message): Handshake | TollgateError {
  if ((message.raw(Field.params)?.length ?? 0) > MAX_PARAMS) {
    return new TollgateError('invalid_params', `initialize: \`params\` is larger than ${MAX_PARAMS} bytes.`);
  }
  const params = message.json(Field.params);
  if (!isRecord(params)) return wrong('params');
  const { protocolVersion, capabilities = {}, clientInfo } = params;
  if (typeof protocolVersion !== 'string') return wrong('params.protocolVersion');
  if (!isRecord(capabilities)) return wrong('params.capabilities');
  return {
    version: isLegacyVersion(protocolVersion) ? protocolVersion : LATEST_LEGACY,
    clientInfo,
    capabilities,
  };
}

/** The version that an `initialize` response settled on; undefined when it is an error. */
export function negotiatedVersion(response: Buffer): string | undefined {
  const body: unknown = JSON.parse(response.toString('utf8'));
  const result = isRecord(body) ? body['result'] : undefined;
  const version = isRecord(result) ? result['protocolVersion'] : undefined;
  return typeof version === 'string' ? version : undefined;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function wrong(where: string): TollgateError {
  return new TollgateError('invalid_params', `initialize: \`${where}\` is missing or has the wrong type.`);
}
