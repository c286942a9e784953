/** What the catalog needs of whoever judges the definitions that servers offer. */
import type { Item, Kind } from './items.ts';

/** What stands of one definition. It changes under whoever holds it: when somebody approves, or the server swaps it. */
export interface Standing {
  /** True: it is neither listed nor called. */
  readonly blocked: boolean;
}

export interface ListTrust {
  /** True: an announced change is read before the next call. */
  readonly strict: boolean;
  /** Judges a whole list that was read, in place of the one before; by name. Undefined: this kind is not judged. */
  judge(kind: Kind, items: readonly Item[]): ReadonlyMap<string, Standing> | undefined;
  /** Called when a standing has changed by itself. */
  onChange(listener: () => void): () => void;
  close(): void;
}
