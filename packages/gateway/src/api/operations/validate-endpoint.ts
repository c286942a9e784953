import * as z from 'zod';
import { rolesOf } from '../../access/rights.ts';
import { subjectOf } from './caller.ts';
import { endpointNumbers } from './check-mcp-limit.ts';
import { clientId, endpoint } from './fields.ts';
import { defineOperation } from './operation.ts';

/** Which numbers an endpoint has for a client; charges nothing. An endpoint without its own counts as `unknown` (R0-03). */
export const validateEndpoint = defineOperation({
  name: 'validate_endpoint',
  about: 'Say which limit an endpoint counts under for a client, without counting.',
  roles: rolesOf('op.validate_endpoint'),
  input: z.object({ client_id: clientId, endpoint }),
  run: async ({ client_id, endpoint: asked }, { caller, port }) => {
    const { client, id } = await subjectOf(client_id, caller, port, 'read');
    const known = port.protects(asked);
    return {
      valid: known,
      client_id: id,
      metadata: {
        client_tier: client.tier,
        endpoint: asked,
        counts_as: known ? asked : 'unknown',
        ...endpointNumbers({ limits: port.endpointLimits(asked, client.tier) }),
      },
    };
  },
});
