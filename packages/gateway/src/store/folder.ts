import { lstatSync, mkdirSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { TollgateError } from '../core/errors.ts';
import { stateFiles } from './journal-files.ts';

/**
 * Makes the folder of the state (0700) when it is missing. A folder that every user of the machine may write to, such
 * as /tmp itself, is refused: anybody could swap the files (R0-23).
 */
export function ensureFolder(path: string): void {
  mkdirSync(path, { recursive: true, mode: 0o700 });
  if ((statSync(path).mode & 0o002) !== 0) {
    throw new TollgateError(
      'config_invalid',
      `dataDir ${path} can be written by every user: choose a folder of its own, or chmod o-w it`,
    );
  }
}

/**
 * Throws `config_invalid` for a file of the data folder that is a link: in a folder that came with a repository it would
 * lead the gateway to lock, change the mode of, or write its tables into, a file that belongs to something else.
 */
export function refuseLink(file: string): void {
  const found = lstatSync(file, { throwIfNoEntry: false });
  if (found === undefined || found.isFile()) return;
  throw new TollgateError('config_invalid', `${file} is a link or no regular file, and is not used: remove it`);
}

/**
 * Throws `config_invalid` for a file of the data folder that a gateway of this user did not make, or that others could
 * read since: what came with a repository is readable by all, and would bring the keys, approvals, tiers and counters of
 * whoever committed it. A missing file is none.
 */
export function refuseStranger(file: string): void {
  const found = lstatSync(file, { throwIfNoEntry: false });
  if (found === undefined || process.platform === 'win32') return;
  const uid = process.getuid?.() ?? found.uid;
  if ((found.mode & 0o077) === 0 && (uid === 0 || found.uid === uid)) return;
  throw new TollgateError(
    'config_invalid',
    `${file} is not used: others can read it, so that it may have come with this folder, and with it keys, approvals and counters of somebody else. Delete it; if it is yours, a backup for example: chown it to this user and chmod 600 it`,
  );
}

/**
 * The same for every state file of a folder. The folder itself must not be a link: it would bring the state of another
 * installation, which is private there, and this gateway would write over it.
 */
export function refuseStrangeState(folder: string): void {
  const found = lstatSync(folder, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isDirectory()) {
    throw new TollgateError('config_invalid', `${folder} is a link or no folder, and is not used: remove it`);
  }
  for (const { name } of stateFiles(readdirSync(folder))) {
    refuseLink(join(folder, name));
    refuseStranger(join(folder, name));
  }
}
