import * as z from 'zod';
import { rolesOf } from '../../access/rights.ts';
import { text } from './fields.ts';
import { isoTime } from './get-status.ts';
import { defineOperation } from './operation.ts';

/** Stops every call at once, and lets them run again. It stays over restarts, until somebody resumes. */
export const emergencyStop = defineOperation({
  name: 'emergency_stop',
  about: 'Stop all calls until somebody sends action "resume"; action "status" only asks.',
  roles: rolesOf('op.emergency_stop'),
  input: z.object({
    action: z
      .enum(['stop', 'resume', 'status'], { error: 'action must be "stop", "resume" or "status"' })
      .default('stop'),
    reason: text('reason').max(500, 'reason has more than 500 characters').default('emergency_stop operation'),
  }),
  run: async ({ action, reason }, { caller, port }) => {
    if (action === 'resume') {
      const changed = await port.resume(caller.id);
      return { stopped: false, changed, message: changed ? 'Calls run again' : 'Nothing was stopped' };
    }
    const stop = action === 'stop' ? await port.stop(caller.id, reason) : port.stopped();
    if (stop === undefined) return { stopped: false, message: 'Nothing is stopped' };
    return {
      stopped: true,
      since: isoTime(stop.at),
      by: stop.by,
      stop_reason: stop.reason,
      message: 'All calls are stopped until an operator resumes them',
    };
  },
});
