/** Definitions of servers over the control API: what is offered, what differs, and the approval of exact digests. */
import * as z from 'zod';
import { TollgateError } from '../core/errors.ts';
import type { DefinitionDifference, DefinitionRef, DefinitionView } from '../pipeline/trust.ts';
import type { GuardedRoutes } from './guarded.ts';
import { readBody } from './strict-json.ts';

export interface TrustPort {
  /** What servers offer now. */
  list(server?: string): readonly DefinitionView[];
  /** What nobody has approved, with what differs; of one name also when it is approved. */
  differences(server: string, name?: string): Promise<readonly DefinitionDifference[]>;
  /** All or none; rejects with `invalid_params` (409) for a digest that is not offered now. */
  approve(refs: readonly DefinitionRef[], by: string): Promise<void>;
}

/** A server of 10,000 definitions can be approved at once. */
const MAX_BODY = 4 * 1024 * 1024;
const MAX_KEYS = 100_000;

const approval = z.strictObject({
  definitions: z
    .array(
      z.strictObject({
        server: z.string().min(1).max(64),
        kind: z.enum(['tool', 'prompt', 'template']),
        name: z.string().min(1).max(4096),
        digest: z.string().regex(/^[0-9a-f]{64}$/, 'must be a SHA-256 of 64 hexadecimal digits'),
      }),
    )
    .min(1)
    .max(20_000),
});

export function addTrust(routes: GuardedRoutes, port: TrustPort): void {
  routes.get('/trust', 'trust.read', (c) => {
    return c.json({ definitions: port.list(c.req.query('server')) });
  });
  routes.get('/trust/diff', 'trust.read', async (c) => {
    const server = c.req.query('server');
    if (server === undefined || server === '') {
      throw new TollgateError('invalid_params', 'Name the server: ?server=NAME, and &name=NAME for one definition', {
        http: 400,
      });
    }
    return c.json({ definitions: await port.differences(server, c.req.query('name')) });
  });
  routes.post('/trust/approve', 'trust.approve', async (c, { principal: { id: by } }) => {
    const { definitions } = await readBody(c, approval, MAX_BODY, { keys: MAX_KEYS });
    await port.approve(definitions, by);
    return c.json({ approved: definitions });
  });
}
