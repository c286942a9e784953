/** The user of the operating system that runs the gateway: its name, and the key file that servers of the same user could read. */
import { existsSync } from 'node:fs';
import { userInfo } from 'node:os';
import { SAME_USER, SAME_USER_FIX } from '../config/check-trust.ts';
import type { CompiledConfig } from '../config/compile.ts';
import { isLoopback } from '../config/units.ts';
import { TollgateError } from '../core/errors.ts';
import type { Log } from '../core/log.ts';

/**
 * Warns where a program of a server runs as the user of the gateway, beside the file with the master key. Throws
 * `config_invalid` where callers of other machines reach those programs.
 */
export function checkKeyFile(config: CompiledConfig, log: Log): void {
  const { keys } = config.vault;
  if (keys.kind !== 'file' || config.sameUserAllowed || !existsSync(keys.file)) return;
  const names = config.servers.filter(({ target }) => target.kind === 'stdio').map(({ name }) => name);
  if (names.length === 0) return;
  const message = `${names.join(', ')}: ${SAME_USER} It is in ${keys.file}. ${SAME_USER_FIX}`;
  if (!isLoopback(config.listen.host)) throw new TollgateError('config_invalid', message);
  log.warn({ servers: names, file: keys.file }, message);
}

/** Of the operating system: who the local user is. */
export function userName(): string {
  try {
    return userInfo().username;
  } catch {
    // A container may run under a number without a name.
    return String(process.getuid?.() ?? 'user');
  }
}
