/** The parts of the scanner that look at strings and numbers: positions in, positions or the broken rule out. */
import { isUtf8 } from 'node:buffer';
import type { ScanRule } from './rules.ts';

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/**
 * First byte from `at` on that is a quote, a backslash or below 0x20; there must be one. Looks at eight bytes at a
 * time: in ASCII, `x - 1` has its high bit set exactly when x is 0, or above a byte where that is so.
 */
export function plainEnd(bytes: Buffer, words: DataView, at: number): number {
  for (;;) {
    const a = words.getInt32(at, true);
    const b = words.getInt32(at + 4, true);
    const quick =
      ((a ^ 0x22222222) - 0x01010101) |
      ((a ^ 0x5c5c5c5c) - 0x01010101) |
      (a - 0x20202020) |
      ((b ^ 0x22222222) - 0x01010101) |
      ((b ^ 0x5c5c5c5c) - 0x01010101) |
      (b - 0x20202020) |
      a |
      b;
    if ((quick & 0x80808080) !== 0 && hasStop(a, b)) break;
    at += 8;
  }
  for (;;) {
    const c = bytes[at]!;
    if (c === QUOTE || c === BACKSLASH || c < 0x20) return at;
    at++;
  }
}

/** The same for bytes that may be outside of ASCII: `& ~x` takes those out. */
function hasStop(a: number, b: number): boolean {
  const aq = a ^ 0x22222222;
  const bq = b ^ 0x22222222;
  const as = a ^ 0x5c5c5c5c;
  const bs = b ^ 0x5c5c5c5c;
  const hit =
    ((aq - 0x01010101) & ~aq) |
    ((as - 0x01010101) & ~as) |
    ((a - 0x20202020) & ~a) |
    ((bq - 0x01010101) & ~bq) |
    ((bs - 0x01010101) & ~bs) |
    ((b - 0x20202020) & ~b);
  return (hit & 0x80808080) !== 0;
}

function hexDigit(c: number | undefined): number {
  if (c === undefined) return -1;
  if (c >= 0x30 && c <= 0x39) return c - 0x30;
  const lower = c | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}

/** Code unit of the four hexadecimal digits at `at`, or -1. */
function codeUnit(bytes: Buffer, at: number): number {
  const a = hexDigit(bytes[at]);
  const b = hexDigit(bytes[at + 1]);
  const c = hexDigit(bytes[at + 2]);
  const d = hexDigit(bytes[at + 3]);
  return a < 0 || b < 0 || c < 0 || d < 0 ? -1 : (a << 12) | (b << 8) | (c << 4) | d;
}

/** Byte after the escape sequence (a pair of surrogates counts as one) that starts at `at`, or the rule it breaks. */
export function escapeEnd(bytes: Buffer, at: number, loose: boolean): number | ScanRule {
  const c = bytes[at + 1];
  if (c === 0x6e || c === QUOTE || c === BACKSLASH || c === 0x74 || c === 0x72) return at + 2;
  if (c === 0x2f || c === 0x62 || c === 0x66) return at + 2;
  if (c !== 0x75) return 'escape';
  const unit = codeUnit(bytes, at + 2);
  if (unit < 0) return 'escape';
  if (unit === 0) return loose ? at + 6 : 'nul';
  if (unit < 0xd800 || unit > 0xdfff) return at + 6;
  if (unit < 0xdc00 && bytes[at + 6] === BACKSLASH && bytes[at + 7] === 0x75) {
    const second = codeUnit(bytes, at + 8);
    if (second < 0) return 'escape';
    if (second >= 0xdc00 && second <= 0xdfff) return at + 12;
  }
  return loose ? at + 6 : 'surrogate';
}

function digitsEnd(bytes: Buffer, at: number): number {
  while (at < bytes.length) {
    const c = bytes[at]!;
    if (c < 0x30 || c > 0x39) return at;
    at++;
  }
  return at;
}

/** End of the number that starts at `at`; when it breaks the grammar, minus the place where. */
export function numberEnd(bytes: Buffer, at: number): number {
  const first = bytes[at] === 0x2d ? at + 1 : at;
  let end = digitsEnd(bytes, first);
  if (end === first) return -end;
  if (bytes[first] === 0x30 && end > first + 1) return -(first + 1);
  if (bytes[end] === 0x2e) {
    const fraction = end + 1;
    end = digitsEnd(bytes, fraction);
    if (end === fraction) return -end;
  }
  const c = bytes[end];
  if (c === 0x45 || c === 0x65) {
    const sign = bytes[end + 1];
    const exponent = sign === 0x2b || sign === 0x2d ? end + 2 : end + 1;
    end = digitsEnd(bytes, exponent);
    if (end === exponent) return -end;
  }
  return end;
}

/**
 * End of the digits at `at` when it is plain from them alone that a double holds the number and is written the same
 * way: at most 15 digits, no exponent, no zero that could be left out. Else 0: ask `numberEnd` and `numberLosesForm`.
 */
export function plainNumberEnd(bytes: Buffer, at: number): number {
  const length = bytes.length;
  let end = at;
  let c = bytes[end]!;
  if (c === 0x30) {
    // 0.00… may be written with an exponent.
    if (end + 4 >= length || (bytes[end + 1] === 0x2e && bytes[end + 2] === 0x30)) return 0;
    c = bytes[++end]!;
    if (c >= 0x30 && c <= 0x39) return 0;
  } else {
    while (c >= 0x30 && c <= 0x39) {
      if (++end === length) return 0;
      c = bytes[end]!;
    }
  }
  if (c === 0x2e) {
    do {
      if (++end === length) return 0;
      c = bytes[end]!;
    } while (c >= 0x30 && c <= 0x39);
    const last = bytes[end - 1]!;
    if (last === 0x30 || last === 0x2e) return 0;
  }
  return end - at <= 15 && end > at && c !== 0x2e && c !== 0x45 && c !== 0x65 ? end : 0;
}

/** Whether `JSON.parse` would write the number back differently; undefined when it would become infinite. */
export function numberLosesForm(text: string): boolean | undefined {
  const value = Number(text);
  return Number.isFinite(value) ? String(value) !== text : undefined;
}

/** A key as the string it stands for. Escapes must have been checked. */
export function decodeKey(bytes: Buffer, start: number, end: number): string {
  const text = bytes.toString('utf8', start, end);
  return text.includes('\\') ? (JSON.parse(`"${text}"`) as string) : text;
}

/** Place of the first sequence that is not UTF-8, in a body that has one. */
export function firstInvalidUtf8(bytes: Buffer): number {
  let good = 0;
  let bad = bytes.length;
  while (bad - good > 16) {
    let middle = (good + bad) >> 1;
    // Not in the middle of a character, which has at most three more bytes.
    for (let back = 0; back < 3 && (bytes[middle]! & 0xc0) === 0x80; back++) middle--;
    if (isUtf8(bytes.subarray(good, middle))) good = middle;
    else bad = middle;
  }
  while (good < bytes.length) {
    const lead = bytes[good]!;
    const size = lead < 0xc0 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    if (!isUtf8(bytes.subarray(good, good + size))) break;
    good += size;
  }
  return good;
}
