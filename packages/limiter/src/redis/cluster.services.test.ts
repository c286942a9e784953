import { createCluster, createSentinel } from '@redis/client';
import { type RedisCluster, startRedisCluster, startRedisSentinel } from '@tollgate/testkit/redis-servers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Ask } from '../ask.ts';
import { MemoryLimiter } from '../memory.ts';
import { limiterContract } from '../testing/contract.ts';
import type { Subject } from '../testing/stand.ts';
import { slotOf } from './keys.ts';
import { RedisLimiter, type RedisLimiterOptions } from './limiter.ts';
import { cluster, sentinel } from './port.ts';
import { ResilientLimiter } from './resilient.ts';

const ORIGIN = Date.UTC(2026, 10, 21);

describe('on a cluster of three nodes', () => {
  let servers: RedisCluster;
  const clients: { destroy(): void }[] = [];
  let prefixes = 0;

  beforeAll(async () => {
    servers = await startRedisCluster();
  });
  afterAll(async () => {
    for (const client of clients) client.destroy();
    await servers?.[Symbol.asyncDispose]();
  });

  async function connect() {
    const client = createCluster({ rootNodes: [...servers.rootNodes], defaults: { disableOfflineQueue: true } });
    client.on('error', () => {});
    await client.connect();
    clients.push(client);
    return client;
  }

  /** A gateway of its own. */
  async function gateway(prefix: string, options: RedisLimiterOptions = {}): Promise<RedisLimiter> {
    return new RedisLimiter(cluster(await connect()), { prefix, deadline: 20_000, ...options });
  }

  const shared = {
    algorithm: 'token-bucket',
    name: 'all',
    limit: 200,
    periodMs: 3_600_000,
    crossTenant: true,
  } as const;
  const own = { algorithm: 'token-bucket', name: 'own', limit: 30, periodMs: 3_600_000 } as const;
  const tenants = Array.from({ length: 12 }, (_, i) => `tenant ${i} {x}:{y}`);

  it('keeps each tenant in one slot, and tenants on all nodes', async () => {
    const limiter = await gateway('slots');
    const rules = [own, { ...own, name: 'other' }].map((options) => limiter.rule(options));
    for (const name of tenants) {
      const ask = new Ask().tenant(name).rule(rules[0]!).key(1).rule(rules[1]!).key(2);
      expect(await limiter.decide(ask)).toMatchObject({ allowed: true });
    }
    const sizes = await Promise.all(servers.nodes.map(async (node) => Number(await node.command('DBSIZE'))));
    expect(Math.min(...sizes)).toBeGreaterThan(0);
    const slot = await servers.nodes[0]!.command('CLUSTER', 'KEYSLOT', limiter.places.of(tenants[0]!));
    expect(slotOf(limiter.places.of(tenants[0]!))).toBe(Number(slot));
    await limiter.end();
  });

  it('leases what tenants share: never more than the limit, all of it, and given back at the end', async () => {
    const prefix = `lease-${++prefixes}`;
    const gateways = await Promise.all([gateway(prefix), gateway(prefix), gateway(prefix)]);
    for (const limiter of gateways) limiter.nodes = gateways.length;
    let passed = 0;
    await Promise.all(
      gateways.map(async (limiter, g) => {
        const rule = limiter.rule(shared);
        for (let i = 0; i < 120; i++) {
          const ask = new Ask().tenant(tenants[(g + i) % tenants.length]!).rule(rule);
          if ((await limiter.decide(ask)).allowed) passed++;
        }
      }),
    );
    expect(passed).toBeLessThanOrEqual(200);
    // What no gateway could use any more is at most what the others held in advance: N · k = 3 · 6.
    expect(passed).toBeGreaterThanOrEqual(200 - 18);
    for (const limiter of gateways) await limiter.end();
    const last = await gateway(prefix);
    const [standing] = await last.inspect(new Ask().rule(last.rule(shared), 0));
    // Of a lease that is given back, the unit that had begun to come back by itself is kept.
    expect(standing!.used).toBeGreaterThanOrEqual(passed);
    expect(standing!.used).toBeLessThanOrEqual(passed + 3);
    await last.end();
  });

  it('puts back what tenants share where the tenant has no room', async () => {
    const limiter = await gateway(`back-${++prefixes}`);
    const all = limiter.rule(shared);
    const mine = limiter.rule({ ...own, limit: 3 });
    const slots = limiter.rule({ algorithm: 'concurrency', name: 'slots', limit: 5, crossTenant: true });
    const money = limiter.rule({
      algorithm: 'total',
      name: 'money',
      limit: 100,
      settles: true,
      unit: 'USD',
      crossTenant: true,
    });
    const ask = (id: string) =>
      new Ask().tenant('a').rule(all).rule(mine).rule(slots).rule(money, 10).hold(id, 60_000_000);
    for (let i = 0; i < 3; i++) expect((await limiter.decide(ask(`call ${i}`))).allowed).toBe(true);
    expect(await limiter.decide(ask('call 0'))).toMatchObject({ allowed: true, repeated: true });
    for (let i = 0; i < 5; i++) {
      const refusal = await limiter.decide(ask('too many'));
      expect(refusal).toMatchObject({ allowed: false, violated: [{ rule: mine, verdict: 'exhausted' }] });
      expect(refusal.allowed ? [] : refusal.standings.map(({ rule }) => rule.name)).toEqual([
        'all',
        'own',
        'slots',
        'money',
      ]);
    }
    const look = async () => limiter.inspect(new Ask().tenant('a').rule(slots, 0).rule(money, 0).rule(mine, 0));
    expect(await look()).toMatchObject([{ used: 3 }, { used: 30, held: 30 }, { used: 3 }]);
    // Another gateway ends the holds: it finds where they are.
    const other = await gateway(`back-${prefixes}`);
    for (const options of [slots, money, mine]) other.rule(options.options);
    await expect.poll(() => other.settle({ id: 'call 0', amounts: { USD: 4 } })).toMatchObject({ state: 'settled' });
    expect(await limiter.release('call 1')).toMatchObject({ state: 'released', changed: true });
    expect(await look()).toMatchObject([{ used: 1 }, { used: 14, held: 10 }, { used: 2 }]);
    await other.end();
    await limiter.end();
    const last = await gateway(`back-${prefixes}`);
    const [standing] = await last.inspect(new Ask().rule(last.rule(shared), 0));
    expect([2, 3]).toContain(standing!.used);
    await last.end();
  });

  it('tells of a shadow per call where there is nothing else to ask a node about', async () => {
    const limiter = await gateway(`shadow-${++prefixes}`);
    const call = limiter.rule({ algorithm: 'per-call', name: 'call', limit: 1, shadow: true });
    const all = limiter.rule(shared);
    for (const ask of [new Ask().rule(call, 2), new Ask().rule(call, 2).rule(all)]) {
      const outcome = await limiter.decide(ask);
      expect(outcome).toMatchObject({ allowed: true, shadowed: [{ rule: call, verdict: 'cost_above_capacity' }] });
    }
    await limiter.end();
  });

  let now = 0;
  let client: ReturnType<typeof connect> | undefined;
  async function make(): Promise<Subject> {
    now = 0;
    client ??= connect();
    const options = { deadline: 20_000, clock: () => now, origin: ORIGIN * 1000 };
    const limiter = new RedisLimiter(cluster(await client), { prefix: `contract-${++prefixes}`, ...options });
    return {
      limiter,
      now: () => now,
      advance: (micros) => {
        now += micros;
      },
      close: () => limiter.end(),
    };
  }
  limiterContract('RedisLimiter on a cluster', make, { origin: ORIGIN, reuse: true, effort: 0.05 });
});

describe('with a sentinel', () => {
  it('goes on at the replica that is promoted', async () => {
    await using servers = await startRedisSentinel();
    const options = { name: servers.name, sentinelRootNodes: [...servers.sentinels], scanInterval: 200 };
    const client = createSentinel({ ...options, nodeClientOptions: { disableOfflineQueue: true } });
    client.on('error', () => {});
    await client.connect();
    const rule = {
      algorithm: 'token-bucket',
      name: 'rule',
      limit: 5,
      periodMs: 86_400_000,
      onError: 'closed',
    } as const;
    const deciding = (deadline: number) => {
      const remote = new RedisLimiter(sentinel(client), { deadline, pause: 50, longestPause: 100 });
      const limiter = new ResilientLimiter(remote, new MemoryLimiter());
      const ask = new Ask().rule(limiter.rule(rule));
      return { limiter, decide: () => limiter.decide(ask, 1) };
    };
    // The sentinel takes two seconds to miss the master: the hasty one cannot have waited for the next.
    const [{ limiter, decide }, hasty] = [deciding(10_000), deciding(500)];
    for (let i = 0; i < 3; i++) expect(await decide()).toMatchObject({ allowed: true, degraded: undefined });
    await servers.master.command('WAIT', '1', '20000');
    await servers.master.stop();
    expect(await hasty.decide()).toMatchObject({ allowed: false, degraded: 'closed' });
    await expect.poll(async () => (await decide()).degraded, { timeout: 60_000, interval: 100 }).toBeUndefined();
    // What the master had replicated is still used: of five, three before and at least the one just now.
    const [standing] = await limiter.inspect(new Ask().rule(limiter.rule(rule), 0), 1);
    expect(standing!.used).toBeGreaterThanOrEqual(4);
    expect(limiter.status().state).toBe('ok');
    await hasty.limiter.close();
    await limiter.close();
    client.destroy();
  }, 120_000);
});
