import { TollgateError } from '../core/errors.ts';
import { type CommandConfig, loadForCommand } from './configuration.ts';
import { findRecord, listRecords } from './decision-source.ts';
import { decisionLine, decisionText } from './decision-text.ts';
import { Exit, json, out } from './output.ts';

interface WhyOptions {
  readonly config?: string;
  readonly last?: string;
  readonly refused?: boolean;
  readonly json?: boolean;
}

const DEFAULT_LAST = 20;
const MAX_LAST = 1_000_000;

/**
 * `tollgate why ID`: one decision and what would have let it pass; 1 when there is no record of it. Without ID the
 * last decisions, one a line; with `--json` as JSON Lines, the form that `simulate --records` reads.
 */
export async function why([id]: readonly (string | undefined)[], options: WhyOptions): Promise<number> {
  const command = await loadForCommand(options.config, { unapproved: true });
  if (id === undefined) return list(command, options);
  const wanted = id.replace(/^\[(.*)\]$/, '$1');
  const record = await findRecord(command, wanted);
  if (record === undefined) {
    throw new TollgateError(
      'not_found',
      `There is no record of ${wanted}. Admissions are kept for the last 10,000, refusals for 30 days, those by access for the last 100,000 and of one caller about one a second. What no decision was (a server or secret that is missing) has no record: see \`tollgate tail\`.`,
    );
  }
  if (options.json === true) json(record);
  else out(decisionText(record));
  return Exit.ok;
}

async function list(command: CommandConfig, options: WhyOptions): Promise<number> {
  const last = options.last ?? String(DEFAULT_LAST);
  const limit = /^[0-9]{1,7}$/.test(last) ? Number(last) : 0;
  if (limit < 1 || limit > MAX_LAST) {
    throw new TollgateError('usage', `--last takes a whole number from 1 to ${MAX_LAST}, for example --last 100.`);
  }
  const records = await listRecords(command, { from: undefined, refusedOnly: options.refused === true, limit });
  if (options.json === true) for (const record of records) json(record);
  else out(records.length === 0 ? 'There are no records yet.' : records.map(decisionLine).join('\n'));
  return Exit.ok;
}
