/** What the start-up report of `tollgate serve` says of a server. */
import { dirname } from 'node:path';
import type { Child } from '@tollgate/testkit/child';
import { runTollgate } from '@tollgate/testkit/gateway';
import { waitUntil } from '@tollgate/testkit/wait';

/**
 * Waits until the gateway of `configFile` serves what `name` offers. The report is printed once, after five seconds at
 * the latest: on a busy machine a server may still be starting then, and `status` says when it is there.
 */
export async function serverReady(gateway: Child, name: string, configFile: string): Promise<void> {
  const [, state] = await gateway.waitFor(new RegExp(`^ +${name} +(\\w+)`, 'm'));
  if (state === 'ready') return;
  const ready = new RegExp(`^ +${name} +ready +[1-9]\\d* tool`, 'm');
  await waitUntil(`${name} to be ready`, async () =>
    ready.test((await runTollgate(['status', configFile], dirname(configFile))).stdout),
  );
}
