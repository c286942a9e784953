/** Where what must last is kept. Plain values only: they travel to the threads that do the work. */
export interface StoreOptions {
  /** Folder of the state files: created 0700; refused when every user of the machine may write to it. */
  readonly dataDir: string;
  readonly sql: SqliteOptions | PostgresOptions;
  /** 32 bytes. Journal and snapshots are encrypted with it (AES-256-GCM). Default: plain files, mode 0600. */
  readonly encryptionKey?: Buffer;
  /** Journal and snapshots are stored compressed. Default false. */
  readonly compress?: boolean;
  readonly keep?: Retention;
}

export interface SqliteOptions {
  readonly kind: 'sqlite';
  /** The database file; relative paths start at `dataDir`. */
  readonly file: string;
}

export interface PostgresOptions {
  readonly kind: 'postgres';
  /** `postgres://user:password@host/database`; never logged. */
  readonly url: string;
  /** Connections at most: one writes, the others read. At least 2. */
  readonly poolMax: number;
  readonly connectTimeoutMs: number;
  readonly statementTimeoutMs: number;
}

/** How many decisions are kept. */
export interface Retention {
  /** The last admissions. Default 10,000. */
  readonly admissions?: number;
  /** The last refusals. Default 1,000,000. */
  readonly refusals?: number;
  /** Milliseconds after which a refusal goes, however few there are. Default 30 days. */
  readonly refusalAge?: number;
  /** The last refusals by access, which are part of the refusals. Default 100,000. */
  readonly accessRefusals?: number;
}
