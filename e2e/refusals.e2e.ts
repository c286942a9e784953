import { type FakeHttpServer, startFakeHttp } from '@tollgate/testkit/fake-http';
import { type RunningGateway, startGateway } from '@tollgate/testkit/gateway';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CLIENTS, type ClientName, connectClient, type Shown } from './clients.ts';

/** The message alone must do: whether it ran, the limit, when to repeat, the id of the decision. */
const MESSAGE = /Not run.*calls.*Repeat this same call in \d+ [^.]*\..*\[tg-/s;

/** One gateway with a server, an endpoint and a count for each client. */
function perClient(refusals?: string) {
  const stack = new AsyncDisposableStack();
  const servers = new Map<ClientName, FakeHttpServer>();
  let gateway: RunningGateway;
  beforeAll(async () => {
    for (const name of CLIENTS) servers.set(name, stack.use(await startFakeHttp('modern')));
    gateway = stack.use(
      await startGateway({
        version: 1,
        servers: Object.fromEntries([...servers].map(([name, { url }]) => [name, { url }])),
        limits: { calls: { on: 'tools/call', by: ['principal', 'server'], limit: '1/day' } },
        ...(refusals === undefined ? {} : { refusals }),
      }),
    );
  });
  afterAll(() => stack.disposeAsync());
  return { url: (name: ClientName) => gateway.url(`/s/${name}`), server: (name: ClientName) => servers.get(name)! };
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
  const { url, server } = perClient();
  it.each(CLIENTS)('%s shows the whole message', async (name) => {
    const shown = await firstRefusal(name, url(name));
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
    expect(server(name).seen('tools/call')).toHaveLength(1);
  });

  it.each(['sdk-v1', 'sdk-v2-auto'] as const)('%s goes on working afterwards', async (name) => {
    await using client = await connectClient(name, url(name));
    for (let call = 0; call < 3; call += 1) await client.callTool('echo', { text: 'hi' });
    expect(await client.listTools()).toContain('echo');
  });
});

describe('a refusal as HTTP 429, for those who ask for it', () => {
  const { url } = perClient('http');
  it.each(CLIENTS)('%s still shows an error', async (name) => {
    expect((await firstRefusal(name, url(name))).kind).toBe('error');
  });
});
