/** Reads a JSON Web Token strictly (RFC 7515, 7519, 8725) before anything of it is believed. */
import { scan } from '../protocol/json/scan.ts';

/** Longer tokens are refused unread, in characters. */
export const MAX_TOKEN = 8192;
/** What one token may hold. */
const CAPS = { depth: 16, keys: 500, string: MAX_TOKEN };

export interface ParsedToken {
  readonly algorithm: string;
  readonly keyId: string | undefined;
  readonly type: string | undefined;
  /** Not verified yet. */
  readonly claims: Readonly<Record<string, unknown>>;
}

let lastText: string | undefined;
let lastParsed: ParsedToken | undefined;

/** The token, when it is sound in form; undefined otherwise. Several entries ask for the same one in turn. */
export function parseToken(text: string): ParsedToken | undefined {
  if (text !== lastText) {
    lastParsed = read(text);
    lastText = text;
  }
  return lastParsed;
}

function read(text: string): ParsedToken | undefined {
  if (text.length > MAX_TOKEN) return undefined;
  const parts = text.split('.');
  if (parts.length !== 3) return undefined;
  const header = decode(parts[0]!);
  // A second spelling of the same bytes would be a second token to every list of tokens.
  if (header === undefined || bytesOf(parts[2]!) === undefined) return undefined;
  const { alg, kid, typ } = header;
  if (typeof alg !== 'string' || !(kid === undefined || typeof kid === 'string')) return undefined;
  if (!(typ === undefined || typeof typ === 'string')) return undefined;
  // Keys come from the configuration, never from the token; and no extension is understood (RFC 7515 section 4.1.11).
  for (const member of ['jku', 'x5u', 'jwk', 'crit', 'b64', 'zip', 'enc'])
    if (Object.hasOwn(header, member)) return undefined;
  const claims = decode(parts[1]!);
  if (claims === undefined) return undefined;
  return { algorithm: alg, keyId: kid, type: typ, claims };
}

function bytesOf(part: string): Buffer | undefined {
  const bytes = Buffer.from(part, 'base64url');
  return bytes.toString('base64url') === part ? bytes : undefined;
}

/** One JSON object without a second reading: strict UTF-8, no duplicate members, at any depth. */
function decode(part: string): Record<string, unknown> | undefined {
  const bytes = bytesOf(part);
  if (bytes === undefined || bytes.length === 0) return undefined;
  try {
    const value: unknown = JSON.parse(bytes.toString('utf8'));
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
    // It is one whole JSON value by now, so it can stand inside another for the strict scanner.
    scan(Buffer.concat([BEFORE, bytes, AFTER]), CAPS);
    return value as Record<string, unknown>;
  } catch {
    return undefined;
  }
}

const BEFORE = Buffer.from('{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"token","arguments":');
const AFTER = Buffer.from('}}');
