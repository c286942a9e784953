/**
 * The bare pass-through that the gateway is compared with: node:http in front, undici behind, no policy, no parsing.
 * node passthrough.ts http://127.0.0.1:PORT
 */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Pool } from 'undici';

const pool = new Pool(process.argv[2] ?? '', { connections: 256, pipelining: 1 });
const DROPPED = new Set(['connection', 'keep-alive', 'transfer-encoding']);

const server = createServer((request, response) => {
  const headers: Record<string, string | string[]> = {};
  for (const [name, value] of Object.entries(request.headers)) {
    if (value !== undefined && !DROPPED.has(name) && name !== 'host') headers[name] = value;
  }
  pool.dispatch(
    { path: request.url ?? '/', method: 'POST', headers, body: request },
    {
      onRequestStart: (controller) => {
        // A client that leaves in the middle of an answer must not keep the server's connection for ever.
        response.on('close', () => {
          if (!response.writableFinished) controller.abort(new Error('the client has left'));
        });
      },
      onResponseStart: (_controller, status, upstreamHeaders) => {
        const kept: Record<string, string | string[]> = {};
        for (const [name, value] of Object.entries(upstreamHeaders)) {
          if (value !== undefined && !DROPPED.has(name)) kept[name] = value;
        }
        response.writeHead(status, kept);
      },
      onResponseData: (controller, chunk) => {
        if (!response.write(chunk)) {
          controller.pause();
          response.once('drain', () => controller.resume());
        }
      },
      onResponseEnd: () => response.end(),
      onResponseError: (_controller, error) => {
        if (response.destroyed) return;
        console.error(error);
        if (!response.headersSent) response.writeHead(502);
        response.end();
      },
    },
  );
});
server.keepAliveTimeout = 600_000;
server.listen(0, '127.0.0.1');
await once(server, 'listening');
console.log(`listening on ${(server.address() as AddressInfo).port}`);
