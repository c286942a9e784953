/** What the storage keeps for the OAuth bridge, and no secret is in it. Shared by `oauth-bridge/` and `store/`. */

/** A client that registered itself (RFC 7591). */
export interface BridgeClient {
  readonly id: string;
  /** Its metadata, as JSON text. */
  readonly json: string;
  readonly at: number;
  readonly expiresAt: number;
}

export type BridgeItemKind = 'state' | 'code' | 'access' | 'refresh';

/** Something that was handed out once and is known again by its digest; `sealed` opens only with what was handed out. */
export interface BridgeItem {
  /** SHA-256 of what was handed out, 64 hexadecimal digits. */
  readonly digest: string;
  readonly kind: BridgeItemKind;
  readonly family?: string | undefined;
  readonly sealed: string;
  readonly at: number;
  readonly expiresAt: number;
}

export interface FoundBridgeItem extends BridgeItem {
  readonly usedAt: number | undefined;
  /** Whether its family was ended. */
  readonly ended: boolean;
}

/** All tokens that come from one sign-in. */
export interface BridgeFamily {
  readonly id: string;
  readonly entry: string;
  readonly principal: string;
  readonly client: string;
  readonly resource: string;
  readonly at: number;
  readonly expiresAt: number;
}

export interface BridgeUse {
  readonly digest: string;
  /** Id of this attempt: asked again with the same, the answer is the same. */
  readonly by: string;
  readonly at: number;
  /** Kept, or moved to a later end. */
  readonly family?: BridgeFamily | undefined;
  readonly items: readonly BridgeItem[];
}

/**
 * What the OAuth bridge has given out: registrations, states, codes and tokens. Times are milliseconds since the epoch.
 * Every method rejects with `storage_unavailable` while the database is away.
 */
export interface BridgeRecords {
  /**
   * Keeps a registration. With `most` of them there already, the oldest that was never used gives way; false: all are
   * in use.
   */
  register(client: BridgeClient, most: number): Promise<boolean>;
  /** Undefined: unknown, or over at `at`. */
  client(id: string, at: number): Promise<BridgeClient | undefined>;
  /** It took part in a sign-in: kept until `expiresAt`. */
  clientUsed(id: string, at: number, expiresAt: number): Promise<void>;
  /** False: `most` items of its kind are waiting: not used, and not over at `item.at`. */
  put(item: BridgeItem, most: number): Promise<boolean>;
  /** Also what is over, for a while: the asker looks at `expiresAt`, `usedAt` and `ended`. */
  find(digest: string, kind: BridgeItemKind): Promise<FoundBridgeItem | undefined>;
  /**
   * Uses an item, which is possible once, and keeps what comes of it in the same transaction. False: used before,
   * unknown, or its family was ended.
   */
  use(use: BridgeUse): Promise<boolean>;
  /** No token of the family is good any more. False: it was ended before, or there is none. */
  end(family: string, at: number): Promise<boolean>;
  /** Sign-ins neither ended nor over at `at`, of a principal or of all: the newest `most`, newest first. */
  families(principal: string | undefined, at: number, most: number): Promise<readonly BridgeFamily[]>;
  /** Changes when a family is ended, by whichever gateway. */
  version(): Promise<string>;
  /** Families that were ended at `since` or later, the last ones first, at most `most`. */
  ended(since: number, most: number): Promise<readonly string[]>;
  /** Deletes what was over before `before`, at most 5000 of each; returns how many. */
  prune(before: number): Promise<number>;
}
