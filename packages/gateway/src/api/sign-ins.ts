/** Sign-ins at the OAuth bridge: who has one, and the way to end all of a person. Tokens are never shown. */
import * as z from 'zod';
import { canonicalPrincipalId } from '../core/principal.ts';
import type { GuardedRoutes } from './guarded.ts';
import { readBody } from './strict-json.ts';

export interface SignInInfo {
  /** Of the auth entry. */
  readonly entry: string;
  readonly principal: string;
  /** Id of the client that got the tokens. */
  readonly client: string;
  /** The endpoint that they are for. */
  readonly resource: string;
  readonly at: number;
  readonly expiresAt: number;
}

export interface SignInsPort {
  /** The newest 1000, of a principal (`entry/subject`, with a tenant `entry@tenant/subject`) or of all. */
  list(principal: string | undefined): Promise<readonly SignInInfo[]>;
  /** Ends all of a principal at once; returns how many there were. */
  end(principal: string, by: string): Promise<number>;
}

const endBody = z.strictObject({ principal: z.string().min(1).max(700) });

export function addSignIns(routes: GuardedRoutes, port: SignInsPort): void {
  routes.get('/sign-ins', 'sign-ins.read', async (c) => {
    const asked = c.req.query('principal');
    const all = await port.list(asked === undefined ? undefined : canonicalPrincipalId(asked));
    const shown = all.map(({ entry, principal, client, resource, at, expiresAt }) => {
      return { entry, principal, client, resource, at, expiresAt };
    });
    return c.json({ signIns: shown });
  });
  routes.post('/sign-ins/end', 'sign-ins.end', async (c, { principal: { id: by } }) => {
    const principal = canonicalPrincipalId((await readBody(c, endBody)).principal);
    return c.json({ principal, ended: await port.end(principal, by) });
  });
}
