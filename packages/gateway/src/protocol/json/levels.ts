/** The objects of an envelope whose keys mean something here: which keys, which span they fill, what is below. */
import { Field } from '../message.ts';
import { NameTable } from './names.ts';

/** A known member. */
export interface Member {
  /** Bytes of the key with its closing quote, and those bytes: four at a time, then the rest under its mask. */
  readonly size: number;
  readonly words: Int32Array;
  readonly rest: number;
  readonly mask: number;
  /** Index into the spans, or -1: reserved, but nobody needs its place. */
  readonly field: number;
  /** One bit, unique in the level. */
  readonly bit: number;
  /** Level of the object below, when the value is one. */
  readonly below: Level | undefined;
  /** The member that came after this one in an earlier message: peers write their keys in the same order each time. */
  follower: Member | undefined;
}

export interface Level {
  readonly names: NameTable<Member>;
  /** Stands before the first member. */
  readonly before: Member;
  /** Case variants of the names are refused: some parsers (Go's) read them as the name itself. */
  readonly strict: boolean;
}

/** Spans of the envelope that are not fields of a Message: values that are only checked. */
export const JSONRPC = 25;
export const ERROR_MESSAGE = 26;
export const SPAN_COUNT = 27;

function member(key: string, field: number, bit: number, below: Level | undefined): Member {
  const quoted = Buffer.from(`${key}"\0\0\0`);
  const size = quoted.length - 3;
  const words = new Int32Array(size >> 2);
  for (let i = 0; i < words.length; i++) words[i] = quoted.readInt32LE(4 * i);
  const mask = (1 << (8 * (size & 3))) - 1;
  const rest = size === 4 * words.length ? 0 : quoted.readInt32LE(4 * words.length) & mask;
  return { size, words, rest, mask, field, bit, below, follower: undefined };
}

function level(
  strict: boolean,
  fields: Readonly<Record<string, number>>,
  below: Readonly<Record<string, Level>> = {},
): Level {
  const names = Object.entries(fields).map(
    ([name, field], i) => [name, member(name, field, 1 << i, below[name])] as const,
  );
  return { strict, before: member('', -1, 0, undefined), names: new NameTable(names) };
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
