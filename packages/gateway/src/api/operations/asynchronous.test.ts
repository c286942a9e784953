import { verifies } from '@tollgate/testkit/verifies';
import { expect, it } from 'vitest';
import * as z from 'zod';
import { defineOperation, OperationRegistry } from './operation.ts';
import { Operations } from './operations.ts';
import { standardOperations } from './standard.ts';
import { FakePort } from './testing.ts';

it('an operation that waits holds up no other', async () => {
  verifies('R0-70');
  const gate = Promise.withResolvers<void>();
  const slow = defineOperation({
    name: 'slow',
    about: 'Wait.',
    roles: ['admin'],
    input: z.object({}),
    run: async () => {
      await gate.promise;
      return { waited: true };
    },
  });
  const operations = new Operations(new FakePort(), {
    registry: new OperationRegistry([...standardOperations(), slow]),
  });
  const order: string[] = [];
  const first = operations.process({ operation: 'slow' }).then((answer) => {
    order.push('slow');
    return answer;
  });
  const second = await operations.process({ operation: 'check_mcp_limit', client_id: 'ada', endpoint: 'tools/call' });
  order.push('check');
  expect(second).toMatchObject({ status: 'success', allowed: true });
  gate.resolve();
  expect(await first).toMatchObject({ status: 'success', waited: true });
  expect(order).toEqual(['check', 'slow']);
});
