import * as z from 'zod';
import { mayDo, rolesOf } from '../../access/rights.ts';
import type { OperationsPort } from '../../pipeline/operations-port.ts';
import { ANONYMOUS, type Caller, type Subject, subjectOf } from './caller.ts';
import { clientId, fromMicros } from './fields.ts';
import { defineOperation, type OperationResult } from './operation.ts';
import { OperationProblem } from './problem.ts';

/** Money and tier of a client, or of all: the shapes of X0-06. */
export const getMcpStatistics = defineOperation({
  name: 'get_mcp_statistics',
  about: 'Money and tier of a client; with client_id "anonymous" of all clients, for admins.',
  roles: rolesOf('op.get_mcp_statistics'),
  input: z.object({ client_id: clientId }),
  run: async ({ client_id }, { caller, port }) => {
    // Left out, an admin means all, as in the original; anybody else means themselves.
    const global = client_id === ANONYMOUS || (client_id === undefined && mayDo(caller.roles, 'clients.all', 'others'));
    if (global) return { statistics: await globalStatistics(caller, port) };
    return { statistics: await clientStatistics(await subjectOf(client_id, caller, port, 'read'), port) };
  },
});

async function globalStatistics(caller: Caller, port: OperationsPort): Promise<OperationResult> {
  // The answer names every client (C-22).
  if (!mayDo(caller.roles, 'clients.all', 'others'))
    throw new OperationProblem('access_denied', 'Statistics of all clients need the role admin.');
  const { totalClients, clientTiers, totalCost, allowed, denied } = await port.globalStatistics();
  return {
    total_clients: totalClients,
    client_tiers: Object.fromEntries([...clientTiers].filter(([id]) => id !== '__proto__')),
    total_cost: fromMicros(totalCost),
    currency: port.currency,
    requests: { allowed, denied },
  };
}

async function clientStatistics({ client, id }: Subject, port: OperationsPort): Promise<OperationResult> {
  const { costs, limits } = await port.statistics(client);
  return {
    client_id: id,
    tier: client.tier,
    currency: port.currency,
    costs: { hourly: fromMicros(costs.hourly), daily: fromMicros(costs.daily), total: fromMicros(costs.total) },
    limits: {
      ...(limits.perRequest === undefined ? {} : { per_request: fromMicros(limits.perRequest) }),
      ...(limits.hourly === undefined ? {} : { hourly: fromMicros(limits.hourly) }),
      ...(limits.daily === undefined ? {} : { daily: fromMicros(limits.daily) }),
    },
  };
}
