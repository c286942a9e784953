/** Makes the fields of a log line safe: no secrets, no control characters, no endless values. */
import { withoutControls } from '../core/plain-text.ts';

const SECRET_KEY =
  /(authorization|cookie|token|secret|passw|credential|api[-_]?key|private[-_]?key|assertion|session[-_]?id)/i;
/** Credentials that stand inside other text. */
const IN_TEXT: readonly (readonly [RegExp, string])[] = [
  [/\b(Bearer|Basic|DPoP)\s+[\w.~+/=-]{6,}/gi, '$1 [secret]'],
  [/(:\/\/)[^\s/@]+@/g, '$1[secret]@'],
  [/([?&][^=&\s]*(?:token|key|secret|password|signature|code)[^=&\s]*=)[^&\s#]+/gi, '$1[secret]'],
];
const MAX_DEPTH = 5;
const MAX_ITEMS = 50;
const MAX_TEXT = 4096;

/** A copy of the fields that is safe to write. */
export function cleaned(fields: object): Record<string, unknown> {
  return cleanObject(fields, 0);
}

function cleanObject(object: object, depth: number): Record<string, unknown> {
  const copy: Record<string, unknown> = {};
  let items = 0;
  for (const [key, value] of Object.entries(object)) {
    if (items++ === MAX_ITEMS) {
      copy['…'] = 'more';
      break;
    }
    // Numbers and flags under such a name (a count of tokens) are no secrets.
    copy[key] =
      SECRET_KEY.test(key) && (typeof value === 'string' || typeof value === 'object')
        ? '[secret]'
        : clean(value, depth);
  }
  return copy;
}

function clean(value: unknown, depth: number): unknown {
  switch (typeof value) {
    case 'string':
      return cleanText(value);
    case 'bigint':
      return String(value);
    case 'function':
    case 'symbol':
      return undefined;
    case 'object':
      break;
    default:
      return value;
  }
  if (value === null) return null;
  if (depth >= MAX_DEPTH) return '[deep]';
  if (value instanceof Error) return cleanError(value, depth + 1);
  if (value instanceof URL) return cleanText(value.href);
  if (ArrayBuffer.isView(value)) return `[${value.byteLength} bytes]`;
  if (Array.isArray(value)) return value.slice(0, MAX_ITEMS).map((item) => clean(item, depth + 1));
  return cleanObject(value, depth + 1);
}

function cleanError(error: Error, depth: number): Record<string, unknown> {
  const { name, message, stack, cause, code } = error as Error & { code?: unknown };
  return {
    name,
    message: cleanText(message),
    ...(code === undefined ? undefined : { code: clean(code, depth) }),
    ...(stack === undefined ? undefined : { stack: cleanText(stack) }),
    ...(cause === undefined ? undefined : { cause: clean(cause, depth) }),
  };
}

function cleanText(text: string): string {
  let safe = text.length > MAX_TEXT ? `${text.slice(0, MAX_TEXT)}…` : text;
  // A line feed stays: JSON escapes it, and lines for people are indented after it.
  safe = withoutControls(safe);
  for (const [pattern, replacement] of IN_TEXT) safe = safe.replace(pattern, replacement);
  return safe;
}
