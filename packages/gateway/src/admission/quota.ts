/** What is left for a caller: the data of the tool `tollgate_quota`. */

export interface QuotaLimit {
  readonly limit: string;
  /** What it is, in words: `30 calls a minute, 40 at once`. */
  readonly rule: string;
  /** What it covers, where that is not everything: canonical ids of the targets asked about. */
  readonly covers: readonly string[];
  /** Exact decimal text for amounts; absent where `disclose` keeps numbers back. */
  readonly remaining: string | undefined;
  readonly of: string | undefined;
  readonly unit: string;
  /** Seconds until one more call has room; 0: now. Absent where waiting cannot help. */
  readonly retryAfterSeconds: number | undefined;
  /** ISO 8601; when all of it is back. */
  readonly resetAt: string | undefined;
}

export interface QuotaPrice {
  readonly tool: string;
  /** `0.005 USD`, `0.002 USD × size(args.pages), at most 5.00 USD`. */
  readonly price: string;
}

export interface QuotaReport {
  readonly tier: string;
  readonly limits: readonly QuotaLimit[];
  readonly prices: readonly QuotaPrice[];
}
