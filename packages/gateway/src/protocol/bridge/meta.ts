/** The request metadata of one era as that of the other. */
import { LATEST_MODERN } from '../versions.ts';

type Json = Record<string, unknown>;

const RESERVED = 'io.modelcontextprotocol/';
/** Meta keys that carry the modern envelope; a legacy server must not see them reinterpreted. */
const ENVELOPE = ['protocolVersion', 'clientInfo', 'clientCapabilities', 'logLevel'] as const;

export interface LegacyClient {
  readonly clientInfo: unknown;
  readonly capabilities: Readonly<Record<string, unknown>>;
  readonly logLevel: string | undefined;
}

/** Params of a legacy client's request with the `_meta` that a modern server requires. */
export function modernParams(params: unknown, client: LegacyClient): Json {
  const { _meta, task: _task, ...rest } = isObject(params) ? params : {};
  const { tasks: _tasks, ...capabilities } = client.capabilities as Json;
  return {
    ...rest,
    _meta: {
      ...(isObject(_meta) ? withoutEnvelope(_meta) : {}),
      [`${RESERVED}protocolVersion`]: LATEST_MODERN,
      ...(isObject(client.clientInfo) ? { [`${RESERVED}clientInfo`]: client.clientInfo } : {}),
      [`${RESERVED}clientCapabilities`]: capabilities,
      ...(client.logLevel === undefined ? {} : { [`${RESERVED}logLevel`]: client.logLevel }),
    },
  };
}

/** Params of a modern client's request without the envelope and the multi round-trip members. */
export function legacyParams(params: unknown): Json {
  if (!isObject(params)) return {};
  const { _meta, inputResponses: _responses, requestState: _state, ...rest } = params;
  const kept = isObject(_meta) ? withoutEnvelope(_meta) : {};
  return Object.keys(kept).length === 0 ? rest : { ...rest, _meta: kept };
}

export function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function withoutEnvelope(meta: Json): Json {
  const kept = { ...meta };
  for (const key of ENVELOPE) delete kept[RESERVED + key];
  return kept;
}
