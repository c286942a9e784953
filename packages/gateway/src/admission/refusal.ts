/**
 * The one place that knows how a refusal looks on the wire: limits, servers, deadlines, access, and the errors of
 * the protocol. Why these forms: real SDK clients lose the error or end the session on HTTP 429, 402 and 503 in both
 * eras, and hosts show a model only the message. See `docs/refusals.md`.
 */
import { ERROR_SHAPES, TollgateError } from '../core/errors.ts';
import { newDecisionId } from '../core/ids.ts';
import type { Call } from '../protocol/call.ts';
import { errorBytes, resultBytes } from '../protocol/json/splice.ts';
import { legacyRpcCode } from '../protocol/legacy/errors.ts';
import { Field } from '../protocol/message.ts';
import type { Era } from '../protocol/versions.ts';
import type { Decision, ViolatedLimit } from './decision.ts';
import { tellsName, tellsNumbers } from './disclosure.ts';
import { limitHeaders } from './limit-headers.ts';
import type { RefusalStyle } from './options.ts';
import { decimalText } from './price.ts';
import { codeOf, hasRecord } from './reasons.ts';
import { decisionText, errorText } from './refusal-text.ts';
import { numberOf } from './rules.ts';

/** A refusal ready to send. `status` and `headers` mean nothing on stdio. */
export interface WireRefusal {
  readonly status: number;
  readonly headers: [string, string][];
  /** A complete JSON-RPC response. */
  readonly body: Buffer;
}

export interface RefusalContext {
  readonly era: Era;
  /** Empty when none could be read. */
  readonly method: string;
  /** JSON text of the request's id, echoed as it came; undefined: none was read, or a notification. */
  readonly id: string | undefined;
  readonly style: RefusalStyle;
  /** Id under which the log has it; made when absent. */
  readonly decisionId?: string | undefined;
}

/** Refuses a call. Sets `call.decisionId` when the answer shows one and none is set. */
export function refuseCall(cause: Decision | TollgateError, call: Call, style: RefusalStyle): WireRefusal {
  if (TollgateError.is(cause) && hasRecord(cause.code)) call.decisionId ??= newDecisionId();
  const { era, message, decisionId } = call;
  const id = message.kind === 'request' ? message.raw(Field.id) : undefined;
  return refuse(cause, { era, method: message.method, id, style, decisionId });
}

/** The wire form of a limit's decision or of any error, for a request whose envelope was read or not. */
export function refuse(cause: Decision | TollgateError, context: RefusalContext): WireRefusal {
  return TollgateError.is(cause) ? refuseError(cause, context) : refuseDecision(cause, context);
}

function refuseDecision(decision: Decision, context: RefusalContext): WireRefusal {
  const text = decisionText(decision);
  const record = decisionRecord(decision);
  const headers = limitHeaders(decision);
  const code = codeOf(decision);
  if (context.style === 'http') {
    // What ToolHive knows is 429 for a limit; the other two keep their own meaning.
    return { status: code, headers, body: errorBytes(context.id, code, text, record) };
  }
  const toolCallId = legacyToolCallId(context);
  if (toolCallId !== undefined) return { status: 200, headers, body: toolError(toolCallId, text, record) };
  const told = context.style === 'legacy-codes' ? LEGACY_CODES.limit : code;
  return { status: context.id === undefined ? code : 200, headers, body: errorBytes(context.id, told, text, record) };
}

function refuseError(error: TollgateError, context: RefusalContext): WireRefusal {
  const headers: [string, string][] = [];
  if (error.retryAfterSeconds !== undefined) {
    headers.push(['retry-after', String(Math.max(0, Math.ceil(error.retryAfterSeconds)))]);
  }
  const status = errorStatus(error, context);
  const own = context.era === 'legacy' ? legacyRpcCode(error, context.method) : error.rpc;
  const code = context.style === 'legacy-codes' ? (legacyCode(error) ?? own) : own;
  // A relayed code of a server is that server's word: message and data stay as they are.
  if (isRelayed(error) || !hasRecord(error.code)) {
    return { status, headers, body: errorBytes(context.id, code, error.message, error.data) };
  }
  const decisionId = context.decisionId ?? newDecisionId();
  const text = errorText(error, decisionId);
  const record = errorRecord(error, decisionId);
  const toolCallId = error.code === 'internal' || REAL_STATUS.has(error.code) ? undefined : legacyToolCallId(context);
  if (toolCallId !== undefined) return { status, headers, body: toolError(toolCallId, text, record) };
  return { status, headers, body: errorBytes(context.id, code, text, record) };
}

/** Challenges that an OAuth client can only see as a status. */
const REAL_STATUS: ReadonlySet<string> = new Set(['unauthorized', 'insufficient_scope']);

function errorStatus(error: TollgateError, { era, id }: RefusalContext): number {
  const shape = ERROR_SHAPES[error.code];
  if (error.http !== shape.http || REAL_STATUS.has(error.code)) return error.http;
  // Nobody matches an answer to a missing id: only the status tells.
  if (id === undefined) return error.http >= 400 ? error.http : error.rpc > 0 ? error.rpc : 400;
  if (hasRecord(error.code)) return 200;
  // 404 is for modern clients (Streamable HTTP, unknown methods); a legacy client takes it for the end of its session.
  return era === 'legacy' && error.code === 'method_not_found' ? 200 : error.http;
}

function isRelayed(error: TollgateError): boolean {
  return error.rpc !== ERROR_SHAPES[error.code].rpc;
}

/** The id where the answer must be a tool result: a legacy host shows its model nothing else. */
function legacyToolCallId({ era, method, id }: RefusalContext): string | undefined {
  return era === 'legacy' && method === 'tools/call' ? id : undefined;
}

/** Numbers that existing integrations expect; JSON-RPC reserves their range, so they are only for those who ask. */
const LEGACY_CODES = {
  auth: -32001,
  limit: -32002,
  access: -32003,
  noRoute: -32601,
  unavailable: -32004,
  failed: -32005,
};

function legacyCode(error: TollgateError): number | undefined {
  if (isRelayed(error)) return undefined;
  switch (error.code) {
    case 'unauthorized':
      return LEGACY_CODES.auth;
    case 'rate_limited':
      return LEGACY_CODES.limit;
    case 'access_denied':
    case 'insufficient_scope':
      return LEGACY_CODES.access;
    case 'no_route':
      return LEGACY_CODES.noRoute;
    default:
      if (error.rpc === 504) return LEGACY_CODES.failed;
      if (error.rpc !== 503) return undefined;
      return error.executed === 'no' ? LEGACY_CODES.unavailable : LEGACY_CODES.failed;
  }
}

/** Fields in the order in which a reader wants them; `undefined` ones are left out by JSON. */
function decisionRecord(decision: Decision): object {
  const { binding, violated } = decision;
  const numbers = binding !== undefined && tellsNumbers(binding) && binding.reason !== 'limit_unavailable';
  return {
    reason: decision.reason,
    rule: binding !== undefined && tellsName(binding) ? binding.limit.name : undefined,
    executed: 'no',
    charged: '0',
    ...(numbers ? numbersOf(binding) : {}),
    retryAfterSeconds: decision.retryAfterSeconds,
    estimated: decision.estimated ? true : undefined,
    resetAt: numbers && binding.resetAt !== undefined ? new Date(binding.resetAt).toISOString() : undefined,
    violated: violated.map((violation) => ({
      rule: tellsName(violation) ? violation.limit.name : undefined,
      retryAfterSeconds: violation.retryAfterSeconds,
    })),
    decisionId: decision.id,
  };
}

/** Calls are numbers; amounts are decimal texts, exact, with their unit. */
function numbersOf({ quota, used, held, remaining, cost, capacity }: ViolatedLimit): object {
  if (!('amount' in quota)) return { limit: numberOf(quota), remaining };
  const { unit } = quota.amount;
  if (quota.kind === 'per-call') return { limit: decimalText(capacity), cost: decimalText(cost), unit };
  return {
    limit: decimalText(capacity),
    used: decimalText(used),
    held: held > 0 ? decimalText(held) : undefined,
    remaining: decimalText(remaining),
    cost: decimalText(cost),
    unit,
  };
}

function errorRecord(error: TollgateError, decisionId: string): object {
  return {
    ...(typeof error.data === 'object' ? error.data : undefined),
    reason: error.code,
    executed: error.code === 'internal' ? 'unknown' : error.executed,
    retryAfterSeconds:
      error.retryAfterSeconds === undefined ? undefined : Math.max(1, Math.ceil(error.retryAfterSeconds)),
    decisionId,
  };
}

function toolError(id: string, text: string, record: object): Buffer {
  const result = { content: [{ type: 'text', text }], isError: true, _meta: { 'tollgate/decision': record } };
  return resultBytes(id, JSON.stringify(result));
}
