import type { Ask } from '../ask.ts';
import { StoreError } from './errors.ts';
import type { RedisLimiter } from './limiter.ts';
import { Script } from './link.ts';
import { Question } from './question.ts';
import { MARK } from './script-decide.ts';

const MARK_SCRIPT = new Script(MARK);
/** Milliseconds after which another gateway may take over a seeding that was not finished. */
const SEEDING = 30_000;
/** Counters written by one script: few enough that it blocks nobody. */
const AT_ONCE = 128;

export interface Seed {
  /** As `ask.tenant` names it; only a cluster tells tenants apart. */
  readonly tenant?: string;
  /** True: the counters and holds of rules that tenants share, on a cluster. Default false. */
  readonly shared?: boolean;
  /**
   * What is spent, in the windows of now: `ask.change(rule, spent).key(…)`, up to 128 to an ask. It replaces what
   * Redis counts; holds that are still open are not part of it.
   */
  readonly counters: readonly Ask[];
  /** Open holds, each as it was asked for, with `ask.hold(id, what is left of its time, expiry)`. */
  readonly holds: readonly Ask[];
}

/**
 * Makes a Redis hold the money of a ledger: counters and open holds first, the marker last, so that nothing is decided
 * on half of them, also when the seeding gateway dies. False: another gateway has seeded meanwhile, or is doing so.
 * Throws a StoreError `foreign` where the money of another ledger is.
 */
export async function seed(
  limiter: RedisLimiter,
  { tenant = '', shared = false, counters, holds }: Seed,
): Promise<boolean> {
  const ledger = limiter.ledgerId;
  if (ledger === undefined) throw new TypeError('a limiter without ledgerId cannot be seeded');
  const base = shared ? limiter.places.common : limiter.places.of(tenant);
  const marker = `${base}m`;
  const mark = async (from: string, to: string, ttl: number | undefined) =>
    String(await limiter.link.run(MARK_SCRIPT, base, [marker], [from, to, ttl === undefined ? '' : String(ttl)]));
  const mine = `seeding ${ledger} ${Math.random().toString(36).slice(2)}`;
  const was = await mark('', mine, SEEDING);
  if (was === ledger || was.startsWith('seeding ')) return false;
  if (was !== '') {
    throw new StoreError('foreign', `Redis holds the money of ledger ${was}, not of ${ledger}`, { tenant });
  }
  for (const ask of counters) await limiter.send(new Question(ask, base), 's');
  for (let at = 0; at < holds.length; at += AT_ONCE) {
    await Promise.all(holds.slice(at, at + AT_ONCE).map((ask) => limiter.send(new Question(ask, base), 'o')));
    if ((await mark(mine, mine, SEEDING)) !== mine) return false;
  }
  return (await mark(mine, ledger, undefined)) === mine;
}

/**
 * What stands in Redis of this ledger: `ours`, `none` (seed it), `seeding`, or the id of another ledger.
 * For start-up; every decision over money looks again.
 */
export async function ledgerIn(limiter: RedisLimiter, tenant: string = ''): Promise<string> {
  const found = await limiter.link.command(`${limiter.places.of(tenant)}m`, ['GET', `${limiter.places.of(tenant)}m`]);
  if (found === null || found === undefined) return 'none';
  if (found === limiter.ledgerId) return 'ours';
  return String(found).startsWith('seeding ') ? 'seeding' : String(found);
}

/** What is wrong with the server for a limiter, in words for an operator. Empty: nothing. */
export async function checkServer(limiter: RedisLimiter): Promise<string[]> {
  const warnings = new Set<string>();
  for (const info of await limiter.info()) {
    const value = (name: string) => new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(info)?.[1] ?? '';
    const policy = value('maxmemory_policy');
    if (policy !== '' && policy !== 'noeviction' && value('maxmemory') !== '0') {
      warnings.add(
        `Redis evicts keys (maxmemory-policy ${policy}): an evicted counter is a limit that starts again. Set noeviction.`,
      );
    }
    if (value('aof_enabled') === '0' && limiter.ledgerId !== undefined) {
      warnings.add('Redis keeps no append-only file: after a restart, money must be seeded from the ledger again.');
    }
    if (value('aof_last_write_status') === 'err' || value('rdb_last_bgsave_status') === 'err') {
      warnings.add('Redis could not write its last save to disk: it may soon refuse to write at all.');
    }
    if (value('role') === 'slave')
      warnings.add('Redis is a replica: it refuses every decision. Connect to the master.');
  }
  return [...warnings];
}
