/**
 * The same loops for the limiter and for well-known libraries, in one run: what one decision costs in this process and
 * on Redis, and what a key weighs. Each library is used as its documentation says; ratios are to `@tollgate/limiter`.
 */
import { createHash } from 'node:crypto';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { createClient } from '@redis/client';
import { Ask, MemoryLimiter } from '@tollgate/limiter';
import { RedisLimiter, standalone } from '@tollgate/limiter/redis';
import { Ratelimit } from '@upstash/ratelimit';
import { MemoryStore } from 'express-rate-limit';
import { RateLimiterMemory, RateLimiterRedis } from 'rate-limiter-flexible';
import { startRedisServer } from '../packages/testkit/src/redis-servers.ts';
import { printTable } from './table.ts';

const CALLERS = 10_000;
const LIMIT = 1_000_000_000;
const KEYS = Array.from({ length: CALLERS }, (_, i) => `tenant-12/client-${i}/session-${i % 97}`);
/** Redis decisions under way at once. */
const WINDOW = 256;

interface Client {
  sendCommand(args: readonly string[]): Promise<unknown>;
}

type Decide = (i: number) => unknown;
interface Peer {
  readonly name: string;
  readonly decide: Decide;
}

/** Prints three tables: in memory, bytes a key, on Redis. */
export async function benchPeers(quick: boolean): Promise<void> {
  const inMemory: string[][] = [];
  for (const peer of memoryPeers())
    inMemory.push([peer.name, String(await nanoseconds(peer, quick ? 50_000 : 500_000))]);
  print(['one limit in memory, 10,000 clients', 'ns', 'ratio'], inMemory);
  const count = quick ? 20_000 : 500_000;
  print([`bytes a key, ${count} keys`, 'bytes', 'ratio'], await weights(count));
  await using stack = new AsyncDisposableStack();
  const url = process.env['TEST_REDIS_URL'] || stack.use(await startRedisServer()).url;
  const client = createClient({ url, disableOfflineQueue: true });
  client.on('error', () => {});
  await client.connect();
  stack.defer(() => client.destroy());
  const shared: string[][] = [];
  for (const peer of redisPeers(client))
    shared.push([peer.name, String(await throughput(peer, quick ? 5_000 : 60_000))]);
  const own = Number(shared[0]![1]);
  printTable(
    ['one limit on Redis, one process', 'decisions/s', 'ratio'],
    shared.map(([name, rate]) => [name!, rate!, (Number(rate) / own).toFixed(2)]),
  );
}

function memoryPeers(): Peer[] {
  const limiter = new MemoryLimiter();
  const rule = limiter.rule({ algorithm: 'token-bucket', name: 'one', limit: LIMIT, periodMs: 60_000 });
  const ask = new Ask();
  const flexible = new RateLimiterMemory({ points: LIMIT, duration: 60 });
  const express = new MemoryStore();
  express.init({ windowMs: 60_000 } as never);
  return [
    {
      name: '@tollgate/limiter, keys as numbers',
      decide: (i) =>
        limiter.decide(
          ask
            .clear()
            .rule(rule)
            .key(i % CALLERS),
          1,
        ),
    },
    {
      name: '@tollgate/limiter, keys as text',
      decide: (i) =>
        limiter.decide(
          ask
            .clear()
            .rule(rule)
            .text(KEYS[i % CALLERS]!),
          1,
        ),
    },
    { name: 'rate-limiter-flexible 11, memory', decide: (i) => flexible.consume(KEYS[i % CALLERS]!) },
    { name: 'express-rate-limit 8, MemoryStore', decide: (i) => express.increment(KEYS[i % CALLERS]!) },
  ];
}

function redisPeers(client: Client): Peer[] {
  const limiter = new RedisLimiter(standalone(client), { prefix: `peer-${process.pid}`, deadline: 60_000 });
  const rule = limiter.rule({ algorithm: 'token-bucket', name: 'one', limit: 1_000_000, periodMs: 60_000 });
  const ask = new Ask();
  const flexible = new RateLimiterRedis({
    storeClient: client,
    useRedisPackage: true,
    points: 1_000_000,
    duration: 60,
    keyPrefix: `rlf-${process.pid}`,
  });
  const upstash = new Ratelimit({
    redis: upstashClient(client),
    limiter: Ratelimit.tokenBucket(1_000_000, '60 s', 1_000_000),
    prefix: `up-${process.pid}`,
    analytics: false,
    ephemeralCache: false,
  });
  return [
    {
      name: '@tollgate/limiter/redis, token bucket',
      decide: (i) =>
        limiter.decide(
          ask
            .clear()
            .rule(rule)
            .key(i % CALLERS),
          0,
        ),
    },
    { name: 'rate-limiter-flexible 11, Redis window', decide: (i) => flexible.consume(KEYS[i % CALLERS]!) },
    { name: '@upstash/ratelimit 2, token bucket', decide: (i) => upstash.limit(KEYS[i % CALLERS]!) },
  ];
}

/** Its scripts carry a flag that only the vendor's server knows; without it they run on any Redis. */
function upstashClient(client: Client): never {
  const plain = (script: string): string => script.replace(/^#!lua[^\n]*\n/, '');
  const known = new Map<string, string>();
  const run = (name: 'EVAL' | 'EVALSHA', what: string, keys: string[], args: unknown[]) =>
    client.sendCommand([name, what, String(keys.length), ...keys, ...args.map(String)]);
  return {
    evalsha: async (sha: string, keys: string[], args: unknown[]) => {
      const mine = known.get(sha);
      if (mine === undefined) throw new Error('NOSCRIPT No matching script');
      return run('EVALSHA', mine, keys, args);
    },
    eval: async (script: string, keys: string[], args: unknown[]) => {
      const sha = String(await client.sendCommand(['SCRIPT', 'LOAD', plain(script)]));
      known.set(createHash('sha1').update(script).digest('hex'), sha);
      return run('EVALSHA', sha, keys, args);
    },
  } as never;
}

/** Best of five, each decision awaited where the library answers with a promise. */
async function nanoseconds({ decide }: Peer, iterations: number): Promise<number> {
  let best = Infinity;
  for (let round = 0; round < 5; round++) {
    const from = performance.now();
    for (let i = 0; i < iterations; i++) {
      const answer = decide(i);
      if (answer instanceof Promise) await answer;
    }
    best = Math.min(best, ((performance.now() - from) * 1e6) / iterations);
  }
  return Math.round(best);
}

async function throughput({ decide }: Peer, count: number): Promise<number> {
  for (let i = 0; i < 500; i++) await decide(i);
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < count) await decide(next++);
  };
  const from = performance.now();
  await Promise.all(Array.from({ length: WINDOW }, worker));
  return Math.round(count / ((performance.now() - from) / 1000));
}

async function weights(count: number): Promise<string[][]> {
  const hour = 3_600_000;
  const key = (i: number): string => `tenant-12/client-${i}/session-${i % 97}`;
  const makers: readonly (readonly [name: string, make: () => Decide])[] = [
    [
      '@tollgate/limiter',
      () => {
        const limiter = new MemoryLimiter();
        const rule = limiter.rule({ algorithm: 'token-bucket', name: 'one', limit: LIMIT, periodMs: hour });
        const ask = new Ask();
        return (i) => limiter.decide(ask.clear().rule(rule).key(i), 1);
      },
    ],
    [
      'rate-limiter-flexible 11, memory',
      () => {
        const limiter = new RateLimiterMemory({ points: LIMIT, duration: 3600 });
        return (i) => limiter.consume(key(i));
      },
    ],
    [
      'express-rate-limit 8, MemoryStore',
      () => {
        const store = new MemoryStore();
        store.init({ windowMs: hour } as never);
        return (i) => store.increment(key(i));
      },
    ],
  ];
  const rows: string[][] = [];
  const kept: Decide[] = [];
  for (const [name, make] of makers) {
    const before = used();
    const decide = make();
    // Kept to the end: what one library frees must not be taken for lightness of the next.
    kept.push(decide);
    for (let i = 0; i < count; i++) await decide(i);
    rows.push([name, String(Math.round((used() - before) / count))]);
  }
  return rows;
}

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

function used(): number {
  // Once for the objects, once for the buffers that they held.
  collect();
  collect();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

function print(heading: readonly string[], rows: readonly (readonly string[])[]): void {
  const own = Number(rows[0]![1]);
  printTable(
    heading,
    rows.map(([name, value]) => [name!, value!, (Number(value) / own).toFixed(2)]),
  );
  console.log();
}
