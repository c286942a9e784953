/**
 * The headers that mirror the body in MCP 2026-07-28 (Streamable HTTP, "Standard Request Headers" and "Custom Headers
 * from Tool Parameters"). Something in front may have decided by the header, so a header that differs from the body
 * is refused (-32020); the gateway itself decides by the body only.
 */
import { isUtf8 } from 'node:buffer';
import { TollgateError } from '../core/errors.ts';
import { Field, type FieldId, type Message } from './message.ts';
import { headerNameField } from './methods.ts';

const PREFIX = '=?base64?';
const SUFFIX = '?=';
/** Visible ASCII, space and tab (RFC 9110 section 5.5, without obs-text). */
const PLAIN = /^[\x20-\x7e\t]*$/;

function isSentinel(value: string): boolean {
  return value.startsWith(PREFIX) && value.endsWith(SUFFIX) && value.length >= PREFIX.length + SUFFIX.length;
}

/** A value as it stands in `Mcp-Name` and `Mcp-Param-*`: plain when it survives as a header, else in base64. */
export function encodeHeaderValue(value: string): string {
  return PLAIN.test(value) && !/^[ \t]|[ \t]$/.test(value) && !isSentinel(value)
    ? value
    : `${PREFIX}${Buffer.from(value).toString('base64')}${SUFFIX}`;
}

/**
 * The value that a header stands for, or undefined when it is malformed: characters that no header may have, base64
 * that is not canonical (several spellings of one value are an evasion), or bytes that are not UTF-8.
 */
export function decodeHeaderValue(header: string): string | undefined {
  const value = header.replace(/^[ \t]+|[ \t]+$/g, '');
  if (!PLAIN.test(value)) return undefined;
  if (!isSentinel(value)) return value;
  const encoded = value.slice(PREFIX.length, -SUFFIX.length);
  const bytes = Buffer.from(encoded, 'base64');
  return bytes.toString('base64') === encoded && isUtf8(bytes) ? bytes.toString('utf8') : undefined;
}

function mismatch(message: string): TollgateError {
  return new TollgateError('header_mismatch', `Header mismatch: ${message}`);
}

/** The standard mirrored headers as sent; undefined: not sent. Repeated ones must have been refused before. */
export interface MirroredHeaders {
  readonly protocolVersion: string | undefined;
  readonly mcpMethod: string | undefined;
  readonly mcpName: string | undefined;
}

/**
 * What is wrong with the mirrored headers of a modern request (`header_mismatch`), or undefined when they are all
 * there and equal to the body. Values compare exactly, `Mcp-Name` after decoding.
 */
export function checkMirroredHeaders(message: Message, headers: MirroredHeaders): TollgateError | undefined {
  const { protocolVersion, mcpMethod, mcpName } = headers;
  if (protocolVersion === undefined) return mismatch('MCP-Protocol-Version is missing');
  if (!equalsField(message, Field.protocolVersion, protocolVersion)) {
    return mismatch('MCP-Protocol-Version differs from params._meta["io.modelcontextprotocol/protocolVersion"]');
  }
  if (mcpMethod === undefined) return mismatch('Mcp-Method is missing');
  if (trim(mcpMethod) !== message.method) return mismatch('Mcp-Method differs from the method of the body');
  const field = headerNameField(message.method);
  if (field === undefined) return undefined;
  if (mcpName === undefined) return mismatch(`Mcp-Name is missing; it must have the value of params.${field}`);
  if (mcpName.charCodeAt(0) !== 0x3d && equalsField(message, Field[field], mcpName)) return undefined;
  const name = decodeHeaderValue(mcpName);
  if (name === undefined) return mismatch('Mcp-Name is malformed');
  return name === message.string(Field[field]) ? undefined : mismatch(`Mcp-Name differs from params.${field}`);
}

/**
 * Whether header and body name different versions: that comes before the question whether the version is served,
 * as the two sides of a mismatch may be two different requests to different readers.
 */
export function checkVersionHeader(message: Message, headers: MirroredHeaders): TollgateError | undefined {
  const { protocolVersion } = headers;
  if (protocolVersion === undefined || !message.has(Field.protocolVersion)) return undefined;
  if (equalsField(message, Field.protocolVersion, protocolVersion)) return undefined;
  return mismatch('MCP-Protocol-Version differs from params._meta["io.modelcontextprotocol/protocolVersion"]');
}

function trim(value: string): string {
  const first = value.charCodeAt(0);
  const last = value.charCodeAt(value.length - 1);
  return first <= 0x20 || last <= 0x20 ? value.replace(/^[ \t]+|[ \t]+$/g, '') : value;
}

/** Whether a plain header equals a string of the body; in the usual case without making a string of that. */
function equalsField(message: Message, field: FieldId, header: string): boolean {
  const value = trim(header);
  const { spans } = message;
  const start = spans[2 * field]! + 1;
  if (start === 0 || message.at(start - 1) !== 0x22) return false;
  if (spans[2 * field + 1]! - start - 1 === value.length) {
    let i = 0;
    while (i < value.length && message.at(start + i) === value.charCodeAt(i)) i++;
    // Equal bytes are equal text only without escapes and outside of latin1, in which headers are read.
    if (i === value.length && PLAIN.test(value) && !value.includes('\\')) return true;
  }
  return PLAIN.test(value) && message.string(field) === value;
}

/** One tool parameter that is mirrored in `Mcp-Param-{name}`. */
export interface ParamHeader {
  /** With prefix, in the spelling of the annotation. */
  readonly header: string;
  /** Without prefix, lower case: for comparison. */
  readonly key: string;
  /** Property names from the arguments down. */
  readonly path: readonly string[];
  readonly type: 'string' | 'integer' | 'boolean';
}

export type ParamHeaders = readonly ParamHeader[];

type Json = Readonly<Record<string, unknown>>;

const ANNOTATION = 'x-mcp-header';
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
/** Keywords whose value is data, in which the name of the annotation means nothing. */
const DATA = new Set(['const', 'default', 'enum', 'examples', 'required', 'dependentRequired']);
/** Keywords whose value has a schema for each name of the author's choice. */
const MAPS = new Set(['properties', 'patternProperties', 'dependentSchemas', '$defs', 'definitions']);

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * The mirrored parameters of a tool, undefined when it has none; a string says which rule the schema breaks, and then
 * the tool must not be listed to modern HTTP clients ("Schema Extension").
 */
export function compileParamHeaders(inputSchema: unknown): ParamHeaders | string | undefined {
  const found: ParamHeader[] = [];
  const problem = visit(inputSchema, [], true, found);
  return problem ?? (found.length === 0 ? undefined : found);
}

/** `reachable`: the way here went through `properties` only. Depth is bounded: the schema was scanned. */
function visit(schema: unknown, path: readonly string[], reachable: boolean, found: ParamHeader[]): string | undefined {
  if (Array.isArray(schema)) {
    for (const entry of schema) {
      const problem = visit(entry, path, false, found);
      if (problem !== undefined) return problem;
    }
    return undefined;
  }
  if (!isObject(schema)) return undefined;
  for (const [keyword, value] of Object.entries(schema)) {
    if (DATA.has(keyword)) continue;
    let problem: string | undefined;
    if (keyword === ANNOTATION) {
      problem = annotation(schema, path, reachable, found);
    } else if (MAPS.has(keyword) && isObject(value)) {
      for (const [name, child] of Object.entries(value)) {
        problem ??= visit(child, [...path, name], reachable && keyword === 'properties', found);
      }
    } else {
      problem = visit(value, [...path, keyword], false, found);
    }
    if (problem !== undefined) return problem;
  }
  return undefined;
}

function annotation(
  schema: Json,
  path: readonly string[],
  reachable: boolean,
  found: ParamHeader[],
): string | undefined {
  const name = schema[ANNOTATION];
  const type = schema['type'];
  const where = `${ANNOTATION} at ${path.length === 0 ? 'the root of inputSchema' : path.join('.')}`;
  if (!reachable || path.length === 0) return `${where} is not reached through "properties" alone`;
  if (typeof name !== 'string' || !TOKEN.test(name)) return `${where} is not a header name (RFC 9110 token)`;
  if (type !== 'string' && type !== 'integer' && type !== 'boolean') {
    return `${where} is on a property whose type is not string, integer or boolean`;
  }
  const key = name.toLowerCase();
  if (found.some((other) => other.key === key)) return `${where} repeats the header name ${name}`;
  found.push({ header: `Mcp-Param-${name}`, key, path, type });
  return undefined;
}

/** Stands for a header value that cannot be decoded: no text of a scanned body equals it. */
const MALFORMED = '\u0000';

/**
 * Raw `Mcp-Param-*` values decoded. Characters that no header may have are refused here; base64 that is not canonical
 * only fails `checkParamHeaders`, because headers that no tool declares must be ignored.
 */
export function decodeParamHeaders(
  raw: readonly (readonly [string, string])[],
): readonly (readonly [string, string])[] | TollgateError {
  const decoded: (readonly [string, string])[] = [];
  for (const [name, value] of raw) {
    if (!PLAIN.test(value)) return mismatch(`Mcp-Param-${name} has characters that no header may have`);
    decoded.push([name, decodeHeaderValue(value) ?? MALFORMED]);
  }
  return decoded;
}

/** The value at a path of the arguments: undefined when absent or null. */
function valueAt(args: unknown, path: readonly string[]): unknown {
  let value = args;
  for (const name of path) {
    if (!isObject(value) || !Object.hasOwn(value, name)) return undefined;
    value = value[name];
  }
  return value ?? undefined;
}

const rawJson = JSON as unknown as { isRawJSON(value: unknown): value is { readonly rawJSON: string } };

/** A value as header text; undefined when it has none (objects, arrays, fractions, unsafe integers). */
function textOf(value: unknown): string | undefined {
  if (typeof value === 'string') return value;
  if (typeof value === 'boolean') return value ? 'true' : 'false';
  const number = rawJson.isRawJSON(value) ? Number(value.rawJSON) : value;
  // `+ 0` makes -0 a 0.
  return Number.isSafeInteger(number) ? String((number as number) + 0) : undefined;
}

/**
 * Throws `header_mismatch` unless every mirrored parameter that has a value has its header, equal to it, and every
 * other one has none. `headers`: name without prefix in lower case, decoded value. Integers compare as numbers
 * (`42.0` equals 42). Headers that the tool does not declare are ignored.
 */
export function checkParamHeaders(
  compiled: ParamHeaders,
  args: unknown,
  headers: readonly (readonly [string, string])[],
): void {
  for (const { header, key, path } of compiled) {
    const sent = headers.find(([name]) => name === key)?.[1];
    const value = valueAt(args, path);
    const where = `arguments.${path.join('.')}`;
    if (value === undefined) {
      if (sent !== undefined) throw mismatch(`${header} is sent, but ${where} has no value`);
      continue;
    }
    const text = textOf(value);
    // Not to be mirrored: the server's schema refuses it, or it has another type there.
    if (text === undefined && sent === undefined) continue;
    if (sent === undefined) throw mismatch(`${header} is missing; it must have the value of ${where}`);
    if (sent === MALFORMED) throw mismatch(`${header} is malformed`);
    const equal = typeof value === 'string' || typeof value === 'boolean' ? sent === text : sameInteger(sent, text);
    if (!equal) throw mismatch(`${header} differs from ${where}`);
  }
}

function sameInteger(sent: string, text: string | undefined): boolean {
  if (text === undefined || !/^-?\d+(\.0+)?$/.test(sent)) return false;
  const number = Number(sent);
  return Number.isSafeInteger(number) && number === Number(text);
}

/** The `Mcp-Param-*` headers of a call: name with prefix and encoded value. Undefined when there are none. */
export function buildParamHeaders(
  compiled: ParamHeaders,
  args: unknown,
): readonly (readonly [string, string])[] | undefined {
  const headers: (readonly [string, string])[] = [];
  for (const { header, path } of compiled) {
    const text = textOf(valueAt(args, path));
    if (text !== undefined) headers.push([header, encodeHeaderValue(text)]);
  }
  return headers.length === 0 ? undefined : headers;
}
