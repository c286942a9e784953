import { createHash } from 'node:crypto';
import { TollgateError } from '../core/errors.ts';

/** First character of texts that are kept in another form; a text that begins with it is itself kept so. */
const MARK = '\u0001';
/** PostgreSQL indexes at most 2704 bytes. */
const LONGEST = 1800;

/**
 * The form in which a text is kept. PostgreSQL has no NUL, and neither database keeps a lone surrogate: two callers
 * whose ids differ only there would become one. Such texts are kept as JSON; overlong ones as a digest behind their
 * beginning, which finds them again but does not read back whole. Two texts never share a form.
 */
export function storedText(text: string): string {
  if (text.length * 3 > LONGEST && Buffer.byteLength(text) > LONGEST) return digested(text);
  const kept = storedProse(text);
  return kept === text || Buffer.byteLength(kept) <= LONGEST ? kept : digested(text);
}

/** `storedText` for what is never searched for, of any length. */
export function storedProse(text: string): string {
  return text.includes('\0') || text.startsWith(MARK) || !text.isWellFormed() ? MARK + JSON.stringify(text) : text;
}

function digested(text: string): string {
  // UTF-16 code units: the UTF-8 of two different lone surrogates would be the same.
  const digest = createHash('sha256').update(Buffer.from(text, 'utf16le')).digest('hex');
  return `${MARK}${digest} ${text.slice(0, 64).toWellFormed().replaceAll('\0', '\ufffd')}…`;
}

/** What `storedText` was given, or for overlong texts its shortened form. */
export function readText(stored: string): string {
  return stored.startsWith(`${MARK}"`) ? (JSON.parse(stored.slice(1)) as string) : stored;
}

/** Refuses what a double, SQLite or PostgreSQL would not keep exactly. */
export function integer(value: number, what: string): number {
  if (!Number.isSafeInteger(value)) {
    throw new TollgateError('invalid_params', `${what} must be an integer within ±2^53, not ${value}`);
  }
  return value === 0 ? 0 : value;
}

/** A time or an amount that cannot be below zero. */
export function natural(value: number, what: string): number {
  if (integer(value, what) < 0) throw new TollgateError('invalid_params', `${what} must not be negative: ${value}`);
  return value;
}

/** A counter's key: 16 hexadecimal digits, in lower case so that one key has one form. */
export function counterKey(key: string): string {
  if (!/^[0-9a-f]{16}$/.test(key)) {
    throw new TollgateError('invalid_params', 'The key of a counter must be 16 hexadecimal digits in lower case');
  }
  return key;
}
