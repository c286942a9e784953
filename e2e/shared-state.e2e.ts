/** Several gateways on one Redis: every limit is one limit, whoever is asked. */
import { awayFromTurn } from '@tollgate/testkit/calendar';
import { emptyDatabase } from '@tollgate/testkit/databases';
import { type FakeHttpServer, startFakeHttp } from '@tollgate/testkit/fake-http';
import { type RunningGateway, startGateway, runTollgate as tollgate } from '@tollgate/testkit/gateway';
import { temporaryDirectory } from '@tollgate/testkit/temporary-directory';
import { callTool } from '@tollgate/testkit/tool-call';
import { verifies } from '@tollgate/testkit/verifies';
import { waitUntil } from '@tollgate/testkit/wait';
import { afterAll, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest';
import { ask, budget, drift, storm } from './state.ts';

const FULL = process.env['TOLLGATE_PROOF'] === 'full';
/** A Redis of TEST_REDIS_URL may still have the money of a run before. */
const RUN = Date.now().toString(36);
const CAPABILITIES = { roots: {} };

const stack = new AsyncDisposableStack();
let server: FakeHttpServer;
let other: FakeHttpServer;
let gateways: readonly RunningGateway[];
let config: object;
/** Calls of the first server are answered when this is resolved. */
let gate: Promise<unknown> | undefined;
beforeAll(async () => {
  server = stack.use(await startFakeHttp('modern', { keep: 100, latency: () => gate ?? 0 }));
  const database = stack.use(await emptyDatabase(inject('postgresUrl')));
  other = stack.use(await startFakeHttp('modern', { keep: 100, name: 'other' }));
  config = {
    version: 1,
    storage: database.url.href,
    state: { url: inject('redisUrl'), ledger: `shared-${RUN}`, commandTimeout: '5s' },
    servers: { fake: { url: server.url }, other: { url: other.url } },
    endpoints: { '/mcp': { servers: ['fake'] }, '/other': { servers: ['other'] } },
    unpriced: 'free',
    tools: { 'fake/ask': { price: { each: '0.4 USD' } }, 'other/echo': { price: { each: '0.1 USD' } } },
    limits: {
      ten: { tool: 'fake/echo', by: 'everyone', limit: '10/day', algorithm: 'sliding-window' },
      busy: { tool: 'fake/bytes', by: 'server', limit: '3 at once' },
      tiered: { tool: 'fake/fail', by: 'principal', limit: '1/day', algorithm: 'fixed-window' },
      spend: { by: 'principal', limit: '1 USD/day' },
    },
    tiers: { gold: { tiered: { limit: '1000/day' } } },
  };
  const started = Array.from({ length: FULL ? 3 : 2 }, () => startGateway(config));
  gateways = await Promise.all(started);
  for (const gateway of gateways) stack.use(gateway);
});
afterAll(() => stack.disposeAsync());
beforeEach(() => awayFromTurn('day'));

describe('gateways on one Redis', () => {
  it('admit together exactly what a rate has room for', async () => {
    verifies('R0-71', 'R0-72');
    const { admitted, refused } = await storm(gateways, 1000);
    expect(admitted).toBe(10);
    expect(refused).toHaveLength(990);
    expect(server.seen('tools/call').filter(({ body }) => body.includes('"echo"'))).toHaveLength(10);
    expect(refused.every(({ error }) => error?.code === 429)).toBe(true);
  });

  it('spend together exactly what a budget has, and the ledger agrees', async () => {
    const paid = gateways.map((gateway) => ({ ...gateway, url: () => gateway.url('/other') }));
    const { admitted, refused } = await storm(paid, 1000);
    expect(admitted).toBe(10);
    expect(refused.every(({ error }) => error?.code === 402)).toBe(true);
    await waitUntil('the settlements', async () => (await budget(gateways[0]!)).held === 0);
    for (const gateway of gateways) expect(await budget(gateway)).toMatchObject({ used: 1_000_000, held: 0 });
    for (const gateway of gateways) expect(await drift(gateway)).toBe(0);
    await ask(gateways[0]!, '/api/v1/budgets/reset', { limit: 'spend', principal: 'anonymous', reason: 'next test' });
    expect(await budget(gateways[1]!)).toMatchObject({ used: 0, held: 0 });
  });

  it('run at once no more calls than a server may have', async () => {
    const running = Promise.withResolvers<void>();
    gate = running.promise;
    let answered = 0;
    const calls = Array.from({ length: 30 }, async (_, i) => {
      const answer = await callTool(gateways[i % gateways.length]!.url(), 'bytes', { size: 1 });
      answered++;
      return answer;
    });
    await waitUntil('the refusals', () => answered >= 27).finally(running.resolve);
    gate = undefined;
    const answers = await Promise.all(calls);
    expect(answers.filter(({ result }) => result !== undefined)).toHaveLength(3);
    // The slots are free again for whoever asks.
    const free = async () => (await callTool(gateways[1]!.url(), 'bytes', { size: 1 })).result !== undefined;
    await waitUntil('a slot', free);
  });

  it('follow a tier, a stop and a grant of one another', async () => {
    const [first, second] = gateways as [RunningGateway, RunningGateway];
    const allowed = async (name: string) => (await callTool(second.url(), name)).error === undefined;
    expect(await allowed('fail')).toBe(true);
    expect(await allowed('fail')).toBe(false);
    await ask(first, '/v1/ops', { operation: 'set_client_tier', client_id: 'anonymous', tier: 'gold' });
    await waitUntil('the tier', () => allowed('fail'));
    await ask(first, '/api/v1/stops', { scope: 'tool:fake/big_number', reason: 'incident' });
    await waitUntil('the stop', async () => !(await allowed('big_number')));
    const before = (await budget(second)).capacity;
    await ask(first, '/api/v1/grants', {
      limit: 'spend',
      principal: 'anonymous',
      amount: '0.5 USD',
      until: '1h',
      reason: 'demo',
    });
    await waitUntil('the grant', async () => (await budget(second)).capacity === before + 500_000);
  });

  it('continue the round of a paid call that another began', async () => {
    const [first, second] = gateways as [RunningGateway, RunningGateway];
    const asked = await callTool(first.url(), 'ask', {}, { capabilities: CAPABILITIES });
    const state = asked.result?.['requestState'];
    expect(await budget(second)).toMatchObject({ used: 400_000, held: 400_000 });
    const params = { requestState: state, inputResponses: { roots: { roots: [] } } };
    const answered = await callTool(second.url(), 'ask', {}, { capabilities: CAPABILITIES, params });
    expect(answered.result?.content?.[0]?.text).toContain('"roots":[]');
    await waitUntil('the settlement', async () => (await budget(first)).held === 0);
    expect(await budget(first)).toMatchObject({ used: 400_000 });
    for (const gateway of gateways) expect(await drift(gateway)).toBe(0);
  });

  it('count what one of them was at when it was killed', async () => {
    const [, second] = gateways as [RunningGateway, RunningGateway];
    const dying = await startGateway(config);
    stack.use(dying);
    const limit = 'spend';
    await ask(second, '/api/v1/budgets/reset', { limit, principal: 'anonymous', reason: 'next test' });
    const before = other.count('tools/call');
    const lost = Array.from({ length: 60 }, (_, i) =>
      callTool(dying.url('/other'), 'echo', { text: 'x', delay: i % 2 === 0 ? 10_000 : 0 }).catch(() => undefined),
    );
    // A call reaches the server when both Redis and the ledger have its hold.
    const room = (await budget(second)).capacity / 100_000;
    await waitUntil('all that there is room for', () => other.count('tools/call') === before + room);
    dying.child.signal('SIGKILL');
    await dying.child.exited;
    await Promise.all(lost);
    const { used, held } = await budget(second);
    expect(used).toBe((other.count('tools/call') - before) * 100_000);
    expect(held).toBeGreaterThan(0);
    expect(await drift(second)).toBe(0);
  });

  it('are refused where the money of another ledger is', async () => {
    await using folder = await temporaryDirectory('foreign');
    const { writeFile } = await import('node:fs/promises');
    const foreign = JSON.stringify({ ...config, storage: 'sqlite' });
    await writeFile(`${folder.path}/tollgate.yaml`, foreign);
    const refused = await tollgate(['serve', 'tollgate.yaml', '--listen', '127.0.0.1:0'], folder.path);
    expect(refused.code).not.toBe(0);
    expect(refused.stderr).toMatch(/holds the money of ledger \w+; the storage of this gateway is ledger \w+/);
  });
});

describe('gateways of one machine', () => {
  it('may share a data folder and its database when their state is in Redis', async () => {
    await using folder = await temporaryDirectory('one-machine');
    await using elsewhere = await temporaryDirectory('one-machine');
    const one = {
      version: 1,
      dataDir: `${folder.path}/data`,
      state: { url: inject('redisUrl'), ledger: `machine-${RUN}`, commandTimeout: '5s' },
      servers: { fake: { url: server.url } },
      unpriced: 'free',
      tools: { 'fake/bytes': { price: { each: '0.1 USD' } } },
      limits: { spend: { by: 'principal', limit: '1 USD/day' } },
    };
    await using first = await startGateway(one, { folder: folder.path });
    await using second = await startGateway(one, { folder: elsewhere.path });
    const both = [first, second];
    const answers = await Promise.all(
      Array.from({ length: 40 }, (_, i) => callTool(both[i % 2]!.url(), 'bytes', { size: 1 })),
    );
    expect(answers.filter(({ error }) => error === undefined)).toHaveLength(10);
    await waitUntil('the settlements', async () => {
      const response = await ask<{ limits: { used: number; held: number }[] }>(
        second,
        '/api/v1/budgets?principal=anonymous',
        undefined,
        one.dataDir,
      );
      return response.limits[0]?.used === 1_000_000 && response.limits[0].held === 0;
    });
    // Commands find whoever is left.
    await first.child.stop();
    const answering = async (): Promise<unknown> => {
      const status = await tollgate(['status', first.configFile, '--json'], folder.path);
      return status.code === 0 && (JSON.parse(status.stdout) as { pid: unknown }).pid === second.child.pid;
    };
    await waitUntil('the status of the other', answering);
  });
});
