/**
 * Edits one entry of a client's configuration file and nothing else. The whole file is kept beside the undo record
 * before it is touched; writing is atomic and keeps the file's mode.
 */
import { mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { TollgateError } from '../core/errors.ts';
import { randomId } from '../core/ids.ts';
import type { ClientTarget } from './clients.ts';

export const ENTRY = 'tollgate';

/** What `disconnect` needs: the entry as it was, and the entry as it was written. */
interface Undo {
  readonly file: string;
  readonly existed: boolean;
  readonly before: string | undefined;
  readonly entryBefore: unknown;
  readonly block: string | undefined;
}

const BEGIN = '# >>> tollgate';
const END = '# <<< tollgate';

/** Writes the entry. `usage` when the file cannot be edited safely; the message shows the entry to add by hand. */
export async function addEntry(
  target: ClientTarget,
  entry: Record<string, unknown>,
  undoFolder: string,
): Promise<void> {
  const before = await readIfThere(target.file);
  let after: string;
  let entryBefore: unknown;
  let block: string | undefined;
  if (target.format === 'json') {
    const root = parseObject(target, before, entry);
    const servers = isRecord(root[target.member]) ? (root[target.member] as Record<string, unknown>) : {};
    entryBefore = servers[ENTRY];
    after = `${JSON.stringify({ ...root, [target.member]: { ...servers, [ENTRY]: entry } }, undefined, indentOf(before))}\n`;
  } else {
    const rest = withoutBlock(before ?? '');
    if (new RegExp(`^\\s*\\[${target.member}\\.${ENTRY}\\]`, 'm').test(rest)) {
      throw new TollgateError(
        'usage',
        `${target.file} already has [${target.member}.${ENTRY}]. Remove it, or edit it to:\n${toml(target, entry)}`,
      );
    }
    block = `${BEGIN}\n${toml(target, entry)}\n${END}\n`;
    after = rest === '' || rest.endsWith('\n') ? rest + block : `${rest}\n${block}`;
  }
  const undo: Undo = { file: target.file, existed: before !== undefined, before, entryBefore, block };
  await mkdir(undoFolder, { recursive: true, mode: 0o700 });
  const record = undoFile(target, undoFolder);
  // A second connect must not overwrite what the first one found.
  if ((await readIfThere(record)) === undefined) await replace(record, JSON.stringify(undo), 0o600);
  await replace(target.file, after, before === undefined ? 0o600 : await modeOf(target.file));
}

/** Takes the entry back; true when there was one. Other changes made since stay. */
export async function removeEntry(target: ClientTarget, undoFolder: string): Promise<boolean> {
  const record = await readIfThere(undoFile(target, undoFolder));
  const now = await readIfThere(target.file);
  if (record === undefined) return false;
  const undo = JSON.parse(record) as Undo;
  if (now !== undefined) {
    if (target.format === 'json') {
      const root = parseObject(target, now, {});
      const servers = isRecord(root[target.member]) ? { ...(root[target.member] as Record<string, unknown>) } : {};
      if (undo.entryBefore === undefined) delete servers[ENTRY];
      else servers[ENTRY] = undo.entryBefore;
      const after: Record<string, unknown> = { ...root, [target.member]: servers };
      const empty = Object.keys(servers).length === 0;
      if (empty && Object.keys(root).length === 1 && !undo.existed) await rm(target.file);
      else
        await replace(target.file, `${JSON.stringify(after, undefined, indentOf(now))}\n`, await modeOf(target.file));
    } else {
      const rest = withoutBlock(now);
      if (rest === '' && !undo.existed) await rm(target.file);
      else await replace(target.file, rest, await modeOf(target.file));
    }
  }
  await rm(undoFile(target, undoFolder));
  return true;
}

function parseObject(
  target: ClientTarget,
  text: string | undefined,
  entry: Record<string, unknown>,
): Record<string, unknown> {
  if (text === undefined || text.trim() === '') return {};
  try {
    const root = JSON.parse(text) as unknown;
    if (isRecord(root)) return root;
  } catch {
    // Comments and the like: rewriting would lose them, so the person edits the file.
  }
  throw new TollgateError(
    'usage',
    `${target.file} is not plain JSON, so it is left as it is. Add this to "${target.member}" by hand:\n${JSON.stringify({ [ENTRY]: entry }, undefined, 2)}`,
  );
}

function toml(target: ClientTarget, entry: Record<string, unknown>): string {
  const lines = Object.entries(entry).map(([key, value]) => `${key} = ${JSON.stringify(value)}`);
  return [`[${target.member}.${ENTRY}]`, ...lines].join('\n');
}

function withoutBlock(text: string): string {
  const start = text.indexOf(BEGIN);
  const end = text.indexOf(END);
  if (start < 0 || end < start) return text;
  return text.slice(0, start) + text.slice(end + END.length).replace(/^\n/, '');
}

function indentOf(text: string | undefined): string {
  return /\n([ \t]+)"/.exec(text ?? '')?.[1] ?? '  ';
}

function undoFile(target: ClientTarget, folder: string): string {
  return join(folder, `connect-${target.id}.json`);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

async function readIfThere(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new TollgateError('usage', `Cannot read ${file}: ${(error as Error).message}`, { cause: error });
  }
}

async function modeOf(file: string): Promise<number> {
  return (await stat(file)).mode & 0o777;
}

async function replace(file: string, text: string, mode: number): Promise<void> {
  await mkdir(dirname(file), { recursive: true });
  // A name that nobody could have put a link at: the file may lie in a repository.
  const temporary = `${file}.tollgate-${randomId(12)}`;
  await writeFile(temporary, text, { mode, flag: 'wx' });
  await rename(temporary, file);
}
