/**
 * Tiers, grants, stops and blocks: in memory for every decision, in storage for good. A change is stored before it is in
 * force, with a record of who made it; gateways that share a storage follow each other's changes within a second.
 */

import { BlockBook } from '../access/blocks.ts';
import { GrantBook } from '../admission/grants.ts';
import { StopBook } from '../admission/stops.ts';
import { TierBook } from '../admission/tiers.ts';
import type { Clock } from '../core/clock.ts';
import { TollgateError } from '../core/errors.ts';
import { randomId } from '../core/ids.ts';
import type { Log } from '../core/log.ts';
import type { Block, Grant, Stop } from '../core/operator-records.ts';
import { everything } from '../store/everything.ts';
import type { Storage } from '../store/storage.ts';
import { Follower } from './follower.ts';

/** The setting that changes with every change of the books, so that following them is one small read. */
const VERSION = 'books_version';
/** Stops that could not be read for so long may have changed: money is refused rather than spent past a stop. */
const MAX_AGE = 15_000;

interface BooksDeps {
  readonly clock: Clock;
  readonly log: Log;
  /** Undefined: nothing lasts (a library gateway without a data folder). */
  readonly storage: Storage | undefined;
  /** True: other gateways change the same storage. */
  readonly shared: boolean;
}

export class Books {
  readonly tiers: TierBook = new TierBook();
  readonly grants: GrantBook = new GrantBook();
  readonly stops: StopBook = new StopBook();
  readonly blocks: BlockBook = new BlockBook();
  /** Called when somebody is blocked, here or by another gateway; who is in already has to go. */
  onBlocked: () => void = () => undefined;
  readonly #deps: BooksDeps;
  readonly #follower: Follower;
  /** In force but not stored yet: reading the storage must not forget them. */
  readonly #unstored = new Unstored<Stop>();
  readonly #unstoredBlocks = new Unstored<Block>();
  #version: string | undefined;
  #readAt: number;

  /** Reads what is stored; with a storage that is away it starts empty, closed for money, and goes on trying. */
  static async open(deps: BooksDeps): Promise<Books> {
    const books = new Books(deps);
    if (deps.storage === undefined) return books;
    const { storage, shared } = deps;
    const read = await books.#read(storage);
    // Alone on its storage a gateway knows every change: it made them all.
    if (!read || shared) void books.#follower.until(async () => (await books.#read(storage)) && !shared);
    return books;
  }

  private constructor(deps: BooksDeps) {
    this.#deps = deps;
    this.#follower = new Follower(deps.log, 'stops cannot be read');
    this.#readAt = deps.storage === undefined ? Infinity : -Infinity;
  }

  /** True: stops of the storage may have been missed, so nothing may spend. */
  get stale(): boolean {
    return this.#deps.clock.monotonic() - this.#readAt > MAX_AGE;
  }

  /** Rejects with `invalid_params` for an unknown tier, with `storage_unavailable` when it cannot be stored. */
  async setTier(principal: string, tier: string, by: string): Promise<void> {
    if (!this.tiers.known.has(tier)) {
      throw new TollgateError('invalid_params', `No tier ${tier}; there are ${[...this.tiers.known].join(', ')}`);
    }
    await this.#store(by, 'tier', { principal, tier }, (storage, at) => storage.tiers.setTier(principal, tier, by, at));
    this.tiers.set(principal, tier);
  }

  async grant(grant: Omit<Grant, 'id' | 'at'>): Promise<Grant> {
    const made: Grant = { ...grant, id: `grant-${randomId(12)}`, at: Math.floor(this.#deps.clock.wall()) };
    await this.#store(grant.by, 'grant', made, (storage) => storage.grants.add(made));
    this.grants.add(made);
    return made;
  }

  /** False: no such grant. */
  async revoke(id: string, by: string): Promise<boolean> {
    await this.#store(by, 'revoke', { id }, (storage, at) => storage.grants.revoke(id, by, at));
    return this.grants.revoke(id) !== undefined;
  }

  /**
   * Throws `config_invalid` for a pattern that cannot be read. The stop is in force when this is called: an emergency must not
   * wait for a database. Rejects with `storage_unavailable` when it is not stored yet; then that is tried until it is.
   */
  async stop(stop: Omit<Stop, 'id' | 'at'>): Promise<Stop> {
    const made: Stop = { ...stop, id: `stop-${randomId(12)}`, at: Math.floor(this.#deps.clock.wall()) };
    this.stops.add(made);
    await this.#keep('stop', made, this.#unstored, this.stops, ({ stops }) => stops);
    return made;
  }

  /** False: no such stop. It is lifted only when that is stored. */
  async resume(id: string, by: string): Promise<boolean> {
    await this.#store(by, 'resume', { id }, (storage, at) => storage.stops.lift(id, by, at));
    this.#unstored.forget(id);
    return this.stops.lift(id) !== undefined;
  }

  /** In force when it is called, and stored at once or later, like a stop. */
  async block(block: Omit<Block, 'id' | 'at'>): Promise<Block> {
    const made: Block = { ...block, id: `block-${randomId(12)}`, at: Math.floor(this.#deps.clock.wall()) };
    this.blocks.add(made);
    this.onBlocked();
    await this.#keep('block', made, this.#unstoredBlocks, this.blocks, ({ blocks }) => blocks);
    return made;
  }

  /** False: no such block. It is lifted only when that is stored. */
  async unblock(id: string, by: string): Promise<boolean> {
    await this.#store(by, 'unblock', { id }, (storage, at) => storage.blocks.lift(id, by, at));
    this.#unstoredBlocks.forget(id);
    return this.blocks.lift(id) !== undefined;
  }

  /** A limit latched: the stop is in the book already and must get into storage, whatever it takes. */
  latched(stop: Stop): void {
    const { log } = this.#deps;
    log.error({ stop }, 'a limit was reached and has shut itself until it is resumed');
    // Nobody waits for it; that storage is away is said where it is found out.
    void this.#keep('latch', stop, this.#unstored, this.stops, ({ stops }) => stops).catch(() => undefined);
  }

  /** Keeps who did something that changes no book. */
  async record(by: string, action: string, details: object): Promise<void> {
    const { storage, clock } = this.#deps;
    const at = Math.floor(clock.wall());
    await storage?.actions.append({ id: randomId(16), at, by, action, details: JSON.stringify(details) });
  }

  close(): void {
    this.#follower.close();
  }

  async #store(
    by: string,
    action: string,
    details: object,
    write: (storage: Storage, at: number) => Promise<unknown>,
  ): Promise<void> {
    const { storage, clock } = this.#deps;
    if (storage === undefined) return;
    await write(storage, Math.floor(clock.wall()));
    await this.#changed(storage, by, action, details);
  }

  async #changed(storage: Storage, by: string, action: string, details: object): Promise<void> {
    await this.record(by, action, details);
    await storage.settings.set(VERSION, randomId(12));
  }

  /** Stores what is in force already, now or as soon as the storage takes it, unless it was lifted before. */
  async #keep<T extends Stop | Block>(
    action: string,
    made: T,
    unstored: Unstored<T>,
    book: { lift(id: string): unknown },
    table: (storage: Storage) => Kept<T>,
  ): Promise<void> {
    const { storage, clock } = this.#deps;
    if (storage === undefined) return;
    unstored.add(made);
    const write = async (): Promise<void> => {
      if (!unstored.has(made)) return;
      await table(storage).add(made);
      // Lifted while it was written: the end came first to a storage that did not know it.
      if (!unstored.has(made)) await table(storage).lift(made.id, made.by, Math.floor(clock.wall()));
      await this.#changed(storage, made.by, action, made);
      unstored.stored(made);
    };
    try {
      await write();
    } catch (thrown) {
      const error = TollgateError.from(thrown);
      if (error.code !== 'storage_unavailable') {
        unstored.forget(made.id);
        book.lift(made.id);
        throw error;
      }
      void this.#insist(write);
      const what = `In force at this gateway, but not stored yet: ${error.message}.`;
      throw new TollgateError(
        'storage_unavailable',
        `${what} It is tried again until it is; other gateways do not know of it before, and a restart forgets it.`,
        { cause: error },
      );
    }
  }

  async #insist(write: () => Promise<void>): Promise<void> {
    const written = (): Promise<boolean> =>
      write().then(
        () => true,
        () => false,
      );
    if (!(await written())) await this.#follower.until(written);
  }

  /** False: the storage is away; what was read before stays in force. */
  #read(storage: Storage): Promise<boolean> {
    return this.#follower.look(async () => {
      const version = (await storage.settings.get(VERSION)) ?? '';
      if (version !== this.#version) {
        const now = this.#deps.clock.wall();
        this.#unstored.beginRead();
        this.#unstoredBlocks.beginRead();
        const [tiers, grants, stops, blocks] = await Promise.all([
          everything((part) => storage.tiers.allTiers(part)),
          storage.grants.active(now),
          storage.stops.active(now),
          storage.blocks.active(now),
        ]);
        this.tiers.load(tiers.map(({ principal, tier }) => [principal, tier]));
        this.grants.load(grants);
        this.stops.load([...stops, ...this.#unstored.unread]);
        if (this.blocks.load([...blocks, ...this.#unstoredBlocks.unread])) this.onBlocked();
        this.#version = version;
      }
      this.#readAt = this.#deps.shared ? this.#deps.clock.monotonic() : Infinity;
    });
  }
}

/** A table of what is in force until it is lifted. */
interface Kept<T> {
  /** A second time it changes nothing. */
  add(made: T): Promise<unknown>;
  lift(id: string, by: string, at: number): Promise<unknown>;
}

/** What is in force and may be missing in what is read of the storage. */
class Unstored<T extends { readonly id: string }> {
  readonly #made = new Set<T>();
  /** With those that were stored since the last read began: it may have looked before. */
  #unread = new Set<T>();

  get unread(): Iterable<T> {
    return this.#unread;
  }

  beginRead(): void {
    this.#unread = new Set(this.#made);
  }

  add(made: T): void {
    this.#made.add(made);
    this.#unread.add(made);
  }

  has(made: T): boolean {
    return this.#made.has(made);
  }

  stored(made: T): void {
    this.#made.delete(made);
  }

  forget(id: string): void {
    for (const made of this.#unread) {
      if (made.id !== id) continue;
      this.#made.delete(made);
      this.#unread.delete(made);
    }
  }
}
