/** A gateway inside a program of your own: made from an object, watched, asked, administered, closed. */
import { join } from 'node:path';
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { createControl, createGateway } from 'tollgate';

await using gateway = await createGateway({
  listen: '127.0.0.1:0',
  servers: {
    math: { command: process.execPath, args: [join(import.meta.dirname, '../proxy/math-server.ts')] },
  },
  limits: { calls: { on: 'tools/call', by: 'principal', limit: '30/min' } },
});
gateway.calls.watch((call) => console.log(`${call.method} ${call.target ?? ''} ${call.outcome}`));
const { url } = await gateway.listen();

const client = new Client({ name: 'embed', version: '1.0.0' }, { versionNegotiation: { mode: 'auto' } });
await client.connect(new StreamableHTTPClientTransport(new URL(`${url}/mcp`)));
const { content } = await client.callTool({ name: 'math_add', arguments: { a: 40, b: 2 } });
console.log(JSON.stringify(content));

// What operators do over the control API, without a port: nobody is served while the stop holds.
const control = createControl(gateway);
const stop = await control.ask<{ id: string }>('POST', '/stops', { scope: 'everything', reason: 'demo' });
const { isError } = await client
  .callTool({ name: 'math_add', arguments: { a: 1, b: 1 } })
  .catch(() => ({ isError: true }));
await control.ask('DELETE', `/stops/${stop.id}`);
console.log(`while stopped: ${isError === true ? 'refused' : 'served'}`);
await client.close();

const { tools, refused } = gateway.calls.statistics();
console.log(`math_add ran ${tools.get('math/math_add')?.successful ?? 0} times, ${refused} calls were refused`);
if (JSON.stringify(content) !== '[{"type":"text","text":"42"}]' || refused !== 1) process.exitCode = 1;
