/**
 * `/api-keys`: callers leave keys of providers in their own part of the vault. A key goes in and never comes out; what is
 * shown is its fingerprint. Such a key never authenticates anybody here.
 */

import type { Context } from 'hono';
import * as z from 'zod';
import type { RightName } from '../../access/rights.ts';
import { TollgateError } from '../../core/errors.ts';
import type { Principal } from '../../core/principal.ts';
import type { SecretId, SecretInfo, Secrets } from '../../core/secrets.ts';
import type { GuardedRoutes } from '../guarded.ts';
import { readOverlap, unclear } from '../written.ts';
import { MAX_ID, readStrictly, subjectOf } from './caller.ts';
import { checkFormat, PROVIDERS, providerNamed } from './providers.ts';

export interface ProviderKeysDeps {
  readonly secrets: Secrets;
  /** The identified caller of a request. */
  readonly caller: (c: Context) => Principal;
  /** Wall milliseconds. */
  readonly now: () => number;
}

const DAY = 86_400_000;
const MAX_DAYS = 3650;

const life = {
  expires_in_days: z.number().int().min(1).max(MAX_DAYS).optional(),
  expires_at: z.string().max(64).optional(),
};
const userId = z.string().min(1).max(MAX_ID);
const storeBody = z.strictObject({ provider: z.string().max(64), api_key: z.string(), user_id: userId, ...life });
const replaceBody = z.strictObject({
  api_key: z.string(),
  user_id: userId,
  /** For how long the older key stays as the one to fall back on. */
  overlap: z.string().max(32).optional(),
  ...life,
});

export function addProviderKeys(routes: GuardedRoutes, deps: ProviderKeysDeps): void {
  const { secrets, caller, now } = deps;

  routes.get('/api-keys/providers', 'provider-keys.read', (c) => {
    caller(c);
    return c.json({ providers: PROVIDERS.map(({ name, features }) => ({ name, features })) });
  });

  routes.post('/api-keys', 'provider-keys.write', async (c) => {
    const by = caller(c);
    const body = await readStrictly(c, storeBody);
    const subject = subjectOf(by, body.user_id, 'provider-keys.write');
    const provider = providerNamed(body.provider);
    checkFormat(provider, body.api_key);
    const id = secretOf(subject, provider.name);
    const write = { by: by.id, expiresAt: endOf(body, now()), labels: { provider: provider.name } };
    const info = await secrets.exclusive(id, () => secrets.put(id, body.api_key, write));
    return c.json({ success: true, message: `The key of ${provider.name} is stored.`, ...shown(info, subject, now()) });
  });

  routes.get('/api-keys', 'provider-keys.read', async (c) => {
    const subject = subjectOf(caller(c), c.req.query('user_id'), 'provider-keys.read');
    const all = await secrets.list({ kind: 'principal', principal: subject }, 'provider-key');
    const current = await Promise.all(all.map((info) => deactivated(info)));
    return c.json({ user_id: subject, api_keys: current.map((info) => shown(info, subject, now())) });
  });

  routes.get('/api-keys/:provider', 'provider-keys.read', async (c) => {
    const { subject, id } = named(c, 'provider-keys.read');
    const info = await secrets.info(id);
    if (info === undefined) throw none();
    return c.json(shown(await deactivated(info), subject, now()));
  });

  routes.put('/api-keys/:provider', 'provider-keys.write', async (c) => {
    const by = caller(c);
    const provider = providerNamed(c.req.param('provider') ?? '');
    const body = await readStrictly(c, replaceBody);
    const subject = subjectOf(by, body.user_id, 'provider-keys.write');
    checkFormat(provider, body.api_key);
    const id = secretOf(subject, provider.name);
    const overlap = body.overlap === undefined ? 0 : readOverlap(body.overlap, 422);
    const write = { by: by.id, expiresAt: endOf(body, now()), labels: { provider: provider.name }, overlap };
    const info = await secrets.exclusive(id, async () => {
      const before = await secrets.info(id);
      // One that ran out may be renewed; one that was taken back is gone, and is stored anew or not at all.
      if (before === undefined || stateOf(before, now()) === 'revoked') throw none();
      return secrets.put(id, body.api_key, write);
    });
    return c.json({
      success: true,
      message: `The key of ${provider.name} is replaced.`,
      ...shown(info, subject, now()),
    });
  });

  routes.delete('/api-keys/:provider', 'provider-keys.write', async (c) => {
    const { subject, id, by } = named(c, 'provider-keys.write');
    if (!(await secrets.revoke(id, by.id, 'deleted by its owner or an admin'))) throw none();
    return c.json({
      success: true,
      message: `The key of ${id.name} is deactivated.`,
      provider: id.name,
      user_id: subject,
    });
  });

  function named(
    c: Context,
    right: RightName,
  ): { readonly subject: string; readonly id: SecretId; readonly by: Principal } {
    const by = caller(c);
    const subject = subjectOf(by, c.req.query('user_id'), right);
    return { by, subject, id: secretOf(subject, providerNamed(c.req.param('provider') ?? '').name) };
  }

  /** What has run out is switched off when somebody looks: from then on nothing can use it, whatever its clock says. */
  async function deactivated(info: SecretInfo): Promise<SecretInfo> {
    if (info.state !== 'expired') return info;
    return secrets.exclusive(info.id, async () => {
      const current = await secrets.info(info.id);
      if (current?.state !== 'expired') return current ?? info;
      await secrets.revoke(info.id, 'gateway', 'expired');
      return (await secrets.info(info.id)) ?? info;
    });
  }
}

/** Throws `invalid_params` for a provider that the caller has no usable key of. */
export async function requireKey(secrets: Secrets, principal: Principal, name: string): Promise<void> {
  const provider = providerNamed(name);
  const info = await secrets.info(secretOf(principal.id, provider.name));
  if (info?.state === 'active') return;
  const what =
    info?.state === 'expired' ? `Your key of ${provider.name} has expired` : `You have no key of ${provider.name}`;
  throw new TollgateError('invalid_params', `Not run. ${what}: POST /api-keys stores one.`, { http: 400 });
}

export function secretOf(principal: string, provider: string): SecretId {
  return { owner: { kind: 'principal', principal }, purpose: 'provider-key', name: provider };
}

/** An expired key is revoked when it is read; it is shown as what it was. */
function stateOf(info: SecretInfo, now: number): SecretInfo['state'] {
  return info.expiresAt !== undefined && info.expiresAt <= now ? 'expired' : info.state;
}

function shown(info: SecretInfo, subject: string, now: number): object {
  const state = stateOf(info, now);
  const { name } = info.id;
  return {
    provider: name,
    user_id: subject,
    active: state === 'active',
    state,
    fingerprint: info.fingerprint,
    created_at: instant(info.createdAt),
    updated_at: instant(info.updatedAt),
    expires_at: instant(info.expiresAt),
    last_used_at: instant(info.lastUsedAt),
    ...(state === 'expired'
      ? {
          renew: `The key has expired and is switched off. PUT /api-keys/${name} with a new one; everything else goes on.`,
        }
      : {}),
  };
}

function instant(at: number | undefined): string | null {
  return at === undefined ? null : new Date(at).toISOString();
}

interface Life {
  readonly expires_in_days?: number | undefined;
  readonly expires_at?: string | undefined;
}

function endOf({ expires_in_days: days, expires_at: at }: Life, now: number): number | undefined {
  if (days !== undefined && at !== undefined) throw unclear('Give expires_in_days or expires_at, not both.', 422);
  if (days !== undefined) return Math.floor(now) + days * DAY;
  if (at === undefined) return undefined;
  const instant = /^\d{4}-\d\d-\d\dT.*(?:Z|[+-]\d\d:\d\d)$/.test(at) ? Date.parse(at) : Number.NaN;
  if (instant > now && instant <= now + MAX_DAYS * DAY) return instant;
  throw unclear(
    'expires_at is a moment to come with its offset, such as 2030-01-31T18:00:00Z, at most ten years ahead.',
    422,
  );
}

function none(): TollgateError {
  return new TollgateError('not_found', 'There is no key of this provider. POST /api-keys stores one.');
}
