/**
 * What admission works with, complete and checked: made by `config/compile`, by the importers and by the library.
 * Amounts are integers in millionths of their unit (micro-units): 0.005 USD is 5000.
 */

/** What a limit counts by. `everyone` adds nothing: alone, or with no other, all calls share one counter. */
export type LimitKey =
  | 'everyone'
  | 'principal'
  | 'tenant'
  | 'session'
  | 'client'
  | 'tool'
  | 'server'
  | 'endpoint'
  | 'ip'
  | 'args';

/** What a refusal may tell; see product semantics in `docs/refusals.md`. */
type Disclosure = 'full' | 'mine' | 'none';

export type Algorithm = 'token-bucket' | 'sliding-window' | 'fixed-window';

/** A length of time, or a page of the calendar in the limit's time zone. */
export type Period =
  | { readonly kind: 'length'; readonly ms: number }
  | { readonly kind: 'calendar'; readonly page: 'minute' | 'hour' | 'day' | 'week' | 'month' };

/** An amount of money or of another unit (`credits`, `tokens`). */
export interface Amount {
  /** `USD`, `credits`… as written. */
  readonly unit: string;
  /** Millionths of the unit; an integer. */
  readonly micros: number;
}

/** The number of a limit and what it counts. */
export type Quota =
  /** `30/min`: calls, or what `cost` says they weigh. */
  | { readonly kind: 'rate'; readonly count: number; readonly period: Period; readonly burst: number }
  /** `20 at once`. */
  | { readonly kind: 'concurrency'; readonly count: number }
  /** `20 USD/day`, `100 credits/month`. */
  | { readonly kind: 'amount'; readonly amount: Amount; readonly period: Period; readonly burst: number }
  /** `1000 USD total`. */
  | { readonly kind: 'total'; readonly amount: Amount }
  /** `1 USD/call`. */
  | { readonly kind: 'per-call'; readonly amount: Amount };

/** One step of what happens when a limit has no room; after the last one the call is refused. */
export type Rung = { readonly kind: 'wait'; readonly ms: number } | { readonly kind: 'refuse' };

/** What a call weighs under a limit: a whole number, or a CEL expression that gives one. */
export type CostOptions =
  | { readonly kind: 'fixed'; readonly units: number }
  | { readonly kind: 'expression'; readonly source: string };

/** One limit: complete and checked. */
export interface LimitOptions {
  readonly name: string;
  /** Earlier name, whose counters it continues. */
  readonly was: string | undefined;
  /** Globs on methods; undefined: tools/call, resources/read, prompts/get and completion/complete. */
  readonly on: readonly string[] | undefined;
  /** Globs on canonical ids `server/tool`. With several kinds of object named, any of them is enough. */
  readonly tool: readonly string[] | undefined;
  /** Globs on the URI. */
  readonly resource: readonly string[] | undefined;
  /** Globs on canonical ids `server/prompt`. */
  readonly prompt: readonly string[] | undefined;
  /** Globs on server names. */
  readonly server: readonly string[] | undefined;
  /** Globs on endpoint paths. */
  readonly endpoint: readonly string[] | undefined;
  /** Globs on the caller's tenant; a caller without one matches none. */
  readonly tenant: readonly string[] | undefined;
  /** Globs on the caller's tier in force. */
  readonly tier: readonly string[] | undefined;
  /** CEL; the limit covers the call when it is true, and when it fails (`expression_failed`: `when` applies). */
  readonly when: string | undefined;
  readonly by: readonly LimitKey[];
  /** Undefined: `limit: tier`, so that only the rows of `tiers` have numbers. */
  readonly quota: Quota | undefined;
  /** Rows of `tiers` for this limit, by tier; each replaces number and burst for callers of that tier. */
  readonly rows: ReadonlyMap<string, Quota>;
  /** How a rate or amount comes back. Amounts and calendar pages are fixed windows unless written otherwise. */
  readonly algorithm: Algorithm;
  /** Default one unit; for amounts the price of the call. */
  readonly cost: CostOptions | undefined;
  /** Results from the cache count too. */
  readonly hits: boolean;
  readonly then: readonly Rung[];
  readonly mode: 'enforce' | 'shadow';
  readonly onError: 'local' | 'open' | 'closed';
  /** Limits that this one stands in for where it covers a call. */
  readonly replaces: readonly string[];
  /** Once reached it stays shut until an admin resets it. */
  readonly latch: boolean;
  /** Shares of the limit (0 to 1) at which operators are told, ascending. */
  readonly alerts: readonly number[];
  /** IANA name; of calendar pages. */
  readonly timezone: string;
  /** Sentence of the operator, added to the refusal. */
  readonly message: string | undefined;
  readonly disclose: Disclosure;
  /** Index of the route whose calls it covers; undefined: those of all. */
  readonly route?: number | undefined;
  /** Where it was written, for `explain`: the file, the preset, a route, a ToolHive block. */
  readonly origin: 'file' | 'preset' | 'route' | 'toolhive';
}

/** What a call of a tool costs; undefined members were not written. */
export interface PriceOptions {
  /** Of every call, or of every one of `times`. */
  readonly each: Amount | undefined;
  /** CEL over the arguments; the price is `each` times its value, rounded up once to a millionth. */
  readonly times: string | undefined;
  /** Where the result says what it cost, for example `result._meta.usageTotalUsd`; a path, not CEL. */
  readonly from: readonly (string | number)[] | undefined;
  /** Reserved before a call whose price its result says. */
  readonly hold: Amount | undefined;
  /** An estimate above it is refused; an actual price above it is charged in full and alarmed. */
  readonly max: Amount | undefined;
  /** Of a result from the cache. */
  readonly cached: Amount | undefined;
}

/** A call that no price covers, where a limit on money does: let it pass, say so in the log, or refuse it. */
export type Unpriced = 'free' | 'warn' | 'refuse';

export interface AdmissionOptions {
  /** In the order of the configuration. */
  readonly limits: readonly LimitOptions[];
  /** Every tier that can be given to a caller, `default` included. */
  readonly tiers: readonly string[];
  /** The prices of a canonical tool id, one per unit; undefined: unpriced. For plans, not per call. */
  readonly pricesOf: (canonicalId: string) => readonly PriceOptions[] | undefined;
  readonly unpriced: Unpriced;
  /**
   * Index of the route that takes a canonical id, for questions that come without a call. Absent: no route has a limit.
   */
  readonly routeOf?: ((kind: 'tool' | 'resource' | 'prompt', canonicalId: string) => number | undefined) | undefined;
  /** Requests per session and period, counted before anything is parsed; undefined: off. */
  readonly sessionGuard: { readonly limit: number; readonly periodMs: number } | undefined;
  readonly preset: 'mcp' | undefined;
}

/** How refusals are written on an endpoint; see `docs/refusals.md`. */
export type RefusalStyle = 'default' | 'http' | 'legacy-codes';
