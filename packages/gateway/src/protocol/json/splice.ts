/**
 * Making messages: from the bytes of another one with a few members replaced, from JSON texts, or from an object.
 * Replacing copies the original bytes around the members, so everything else is sent exactly as it came.
 */
import { Field, type FieldId, type Message } from '../message.ts';
import { MAX_DEPTH, type ScanCaps } from './caps.ts';
import { scan } from './scan.ts';

/** A field and the JSON text to put in its place. */
export type Edit = readonly [field: FieldId, text: string];

/** Below this many bytes a loop is cheaper than a native call. */
const SHORT_COPY = 48;

function copy(source: Buffer, from: number, to: number, target: Buffer, at: number): number {
  if (to - from > SHORT_COPY) {
    source.copy(target, at, from, to);
    return at + to - from;
  }
  while (from < to) target[at++] = source[from++]!;
  return at;
}

/** UTF-8 bytes of a text. */
function sizeOf(text: string): number {
  const { length } = text;
  if (length > SHORT_COPY) return Buffer.byteLength(text);
  for (let i = 0; i < length; i++) if (text.charCodeAt(i) > 0x7f) return Buffer.byteLength(text);
  return length;
}

function write(text: string, size: number, target: Buffer, at: number): number {
  if (size === text.length && size <= SHORT_COPY) {
    for (let i = 0; i < size; i++) target[at + i] = text.charCodeAt(i);
  } else {
    target.write(text, at, size, 'utf8');
  }
  return at + size;
}

/**
 * The bytes of a message with the values of fields replaced by JSON texts. Every field must be present, none may
 * lie inside another and none may be given twice: anything else is a mistake of the caller and throws a RangeError.
 */
export function replaceFields(message: Message, edits: readonly Edit[]): Buffer {
  const { spans } = message;
  if (edits.length === 0) return message.bytes;
  // By place; there are few, and they mostly come in order.
  const ordered = edits.slice();
  for (let i = 1; i < ordered.length; i++) {
    const edit = ordered[i]!;
    const start = spans[2 * edit[0]]!;
    let k = i - 1;
    for (; k >= 0 && spans[2 * ordered[k]![0]]! > start; k--) ordered[k + 1] = ordered[k]!;
    ordered[k + 1] = edit;
  }
  let total = message.length;
  let last = 0;
  for (const [field, text] of ordered) {
    const start = spans[2 * field]!;
    if (start < last || start < 0) throw new RangeError(`Field ${field} cannot be replaced here`);
    last = spans[2 * field + 1]!;
    total += sizeOf(text) - (last - start);
  }
  const result = Buffer.allocUnsafe(total);
  let read = 0;
  let at = 0;
  for (const [field, text] of ordered) {
    at = copyOf(message, read, spans[2 * field]!, result, at);
    at = write(text, sizeOf(text), result, at);
    read = spans[2 * field + 1]!;
  }
  copyOf(message, read, message.length, result, at);
  return result;
}

/** Copies a part of a message, from the pieces in which it came when it was not joined. */
function copyOf(message: Message, start: number, end: number, target: Buffer, at: number): number {
  if (!message.inPieces) return copy(message.bytes, start, end, target, at);
  let next = at;
  for (const slice of message.slices(start, end)) next += slice.copy(target, next);
  return next;
}

/** A response under another id (JSON text). An error response that came without an id gets one. */
export function responseBytes(message: Message, id: string): Buffer {
  const { bytes, spans } = message;
  let start = spans[2 * Field.id]!;
  let end = spans[2 * Field.id + 1]!;
  let text = id;
  if (start < 0) {
    start = bytes.indexOf(0x7b) + 1;
    end = start;
    text = `"id":${id},`;
  }
  const size = sizeOf(text);
  const result = Buffer.allocUnsafe(bytes.length - (end - start) + size);
  const at = write(text, size, result, copy(bytes, 0, start, result, 0));
  copy(bytes, end, bytes.length, result, at);
  return result;
}

/** Like `responseBytes`, but as Buffers to be written one after the other: nothing large is copied. */
export function responseSlices(message: Message, id: string): readonly Buffer[] {
  const start = message.spans[2 * Field.id]!;
  if (start < 0) return [responseBytes(message, id)];
  const end = message.spans[2 * Field.id + 1]!;
  return [...message.slices(0, start), Buffer.from(id), ...message.slices(end, message.length)];
}

/**
 * The bytes of a message with members added at the front of the object that is the value of `field`. `members` is
 * JSON text without braces (`"a":1,"b":2`); the caller makes sure that the object has none of these keys.
 */
export function addMembers(message: Message, field: FieldId, members: string): Buffer {
  const { bytes, spans } = message;
  const open = spans[2 * field]!;
  if (open < 0 || bytes[open] !== 0x7b) throw new RangeError(`Field ${field} is not an object`);
  let next = open + 1;
  while (bytes[next]! <= 0x20) next++;
  const text = bytes[next] === 0x7d ? members : `${members},`;
  const size = sizeOf(text);
  const result = Buffer.allocUnsafe(bytes.length + size);
  const at = write(text, size, result, copy(bytes, 0, open + 1, result, 0));
  copy(bytes, open + 1, bytes.length, result, at);
  return result;
}

/** For the gateway's own messages: what they are made of was scanned before. */
const OWN: ScanCaps = {
  depth: MAX_DEPTH,
  keys: Number.MAX_SAFE_INTEGER,
  string: Number.MAX_SAFE_INTEGER,
  looseText: true,
};

/** An object as a message; numbers kept by `parseLossless` are written with the text they came with. */
export function encode(object: Readonly<Record<string, unknown>>): Message {
  return scan(Buffer.from(JSON.stringify(object)), OWN);
}

/** A request; `id` and `params` are JSON texts. */
export function requestBytes(id: string, method: string, params: string | undefined): Buffer {
  const rest = params === undefined ? '}' : `,"params":${params}}`;
  return Buffer.from(`{"jsonrpc":"2.0","id":${id},"method":${JSON.stringify(method)}${rest}`);
}

/** A notification; `params` is JSON text. */
export function notificationBytes(method: string, params: string | undefined): Buffer {
  const rest = params === undefined ? '}' : `,"params":${params}}`;
  return Buffer.from(`{"jsonrpc":"2.0","method":${JSON.stringify(method)}${rest}`);
}

/** A successful response; `id` and `result` are JSON texts. */
export function resultBytes(id: string, result: string): Buffer {
  return Buffer.from(`{"jsonrpc":"2.0","id":${id},"result":${result}}`);
}

/** An error response. `id` is JSON text; without one the response has none (MCP: the id is optional then). */
export function errorBytes(id: string | undefined, code: number, message: string, data?: unknown): Buffer {
  const start = id === undefined ? '{"jsonrpc":"2.0"' : `{"jsonrpc":"2.0","id":${id}`;
  return Buffer.from(`${start},"error":${JSON.stringify({ code, message, data })}}`);
}
