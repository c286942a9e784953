import { createClient } from '@redis/client';
import { type RedisServer, type RedisServerOptions, startRedisServer } from '@tollgate/testkit/redis-servers';
import { describe, expect, it } from 'vitest';
import { Ask } from '../ask.ts';
import { MemoryLimiter } from '../memory.ts';
import type { Rule } from '../types.ts';
import type { StoreFailure } from './errors.ts';
import { RedisLimiter, type RedisLimiterOptions } from './limiter.ts';
import { standalone } from './port.ts';
import { type LimiterStatus, ResilientLimiter } from './resilient.ts';
import { checkServer, ledgerIn, seed } from './seed.ts';

interface Rig extends AsyncDisposable {
  readonly server: RedisServer;
  readonly limiter: RedisLimiter;
  readonly resilient: ResilientLimiter;
  readonly changes: LimiterStatus[];
  decide(rule: Rule, cost?: number, hold?: string): Promise<string>;
  failure(rule: Rule, hold?: string): Promise<StoreFailure | 'decided'>;
}

interface RigOptions extends RedisLimiterOptions {
  readonly server?: RedisServerOptions;
  readonly username?: string;
  readonly password?: string;
  readonly prepare?: (server: RedisServer) => Promise<unknown>;
}

async function rig(options: RigOptions = {}): Promise<Rig> {
  const { server: serverOptions, username, password, prepare, ...rest } = options;
  const stack = new AsyncDisposableStack();
  const server = stack.use(await startRedisServer(serverOptions));
  await prepare?.(server);
  const socket = { reconnectStrategy: 20, ...(server.ca === undefined ? {} : { tls: true as const, ca: server.ca }) };
  const user = username === undefined ? {} : { username, password: password! };
  const client = createClient({ url: server.url, disableOfflineQueue: true, socket, ...user });
  client.on('error', () => {});
  await client.connect();
  stack.defer(() => client.destroy());
  // A Redis that is only slow, as on a busy machine, is none that fails: the deadline is for tests of one that hangs.
  const limiter = new RedisLimiter(standalone(client), { deadline: 10_000, pause: 30, longestPause: 60, ...rest });
  stack.defer(() => limiter.link.close());
  const changes: LimiterStatus[] = [];
  const resilient = new ResilientLimiter(limiter, new MemoryLimiter(), { onChange: (status) => changes.push(status) });
  const ask = new Ask();
  const fill = (rule: Rule, cost: number, hold: string | undefined) => {
    ask.clear().rule(rule, cost);
    return hold === undefined ? ask : ask.hold(hold, 60_000_000);
  };
  return {
    server,
    limiter,
    resilient,
    changes,
    async decide(rule, cost = 1, hold) {
      const outcome = await resilient.decide(fill(rule, cost, hold), 1);
      return `${outcome.allowed ? 'passed' : outcome.violated.map(({ verdict }) => verdict).join()} ${outcome.degraded ?? 'by redis'}`;
    },
    failure: (rule, hold) =>
      limiter.decide(fill(rule, 1, hold)).then(
        () => 'decided' as const,
        (error: { failure: StoreFailure }) => error.failure,
      ),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

const rules = (limiter: ResilientLimiter) => ({
  local: limiter.rule({ algorithm: 'token-bucket', name: 'local', limit: 2, periodMs: 3_600_000 }),
  open: limiter.rule({ algorithm: 'token-bucket', name: 'open', limit: 2, periodMs: 3_600_000, onError: 'open' }),
  closed: limiter.rule({ algorithm: 'token-bucket', name: 'closed', limit: 2, periodMs: 3_600_000, onError: 'closed' }),
  money: limiter.rule({ algorithm: 'total', name: 'money', limit: 100, unit: 'USD', settles: true, onError: 'open' }),
});

async function eventually(done: () => Promise<boolean>): Promise<void> {
  await expect.poll(done, { timeout: 20_000, interval: 20 }).toBe(true);
}

/** What every outage means, whatever its cause: nothing that is not set to open is opened. */
async function expectDegraded(subject: Rig): Promise<void> {
  const { local, open, closed, money } = rules(subject.resilient);
  expect(await subject.decide(closed)).toBe('unavailable closed');
  expect(await subject.decide(money, 5, 'of an outage')).toBe('unavailable closed');
  expect(await subject.decide(local, 2)).toBe('passed local');
  expect(await subject.decide(local)).toBe('exhausted local');
  for (let i = 0; i < 5; i++) expect(await subject.decide(open)).toBe('passed open');
  expect(subject.resilient.status()).toMatchObject({ state: 'degraded', failOpen: 5 });
  expect(subject.changes.map(({ state }) => state)).toEqual(['degraded']);
}

async function expectRecovered(subject: Rig): Promise<void> {
  const { closed } = rules(subject.resilient);
  await eventually(
    async () =>
      (await subject.decide(closed, 0)) === 'passed by redis' || (await subject.decide(closed)) === 'passed by redis',
  );
  expect(subject.resilient.status()).toMatchObject({ state: 'ok', words: 'Limits are shared through Redis.' });
}

describe('a Redis that fails', () => {
  it('refused: each rule does what it says, and recovers; money and ends of holds are not lost', async () => {
    await using subject = await rig({ server: { flags: ['--appendonly', 'yes'] } });
    const { money, local } = rules(subject.resilient);
    expect(await subject.decide(local, 1)).toBe('passed by redis');
    expect(await subject.decide(money, 60, 'before')).toBe('passed by redis');
    await subject.server.stop();
    await expectDegraded(subject);
    // The end of a hold waits, once.
    const { queued } = subject.resilient.status();
    expect(await subject.resilient.settle({ id: 'before', amounts: { USD: 7 } }, 1)).toMatchObject({
      state: 'settled',
    });
    await subject.resilient.release('before', 1);
    expect(subject.resilient.status()).toMatchObject({ queued: queued + 1, dropped: 0 });
    await subject.server.start();
    await expectRecovered(subject);
    await eventually(async () => subject.resilient.status().queued === 0);
    const [standing] = await subject.resilient.inspect(new Ask().rule(money, 0), 1);
    expect(standing).toMatchObject({ used: 7, held: 0 });
    // What passed locally is not charged to all afterwards: one of two was used before the outage.
    const [rate] = await subject.resilient.inspect(new Ask().rule(local, 0), 1);
    expect(rate).toMatchObject({ used: 1 });
  });

  it('hung: answers within its deadline, then leaves it alone; a lost hold is taken back', async () => {
    await using subject = await rig({ deadline: 1_000 });
    const { money, local } = rules(subject.resilient);
    await eventually(async () => (await subject.decide(local, 0)) === 'passed by redis');
    subject.changes.length = 0;
    subject.server.pause();
    expect(await subject.failure(money, 'lost')).toBe('deadline');
    expect(await subject.decide(money, 40, 'lost too')).toBe('unavailable closed');
    await expectDegraded(subject);
    expect(subject.resilient.status().breaker).not.toBe('closed');
    subject.server.resume();
    await expectRecovered(subject);
    await eventually(async () => subject.resilient.status().queued === 0);
    await subject.limiter.release('lost');
    const [standing] = await subject.resilient.inspect(new Ask().rule(money, 0), 1);
    expect(standing).toMatchObject({ used: 0, held: 0 });
  });

  it('busy with a script of somebody: defined, and over when the script is', async () => {
    await using subject = await rig({ server: { flags: ['--busy-reply-threshold', '50'] } });
    const { local, closed } = rules(subject.resilient);
    await subject.decide(local, 0);
    const endless = subject.server.command('EVAL', 'while true do end', '0').catch(() => {});
    await eventually(async () => (await subject.failure(closed)) === 'busy');
    await expectDegraded(subject);
    await subject.server.command('SCRIPT', 'KILL');
    await endless;
    await expectRecovered(subject);
  });

  it('a replica: READONLY, until it is promoted', async () => {
    await using subject = await rig();
    await subject.server.command('REPLICAOF', '127.0.0.1', '1');
    await expectDegraded(subject);
    expect((await checkServer(subject.limiter)).join()).toMatch(/is a replica/);
    expect(subject.resilient.status().words).toMatch(/read-only replica/);
    await subject.server.command('REPLICAOF', 'NO', 'ONE');
    await expectRecovered(subject);
  });

  it('full: OOM under noeviction; what evicts is warned of', async () => {
    await using subject = await rig();
    await subject.server.command('SET', 'filler', 'x'.repeat(2_000_000));
    await subject.server.command('CONFIG', 'SET', 'maxmemory', '1mb', 'maxmemory-policy', 'noeviction');
    await expectDegraded(subject);
    expect(subject.resilient.status().words).toMatch(/out of memory/);
    await subject.server.command('CONFIG', 'SET', 'maxmemory', '100mb', 'maxmemory-policy', 'allkeys-lru');
    await expectRecovered(subject);
    expect((await checkServer(subject.limiter)).join()).toMatch(/allkeys-lru.*noeviction/);
  });

  it('loading: as long as it reads its data', async () => {
    await using subject = await rig({ failures: 1e6, server: { flags: ['--enable-debug-command', 'yes'] } });
    // 60,000 keys at a millisecond each load for a minute: longer than any of this takes, and ended with the test.
    await subject.server.command('DEBUG', 'POPULATE', '60000');
    await subject.server.command('SAVE');
    await subject.server.stop('SIGTERM');
    void subject.server
      .start(['--key-load-delay', '1000', '--loading-process-events-interval-bytes', '1024'])
      .catch(() => {});
    await eventually(async () => (await subject.failure(rules(subject.resilient).closed)) === 'loading');
    await expectDegraded(subject);
  });

  it('without the script (restarted, SCRIPT FLUSH): asked once more, by its text', async () => {
    await using subject = await rig();
    const { local } = rules(subject.resilient);
    expect(await subject.decide(local)).toBe('passed by redis');
    await subject.server.command('SCRIPT', 'FLUSH');
    const ask = new Ask().rule(local);
    const outcomes = await subject.resilient.decideAll([ask, ask, ask], 1);
    expect(outcomes.map(({ allowed }) => allowed)).toEqual([true, false, false]);
    expect(subject.changes).toEqual([]);
  });
});

describe('money of a ledger', () => {
  it('is refused until it is seeded, again after a flush, and never mixed with that of another', async () => {
    await using subject = await rig({ ledgerId: 'ledger-a' });
    const { money, local } = rules(subject.resilient);
    expect(await ledgerIn(subject.limiter)).toBe('none');
    await expect(subject.decide(money, 1, 'a')).rejects.toMatchObject({ failure: 'unseeded' });
    expect(await subject.decide(local)).toBe('passed by redis');
    const counters = [new Ask().change(money, 30)];
    const holds = [new Ask().rule(money, 20).hold('open before', 60_000_000)];
    const both = await Promise.all([
      seed(subject.limiter, { counters, holds }),
      seed(subject.limiter, { counters, holds }),
    ]);
    expect(both.sort()).toEqual([false, true]);
    expect(await ledgerIn(subject.limiter)).toBe('ours');
    const used = async () => (await subject.resilient.inspect(new Ask().rule(money, 0), 1))[0];
    expect(await used()).toMatchObject({ used: 50, held: 20 });
    expect(await subject.resilient.settle({ id: 'open before', amounts: { USD: 5 } }, 1)).toMatchObject({
      changed: true,
    });
    expect(await used()).toMatchObject({ used: 35, held: 0 });
    expect(await subject.decide(money, 65, 'b')).toBe('passed by redis');
    expect(await subject.decide(money, 1, 'c')).toBe('exhausted by redis');

    await subject.server.command('FLUSHALL');
    await expect(subject.decide(money, 1, 'd')).rejects.toMatchObject({ failure: 'unseeded' });
    await seed(subject.limiter, { counters: [new Ask().change(money, 100)], holds: [] });
    expect(await subject.decide(money, 1, 'd')).toBe('exhausted by redis');

    const client = createClient({ url: subject.server.url, disableOfflineQueue: true });
    await client.connect();
    const other = new RedisLimiter(standalone(client), { ledgerId: 'ledger-b' });
    const foreign = { failure: 'foreign', message: expect.stringContaining('ledger-a') };
    await expect(other.decide(new Ask().rule(other.rule(money.options), 1).hold('e', 1))).rejects.toMatchObject(
      foreign,
    );
    await expect(seed(other, { counters: [], holds: [] })).rejects.toMatchObject(foreign);
    other.link.close();
    client.destroy();
  });

  it('opened under one id is held once, however often the reply is lost', async () => {
    await using subject = await rig();
    const { money } = rules(subject.resilient);
    const outcomes = await Promise.all(Array.from({ length: 5 }, () => subject.decide(money, 60, 'same')));
    expect(outcomes).toEqual(Array.from({ length: 5 }, () => 'passed by redis'));
    expect(await subject.decide(money, 60, 'other')).toBe('exhausted by redis');
  });
});

describe('connections', () => {
  it('decides over TLS', async () => {
    await using subject = await rig({ server: { tls: true } });
    expect(await subject.decide(rules(subject.resilient).closed)).toBe('passed by redis');
  });

  it('needs of an ACL user what the README lists, and says what is missing', async () => {
    const rights =
      '~tg:* +eval +evalsha +mget +get +set +del +zadd +zrem +zcard +zrange +zrangebyscore +zremrangebyscore +zscore +pexpire +rename +time +ping +hello +client +info';
    const prepare = (server: RedisServer) =>
      server.command('ACL', 'SETUSER', 'gateway', 'on', '>secret', ...rights.split(' '));
    await using subject = await rig({ prepare, username: 'gateway', password: 'secret', ledgerId: 'l' });
    const { closed, money } = rules(subject.resilient);
    const slots = subject.resilient.rule({ algorithm: 'concurrency', name: 'slots', limit: 2 });
    await seed(subject.limiter, { counters: [], holds: [] });
    expect(await subject.decide(closed)).toBe('passed by redis');
    expect(await subject.decide(money, 5, 'a')).toBe('passed by redis');
    expect(await subject.decide(slots, 1, 'b')).toBe('passed by redis');
    await subject.resilient.renew('b', 1_000_000, 1);
    await subject.resilient.release('b', 1);
    await subject.resilient.reset(new Ask().rule(slots), 1);
    await subject.resilient.start();
    expect(subject.resilient.status()).toMatchObject({ state: 'ok', nodes: 1 });
    await subject.server.command('ACL', 'SETUSER', 'gateway', '-set');
    expect(await subject.failure(closed)).toBe('permission');
    expect(await subject.decide(closed)).toBe('unavailable closed');
    expect(subject.resilient.status().words).toMatch(/does not permit/);
  });
});
