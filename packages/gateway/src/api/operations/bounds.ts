/**
 * The bounds of requirement X0-09 on everything that an operation is given, checked before anything looks at it. What
 * comes out is a copy of plain data: no getter, proxy or prototype of the caller is ever touched again.
 */
import { OperationProblem } from './problem.ts';

/** Bytes of one operation's input, written as JSON. */
export const MAX_BYTES = 100 * 1024;
/** UTF-16 units of one string. */
export const MAX_STRING = 10_000;
/** Items of one list; also operations of one batch. */
export const MAX_ITEMS = 1000;
/** Keys of one object. */
export const MAX_KEYS = 100;
export const MAX_DEPTH = 64;
/** The largest amount, count or price that an operation takes. */
export const MAX_NUMBER = 1_000_000;

export interface PlainObject {
  readonly [key: string]: Plain;
}
export type Plain = null | boolean | number | string | readonly Plain[] | PlainObject;

/**
 * Copies plain JSON data within the bounds. Members whose value is undefined are left out. Throws an OperationProblem
 * that names the place: `input_too_large`, or `invalid_input` for what JSON cannot say (NaN, functions, class
 * instances, `__proto__`).
 */
export function boundedCopy(value: unknown, where = 'input'): Plain {
  return copy(value, where, 0, { bytes: 0 });
}

function copy(value: unknown, where: string, depth: number, spent: { bytes: number }): Plain {
  switch (typeof value) {
    case 'string':
      if (value.length > MAX_STRING) throw tooLarge(where, `has ${value.length} characters, at most ${MAX_STRING}`);
      spend(spent, Buffer.byteLength(value) + 2);
      return value;
    case 'number':
      if (!Number.isFinite(value)) throw invalid(where, 'is not a finite number');
      spend(spent, String(value).length);
      return value;
    case 'boolean':
      spend(spent, 5);
      return value;
    case 'object':
      break;
    default:
      throw invalid(where, `is a ${typeof value}, which JSON cannot say`);
  }
  if (value === null) {
    spend(spent, 4);
    return null;
  }
  if (depth >= MAX_DEPTH) throw tooLarge(where.slice(0, 200), `is nested deeper than ${MAX_DEPTH}`);
  spend(spent, 2);
  return Array.isArray(value) ? copyList(value, where, depth, spent) : copyObject(value, where, depth, spent);
}

function copyList(value: readonly unknown[], where: string, depth: number, spent: { bytes: number }): Plain[] {
  const { length } = value;
  if (length > MAX_ITEMS) throw tooLarge(where, `has ${length} items, at most ${MAX_ITEMS}`);
  const list: Plain[] = [];
  for (let i = 0; i < length; i++) {
    spend(spent, 1);
    list.push(copy(value[i] ?? null, `${where}[${i}]`, depth + 1, spent));
  }
  return list;
}

function copyObject(value: object, where: string, depth: number, spent: { bytes: number }): PlainObject {
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== null && prototype !== Object.prototype) throw invalid(where, 'is not a plain object');
  const keys = Object.keys(value);
  if (keys.length > MAX_KEYS) throw tooLarge(where, `has ${keys.length} keys, at most ${MAX_KEYS}`);
  const object: Record<string, Plain> = Object.create(null) as Record<string, Plain>;
  for (const key of keys) {
    // A copy made with this key elsewhere would change its prototype.
    if (key === '__proto__') throw invalid(where, 'has the key "__proto__"');
    if (key.length > MAX_STRING) throw tooLarge(where, `has a key of ${key.length} characters`);
    const member = (value as Readonly<Record<string, unknown>>)[key];
    if (member === undefined) continue;
    spend(spent, Buffer.byteLength(key) + 4);
    object[key] = copy(member, `${where}.${key.slice(0, 60)}`, depth + 1, spent);
  }
  return object;
}

function spend(spent: { bytes: number }, bytes: number): void {
  spent.bytes += bytes;
  if (spent.bytes > MAX_BYTES) throw tooLarge('the input', `is larger than ${MAX_BYTES} bytes`);
}

function tooLarge(where: string, what: string): OperationProblem {
  return new OperationProblem('input_too_large', `${shown(where)} ${what}.`);
}

function invalid(where: string, what: string): OperationProblem {
  return new OperationProblem('invalid_input', `${shown(where)} ${what}.`);
}

/** Keys come from callers: no controls, no novel in an error. */
function shown(where: string): string {
  const plain = where.replace(/[^\x20-\x7e]/g, '?');
  return plain.length > 120 ? `${plain.slice(0, 117)}...` : plain;
}
