/** The session guard is about HTTP: what comes over a pipe is no session of the network. */
import { PassThrough } from 'node:stream';
import { startFakeHttp } from '@tollgate/testkit/fake-http';
import { callTool } from '@tollgate/testkit/tool-call';
import { verifies } from '@tollgate/testkit/verifies';
import { expect, it } from 'vitest';
import { createGateway } from './create-gateway.ts';

const config = (url: string) => ({
  listen: '127.0.0.1:0',
  servers: { fake: { url } },
  sessionGuard: { limit: '1/60s' as const },
});

it('a guard that has no room left over HTTP refuses nothing over stdio', async () => {
  verifies('R4-17', 'C-20');
  await using fake = await startFakeHttp('modern');
  await using served = await createGateway(config(fake.url));
  const { url } = await served.listen();
  expect((await callTool(`${url}/mcp`, 'echo', { text: 'x' })).status).toBe(200);
  expect((await callTool(`${url}/mcp`, 'echo', { text: 'x' })).status).toBe(429);

  await using piped = await createGateway(config(fake.url));
  const stdin = new PassThrough();
  const stdout = new PassThrough({ encoding: 'utf8' });
  let output = '';
  stdout.on('data', (chunk: string) => {
    output += chunk;
  });
  const ended = piped.serveStdio({ stdin, stdout });
  const send = (message: object) => stdin.write(`${JSON.stringify({ jsonrpc: '2.0', ...message })}\n`);
  const params = { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 't', version: '1' } };
  const answer = (id: number) =>
    output
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line || '{}') as { id?: number; result?: object })
      .find((message) => message.id === id)?.result;
  send({ id: 0, method: 'initialize', params });
  await expect.poll(() => answer(0)).toBeDefined();
  send({ method: 'notifications/initialized' });
  for (let id = 1; id <= 3; id++) {
    send({ id, method: 'tools/call', params: { name: 'echo', arguments: { text: 'x' } } });
    await expect.poll(() => answer(id)).toMatchObject({ content: [{ text: 'x' }] });
  }
  stdin.end();
  await ended;
});
