/** What the bridge keeps of what it gives out; the store has it in tables, `MemoryRecords` in this process. */

export type ItemKind = 'state' | 'code' | 'access' | 'refresh';

/** Something that was handed out once and is known again by its digest; `sealed` opens only with what was handed out. */
export interface Item {
  readonly digest: string;
  readonly kind: ItemKind;
  readonly family?: string | undefined;
  readonly sealed: string;
  readonly at: number;
  readonly expiresAt: number;
}

export interface FoundItem extends Item {
  readonly usedAt: number | undefined;
  /** Whether its family was ended. */
  readonly ended: boolean;
}

/** All tokens that come from one sign-in. */
export interface Family {
  readonly id: string;
  readonly entry: string;
  readonly principal: string;
  readonly client: string;
  readonly resource: string;
  readonly at: number;
  readonly expiresAt: number;
}

export interface RegisteredClient {
  readonly id: string;
  readonly json: string;
  readonly at: number;
  readonly expiresAt: number;
}

export interface Use {
  readonly digest: string;
  /** Id of this attempt: asked again with the same, the answer is the same. */
  readonly by: string;
  readonly at: number;
  readonly family?: Family | undefined;
  readonly items: readonly Item[];
}

/** Every method rejects with `storage_unavailable` while the database is away. */
export interface BridgeRecords {
  /** With `most` there already, the oldest that was never used gives way; false: all are in use. */
  register(client: RegisteredClient, most: number): Promise<boolean>;
  client(id: string, at: number): Promise<RegisteredClient | undefined>;
  clientUsed(id: string, at: number, expiresAt: number): Promise<void>;
  /** False: `most` of its kind are waiting. */
  put(item: Item, most: number): Promise<boolean>;
  find(digest: string, kind: ItemKind): Promise<FoundItem | undefined>;
  /** Uses an item, possible once, and keeps what comes of it in the same step. */
  use(use: Use): Promise<boolean>;
  end(family: string, at: number): Promise<boolean>;
  /** Sign-ins that are neither ended nor over at `at`, of a principal or of all: the newest `most`, newest first. */
  families(principal: string | undefined, at: number, most: number): Promise<readonly Family[]>;
  /** Changes when a family is ended, by whichever gateway. */
  version(): Promise<string>;
  /** Families that were ended at `since` or later, the last ones first, at most `most`. */
  ended(since: number, most: number): Promise<readonly string[]>;
  prune(before: number): Promise<number>;
}
