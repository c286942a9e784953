/** `/mcp/activity`: what a user called, was refused and spent. */
import type { Context } from 'hono';
import { TollgateError } from '../../core/errors.ts';
import type { Principal } from '../../core/principal.ts';
import type { UserActivity } from '../../pipeline/user-activity.ts';
import type { GuardedRoutes } from '../guarded.ts';
import { subjectOf } from './caller.ts';

export interface ActivityDeps {
  readonly activity: (principal: string, from: number, to: number) => Promise<UserActivity>;
  readonly caller: (c: Context) => Principal;
  readonly now: () => number;
}

const DAY = 86_400_000;
const DEFAULT_DAYS = '30';
const MAX_DAYS = 366;

export function addActivity(routes: GuardedRoutes, { activity, caller, now }: ActivityDeps): void {
  routes.get('/mcp/activity', 'activity.read', async (c) => {
    const by = caller(c);
    const subject = subjectOf(by, c.req.query('user_id'), 'activity.read');
    const written = c.req.query('days') ?? DEFAULT_DAYS;
    const days = /^[1-9]\d{0,2}$/.test(written) ? Number(written) : MAX_DAYS + 1;
    if (days > MAX_DAYS) {
      throw new TollgateError('invalid_params', `days is a whole number from 1 to ${MAX_DAYS}`, { http: 422 });
    }
    const to = Math.floor(now()) + 1;
    const from = Math.max(0, to - days * DAY);
    const period = { from: new Date(from).toISOString(), to: new Date(to).toISOString() };
    return c.json({ user_id: subject, days, ...period, ...(await activity(subject, from, to)) });
  });
}
