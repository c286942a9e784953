/** What makes a JSON object a JSON-RPC message of MCP: checked on the spans that the scanner found. */

import type { TollgateError } from '../../core/errors.ts';
import { Field, type MessageKind } from '../message.ts';
import { METHODS } from '../methods.ts';
import { ERROR_MESSAGE, JSONRPC } from './levels.ts';
import { compareName, type Name, NameTable, signature } from './names.ts';
import type { ScanRule } from './rules.ts';

type Refuse = (rule: ScanRule, at: number) => TollgateError;

const QUOTE = 0x22;

const methodNames = new NameTable(METHODS.map((entry) => [entry.method, entry.method] as const));

function textAt(bytes: Buffer, spans: readonly number[], field: number): string {
  return bytes.toString('latin1', spans[2 * field]!, spans[2 * field + 1]!);
}

/** Which of the four kinds of message this is; refuses everything else. */
export function envelopeKind(bytes: Buffer, spans: number[], start: number, refuse: Refuse): MessageKind {
  const version = spans[2 * JSONRPC]!;
  if (version < 0 || !isVersion(bytes, spans, version)) throw refuse('version', version < 0 ? start : version);
  const id = spans[2 * Field.id]!;
  const method = spans[2 * Field.method]!;
  const params = spans[2 * Field.params]!;
  const result = spans[2 * Field.result]!;
  const error = spans[2 * Field.error]!;
  if (method >= 0) {
    if (result >= 0 || error >= 0) throw refuse('envelope', start);
    if (bytes[method] !== QUOTE || bytes[method + 1] === QUOTE) throw refuse('method', method);
    if (params >= 0 && bytes[params] !== 0x7b) throw refuse('params', params);
    if (id < 0) return 'notification';
    if (!isId(bytes, spans, id)) throw refuse('id', id);
    return 'request';
  }
  if (params >= 0) throw refuse('envelope', start);
  if (result >= 0) {
    if (error >= 0 || id < 0) throw refuse('envelope', start);
    if (!isId(bytes, spans, id)) throw refuse('id', id);
    if (bytes[result] !== 0x7b) throw refuse('result', result);
    return 'result';
  }
  if (error < 0) throw refuse('envelope', start);
  if (!isError(bytes, spans, error)) throw refuse('error', error);
  // JSON-RPC 2.0 section 5: the id of an error is null when it could not be read.
  if (id >= 0 && bytes[id] !== 0x6e && !isId(bytes, spans, id)) throw refuse('id', id);
  return 'error';
}

export function isId(bytes: Buffer, spans: readonly number[], start: number): boolean {
  if (bytes[start] === QUOTE) return true;
  const end = spans[2 * Field.id + 1]!;
  for (let at = bytes[start] === 0x2d ? start + 1 : start; at < end; at++) {
    const c = bytes[at]!;
    if (c < 0x30 || c > 0x39) return false;
  }
  return true;
}

function isVersion(bytes: Buffer, spans: readonly number[], at: number): boolean {
  const plain = bytes[at + 1] === 0x32 && bytes[at + 2] === 0x2e && bytes[at + 3] === 0x30 && bytes[at + 4] === QUOTE;
  return bytes[at] === QUOTE && (plain || JSON.parse(bytes.toString('utf8', at, spans[2 * JSONRPC + 1])) === '2.0');
}

function isError(bytes: Buffer, spans: readonly number[], start: number): boolean {
  const code = spans[2 * Field.errorCode]!;
  const message = spans[2 * ERROR_MESSAGE]!;
  return (
    bytes[start] === 0x7b &&
    code >= 0 &&
    message >= 0 &&
    bytes[message] === QUOTE &&
    /^-?\d+$/.test(textAt(bytes, spans, Field.errorCode))
  );
}

/** The method; a known one without making a string. */
export function methodText(bytes: Buffer, spans: readonly number[]): string {
  const start = spans[2 * Field.method]! + 1;
  const stop = spans[2 * Field.method + 1]! - 1;
  let name: Name<string> | undefined = methodNames.candidates(signature(bytes, start, stop));
  for (; name !== undefined; name = name.next) {
    if (compareName(bytes, start, stop, name.bytes) === 2) return name.value;
  }
  const text = bytes.toString('utf8', start, stop);
  return text.includes('\\') ? (JSON.parse(`"${text}"`) as string) : text;
}
