/** JSON bodies of the HTTP surfaces, by the strict rules of MCP messages: what two readers could read differently is refused. */
import type { Context } from 'hono';
import type * as z from 'zod';
import { TollgateError } from '../core/errors.ts';
import { parseLossless } from '../protocol/json/lossless.ts';
import { DEFAULT_SCAN_CAPS, scan } from '../protocol/json/scan.ts';
import { Field } from '../protocol/message.ts';
import { bodyBytes } from './body-bytes.ts';

export interface StrictOptions {
  /** Numbers that a double cannot hold keep their source text, for values that are passed on. Default false. */
  readonly exact?: boolean;
  /** Members in the whole body. Default 10,000. */
  readonly keys?: number;
}

const MAX_BODY = 16 * 1024;
const PREFIX = '{"jsonrpc":"2.0","method":"rest","params":{"body":';

/** Any JSON value. Throws `parse_error` or `invalid_request`, both 400, with the byte as the sender counts it. */
export function strictJson(
  body: Buffer,
  { exact = false, keys = DEFAULT_SCAN_CAPS.keys }: StrictOptions = {},
): unknown {
  try {
    const caps = { ...DEFAULT_SCAN_CAPS, keys };
    const message = scan(Buffer.concat([Buffer.from(PREFIX), body, Buffer.from('}}')]), caps);
    const params = message.raw(Field.params)!;
    const value = parseLossless(params, exact && message.exactNumbers) as { readonly body: unknown };
    // A body that closes the wrapping and goes on would be read in part.
    if (params !== `{"body":${body.toString('utf8')}}` || Object.keys(value).length !== 1) {
      throw new TollgateError('parse_error', 'The body must be one JSON value');
    }
    return value.body;
  } catch (error) {
    if (!TollgateError.is(error)) throw error;
    const told = error.message.replace(/^Byte (\d+)/, (_, at: string) => `Byte ${Number(at) - PREFIX.length}`);
    throw new TollgateError(error.code, told, { http: 400 });
  }
}

/** The JSON body of a request, as the schema has it. Throws `invalid_params` with status 400, naming the member. */
export async function readBody<T extends z.ZodType>(
  c: Context,
  schema: T,
  most = MAX_BODY,
  options?: StrictOptions,
): Promise<z.output<T>> {
  const result = schema.safeParse(strictJson(await bodyBytes(c, most), options));
  if (result.success) return result.data;
  const { path, message } = result.error.issues[0]!;
  throw new TollgateError('invalid_params', `${path.length === 0 ? 'body' : path.join('.')}: ${message}`, {
    http: 400,
  });
}
