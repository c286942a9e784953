/**
 * The life of master keys: `rotate` makes one for new secrets, `rewrap` moves the data keys of the others to it, `retire`
 * takes the old one out of use once nothing needs it, `destroy` forgets it. All of it while secrets are used, from
 * several processes at once; an interrupted step is simply asked for again.
 */
import { setTimeout as pauseFor } from 'node:timers/promises';
import type { Clock } from '../core/clock.ts';
import { TollgateError } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import type { StoredHead, VaultKey, VaultKeyState, VaultRecords, VaultRewrap } from '../core/vault-records.ts';
import { rewrap } from './envelope.ts';
import { placeOf, verifyHead } from './heads.ts';
import type { Keyring } from './keyring.ts';
import type { Leases } from './leases.ts';
import type { VaultEvent } from './vault.ts';

export interface KeyView {
  readonly version: number;
  readonly key: string;
  readonly state: VaultKeyState;
  /** Sealed values that need it. */
  readonly values: number;
  readonly at: number;
  readonly by: string;
}

export interface RewrapReport {
  readonly rewrapped: number;
  /** Values that another key still wraps. */
  readonly left: number;
  /** Values that could not be opened: the database or a key is damaged. */
  readonly failed: number;
}

interface Deps {
  readonly records: VaultRecords;
  readonly keyring: Keyring;
  readonly clock: Clock;
  readonly log: Log;
  readonly onEvent?: (event: VaultEvent) => void;
  readonly leases: Leases;
  readonly reseal: (head: StoredHead) => Promise<boolean>;
}

/** Two that change the keys of one provider at once could each undo what the other did: one at a time. */
const KEYS_SLOT = 'master-keys';
const BATCH = 50;
/** Values a second, so that calls do not wait behind a rewrap. */
const RATE = 500;

export class Rotation {
  readonly #deps: Deps;

  constructor(deps: Deps) {
    this.#deps = deps;
  }

  async keys(): Promise<readonly KeyView[]> {
    const { keyring, records } = this.#deps;
    await keyring.refresh();
    const counts = new Map((await records.underEach()).map(({ kek, count }) => [kek, count]));
    return keyring.registry.map(({ check: _, ...key }) => ({ ...key, values: counts.get(key.version) ?? 0 }));
  }

  /** A new version of the master key. Values that were sealed before stay readable and are moved by `rewrap`. */
  rotate(by: string): Promise<VaultKey> {
    return this.#deps.leases.run(KEYS_SLOT, () => this.#rotate(by));
  }

  async #rotate(by: string): Promise<VaultKey> {
    const { keyring } = this.#deps;
    if ((await keyring.root()) === undefined) {
      throw new TollgateError('usage', 'The vault holds nothing yet: its first key is made with the first secret');
    }
    const before = keyring.registry.at(-1)?.version ?? 0;
    const key = await keyring.add(await keyring.provider.rotate(), by);
    if (key.version <= before) {
      throw new TollgateError(
        'usage',
        'The key provider still has the same key first. Put a new one before it (openssl rand -base64 32), restart the gateway with both, then repeat this',
      );
    }
    this.#tell('rotated', by, key.version);
    return key;
  }

  /** Moves every value to the newest key. `signal` ends it early; what is left is found by the next run. */
  async rewrap(
    by: string,
    options: { readonly rate?: number; readonly signal?: AbortSignal } = {},
  ): Promise<RewrapReport> {
    const { records, keyring } = this.#deps;
    const root = await keyring.root();
    if (root === undefined) return { rewrapped: 0, left: 0, failed: 0 };
    await keyring.refresh();
    const target = await keyring.active();
    const rate = options.rate ?? RATE;
    let rewrapped = 0;
    let failed = 0;
    let after = '';
    for (;;) {
      const rows = await records.notUnder(target.version, after, BATCH);
      const list: VaultRewrap[] = [];
      for (const { slot, version, envelope, kek } of rows) {
        try {
          const { head } = await records.read(slot);
          if (head === undefined) continue;
          verifyHead(head, slot, root.heads);
          const to = await rewrap(envelope, placeOf(head, version), await keyring.version(kek), target);
          list.push({ id: `${slot}/${version}`, slot, version, from: envelope, to, kek: target.version });
        } catch (error) {
          // A provider that is away fails the run; one damaged value must not keep all others under an old key.
          if (!TollgateError.is(error) || error.code !== 'vault_key_wrong') throw error;
          failed++;
          this.#deps.log.error({ slot, version, err: error }, 'a sealed value of the vault cannot be rewrapped');
        }
      }
      if (list.length > 0) rewrapped += (await records.rewrap(list)).filter(Boolean).length;
      const last = rows.at(-1);
      if (last === undefined || rows.length < BATCH || options.signal?.aborted === true) break;
      after = last.slot;
      await pauseFor((rows.length / rate) * 1000);
    }
    const left = (await records.underEach()).reduce(
      (sum, { kek, count }) => (kek === target.version ? sum : sum + count),
      0,
    );
    if (rewrapped > 0) this.#tell('rewrapped', by, target.version);
    return { rewrapped, left, failed };
  }

  /** Takes a key out of use. Rejects with `usage` while values need it. */
  async retire(version: number, by: string): Promise<void> {
    if (!(await this.#deps.records.moveKey(version, 'previous', 'retired'))) {
      throw new TollgateError(
        'usage',
        `Version ${version} of the master key cannot be retired: it is the active one, unknown, or secrets still need it (run rewrap first)`,
      );
    }
    this.#tell('retired', by, version);
  }

  /** Forgets a retired key for ever. `confirm` is its name, as `status` shows it. */
  destroy(version: number, confirm: string, by: string): Promise<void> {
    return this.#deps.leases.run(KEYS_SLOT, () => this.#destroy(version, confirm, by));
  }

  async #destroy(version: number, confirm: string, by: string): Promise<void> {
    const { keyring, records } = this.#deps;
    await keyring.refresh();
    const key = keyring.registry.find((candidate) => candidate.version === version);
    if (key === undefined || key.key !== confirm) {
      throw new TollgateError(
        'usage',
        `Confirm with the name of the key of version ${version}, as \`vault status\` shows it`,
      );
    }
    if (!(await records.moveKey(version, 'retired', 'destroyed'))) {
      throw new TollgateError('usage', `Version ${version} of the master key is not retired: retire it first`);
    }
    // The registry first: repeated after a crash it finds the key destroyed and forgets it then.
    await keyring.provider.destroy(key.key);
    this.#tell('destroyed', by, version);
  }

  /** Seals every value anew under new data keys: for when data keys may have been seen. Answers with how many. */
  async reencrypt(by: string): Promise<number> {
    let done = 0;
    for (const head of await this.#deps.records.list({})) {
      if (head.state === 'active' && (await this.#deps.reseal(head))) done++;
    }
    this.#deps.log.info({ by, secrets: done }, 'secrets of the vault were encrypted anew');
    return done;
  }

  #tell(kind: VaultEvent['kind'], by: string, version: number): void {
    this.#deps.onEvent?.({ kind, at: Math.floor(this.#deps.clock.wall()), by, version });
  }
}
