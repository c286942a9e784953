/**
 * `/mcp/accounts`: which accounts at servers a user has connected, and the way to end one. Tokens are never shown. See
 * `docs/user-api.md`.
 */
import type { Context } from 'hono';
import { TollgateError } from '../../core/errors.ts';
import type { Principal } from '../../core/principal.ts';
import type { SecretId, SecretInfo, Secrets } from '../../core/secrets.ts';
import type { GuardedRoutes } from '../guarded.ts';
import { subjectOf } from './caller.ts';

export interface AccountsDeps {
  readonly secrets: Secrets;
  readonly caller: (c: Context) => Principal;
}

/** Beyond it no server has a name. */
const MAX_SERVER = 100;

export function addAccounts(routes: GuardedRoutes, { secrets, caller }: AccountsDeps): void {
  routes.get('/mcp/accounts', 'accounts.read', async (c) => {
    const subject = subjectOf(caller(c), c.req.query('user_id'), 'accounts.read');
    const all = await secrets.list({ kind: 'principal', principal: subject }, 'upstream-token');
    return c.json({ user_id: subject, accounts: all.filter(({ state }) => state === 'active').map(shown) });
  });

  routes.delete('/mcp/accounts/:server', 'accounts.end', async (c) => {
    const by = caller(c);
    const subject = subjectOf(by, c.req.query('user_id'), 'accounts.end');
    const server = c.req.param('server') ?? '';
    if (server === '' || server.length > MAX_SERVER) throw none();
    const id: SecretId = { owner: { kind: 'principal', principal: subject }, purpose: 'upstream-token', name: server };
    // Looked up first: a lock on names that strangers think of would be a record of each. Then alone, because a renewal
    // that is under way would write its tokens back.
    const known = await secrets.info(id);
    if (known === undefined || !(await secrets.exclusive(id, () => secrets.remove(id, by.id)))) throw none();
    return c.json({
      success: true,
      message: `The account at ${server} is not used any more.`,
      server,
      user_id: subject,
    });
  });
}

function shown({ id, labels, updatedAt, lastUsedAt }: SecretInfo): object {
  const signedInAt = Number(labels['signedInAt']);
  return {
    server: id.name,
    issuer: labels['issuer'] ?? null,
    scope: labels['scope'] ?? '',
    connected_at: new Date(Number.isFinite(signedInAt) ? signedInAt : updatedAt).toISOString(),
    last_used_at: lastUsedAt === undefined ? null : new Date(lastUsedAt).toISOString(),
  };
}

function none(): TollgateError {
  return new TollgateError('not_found', 'There is no account at this server.');
}
