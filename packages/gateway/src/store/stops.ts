import { TollgateError } from '../core/errors.ts';
import type { Stop, StopScope } from '../core/operator-records.ts';
import { addOnce, endOnce, inForce } from './once.ts';
import type { Session, StopsTable } from './schema.ts';
import type { Stops } from './storage.ts';
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
      return addOnce(db, 'tg_stops', {
        id: storedText(stop.id),
        scope: storedText(stop.scope),
        key: stop.key === undefined ? null : counterKey(stop.key),
        reason: storedProse(stop.reason),
        stopped_by: storedText(stop.by),
        at: natural(stop.at, 'at'),
        until: stop.until === undefined ? null : natural(stop.until, 'until'),
        lifted_at: null,
        lifted_by: null,
      });
    },

    async active(at) {
      return (await inForce(db, 'tg_stops', at)).map(stopOf);
    },

    lift: (id, by, at) => endOnce(db, 'tg_stops', id, by, at),
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
  };
}
