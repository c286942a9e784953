import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { type Fault, filler } from './fake-tools.ts';

interface Scene {
  readonly id: unknown;
  readonly response: ServerResponse;
  /** All connections of the server. */
  readonly sockets: ReadonlySet<Socket>;
  /** Whether this server answers with event streams. */
  readonly sse: boolean;
}

/** Makes an HTTP server answer one tools/call in the named wrong way. */
export function misbehave(fault: Fault, scene: Scene): void {
  const { id, response, sockets, sse } = scene;
  const result = { content: [{ type: 'text', text: fault }], resultType: 'complete' };
  const type = { 'content-type': sse ? 'text/event-stream' : 'application/json' };
  const frame = (message: unknown): string => {
    const text = typeof message === 'string' ? message : JSON.stringify(message);
    return sse ? `event: message\ndata: ${text}\n\n` : text;
  };
  const good = frame({ jsonrpc: '2.0', id, result });
  const answer = (body: string | Buffer): void => {
    response.writeHead(200, type).end(body);
  };
  const begin = (then: () => void): void => {
    response.writeHead(200, type);
    response.write(good.slice(0, 20), then);
  };
  const acts: Record<Fault, () => void> = {
    garbage: () => answer(frame('{"jsonrpc": "2.0", "id": 1, "result": {{{')),
    html: () => response.writeHead(200, { 'content-type': 'text/html' }).end('<html><body>Welcome</body></html>'),
    wrong_id: () => answer(frame({ jsonrpc: '2.0', id: 'nobody', result })),
    duplicate: () => answer(good + good),
    silent: () => {},
    endless: () => {
      response.writeHead(200, type);
      response.write(sse ? 'data: {"jsonrpc":"2.0","result":"' : '{"jsonrpc":"2.0","result":"');
      const chunk = filler(64 * 1024);
      const pour = (): void => {
        while (!response.destroyed && response.write(chunk));
        if (!response.destroyed) response.once('drain', pour);
      };
      pour();
    },
    invalid_utf8: () => {
      const [before = '', after = ''] = good.split(fault);
      answer(Buffer.concat([Buffer.from(before), Buffer.from([0xff, 0xfe, 0xc0]), Buffer.from(after)]));
    },
    half_close: () => begin(() => response.end()),
    reset: () => begin(() => response.socket?.resetAndDestroy()),
    status_500: () => response.writeHead(500, { 'content-type': 'text/plain' }).end('Internal Server Error'),
    redirect: () => response.writeHead(307, { location: 'http://127.0.0.1:9/elsewhere' }).end(),
    die: () => {
      for (const socket of sockets) socket.resetAndDestroy();
    },
    empty_response: () => answer(frame({ jsonrpc: '2.0', id })),
    request_instead: () => answer(frame({ jsonrpc: '2.0', id, method: 'roots/list', params: {} })),
  };
  acts[fault]();
}
