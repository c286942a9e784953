/** The versions of the master key that the vault knows, proved by the provider, and the root that they protect. */
import { randomBytes } from 'node:crypto';
import type { Clock } from '../core/clock.ts';
import { TollgateError } from '../core/errors.ts';
import type { VaultKey, VaultRecords } from '../core/vault-records.ts';
import { deriveKey } from './bytes.ts';
import { DataKeyCache } from './data-key-cache.ts';
import { open, type Place, seal, type WrappingKey } from './envelope.ts';
import type { KeyProvider } from './key-provider.ts';
import { wrong } from './local-keys.ts';

/** Other processes rotate too: after so long the registry is read again before something is written. */
const REGISTRY_AGE = 30_000;
const ATTEMPTS = 5;

/** Keys derived from the root: they authenticate and compare, they never encrypt a secret. */
export interface RootKeys {
  readonly heads: Buffer;
  readonly fingerprints: Buffer;
}

interface Deps {
  readonly records: VaultRecords;
  readonly provider: KeyProvider;
  readonly clock: Clock;
}

export class Keyring {
  readonly #deps: Deps;
  readonly #cache: DataKeyCache;
  readonly #wrapping = new Map<number, WrappingKey>();
  #keys: readonly VaultKey[] = [];
  #readAt = Number.NEGATIVE_INFINITY;
  #root: RootKeys | undefined;
  #opening: Promise<RootKeys | undefined> | undefined;

  constructor(deps: Deps) {
    this.#deps = deps;
    this.#cache = new DataKeyCache(deps.clock);
  }

  get provider(): KeyProvider {
    return this.#deps.provider;
  }

  /** As it was read last. */
  get registry(): readonly VaultKey[] {
    return this.#keys;
  }

  /**
   * The root of this vault; undefined: it holds nothing yet and has no key. Rejects with `vault_key_wrong` when the
   * provider's key is not the one that made it: then nothing is written, whatever is asked.
   */
  root(): Promise<RootKeys | undefined> {
    if (this.#root !== undefined) return Promise.resolve(this.#root);
    this.#opening ??= this.#open().finally(() => {
      this.#opening = undefined;
    });
    return this.#opening;
  }

  /** The root, made with the first key where there is none. */
  async rootOrNew(by: string): Promise<RootKeys> {
    const root = await this.root();
    if (root !== undefined) return root;
    const { provider } = this.#deps;
    const name = (await provider.keys())[0] ?? (await provider.create());
    const secret = randomBytes(32);
    // Of several processes that begin together one wins, and all use its root.
    await this.#add(1, name, secret, by);
    secret.fill(0);
    await this.refresh();
    const opened = await this.root();
    if (opened === undefined) throw new TollgateError('vault_unavailable', 'The vault could not be made');
    return opened;
  }

  /** Registers the provider's current key as the next version. Rejects with `usage` when it is registered already. */
  async add(name: string, by: string): Promise<VaultKey> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      await this.refresh();
      const known = this.#keys.find(({ key }) => key === name);
      if (known !== undefined) {
        if (known.state === 'active') return known;
        throw new TollgateError('usage', `The master key ${name} is in use already, as version ${known.version}`);
      }
      const secret = await this.#secret();
      try {
        await this.#add((this.#keys.at(-1)?.version ?? 0) + 1, name, secret, by);
      } finally {
        secret.fill(0);
      }
    }
    throw new TollgateError('vault_unavailable', 'Another gateway rotates the keys of this vault at the same time');
  }

  /** The key that wraps new data keys. */
  async active(): Promise<WrappingKey> {
    if (this.#deps.clock.monotonic() - this.#readAt > REGISTRY_AGE) await this.refresh();
    const key = this.#keys.find(({ state }) => state === 'active');
    if (key === undefined) throw new TollgateError('vault_unavailable', 'The vault has no master key for new secrets');
    return this.#wrappingKey(key);
  }

  /** Any key that is not destroyed. */
  async version(version: number): Promise<WrappingKey> {
    let key = this.#keys.find((candidate) => candidate.version === version);
    if (key === undefined) {
      await this.refresh();
      key = this.#keys.find((candidate) => candidate.version === version);
    }
    if (key === undefined || key.state === 'destroyed') {
      throw wrong(`The vault has no master key of version ${version}${key === undefined ? '' : ': it was destroyed'}`);
    }
    return this.#wrappingKey(key);
  }

  async refresh(): Promise<void> {
    this.#keys = await this.#deps.records.keys();
    this.#readAt = this.#deps.clock.monotonic();
  }

  close(): Promise<void> {
    this.#cache.clear();
    this.#root?.heads.fill(0);
    this.#root?.fingerprints.fill(0);
    this.#root = undefined;
    return this.#deps.provider.close();
  }

  async #open(): Promise<RootKeys | undefined> {
    await this.refresh();
    if (this.#keys.length === 0) return undefined;
    const names = await this.#deps.provider.keys();
    const active = this.#keys.find(({ state }) => state === 'active');
    if (active === undefined) throw wrong('The vault has no active master key');
    if (!names.includes(active.key)) {
      throw wrong(
        `This vault was made with the master key ${active.key}, and the key provider (${this.#deps.provider.kind}) has ${names.length === 0 ? 'none' : `only ${names.join(', ')}`}. Put that key back; no other can open it`,
      );
    }
    const secret = await this.#secret();
    this.#root = {
      heads: deriveKey(secret, NO_SALT, 'tgv1 heads'),
      fingerprints: deriveKey(secret, NO_SALT, 'tgv1 fingerprints'),
    };
    secret.fill(0);
    return this.#root;
  }

  async #secret(): Promise<Buffer> {
    const active = this.#keys.find(({ state }) => state === 'active');
    if (active === undefined) throw wrong('The vault has no active master key');
    return open(active.check, rootPlace(active.version), this.#wrappingKey(active));
  }

  async #add(version: number, name: string, secret: Buffer, by: string): Promise<void> {
    const key = this.#wrappingKey({ version, key: name });
    const check = await seal(secret, rootPlace(version), key);
    const at = Math.floor(this.#deps.clock.wall());
    await this.#deps.records.addKey({ version, key: name, state: 'active', check, at, by });
    this.#wrapping.delete(version);
  }

  #wrappingKey({ version, key }: Pick<VaultKey, 'version' | 'key'>): WrappingKey {
    const known = this.#wrapping.get(version);
    if (known !== undefined && known.key === key) return known;
    const { provider } = this.#deps;
    const made: WrappingKey = {
      version,
      key,
      wrap: (dataKey, context) => provider.wrap(key, dataKey, context),
      unwrap: (wrapped, context) => {
        const ask = () => provider.unwrap(key, wrapped, context);
        return provider.remote ? this.#cache.get(key, wrapped, context, ask) : ask();
      },
    };
    this.#wrapping.set(version, made);
    return made;
  }
}

const NO_SALT = Buffer.alloc(0);

/** The root stands for the vault itself: sealed once under every version of the master key, it is their check value. */
function rootPlace(version: number): Place {
  return { ownerKind: 'gateway', owner: '', record: 'root', purpose: 'root', name: 'root', version };
}
