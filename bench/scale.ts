import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { startGateway } from '@tollgate/testkit/gateway';
import { modernRequest } from '@tollgate/testkit/modern-request';
import { residentBytes } from '@tollgate/testkit/process-table';
import { exchange, rawConnection, rawRequest } from '@tollgate/testkit/raw-http';
import { startProgram } from './wire-targets.ts';

const SERVERS = 50;
const TOOLS = 1_000;

/** 1000 tools over 50 servers in one list, and the memory of many idle listen streams. */
export async function benchScale(quick: boolean): Promise<void> {
  await using stack = new AsyncDisposableStack();
  const upstream = await startProgram(stack, 'upstream.ts');
  const servers = Object.fromEntries(
    Array.from({ length: SERVERS }, (_, i) => [
      `server${i}`,
      { url: `http://127.0.0.1:${upstream.port}/many-${i}`, protocol: 'modern' },
    ]),
  );
  const gateway = stack.use(await startGateway({ version: 1, servers }));
  const memory = (): number => residentBytes(gateway.child.pid) ?? 0;

  await listTools(gateway.port, memory);
  await listenStreams(gateway.port, memory, quick ? 1_000 : 10_000);
}

async function listTools(port: number, memory: () => number): Promise<void> {
  const request = modernRequest(1, 'tools/list');
  const first = performance.now();
  let answer = await exchange(port, request, 30_000);
  const cold = performance.now() - first;
  await using connection = await rawConnection(port);
  const times: number[] = [];
  for (let i = 0; i < 200; i += 1) {
    const from = performance.now();
    connection.send(rawRequest(port, request));
    answer = await connection.response();
    times.push(performance.now() - from);
  }
  const result = answer.json()['result'] as { tools: unknown[]; nextCursor?: string };
  if (result.tools.length !== TOOLS || result.nextCursor !== undefined) {
    throw new Error(`Expected ${TOOLS} tools in one page, got ${result.tools.length}`);
  }
  times.sort((a, b) => a - b);
  const at = (share: number): string => (times[Math.floor(times.length * share)] ?? 0).toFixed(2);
  console.log(
    `${TOOLS} tools over ${SERVERS} servers in one list: first ${cold.toFixed(1)} ms, p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, ${(answer.body.length / 1024).toFixed(0)} KiB, gateway memory ${megabytes(memory())}`,
  );
}

async function listenStreams(port: number, memory: () => number, count: number): Promise<void> {
  const sockets: Socket[] = [];
  let acknowledged = 0;
  const params = { notifications: { toolsListChanged: true } };
  const request = rawRequest(port, modernRequest(1, 'subscriptions/listen', params));
  const before = memory();
  try {
    for (let opened = 0; opened < count; opened += 100) {
      const batch = Array.from({ length: Math.min(100, count - opened) }, () => connect(port, '127.0.0.1'));
      sockets.push(...batch);
      await Promise.all(
        batch.map(async (socket) => {
          await once(socket, 'connect');
          socket.write(request);
          for (let text = ''; !text.includes('subscriptions/acknowledged'); ) {
            const [chunk] = (await once(socket, 'data', { signal: AbortSignal.timeout(30_000) })) as [Buffer];
            text += chunk.toString('latin1');
          }
          acknowledged += 1;
          socket.on('data', () => {}).on('error', () => {});
        }),
      );
    }
    // Young garbage of opening them must not count as memory of keeping them.
    await new Promise((resolve) => setTimeout(resolve, 3_000));
    const after = memory();
    console.log(
      `${acknowledged} idle listen streams: ${megabytes(after - before)} more, ${((after - before) / count / 1024).toFixed(1)} KiB each, gateway memory ${megabytes(after)}`,
    );
  } finally {
    for (const socket of sockets) socket.destroy();
  }
}

const megabytes = (bytes: number): string => `${(bytes / 1024 / 1024).toFixed(1)} MiB`;
