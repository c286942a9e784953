import type { RedisLimiter } from './limiter.ts';
import { Script } from './link.ts';

const BEAT = new Script(`
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('ZADD', KEYS[1], string.format('%d', now), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%d', now - tonumber(ARGV[2])))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return redis.call('ZCARD', KEYS[1])
`);

/** Milliseconds between signs of life, and without one until a gateway no longer counts. */
const EVERY = 5_000;
const GONE = 16_000;

/** How many gateways share this Redis. The last number known stays when Redis cannot be asked. */
export class Nodes {
  count = 1;
  readonly #limiter: RedisLimiter;
  readonly #id: string;
  readonly #beaten: () => void;
  #timer: NodeJS.Timeout | undefined;

  constructor(limiter: RedisLimiter, id: string, beaten: () => void) {
    this.#limiter = limiter;
    this.#id = id;
    this.#beaten = beaten;
  }

  /** Gives the first sign of life and goes on until `stop`. */
  async start(): Promise<void> {
    this.#timer ??= setInterval(() => void this.beat(), EVERY).unref();
    await this.beat();
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  async beat(): Promise<void> {
    const base = this.#limiter.places.common;
    try {
      this.count = Math.max(
        1,
        Number(await this.#limiter.link.run(BEAT, base, [`${base}nodes`], [this.#id, String(GONE)])),
      );
      this.#limiter.nodes = this.count;
      this.#beaten();
    } catch {
      // Whoever decides will meet the same failure and tell of it.
    }
  }
}
