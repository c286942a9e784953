/**
 * The building blocks of the schema. Each carries its own error text, so that a message says what is wrong and
 * what to write instead, and each leaf that holds a secret is registered, so that redaction is derived.
 */
import * as z from 'zod';
import { compileExpression, ExpressionError, type ExpressionKind } from '../../core/expression.ts';
import { hasReference } from '../../core/secret-reference.ts';
import { AMOUNT_PATTERN, parseAmount } from '../amounts.ts';
import { suggest } from '../problems.ts';
import { DURATION_PATTERN, parseDuration, parseSize, SIZE_PATTERN, UnitError } from '../units.ts';

/** Schemas whose values are never shown: logs, errors, `explain` and support files mask them. */
const secrets = z.registry<{ readonly secret: true }>();

/** Registries inherit along copies (`.describe()` copies) in `get`, not in `has`: always ask this way. */
export function isSecret(schema: z.core.$ZodType): boolean {
  return secrets.get(schema)?.secret === true;
}

/** What a text is, for the reference page and the JSON Schema: a transform hides it from zod's own generator. */
export const formats = z.registry<{ readonly what: string; readonly example: string; readonly pattern?: string }>();

export type Unit = 'duration' | 'size' | 'rate' | 'listen' | 'quota' | 'amount' | 'rung' | 'url';

/** The unit in which a value was written, so that it can be shown as it was. */
export const units = z.registry<{ readonly unit: Unit }>();

const FIX_MARK = '\u001f';
const KEY_MARK = '\u001e';

/** A message with its fix, in the one string that zod carries. */
export function message(what: string, fix = ''): string {
  return fix === '' ? what : `${what}${FIX_MARK}${fix}`;
}

export function readMessage(text: string): { readonly what: string; readonly fix: string } {
  const at = text.indexOf(FIX_MARK);
  return at < 0 ? { what: text, fix: '' } : { what: text.slice(0, at), fix: text.slice(at + 1) };
}

/** The messages of an unknown-keys issue, in the order of its `keys`. */
export function readKeyMessages(text: string): readonly { readonly what: string; readonly fix: string }[] {
  return text.split(KEY_MARK).map(readMessage);
}

const KINDS: Readonly<Record<string, string>> = {
  string: 'text',
  number: 'a number',
  boolean: 'true or false',
  object: 'a map',
  array: 'a list',
};

/** What a value is, in words of YAML; never the value. */
export function kindOf(value: unknown): string {
  if (value === undefined) return 'missing';
  if (value === null) return 'empty';
  return KINDS[Array.isArray(value) ? 'array' : typeof value] ?? typeof value;
}

const EMPTY_FIX = 'Write its value, or remove the key.';

/** The message for a value of the wrong kind. */
function wrongKind(expected: string, fix: string): (issue: { readonly input?: unknown }) => string {
  return (issue) =>
    issue.input === undefined
      ? message(`This key is required: ${expected}.`, fix)
      : message(`Must be ${expected}, not ${kindOf(issue.input)}.`, issue.input === null ? EMPTY_FIX : fix);
}

interface SectionOptions {
  /** Keys that belong here but not to this version. */
  readonly later?: readonly string[];
  /** Keys known under another name, with the sentence to say. */
  readonly hints?: Readonly<Record<string, string>>;
}

/** A map with fixed keys: an unknown one is an error that names the nearest. */
export function section<Shape extends z.core.$ZodLooseShape>(shape: Shape, options: SectionOptions = {}) {
  const known = Object.keys(shape);
  return z.strictObject(shape, {
    error: (issue) => {
      if (issue.code === 'unrecognized_keys') {
        return issue.keys.map((key) => unknownKey(key, known, options)).join(KEY_MARK);
      }
      return wrongKind('a map', `Its keys: ${known.join(', ')}.`)(issue);
    },
  });
}

function unknownKey(key: string, known: readonly string[], options: SectionOptions): string {
  if (options.later?.includes(key)) return message(`"${key}" is not in this version.`, 'Remove the key.');
  const hint = options.hints?.[key];
  if (hint !== undefined) return message(`"${key}" is not a key here.`, hint);
  return message(`Unknown key "${key}".`, suggest(key, known));
}

/** A map with free keys that `checkKey` may refuse (undefined: fine). */
export function map<Value extends z.core.$ZodType>(
  value: Value,
  what: string,
  checkKey: (key: string) => string | undefined,
) {
  return z.record(z.string(), value, { error: wrongKind(`a map of ${what}`, '') }).superRefine((entries, context) => {
    for (const key of Object.keys(entries)) {
      const problem = checkKey(key);
      if (problem !== undefined) context.addIssue({ code: 'custom', message: problem, path: [key], params: { key } });
    }
  });
}

export function list<Item extends z.core.$ZodType>(item: Item, what: string, example: string) {
  const schema = z.array(item, { error: wrongKind(`a list of ${what}`, `For example ${example}.`) });
  formats.add(schema, { what: `a list of ${what}`, example });
  return schema;
}

/** One item or a list of them, read as a list. */
export function oneOrList<Item extends z.core.$ZodType>(item: Item, what: string, example: string) {
  const error = wrongKind(`${what} or a list of them`, `For example ${example}.`);
  const schema = z.union([item, z.array(item, { error })], { error });
  formats.add(schema, { what: `${what} or a list of them`, example });
  return schema;
}

/** Text that is not empty, checked by `parse`, which throws a UnitError to refuse it. */
export function parsed<Out>(
  what: string,
  example: string,
  parse: (text: string) => Out,
  options: { readonly pattern?: string; readonly unit?: Unit } = {},
) {
  const input = z.string({ error: wrongKind(what, `For example ${example}.`) });
  formats.add(input, { what, example, ...(options.pattern === undefined ? {} : { pattern: options.pattern }) });
  const schema = input.transform((value, context): Out => {
    try {
      if (value.trim() === '') throw new UnitError(`Must be ${what}, not empty.`, `For example ${example}.`);
      return parse(value);
    } catch (error) {
      if (!(error instanceof UnitError)) throw error;
      context.addIssue({ code: 'custom', message: message(error.message, error.fix) });
      return z.NEVER;
    }
  });
  if (options.unit !== undefined) units.add(schema, { unit: options.unit });
  return schema;
}

/** Milliseconds, written `30s`. */
export function duration() {
  return parsed('a duration', '30s', parseDuration, { pattern: DURATION_PATTERN, unit: 'duration' });
}

/** The scanner holds one message in a buffer of this size. */
const MAX_SIZE = 64 * 1024 * 1024;

/** Bytes, written `4MiB`. */
export function size() {
  const parse = (text: string): number => {
    const bytes = parseSize(text);
    if (bytes > MAX_SIZE) throw new UnitError(`${text} is more than a message can be.`, 'At most 64MiB.');
    return bytes;
  };
  return parsed('a size', '4MiB', parse, { pattern: SIZE_PATTERN, unit: 'size' });
}

export function text(what: string, example: string) {
  return parsed(what, example, (value) => value);
}

/** `0.005 USD`, in millionths. */
export function amount(example: string) {
  return parsed('an amount', example, parseAmount, { pattern: AMOUNT_PATTERN, unit: 'amount' });
}

/** CEL, compiled once to refuse what cannot be; whoever evaluates it compiles it again. */
export function expression(what: string, example: string, kind: ExpressionKind) {
  return parsed(what, example, (value) => {
    try {
      return compileExpression(value, kind).source;
    } catch (error) {
      if (!(error instanceof ExpressionError)) throw error;
      throw new UnitError(`Cannot be read as an expression: ${error.message}.`, `For example ${example}.`);
    }
  });
}

/** Text that is never shown, checked by `parse` when given. */
export function secret(what: string, example: string, parse = (value: string): string => value) {
  // What the vault keeps is checked when its value is there.
  const schema = parsed(what, example, (value) => (hasReference(value) ? value : parse(value)));
  secrets.add(schema, { secret: true });
  return schema;
}

/** A map from names to texts that are never shown: environment, headers. */
export function secretMap(what: string, checkKey: (key: string) => string | undefined) {
  const value = z.string({ error: wrongKind('text', 'Put quotes round it.') });
  secrets.add(value, { secret: true });
  return map(value, what, checkKey);
}

export function flag() {
  return z.boolean({
    error: (issue) => {
      // YAML 1.1 read these as booleans, YAML 1.2 does not.
      const old = /^(?:yes|on|y)$/i.test(String(issue.input))
        ? 'true'
        : /^(?:no|off|n)$/i.test(String(issue.input))
          ? 'false'
          : '';
      return wrongKind('true or false', old === '' ? '' : `In YAML "${issue.input}" is text; write ${old}.`)(issue);
    },
  });
}

export function whole(minimum: number, maximum: number) {
  const range = `a whole number from ${minimum} to ${maximum}`;
  const outside = { error: message(`Must be ${range}.`) };
  const wrong = wrongKind(range, '');
  return z
    .int({ error: (issue) => (typeof issue.input === 'number' ? outside.error : wrong(issue)) })
    .min(minimum, outside)
    .max(maximum, outside);
}

/** One of two forms of a value; `error` is said when what was written has the kind of neither. */
export function either<A extends z.core.$ZodType, B extends z.core.$ZodType>(first: A, second: B, error: string) {
  return z.union([first, second], { error: (issue) => message(`${error}, not ${kindOf(issue.input)}.`) });
}

/** `"*"` for everything, or what `schema` takes. */
export function everythingOr<Schema extends z.core.$ZodType>(schema: Schema, what: string, example: string) {
  const error = message(`Must be "*" or ${what}.`, `For example ${example}.`);
  return z.union([z.literal('*', { error }), schema], { error });
}

export function choice<const Values extends readonly [string, ...string[]]>(values: Values) {
  return z.enum(values, {
    error: (issue) => {
      const options = `One of ${values.join(', ')}.`;
      if (issue.input === undefined) return message('This key is required.', options);
      if (typeof issue.input !== 'string') return message(`Must be text, not ${kindOf(issue.input)}.`, options);
      return message(
        `${JSON.stringify(issue.input.slice(0, 60))} is not a value of this key.`,
        suggest(issue.input, values),
      );
    },
  });
}
