import type { SentError } from './failure.ts';
import type { StoreOptions } from './options.ts';

/** `sql` runs statements, `journal` writes the journal: a commit that waits for the disk must not hold up a hold. */
export type ThreadRole = 'sql' | 'journal';

export interface ThreadData {
  readonly role: ThreadRole;
  readonly options: StoreOptions;
  /** Where the process keeps compiled code, as Node names it; undefined: nowhere. */
  readonly codeCache?: string | undefined;
}

export interface ThreadRequest {
  readonly id: number;
  readonly method: string;
  readonly args: readonly unknown[];
}

export type ThreadReply =
  | { readonly id: number; readonly value: unknown }
  | { readonly id: number; readonly error: SentError };

/** What a thread does for each method; values may name buffers that are handed over instead of copied. */
export type ThreadService = Readonly<Record<string, (...args: never[]) => Promise<unknown> | unknown>>;
