/** Records of decisions, from the running gateway, or from the storage of one that ran. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { systemClock } from '../core/clock.ts';
import { TollgateError } from '../core/errors.ts';
import { silentLog } from '../core/log.ts';
import { openStore } from '../store/store.ts';
import { type DecisionDocument, readRecord, readRecords } from '../telemetry/decisions/record.ts';
import type { CommandConfig } from './configuration.ts';
import { control, findRunning } from './running.ts';

export interface RecordQuery {
  /** Wall time in milliseconds; undefined: from the first. */
  readonly from: number | undefined;
  readonly refusedOnly: boolean;
  /** Records at most, the latest ones. */
  readonly limit: number;
}

/** Records that one request asks for. */
const PART = 1000;

/** One record. Undefined: there is none of this id. */
export async function findRecord(command: CommandConfig, id: string): Promise<DecisionDocument | undefined> {
  let json: string | undefined;
  if ((await findRunning(command.dataDir)) === undefined) {
    json = await fromStore(command, async ({ decisions }) => (await decisions.get(id))?.json);
  } else {
    try {
      json = await (await control(command.dataDir, `/decisions/${encodeURIComponent(id)}`)).text();
    } catch (error) {
      if (!isMissing(error)) throw error;
    }
  }
  if (json === undefined) return undefined;
  const record = readRecord(json);
  if (typeof record === 'string') throw new TollgateError('usage', `The record of ${id} cannot be read: ${record}.`);
  return record;
}

/** The latest records first. */
export async function listRecords(command: CommandConfig, query: RecordQuery): Promise<DecisionDocument[]> {
  const lines: string[] = [];
  const running = (await findRunning(command.dataDir)) !== undefined;
  const more = (after: string | undefined): Promise<string | undefined> =>
    running
      ? fetchPart(command, query, lines, after)
      : fromStore(command, (store) => readPart(store, query, lines, after));
  for (let after = await more(undefined); after !== undefined && lines.length < query.limit; )
    after = await more(after);
  return lines.flatMap((line) => {
    const record = readRecord(line);
    return typeof record === 'string' ? [] : [record];
  });
}

/** Records of a file of JSON Lines. Throws `usage` for a file without any, or with lines that are none. */
export async function readRecordFile(file: string): Promise<DecisionDocument[]> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new TollgateError('usage', `${file} cannot be read (${code}).`, { cause: error });
  }
  const { records, bad } = readRecords(text);
  if (bad.length > 0) {
    const lines = bad.slice(0, 10).map(({ line, what }) => `  ${file}:${line}: ${what}`);
    const rest = bad.length > 10 ? `\n  and ${bad.length - 10} more` : '';
    throw new TollgateError('usage', `${file} holds lines that are no decision records:\n${lines.join('\n')}${rest}`);
  }
  return records;
}

type Reader = Pick<Awaited<ReturnType<typeof openStore>>, 'decisions'>;

/** Undefined: nothing was ever stored, and a command that reads must not make the database. */
async function fromStore<T>({ compiled }: CommandConfig, read: (store: Reader) => Promise<T>): Promise<T | undefined> {
  const { sql } = compiled.storage;
  if (sql.kind === 'sqlite' && !existsSync(resolve(compiled.dataDir, sql.file))) return undefined;
  const store = await openStore(
    { dataDir: compiled.dataDir, ...compiled.storage },
    { log: silentLog, clock: systemClock },
  );
  try {
    return await read(store);
  } finally {
    await store.close();
  }
}

async function readPart(
  { decisions }: Reader,
  { from, refusedOnly, limit }: RecordQuery,
  lines: string[],
  after: string | undefined,
): Promise<string | undefined> {
  const page = await decisions.list({
    limit: Math.min(PART, limit - lines.length),
    ...(from === undefined ? {} : { from }),
    ...(refusedOnly ? { verdict: 'refused' } : {}),
    ...(after === undefined ? {} : { after }),
  });
  lines.push(...page.items.map((item) => item.json));
  return page.next;
}

async function fetchPart(
  { dataDir }: CommandConfig,
  { from, refusedOnly, limit }: RecordQuery,
  lines: string[],
  after: string | undefined,
): Promise<string | undefined> {
  const query = new URLSearchParams({ format: 'jsonl', limit: String(Math.min(PART, limit - lines.length)) });
  if (from !== undefined) query.set('from', String(Math.floor(from)));
  if (refusedOnly) query.set('verdict', 'refused');
  if (after !== undefined) query.set('after', after);
  const response = await control(dataDir, `/decisions?${query}`);
  lines.push(...(await response.text()).split('\n').filter((line) => line !== ''));
  return response.headers.get('x-next') ?? undefined;
}

/** The control API says 404 for what is not there. */
function isMissing(error: unknown): boolean {
  return TollgateError.is(error) && error.message.startsWith('There is no record of this decision');
}
