/** What one JSON body may hold. Sizes are checked while scanning, before anything is built from the body. */
export interface ScanCaps {
  /** Nesting of objects and arrays, at most 1000. Default 64. */
  readonly depth: number;
  /** Object keys in the whole body. Default 10,000. */
  readonly keys: number;
  /** Bytes of one string as written, quotes not counted. Default 4 MiB. */
  readonly string: number;
  /**
   * Accept `\u0000` and unpaired surrogate escapes in string values (never in keys). For answers of servers, whose
   * texts may quote files or be cut in the middle of a character. Default false.
   */
  readonly looseText?: boolean;
}

/** Nesting above which the recursion of the scanner could meet the end of the stack. */
export const MAX_DEPTH = 1000;

/** Bytes of the largest body that can be scanned, whatever the caps on bodies and answers say: 64 MiB. */
export const MAX_BODY = 64 * 1024 * 1024;

export const DEFAULT_SCAN_CAPS: ScanCaps = { depth: 64, keys: 10_000, string: 4 * 1024 * 1024 };
