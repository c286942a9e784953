import { globSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { defineConfig } from 'vitest/config';

const NOT_UNIT = ['**/node_modules/**', '**/*.services.test.ts'];
/** Tests that replace a module before it is loaded need a process of their own. */
const MOCKING = globSync('packages/*/src/**/*.test.ts', { cwd: import.meta.dirname }).filter((file) =>
  /\bvi\.(?:mock|doMock|resetModules)\(/.test(readFileSync(join(import.meta.dirname, file), 'utf8')),
);

/** The default leaves one core to a person at the same machine: of two cores that is half. */
const CORES = Math.max(2, availableParallelism());
/** Tests over real programs wait half of their time: one more at a time than a small machine has cores. */
const WAITING = { maxWorkers: Math.max(3, CORES), sequence: { groupOrder: 1 } };
/** Limits are against hanging: a machine that is busy with other tests is slow, not wrong. The full proof draws for minutes. */
const LIMIT = process.env['TOLLGATE_PROOF'] === 'full' ? 3_600_000 : 120_000;
const PATIENT = { testTimeout: LIMIT, hookTimeout: 120_000 };

export default defineConfig({
  test: {
    setupFiles: ['packages/testkit/src/property-seed.ts'],
    // One second, the default, measures the machine: on a busy one it is a thread that waits for its turn.
    expect: { poll: { timeout: 30_000, interval: 20 } },
    projects: [
      {
        extends: true,
        test: {
          name: 'unit',
          include: ['packages/*/src/**/*.test.ts', 'scripts/**/*.test.ts', 'bench/**/*.test.ts'],
          exclude: [...NOT_UNIT, ...MOCKING],
          // One process loads the gateway once for all files that it runs: half of the processor time of these tests.
          isolate: false,
          maxWorkers: CORES,
          ...PATIENT,
        },
      },
      {
        extends: true,
        test: { ...PATIENT, name: 'unit-mocking', include: MOCKING, exclude: NOT_UNIT, maxWorkers: CORES },
      },
      {
        extends: true,
        test: {
          ...WAITING,
          ...PATIENT,
          name: 'services',
          include: ['packages/*/src/**/*.services.test.ts'],
          globalSetup: 'packages/testkit/src/services-setup.ts',
        },
      },
      {
        extends: true,
        test: {
          ...WAITING,
          name: 'e2e',
          include: ['e2e/**/*.e2e.ts'],
          globalSetup: 'packages/testkit/src/services-setup.ts',
          // Some run the command line thirty times.
          testTimeout: Math.max(LIMIT, 240_000),
          hookTimeout: 120_000,
        },
      },
      {
        extends: true,
        test: {
          ...WAITING,
          name: 'conformance',
          include: ['conformance/**/*.test.ts'],
          testTimeout: 600_000,
          hookTimeout: 120_000,
        },
      },
    ],
  },
});
