/**
 * The strict pass over a JSON-RPC body: validates every byte of it and finds the members that somebody needs,
 * without building anything. Whatever two parsers could read differently is refused, so that what was authorised
 * is what the server executes (RFC 8259 sections 4, 6 and 8; JSON-RPC 2.0; MCP 2026-07-28, basic protocol).
 *
 * The state of a scan lives in this module: scanning is synchronous and never re-entered.
 */
import { isUtf8 } from 'node:buffer';
import type { TollgateError } from '../../core/errors.ts';
import { Field, Message, sizeOfPieces } from '../message.ts';
import { MAX_BODY, MAX_DEPTH, type ScanCaps } from './caps.ts';
import { envelopeKind, isId, methodText } from './envelope.ts';
import { ENVELOPE, type Level, type Member, SPAN_COUNT } from './levels.ts';
import { compareName, type Name, signature } from './names.ts';
import { type ScanRule, scanError } from './rules.ts';
import {
  decodeKey,
  escapeEnd,
  firstInvalidUtf8,
  numberEnd,
  numberLosesForm,
  plainEnd,
  plainNumberEnd,
} from './text.ts';

export { DEFAULT_SCAN_CAPS, type ScanCaps } from './caps.ts';

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const PROTO = Buffer.from('__proto__');

/** From this many keys of one object on, duplicates are looked up in a set instead of pair by pair. */
const PAIRWISE_KEYS = 24;

/** Zeros behind the body: more than any look ahead. */
const PADDING = 64;

const NO_SPANS: readonly number[] = new Array<number>(2 * SPAN_COUNT).fill(-1);

/**
 * Every body is copied here first: that costs little, and for a constant array with zeros behind the body the
 * optimised code needs no checks and can look at four bytes at a time. The system gives the memory when it is used.
 */
const bytes = Buffer.from(new ArrayBuffer(MAX_BODY + PADDING));
const words = new DataView(bytes.buffer);

let limit = 0;
let spans: number[] = [];
let keys = 0;
/** Counts the strings that are more than short plain ASCII: escapes, other characters, long. */
let marks = 0;
/** Some string may have bytes outside of ASCII. */
let wide = false;
let exactNumbers = false;
let maxDepth = 0;
let maxKeys = 0;
let maxString = 0;
let loose = false;

/** Where the keys of the objects that are open now start, innermost object last; only keys compared pair by pair. */
let keyStart = new Int32Array(256);
let open = 0;

/**
 * Validates one JSON-RPC message and locates its fields. Throws a TollgateError `parse_error` (not strict JSON) or
 * `invalid_request` (ambiguous, over a cap, or no message of this protocol) that names the byte and the rule;
 * `failedId(error)` then has the id when it was read. A body that came in pieces need not be joined for this.
 */
export function scan(message: Buffer | readonly Buffer[], caps: ScanCaps): Message {
  limit = message instanceof Uint8Array ? message.length : sizeOfPieces(message);
  spans = NO_SPANS.slice();
  if (limit > MAX_BODY) throw refuse('size', MAX_BODY);
  if (message instanceof Uint8Array) bytes.set(message);
  else copyPieces(message);
  for (let at = limit; at < limit + PADDING; at += 4) words.setInt32(at, 0);
  keys = 0;
  open = 0;
  marks = 0;
  wide = false;
  exactNumbers = false;
  maxDepth = Math.min(caps.depth, MAX_DEPTH);
  maxKeys = caps.keys;
  maxString = caps.string;
  loose = caps.looseText === true;
  const start = skipSpace(0);
  if (bytes[start] !== 0x7b) throw notAnObject(start);
  const end = skipSpace(scanLevel(start + 1, 1, ENVELOPE));
  if (end !== limit) throw refuse('trailing', end);
  if (wide) refuseInvalidUtf8(bytes.subarray(0, limit));
  const kind = envelopeKind(bytes, spans, start, refuse);
  const method = kind === 'request' || kind === 'notification' ? methodText(bytes, spans) : '';
  return new Message(message, kind, method, spans, exactNumbers);
}

function copyPieces(pieces: readonly Buffer[]): void {
  let at = 0;
  for (const piece of pieces) {
    bytes.set(piece, at);
    at += piece.length;
  }
}

function refuseInvalidUtf8(body: Buffer): void {
  if (!isUtf8(body)) throw refuse('utf8', firstInvalidUtf8(body));
}

function refuse(rule: ScanRule, at: number): TollgateError {
  const start = spans[2 * Field.id]!;
  const known = start >= 0 && isId(bytes, spans, start);
  return scanError(
    at >= limit && rule === 'syntax' ? 'end' : rule,
    at,
    known ? bytes.toString('latin1', start, spans[2 * Field.id + 1]!) : undefined,
  );
}

/** The body is no object: says what it is. */
function notAnObject(start: number): TollgateError {
  if (bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf) return refuse('bom', 0);
  if (bytes[start] === 0x5b) return refuse('batch', start);
  const end = skipSpace(scanValue(start, 0));
  return end === limit ? refuse('object', start) : refuse('trailing', end);
}

/** First byte that is no white space. The zeros behind the body are none. */
function skipSpace(at: number): number {
  for (;;) {
    const c = bytes[at]!;
    if (c > 0x20 || (c !== 0x20 && c !== 0x0a && c !== 0x0d && c !== 0x09)) return at;
    at++;
  }
}

/** One value inside of `depth` objects and arrays: from its first byte to the one behind its last. */
function scanValue(at: number, depth: number): number {
  const c = bytes[at]!;
  if (c === QUOTE) return scanString(at + 1, false) + 1;
  if (c === 0x7b) return scanObject(at + 1, depth + 1);
  if (c === 0x5b) return scanArray(at + 1, depth + 1);
  if (c === 0x74) return literalEnd(at, 0x72, 0x75, 0x65);
  if (c === 0x6e) return literalEnd(at, 0x75, 0x6c, 0x6c);
  if (c === 0x66) {
    if (bytes[at + 1] !== 0x61) throw refuse('syntax', at + 1);
    return literalEnd(at + 1, 0x6c, 0x73, 0x65);
  }
  return scanNumber(at, c);
}

/** The three bytes that follow the first one of `true`, `null` and `alse`. */
function literalEnd(at: number, first: number, second: number, third: number): number {
  if (bytes[at + 1] !== first || bytes[at + 2] !== second || bytes[at + 3] !== third) {
    throw refuse('syntax', at);
  }
  return at + 4;
}

function scanNumber(at: number, c: number): number {
  if (c !== 0x2d && (c < 0x30 || c > 0x39)) throw refuse('syntax', at);
  // Not -0, whose sign would be lost.
  const digits = c === 0x2d ? at + 1 : at;
  const plain = digits > at && bytes[digits] === 0x30 ? 0 : plainNumberEnd(bytes, digits);
  if (plain > 0) return plain;
  const end = numberEnd(bytes, at);
  if (end < 0) throw refuse('number', -end);
  const loses = numberLosesForm(bytes.toString('latin1', at, end));
  if (loses === undefined) throw refuse('infinite', at);
  if (loses) exactNumbers = true;
  return end;
}

/**
 * From the byte after the opening quote to the place of the closing one, four bytes at a time. In ASCII `x - 1` has
 * its high bit set exactly when x is 0; a borrow only reaches bytes above the first that is met.
 */
function scanString(start: number, isKey: boolean): number {
  let at = start;
  for (;;) {
    const w = words.getInt32(at, true);
    const met = (((w ^ 0x22222222) - 0x01010101) | ((w ^ 0x5c5c5c5c) - 0x01010101) | (w - 0x20202020) | w) & 0x80808080;
    if (met !== 0) {
      at += (31 - Math.clz32(met & -met)) >> 3;
      break;
    }
    at += 4;
  }
  if (bytes[at] !== QUOTE) return scanRest(start, at, isKey);
  if (at - start > maxString) throw refuse('string', start);
  return at;
}

/** The rest of a string that has escapes or is not only ASCII, or that is wrong. */
function scanRest(start: number, at: number, isKey: boolean): number {
  marks++;
  const allowAll = loose && !isKey;
  for (;;) {
    const c = bytes[at]!;
    if (c === QUOTE) {
      if (at - start > maxString) throw refuse('string', start);
      return at;
    }
    if (c === BACKSLASH) {
      const next = escapeEnd(bytes, at, allowAll);
      if (typeof next !== 'number') throw refuse(next, at);
      at = next;
    } else if (c < 0x20) {
      throw refuse(at >= limit ? 'end' : 'control', at);
    } else {
      // Whether all of it is UTF-8 is found at the end.
      wide = true;
      at = plainEnd(bytes, words, at);
    }
  }
}

function scanArray(at: number, depth: number): number {
  if (depth > maxDepth) throw refuse('depth', at - 1);
  at = skipSpace(at);
  if (bytes[at] === 0x5d) return at + 1;
  for (;;) {
    at = scanValue(at, depth);
    let c = bytes[at]!;
    if (c <= 0x20) {
      at = skipSpace(at);
      c = bytes[at]!;
    }
    at++;
    if (c === 0x2c) {
      if (bytes[at]! <= 0x20) at = skipSpace(at);
    } else if (c === 0x5d) {
      return at;
    } else {
      throw refuse('syntax', at - 1);
    }
  }
}

/** Any object but the ones of the envelope. */
function scanObject(at: number, depth: number): number {
  if (depth > maxDepth) throw refuse('depth', at - 1);
  at = skipSpace(at);
  if (bytes[at] === 0x7d) return at + 1;
  const base = open;
  let set: Set<string> | undefined;
  let mask = 0;
  for (;;) {
    if (bytes[at] !== QUOTE) throw refuse('syntax', at);
    const start = at + 1;
    const before = marks;
    const stop = scanString(start, true);
    if (++keys > maxKeys) throw refuse('keys', start);
    if (marks !== before || set !== undefined || open - base >= PAIRWISE_KEYS) {
      set = noteInSet(base, set, start, stop);
    } else {
      // A filter: most keys differ in one of these, and then no other key has to be looked at.
      const bit = 1 << ((bytes[start]! + 3 * bytes[stop - 1]! + 5 * (stop - start)) & 31);
      if ((mask & bit) !== 0 && isRepeated(base, start)) throw refuse('duplicate', start);
      mask |= bit;
      noteKey(start, stop);
    }
    at = valueStart(stop + 1);
    at = memberEnd(scanValue(at, depth));
    if (bytes[at - 1] === 0x7d) {
      open = base;
      return at;
    }
    if (bytes[at]! <= 0x20) at = skipSpace(at);
  }
}

/** An object of the envelope: finds its known members and refuses keys that could be taken for them. */
function scanLevel(at: number, depth: number, level: Level): number {
  if (depth > maxDepth) throw refuse('depth', at - 1);
  at = skipSpace(at);
  if (bytes[at] === 0x7d) return at + 1;
  const base = open;
  let set: Set<string> | undefined;
  let seen = 0;
  let previous = level.before;
  for (;;) {
    if (bytes[at] !== QUOTE) throw refuse('syntax', at);
    const start = at + 1;
    let name = previous.follower;
    if (name !== undefined && isNext(start, name)) {
      at = start + name.size;
    } else {
      const before = marks;
      const stop = scanString(start, true);
      name = nameOf(level, start, stop, marks !== before);
      if (name !== undefined) previous.follower = name;
      else if (marks !== before || set !== undefined || open - base >= PAIRWISE_KEYS) {
        set = noteInSet(base, set, start, stop);
      } else {
        if (isRepeated(base, start)) throw refuse('duplicate', start);
        noteKey(start, stop);
      }
      at = stop + 1;
    }
    if (++keys > maxKeys) throw refuse('keys', start);
    at = valueStart(at);
    const value = at;
    if (name === undefined) {
      at = scanValue(at, depth);
    } else {
      if ((seen & name.bit) !== 0) throw refuseRepeated(name.field, start);
      seen |= name.bit;
      previous = name;
      at =
        name.below !== undefined && bytes[at] === 0x7b
          ? scanLevel(at + 1, depth + 1, name.below)
          : scanValue(at, depth);
      if (name.field >= 0) {
        spans[2 * name.field] = value;
        spans[2 * name.field + 1] = at;
      }
    }
    at = memberEnd(at);
    if (bytes[at - 1] === 0x7d) {
      open = base;
      return at;
    }
    if (bytes[at]! <= 0x20) at = skipSpace(at);
  }
}

/** From behind a key to the first byte of its value. */
function valueStart(at: number): number {
  if (bytes[at] !== 0x3a) {
    at = skipSpace(at);
    if (bytes[at] !== 0x3a) throw refuse('syntax', at);
  }
  at++;
  return bytes[at]! <= 0x20 ? skipSpace(at) : at;
}

/** From behind a value to behind the comma or the brace that must follow. */
function memberEnd(at: number): number {
  let c = bytes[at]!;
  if (c <= 0x20) {
    at = skipSpace(at);
    c = bytes[at]!;
  }
  if (c !== 0x2c && c !== 0x7d) throw refuse('syntax', at);
  return at + 1;
}

/** Whether the key that starts here is this member's. */
function isNext(start: number, member: Member): boolean {
  const name = member.words;
  let at = start;
  for (let i = 0; i < name.length; i++) {
    if (words.getInt32(at, true) !== name[i]) return false;
    at += 4;
  }
  return (words.getInt32(at, true) & member.mask) === member.rest;
}

/** Whether the object whose keys begin at `base` has this key already. None of them has escapes: bytes decide. */
function isRepeated(base: number, start: number): boolean {
  for (let k = base; k < open; k++) {
    let one = keyStart[k]!;
    let other = start;
    while (bytes[one] === bytes[other]) {
      if (bytes[one] === QUOTE) return true;
      one++;
      other++;
    }
  }
  return false;
}

function noteKey(start: number, stop: number): void {
  if (bytes[start] === 0x5f && stop - start === 9 && compareName(bytes, start, stop, PROTO) === 2)
    throw refuse('proto', start);
  if (open === keyStart.length) {
    // Bounded by the cap on depth: at most PAIRWISE_KEYS for each open object.
    const larger = new Int32Array(2 * open);
    larger.set(keyStart);
    keyStart = larger;
  }
  keyStart[open++] = start;
}

/** For objects of many or unusual keys. V8 seeds its string hashes, so no caller can make the keys collide. */
function noteInSet(base: number, set: Set<string> | undefined, start: number, stop: number): Set<string> {
  if (set === undefined) {
    set = new Set();
    for (let k = base; k < open; k++) set.add(decodeKey(bytes, keyStart[k]!, bytes.indexOf(QUOTE, keyStart[k]!)));
  }
  const text = decodeKey(bytes, start, stop);
  if (text === '__proto__') throw refuse('proto', start);
  if (set.has(text)) throw refuse('duplicate', start);
  set.add(text);
  return set;
}

function refuseRepeated(field: number, start: number): TollgateError {
  // With two ids neither may be echoed.
  if (field === Field.id) spans[2 * Field.id] = -1;
  return refuse('duplicate', start);
}

/** The known member that a key names; refuses spellings that a case-insensitive parser would take for one. */
function nameOf(level: Level, start: number, stop: number, unusual: boolean): Member | undefined {
  if (!unusual) {
    let name: Name<Member> | undefined = level.names.candidates(signature(bytes, start, stop));
    for (; name !== undefined; name = name.next) {
      const same = compareName(bytes, start, stop, name.bytes);
      if (same === 2) return name.value;
      if (same === 1 && level.strict) throw refuse('variant', start);
    }
    return undefined;
  }
  const text = decodeKey(bytes, start, stop);
  if (level.strict && level.names.isVariant(text)) throw refuse('variant', start);
  return level.names.byText(text)?.value;
}
