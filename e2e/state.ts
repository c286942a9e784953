/** What the tests of shared state, faults and crashes have in common. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { RunningGateway } from '@tollgate/testkit/gateway';
import { callTool, type ToolAnswer } from '@tollgate/testkit/tool-call';
import { waitUntil } from '@tollgate/testkit/wait';

export interface Drift {
  readonly amount: number;
  readonly at: number;
}

export interface Status {
  readonly state: {
    readonly kind: string;
    readonly storage: string;
    readonly problems: readonly string[];
    readonly ledgerWaiting: number;
    readonly drift?: Drift;
  };
}

export interface BudgetLimit {
  readonly limit: string;
  readonly used: number;
  readonly held: number;
  readonly capacity: number;
}

/** Asks the control API as the admin of a gateway. */
export async function ask<T>(gateway: RunningGateway, path: string, body?: object, dataDir?: string): Promise<T> {
  const folder = dataDir ?? join(gateway.folder, '.tollgate');
  const token = (await readFile(join(folder, 'admin.token'), 'utf8')).trim();
  const response = await fetch(gateway.url(path), {
    method: body === undefined ? 'GET' : 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  if (!response.ok && response.status !== 429) throw new Error(`${path}: ${response.status} ${text}`);
  return JSON.parse(text) as T;
}

export async function problems(gateway: RunningGateway): Promise<string> {
  return (await ask<Status>(gateway, '/api/v1/status')).state.problems.join('\n');
}

/** Where a limit stands for a caller. */
export async function budget(gateway: RunningGateway, limit = 'spend', who = 'anonymous'): Promise<BudgetLimit> {
  const path = `/api/v1/budgets?principal=${encodeURIComponent(who)}`;
  const { limits } = await ask<{ readonly limits: readonly BudgetLimit[] }>(gateway, path);
  const found = limits.find((one) => one.limit === limit);
  if (found === undefined) throw new Error(`No limit ${limit} for ${who}`);
  return found;
}

/** Waits until ledger and counters were compared after everything before this call, and returns what they differ by. */
export async function drift(gateway: RunningGateway): Promise<number> {
  const since = Date.now();
  const compared = await waitUntil(
    'a comparison of ledger and counters',
    async () => {
      const { state } = await ask<Status>(gateway, '/api/v1/status');
      return state.ledgerWaiting === 0 && state.drift !== undefined && state.drift.at >= since && state.drift;
    },
    { timeout: 60_000, interval: 100 },
  );
  return compared.amount;
}

export interface Storm {
  readonly admitted: number;
  readonly refused: readonly ToolAnswer[];
}

/** Calls `echo` so many times, at most 100 at once, the gateways in turn. */
export async function storm(
  gateways: readonly RunningGateway[],
  calls: number,
  args: Readonly<Record<string, unknown>> = { text: 'x' },
): Promise<Storm> {
  let next = 0;
  const answers: ToolAnswer[] = [];
  const run = async (): Promise<void> => {
    while (next < calls) {
      const gateway = gateways[next++ % gateways.length]!;
      answers.push(await callTool(gateway.url(), 'echo', args));
    }
  };
  await Promise.all(Array.from({ length: Math.min(calls, 100) }, run));
  const refused = answers.filter(({ error }) => error !== undefined);
  return { admitted: answers.length - refused.length, refused };
}
