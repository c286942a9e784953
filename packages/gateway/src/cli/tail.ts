import { oneLine } from '../core/plain-text.ts';
import type { FinishedCall } from '../telemetry/calls.ts';
import type { RefusedCaller } from '../telemetry/refused-callers.ts';
import { loadForCommand } from './configuration.ts';
import { Exit, err, json, out } from './output.ts';
import { control } from './running.ts';

/**
 * `tollgate tail [--refused]`: calls as they finish, and callers that are turned away before, one line each, until
 * interrupted, nobody reads them or the gateway stops.
 */
export async function tail(
  [config]: readonly (string | undefined)[],
  options: { readonly refused?: boolean; readonly json?: boolean },
): Promise<number> {
  const { dataDir } = await loadForCommand(config, { unapproved: true });
  const interrupted = new AbortController();
  process.once('SIGINT', () => interrupted.abort());
  process.stdout.once('error', () => interrupted.abort());
  const response = await control(dataDir, `/calls${options.refused === true ? '?refused=true' : ''}`, {
    signal: interrupted.signal,
  });
  if (options.json !== true && process.stderr.isTTY) err('Waiting for calls; Ctrl-C ends.');
  try {
    for await (const { event, data } of events(response)) {
      if (event === 'call') {
        const call = JSON.parse(data) as FinishedCall;
        if (options.json === true) json(call);
        else out(line(call));
      } else if (event === 'refused_caller') {
        const caller = JSON.parse(data) as RefusedCaller;
        if (options.json === true) json({ ...caller, outcome: 'refused' });
        else out(refusedLine(caller));
      } else if (event === 'dropped') err(`${data} calls were not shown: they came faster than this terminal reads.`);
    }
  } catch (error) {
    if (interrupted.signal.aborted) return Exit.ok;
    throw error;
  }
  err('The gateway has stopped.');
  return Exit.unreachable;
}

async function* events(response: Response): AsyncGenerator<{ event: string; data: string }> {
  let waiting = '';
  const decoder = new TextDecoder();
  for await (const chunk of response.body ?? []) {
    waiting += decoder.decode(chunk as Uint8Array, { stream: true });
    for (let end = waiting.indexOf('\n\n'); end >= 0; end = waiting.indexOf('\n\n')) {
      const fields = new Map(
        waiting
          .slice(0, end)
          .split('\n')
          .map((field) => [field.slice(0, field.indexOf(':')), field.slice(field.indexOf(':') + 1).trimStart()]),
      );
      waiting = waiting.slice(end + 2);
      const data = fields.get('data');
      if (data !== undefined) yield { event: fields.get('event') ?? 'message', data };
    }
  }
}

/** For one that has no call: nobody is named but whom an operator has blocked. */
export function refusedLine({ at, endpoint, address, reason, principal, decisionId, untold }: RefusedCaller): string {
  const place = `at ${endpoint === '' ? 'REST or admin paths' : endpoint}`;
  return [
    new Date(at).toISOString(),
    principal ?? '-',
    '-',
    '-',
    'refused',
    reason,
    address === undefined ? place : `${place} from ${address}`,
    decisionId ?? '',
    untold === 0 ? '' : `(${untold} more before, not shown)`,
  ]
    .filter((part) => part !== '')
    .map(oneLine)
    .join('  ');
}

function line(call: FinishedCall): string {
  return [
    new Date(call.at).toISOString(),
    call.principal,
    call.method,
    call.target ?? '-',
    call.outcome,
    `${call.durationMs.toFixed(1)} ms`,
    call.reason === undefined || call.reason === call.outcome ? '' : call.reason,
    call.decisionId ?? '',
  ]
    .map(oneLine)
    .join('  ')
    .trimEnd();
}
