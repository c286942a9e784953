import { formatMicros } from '../config/amounts.ts';
import { compile } from '../config/compile.ts';
import { loadConfig } from '../config/load.ts';
import { TollgateError } from '../core/errors.ts';
import { oneLine } from '../core/plain-text.ts';
import { simulate as run, type Simulation } from '../pipeline/simulation.ts';
import { type CommandConfig, loadForCommand } from './configuration.ts';
import { listRecords, readRecordFile } from './decision-source.ts';
import { Exit, json, out } from './output.ts';
import { spanOf } from './span.ts';

interface SimulateOptions {
  readonly config?: string;
  readonly records?: string;
  readonly since?: string;
  readonly json?: boolean;
}

/** Some verdict changes. The same number as `gateway is not running` elsewhere; this command never says that. */
const CHANGED = 3;
const MAX_RECORDS = 100_000;
const SHOWN = 20;

/**
 * `tollgate simulate NEW.yaml`: replays recorded decisions against it. 0: no verdict changes, 3: some do, 2: bad
 * input. With `--records` the records come from a file, and the current configuration only counts when it is named.
 */
export async function simulate([next]: readonly (string | undefined)[], options: SimulateOptions): Promise<number> {
  const changed = compile((await loadConfig(next!, { unapproved: true })).config);
  const current =
    options.records === undefined || options.config !== undefined
      ? await loadForCommand(options.config, { unapproved: true })
      : undefined;
  const from = options.since === undefined ? undefined : Date.now() - spanOf('--since', options.since);
  const records =
    options.records === undefined
      ? await recordsOf(current!, from)
      : (await readRecordFile(options.records)).filter(({ at }) => from === undefined || Date.parse(at) >= from);
  if (records.length === 0) {
    throw new TollgateError('usage', 'There are no records to replay: nothing was called, or --since is too short.');
  }
  const result = await run(records, changed.admission, current?.compiled.admission);
  if (options.json === true) json(result);
  else out(report(result));
  return result.nowRefused + result.nowAdmitted > 0 ? CHANGED : Exit.ok;
}

async function recordsOf(command: CommandConfig, from: number | undefined) {
  try {
    return await listRecords(command, { from, refusedOnly: false, limit: MAX_RECORDS });
  } catch (error) {
    // Exit code 3 says that verdicts change.
    if (TollgateError.is(error) && error.code === 'gateway_not_running') {
      throw new TollgateError('usage', error.message, { cause: error });
    }
    throw error;
  }
}

function report(result: Simulation): string {
  const { records, undecidable, refusedByAccess, nowRefused, nowAdmitted } = result;
  const lines = [
    `${count(records, 'recorded decision')} replayed, compared with the ${result.comparedWith}.`,
    nowRefused + nowAdmitted === 0
      ? 'No verdict changes.'
      : `${count(nowRefused, 'call')} would have been refused, ${nowAdmitted} admitted that were refused: ${result.admittedBefore} admitted before, ${result.admittedAfter} after.`,
  ];
  for (const { caller, calls, nowRefused: refused, nowAdmitted: admitted } of result.callers.slice(0, SHOWN)) {
    lines.push(`  ${caller}: ${refused} refused, ${admitted} admitted, of ${count(calls, 'call')}`);
  }
  more(lines, result.callers.length);
  for (const [unit, { before, after, difference }] of Object.entries(result.cost)) {
    const sign = difference < 0 ? '-' : '+';
    lines.push(
      `Cost: ${formatMicros(before)} ${unit} before, ${formatMicros(after)} after (${sign}${formatMicros(Math.abs(difference))}).`,
    );
  }
  for (const change of result.changes.slice(0, SHOWN)) {
    const because = [change.reason, change.rule].filter((part) => part !== undefined).join(' by ');
    const what = `${change.caller}  ${change.object ?? change.method}  ${change.after}`;
    lines.push(`  ${change.at}  ${change.id}  ${what}${because === '' ? '' : ` (${because})`}`);
  }
  more(lines, result.changes.length);
  if (undecidable > 0) {
    const share = (result.undecidableShare * 100).toFixed(1);
    lines.push(
      `${share}% (${undecidable}) cannot be decided: a new expression reads arguments, whose values are not recorded.`,
    );
  }
  if (refusedByAccess > 0) {
    lines.push(
      `Beside them ${count(refusedByAccess, 'call')} that access refused, taken for refused before and after: limits were not asked.`,
    );
  }
  if (result.leftOut.length > 0) {
    lines.push(`Left out: ${result.leftOut.join(', ')}; records do not say how long calls took.`);
  }
  return lines.map(oneLine).join('\n');
}

function more(lines: string[], length: number): void {
  if (length > SHOWN) lines.push(`  and ${length - SHOWN} more; --json has all`);
}

function count(number: number, what: string): string {
  return `${number} ${what}${number === 1 ? '' : 's'}`;
}
