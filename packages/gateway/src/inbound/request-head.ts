/**
 * The head of a request as it was sent. Node joins or drops repeated headers by rules of its own (it keeps the first
 * `Host` and `Authorization` and joins `Mcp-Name`), so two readers of one request could see two different ones:
 * everything that decides is read from the raw list, and a repeated deciding header is refused.
 */
import type { IncomingMessage } from 'node:http';
import { TollgateError } from '../core/errors.ts';

/** Header fields in one request; more are refused with 431. */
const MAX_FIELDS = 128;

export class RequestHead {
  host: string | undefined = undefined;
  origin: string | undefined = undefined;
  authorization: string | undefined = undefined;
  accept: string | undefined = undefined;
  contentType: string | undefined = undefined;
  contentLength: string | undefined = undefined;
  contentEncoding: string | undefined = undefined;
  transferEncoding: string | undefined = undefined;
  protocolVersion: string | undefined = undefined;
  mcpMethod: string | undefined = undefined;
  mcpName: string | undefined = undefined;
  sessionId: string | undefined = undefined;
  lastEventId: string | undefined = undefined;
  /** `Mcp-Param-*` as sent: name without prefix, lower case, and raw value. */
  params: [string, string][] | undefined = undefined;
  /** `X-Forwarded-*` as sent, repeated ones joined by commas; they count only when a trusted proxy sent them. */
  forwardedFor: string | undefined = undefined;
  forwardedHost: string | undefined = undefined;
  forwardedProto: string | undefined = undefined;
  /** Of the client, after `Proxies.settle`; undefined once the socket is gone. */
  address: string | undefined = undefined;
  /** The client speaks TLS, with us or with a trusted proxy; after `Proxies.settle`. */
  secure = false;
}

type Slot = Exclude<keyof RequestHead, 'params' | 'address' | 'secure'>;

const SLOTS: readonly (readonly [string, Slot])[] = [
  ['Host', 'host'],
  ['Origin', 'origin'],
  ['Authorization', 'authorization'],
  ['Accept', 'accept'],
  ['Content-Type', 'contentType'],
  ['Content-Length', 'contentLength'],
  ['Content-Encoding', 'contentEncoding'],
  ['Transfer-Encoding', 'transferEncoding'],
  ['MCP-Protocol-Version', 'protocolVersion'],
  ['Mcp-Method', 'mcpMethod'],
  ['Mcp-Name', 'mcpName'],
  ['Mcp-Session-Id', 'sessionId'],
  ['Last-Event-ID', 'lastEventId'],
  ['X-Forwarded-For', 'forwardedFor'],
  ['X-Forwarded-Host', 'forwardedHost'],
  ['X-Forwarded-Proto', 'forwardedProto'],
];

/** List-valued (RFC 9110 section 5.3): nothing is decided by their first or last field alone. */
const LISTS: ReadonlySet<Slot> = new Set(['accept', 'forwardedFor', 'forwardedHost', 'forwardedProto']);

/** The two usual spellings, so that almost no name has to be lower-cased. */
const slots = new Map<string, Slot>();
for (const [name, slot] of SLOTS) {
  slots.set(name, slot);
  slots.set(name.toLowerCase(), slot);
}

const PARAM_PREFIX = 'mcp-param-';

/** Reads the raw header list once. Refuses repeated deciding headers and too many fields. */
export function readHead(request: IncomingMessage): RequestHead | TollgateError {
  const raw = request.rawHeaders;
  const head = new RequestHead();
  if (raw.length > 2 * MAX_FIELDS) {
    return new TollgateError('headers_too_large', `A request may have at most ${MAX_FIELDS} header fields.`);
  }
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i]!;
    const slot = slots.get(name) ?? slots.get(name.toLowerCase());
    if (slot === undefined) {
      if (name.length > PARAM_PREFIX.length && isParam(name)) {
        const repeated = addParam(head, name.slice(PARAM_PREFIX.length).toLowerCase(), raw[i + 1]!);
        if (repeated !== undefined) return repeated;
      }
      continue;
    }
    const value = raw[i + 1]!;
    if (head[slot] === undefined) {
      head[slot] = value;
    } else if (LISTS.has(slot)) {
      head[slot] = `${head[slot]},${value}`;
    } else {
      return duplicate(name);
    }
  }
  return head;
}

function isParam(name: string): boolean {
  return name.slice(0, PARAM_PREFIX.length).toLowerCase() === PARAM_PREFIX;
}

function addParam(head: RequestHead, name: string, value: string): TollgateError | undefined {
  head.params ??= [];
  for (const [known] of head.params) if (known === name) return duplicate(`Mcp-Param-${name}`);
  head.params.push([name, value]);
  return undefined;
}

function duplicate(name: string): TollgateError {
  return new TollgateError(
    /^mcp-/i.test(name) && !/^mcp-session-id$/i.test(name) ? 'header_mismatch' : 'invalid_request',
    `The header ${name} is repeated. Send it once.`,
  );
}
