/**
 * An HTTP API and an MCP endpoint in one program, with one budget for both: what a caller spends on reports it cannot
 * spend on searches. `server.ts [PORT]`
 */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { createGateway, createOperations } from 'tollgate';
import { limitHttp } from 'tollgate/middleware';

const ADA = 'token-of-ada-example';

await using gateway = await createGateway({
  listen: '127.0.0.1:0',
  servers: {
    search: { command: process.execPath, args: [join(import.meta.dirname, '../budgets/search-server.ts')] },
  },
  tools: { 'search/web_search': { price: { each: '0.25 USD' } } },
  auth: [{ name: 'people', bearer: { token: ADA, subject: 'ada' } }],
  // To the limits a request of the API is `unknown`: it is none of MCP's methods.
  limits: {
    requests: { on: ['tools/call', 'unknown'], by: 'principal', limit: '60/min' },
    spend: { on: ['tools/call', 'unknown'], by: 'principal', limit: '5 USD/day' },
  },
});
const { url } = await gateway.listen();

const api = createServer(
  limitHttp((_request, response) => void response.end('A report.\n'), {
    limiter: createOperations(gateway),
    // From a credential, never from what a caller can write itself: it would choose whose budget it spends.
    clientId: ({ headers }) => (headers.authorization === `Bearer ${ADA}` ? 'ada' : undefined),
    cost: ({ url: path }) => (path === '/report' ? 2 : 0.01),
    when: ({ url: path }) => path !== '/health',
  }),
);
api.listen(Number(process.argv[2] ?? 7200), '127.0.0.1', () => {
  console.log(`Serving http://127.0.0.1:${(api.address() as AddressInfo).port} and ${url}/mcp`);
});
await new Promise<void>((resolve) => {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, resolve);
});
api.closeAllConnections();
api.close();
