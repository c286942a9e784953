/**
 * The strict pass over a JSON-RPC body: validates every byte of it and finds the members that somebody needs,
 * without building anything. Whatever two parsers could read differently is refused, so that what was authorised
 * is what the server executes (RFC 8259 sections 4, 6 and 8; JSON-RPC 2.0; MCP 2026-07-28, basic protocol).
 *
 * The state of a scan lives in this module: scanning is synchronous and never re-entered.
 */
import { isUtf8 } from 'node:buffer';
import type { TollgateError } from '../../core/errors.ts';
import { Field, Message } from '../message.ts';
import { MAX_DEPTH, type ScanCaps } from './caps.ts';
import { envelopeKind, isId, methodText } from './envelope.ts';
import { ENVELOPE, type Level, type Place, SPAN_COUNT } from './levels.ts';
import { compareName, type Name, signature } from './names.ts';
import { type ScanRule, scanError } from './rules.ts';
import {
  decodeKey,
  escapeEnd,
  firstInvalidUtf8,
  NON_ASCII,
  numberEnd,
  numberLosesForm,
  plainEnd,
  WITH_ESCAPE,
} from './text.ts';

export { DEFAULT_SCAN_CAPS, type ScanCaps } from './caps.ts';
export { failedId } from './rules.ts';

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** From this many keys of one object on, duplicates are looked up in a set instead of pair by pair. */
const PAIRWISE_KEYS = 24;

/** Bytes of a string looked at one by one before the native search takes over. */
const SHORT_STRING = 96;

const NO_SPANS: readonly number[] = new Array<number>(2 * SPAN_COUNT).fill(-1);

let bytes: Buffer = Buffer.alloc(0);
let spans: number[] = [];
let depth = 0;
let keys = 0;
let flags = 0;
let exactNumbers = false;
let maxDepth = 0;
let maxKeys = 0;
let maxString = 0;
let loose = false;

// Keys of the objects that are open now: place and signature, innermost object last.
let open = 0;
let keyStart = new Int32Array(256);
let keyEnd = new Int32Array(256);
let keySign = new Int32Array(256);

/**
 * Validates one JSON-RPC message and locates its fields. Throws a TollgateError `parse_error` (not strict JSON) or
 * `invalid_request` (ambiguous, over a cap, or no message of this protocol) that names the byte and the rule;
 * `failedId(error)` then has the id when it was read.
 */
export function scan(body: Buffer, caps: ScanCaps): Message {
  bytes = body;
  spans = NO_SPANS.slice();
  depth = 0;
  keys = 0;
  open = 0;
  flags = 0;
  exactNumbers = false;
  maxDepth = Math.min(caps.depth, MAX_DEPTH);
  maxKeys = caps.keys;
  maxString = caps.string;
  loose = caps.looseText === true;
  const start = skipSpace(body, 0);
  if (peek(body, start) !== 0x7b) throw notAnObject(body, start);
  const end = skipSpace(body, scanObject(body, start + 1, ENVELOPE));
  if (end !== body.length) throw refuse('trailing', end);
  if ((flags & NON_ASCII) !== 0 && !isUtf8(bytes)) throw refuse('utf8', firstInvalidUtf8(bytes));
  const kind = envelopeKind(bytes, spans, start, refuse);
  const method = kind === 'request' || kind === 'notification' ? methodText(bytes, spans) : '';
  return new Message(body, kind, method, spans, exactNumbers);
}

function refuse(rule: ScanRule, at: number): TollgateError {
  const start = spans[2 * Field.id]!;
  const known = start >= 0 && isId(bytes, spans, start);
  return scanError(
    at >= bytes.length && rule === 'syntax' ? 'end' : rule,
    at,
    known ? bytes.toString('latin1', start, spans[2 * Field.id + 1]!) : undefined,
  );
}

/** The body is no object: says what it is. */
function notAnObject(b: Buffer, start: number): TollgateError {
  if (b[0] === 0xef && b[1] === 0xbb && b[2] === 0xbf) return refuse('bom', 0);
  if (b[start] === 0x5b) return refuse('batch', start);
  const end = skipSpace(b, scanValue(b, start));
  return end === b.length ? refuse('object', start) : refuse('trailing', end);
}

/** The byte at a place, 0 behind the end: reading there would make the optimised code slower for good. */
function peek(b: Buffer, at: number): number {
  return at < b.length ? b[at]! : 0;
}

function skipSpace(b: Buffer, at: number): number {
  const end = b.length;
  while (at < end) {
    const c = b[at]!;
    if (c > 0x20 || (c !== 0x20 && c !== 0x0a && c !== 0x0d && c !== 0x09)) return at;
    at++;
  }
  return at;
}

function scanValue(b: Buffer, at: number): number {
  const c = peek(b, at);
  if (c === QUOTE) return scanString(b, at + 1, false) + 1;
  if (c === 0x7b) return scanObject(b, at + 1, undefined);
  if (c === 0x5b) return scanArray(b, at + 1);
  if (c === 0x74) return literalEnd(b, at, 0x72, 0x75, 0x65);
  if (c === 0x6e) return literalEnd(b, at, 0x75, 0x6c, 0x6c);
  if (c === 0x66) {
    if (peek(b, at + 1) !== 0x61) throw refuse('syntax', at + 1);
    return literalEnd(b, at + 1, 0x6c, 0x73, 0x65);
  }
  return scanNumber(b, at, c);
}

/** The three bytes that follow the first one of `true`, `null` and `alse`. */
function literalEnd(b: Buffer, at: number, first: number, second: number, third: number): number {
  if (peek(b, at + 1) !== first || peek(b, at + 2) !== second || peek(b, at + 3) !== third) {
    throw refuse('syntax', at);
  }
  return at + 4;
}

function scanNumber(b: Buffer, at: number, c: number): number {
  // Up to 15 digits and nothing else: exact in a double, and written the same way.
  if (c >= 0x31 && c <= 0x39) {
    let end = at;
    do {
      end++;
      c = peek(b, end);
    } while (c >= 0x30 && c <= 0x39);
    if (end - at <= 15 && c !== 0x2e && c !== 0x45 && c !== 0x65) return end;
  } else if (c !== 0x2d && c !== 0x30) {
    throw refuse('syntax', at);
  }
  const end = numberEnd(b, at);
  if (end < 0) throw refuse('number', -end);
  const loses = numberLosesForm(b.toString('latin1', at, end));
  if (loses === undefined) throw refuse('infinite', at);
  if (loses) exactNumbers = true;
  return end;
}

/** From the byte after the opening quote to the place of the closing one. */
function scanString(b: Buffer, start: number, isKey: boolean): number {
  const near = Math.min(b.length, start + SHORT_STRING);
  let all = 0;
  for (let at = start; at < near; at++) {
    const c = b[at]!;
    if (c === QUOTE) {
      flags |= all & NON_ASCII;
      if (at - start > maxString) throw refuse('string', start);
      return at;
    }
    if (c === BACKSLASH || c < 0x20) return scanRest(b, start, at, all & NON_ASCII, isKey);
    all |= c;
  }
  return scanRest(b, start, near, all & NON_ASCII, isKey);
}

/** The rest of a string that is long or has escapes. `found`: what it holds up to here. */
function scanRest(b: Buffer, start: number, at: number, found: number, isKey: boolean): number {
  const length = b.length;
  const allowAll = loose && !isKey;
  let all = found;
  let near = at;
  for (;;) {
    if (at >= length) throw refuse('end', length);
    const c = b[at]!;
    if (c === BACKSLASH) {
      const next = escapeEnd(b, at, allowAll);
      if (typeof next !== 'number') throw refuse(next, at);
      all |= WITH_ESCAPE;
      at = next;
      near = at + SHORT_STRING < length ? at + SHORT_STRING : length;
    } else if (c === QUOTE) {
      if (at - start > maxString) throw refuse('string', start);
      flags |= all & (NON_ASCII | WITH_ESCAPE);
      return at;
    } else if (c < 0x20) {
      throw refuse('control', at);
    } else if (at < near) {
      all |= c;
      at++;
    } else {
      // Cheaper than a look at each byte; whether all of it is UTF-8 is found at the end.
      if (at - start > maxString) throw refuse('string', start);
      at = plainEnd(b, at);
      all |= NON_ASCII;
    }
  }
}

function scanArray(b: Buffer, at: number): number {
  if (++depth > maxDepth) throw refuse('depth', at - 1);
  at = skipSpace(b, at);
  if (peek(b, at) === 0x5d) {
    depth--;
    return at + 1;
  }
  for (;;) {
    at = skipSpace(b, scanValue(b, at));
    const c = peek(b, at);
    if (c === 0x2c) {
      at = skipSpace(b, at + 1);
    } else if (c === 0x5d) {
      depth--;
      return at + 1;
    } else {
      throw refuse('syntax', at);
    }
  }
}

function scanObject(b: Buffer, at: number, level: Level | undefined): number {
  if (++depth > maxDepth) throw refuse('depth', at - 1);
  const base = open;
  let set: Set<string> | undefined;
  let c = peek(b, at);
  if (c !== QUOTE) {
    at = skipSpace(b, at);
    if (peek(b, at) === 0x7d) {
      depth--;
      return at + 1;
    }
  }
  for (;;) {
    if (peek(b, at) !== QUOTE) throw refuse('syntax', at);
    const start = at + 1;
    const before = flags;
    flags = 0;
    const stop = scanString(b, start, true);
    const own = flags;
    flags = before | own;
    if (++keys > maxKeys) throw refuse('keys', start);

    const sign = signature(b, start, stop);
    let isProto: boolean;
    if (set === undefined && (own & WITH_ESCAPE) === 0 && open - base < PAIRWISE_KEYS) {
      noteKey(b, base, start, stop, sign, level);
      isProto = sign === PROTO_SIGN && compareName(b, start, stop, PROTO) === 2;
    } else {
      const text = decodeKey(b, start, stop, own);
      set ??= keysSince(b, base);
      if (set.has(text)) throw refuseDuplicate(level, text, start);
      set.add(text);
      isProto = text === '__proto__';
    }
    if (isProto) throw refuse('proto', start);
    const place = level === undefined ? undefined : placeOf(b, level, start, stop, sign, own);

    at = stop + 1;
    c = peek(b, at);
    if (c !== 0x3a) {
      at = skipSpace(b, at);
      if (peek(b, at) !== 0x3a) throw refuse('syntax', at);
    }
    at++;
    c = peek(b, at);
    if (c <= 0x20) {
      at = skipSpace(b, at);
      c = peek(b, at);
    }
    if (place === undefined) {
      at = c === QUOTE ? scanString(b, at + 1, false) + 1 : scanValue(b, at);
    } else {
      const value = at;
      at = place.below !== undefined && c === 0x7b ? scanObject(b, at + 1, place.below) : scanValue(b, at);
      if (place.field >= 0) {
        spans[2 * place.field] = value;
        spans[2 * place.field + 1] = at;
      }
    }

    c = peek(b, at);
    if (c !== 0x2c && c !== 0x7d) {
      at = skipSpace(b, at);
      c = peek(b, at);
    }
    at++;
    if (c === 0x2c) {
      if (peek(b, at) <= 0x20) at = skipSpace(b, at);
    } else if (c === 0x7d) {
      open = base;
      depth--;
      return at;
    } else {
      throw refuse('syntax', at - 1);
    }
  }
}

const PROTO = Buffer.from('__proto__');
const PROTO_SIGN = signature(PROTO, 0, PROTO.length);

/** Remembers a key without escapes; refuses it when the object, whose keys begin at `base`, has it already. */
function noteKey(b: Buffer, base: number, start: number, stop: number, sign: number, level: Level | undefined): void {
  for (let k = base; k < open; k++) {
    if (keySign[k] === sign && sameBytes(b, keyStart[k]!, keyEnd[k]!, start, stop)) {
      throw refuseDuplicate(level, b.toString('utf8', start, stop), start);
    }
  }
  if (open === keySign.length) {
    // Bounded by the cap on depth: at most PAIRWISE_KEYS for each open object.
    keyStart = grown(keyStart);
    keyEnd = grown(keyEnd);
    keySign = grown(keySign);
  }
  keyStart[open] = start;
  keyEnd[open] = stop;
  keySign[open] = sign;
  open++;
}

function sameBytes(b: Buffer, start: number, end: number, otherStart: number, otherEnd: number): boolean {
  if (end - start !== otherEnd - otherStart) return false;
  while (start < end && b[start] === b[otherStart]) {
    start++;
    otherStart++;
  }
  return start === end;
}

function grown(array: Int32Array<ArrayBuffer>): Int32Array<ArrayBuffer> {
  const larger = new Int32Array(2 * array.length);
  larger.set(array);
  return larger;
}

/** The noted keys of the innermost object as a set: V8 seeds its string hashes, so no caller can make them collide. */
function keysSince(b: Buffer, base: number): Set<string> {
  const set = new Set<string>();
  for (let k = base; k < open; k++) set.add(b.toString('utf8', keyStart[k]!, keyEnd[k]!));
  return set;
}

function refuseDuplicate(level: Level | undefined, key: string, start: number): TollgateError {
  // With two ids neither may be echoed.
  if (level === ENVELOPE && key === 'id') spans[2 * Field.id] = -1;
  return refuse('duplicate', start);
}

/** What the key means at this level; refuses spellings that a case-insensitive parser would take for a name. */
function placeOf(b: Buffer, level: Level, start: number, stop: number, sign: number, own: number): Place | undefined {
  if (own === 0) {
    let name: Name<Place> | undefined = level.names.candidates(sign);
    for (; name !== undefined; name = name.next) {
      const same = compareName(b, start, stop, name.bytes);
      if (same === 2) return name.value;
      if (same === 1 && level.strict) throw refuse('variant', start);
    }
    return undefined;
  }
  const text = decodeKey(b, start, stop, own);
  if (level.strict && level.names.isVariant(text)) throw refuse('variant', start);
  return level.names.byText(text)?.value;
}
