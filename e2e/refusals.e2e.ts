import { startFakeHttp } from '@tollgate/testkit/fake-http';
import { type RunningGateway, startGateway } from '@tollgate/testkit/gateway';
import { describe, expect, it } from 'vitest';
import { CLIENTS, type ClientName, connectClient, type Shown } from './clients.ts';

/** The message alone must do: whether it ran, the limit, when to repeat, the id of the decision. */
const MESSAGE = /Not run.*calls.*Repeat this same call in \d+ s\..*\[tg-/s;

async function refusedGateway(upstream: string, refusals?: string): Promise<RunningGateway> {
  return startGateway({
    version: 1,
    servers: { upstream: { url: upstream } },
    limits: { calls: { on: 'tools/call', by: 'principal', limit: '1/min' } },
    ...(refusals === undefined ? {} : { refusals }),
  });
}

/** Calls until the limit is hit; the first refused call as the client shows it. */
async function firstRefusal(name: ClientName, url: string): Promise<Shown> {
  await using client = await connectClient(name, url);
  for (let call = 0; call < 5; call += 1) {
    const shown = await client.callTool('echo', { text: 'hi' });
    if (shown.kind !== 'answer') return shown;
  }
  throw new Error('No call was refused');
}

describe('a refusal in its default form', () => {
  it.each(CLIENTS)('%s shows the whole message', async (name) => {
    await using server = await startFakeHttp('modern');
    await using gateway = await refusedGateway(server.url);
    const shown = await firstRefusal(name, gateway.url());
    expect(shown.text).toMatch(MESSAGE);
    const legacy = !['sdk-v2-auto', 'inspector-modern'].includes(name);
    expect(shown.kind).toBe(legacy ? 'tool-error' : 'error');
    if (legacy && !name.startsWith('inspector')) {
      expect(shown.meta?.['tollgate/decision']).toMatchObject({
        reason: 'rate_limited',
        rule: 'calls',
        executed: 'no',
      });
    }
    expect(server.seen('tools/call')).toHaveLength(1);
  });

  it.each(['sdk-v1', 'sdk-v2-auto'] as const)('%s goes on working afterwards', async (name) => {
    await using server = await startFakeHttp('modern');
    await using gateway = await refusedGateway(server.url);
    await using client = await connectClient(name, gateway.url());
    for (let call = 0; call < 3; call += 1) await client.callTool('echo', { text: 'hi' });
    expect(await client.listTools()).toContain('echo');
  });
});

describe('a refusal as HTTP 429, for those who ask for it', () => {
  it.each(CLIENTS)('%s still shows an error', async (name) => {
    await using server = await startFakeHttp('modern');
    await using gateway = await refusedGateway(server.url, 'http');
    expect((await firstRefusal(name, gateway.url())).kind).toBe('error');
  });
});
