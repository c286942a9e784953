import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { startChild } from '@tollgate/testkit/child';
import { type FakeHttpServer, startFakeHttp } from '@tollgate/testkit/fake-http';
import { TOLLGATE_BIN } from '@tollgate/testkit/gateway';
import { type ProcessEntry, processTable } from '@tollgate/testkit/process-table';
import { temporaryDirectory } from '@tollgate/testkit/temporary-directory';
import { verifies } from '@tollgate/testkit/verifies';
import { waitUntil } from '@tollgate/testkit/wait';
import { expect, it } from 'vitest';

interface Desk extends AsyncDisposable {
  /** What its gateways wrote so far. */
  log(): Promise<string>;
  /** Starts an MCP client that runs `tollgate --stdio`. */
  editor(name: string): Promise<Client>;
  /** The gateways of this configuration that run now. */
  gateways(): ProcessEntry[];
}

/** Of several that start at once all but one end by themselves: maybe just now. */
function endOf(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

async function desk(server: FakeHttpServer): Promise<Desk> {
  const folder = await temporaryDirectory('stdio');
  const configFile = join(folder.path, 'tollgate.yaml');
  const limits = { calls: { on: 'tools/call', by: 'principal', limit: '3/day' } };
  const servers = { up: { url: server.url } };
  await writeFile(configFile, JSON.stringify({ version: 1, listen: '127.0.0.1:0', servers, limits }));
  const clients: Client[] = [];
  const gateways = () =>
    processTable().filter(({ command }) => command.includes(configFile) && command.includes('--detached'));
  return {
    log: () => readFile(join(folder.path, '.tollgate/gateway.log'), 'utf8'),
    gateways,
    editor: async (name) => {
      const client = new Client({ name, version: '1.0.0' });
      clients.push(client);
      const args = [TOLLGATE_BIN, 'serve', configFile, '--stdio'];
      await client.connect(new StdioClientTransport({ command: process.execPath, args, stderr: 'inherit' }));
      return client;
    },
    [Symbol.asyncDispose]: async () => {
      await Promise.all(clients.map((client) => client.close()));
      // Detached gateways would stay for five minutes.
      const signal = (name: NodeJS.Signals) => {
        for (const { pid } of gateways()) endOf(pid, name);
      };
      signal('SIGTERM');
      const gone = await waitUntil('the end of the gateway', () => gateways().length === 0).catch(() => false);
      signal('SIGKILL');
      await folder[Symbol.asyncDispose]();
      if (!gone) throw new Error('A detached gateway ignored SIGTERM');
    },
  };
}

it('two editors over stdio share one gateway, and with it one limit', async () => {
  verifies('R1-48');
  await using server = await startFakeHttp('modern');
  await using place = await desk(server);
  const clients = [await place.editor('one'), await place.editor('two')];
  const answers: boolean[] = [];
  for (let call = 0; call < 3; call += 1) {
    for (const client of clients) {
      expect((await client.listTools()).tools.map((tool) => tool.name)).toContain('echo');
      answers.push((await client.callTool({ name: 'echo', arguments: { text: 'x' } })).isError !== true);
    }
  }
  expect(answers).toEqual([true, true, true, false, false, false]);
  expect(place.gateways()).toHaveLength(1);
  await clients[0]?.close();
  expect((await clients[1]?.listTools())?.tools.length).toBeGreaterThan(0);
});

it('four editors that start at the same moment get one gateway between them', async () => {
  await using server = await startFakeHttp('modern');
  await using place = await desk(server);
  const clients = await Promise.all(['a', 'b', 'c', 'd'].map((name) => place.editor(name)));
  for (const client of clients) expect((await client.listTools()).tools.map((tool) => tool.name)).toContain('echo');
  await waitUntil('one gateway alone', () => place.gateways().length === 1);
});

it('an editor that comes while the gateway finishes its last calls gets the next one', async () => {
  const gate = Promise.withResolvers<void>();
  await using server = await startFakeHttp('modern', { latency: () => gate.promise });
  await using place = await desk(server);
  const first = await place.editor('first');
  const last = first.callTool({ name: 'echo', arguments: { text: 'last words' } });
  await waitUntil('the call at the server', () => server.count('tools/call') === 1);
  const [leaving] = place.gateways();
  process.kill(leaving!.pid, 'SIGTERM');
  const second = place.editor('second');
  await waitUntil('the next gateway', async () => (await place.log()).includes('waiting for it'));
  gate.resolve();
  expect(JSON.stringify(await last)).toContain('last words');
  expect((await (await second).listTools()).tools.map((tool) => tool.name)).toContain('echo');
  expect(place.gateways().map(({ pid }) => pid)).not.toContain(leaving!.pid);
});

it('an editor whose gateway cannot listen is told why, soon; --listen moves it; its end is told', async () => {
  await using server = await startFakeHttp('modern');
  await using folder = await temporaryDirectory('stdio-taken');
  await using other = createServer().listen(0, '127.0.0.1');
  await once(other, 'listening');
  const { port } = other.address() as AddressInfo;
  const file = join(folder.path, 'tollgate.yaml');
  await writeFile(
    file,
    JSON.stringify({ version: 1, listen: `127.0.0.1:${port}`, servers: { up: { url: server.url } } }),
  );
  const editor = (...args: string[]) => startChild(process.execPath, [TOLLGATE_BIN, 'serve', file, '--stdio', ...args]);
  const gateways = () =>
    processTable().filter(({ command }) => command.includes(file) && command.includes('--detached'));

  await using refused = await editor();
  // Not the words after the time in which it gives up without a reason.
  expect((await refused.waitFor(/did not start: .*/))[0]).toContain(`127.0.0.1:${port}: the port is taken`);
  expect((await refused.exited).code).toBe(3);
  expect(gateways()).toEqual([]);

  try {
    await using moved = await editor('--listen', '127.0.0.1:0');
    moved.write(
      `${JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'initialize', params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'e', version: '1' } } })}\n`,
    );
    await moved.waitFor(/"serverInfo"/);
    for (const { pid } of gateways()) process.kill(pid, 'SIGKILL');
    expect((await moved.exited).code).toBe(3);
    expect(moved.stderr()).toContain('The gateway has stopped');
  } finally {
    for (const { pid } of gateways()) endOf(pid, 'SIGTERM');
    await waitUntil('the end of the gateway', () => gateways().length === 0);
  }
});
