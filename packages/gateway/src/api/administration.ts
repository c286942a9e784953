/**
 * Budgets, grants and stops over the control API. Operators act, auditors read; every change is stored with who made
 * it and why, and everything that lifts a rule has an end.
 */

import type { Context } from 'hono';
import * as z from 'zod';
import { reachOf } from '../access/rights.ts';
import { TollgateError } from '../core/errors.ts';
import type { Block, Grant, Stop } from '../core/operator-records.ts';
import type { BudgetView, Doubted } from '../pipeline/gateway-administration.ts';
import type { GuardedRoutes } from './guarded.ts';
import { readBody } from './strict-json.ts';
import { idOf, readAmount, readUntil, unclear } from './written.ts';

export interface AdministrationPort {
  /** Where the limits stand that count by this principal, its tenant or everyone; with a tool, all that cover it. */
  budgets(
    principal: string,
    tool: string | undefined,
  ): Promise<{ readonly tier: string; readonly limits: readonly BudgetView[] } & Doubted>;
  /** Grants `amount` (in the unit of the limit) under a limit to one principal, or to every key of it. */
  grant(grant: Omit<Grant, 'id' | 'at'>): Promise<Grant & Doubted>;
  revoke(id: string, by: string): Promise<boolean>;
  grants(): readonly Grant[];
  /** Forgets what was used of a limit; of one principal's counter, or of the one that everyone shares. */
  reset(limit: string, principal: string | undefined, by: string, reason: string): Promise<void>;
  /** Spends again after the ledger was lost together with the counters: what nobody knows begins anew. */
  acceptLoss(by: string, reason: string): Promise<void>;
  blocks(): readonly Block[];
  /** Rejects with `invalid_params` for what names nobody. In force when this is called. */
  block(block: Omit<Block, 'id' | 'at'>): Promise<Block & Doubted>;
  unblock(id: string, by: string): Promise<boolean>;
  stops(): readonly Stop[];
  stop(stop: Omit<Stop, 'id' | 'at'>): Promise<Stop & Doubted>;
  resume(id: string, by: string): Promise<boolean>;
  /** Wall milliseconds. */
  now(): number;
}

const text = z.string().min(1).max(500);
/** Entry, tenant and subject, however they must be escaped. */
const who = z.string().min(1).max(2000);
/** A duration from now, or an instant with its offset. */
const until = z.string().max(64);

const grantBody = z.strictObject({
  limit: text,
  principal: who.optional(),
  amount: z.string().max(64),
  until,
  reason: text,
});
const resetBody = z.strictObject({ limit: text, principal: who.optional(), reason: text });
const lossBody = z.strictObject({ reason: text });
const stopBody = z.strictObject({
  scope: z.string().regex(/^(everything|(server|tool|tenant):.{1,300})$/s, 'everything, server:X, tool:X or tenant:X'),
  until: until.optional(),
  reason: text,
});

const blockBody = z.strictObject({ who, until: until.optional(), reason: text.default('none given') });

export function addAdministration(routes: GuardedRoutes, port: AdministrationPort): void {
  routes.get('/budgets', 'budgets.read', async (c) => {
    const principal = c.req.query('principal');
    if (principal === undefined || principal === '') {
      throw unclear('Name whose budget: ?principal=entry/subject or entry@tenant/subject');
    }
    return c.json({ principal, ...(await port.budgets(principal, c.req.query('tool'))) });
  });
  routes.post('/budgets/reset', 'budgets.reset', async (c, { principal: { id: by } }) => {
    const { limit, principal, reason } = await readBody(c, resetBody);
    await port.reset(limit, principal, by, reason);
    return c.json({ limit, principal, reset: true });
  });
  routes.post('/budgets/accept-loss', 'ledger.accept-loss', async (c, { principal: { id: by } }) => {
    const { reason } = await readBody(c, lossBody);
    await port.acceptLoss(by, reason);
    return c.json({ accepted: true });
  });
  routes.get('/grants', 'grants.read', (c) => c.json({ grants: port.grants() }));
  routes.post('/grants', 'grants.make', async (c, { principal: { id: by } }) => {
    const { limit, principal, reason, ...body } = await readBody(c, grantBody);
    const { amount, unit } = readAmount(body.amount);
    const end = readUntil(body.until, port.now());
    return c.json(await port.grant({ rule: limit, principal, amount, unit, until: end, reason, by }), 201);
  });
  routes.delete('/grants/:id', 'grants.make', async (c, { principal: { id: by } }) => {
    return found(c, await port.revoke(idOf(c), by), 'grant');
  });
  routes.get('/blocks', 'blocks.read', (c) => c.json({ blocks: port.blocks() }));
  routes.post('/blocks', 'blocks.make', async (c, { principal: { id: by } }) => {
    const { who, reason, until: end } = await readBody(c, blockBody);
    return c.json(
      await port.block({ who, reason, by, until: end === undefined ? undefined : readUntil(end, port.now()) }),
      201,
    );
  });
  routes.delete('/blocks/:id', 'blocks.make', async (c, { principal: { id: by } }) => {
    return found(c, await port.unblock(idOf(c), by), 'block');
  });
  routes.get('/stops', 'stops.read', (c) => c.json({ stops: port.stops() }));
  routes.post('/stops', 'stops.make', async (c, { principal: { id: by } }) => {
    const body = await readBody(c, stopBody);
    const end = body.until === undefined ? undefined : readUntil(body.until, port.now());
    return c.json(await port.stop({ scope: body.scope as Stop['scope'], reason: body.reason, by, until: end }), 201);
  });
  routes.delete('/stops/:id', 'stops.make', async (c, { principal }) => {
    const id = idOf(c);
    const stop = port.stops().find((candidate) => candidate.id === id);
    // What a limit shut by itself is an emergency stop: only an admin opens it again.
    if (stop?.scope.startsWith('rule:') === true) reachOf(principal, 'stops.open-latched');
    return found(c, await port.resume(id, principal.id), 'stop');
  });
}

function found(c: Context, changed: boolean, what: string): Response {
  if (!changed) throw new TollgateError('not_found', `There is no such ${what}, or it is over already`);
  return c.json({ id: c.req.param('id'), ended: true });
}
