/** What the gateway's sign-ins at servers need of the rest: the vault, also without a running gateway, and the old file. */
import { join } from 'node:path';
import type { CompiledConfig } from '../config/compile.ts';
import { type Clock, systemClock } from '../core/clock.ts';
import { type Log, silentLog } from '../core/log.ts';
import { hasReference } from '../core/secret-reference.ts';
import type { Secrets } from '../core/secrets.ts';
import { openStore } from '../store/store.ts';
import { importTokenFile } from '../upstream/auth/token-file.ts';
import { type HttpTarget, isPerCaller, type ServerOptions } from '../upstream/options.ts';
import type { SecretSource } from '../upstream/secret-texts.ts';
import { VaultSource } from './secret-source.ts';
import { storedVault, VaultEvents } from './vault-state.ts';

export type SignInServer = ServerOptions & { readonly target: HttpTarget };

/** Where versions before the vault kept the tokens of `tollgate login`. */
export function tokenFile(dataDir: string): string {
  return join(dataDir, 'oauth.json');
}

/** True for a server at which the gateway itself signs in with a browser: for its calls, or for its lists. */
export function signsIn(server: ServerOptions): server is SignInServer {
  const { auth, target } = server;
  if (auth === undefined || target.kind !== 'http') return false;
  return auth.kind === 'oauth'
    ? auth.lists === undefined
    : isPerCaller(auth) && 'lists' in auth && auth.lists === undefined;
}

/** True for a server that cannot be reached, or started, without the vault. */
export function needsVault({ auth, target }: ServerOptions): boolean {
  const texts = target.kind === 'http' ? target.headers : target.env;
  return auth !== undefined || Object.values(texts).some(hasReference);
}

/** A vault beside a gateway that may be running: on the same storage, with its locks. Close it after use. */
export async function openVault(
  config: CompiledConfig,
  { log = silentLog, clock = systemClock }: { readonly log?: Log; readonly clock?: Clock } = {},
): Promise<{
  readonly secrets: Secrets;
  /** For headers and environments of servers. */
  readonly source: SecretSource;
  close(): Promise<void>;
}> {
  const store = await openStore({ dataDir: config.dataDir, ...config.storage }, { log, clock });
  try {
    const events = new VaultEvents(log);
    const vault = await storedVault(config.vault, store, { log, clock, onEvent: events.tell });
    return {
      secrets: vault,
      source: new VaultSource(vault, events),
      close: async () => {
        await vault.close();
        await store.close();
      },
    };
  } catch (error) {
    await store.close();
    throw error;
  }
}

/** Takes the old token file into the vault. What goes wrong is logged: the gateway serves what needs no sign-in. */
export async function takeOldTokens(config: CompiledConfig, secrets: Secrets, log: Log): Promise<void> {
  if (!config.servers.some(signsIn)) return;
  try {
    const servers = await importTokenFile(tokenFile(config.dataDir), secrets);
    if (servers.length > 0) log.info({ servers }, 'sign-ins were moved from oauth.json into the vault');
  } catch (error) {
    log.warn({ err: error }, 'the sign-ins in oauth.json could not be moved into the vault');
  }
}
