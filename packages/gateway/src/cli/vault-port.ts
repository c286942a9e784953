/** The vault as commands reach it: through the running gateway, or in its storage where none runs. */
import { readUntil } from '../api/written.ts';
import { systemClock } from '../core/clock.ts';
import { TollgateError } from '../core/errors.ts';
import { silentLog } from '../core/log.ts';
import type { SecretInfo } from '../core/secrets.ts';
import type { Doubted } from '../pipeline/gateway-administration.ts';
import {
  type SecretChoice,
  type SecretSetting,
  VaultAdministration,
  type VaultStatus,
} from '../pipeline/vault-administration.ts';
import { storedVault } from '../pipeline/vault-state.ts';
import { lockState } from '../store/lock.ts';
import { openStore } from '../store/store.ts';
import type { RewrapReport } from '../vault/rotation.ts';
import { type CommandConfig, loadForCommand } from './configuration.ts';
import { control, findHolder } from './running.ts';
import { spanOf } from './span.ts';

/** As it is written on the command line. */
export type WrittenSecret = Omit<SecretSetting, 'expiresAt' | 'overlap'> & {
  readonly expires: string | undefined;
  readonly overlap: string | undefined;
};

export interface VaultCommands {
  set(secret: WrittenSecret): Promise<SecretInfo & Doubted>;
  list(): Promise<readonly SecretInfo[]>;
  remove(choice: SecretChoice): Promise<void>;
  revoke(choice: SecretChoice, reason: string): Promise<void>;
  status(): Promise<VaultStatus>;
  rotate(): Promise<{ readonly version: number; readonly key: string }>;
  rewrap(): Promise<RewrapReport>;
  retire(version: number): Promise<void>;
  destroy(version: number, confirm: string): Promise<void>;
  reencrypt(): Promise<number>;
}

const BY = 'cli';
const RUN_MS = 5_000;
const LONG_MS = 10 * 60_000;

/** Runs with the vault of a configuration and lets go of it. */
export async function withVault<T>(config: string | undefined, run: (vault: VaultCommands) => Promise<T>): Promise<T> {
  const command = await loadForCommand(config, { unapproved: true });
  // A file that came with a folder must not run a program, or send a token or secret away, because somebody asked for a list.
  if (command.found && !staysHere(command)) return withVaultOf(await loadForCommand(config), run);
  return withVaultOf(command, run);
}

function staysHere({ compiled: { vault, storage } }: CommandConfig): boolean {
  return (vault.keys.kind === 'file' || vault.keys.kind === 'env') && storage.sql.kind === 'sqlite';
}

export async function withVaultOf<T>(command: CommandConfig, run: (vault: VaultCommands) => Promise<T>): Promise<T> {
  if ((await findHolder(command.dataDir)) !== undefined) return run(remote(command.dataDir));
  const { compiled, dataDir } = command;
  const deps = { log: silentLog, clock: systemClock };
  const options = { dataDir, ...compiled.storage };
  // A gateway that counts in memory must not find its storage in use by somebody else, and no two commands each other.
  const lock = compiled.state.kind === 'memory' ? await lockState(options, deps) : undefined;
  try {
    const store = await openStore(options, deps);
    try {
      const pending: Promise<unknown>[] = [];
      const vault = await storedVault(compiled.vault, store, {
        ...deps,
        onEvent: ({ kind, at, by, id, version, reason }) => {
          if (kind === 'used') return;
          const details = JSON.stringify({ owner: id?.owner, purpose: id?.purpose, name: id?.name, version, reason });
          pending.push(
            store.actions.append({
              id: `vault-${kind}-${at}-${pending.length}`,
              at,
              by,
              action: `vault_${kind}`,
              details,
            }),
          );
        },
      });
      try {
        return await run(local(new VaultAdministration(vault)));
      } finally {
        await Promise.all(pending);
        await vault.close();
      }
    } finally {
      await store.close();
    }
  } finally {
    await lock?.release();
  }
}

function local(vault: VaultAdministration): VaultCommands {
  return {
    set: ({ expires, overlap, ...secret }) =>
      vault.set(
        {
          ...secret,
          expiresAt: expires === undefined ? undefined : readUntil(expires, Date.now(), 'expires'),
          overlap: overlap === undefined ? undefined : spanOf('--overlap', overlap),
        },
        BY,
      ),
    list: () => vault.list(),
    remove: async (choice) => found(await vault.remove(choice, BY), choice),
    revoke: async (choice, reason) => found(await vault.revoke(choice, BY, reason), choice),
    status: () => vault.status(),
    rotate: () => vault.rotate(BY),
    rewrap: () => vault.rewrap(BY, RUN_MS),
    retire: (version) => vault.retire(version, BY),
    destroy: (version, confirm) => vault.destroy(version, confirm, BY),
    reencrypt: () => vault.reencrypt(BY),
  };
}

function remote(dataDir: string): VaultCommands {
  const post = async <T>(path: string, body: object = {}): Promise<T> => {
    const signal = AbortSignal.timeout(LONG_MS);
    const response = await control(dataDir, `/vault/${path}`, { method: 'POST', body: JSON.stringify(body), signal });
    return (await response.json()) as T;
  };
  const get = async <T>(path: string): Promise<T> => (await (await control(dataDir, path)).json()) as T;
  return {
    set: ({ overlap, ...secret }) =>
      post('set', { ...secret, overlap: overlap === undefined ? undefined : spanOf('--overlap', overlap) }),
    list: async () => (await get<{ secrets: SecretInfo[] }>('/vault')).secrets,
    remove: (choice) => post('remove', choice),
    revoke: (choice, reason) => post('revoke', { ...choice, reason }),
    status: () => get('/vault/status'),
    rotate: () => post('rotate'),
    rewrap: () => post('rewrap'),
    retire: (version) => post('retire', { version }),
    destroy: (version, confirm) => post('destroy', { version, confirm }),
    reencrypt: async () => (await post<{ reencrypted: number }>('reencrypt')).reencrypted,
  };
}

function found(changed: boolean, { name }: SecretChoice): void {
  if (!changed) throw new TollgateError('not_found', `The vault has no secret ${name} of that owner`);
}
