/**
 * API keys over the control API. Admins make and revoke them, operators and auditors see which there are; the key itself
 * is in the answer that made it, and never again.
 */
import * as z from 'zod';
import { TollgateError } from '../core/errors.ts';
import type { KeyOrder } from '../pipeline/key-administration.ts';
import type { KeyInfo } from '../pipeline/key-book.ts';
import type { GuardedRoutes } from './guarded.ts';
import { readBody } from './strict-json.ts';
import { idOf, readOverlap, readUntil, unclear } from './written.ts';

export interface KeysPort {
  /** See `KeyAdministration.create`. */
  create(order: KeyOrder, by: string): Promise<{ readonly key: string; readonly info: KeyInfo }>;
  /** See `KeyAdministration.replace`. */
  replace(id: string, overlap: number, by: string): Promise<{ readonly key: string; readonly info: KeyInfo }>;
  revoke(id: string, by: string, reason: string | undefined): Promise<boolean>;
  list(part: { readonly limit?: number; readonly after?: string }): Promise<{
    readonly items: readonly KeyInfo[];
    readonly next: string | undefined;
  }>;
  /** Wall milliseconds. */
  now(): number;
}

const MAX_PAGE = 1000;

const name = z.string().regex(/^[A-Za-z0-9_-]{1,64}$/, '1 to 64 letters, digits, "_" and "-"');
const scope = z.string().regex(/^[\x21\x23-\x5b\x5d-\x7e]{1,256}$/, 'one word of visible characters');
const createBody = z.strictObject({
  subject: z.string().regex(/^[A-Za-z0-9_.@-]{1,100}$/, '1 to 100 letters, digits, "_", "-", "." and "@"'),
  entry: name.optional(),
  tenant: z.string().min(1).max(200).optional(),
  tier: name.optional(),
  roles: z.array(name).max(50).default(['user']),
  scopes: z.array(scope).max(200).default([]),
  label: z.string().max(200).optional(),
  expires: z.string().max(64).optional(),
});
const replaceBody = z.strictObject({ overlap: z.string().max(64).optional() });
const revokeBody = z.strictObject({ reason: z.string().min(1).max(500).optional() });

export function addKeys(routes: GuardedRoutes, port: KeysPort): void {
  routes.get('/keys', 'keys.read', async (c) => {
    const written = c.req.query('limit') ?? '100';
    const limit = /^[1-9]\d{0,3}$/.test(written) ? Number(written) : 0;
    if (limit < 1 || limit > MAX_PAGE) throw unclear(`limit is a whole number from 1 to ${MAX_PAGE}`);
    const after = c.req.query('after');
    const { items, next } = await port.list({ limit, ...(after === undefined ? {} : { after }) });
    return c.json({ keys: items, next });
  });
  routes.post('/keys', 'keys.make', async (c, { principal: { id: by } }) => {
    const { expires, ...order } = await readBody(c, createBody);
    const expiresAt = expires === undefined ? undefined : readUntil(expires, port.now(), 'expires');
    const { key, info } = await port.create({ ...order, expiresAt } as KeyOrder, by);
    return c.json({ key, ...info }, 201);
  });
  routes.post('/keys/:id/replace', 'keys.make', async (c, { principal: { id: by } }) => {
    const { overlap } = await readBody(c, replaceBody);
    const { key, info } = await port.replace(idOf(c), overlap === undefined ? 0 : readOverlap(overlap), by);
    return c.json({ key, ...info }, 201);
  });
  routes.delete('/keys/:id', 'keys.make', async (c, { principal: { id: by } }) => {
    const { reason } = (c.req.header('content-length') ?? '0') === '0' ? {} : await readBody(c, revokeBody);
    if (!(await port.revoke(idOf(c), by, reason))) {
      throw new TollgateError('not_found', 'There is no such key, or it is revoked already');
    }
    return c.json({ id: idOf(c), revoked: true });
  });
}
