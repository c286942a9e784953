/**
 * Why the scanner refuses a body: the closed list, with the sentence the caller reads. The threats are those of
 * JSON that two parsers read differently, so that one thing is authorised and another is executed.
 */
import { type ErrorCode, TollgateError } from '../../core/errors.ts';

export const SCAN_RULES = {
  // Not strict JSON (RFC 8259): parse_error.
  bom: 'a byte order mark is not allowed',
  utf8: 'the text is not valid UTF-8',
  syntax: 'this is not valid JSON',
  end: 'the JSON ends too early',
  trailing: 'something follows the JSON value',
  control: 'a control character in a string must be written as an escape',
  escape: 'this is not a valid escape sequence',
  surrogate: 'an unpaired surrogate escape is not valid text',
  nul: 'the character U+0000 is not allowed',
  number: 'this is not a valid JSON number',
  // Valid JSON that is refused: invalid_request.
  infinite: 'this number is too large for a double',
  duplicate: 'an object has the same key twice',
  proto: 'the key "__proto__" is not allowed',
  variant: 'a key differs from a reserved key only in upper and lower case',
  size: 'the body is larger than 64 MiB',
  depth: 'the nesting is deeper than the cap on depth',
  keys: 'there are more keys than the cap on keys',
  string: 'a string is longer than the cap on strings',
  batch: 'JSON-RPC batches are not supported; send one message at a time',
  object: 'a JSON-RPC message must be an object',
  version: '"jsonrpc" must be "2.0"',
  method: '"method" must be a string that is not empty',
  id: '"id" must be a string or an integer',
  params: '"params" must be an object',
  result: '"result" must be an object',
  error: '"error" must be an object with an integer "code" and a string "message"',
  envelope: 'the message must be exactly one of request, notification, result or error',
} as const;

export type ScanRule = keyof typeof SCAN_RULES;

const PARSE_RULES: ReadonlySet<ScanRule> = new Set<ScanRule>([
  'bom',
  'utf8',
  'syntax',
  'end',
  'trailing',
  'control',
  'escape',
  'surrogate',
  'nul',
  'number',
]);

/** JSON text of the id of a refused message, where it was read before the refusal. Kept out of the error itself. */
const ids = new WeakMap<TollgateError, string>();

export function scanError(rule: ScanRule, at: number, id: string | undefined): TollgateError {
  const code: ErrorCode = PARSE_RULES.has(rule) ? 'parse_error' : 'invalid_request';
  const error = new TollgateError(code, `Byte ${at}: ${SCAN_RULES[rule]}`);
  if (id !== undefined) ids.set(error, id);
  return error;
}

/** JSON text of the id to echo when `scan` threw this error; undefined when the id was not seen or is ambiguous. */
export function failedId(error: unknown): string | undefined {
  return TollgateError.is(error) ? ids.get(error) : undefined;
}
