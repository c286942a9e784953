/**
 * node bench/redis.ts [--quick]: decisions on Redis, by one process, against TEST_REDIS_URL or a server of its own.
 * Script time is what Redis measured by the wall clock, which a busy machine inflates; CPU time is that of its main
 * thread, network included, which is what a core can carry.
 */
import { parseArgs } from 'node:util';
import { createClient } from '@redis/client';
import { Ask, type Rule } from '@tollgate/limiter';
import { RedisLimiter, standalone } from '@tollgate/limiter/redis';
import { startRedisServer } from '../packages/testkit/src/redis-servers.ts';
import { printTable } from './table.ts';

const CALLERS = 10_000;
/** Decisions under way at once. */
const WINDOW = 256;

/** Prints throughput and server time for one and seven limits, admitted and refused, with and without a hold. */
export async function benchRedis(quick: boolean): Promise<void> {
  await using stack = new AsyncDisposableStack();
  const given = process.env['TEST_REDIS_URL'];
  const url = given || stack.use(await startRedisServer()).url;
  const client = createClient({ url, disableOfflineQueue: true });
  client.on('error', () => {});
  await client.connect();
  stack.defer(() => client.destroy());
  const decisions = quick ? 20_000 : 100_000;
  const rows: string[][] = [];
  const measure = async (
    name: string,
    ask: (limiter: RedisLimiter) => (ask: Ask, i: number) => void,
    count: number,
  ) => {
    const limiter = new RedisLimiter(standalone(client), {
      prefix: `bench-${process.pid}-${rows.length}`,
      deadline: 60_000,
      denials: 0,
    });
    rows.push([name, ...(await run(client, limiter, ask(limiter), count))]);
    limiter.link.close();
  };
  const rate = (limiter: RedisLimiter, name: string, limit: number): Rule =>
    limiter.rule({ algorithm: 'token-bucket', name, limit, periodMs: 60_000 });
  for (const limits of [1, 7]) {
    for (const [word, limit] of [
      ['admitted', 1_000_000],
      ['refused', 1],
    ] as const) {
      const prepare = (limiter: RedisLimiter) => {
        const rules = Array.from({ length: limits }, (_, i) => rate(limiter, `rule ${i}`, i === 0 ? limit : 1_000_000));
        return (ask: Ask, i: number) => {
          // A refusal comes from the first rule, which all callers share.
          for (const [at, rule] of rules.entries())
            ask.rule(rule).key(word === 'refused' && at === 0 ? 0 : i % CALLERS);
        };
      };
      await measure(`${limits} limit${limits === 1 ? '' : 's'}, ${word}`, prepare, decisions);
    }
  }
  await measure(
    '5 limits, 1 budget, 1 slot, under a hold',
    (limiter) => {
      const rules = Array.from({ length: 5 }, (_, i) => rate(limiter, `rule ${i}`, 1_000_000));
      const budget = limiter.rule({
        algorithm: 'calendar-window',
        name: 'spend',
        limit: 2 ** 50,
        period: 'day',
        settles: true,
      });
      const slots = limiter.rule({ algorithm: 'concurrency', name: 'busy', limit: 1_000_000 });
      return (ask: Ask, i: number) => {
        for (const rule of [...rules, budget, slots]) ask.rule(rule).key(i % CALLERS);
        ask.hold(`hold ${i}`, 60_000_000);
      };
    },
    decisions / 4,
  );
  printTable(['decision', 'per second', 'script µs', 'server CPU µs', 'writes', 'median alone µs'], rows);
  if (given === undefined) await client.sendCommand(['FLUSHALL']);
}

interface Client {
  sendCommand(args: readonly string[]): Promise<unknown>;
}

async function run(
  client: Client,
  limiter: RedisLimiter,
  fill: (ask: Ask, i: number) => void,
  count: number,
): Promise<string[]> {
  const ask = new Ask();
  const decide = (i: number) => {
    ask.clear();
    fill(ask, i);
    return limiter.decide(ask, 0);
  };
  for (let i = 0; i < 1000; i++) await decide(i);
  await client.sendCommand(['CONFIG', 'RESETSTAT']);
  const busyBefore = await processorSeconds(client);
  let next = 1000;
  const worker = async () => {
    while (next < count) await decide(next++);
  };
  const from = performance.now();
  await Promise.all(Array.from({ length: WINDOW }, worker));
  const seconds = (performance.now() - from) / 1000;
  const busy = (((await processorSeconds(client)) - busyBefore) * 1e6) / (count - 1000);
  const stats = String(await client.sendCommand(['INFO', 'commandstats']));
  const perCall = (name: string) =>
    Number(new RegExp(`cmdstat_${name}:.*?usec_per_call=([\\d.]+)`).exec(stats)?.[1] ?? 0);
  const calls = (name: string) => Number(new RegExp(`cmdstat_${name}:calls=(\\d+)`).exec(stats)?.[1] ?? 0);
  const writes = calls('set') + calls('zadd') + calls('del') + calls('zrem') + calls('pexpire');
  const alone: number[] = [];
  for (let i = 0; i < 2000; i++) {
    const at = performance.now();
    await decide(count + i);
    alone.push(performance.now() - at);
  }
  alone.sort((a, b) => a - b);
  const rate = Math.round((count - 1000) / seconds);
  const median = Math.round(alone[alone.length / 2]! * 1000);
  return [
    String(rate),
    perCall('evalsha').toFixed(1),
    busy.toFixed(1),
    (writes / (count - 1000)).toFixed(1),
    String(median),
  ];
}

/** Processor time of the server's main thread, network included. */
async function processorSeconds(client: Client): Promise<number> {
  const info = String(await client.sendCommand(['INFO', 'cpu']));
  const value = (name: string) => Number(new RegExp(`used_cpu_${name}_main_thread:([\\d.]+)`).exec(info)?.[1] ?? 0);
  return value('user') + value('sys');
}

if (import.meta.main) {
  const { values } = parseArgs({ options: { quick: { type: 'boolean', default: false } } });
  await benchRedis(values.quick);
}
