import { createClient } from '@redis/client';
import type { TestProject } from 'vitest/node';
import { CONTROL, sweep } from './canaries.ts';
import { startServices } from './services.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** From the set-up of the services project: a real Redis and a real PostgreSQL. */
    redisUrl: string;
    postgresUrl: string;
  }
}

/**
 * Starts the services before the first test of the project and ends them after the last. Then all that was ever written to
 * Redis is searched for the secrets of tests: one that is found fails the run. Databases are searched when they are dropped.
 */
export async function setup(project: TestProject): Promise<() => Promise<void>> {
  const services = await startServices();
  if (services.redisHistory !== undefined) await writeControl(services.redisUrl);
  project.provide('redisUrl', services.redisUrl);
  project.provide('postgresUrl', services.postgresUrl);
  return async () => {
    await using _ = services;
    if (services.redisHistory === undefined) return;
    const { found, control } = await sweep(services.redisHistory);
    if (found.length > 0) throw new Error(`Secrets of tests were written to Redis:\n${found.join('\n')}`);
    if (!control) throw new Error('The history of Redis does not reach back to the start of the run');
  };
}

/** And away again: the sweep has to find what is gone, too. */
async function writeControl(url: string): Promise<void> {
  const redis = createClient({ url });
  redis.on('error', () => {});
  await redis.connect();
  await redis.set('testkit:control', CONTROL);
  await redis.del('testkit:control');
  await redis.close();
}
