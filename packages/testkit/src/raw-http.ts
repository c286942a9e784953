import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { within } from './wait.ts';

export interface RawResponse {
  readonly status: number;
  /** Lower-case names and values in the order of the wire. */
  readonly headers: readonly (readonly [string, string])[];
  readonly body: string;
  header(name: string): string | undefined;
  /** The body as JSON; throws when it is none. */
  json(): Record<string, unknown>;
}

/**
 * A TCP connection that sends exactly the bytes of the test: malformed requests, repeated headers, pipelining,
 * half-closed sockets. Every read has a deadline (default 30 s).
 */
export interface RawConnection extends AsyncDisposable {
  readonly socket: Socket;
  send(bytes: string | Uint8Array): void;
  /** Ends this side only. */
  halfClose(): void;
  /** The next complete response, headers and body; rejects when the peer closes first. */
  response(timeout?: number): Promise<RawResponse>;
  /** Next text that arrives and matches; everything up to it is consumed. For streams. */
  until(pattern: RegExp, timeout?: number): Promise<RegExpExecArray>;
  /** Resolves when the peer has closed; the unread rest of what it sent. */
  closed(timeout?: number): Promise<string>;
}

/** Connects to a loopback port. */
export async function rawConnection(port: number, host = '127.0.0.1'): Promise<RawConnection> {
  const socket = connect({ port, host, allowHalfOpen: true });
  await once(socket, 'connect');
  let buffer = Buffer.alloc(0);
  let ended = false;
  let wake: () => void = () => {};
  socket.on('data', (chunk: Buffer) => {
    buffer = Buffer.concat([buffer, chunk]);
    wake();
  });
  const end = (): void => {
    ended = true;
    wake();
  };
  socket.on('end', end).on('close', end).on('error', end);

  async function read<T>(what: string, timeout: number, attempt: () => T | undefined): Promise<T> {
    const poll = async (): Promise<T> => {
      for (;;) {
        const value = attempt();
        if (value !== undefined) return value;
        if (ended)
          throw new Error(`The peer closed before the ${what}; unread: ${buffer.toString('utf8').slice(0, 500)}`);
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    };
    return within(what, timeout, poll());
  }

  return {
    socket,
    send: (bytes) => void socket.write(bytes),
    halfClose: () => void socket.end(),
    response: (timeout = 30_000) =>
      read('response', timeout, () => {
        const parsed = parseResponse(buffer, ended);
        if (parsed === undefined) return undefined;
        buffer = buffer.subarray(parsed.length);
        return parsed.response;
      }),
    until: (pattern, timeout = 30_000) =>
      read(`text ${pattern}`, timeout, () => {
        const text = buffer.toString('utf8');
        const match = pattern.exec(text);
        if (match === null) return undefined;
        buffer = Buffer.from(text.slice(match.index + match[0].length));
        return match;
      }),
    closed: (timeout = 30_000) =>
      read('end of the connection', timeout, () => (ended ? buffer.toString('utf8') : undefined)),
    [Symbol.asyncDispose]: async () => {
      socket.destroy();
    },
  };
}

function parseResponse(bytes: Buffer, ended: boolean): { response: RawResponse; length: number } | undefined {
  const headEnd = bytes.indexOf('\r\n\r\n');
  if (headEnd < 0) return undefined;
  const [statusLine = '', ...lines] = bytes.subarray(0, headEnd).toString('latin1').split('\r\n');
  const status = Number(statusLine.split(' ')[1]);
  const headers = lines.map((line): [string, string] => {
    const colon = line.indexOf(':');
    return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
  });
  const header = (name: string): string | undefined => headers.find(([key]) => key === name.toLowerCase())?.[1];
  const rest = bytes.subarray(headEnd + 4);
  const done = (body: Buffer, consumed: number) => ({
    length: headEnd + 4 + consumed,
    response: {
      status,
      headers,
      body: body.toString('utf8'),
      header,
      json: () => JSON.parse(body.toString('utf8')) as Record<string, unknown>,
    },
  });
  if (status === 204 || status === 304) return done(Buffer.alloc(0), 0);
  const length = header('content-length');
  if (length !== undefined) {
    const size = Number(length);
    return rest.length < size ? undefined : done(rest.subarray(0, size), size);
  }
  if (header('transfer-encoding') !== 'chunked') return ended ? done(rest, rest.length) : undefined;
  const parts: Buffer[] = [];
  for (let at = 0; ; ) {
    const lineEnd = rest.indexOf('\r\n', at);
    if (lineEnd < 0) return undefined;
    const size = Number.parseInt(rest.subarray(at, lineEnd).toString('latin1'), 16);
    const from = lineEnd + 2;
    if (rest.length < from + size + 2) return undefined;
    if (size === 0) return done(Buffer.concat(parts), from + 2);
    parts.push(rest.subarray(from, from + size));
    at = from + size + 2;
  }
}

export interface RawRequest {
  readonly method?: string;
  readonly path?: string;
  /** Sent in this order, repeats included. Host is added unless given. */
  readonly headers?: readonly (readonly [string, string])[];
  readonly body?: string;
}

/** The bytes of a request; Content-Length is added for a body unless a length or a transfer coding is given. */
export function rawRequest(port: number, request: RawRequest): string {
  const headers = [...(request.headers ?? [])];
  const has = (name: string): boolean => headers.some(([key]) => key.toLowerCase() === name);
  if (!has('host')) headers.unshift(['Host', `127.0.0.1:${port}`]);
  if (request.body !== undefined && !has('content-length') && !has('transfer-encoding')) {
    headers.push(['Content-Length', String(Buffer.byteLength(request.body))]);
  }
  const head = [`${request.method ?? 'POST'} ${request.path ?? '/mcp'} HTTP/1.1`, ...headers.map((h) => h.join(': '))];
  return `${head.join('\r\n')}\r\n\r\n${request.body ?? ''}`;
}

/** One request on a connection of its own. */
export async function exchange(port: number, request: RawRequest, timeout?: number): Promise<RawResponse> {
  await using connection = await rawConnection(port);
  connection.send(rawRequest(port, request));
  return await connection.response(timeout);
}
