import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { startFakeHttp } from '@tollgate/testkit/fake-http';
import { TOLLGATE_BIN } from '@tollgate/testkit/gateway';
import { processTable } from '@tollgate/testkit/process-table';
import { temporaryDirectory } from '@tollgate/testkit/temporary-directory';
import { verifies } from '@tollgate/testkit/verifies';
import { waitUntil } from '@tollgate/testkit/wait';
import { expect, it } from 'vitest';

async function editor(configFile: string, name: string): Promise<Client> {
  const client = new Client({ name, version: '1.0.0' });
  const args = [TOLLGATE_BIN, 'serve', configFile, '--stdio'];
  await client.connect(new StdioClientTransport({ command: process.execPath, args, stderr: 'inherit' }));
  return client;
}

it('two editors over stdio share one gateway, and with it one limit', async () => {
  verifies('R1-48');
  await using server = await startFakeHttp('modern');
  await using folder = await temporaryDirectory('stdio');
  const configFile = join(folder.path, 'tollgate.yaml');
  const limits = { calls: { on: 'tools/call', by: 'principal', limit: '3/min' } };
  await writeFile(
    configFile,
    JSON.stringify({ version: 1, listen: '127.0.0.1:0', servers: { up: { url: server.url } }, limits }),
  );
  let pid: number | undefined;
  try {
    const clients = await Promise.all([editor(configFile, 'one'), editor(configFile, 'two')]);
    const record = JSON.parse(await readFile(join(folder.path, '.tollgate/gateway.json'), 'utf8')) as { pid: number };
    pid = record.pid;
    const answers: boolean[] = [];
    for (let call = 0; call < 3; call += 1) {
      for (const client of clients) {
        expect((await client.listTools()).tools.map((tool) => tool.name)).toContain('echo');
        answers.push((await client.callTool({ name: 'echo', arguments: { text: 'x' } })).isError !== true);
      }
    }
    expect(answers).toEqual([true, true, true, false, false, false]);
    await clients[0]?.close();
    expect((await clients[1]?.listTools())?.tools.length).toBeGreaterThan(0);
    await clients[1]?.close();
  } finally {
    // The gateway was started detached and would stay for five minutes.
    const gateway = pid;
    if (gateway !== undefined) {
      process.kill(gateway, 'SIGTERM');
      await waitUntil('the end of the gateway', () => !processTable().some((entry) => entry.pid === gateway));
    }
  }
});
