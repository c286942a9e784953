import { createClient } from '@redis/client';
import { Client } from 'pg';
import { describe, expect, inject, it } from 'vitest';

describe('the services that the set-up starts', () => {
  it('is a Redis that keeps what is written', async () => {
    const redis = createClient({ url: inject('redisUrl') });
    redis.on('error', () => {});
    await redis.connect();
    expect(await redis.ping()).toBe('PONG');
    await redis.set('testkit:services', '1', { EX: 60 });
    expect(await redis.get('testkit:services')).toBe('1');
    await redis.del('testkit:services');
    await redis.close();
  });

  it('is a PostgreSQL that may create databases', async () => {
    const name = `testkit_${process.pid}`;
    const postgres = new Client({ connectionString: inject('postgresUrl') });
    await postgres.connect();
    await postgres.query(`CREATE DATABASE ${name}`);
    const { rows } = await postgres.query<{ datname: string }>('SELECT datname FROM pg_database WHERE datname = $1', [
      name,
    ]);
    expect(rows).toEqual([{ datname: name }]);
    await postgres.query(`DROP DATABASE ${name}`);
    await postgres.end();
  });
});
