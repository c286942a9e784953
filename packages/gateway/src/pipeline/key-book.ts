/**
 * The API keys of a gateway: in memory for every request, in storage for good. A withdrawal is in force here before it
 * is stored; gateways that share a storage follow each other's changes within a second.
 */
import type { Clock } from '../core/clock.ts';
import { TollgateError } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import { keyDigest, makeKey } from '../identity/key-format.ts';
import type { IssuedKey, KeySource } from '../identity/keys.ts';
import { everything } from '../store/everything.ts';
import type { NewKey, Page, Storage, StoredKey } from '../store/storage.ts';
import { Follower } from './follower.ts';
import { KeyTable } from './key-table.ts';

/** Keys in force at one time, of all entries: about 860 bytes each. */
const MAX_KEYS = 100_000;
/** Withdrawals that could not be read for so long may have been missed: then no key is accepted. */
const MAX_AGE = 300_000;
/** How often last uses are written. */
const USES = 60_000;

interface KeyBookDeps {
  readonly clock: Clock;
  readonly log: Log;
  /** Undefined: nothing lasts, so there are no keys. */
  readonly storage: Storage | undefined;
  /** True: other gateways change the same storage. */
  readonly shared: boolean;
  /** Milliseconds between two looks at the storage. Default 1000. */
  readonly poll?: number;
}

export type KeyRequest = Omit<NewKey, 'id' | 'digest' | 'createdAt' | 'createdBy'>;

/** A key as it is shown: nothing of it opens anything. */
export type KeyInfo = Omit<StoredKey, 'digest'> & { readonly state: 'active' | 'expired' | 'revoked' };

export class KeyBook implements KeySource {
  readonly #deps: KeyBookDeps;
  readonly #follower: Follower;
  #keys = new KeyTable();
  /** Withdrawn here and not stored yet: reading the storage must not bring them back. */
  readonly #unstored = new Set<string>();
  #uses = new Map<string, number>();
  #usesWritten: number;
  #version: string | undefined;
  #readAt: number;
  #stale = false;
  #revision = 0;
  #withdrawn: () => void = () => {};
  /** Reads and writes take turns: a read that began before a key was stored would forget it. */
  #turn: Promise<unknown> = Promise.resolve();

  /** Reads the keys; with a storage that is away there are none, and it goes on trying. */
  static async open(deps: KeyBookDeps): Promise<KeyBook> {
    const book = new KeyBook(deps);
    const { storage } = deps;
    if (storage !== undefined) {
      await book.#read(storage);
      void book.#follower.follow(() => book.#look(storage));
    }
    return book;
  }

  private constructor(deps: KeyBookDeps) {
    this.#deps = deps;
    this.#follower = new Follower(deps.log, 'API keys cannot be read', deps.poll);
    this.#readAt = deps.storage === undefined ? Infinity : -Infinity;
    this.#usesWritten = deps.clock.monotonic();
  }

  get revision(): number {
    return this.#revision;
  }

  /** True: so long out of touch with the storage that no key is accepted. */
  get stale(): boolean {
    return this.#deps.clock.monotonic() - this.#readAt > MAX_AGE;
  }

  get known(): number | undefined {
    return this.#stale || this.#readAt === -Infinity ? undefined : this.#keys.size;
  }

  find(id: string): IssuedKey | undefined {
    return this.#stale ? undefined : this.#keys.get(id);
  }

  used(id: string, wall: number): void {
    if (this.#uses.size < MAX_KEYS || this.#uses.has(id)) this.#uses.set(id, wall);
  }

  /** Keys of a subject of an entry that are in force. */
  of(entry: string, subject: string): readonly IssuedKey[] {
    return this.#keys.of(entry, subject);
  }

  /** Calls back after a key was withdrawn, expired ones included: what it opened must end. */
  whenWithdrawn(listener: () => void): void {
    this.#withdrawn = listener;
  }

  /**
   * Makes a key; it is accepted here when this resolves. `replaces`: the key before ends after `overlap` milliseconds,
   * 0 at once. The result is the only time that anybody sees the key. Rejects with `storage_unavailable` when it cannot
   * be stored, and with `invalid_params` when there are too many keys.
   */
  async create(
    request: KeyRequest,
    by: string,
    replaces?: { readonly id: string; readonly overlap: number },
  ): Promise<{ readonly key: string; readonly info: KeyInfo }> {
    const storage = this.#storage();
    if (this.#keys.size >= MAX_KEYS) {
      throw new TollgateError('invalid_params', `There are ${MAX_KEYS} keys in force: revoke some`, { http: 409 });
    }
    const { id, key } = makeKey();
    const now = Math.floor(this.#deps.clock.wall());
    const digest = keyDigest(key);
    const record: NewKey = { ...request, id, digest: digest.toString('hex'), createdAt: now, createdBy: by };
    const ended = replaces === undefined ? undefined : { id: replaces.id, until: now + replaces.overlap };
    await this.#inTurn(async () => {
      await storage.keys.add(record, ended);
      this.#keys.put(issued(record, digest));
      if (ended !== undefined) this.#shorten(ended.id, ended.until);
    });
    const stored: StoredKey = { ...record, lastUsedAt: undefined, revokedAt: undefined, revokedBy: undefined };
    return { key, info: infoOf(stored, now) };
  }

  /** False: there is no such key, or it is revoked already. Refused from this moment on, whether it is stored or not. */
  async revoke(id: string, by: string): Promise<boolean> {
    const storage = this.#storage();
    const at = Math.floor(this.#deps.clock.wall());
    const known = this.#keys.delete(id);
    if (known) {
      this.#unstored.add(id);
      this.#changed();
    }
    try {
      return await this.#inTurn(async () => {
        const revoked = await storage.keys.revoke(id, by, at);
        this.#unstored.delete(id);
        return revoked || known;
      });
    } catch (error) {
      if (known) void this.#insist(storage, id, by, at);
      throw error;
    }
  }

  /** Keys by id, those that are over included, with uses that are not written yet. */
  async list(part: { readonly limit?: number; readonly after?: string }): Promise<Page<KeyInfo>> {
    const { items, next } = await this.#storage().keys.list(part);
    return { next, items: items.map((key) => this.#shown(key)) };
  }

  /** One key, also one that is over; undefined: there never was one of that id. */
  async infoOf(id: string): Promise<KeyInfo | undefined> {
    const key = await this.#storage().keys.get(id);
    return key === undefined ? undefined : this.#shown(key);
  }

  /** Writes the last uses and stops following. */
  async close(): Promise<void> {
    this.#follower.close();
    const { storage } = this.#deps;
    if (storage !== undefined) await this.#writeUses(storage);
  }

  #shown(key: StoredKey): KeyInfo {
    const used = this.#uses.get(key.id);
    const lastUsedAt = used === undefined ? key.lastUsedAt : Math.max(key.lastUsedAt ?? 0, used);
    return infoOf({ ...key, lastUsedAt }, this.#deps.clock.wall());
  }

  #storage(): Storage {
    const { storage } = this.#deps;
    if (storage !== undefined) return storage;
    throw new TollgateError('storage_unavailable', 'This gateway keeps nothing, so it has no keys');
  }

  #shorten(id: string, until: number): void {
    const key = this.#keys.get(id);
    if (key === undefined || (key.expiresAt ?? Infinity) <= until) return;
    this.#keys.put({ ...key, expiresAt: until });
    this.#keys.expire(this.#deps.clock.wall());
    this.#changed();
  }

  #changed(): void {
    this.#revision++;
    this.#withdrawn();
  }

  async #look(storage: Storage): Promise<void> {
    const { clock, shared } = this.#deps;
    // Alone on its storage a gateway knows every change: it made them all.
    if (shared || this.#version === undefined) await this.#read(storage);
    if (clock.monotonic() - this.#usesWritten >= USES) await this.#writeUses(storage);
    this.#judgeAge();
    if (this.#keys.expire(clock.wall())) this.#changed();
  }

  #judgeAge(): void {
    const stale = this.stale;
    if (stale === this.#stale) return;
    this.#stale = stale;
    if (!stale) return;
    this.#deps.log.error({ seconds: MAX_AGE / 1000 }, 'API keys could not be read for too long: none is accepted');
    this.#changed();
  }

  #inTurn<T>(run: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(run);
    this.#turn = done.catch(() => undefined);
    return done;
  }

  #read(storage: Storage): Promise<boolean> {
    return this.#inTurn(() => this.#follower.look(() => this.#readNow(storage)));
  }

  async #readNow(storage: Storage): Promise<void> {
    const { clock, shared } = this.#deps;
    const version = await storage.keys.version();
    if (version !== this.#version) {
      const at = Math.floor(clock.wall());
      const stored = await everything((part) => storage.keys.list({ ...part, at }), undefined, MAX_KEYS);
      this.#load(stored, version);
    }
    this.#readAt = shared ? clock.monotonic() : Infinity;
    this.#judgeAge();
  }

  #load(stored: readonly StoredKey[], version: string): void {
    if (stored.length > MAX_KEYS) {
      this.#deps.log.error(
        { keys: stored.length, most: MAX_KEYS },
        'there are too many API keys: the last are refused',
      );
    }
    const before = this.#keys;
    this.#keys = new KeyTable();
    for (const record of stored.slice(0, MAX_KEYS)) {
      if (this.#unstored.has(record.id)) continue;
      const known = before.get(record.id);
      // A key never changes but for its end; the same object keeps the same principal.
      this.#keys.put(known?.expiresAt === record.expiresAt && known !== undefined ? known : issued(record));
    }
    const first = this.#version === undefined;
    this.#version = version;
    if (!first && [...before.values()].some((key) => this.#keys.get(key.id) !== key)) this.#changed();
  }

  /** The key is refused here meanwhile. */
  #insist(storage: Storage, id: string, by: string, at: number): Promise<void> {
    const revoke = () => this.#inTurn(() => storage.keys.revoke(id, by, at));
    return this.#follower.until(async () => {
      const revoked = await revoke().then(
        () => true,
        () => false,
      );
      if (revoked) this.#unstored.delete(id);
      return revoked;
    });
  }

  /** What is not written is not worth a failure: the next use is written again. */
  async #writeUses(storage: Storage): Promise<void> {
    this.#usesWritten = this.#deps.clock.monotonic();
    if (this.#uses.size === 0) return;
    const uses = [...this.#uses].map(([id, at]) => ({ id, at: Math.floor(at) }));
    this.#uses = new Map();
    await storage.keys.used(uses).catch(() => undefined);
  }
}

function issued(record: NewKey, digest: Buffer = Buffer.from(record.digest, 'hex')): IssuedKey {
  const { id, entry, subject, tenant, tier, roles, scopes, expiresAt } = record;
  return { id, entry, subject, tenant, tier, roles, scopes, digest, expiresAt };
}

function infoOf({ digest: _, ...key }: StoredKey, now: number): KeyInfo {
  const over = key.expiresAt !== undefined && key.expiresAt <= now;
  return { ...key, state: key.revokedAt !== undefined ? 'revoked' : over ? 'expired' : 'active' };
}
