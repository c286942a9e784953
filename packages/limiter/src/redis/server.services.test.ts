import { createClient } from '@redis/client';
import { type RedisServer, startRedisServer } from '@tollgate/testkit/redis-servers';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { Ask } from '../ask.ts';
import type { Limiter, Rule, RuleOptions } from '../types.ts';
import { RedisLimiter, type RedisLimiterOptions } from './limiter.ts';
import { standalone } from './port.ts';

const FULL = process.env['TOLLGATE_PROOF'] === 'full';
const HOUR = 3_600_000;
/** Windows begin at multiples of their length: none of these does so while a test runs. */
const YEARS = 24_000 * HOUR;

let server: RedisServer;
const stack = new AsyncDisposableStack();
beforeAll(async () => {
  server = stack.use(await startRedisServer());
});
afterAll(() => stack.disposeAsync());
afterEach(() => void vi.restoreAllMocks());

let prefixes = 0;
async function gateway(options: RedisLimiterOptions = {}): Promise<RedisLimiter> {
  const client = createClient({ url: server.url, disableOfflineQueue: true });
  client.on('error', () => {});
  await client.connect();
  stack.defer(() => client.destroy());
  return new RedisLimiter(standalone(client), { prefix: `server-${++prefixes}`, deadline: 20_000, ...options });
}

const ROOM: readonly RuleOptions[] = [
  { algorithm: 'token-bucket', name: 'bucket', limit: 10, periodMs: 24 * HOUR },
  { algorithm: 'sliding-window', name: 'sliding', limit: 10, periodMs: 24 * HOUR },
  { algorithm: 'fixed-window', name: 'fixed', limit: 10, periodMs: YEARS },
  { algorithm: 'calendar-window', name: 'month', limit: 10, period: 'month' },
  { algorithm: 'total', name: 'total', limit: 10, settles: true, unit: 'USD' },
  { algorithm: 'concurrency', name: 'slots', limit: 10 },
];

describe('several gateways on one Redis', () => {
  it.each(
    ROOM,
  )('1000 calls at once against room for 10 admit exactly 10, $name (LiteLLM #34732, #40095, #26672, #24682)', async (options) => {
    const prefix = `shared-${++prefixes}`;
    const gateways = await Promise.all([1, 2, 3].map(() => gateway({ prefix })));
    const rules = gateways.map((limiter) => limiter.rule(options));
    const outcomes = await Promise.all(
      Array.from({ length: 1000 }, (_, i) => {
        const ask = new Ask().rule(rules[i % 3]!);
        if (options.settles === true || options.algorithm === 'concurrency') ask.hold(`call ${i}`, 60_000_000);
        return gateways[i % 3]!.decide(ask);
      }),
    );
    expect(outcomes.filter(({ allowed }) => allowed)).toHaveLength(10);
    const [standing] = await gateways[0]!.inspect(new Ask().rule(rules[0]!, 0));
    expect(standing).toMatchObject({ used: 10, remaining: 0 });
  });

  it('a decision over many rules is one step: what one refuses leaves the others as they were', async () => {
    const prefix = `step-${++prefixes}`;
    const gateways = await Promise.all([1, 2, 3].map(() => gateway({ prefix })));
    const asks = (limiter: Limiter) => {
      const wide = limiter.rule({ algorithm: 'token-bucket', name: 'wide', limit: 1000, periodMs: 24 * HOUR });
      const tight = limiter.rule({ algorithm: 'fixed-window', name: 'tight', limit: 7, periodMs: YEARS });
      return { wide, tight };
    };
    const rules = gateways.map(asks);
    await Promise.all(
      Array.from({ length: FULL ? 3000 : 600 }, (_, i) => {
        const { wide, tight } = rules[i % 3]!;
        return gateways[i % 3]!.decide(new Ask().rule(wide, 2).rule(tight));
      }),
    );
    const { wide, tight } = rules[0]!;
    expect(await gateways[0]!.inspect(new Ask().rule(wide, 0).rule(tight, 0))).toMatchObject([
      { used: 14 },
      { used: 7 },
    ]);
  });
});

describe('what Redis is asked and keeps', () => {
  async function commands(): Promise<Record<string, number>> {
    const stats = String(await server.command('INFO', 'commandstats'));
    return Object.fromEntries(
      [...stats.matchAll(/cmdstat_(\S+?):calls=(\d+)/g)].map(([, name, calls]) => [name, Number(calls)]),
    );
  }

  it('one round trip a decision; an admission writes each counter once, a refusal writes nothing', async () => {
    const limiter = await gateway({ denials: 0 });
    const rules = Array.from({ length: 7 }, (_, i) =>
      limiter.rule({ algorithm: 'token-bucket', name: `rule ${i}`, limit: i === 3 ? 1 : 100, periodMs: HOUR }),
    );
    const decide = () => {
      const ask = new Ask();
      for (const rule of rules) ask.rule(rule).key(1);
      return limiter.decide(ask);
    };
    await limiter.decide(new Ask().rule(rules[0]!, 0));
    await server.command('CONFIG', 'RESETSTAT');
    expect((await decide()).allowed).toBe(true);
    expect(await commands()).toMatchObject({ evalsha: 1, set: 7, mget: 1 });
    await server.command('CONFIG', 'RESETSTAT');
    for (let i = 0; i < 50; i++) expect((await decide()).allowed).toBe(false);
    const refused = await commands();
    expect(refused).toMatchObject({ evalsha: 50, mget: 50 });
    for (const write of ['set', 'del', 'zadd', 'pexpire', 'eval']) expect(refused[write], write).toBeUndefined();
  });

  it.each([
    { algorithm: 'token-bucket', name: 'bucket', limit: 10, periodMs: 600_000 },
    { algorithm: 'fixed-window', name: 'fixed', limit: 10, periodMs: YEARS },
  ] as const)('refuses a flood by what it saw refuse, $name: no refusal that Redis would not give', async (options) => {
    const limiter = await gateway();
    const rule = limiter.rule(options);
    const wide = limiter.rule({ algorithm: 'token-bucket', name: 'wide', limit: 1000, periodMs: HOUR });
    const decide = (cost: number) => limiter.decide(new Ask().rule(rule, cost).rule(wide));
    await decide(8);
    const told = await decide(5);
    await server.command('CONFIG', 'RESETSTAT');
    for (let i = 0; i < 20; i++) {
      const outcome = await decide(5);
      expect(outcome).toMatchObject({ allowed: false, violated: [{ rule, verdict: 'exhausted' }] });
      expect(outcome.allowed ? [] : outcome.standings).toMatchObject([{ used: 8 }, { used: 1 }]);
      // It counts down from what Redis said.
      const [now, before] = [outcome, told].map((given) => (given.allowed ? 0 : given.retryAfter!));
      expect(now).toBeLessThanOrEqual(before!);
      expect(now).toBeGreaterThan(before! - 50_000_000);
    }
    const asked = (await commands())['evalsha'] ?? 0;
    expect(asked).toBeLessThan(20);
    // What fits is never refused by what did not.
    expect((await decide(2)).allowed).toBe(true);
    expect((await decide(1)).allowed).toBe(false);
    await limiter.adjust(new Ask().change(rule, -5));
    expect((await decide(1)).allowed).toBe(true);
    expect((await decide(9)).allowed).toBe(false);
    await limiter.reset(new Ask().rule(rule));
    expect((await decide(9)).allowed).toBe(true);
    const raised = limiter.rule({ ...options, limit: 100 });
    expect((await limiter.decide(new Ask().rule(raised, 9).rule(wide))).allowed).toBe(true);
  });

  it('nothing that a caller sent is in a key, and a key lives as long as its state means something', async () => {
    const prefix = `keys-${++prefixes}`;
    const limiter = await gateway({ prefix });
    const rule = limiter.rule({ algorithm: 'token-bucket', name: 'n{a}me:\u0000', limit: 60, periodMs: 60_000 });
    const slots = limiter.rule({ algorithm: 'concurrency', name: 'slots', limit: 5 });
    for (const text of ['{}', '}{', 'a:b', '\u0000', '\ud800', 'x'.repeat(10_000)]) {
      const ask = new Ask()
        .tenant(text)
        .rule(rule, 10)
        .text(text)
        .rule(slots)
        .text(text)
        .hold(`${text.slice(0, 99)}!`, 60_000_000);
      expect((await limiter.decide(ask)).allowed).toBe(true);
    }
    const keys = (await server.command('KEYS', `${prefix}:*`)) as string[];
    expect(keys.length).toBe(6 * 4 + 1);
    for (const key of keys) expect(key).toMatch(/^keys-\d+:\{all\}:([0-9a-f]{16}:[0-9a-f]{16}(:z)?|h:[0-9a-f]{32}|x)$/);
    await limiter.reset(new Ask().rule(slots));
    const plain = await gateway();
    await plain.decide(new Ask().rule(plain.rule({ ...rule.options, name: 'plain' } as RuleOptions), 10));
    const [key] = (await server.command('KEYS', `server-${prefixes}:*`)) as string[];
    const ttl = Number(await server.command('PTTL', key!));
    expect(ttl).toBeGreaterThan(1_000);
    expect(ttl).toBeLessThanOrEqual(10_002);
  });
});

describe('clocks', () => {
  it("a gateway whose clock is far off decides by the server's", async () => {
    const right = await gateway();
    const prefix = `server-${prefixes}`;
    const options: RuleOptions = {
      algorithm: 'calendar-window',
      name: 'month',
      limit: 3,
      period: 'month',
      timezone: 'Europe/Berlin',
    };
    const used = async (limiter: RedisLimiter, rule: Rule) => (await limiter.inspect(new Ask().rule(rule, 0)))[0]!;
    await right.decide(new Ask().rule(right.rule(options), 2));
    const { resetAfter } = await used(right, right.rule(options));
    for (const days of [-400, 400]) {
      const off = Date.now() + days * 86_400_000;
      vi.spyOn(Date, 'now').mockReturnValue(off);
      const wrong = await gateway({ prefix });
      const rule = wrong.rule(options);
      expect(await wrong.decide(new Ask().rule(rule, 2))).toMatchObject({ allowed: false });
      const standing = await used(wrong, rule);
      expect(standing).toMatchObject({ used: 2, remaining: 1 });
      expect(Math.abs(standing.resetAfter - resetAfter)).toBeLessThan(60_000_000);
      vi.restoreAllMocks();
    }
  });

  it('what reaches a server too late is not charged: nobody waits for the answer any more', async () => {
    const limiter = await gateway({ deadline: 1_000, failures: 1e6 });
    const rule = limiter.rule({ algorithm: 'fixed-window', name: 'late', limit: 10, periodMs: YEARS });
    await limiter.decide(new Ask().rule(rule));
    // Its clock is known when a first answer told of it.
    await limiter.inspect(new Ask().rule(rule, 0));
    server.pause();
    const lost = await Promise.allSettled(Array.from({ length: 5 }, () => limiter.decide(new Ask().rule(rule))));
    expect(lost.map(({ status }) => status)).toEqual(Array.from({ length: 5 }, () => 'rejected'));
    await new Promise((resolve) => setTimeout(resolve, 400));
    server.resume();
    await expect.poll(async () => (await limiter.inspect(new Ask().rule(rule, 0)).catch(() => []))[0]?.used).toBe(1);
  });
});
