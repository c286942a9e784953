/** Redis, PostgreSQL and the disk fail under a real gateway: each failure has its answer, and nothing is lost by it. */
import { execFileSync } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { emptyDatabase } from '@tollgate/testkit/databases';
import { type FakeHttpServer, startFakeHttp } from '@tollgate/testkit/fake-http';
import { type RunningGateway, startGateway, runTollgate as tollgate } from '@tollgate/testkit/gateway';
import { freePort } from '@tollgate/testkit/ports';
import { type RedisServer, startRedisSentinel, startRedisServer } from '@tollgate/testkit/redis-servers';
import { startTcpProxy, type TcpProxy } from '@tollgate/testkit/tcp-proxy';
import { temporaryDirectory } from '@tollgate/testkit/temporary-directory';
import { callTool, type ToolAnswer } from '@tollgate/testkit/tool-call';
import { verifies } from '@tollgate/testkit/verifies';
import { waitUntil, within } from '@tollgate/testkit/wait';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { ask, budget, drift, problems, type Status, storm } from './state.ts';

const FULL = process.env['TOLLGATE_PROOF'] === 'full';
/** Milliseconds in which any call must have its answer: far more than it needs, and less than for ever. */
const BOUND = 20_000;
const PRICE = 10_000;

let server: FakeHttpServer;
beforeAll(async () => {
  server = await startFakeHttp('modern', { keep: 10 });
});
afterAll(() => server[Symbol.asyncDispose]());

const config = (more: object) => ({
  version: 1,
  servers: { fake: { url: server.url } },
  unpriced: 'free',
  tools: { 'fake/echo': { price: { each: '0.01 USD' } } },
  limits: {
    local: { tool: 'fake/bytes', by: 'everyone', limit: '1000/day', algorithm: 'sliding-window' },
    open: { tool: 'fake/fail', by: 'everyone', limit: '1/day', algorithm: 'fixed-window', onError: 'open' },
    closed: {
      tool: 'fake/big_number',
      by: 'everyone',
      limit: '1000/day',
      algorithm: 'fixed-window',
      onError: 'closed',
    },
    // What the tests spend adds up: a window that turns between two of them would take it back.
    spend: { by: 'principal', limit: '1 USD/month' },
  },
  ...more,
});

const call = (gateway: RunningGateway, name: string): Promise<ToolAnswer> =>
  within(`answer to ${name}`, BOUND, callTool(gateway.url(), name, name === 'echo' ? { text: 'x' } : {}));
const ran = async (gateway: RunningGateway, name: string): Promise<boolean> =>
  (await call(gateway, name)).error === undefined;
const UNAVAILABLE = { code: 503, data: { reason: 'limit_unavailable', executed: 'no', charged: '0' } };

/** Reports what a gateway did with money when it could not be counted: nothing. */
async function refusesMoney(gateway: RunningGateway): Promise<void> {
  const before = server.count('tools/call');
  for (let i = 0; i < 3; i++) expect((await call(gateway, 'echo')).error).toMatchObject(UNAVAILABLE);
  expect(server.count('tools/call')).toBe(before);
}

describe('Redis', () => {
  const stack = new AsyncDisposableStack();
  let redis: RedisServer;
  let proxy: TcpProxy;
  let gateway: RunningGateway;
  let spent = 0;
  const state = () => ({ url: `redis://127.0.0.1:${proxy.port}`, ledger: 'faults', commandTimeout: '300ms' });
  beforeAll(async () => {
    redis = stack.use(await startRedisServer());
    proxy = stack.use(await startTcpProxy('127.0.0.1', redis.port));
    gateway = stack.use(await startGateway(config({ state: state() })));
    for (let i = 0; i < 5; i++) expect(await ran(gateway, 'echo')).toBe(true);
    spent = 5;
    await waitUntil('the settlements', async () => (await budget(gateway)).held === 0);
  });
  afterAll(() => stack.disposeAsync());

  const works = () => waitUntil('an answer of Redis', () => ran(gateway, 'echo'), { interval: 100 });
  /** Every call that ran is counted, and nothing else, whatever happened to Redis in between. */
  const exact = async (): Promise<void> => {
    await waitUntil('the settlements', async () => (await budget(gateway)).held === 0);
    expect(await budget(gateway)).toMatchObject({ used: spent * PRICE });
  };

  it.each([
    ['refuses connections', /cannot be reached/, () => redis.stop(), () => redis.start()],
    ['hangs', /did not answer|cannot be reached/, async () => redis.pause(), async () => redis.resume()],
    [
      'is slow',
      /did not answer/,
      async () => {
        proxy.delay = 2_000;
      },
      async () => {
        proxy.delay = 0;
      },
    ],
    [
      'is read-only',
      /read-only replica/,
      () => redis.command('REPLICAOF', '127.0.0.1', '1'),
      () => redis.command('REPLICAOF', 'NO', 'ONE'),
    ],
    [
      'is out of memory',
      /out of memory/,
      () => redis.command('CONFIG', 'SET', 'maxmemory', '1'),
      () => redis.command('CONFIG', 'SET', 'maxmemory', '0'),
    ],
  ])('that %s leaves rates to their policy and stops money until it is back', async (_what, words, fail, recover) => {
    verifies('C-04', 'R0-73');
    await fail();
    await refusesMoney(gateway);
    expect(await ran(gateway, 'bytes')).toBe(true);
    // Far beyond its limit of one, and let through unasked.
    for (let i = 0; i < 3; i++) expect(await ran(gateway, 'fail')).toBe(true);
    expect((await call(gateway, 'big_number')).error).toMatchObject(UNAVAILABLE);
    const said = await problems(gateway);
    expect(said).toMatch(words);
    expect(said).toMatch(/enforces rates by itself, refuses what costs money, and lets pass what is set to open/);
    await recover();
    await works();
    spent++;
    await exact();
    await waitUntil('the words', async () => !/refuses what costs money/.test(await problems(gateway)));
    expect(await ran(gateway, 'big_number')).toBe(true);
  });

  it('that lost everything is given the money of the ledger again, holds included', async () => {
    const slow = callTool(gateway.url(), 'echo', { text: 'x', delay: 1_000 });
    await waitUntil('the hold', async () => (await budget(gateway)).held === PRICE);
    await redis.command('FLUSHALL');
    expect(await ran(gateway, 'echo')).toBe(true);
    spent += 2;
    expect(await budget(gateway)).toMatchObject({ used: spent * PRICE });
    expect((await slow).error).toBeUndefined();
    await exact();
    expect(await drift(gateway)).toBe(0);
  });

  it('that has the money of another ledger is named and not spent from', async () => {
    const keys = (await redis.command('KEYS', '*')) as string[];
    const values = await Promise.all(keys.map(async (key) => [key, String(await redis.command('TYPE', key))] as const));
    const strings = values.filter(([key, type]) => type === 'string' && /[:}]m$/.test(key)).map(([key]) => key);
    expect(strings).toHaveLength(1);
    const ours = String(await redis.command('GET', strings[0]!));
    await redis.command('SET', strings[0]!, 'elsewhere');
    await refusesMoney(gateway);
    expect(await ran(gateway, 'bytes')).toBe(true);
    expect(await problems(gateway)).toMatch(/holds the money of ledger elsewhere, not of/);
    await redis.command('SET', strings[0]!, ours);
    await works();
    spent++;
    await exact();
    await waitUntil('the words', async () => !/elsewhere/.test(await problems(gateway)));
  });

  it('that is away at the start is joined when it comes', async () => {
    await redis.stop();
    await using late = await startGateway(config({ state: { ...state(), ledger: 'late' } }));
    await refusesMoney(late);
    expect(await ran(late, 'bytes')).toBe(true);
    await redis.start();
    await waitUntil('an answer of Redis', () => ran(late, 'echo'), { interval: 100 });
    expect(await budget(late)).toMatchObject({ used: PRICE });
    await waitUntil('the words', async () => !/cannot be reached/.test(await problems(late)));
  });

  it.runIf(FULL)('that fails over goes on with the budget that was replicated', async () => {
    await using group = await startRedisSentinel();
    const nodes = group.sentinels.map(({ host, port }) => `${host}:${port}`);
    const sentinel = { sentinel: { master: group.name, nodes }, ledger: 'over', commandTimeout: '1s' };
    await using other = await startGateway(config({ state: sentinel }));
    for (let i = 0; i < 5; i++) expect(await ran(other, 'echo')).toBe(true);
    await waitUntil('the settlements', async () => (await budget(other)).held === 0);
    await group.master.command('WAIT', '1', '20000');
    await group.master.stop();
    await waitUntil('the new master', () => ran(other, 'echo'), { timeout: 40_000, interval: 200 });
    await waitUntil('the settlements', async () => (await budget(other)).held === 0);
    expect(await budget(other)).toMatchObject({ used: 6 * PRICE });
    expect(await drift(other)).toBe(0);
  });
});

describe('PostgreSQL', () => {
  const stack = new AsyncDisposableStack();
  const start = async (more: object = {}) => {
    const database = stack.use(await emptyDatabase(inject('postgresUrl')));
    const proxy = stack.use(await startTcpProxy(database.url.hostname, Number(database.url.port)));
    const url = new URL(database.url);
    url.port = String(proxy.port);
    const storage = { postgres: url.href, connectTimeout: '1s', statementTimeout: '2s' };
    return { database, proxy, storage, config: config({ storage, ...more }) };
  };
  afterAll(() => stack.disposeAsync());

  it('that goes away stops no money of a gateway with a journal, and catches up', async () => {
    const { proxy, config: own } = await start();
    await using folder = await temporaryDirectory('postgres');
    const first = await startGateway(own, { folder: folder.path });
    expect(await ran(first, 'echo')).toBe(true);
    await proxy.stop();
    expect((await storm([first], 20)).admitted).toBe(20);
    await waitUntil('the words', async () => /Storage is away since/.test(await problems(first)));
    expect((await ask<Status>(first, '/api/v1/status')).state.ledgerWaiting).toBeGreaterThan(0);
    await proxy.resume();
    expect(await drift(first)).toBe(0);
    // What waited when the process was killed is in the journal, and reaches the ledger with the next start.
    await proxy.stop();
    expect((await storm([first], 20)).admitted).toBe(20);
    first.child.signal('SIGKILL');
    await first.child.exited;
    await proxy.resume();
    await using second = await startGateway(own, { folder: folder.path });
    // Some may be held still: their answer was on its way when the process was killed.
    expect(await budget(second)).toMatchObject({ used: 41 * PRICE });
    expect(await drift(second)).toBe(0);
    for (const how of ['lose', 'lose-answer'] as const) {
      proxy.atCommit = how;
      expect((await storm([second], 10)).admitted).toBe(10);
      await waitUntil('the lost commit', () => proxy.atCommit === 'pass');
    }
    expect(await drift(second)).toBe(0);
    expect(await budget(second)).toMatchObject({ used: 61 * PRICE });
    proxy.delay = 200;
    expect((await storm([second], 10)).admitted).toBe(10);
    proxy.delay = 0;
    expect(await drift(second)).toBe(0);
  });

  it('that goes away stops the money of gateways that share, at once, and no rate', async () => {
    // A Redis of TEST_REDIS_URL may still have the money of a run before.
    const state = { url: inject('redisUrl'), ledger: `away-${Date.now().toString(36)}`, commandTimeout: '1s' };
    const { proxy, config: own } = await start({ state });
    await proxy.stop();
    // Away from the beginning: whose money is in Redis is not known yet.
    await using gateway = await startGateway(own);
    expect(await ran(gateway, 'bytes')).toBe(true);
    await refusesMoney(gateway);
    await proxy.resume();
    await waitUntil('the ledger', () => ran(gateway, 'echo'), { interval: 100 });
    await waitUntil('the settlement', async () => (await budget(gateway)).held === 0);
    expect(await budget(gateway)).toMatchObject({ used: PRICE });
    expect(await drift(gateway)).toBe(0);
    proxy.hang = true;
    await refusesMoney(gateway);
    expect(await ran(gateway, 'bytes')).toBe(true);
    proxy.hang = false;
    proxy.cut();
    await waitUntil('the ledger', () => ran(gateway, 'echo'), { interval: 100 });
    await waitUntil('the settlement', async () => (await budget(gateway)).held === 0);
    expect(await budget(gateway)).toMatchObject({ used: 2 * PRICE });
    expect(await drift(gateway)).toBe(0);
  });

  it('keeps a second gateway with state in memory from its budgets, wherever it runs', async () => {
    const { proxy, config: own } = await start();
    await using first = await startGateway(own);
    await using folder = await temporaryDirectory('second');
    await writeFile(join(folder.path, 'tollgate.yaml'), JSON.stringify(own));
    const serve = (port = 0) => tollgate(['serve', 'tollgate.yaml', '--listen', `127.0.0.1:${port}`], folder.path);
    const second = await serve();
    expect(second.code).not.toBe(0);
    expect(second.stderr).toMatch(
      /Another gateway keeps its state with this database.*state: redis.*tollgate --stdio/s,
    );
    first.child.signal('SIGKILL');
    await first.child.exited;
    // Nobody can tell whether another gateway has the lock: it does not serve, and takes no address meanwhile.
    proxy.hang = true;
    const port = await freePort();
    let bound = false;
    const look = setInterval(() => {
      const socket = connect(port, '127.0.0.1', () => {
        bound = true;
        socket.destroy();
      }).on('error', () => {});
    }, 20);
    const third = await serve(port);
    clearInterval(look);
    expect(third.code).not.toBe(0);
    expect(third.stderr).toMatch(/^Storage is not available/m);
    expect(bound).toBe(false);
  });
});

describe('a full disk', () => {
  it('stops money, lets rates go on, and is forgotten when there is room', async ({ skip }) => {
    verifies('R0-24');
    using mounted = mountSmall();
    if (mounted === undefined) return skip('this process may not mount a small file system');
    const { folder } = mounted;
    await mkdir(join(folder, 'data'));
    await using gateway = await startGateway(config({ dataDir: join(folder, 'data') }));
    const data = join(folder, 'data');
    const status = () => ask<Status>(gateway, '/api/v1/status', undefined, data);
    expect(await ran(gateway, 'echo')).toBe(true);
    fill(join(folder, 'filler'));
    // What is left of the last block is still written.
    await waitUntil('a refusal', async () => !(await ran(gateway, 'echo')));
    expect((await call(gateway, 'echo')).error).toMatchObject(UNAVAILABLE);
    expect(await ran(gateway, 'bytes')).toBe(true);
    expect((await status()).state.problems.join()).toMatch(/journal cannot be written since/);
    rmSync(join(folder, 'filler'));
    await waitUntil('room', () => ran(gateway, 'echo'), { interval: 100 });
    await waitUntil('the ledger', async () => {
      const { state } = await status();
      return state.problems.length === 0 && state.ledgerWaiting === 0 && state.drift?.amount === 0;
    });
  });
});

/** A file system of three megabytes; undefined where this process may not mount one. */
function mountSmall(): (Disposable & { readonly folder: string }) | undefined {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return undefined;
  const folder = execFileSync('mktemp', ['-d', '/tmp/tollgate-small-XXXXXX'], { encoding: 'utf8' }).trim();
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=3m,mode=0700', 'tmpfs', folder], { stdio: 'pipe' });
  } catch {
    rmSync(folder, { recursive: true });
    return undefined;
  }
  return {
    folder,
    [Symbol.dispose]: () => {
      execFileSync('umount', ['-l', folder], { stdio: 'pipe' });
      rmSync(folder, { recursive: true });
    },
  };
}

/** Writes until nothing fits any more. */
function fill(file: string): void {
  for (const size of [65_536, 4_096, 1]) {
    try {
      for (;;) writeFileSync(file, Buffer.alloc(size), { flag: 'a' });
    } catch {
      // Full for this size.
    }
  }
}
