import * as z from 'zod';
import { rolesOf } from '../../access/rights.ts';
import { subjectOf } from './caller.ts';
import { invalidTier } from './check-mcp-limit.ts';
import { clientId, tier } from './fields.ts';
import { defineOperation } from './operation.ts';
import { OperationProblem } from './problem.ts';

/** Gives a client a tier, from now on and over restarts (R0-34). A missing tier is `basic`, as in the original. */
export const setClientTier = defineOperation({
  name: 'set_client_tier',
  about: 'Give a client a tier; what it has used stays used.',
  roles: rolesOf('op.set_client_tier'),
  input: z.object({ client_id: clientId, tier: tier.optional() }),
  run: async ({ client_id, tier: asked }, { caller, port }) => {
    // A missing id would mean `anonymous` by X0-05: every caller without a credential.
    if (client_id === undefined) throw new OperationProblem('invalid_input', 'client_id is required: whose tier?');
    const wanted = asked ?? port.tiers[0] ?? 'default';
    if (!port.tiers.includes(wanted)) throw invalidTier(wanted, port.tiers);
    const { client, id } = await subjectOf(client_id, caller, port, 'write');
    await port.setTier(client, wanted, caller.id);
    return { client_id: id, tier: wanted, message: `Client tier set to ${wanted}` };
  },
});
