import { ExpressionError } from './expression-error.ts';

/** More values than this in the arguments of one call are a failure: an expression is not there to search data. */
const MAX_VALUES = 100_000;
/** Nesting beyond the scanner's default cap, which a caller of the library may not have had. */
const MAX_DEPTH = 128;
/** Whether some number may not be a plain integer that a double holds; wrong only towards the slower way. */
const EXOTIC_NUMBER = /[0-9][.eE]|[0-9]{16}|-0/;
const MAX_INT = 2n ** 63n - 1n;
const MIN_INT = -(2n ** 63n);

interface ReviverContext {
  readonly source?: string;
}

/**
 * The JSON text of arguments as CEL values: objects are Maps, so that a key named `constructor` or `__proto__` is
 * a key like any other; integers of 64 bits are bigints, all other numbers doubles. Undefined text is an empty map.
 */
export function celArguments(text: string | undefined): ReadonlyMap<string, unknown> {
  if (text === undefined) return new Map();
  const exact = EXOTIC_NUMBER.test(text);
  let parsed: unknown;
  try {
    parsed = exact
      ? JSON.parse(text, exactNumber as (this: unknown, key: string, value: unknown) => unknown)
      : JSON.parse(text);
  } catch {
    // The reason would quote the arguments.
    throw new ExpressionError('the arguments cannot be read as JSON');
  }
  const value = new Conversion(exact).value(parsed, 0);
  if (!(value instanceof Map)) throw new ExpressionError('the arguments are not an object');
  return value;
}

class Conversion {
  #left = MAX_VALUES;
  /** True: integers are bigints already, and what is a number is meant as a double. */
  readonly #exact: boolean;

  constructor(exact: boolean) {
    this.#exact = exact;
  }

  value(json: unknown, depth: number): unknown {
    if (--this.#left < 0) throw new ExpressionError(`the arguments hold more than ${MAX_VALUES} values`);
    if (typeof json === 'number') return this.#exact ? json : BigInt(json);
    if (typeof json !== 'object' || json === null) return json;
    if (depth >= MAX_DEPTH) throw new ExpressionError(`the arguments are nested deeper than ${MAX_DEPTH}`);
    if (Array.isArray(json)) {
      for (let i = 0; i < json.length; i++) json[i] = this.value(json[i], depth + 1);
      return json;
    }
    const map = new Map<string, unknown>();
    for (const [key, member] of Object.entries(json)) map.set(key, this.value(member, depth + 1));
    return map;
  }
}

function exactNumber(_key: string, value: unknown, context?: ReviverContext): unknown {
  if (typeof value !== 'number') return value;
  const source = context?.source ?? String(value);
  if (source.length > 20 || !/^-?[0-9]+$/.test(source)) return value;
  const whole = BigInt(source);
  return whole <= MAX_INT && whole >= MIN_INT ? whole : value;
}
