/** The vault of a running gateway: on its storage, and told of in its log, its record of actions and its webhooks. */
import type { Clock } from '../core/clock.ts';
import { TollgateError } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import type { SecretOwner } from '../core/secrets.ts';
import { VAULT_VERSION } from '../core/vault-records.ts';
import type { Storage } from '../store/storage.ts';
import { memoryRecords } from '../vault/memory-records.ts';
import type { VaultOptions } from '../vault/options.ts';
import { createKeyProvider, ephemeralKeys } from '../vault/providers.ts';
import { Vault, type VaultEvent } from '../vault/vault.ts';
import { Follower } from './follower.ts';

interface VaultStateDeps {
  readonly clock: Clock;
  readonly log: Log;
  /** What happened, with nothing secret in it. */
  readonly onEvent: (event: VaultEvent) => void;
}

/**
 * The vault on a storage. Rejects with `vault_key_wrong` when the storage holds secrets of another master key: a gateway
 * that went on would refuse every use one by one, or make a second vault beside the first. A provider or storage that is
 * away is no failure of the start: what needs a secret is refused until it answers.
 */
export async function storedVault(options: VaultOptions, storage: Storage, deps: VaultStateDeps): Promise<Vault> {
  const vault = new Vault({ records: storage.vault, provider: createKeyProvider(options.keys), ...deps });
  try {
    await vault.verify();
    return vault;
  } catch (error) {
    if (TollgateError.is(error) && error.code === 'vault_unavailable') {
      deps.log.warn({ err: error }, 'the vault cannot be opened yet; what needs a secret is refused until it can');
      return vault;
    }
    await vault.close();
    throw error;
  }
}

/** A vault that ends with the process. */
export function transientVault(deps: VaultStateDeps): Vault {
  return new Vault({ records: memoryRecords(), provider: ephemeralKeys(), ...deps });
}

/** Where events go: known only after the vault was opened. */
export class VaultEvents {
  readonly #log: Log;
  /** Stores who did what. */
  record: ((by: string, action: string, details: object) => Promise<unknown>) | undefined;
  /** Tells the operator's webhooks. */
  alert: ((kind: string, at: number, data: object) => void) | undefined;
  readonly #listeners = new Set<(event: VaultEvent) => void>();
  readonly #elsewhere = new Set<() => void>();
  readonly #follower: Follower;

  constructor(log: Log) {
    this.#log = log;
    this.#follower = new Follower(log, 'changes of the vault cannot be followed');
  }

  /** Calls back for every event; returns the way to stop. */
  watch(listener: (event: VaultEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Calls back when secrets may have changed by another gateway of the storage; which ones is not known. */
  whenChangedElsewhere(listener: () => void): void {
    this.#elsewhere.add(listener);
  }

  /** Notices within a second what other gateways set, revoke and remove. */
  async follow(storage: Storage): Promise<void> {
    let known: string | undefined;
    const look = async (): Promise<void> => {
      const version = (await storage.settings.get(VAULT_VERSION)) ?? '';
      if (known !== undefined && version !== known) for (const listener of this.#elsewhere) listener();
      known = version;
    };
    await this.#follower.look(look);
    await this.#follower.follow(look);
  }

  close(): void {
    this.#follower.close();
  }

  readonly tell = (event: VaultEvent): void => {
    const { kind, at, by, id, version, reason } = event;
    const facts = {
      ...(id === undefined ? {} : { owner: ownerText(id.owner), purpose: id.purpose, name: id.name }),
      ...(version === undefined ? {} : { version }),
      ...(reason === undefined || reason === '' ? {} : { reason }),
    };
    if (kind === 'used') this.#log.debug({ ...facts }, 'a secret of the vault was used');
    else if (kind === 'rolled_back') this.#log.error({ ...facts }, 'a secret of the vault went back to an old version');
    else this.#log[kind === 'revoked' ? 'warn' : 'info']({ by, ...facts }, `vault: ${kind}`);
    if (kind === 'revoked' || kind === 'rolled_back') this.alert?.(`vault_${kind}`, at, { by, ...facts });
    if (kind !== 'used') {
      this.record?.(by, `vault_${kind}`, facts).catch((error: unknown) => {
        this.#log.error({ err: error, kind }, 'what happened in the vault could not be recorded');
      });
    }
    for (const listener of this.#listeners) listener(event);
  };
}

export function ownerText(owner: SecretOwner): string {
  if (owner.kind === 'gateway') return 'gateway';
  return owner.kind === 'tenant' ? `tenant ${owner.tenant}` : owner.principal;
}
