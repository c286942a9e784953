import * as z from 'zod';
import { mayDo, rolesOf } from '../../access/rights.ts';
import { clientId } from './fields.ts';
import { defineOperation } from './operation.ts';
import { COMPONENT } from './security-metadata.ts';

/** Health and what can be asked (R0-38, X0-07). Numbers and problems are for those who operate the gateway. */
export const getStatus = defineOperation({
  name: 'get_status',
  about: 'Say whether the limiter works and which operations there are.',
  roles: rolesOf('op.get_status'),
  input: z.object({ client_id: clientId }),
  run: async (_input, { port, caller, supported }) => {
    const { limiter, problems, version, startedAt, ready, calls } = port.status();
    const stop = port.stopped();
    const insight = mayDo(caller.roles, 'insight.read', 'others');
    return {
      plugin_name: COMPONENT,
      version,
      rate_limiter_status: limiter,
      mcp_integration: ready ? 'enabled' : 'starting',
      supported_operations: supported,
      valid_tiers: port.tiers,
      ...(insight
        ? {
            problems,
            started_at: startedAt,
            calls,
            ...(stop === undefined
              ? {}
              : { emergency_stop: { reason: stop.reason, by: stop.by, at: isoTime(stop.at) } }),
          }
        : {}),
    };
  },
});

export function isoTime(wall: number): string {
  return new Date(wall).toISOString();
}
