import path from 'node:path';
import type { VaultOptions } from '../vault/options.ts';
import type { Environment } from './expand.ts';
import type { Config } from './schema.ts';

const VARIABLE = 'TOLLGATE_MASTER_KEY';
const FILE = 'master.key';

/** Paths are absolute already, but for the default in the data folder. */
export function compileVault({ vault, dataDir }: Config, env: Environment): VaultOptions {
  const keys = vault.keys === 'env' ? { env: VARIABLE } : typeof vault.keys === 'string' ? {} : vault.keys;
  if (keys.env !== undefined) return { keys: { kind: 'env', name: keys.env, value: env[keys.env] } };
  if (keys.command !== undefined) {
    const [program = '', ...args] = keys.command;
    return { keys: { kind: 'command', command: [program, ...args], cwd: dataDir } };
  }
  if (keys.socket !== undefined) return { keys: { kind: 'socket', path: keys.socket } };
  if (keys.transit !== undefined) {
    const { namespace, ca, ...transit } = keys.transit;
    return { keys: { kind: 'transit', ...transit, namespace, ca } };
  }
  return { keys: { kind: 'file', file: keys.file ?? path.join(dataDir, FILE) } };
}
