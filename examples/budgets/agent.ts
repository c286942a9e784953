/** An agent that searches until its budget is spent, and prints what it is told then. `agent.ts [URL] [TOKEN]` */
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';

const [url = 'http://127.0.0.1:7117/mcp', token] = process.argv.slice(2);
const headers: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` };
const client = new Client({ name: 'agent', version: '1.0.0' }, { versionNegotiation: { mode: 'auto' } });
await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } }));

let searches = 0;
let refusal: string | undefined;
while (refusal === undefined && searches < 100) {
  try {
    await client.callTool({ name: 'web_search', arguments: { query: 'tollgates' } });
    searches++;
  } catch (error) {
    refusal = (error as Error).message;
  }
}
console.log(`${searches} searches ran. Then: ${refusal}`);

const { content } = await client.callTool({ name: 'tollgate_quota', arguments: {} });
for (const part of content) if (part.type === 'text') console.log(part.text);
await client.close();
if (refusal?.startsWith('Not run') !== true) process.exitCode = 1;
