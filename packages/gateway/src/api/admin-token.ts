import { createHash, timingSafeEqual } from 'node:crypto';
import { lanesOf, type Principal } from '../core/principal.ts';
import type { Identified } from '../protocol/call.ts';

/** Whoever can read the admin token's file is the operator of this gateway. */
export const ADMIN: Principal = Object.freeze({
  id: 'local/admin',
  person: 'local/admin',
  key: 0,
  lanes: lanesOf('local/admin'),
  entry: 'local',
  subject: 'admin',
  tenant: undefined,
  tier: undefined,
  roles: ['admin'],
  scopes: undefined,
  clientId: undefined,
});

type Identify = (authorization: string | undefined) => Identified | Promise<Identified>;

/** Accepts the admin token before the configured entries; compared by digest, in constant time. */
export function withAdminToken(token: string, others: Identify): Identify {
  const expected = digest(`Bearer ${token}`);
  return (authorization) =>
    authorization !== undefined && timingSafeEqual(digest(authorization), expected) ? ADMIN : others(authorization);
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
