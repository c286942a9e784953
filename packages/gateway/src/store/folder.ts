import { lstatSync, mkdirSync, statSync } from 'node:fs';
import { TollgateError } from '../core/errors.ts';

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
 * Throws `config_invalid` for a database that a gateway of this user did not make, or that others could read since: what
 * came with a repository is readable by all, and would bring the keys, approvals and tiers of whoever committed it.
 */
export function refuseStranger(file: string): void {
  const found = lstatSync(file, { throwIfNoEntry: false });
  if (found === undefined || process.platform === 'win32') return;
  const uid = process.getuid?.() ?? found.uid;
  if ((found.mode & 0o077) === 0 && (uid === 0 || found.uid === uid)) return;
  throw new TollgateError(
    'config_invalid',
    `${file} is not used: others can read it, so that it may have come with this folder, and with it keys and approvals of somebody else. Delete it; if it is yours, a backup for example: chown it to this user and chmod 600 it`,
  );
}
