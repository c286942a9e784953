/** The vault over the control API. Values go in and never come out; only an admin changes anything. */
import type { Context } from 'hono';
import * as z from 'zod';
import { TollgateError } from '../core/errors.ts';
import { REFERENCE_NAME } from '../core/secret-reference.ts';
import type { VaultPort } from '../pipeline/vault-administration.ts';
import type { GuardedRoutes } from './guarded.ts';
import { readBody } from './strict-json.ts';
import { checkFormat, providerNamed } from './user/providers.ts';
import { readUntil } from './written.ts';

/** A value of 64 KiB, escaped. */
const MAX_BODY = 512 * 1024;
const REWRAP_MS = 5_000;

const choice = {
  name: z.string().regex(REFERENCE_NAME, 'letters, digits, dot, dash and underscore, at most 100'),
  tenant: z.string().min(1).max(1000).optional(),
  user: z.string().min(1).max(1000).optional(),
};
const setBody = z.strictObject({
  ...choice,
  value: z.string().min(1),
  expires: z.string().max(64).optional(),
  overlap: z
    .int()
    .min(0)
    .max(30 * 86_400_000)
    .optional(),
  server: z.string().min(1).max(100).optional(),
  provider: z.string().min(1).max(64).optional(),
});
const chooseBody = z.strictObject(choice);
const revokeBody = z.strictObject({ ...choice, reason: z.string().min(1).max(500) });
const versionBody = z.strictObject({ version: z.int().min(1) });
const destroyBody = z.strictObject({ version: z.int().min(1), confirm: z.string().min(1).max(300) });

export function addVault(routes: GuardedRoutes, port: VaultPort): void {
  routes.get('/vault', 'vault.read', async (c) => c.json({ secrets: await port.list() }));
  routes.get('/vault/status', 'vault.read', async (c) => c.json(await port.status()));
  routes.post('/vault/set', 'vault.write', async (c, { principal: { id: by } }) => {
    const { expires, provider, ...body } = await readBody(c, setBody, MAX_BODY);
    if (provider !== undefined) checkFormat(providerNamed(provider), body.value);
    const expiresAt = expires === undefined ? undefined : readUntil(expires, Date.now(), 'expires');
    return c.json(await port.set({ ...body, expiresAt }, by), 201);
  });
  routes.post('/vault/remove', 'vault.write', async (c, { principal: { id: by } }) => {
    const which = await readBody(c, chooseBody, MAX_BODY);
    return found(c, await port.remove(which, by), which.name);
  });
  routes.post('/vault/revoke', 'vault.write', async (c, { principal: { id: by } }) => {
    const { reason, ...which } = await readBody(c, revokeBody, MAX_BODY);
    return found(c, await port.revoke(which, by, reason), which.name);
  });
  routes.post('/vault/rotate', 'vault.keys', async (c, { principal }) => c.json(await port.rotate(principal.id)));
  routes.post('/vault/rewrap', 'vault.keys', async (c, { principal }) =>
    c.json(await port.rewrap(principal.id, REWRAP_MS)),
  );
  routes.post('/vault/reencrypt', 'vault.keys', async (c, { principal }) =>
    c.json({ reencrypted: await port.reencrypt(principal.id) }),
  );
  routes.post('/vault/retire', 'vault.keys', async (c, { principal: { id: by } }) => {
    const { version } = await readBody(c, versionBody, MAX_BODY);
    await port.retire(version, by);
    return c.json({ version, state: 'retired' });
  });
  routes.post('/vault/destroy', 'vault.keys', async (c, { principal: { id: by } }) => {
    const { version, confirm } = await readBody(c, destroyBody, MAX_BODY);
    await port.destroy(version, confirm, by);
    return c.json({ version, state: 'destroyed' });
  });
}

function found(c: Context, changed: boolean, name: string): Response {
  if (!changed) throw new TollgateError('not_found', `The vault has no secret ${name} of that owner`);
  return c.json({ name, done: true });
}
