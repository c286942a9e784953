import { createClient, RESP_TYPES } from '@redis/client';
import { afterAll, beforeAll, inject } from 'vitest';
import { limiterContract } from '../testing/contract.ts';
import type { Subject } from '../testing/stand.ts';
import { RedisLimiter } from './limiter.ts';
import { standalone } from './port.ts';

const client = createClient({ url: inject('redisUrl'), disableOfflineQueue: true });
client.on('error', () => {});
beforeAll(async () => void (await client.connect()));
afterAll(() => client.destroy());

/** 2026-11-21: what a limiter's clock of 0 is. */
const ORIGIN = Date.UTC(2026, 10, 21);
let prefixes = 0;
const BINARY = { [RESP_TYPES.BLOB_STRING]: Buffer };

async function make(): Promise<Subject> {
  let now = 0;
  const prefix = `contract-${process.pid}-${++prefixes}`;
  const port = standalone(client);
  const limiter = new RedisLimiter(port, { prefix, deadline: 20_000, clock: () => now, origin: ORIGIN * 1000 });
  return {
    limiter,
    now: () => now,
    advance: (micros) => {
      now += micros;
    },
    close: async () => limiter.link.close(),
    // What every key holds and when it expires: a refusal that wrote anything, or renewed a TTL, shows.
    async dump() {
      const keys = (await client.keys(`*${prefix}*`)).sort();
      return Promise.all(
        keys.map(async (key) => {
          const [value, expiry] = await Promise.all([
            client.sendCommand(['DUMP', key], { typeMapping: BINARY }),
            client.pExpireTime(key),
          ]);
          return [key, String(value), expiry];
        }),
      );
    },
  };
}

limiterContract('RedisLimiter', make, { origin: ORIGIN, reuse: true, effort: 0.3 });
