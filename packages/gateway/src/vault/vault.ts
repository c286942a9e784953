/** The vault: secrets that can be used and never be read back. See `docs/vault.md`. */
import { setTimeout as pauseFor } from 'node:timers/promises';
import type { Clock } from '../core/clock.ts';
import { TollgateError } from '../core/errors.ts';
import { randomId } from '../core/ids.ts';
import { keepNewest } from '../core/keep-newest.ts';
import type { Log } from '../core/log.ts';
import type { SecretId, SecretInfo, SecretOwner, SecretPurpose, Secrets, SecretWrite } from '../core/secrets.ts';
import type { StoredHead, VaultHead, VaultRecords, VaultVersion } from '../core/vault-records.ts';
import { open, seal } from './envelope.ts';
import {
  checkId,
  checkLabels,
  fingerprintOf,
  infoOf,
  MAX_VALUE,
  ownerColumns,
  placeOf,
  slotOf,
  tagged,
  verifyHead,
} from './heads.ts';
import type { KeyProvider } from './key-provider.ts';
import { Keyring, type RootKeys } from './keyring.ts';
import { Leases } from './leases.ts';
import { Rotation } from './rotation.ts';

/** What happened to a secret, for the log, the record of actions and webhooks. Never holds a value. */
export interface VaultEvent {
  readonly kind:
    | 'set'
    | 'removed'
    | 'revoked'
    | 'used'
    | 'rolled_back'
    | 'rotated'
    | 'rewrapped'
    | 'retired'
    | 'destroyed';
  readonly at: number;
  readonly by: string;
  readonly id?: SecretId | undefined;
  readonly version?: number | undefined;
  readonly reason?: string | undefined;
}

export interface VaultDeps {
  readonly records: VaultRecords;
  readonly provider: KeyProvider;
  readonly clock: Clock;
  readonly log: Log;
  readonly onEvent?: (event: VaultEvent) => void;
}

const ATTEMPTS = 20;
/** `lastUsedAt` is exact to this many milliseconds: a write for every use would cost more than the use. */
const USED_EVERY = 60_000;
const MAX_REMEMBERED = 10_000;

interface Found {
  readonly head: StoredHead;
  readonly versions: readonly VaultVersion[];
  readonly root: RootKeys;
}

export class Vault implements Secrets {
  readonly rotation: Rotation;
  readonly #deps: VaultDeps;
  readonly #keyring: Keyring;
  readonly #leases: Leases;
  /** The highest version seen of each secret: a database that goes back behind it was tampered with. */
  readonly #seen = new Map<string, number>();
  readonly #usedAt = new Map<string, number>();

  constructor(deps: VaultDeps) {
    this.#deps = deps;
    this.#keyring = new Keyring(deps);
    this.#leases = new Leases(deps.records, deps.clock);
    this.rotation = new Rotation({
      ...deps,
      keyring: this.#keyring,
      leases: this.#leases,
      reseal: (head) => this.#reseal(head),
    });
  }

  /**
   * Proves that the key provider has this vault's key. False: the vault is empty, and no key is needed yet. Rejects with
   * `vault_key_wrong`, and with `vault_unavailable` when nobody can tell now.
   */
  async verify(): Promise<boolean> {
    return this.#guarded(async () => (await this.#keyring.root()) !== undefined);
  }

  get(id: SecretId, reason: string): Promise<string | undefined> {
    return this.#guarded(async () => {
      const found = await this.#find(id);
      if (found === undefined || !this.#usable(found.head)) return undefined;
      const value = await this.#opened(found, found.head.version);
      this.#use(id, found.head, reason);
      return value;
    });
  }

  previous(id: SecretId, reason: string): Promise<string | undefined> {
    return this.#guarded(async () => {
      const found = await this.#find(id);
      if (found === undefined || !this.#usable(found.head)) return undefined;
      if (found.head.overlapUntil <= this.#now()) return undefined;
      const value = await this.#opened(found, found.head.version - 1);
      this.#use(id, found.head, reason);
      return value;
    });
  }

  info(id: SecretId): Promise<SecretInfo | undefined> {
    return this.#guarded(async () => {
      const found = await this.#find(id);
      return found === undefined || found.head.state === 'removed' ? undefined : infoOf(found.head, this.#now());
    });
  }

  put(id: SecretId, value: string, write: SecretWrite): Promise<SecretInfo> {
    return this.#guarded(async () => {
      checkId(id);
      const labels = checkLabels(write.labels);
      const bytes = Buffer.from(value);
      try {
        if (bytes.length === 0 || bytes.length > MAX_VALUE || !value.isWellFormed()) {
          throw new TollgateError('invalid_params', 'The value of a secret is text of 1 byte to 64 KiB', { http: 400 });
        }
        const written = await this.#write(id, bytes, write.by, (before, now) => ({
          createdAt: before === undefined || before.state === 'removed' ? now : before.createdAt,
          expiresAt: write.expiresAt,
          labels,
          overlapUntil: before?.state === 'active' && (write.overlap ?? 0) > 0 ? now + Math.floor(write.overlap!) : 0,
        }));
        this.#tell({ kind: 'set', at: written.updatedAt, by: write.by, id, version: written.version });
        return infoOf(written, this.#now());
      } finally {
        bytes.fill(0);
      }
    });
  }

  remove(id: SecretId, by: string): Promise<boolean> {
    return this.#close(id, 'removed', by, '');
  }

  revoke(id: SecretId, by: string, reason: string): Promise<boolean> {
    return this.#close(id, 'revoked', by, reason);
  }

  list(owner: SecretOwner | 'all', purpose?: SecretPurpose): Promise<readonly SecretInfo[]> {
    return this.#guarded(async () => {
      const query = owner === 'all' ? { purpose } : { ...ownerColumns(owner), purpose };
      const heads = await this.#deps.records.list(query);
      return heads.map((head) => infoOf(head, this.#now()));
    });
  }

  /** Beware: `run` must not ask for the same secret alone again, it would wait for itself. */
  async exclusive<T>(id: SecretId, run: () => Promise<T>): Promise<T> {
    checkId(id);
    // What `run` throws is its own and passes as it is.
    return this.#leases.run(slotOf(id), run).catch((error: unknown) => {
      throw unavailable(error);
    });
  }

  close(): Promise<void> {
    return this.#keyring.close();
  }

  #now(): number {
    return Math.floor(this.#deps.clock.wall());
  }

  #usable(head: StoredHead): boolean {
    return head.state === 'active' && (head.expiresAt === undefined || head.expiresAt > this.#now());
  }

  /** The record, proved to be the one that this vault wrote last. */
  async #find(id: SecretId): Promise<Found | undefined> {
    checkId(id);
    const root = await this.#keyring.root();
    if (root === undefined) return undefined;
    const slot = slotOf(id);
    const { head, versions } = await this.#deps.records.read(slot);
    const seen = this.#seen.get(slot) ?? 0;
    if (head !== undefined) verifyHead(head, slot, root.heads);
    if ((head?.version ?? 0) < seen) {
      this.#tell({ kind: 'rolled_back', at: this.#now(), by: 'gateway', id, version: head?.version });
      throw new TollgateError(
        'vault_unavailable',
        `The secret ${id.name} went back to an older version: the database was restored or tampered with. Restart the gateway if you restored it`,
      );
    }
    if (head === undefined) return undefined;
    this.#remember(slot, head.version);
    return { head, versions, root };
  }

  async #opened({ head, versions }: Found, version: number): Promise<string | undefined> {
    const row = versions.find((candidate) => candidate.version === version);
    if (row === undefined) {
      if (version < head.version) return undefined;
      throw new TollgateError('vault_unavailable', `The value of the secret ${head.name} is missing from the database`);
    }
    const bytes = await open(row.envelope, placeOf(head, version), await this.#keyring.version(row.kek));
    try {
      return bytes.toString();
    } finally {
      bytes.fill(0);
    }
  }

  async #write(
    id: SecretId,
    value: Buffer,
    by: string,
    facts: (
      before: StoredHead | undefined,
      now: number,
    ) => Pick<VaultHead, 'createdAt' | 'expiresAt' | 'labels' | 'overlapUntil'> & Partial<Pick<VaultHead, 'updatedAt'>>,
  ): Promise<StoredHead> {
    const root = await this.#keyring.rootOrNew(by);
    for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
      const before = (await this.#find(id))?.head;
      const now = this.#now();
      const head = tagged(
        {
          slot: slotOf(id),
          record: before?.record ?? randomId(26),
          ...ownerColumns(id.owner),
          purpose: id.purpose,
          name: id.name,
          version: (before?.version ?? 0) + 1,
          state: 'active',
          fingerprint: fingerprintOf(value, root.fingerprints),
          updatedAt: now,
          updatedBy: by,
          reason: '',
          ...facts(before, now),
        },
        root.heads,
      );
      const key = await this.#keyring.active();
      const envelope = await seal(value, placeOf(head), key);
      const row = { slot: head.slot, version: head.version, envelope, kek: key.version };
      if (await this.#put(head, row)) {
        this.#remember(head.slot, head.version);
        return { ...head, lastUsedAt: before?.lastUsedAt };
      }
      await pauseFor(Math.random() * 10 * attempt);
    }
    throw new TollgateError('vault_unavailable', `Too many write the secret ${id.name} at the same time`, {
      retryAfterSeconds: 1,
    });
  }

  /** False: somebody was faster, or the key was retired meanwhile; both are tried again with what is there now. */
  async #put(head: VaultHead, row: VaultVersion): Promise<boolean> {
    try {
      return await this.#deps.records.put(head, row);
    } catch (error) {
      if (!TollgateError.is(error) || error.code !== 'vault_unavailable') throw error;
      await this.#keyring.refresh();
      return false;
    }
  }

  /** The same value under a new data key, as the next version; whatever was known of the old data key opens nothing. */
  async #reseal(head: StoredHead): Promise<boolean> {
    const { id } = infoOf(head, this.#now());
    return this.exclusive(id, async () => {
      const found = await this.#find(id);
      if (found === undefined || found.head.state !== 'active') return false;
      // The value is as old as before: who looks for secrets that should be changed must find it.
      const { createdAt, updatedAt, expiresAt, labels, updatedBy } = found.head;
      const value = Buffer.from((await this.#opened(found, found.head.version)) ?? '');
      try {
        await this.#write(id, value, updatedBy, () => ({
          createdAt,
          updatedAt,
          expiresAt,
          labels,
          overlapUntil: 0,
        }));
        return true;
      } finally {
        value.fill(0);
      }
    });
  }

  #close(id: SecretId, state: 'removed' | 'revoked', by: string, reason: string): Promise<boolean> {
    return this.#guarded(async () => {
      for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
        const found = await this.#find(id);
        if (found === undefined || found.head.state === 'removed') return false;
        if (found.head.state === state) return true;
        const { lastUsedAt: _, tag: __, ...head } = found.head;
        const at = this.#now();
        const kept = state === 'removed' ? { labels: '{}', fingerprint: '' } : {};
        const closed = { ...head, ...kept, state, reason, updatedAt: at, updatedBy: by, overlapUntil: 0 };
        if (await this.#deps.records.close(tagged(closed, found.root.heads))) {
          this.#tell({ kind: state, at, by, id, version: head.version, reason });
          return true;
        }
      }
      throw new TollgateError('vault_unavailable', `Too many write the secret ${id.name} at the same time`);
    });
  }

  #use(id: SecretId, head: StoredHead, reason: string): void {
    const now = this.#now();
    const before = this.#usedAt.get(head.slot) ?? head.lastUsedAt ?? 0;
    if (now - before < USED_EVERY) return;
    bounded(this.#usedAt, head.slot, now);
    this.#tell({ kind: 'used', at: now, by: 'gateway', id, version: head.version, reason });
    this.#deps.records.used(head.slot, now).catch((error: unknown) => {
      this.#deps.log.warn({ err: error, secret: id.name }, 'the last use of a secret could not be noted');
    });
  }

  #remember(slot: string, version: number): void {
    bounded(this.#seen, slot, Math.max(version, this.#seen.get(slot) ?? 0));
  }

  #tell(event: VaultEvent): void {
    this.#deps.onEvent?.(event);
  }

  async #guarded<T>(run: () => Promise<T>): Promise<T> {
    try {
      return await run();
    } catch (error) {
      throw unavailable(error);
    }
  }
}

/** The latest stay. */
function bounded(map: Map<string, number>, key: string, value: number): void {
  map.delete(key);
  map.set(key, value);
  keepNewest(map, MAX_REMEMBERED);
}

/** A storage that is away makes the vault unavailable; everything else is what it is. */
function unavailable(error: unknown): unknown {
  if (!TollgateError.is(error) || error.code !== 'storage_unavailable') return error;
  return new TollgateError('vault_unavailable', `The vault cannot be used: ${error.message}`, {
    cause: error,
    retryAfterSeconds: error.retryAfterSeconds ?? 1,
  });
}
