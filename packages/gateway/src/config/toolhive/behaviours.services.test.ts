import { createClient } from '@redis/client';
import { Ask, MemoryLimiter } from '@tollgate/limiter';
import { RedisLimiter, ResilientLimiter, standalone } from '@tollgate/limiter/redis';
import { verifies } from '@tollgate/testkit/verifies';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { START, TestClock } from '../../admission/testing.ts';
import type { CompiledConfig } from '../compile.ts';
import { toolhiveBehaviours } from './behaviours.ts';
import { ALICE, BOB, bucket, generatedFile, Stand } from './testing.ts';

const client = createClient({ url: inject('redisUrl'), disableOfflineQueue: true });
client.on('error', () => {});
beforeAll(async () => void (await client.connect()));
afterAll(() => client.destroy());

let made = 0;
toolhiveBehaviours('on Redis', (clock: TestClock) => {
  const prefix = `toolhive-${process.pid}-${++made}`;
  const now = () => Math.round(clock.now * 1000);
  return new RedisLimiter(standalone(client), { prefix, deadline: 20_000, clock: now, origin: START * 1000 });
});

/** The limiter as the gateway makes it, by the server's clock. */
function limiterOf({ state }: CompiledConfig, port = standalone(client), deadline = 20_000): RedisLimiter {
  if (state.kind !== 'redis') throw new Error('no Redis');
  return new RedisLimiter(port, { ...state.keys, deadline });
}

const keysOf = async (config: CompiledConfig): Promise<string[]> =>
  config.state.kind === 'redis' ? await client.keys(`*{${config.state.keys.tag}}*`) : [];

describe('keys in Redis', () => {
  it('ToolHive 5, 6 and 13: begin as those of ToolHive, one per bucket, and are gone when it is full again', async () => {
    verifies('R3-26', 'X3-01');
    const name = `my-server-${process.pid}`;
    const block = { shared: bucket(5, '15s'), tools: [{ name: 'backend_a_search', shared: bucket(5, '15s') }] };
    const config = generatedFile(block, { name, env: { VMCP_NAMESPACE: 'default' } });
    const limits = new Stand(config, limiterOf(config), new TestClock());
    expect(await limits.says('backend_a/search')).toBe('passed');
    const keys = await keysOf(config);
    expect(keys).toHaveLength(2);
    for (const key of keys) expect(key.startsWith(`thv:rl:{default:${name}}:`)).toBe(true);
    await expect.poll(() => keysOf(config), { interval: 50 }).toEqual([]);
  });

  it('hold nothing that a caller sent, and nobody’s name', async () => {
    const name = `names-${process.pid}`;
    const config = generatedFile({ perUser: bucket(5, '1m') }, { name });
    const limits = new Stand(config, limiterOf(config), new TestClock());
    await limits.ask('backend_a/secret-tool');
    const keys = await keysOf(config);
    expect(keys).toHaveLength(1);
    expect(keys.join()).not.toMatch(/alice|secret-tool/);
    await client.del(keys);
  });

  it('are shared by the replicas of a server, and by no other server', async () => {
    verifies('R3-11');
    const name = `replicas-${process.pid}`;
    const of = (own: string) => {
      const config = generatedFile({ shared: bucket(10, '1h') }, { name: own });
      return new Stand(config, limiterOf(config), new TestClock());
    };
    const replicas = [of(name), of(name), of(name)];
    const answers = await Promise.all(
      Array.from({ length: 60 }, (_, i) => replicas[i % 3]!.says('backend_a/x', i % 2 === 0 ? ALICE : BOB)),
    );
    expect(answers.filter((answer) => answer === 'passed')).toHaveLength(10);
    expect(await of(`${name}-other`).says('backend_a/x')).toBe('passed');
    for (const one of [name, `${name}-other`]) await client.del(await client.keys(`*{local:${one}}*`));
  });
});

describe('Redis that fails', () => {
  const config = generatedFile({ shared: bucket(1, '1h'), perUser: bucket(1, '1h') });

  it('ToolHive 20, 25, 33 and 42: the limiter says so, and the call passes and is counted', async () => {
    verifies('R3-19');
    const port = { ...standalone(client), send: () => Promise.reject(new Error('connect ECONNREFUSED')) };
    const redis = limiterOf(config, port);
    const rule = redis.rule({ algorithm: 'token-bucket', name: 'x', limit: 1, periodMs: 1000 });
    await expect(redis.decide(new Ask().rule(rule, 1))).rejects.toMatchObject({ failure: 'connection' });
    const failures: string[] = [];
    const resilient = new ResilientLimiter(redis, new MemoryLimiter(), {
      onFailure: (failure) => failures.push(failure),
    });
    const degraded: unknown[] = [];
    const limits = new Stand(config, resilient, new TestClock(), {
      events: { admitted: (record) => void degraded.push(record.degraded) },
    });
    for (let i = 0; i < 4; i++) expect(await limits.says('backend_a/echo')).toBe('passed');
    expect(degraded).toEqual(['open', 'open', 'open', 'open']);
    expect(resilient.status()).toMatchObject({ state: 'degraded', failOpen: 4 });
    expect(failures).toHaveLength(4);
    await resilient.close();
  });

  it('defect 5: a Redis that never answers costs one short deadline, is left alone, and is never asked twice', async () => {
    let sent = 0;
    const port = {
      ...standalone(client),
      send: (_key: string, [command = '']: readonly string[]) => {
        if (command.startsWith('EVAL')) sent++;
        return new Promise(() => {});
      },
    };
    const resilient = new ResilientLimiter(limiterOf(config, port, 20), new MemoryLimiter());
    const limits = new Stand(config, resilient, new TestClock());
    for (let i = 1; i <= 3; i++) {
      const before = sent;
      expect(await limits.says('backend_a/echo')).toBe('passed');
      expect(sent).toBeLessThanOrEqual(before + 1);
    }
    // Left alone now: not even the deadline is waited for.
    const asked = sent;
    for (let i = 0; i < 20; i++) expect(await limits.says('backend_a/echo')).toBe('passed');
    expect(asked).toBeGreaterThan(0);
    expect(sent).toBe(asked);
    await resilient.close();
  });
});
