import { TollgateError } from '../core/errors.ts';
import type { Session, StopsTable } from './schema.ts';
import type { Stop, StopScope, Stops } from './storage.ts';
import { counterKey, natural, readText, storedProse, storedText } from './values.ts';

const SCOPE = /^(?:everything$|(?:server|tool|tenant|rule):.)/s;

/** Stops by operators and by latched rules: they outlive the process until somebody lifts them. */
export function stopsOn({ db }: Session): Stops {
  return {
    async add(stop) {
      if (!SCOPE.test(stop.scope)) {
        throw new TollgateError(
          'invalid_params',
          'The scope of a stop is everything, server:, tool:, tenant: or rule:NAME',
        );
      }
      const added = await db
        .insertInto('tg_stops')
        .values({
          id: storedText(stop.id),
          scope: storedText(stop.scope),
          key: stop.key === undefined ? null : counterKey(stop.key),
          reason: storedProse(stop.reason),
          stopped_by: storedText(stop.by),
          at: natural(stop.at, 'at'),
          until: stop.until === undefined ? null : natural(stop.until, 'until'),
          lifted_at: null,
          lifted_by: null,
        })
        .onConflict((conflict) => conflict.column('id').doNothing())
        .returning('id')
        .executeTakeFirst();
      return added !== undefined;
    },

    async active(at) {
      const rows = await db
        .selectFrom('tg_stops')
        .selectAll()
        .where('lifted_at', 'is', null)
        .where((is) => is.or([is('until', 'is', null), is('until', '>', natural(at, 'at'))]))
        .orderBy('at')
        .orderBy('id')
        .execute();
      return rows.map(stopOf);
    },

    async lift(id, by, at) {
      const lifted = await db
        .updateTable('tg_stops')
        .set({ lifted_at: natural(at, 'at'), lifted_by: storedText(by) })
        .where('id', '=', storedText(id))
        .where('lifted_at', 'is', null)
        .returning('id')
        .executeTakeFirst();
      return lifted !== undefined;
    },
  };
}

function stopOf(row: StopsTable): Stop {
  return {
    id: readText(row.id),
    scope: readText(row.scope) as StopScope,
    key: row.key ?? undefined,
    reason: readText(row.reason),
    by: readText(row.stopped_by),
    at: row.at,
    until: row.until ?? undefined,
    liftedAt: row.lifted_at ?? undefined,
    liftedBy: row.lifted_by === null ? undefined : readText(row.lifted_by),
  };
}
