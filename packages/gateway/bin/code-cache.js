import { mkdirSync } from 'node:fs';
import { enableCompileCache } from 'node:module';
import { homedir } from 'node:os';
import { isAbsolute, join } from 'node:path';

/**
 * Keeps compiled code in the user's cache folder, which makes a start a third faster. Never in the shared folder for
 * temporary files that is Node's default: whoever writes there first would choose what runs. A home that cannot be
 * written only costs the time.
 */
export function enableCodeCache() {
  if (process.env.NODE_DISABLE_COMPILE_CACHE !== undefined || process.env.NODE_COMPILE_CACHE !== undefined) return;
  const { XDG_CACHE_HOME } = process.env;
  const base = XDG_CACHE_HOME !== undefined && isAbsolute(XDG_CACHE_HOME) ? XDG_CACHE_HOME : join(homedir(), '.cache');
  try {
    const folder = join(base, 'tollgate', 'code');
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    enableCompileCache(folder);
  } catch {
    // Without it everything works as well, a little later.
  }
}
