/** What a gateway keeps of each client that asks over the operations, counted in bytes after a full collection. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { verifies } from '@tollgate/testkit/verifies';
import { expect, it } from 'vitest';
import { systemClock } from '../core/clock.ts';
import { silentLog } from '../core/log.ts';
import { administrationOf, operationsOf } from './ports.ts';
import { GatewayState } from './state.ts';
import { startGateway } from './testing.ts';

const CLIENTS = 1000;
const ENDPOINTS = ['tools/call', 'resources/read', 'prompts/get', 'server/initialize', 'server/ping', 'something/else'];

/** Bytes in use, on the heap and beside it. */
function used(): number {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  collect();
  collect();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

it('A thousand clients, each active on every endpoint and with a tier, take less than 10 MB', async () => {
  verifies('R0-60');
  const state = await GatewayState.transient({ clock: systemClock, log: silentLog });
  await using gateway = await startGateway(
    { preset: 'mcp', servers: { none: { url: 'http://127.0.0.1:9/mcp' } } },
    { state },
  );
  const deps = { clock: systemClock, state, gateway: () => gateway.gateway };
  const operations = operationsOf(deps, administrationOf(deps), () => []);
  const active = async (from: number, to: number): Promise<void> => {
    for (let at = from; at < to; at++) {
      const client = await operations.resolve(`client_${at}`, true);
      if (typeof client === 'string') throw new Error(client);
      await operations.setTier(client, 'premium', 'ops/eve');
      const request = { client, name: undefined, cost: 10_000, tier: undefined, mode: 'consume' } as const;
      const answers = await operations.decide(ENDPOINTS.map((endpoint) => ({ ...request, endpoint })));
      expect(answers.filter(({ allowed }) => allowed)).toHaveLength(ENDPOINTS.length);
    }
  };
  // Compiled code and plans before anything is measured.
  await active(0, 100);
  const before = used();
  await active(100, 100 + CLIENTS);
  const after = used();
  expect((await operations.globalStatistics()).totalClients).toBe(100 + CLIENTS);
  // 5.9 MB when it was written, most of it the records of the last 10,000 decisions.
  expect(after - before).toBeLessThan(10_000_000);
});
