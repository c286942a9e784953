import { TollgateError } from '../core/errors.ts';
import type { StoreOptions } from './options.ts';

/** How a failed write or read is met. `again`: the connection or a conflict failed it; what it asked may have happened. */
export type Failure = 'again' | 'unavailable' | 'other';

/** SQLSTATE classes: connection, conflict with another transaction, the server shutting down or starting. */
const POSTGRES_AGAIN = /^(?:08|40|57P)/;
/** Refused sign-in, no such database, read-only, out of disk, memory or connections, time is up, I/O error. */
const POSTGRES_UNAVAILABLE = /^(?:28|3D|25006|53|55P03|57014|58|XX)/;
const SYSTEM_ERROR = /^E[A-Z0-9]{3,}$/;

/** Primary result codes of SQLite: busy, locked; then read-only, I/O error, corrupt, full, cannot open, not a database. */
const SQLITE_AGAIN = new Set([5, 6]);
const SQLITE_UNAVAILABLE = new Set([8, 10, 11, 13, 14, 26]);
/** The same without busy and full: the open file itself is in doubt and is opened anew. */
const SQLITE_REOPEN = new Set([10, 11, 14, 26]);
const SQLITE_DAMAGED = new Set([11, 26]);

export function classify(error: unknown): Failure {
  if (TollgateError.is(error)) return error.code === 'storage_unavailable' ? 'unavailable' : 'other';
  const sqlite = sqliteCode(error);
  if (sqlite !== undefined) {
    return SQLITE_AGAIN.has(sqlite) ? 'again' : SQLITE_UNAVAILABLE.has(sqlite) ? 'unavailable' : 'other';
  }
  const code = (error as { code?: unknown } | null)?.code;
  if (typeof code === 'string') {
    if (POSTGRES_AGAIN.test(code)) return 'again';
    if (POSTGRES_UNAVAILABLE.test(code)) return 'unavailable';
    if (SYSTEM_ERROR.test(code)) return 'again';
    return 'other';
  }
  // The driver's own errors (connection ended, timeout) have no code.
  return error instanceof Error && /connect|terminated|timeout|discarded|ended/i.test(error.message)
    ? 'again'
    : 'other';
}

/** Whether PostgreSQL gave this transaction up for the sake of others (a deadlock, a conflict): nothing of it happened. */
export function wasRolledBack(error: unknown): boolean {
  const code = (error as { code?: unknown } | null)?.code;
  return code === '40P01' || code === '40001';
}

export function mustReopen(error: unknown): boolean {
  return SQLITE_REOPEN.has(sqliteCode(error) ?? 0);
}

/** Whether an SQLite file cannot be read as a database at all. */
export function isDamaged(error: unknown): boolean {
  return SQLITE_DAMAGED.has(sqliteCode(error) ?? 0);
}

/** Primary result code of an error of `node:sqlite`. */
function sqliteCode(error: unknown): number | undefined {
  const { code, errcode } = (error ?? {}) as { code?: unknown; errcode?: unknown };
  return code === 'ERR_SQLITE_ERROR' && typeof errcode === 'number' ? errcode & 0xff : undefined;
}

/** Removes the database's URL and password from a text, in the forms in which drivers repeat them. */
export function redactor(sql: StoreOptions['sql']): (text: string) => string {
  if (sql.kind === 'sqlite') return (text) => text;
  const secrets = [sql.url];
  const authority = /^[a-z]+:\/\/[^/?#]*@/i.exec(sql.url)?.[0];
  if (authority !== undefined) secrets.push(authority);
  const password = authority === undefined ? undefined : /^[a-z]+:\/\/[^:@]*:(.+)@$/i.exec(authority)?.[1];
  const inQuery = /[?&]password=([^&#]*)/.exec(sql.url)?.[1];
  for (const secret of [password, inQuery]) {
    if (secret === undefined || secret === '') continue;
    secrets.push(secret, encodeURIComponent(secret));
    try {
      secrets.push(decodeURIComponent(secret));
    } catch {
      // Not percent-encoded: the raw form is the only one.
    }
  }
  return (text) => secrets.reduce((clean, secret) => clean.replaceAll(secret, '[redacted]'), text);
}

/** An error as it crosses between threads. */
export interface SentError {
  readonly code: TollgateError['code'];
  readonly message: string;
  /** For the log of an unexpected failure. */
  readonly cause?: string;
}

/** What a failed piece of work is reported as; `redact` cleans every text. */
export function sentError(error: unknown, redact: (text: string) => string): SentError {
  if (TollgateError.is(error)) return { code: error.code, message: redact(error.message) };
  const message = redact(
    error instanceof Error ? error.message || String((error as { code?: unknown }).code) : String(error),
  );
  return classify(error) === 'other'
    ? { code: 'internal', message: 'The database refused a statement', cause: message }
    : { code: 'storage_unavailable', message: `Storage is not available: ${message}` };
}

export function receivedError(sent: SentError): TollgateError {
  const cause = sent.cause === undefined ? {} : { cause: new Error(sent.cause) };
  return new TollgateError(sent.code, sent.message, {
    ...cause,
    ...(sent.code === 'storage_unavailable' ? { retryAfterSeconds: 1 } : {}),
  });
}
