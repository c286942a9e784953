import * as z from 'zod';
import { rolesOf } from '../../access/rights.ts';
import { subjectOf } from './caller.ts';
import { clientId } from './fields.ts';
import { defineOperation } from './operation.ts';
import { OperationProblem } from './problem.ts';

/** Gives a client back what it used of every limit that counts by it, money included. Recorded with who did it. */
export const resetLimits = defineOperation({
  name: 'reset_limits',
  about: 'Forget what one client has used, money included.',
  roles: rolesOf('op.reset_limits'),
  input: z.object({ client_id: clientId }),
  run: async ({ client_id }, { caller, port }) => {
    // A missing id would mean `anonymous` by X0-05: too easily nobody's intention.
    if (client_id === undefined) throw new OperationProblem('invalid_input', 'client_id is required: whose limits?');
    const { client, id } = await subjectOf(client_id, caller, port, 'write');
    return { client_id: id, reset: await port.reset(client, caller.id), message: 'Limits reset' };
  },
});
