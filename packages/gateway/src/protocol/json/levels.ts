/** The objects of an envelope whose keys mean something here: which keys, which span they fill, what is below. */
import { Field } from '../message.ts';
import { NameTable } from './names.ts';

export interface Place {
  /** Index into the spans, or -1: reserved, but nobody needs its place. */
  readonly field: number;
  /** Level of the object below, when the value is one. */
  readonly below: Level | undefined;
}

export interface Level {
  readonly names: NameTable<Place>;
  /** Case variants of the names are refused: some parsers (Go's) read them as the name itself. */
  readonly strict: boolean;
}

/** Spans of the envelope that are not fields of a Message: values that are only checked. */
export const JSONRPC = 25;
export const ERROR_MESSAGE = 26;
export const SPAN_COUNT = 27;

function level(
  strict: boolean,
  fields: Readonly<Record<string, number>>,
  below: Readonly<Record<string, Level>> = {},
): Level {
  return {
    strict,
    names: new NameTable(Object.entries(fields).map(([name, field]) => [name, { field, below: below[name] }] as const)),
  };
}

const MCP = 'io.modelcontextprotocol/';

const paramsMeta = level(true, {
  progressToken: Field.metaProgressToken,
  [`${MCP}protocolVersion`]: Field.protocolVersion,
  [`${MCP}clientInfo`]: Field.clientInfo,
  [`${MCP}clientCapabilities`]: Field.clientCapabilities,
  [`${MCP}logLevel`]: Field.logLevel,
  [`${MCP}subscriptionId`]: Field.subscriptionId,
  [`${MCP}serverInfo`]: -1,
  traceparent: -1,
  tracestate: -1,
  baggage: -1,
});

const params = level(
  true,
  {
    name: Field.name,
    uri: Field.uri,
    arguments: Field.arguments,
    _meta: Field.meta,
    cursor: Field.cursor,
    requestState: Field.requestState,
    inputResponses: Field.inputResponses,
    progressToken: Field.progressToken,
    requestId: Field.requestId,
    taskId: Field.taskId,
    // Reserved by the specification, read by the edges and the servers, not by span.
    protocolVersion: -1,
    capabilities: -1,
    clientInfo: -1,
    level: -1,
    ref: -1,
    argument: -1,
    context: -1,
    notifications: -1,
    task: -1,
  },
  { _meta: paramsMeta },
);

const resultMeta = level(false, { [`${MCP}subscriptionId`]: Field.subscriptionId });

const result = level(
  false,
  { resultType: Field.resultType, _meta: Field.resultMeta, isError: Field.isError },
  { _meta: resultMeta },
);

const error = level(false, { code: Field.errorCode, message: ERROR_MESSAGE });

export const ENVELOPE: Level = level(
  true,
  {
    jsonrpc: JSONRPC,
    id: Field.id,
    method: Field.method,
    params: Field.params,
    result: Field.result,
    error: Field.error,
  },
  { params, result, error },
);
