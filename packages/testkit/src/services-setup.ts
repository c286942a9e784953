import type { TestProject } from 'vitest/node';
import { startServices } from './services.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** From the set-up of the services project: a real Redis and a real PostgreSQL. */
    redisUrl: string;
    postgresUrl: string;
  }
}

/** Starts the services before the first test of the project and ends them after the last. */
export async function setup(project: TestProject): Promise<() => Promise<void>> {
  const services = await startServices();
  project.provide('redisUrl', services.redisUrl);
  project.provide('postgresUrl', services.postgresUrl);
  return async () => {
    await services[Symbol.asyncDispose]();
  };
}
