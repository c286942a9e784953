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
import { ENVELOPE, type Level, type Member, SPAN_COUNT } from './levels.ts';
import { compareName, type Name, signature, startsWith } from './names.ts';
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
export { failedId } from './rules.ts';

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const PROTO = Buffer.from('__proto__');

/** From this many keys of one object on, duplicates are looked up in a set instead of pair by pair. */
const PAIRWISE_KEYS = 24;

/** Bytes of a string looked at one by one before words take over, for which a view must be made once. */
const SHORT_STRING = 256;
/** The same behind an escape. */
const SHORT_RUN = 8;

const NO_SPANS: readonly number[] = new Array<number>(2 * SPAN_COUNT).fill(-1);

let bytes: Buffer = Buffer.alloc(0);
let spans: number[] = [];
let keys = 0;
/** Counts the strings that are more than short plain ASCII: escapes, other characters, long. */
let marks = 0;
/** Some string may have bytes outside of ASCII. */
let wide = false;
let exactNumbers = false;
/** The body in words, once it was needed. */
let view: DataView | undefined;
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
 * `failedId(error)` then has the id when it was read.
 */
export function scan(body: Buffer, caps: ScanCaps): Message {
  bytes = body;
  spans = NO_SPANS.slice();
  keys = 0;
  open = 0;
  marks = 0;
  wide = false;
  exactNumbers = false;
  view = undefined;
  maxDepth = Math.min(caps.depth, MAX_DEPTH);
  maxKeys = caps.keys;
  maxString = caps.string;
  loose = caps.looseText === true;
  const start = skipSpace(body, 0);
  if (peek(body, start) !== 0x7b) throw notAnObject(body, start);
  const end = skipSpace(body, scanLevel(body, start + 1, 1, ENVELOPE));
  if (end !== body.length) throw refuse('trailing', end);
  if (wide && !isUtf8(body)) throw refuse('utf8', firstInvalidUtf8(body));
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
  const end = skipSpace(b, scanValue(b, start, 0));
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

/** One value inside of `depth` objects and arrays: from its first byte to the one behind its last. */
function scanValue(b: Buffer, at: number, depth: number): number {
  const c = peek(b, at);
  if (c === QUOTE) return scanString(b, at + 1, false) + 1;
  if (c === 0x7b) return scanObject(b, at + 1, depth + 1);
  if (c === 0x5b) return scanArray(b, at + 1, depth + 1);
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
  if (c !== 0x2d && (c < 0x30 || c > 0x39)) throw refuse('syntax', at);
  // Not -0, whose sign would be lost.
  const digits = c === 0x2d ? at + 1 : at;
  const plain = digits > at && peek(b, digits) === 0x30 ? 0 : plainNumberEnd(b, digits);
  if (plain > 0) return plain;
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
      if (all >= 0x80) {
        marks++;
        wide = true;
      }
      if (at - start > maxString) throw refuse('string', start);
      return at;
    }
    if (c === BACKSLASH || c < 0x20) return scanRest(b, start, at, all, isKey);
    all |= c;
  }
  return scanRest(b, start, near, all, isKey);
}

/** The rest of a string that is long or has escapes. `found`: its bytes up to here, by OR. */
function scanRest(b: Buffer, start: number, at: number, found: number, isKey: boolean): number {
  marks++;
  if (found >= 0x80) wide = true;
  const length = b.length;
  const allowAll = loose && !isKey;
  let after = -1;
  for (;;) {
    if (at >= length) throw refuse('end', length);
    const c = b[at]!;
    if (c === QUOTE) {
      if (at - start > maxString) throw refuse('string', start);
      return at;
    }
    if (c === BACKSLASH) {
      const next = escapeEnd(b, at, allowAll);
      if (typeof next !== 'number') throw refuse(next, at);
      at = next;
      after = next;
    } else if (c < 0x20) {
      throw refuse('control', at);
    }
    // Between escapes a few bytes one by one, then eight at a time.
    const near = at === after ? Math.min(length, at + SHORT_RUN) : at;
    let all = 0;
    while (at < near) {
      const d = b[at]!;
      if (d === QUOTE || d === BACKSLASH || d < 0x20) break;
      all |= d;
      at++;
    }
    if (all >= 0x80) wide = true;
    if (at === near) {
      if (at - start > maxString) throw refuse('string', start);
      // Whether all of it is UTF-8 is found at the end.
      wide = true;
      view ??= new DataView(b.buffer, b.byteOffset, length);
      at = plainEnd(b, view, at);
    }
  }
}

function scanArray(b: Buffer, at: number, depth: number): number {
  if (depth > maxDepth) throw refuse('depth', at - 1);
  at = skipSpace(b, at);
  if (peek(b, at) === 0x5d) return at + 1;
  for (;;) {
    at = scanValue(b, at, depth);
    let c = peek(b, at);
    if (c <= 0x20) {
      at = skipSpace(b, at);
      c = peek(b, at);
    }
    at++;
    if (c === 0x2c) {
      if (peek(b, at) <= 0x20) at = skipSpace(b, at);
    } else if (c === 0x5d) {
      return at;
    } else {
      throw refuse('syntax', at - 1);
    }
  }
}

/** Any object but the ones of the envelope. */
function scanObject(b: Buffer, at: number, depth: number): number {
  if (depth > maxDepth) throw refuse('depth', at - 1);
  at = skipSpace(b, at);
  if (peek(b, at) === 0x7d) return at + 1;
  const base = open;
  let set: Set<string> | undefined;
  let mask = 0;
  for (;;) {
    if (peek(b, at) !== QUOTE) throw refuse('syntax', at);
    const start = at + 1;
    const before = marks;
    const stop = scanString(b, start, true);
    if (++keys > maxKeys) throw refuse('keys', start);
    if (marks !== before || set !== undefined || open - base >= PAIRWISE_KEYS) {
      set = noteInSet(b, base, set, start, stop);
    } else {
      // A filter: most keys differ in one of these, and then no other key has to be looked at.
      const bit = 1 << ((b[start]! + 3 * b[stop - 1]! + 5 * (stop - start)) & 31);
      if ((mask & bit) !== 0 && isRepeated(b, base, start)) throw refuse('duplicate', start);
      mask |= bit;
      noteKey(b, start, stop);
    }
    at = valueStart(b, stop + 1);
    at = memberEnd(b, scanValue(b, at, depth));
    if (b[at - 1] === 0x7d) {
      open = base;
      return at;
    }
    if (peek(b, at) <= 0x20) at = skipSpace(b, at);
  }
}

/** An object of the envelope: finds its known members and refuses keys that could be taken for them. */
function scanLevel(b: Buffer, at: number, depth: number, level: Level): number {
  if (depth > maxDepth) throw refuse('depth', at - 1);
  at = skipSpace(b, at);
  if (peek(b, at) === 0x7d) return at + 1;
  const base = open;
  let set: Set<string> | undefined;
  let seen = 0;
  let previous = level.before;
  for (;;) {
    if (peek(b, at) !== QUOTE) throw refuse('syntax', at);
    const start = at + 1;
    let name = previous.follower;
    if (name !== undefined && startsWith(b, start, name.quoted)) {
      at = start + name.quoted.length;
    } else {
      const before = marks;
      const stop = scanString(b, start, true);
      name = nameOf(b, level, start, stop, marks !== before);
      if (name !== undefined) previous.follower = name;
      else if (marks !== before || set !== undefined || open - base >= PAIRWISE_KEYS) {
        set = noteInSet(b, base, set, start, stop);
      } else {
        if (isRepeated(b, base, start)) throw refuse('duplicate', start);
        noteKey(b, start, stop);
      }
      at = stop + 1;
    }
    if (++keys > maxKeys) throw refuse('keys', start);
    at = valueStart(b, at);
    const value = at;
    if (name === undefined) {
      at = scanValue(b, at, depth);
    } else {
      if ((seen & name.bit) !== 0) throw refuseRepeated(name.field, start);
      seen |= name.bit;
      previous = name;
      at =
        name.below !== undefined && b[at] === 0x7b
          ? scanLevel(b, at + 1, depth + 1, name.below)
          : scanValue(b, at, depth);
      if (name.field >= 0) {
        spans[2 * name.field] = value;
        spans[2 * name.field + 1] = at;
      }
    }
    at = memberEnd(b, at);
    if (b[at - 1] === 0x7d) {
      open = base;
      return at;
    }
    if (peek(b, at) <= 0x20) at = skipSpace(b, at);
  }
}

/** From behind a key to the first byte of its value. */
function valueStart(b: Buffer, at: number): number {
  if (peek(b, at) !== 0x3a) {
    at = skipSpace(b, at);
    if (peek(b, at) !== 0x3a) throw refuse('syntax', at);
  }
  at++;
  return peek(b, at) <= 0x20 ? skipSpace(b, at) : at;
}

/** From behind a value to behind the comma or the brace that must follow. */
function memberEnd(b: Buffer, at: number): number {
  let c = peek(b, at);
  if (c <= 0x20) {
    at = skipSpace(b, at);
    c = peek(b, at);
  }
  if (c !== 0x2c && c !== 0x7d) throw refuse('syntax', at);
  return at + 1;
}

/** Whether the object whose keys begin at `base` has this key already. None of them has escapes: bytes decide. */
function isRepeated(b: Buffer, base: number, start: number): boolean {
  for (let k = base; k < open; k++) {
    let one = keyStart[k]!;
    let other = start;
    while (b[one] === b[other]) {
      if (b[one] === QUOTE) return true;
      one++;
      other++;
    }
  }
  return false;
}

function noteKey(b: Buffer, start: number, stop: number): void {
  if (b[start] === 0x5f && stop - start === 9 && startsWith(b, start, PROTO)) throw refuse('proto', start);
  if (open === keyStart.length) {
    // Bounded by the cap on depth: at most PAIRWISE_KEYS for each open object.
    const larger = new Int32Array(2 * open);
    larger.set(keyStart);
    keyStart = larger;
  }
  keyStart[open++] = start;
}

/** For objects of many or unusual keys. V8 seeds its string hashes, so no caller can make the keys collide. */
function noteInSet(b: Buffer, base: number, set: Set<string> | undefined, start: number, stop: number): Set<string> {
  if (set === undefined) {
    set = new Set();
    for (let k = base; k < open; k++) set.add(decodeKey(b, keyStart[k]!, b.indexOf(QUOTE, keyStart[k]!)));
  }
  const text = decodeKey(b, start, stop);
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
function nameOf(b: Buffer, level: Level, start: number, stop: number, unusual: boolean): Member | undefined {
  if (!unusual) {
    let name: Name<Member> | undefined = level.names.candidates(signature(b, start, stop));
    for (; name !== undefined; name = name.next) {
      const same = compareName(b, start, stop, name.bytes);
      if (same === 2) return name.value;
      if (same === 1 && level.strict) throw refuse('variant', start);
    }
    return undefined;
  }
  const text = decodeKey(b, start, stop);
  if (level.strict && level.names.isVariant(text)) throw refuse('variant', start);
  return level.names.byText(text)?.value;
}
