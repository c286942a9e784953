/** `server/discover` and the errors that betray a server's era (MCP 2026-07-28, Versioning: Backward Compatibility). */
import { TollgateError } from '../core/errors.ts';
import { IMPLEMENTATION } from '../core/version.ts';
import { modernParams } from '../protocol/bridge/meta.ts';
import { encode } from '../protocol/json/splice.ts';
import { Field, type Message } from '../protocol/message.ts';
import { isLegacyVersion, isModernVersion, LATEST_MODERN, MODERN_VERSIONS } from '../protocol/versions.ts';

/** What `server/discover` said, as a Connection shows it. */
export interface ModernServerInfo {
  readonly version: string;
  readonly capabilities: Readonly<Record<string, unknown>>;
  readonly serverInfo: unknown;
  readonly instructions: string | undefined;
}

/** What one answer to `server/discover` says about the era. */
export type Verdict =
  | { readonly era: 'modern'; readonly info: ModernServerInfo }
  | { readonly era: 'legacy' }
  | { readonly era: 'neither'; readonly error: TollgateError };

/**
 * A modern server whose `server/discover` says nothing useful (it may be pinned, and then need not implement it
 * well): everything is tried, and what it lacks it refuses itself.
 */
export const UNDISCOVERED: ModernServerInfo = {
  version: LATEST_MODERN,
  capabilities: { tools: {}, resources: {}, prompts: {}, completions: {} },
  serverInfo: undefined,
  instructions: undefined,
};

export interface ClientIdentity {
  readonly name: string;
  readonly version: string;
}

/** Params of a modern request of the gateway's own. */
export function ownParams(
  params: Readonly<Record<string, unknown>>,
  clientInfo: ClientIdentity = IMPLEMENTATION,
): Record<string, unknown> {
  return modernParams(params, { clientInfo, capabilities: {}, logLevel: undefined });
}

export function discoverMessage(clientInfo: ClientIdentity): Message {
  return encode({ jsonrpc: '2.0', id: 'discover', method: 'server/discover', params: ownParams({}, clientInfo) });
}

const HEADER_MISMATCH = -32020;
const MISSING_CAPABILITY = -32021;
const UNSUPPORTED_VERSION = -32022;

/** Codes that only a modern server sends. */
function isModernError(message: Message): boolean {
  const code = Number(message.raw(Field.errorCode));
  return code === HEADER_MISMATCH || code === MISSING_CAPABILITY || code === UNSUPPORTED_VERSION;
}

/** Versions in `error.data.supported` of -32022; empty otherwise. */
export function supportedVersions(message: Message): string[] {
  if (Number(message.raw(Field.errorCode)) !== UNSUPPORTED_VERSION) return [];
  const error = message.json(Field.error) as { data?: { supported?: unknown } };
  const supported = error.data?.supported;
  return Array.isArray(supported) ? supported.filter((version) => typeof version === 'string') : [];
}

/** Reads an answer to `server/discover`. Any error that is not a modern one means legacy: never key on one code. */
export function judgeDiscover(server: string, answer: Message): Verdict {
  if (answer.kind === 'error') {
    if (!isModernError(answer)) return { era: 'legacy' };
    const versions = supportedVersions(answer);
    if (versions.some(isLegacyVersion)) return { era: 'legacy' };
    if (versions.length === 0 || versions.some(isModernVersion)) return { era: 'modern', info: UNDISCOVERED };
    return { era: 'neither', error: unsupported(server, versions) };
  }
  const result = objectOr(answer.json(Field.result));
  const listed = result['supportedVersions'];
  if (!Array.isArray(listed)) return { era: 'legacy' };
  const version = MODERN_VERSIONS.find((known) => listed.includes(known));
  if (version === undefined) {
    if (listed.some((one) => typeof one === 'string' && isLegacyVersion(one))) return { era: 'legacy' };
    return { era: 'neither', error: unsupported(server, listed) };
  }
  const instructions = result['instructions'];
  return {
    era: 'modern',
    info: {
      version,
      capabilities: objectOr(result['capabilities']),
      serverInfo: objectOr(result['_meta'])['io.modelcontextprotocol/serverInfo'],
      instructions: typeof instructions === 'string' ? instructions : undefined,
    },
  };
}

function unsupported(server: string, versions: readonly unknown[]): TollgateError {
  const list = versions.slice(0, 5).map((one) => String(one).slice(0, 40));
  return new TollgateError(
    'server_protocol_error',
    `Server "${server}" speaks only protocol version ${list.join(', ')}; this gateway speaks ${LATEST_MODERN} and the older ones`,
  );
}

function objectOr(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {};
}
