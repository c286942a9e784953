/**
 * Where transformers meet the bytes: arguments are parsed for them before dispatch and results before the caller sees
 * them, and only what they changed is written anew, between the original bytes of the rest. Only gateways that have
 * transformers come here.
 */
import { TollgateError } from '../core/errors.ts';
import { newDecisionId } from '../core/ids.ts';
import type { Call } from '../protocol/call.ts';
import { DEFAULT_SCAN_CAPS, scan } from '../protocol/json/scan.ts';
import { addMembers, replaceFields } from '../protocol/json/splice.ts';
import { Field, type Message } from '../protocol/message.ts';
import type { JsonObject, TransformChain } from '../transform/registry.ts';

/** Of what transformers wrote; the rest of the message was scanned with the caps of its edge. */
const OWN_CAPS = { ...DEFAULT_SCAN_CAPS, depth: 1000, keys: Infinity, string: Infinity, looseText: true };

type Transformed = typeof Field.arguments | typeof Field.result;

/** Significant decimal digits that every double keeps. */
const SAFE_DIGITS = 15;
/** Smallest double with full precision. */
const SMALLEST_NORMAL = 2.2250738585072014e-308;

/**
 * Runs the request transformers; a changed request is put into `call.outbound`. Throws what a transformer refuses
 * with, `internal` when one fails, and `invalid_params` for arguments that are no object: a transformer that guards
 * something must not be passed by.
 */
export function transformRequest(call: Call, chain: TransformChain): void {
  call.decisionId ??= newDecisionId();
  const message = call.outbound ?? call.message;
  const args = message.has(Field.arguments) ? parse(message, Field.arguments) : {};
  if (!isObject(args)) throw new TollgateError('invalid_params', 'params.arguments must be an object');
  const verdict = chain(call, args);
  if (verdict.kind === 'refused') throw verdict.error;
  if (verdict.kind === 'changed') call.outbound = rewritten(message, Field.arguments, verdict.value, 'no');
}

/** The answer as the response transformers leave it. Throws like `transformRequest`; the call has run then. */
export function transformResponse(call: Call, response: Message, chain: TransformChain): Message {
  if (!isFinal(call, response)) return response;
  call.decisionId ??= newDecisionId();
  const verdict = chain(call, parse(response, Field.result) as JsonObject);
  if (verdict.kind === 'refused') throw verdict.error;
  return verdict.kind === 'changed' ? rewritten(response, Field.result, verdict.value, 'yes') : response;
}

/** A result of the tool, failed or not; neither an error nor a question to the client nor a task still to be done. */
function isFinal(call: Call, response: Message): boolean {
  if (response.kind !== 'result') return false;
  // Only in the modern era does the member mean something; a legacy server cannot slip past by sending it.
  const type = call.era === 'modern' ? response.string(Field.resultType) : undefined;
  return type !== 'input_required' && type !== 'task';
}

function rewritten(message: Message, field: Transformed, value: JsonObject, executed: 'no' | 'yes'): Message {
  try {
    const text = JSON.stringify(value);
    const bytes = message.has(field)
      ? replaceFields(message, [[field, text]])
      : addMembers(message, Field.params, `"arguments":${text}`);
    return scan(bytes, OWN_CAPS);
  } catch (error) {
    const cause = new Error('what the transformers returned cannot be sent as JSON', { cause: error });
    throw new TollgateError('internal', 'Internal error', { cause, executed });
  }
}

/** Parses a member; only numbers whose value a double would change keep their source text (`JSON.rawJSON`). */
function parse(message: Message, field: Transformed): unknown {
  const text = message.raw(field);
  if (text === undefined) return undefined;
  return message.exactNumbers ? JSON.parse(text, keepValue as Reviver) : JSON.parse(text);
}

type Reviver = (this: unknown, key: string, value: unknown) => unknown;

const { rawJSON } = JSON as unknown as { rawJSON(text: string): unknown };

function keepValue(_key: string, value: unknown, context?: { readonly source?: string }): unknown {
  if (typeof value !== 'number' || context?.source === undefined || !losesValue(value, context.source)) return value;
  return rawJSON(context.source);
}

/** `1.0` and `1e3` are ordinary numbers to a transformer; `12345678901234567890` is not. */
function losesValue(value: number, source: string): boolean {
  if (source === String(value)) return false;
  const digits = source
    .replace(/[eE].*$/, '')
    .replaceAll(/[-.]/g, '')
    .replace(/^0+/, '')
    .replace(/0+$/, '');
  if (digits === '') return false;
  return digits.length > SAFE_DIGITS || Math.abs(value) < SMALLEST_NORMAL;
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
