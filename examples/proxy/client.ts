/**
 * A client of the proxy: lists, calls, and is refused by scope, by a transformer and by a limit. Exits 1 when anything
 * is not as it should be.
 *
 *   node client.ts [URL of the proxy]
 */
import assert from 'node:assert/strict';
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { TOKENS } from './tokens.ts';

const url = new URL(process.argv[2] ?? 'http://127.0.0.1:7117/mcp');

async function connect(who: keyof typeof TOKENS): Promise<Client> {
  const client = new Client({ name: `example-${who}`, version: '1.0.0' }, { versionNegotiation: { mode: 'auto' } });
  const headers = { authorization: `Bearer ${TOKENS[who]}` };
  await client.connect(new StreamableHTTPClientTransport(url, { requestInit: { headers } }));
  return client;
}

/** What the model behind a client would read: the text of the result, or the message of the error. */
async function call(client: Client, name: string, args: Record<string, unknown>): Promise<string> {
  try {
    const result = await client.callTool({ name, arguments: args });
    return (result.content as { text?: string }[]).map((block) => block.text ?? '').join('\n');
  } catch (error) {
    return `refused: ${(error as Error).message}`;
  }
}

async function show(client: Client, name: string, args: Record<string, unknown>, expected: RegExp): Promise<void> {
  const text = await call(client, name, args);
  console.log(`${name} ${JSON.stringify(args)}\n  ${text}`);
  assert.match(text, expected);
}

const analyst = await connect('analyst');
const admin = await connect('admin');

const seen = async (client: Client) => (await client.listTools()).tools.map((tool) => tool.name).sort();
const [analystTools, adminTools] = [await seen(analyst), await seen(admin)];
console.log(`The analyst sees ${analystTools.join(', ')}`);
console.log(`The admin sees also ${adminTools.filter((name) => !analystTools.includes(name)).join(', ')}`);
// Those of the servers, and the gateway's own `tollgate_quota`, which is there because limits are.
assert.equal(analystTools.length, 9);
assert.deepEqual(
  adminTools.filter((name) => !analystTools.includes(name)),
  ['admin_maintenance', 'admin_status'],
);

await show(analyst, 'calculate', { operation: 'multiply', a: 6, b: 7 }, /^42$/);
await show(analyst, 'math_add', { a: 40, b: 2 }, /^42$/);
await show(analyst, 'math_subtract', { a: 44, b: 2 }, /^42$/);
await show(analyst, 'math_multiply', { a: 21, b: 2 }, /^42$/);
await show(analyst, 'math_divide', { a: 84, b: 2 }, /^42$/);
await show(analyst, 'math_divide', { a: 1, b: 0 }, /no finite result/);
await show(analyst, 'search_users', { query: 'hopper' }, /Grace Hopper/);
await show(analyst, 'get_user_stats', { id: 'u3' }, /"orders":21/);
const { contents } = await analyst.readResource({ uri: 'data://users/u1' });
console.log(`data://users/u1\n  ${JSON.stringify(contents[0])}`);
assert.match(JSON.stringify(contents), /Ada Lovelace/);
await show(admin, 'admin_status', {}, /"maintenance":false/);

console.log('\nRefused by scope, by a transformer, by a limit:');
await show(analyst, 'admin_maintenance', { on: true }, /refused: .*admin:run/s);
await show(analyst, 'math_power', { a: 2, b: 5000 }, /Exponents above 1000/);
// What a transformer refuses does not run and is given back: three of three are left.
await show(analyst, 'math_power', { a: 2, b: 9 }, /^512$/);
await show(analyst, 'math_power', { a: 2, b: 10 }, /^1024$/);
await show(analyst, 'math_power', { a: 2, b: 11 }, /^2048$/);
await show(analyst, 'math_power', { a: 2, b: 12 }, /Not run, not charged.*Repeat/s);
// Limits count each client for itself.
await show(admin, 'math_power', { a: 2, b: 12 }, /^4096$/);

await analyst.close();
await admin.close();
console.log('\nAll as expected.');
