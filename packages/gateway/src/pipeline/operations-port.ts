/**
 * What the operations (`/v1/ops`, `tollgate op`, `process`) need of a gateway: limits asked for callers that have no
 * connection, tiers, statistics, stops, holds, and the configuration as a scan may see it.
 * Amounts are integers in millionths of their unit, times are wall milliseconds.
 */
import type { Principal } from '../core/principal.ts';

/** A caller that is asked about, whether connected or not. */
export interface Client {
  readonly principal: Principal;
  /** The tier in force, as it is reported: under `preset: mcp` the row `default` is called `basic`. */
  readonly tier: string;
}

/** One question to the limits. */
export interface LimitRequest {
  readonly client: Client;
  /** `tools/call`, `server/ping`, or anything else: what names no method counts as `unknown`. */
  readonly endpoint: string;
  /** Canonical id of the tool, prompt, or the URI of the resource; undefined: none in particular. */
  readonly name: string | undefined;
  /** What the call is expected to cost, in millionths of the gateway's currency; charged at once by `consume`. */
  readonly cost: number;
  /** In place of the client's tier, for this question only. The caller of the port has checked that it is a tier. */
  readonly tier: string | undefined;
  readonly mode: 'peek' | 'consume';
}

/** The numbers of the limit on calls that covers an endpoint. */
export interface EndpointLimits {
  /** Of the table without tiers; undefined: no limit on calls covers it. */
  readonly base: number | undefined;
  /** Of the tier in force. */
  readonly effective: number | undefined;
  readonly burst: number | undefined;
}

export interface LimitViolation {
  readonly rule: string;
  /** `call`: no limit on one cost; `hour` and `day`: used up in that page of the calendar; `holds`: too many are open. */
  readonly kind:
    | 'rate'
    | 'concurrency'
    | 'holds'
    | 'call'
    | 'hour'
    | 'day'
    | 'total'
    | 'amount'
    | 'stop'
    | 'unpriced'
    | 'unavailable';
  /** Undefined: waiting cannot help. */
  readonly retryAfterSeconds: number | undefined;
  /** Of amounts in millionths; undefined where the rule does not disclose it. */
  readonly limit: number | undefined;
  readonly remaining: number | undefined;
}

export interface LimitAnswer {
  readonly allowed: boolean;
  /** The tier that decided. */
  readonly tier: string;
  readonly limits: EndpointLimits;
  /** Every rule in the way, the binding one first; empty when allowed. */
  readonly violated: readonly LimitViolation[];
  /** Maximum over `violated`; undefined: waiting cannot help. */
  readonly retryAfterSeconds: number | undefined;
  /** Record of a refusal; undefined for what was allowed or only asked. */
  readonly decisionId: string | undefined;
}

/** Money of one client. */
export interface ClientStatistics {
  readonly costs: { readonly hourly: number; readonly daily: number; readonly total: number };
  /** Of the tier in force; undefined: no such limit. */
  readonly limits: {
    readonly perRequest: number | undefined;
    readonly hourly: number | undefined;
    readonly daily: number | undefined;
  };
}

export interface GlobalStatistics {
  readonly totalClients: number;
  /** Tier by principal id, of clients that were given one. */
  readonly clientTiers: ReadonlyMap<string, string>;
  readonly totalCost: number;
  readonly allowed: number;
  readonly denied: number;
}

/** A reservation for work that another system does. */
export interface HoldRequest extends Omit<LimitRequest, 'mode'> {
  /** Milliseconds until it expires. */
  readonly ttl: number;
}

export interface HoldView {
  readonly id: string;
  readonly state: 'open' | 'settled' | 'released' | 'expired';
  /** Principal id of whose it is. */
  readonly client: string;
  readonly endpoint: string;
  /** What was reserved, in millionths. */
  readonly reserved: number;
  /** What was charged; undefined while it is open. */
  readonly charged: number | undefined;
  readonly expiresAt: number;
}

export type Reservation =
  | { readonly allowed: true; readonly hold: HoldView }
  | { readonly allowed: false; readonly answer: LimitAnswer };

export interface LimiterStatus {
  /** `degraded`: a store cannot be reached and something stands in for it. */
  readonly limiter: 'operational' | 'degraded' | 'stopped';
  /** One sentence each: what is degraded, or by whom everything was stopped. */
  readonly problems: readonly string[];
  readonly version: string;
  /** ISO time. */
  readonly startedAt: string;
  readonly ready: boolean;
  readonly calls: { readonly total: number; readonly refused: number };
}

/** The running configuration, without secrets' values, as the scan judges it. */
export interface ConfigurationView {
  /** The configuration as written after defaults, secrets replaced by `[secret]`, plain-text ones by `[plain secret]`. */
  readonly plainSecrets: readonly string[];
  readonly listenHost: string;
  readonly adminHost: string;
  readonly anonymous: boolean;
  readonly hasAuth: boolean;
  /** URLs that the gateway connects to, by key path. */
  readonly urls: readonly { readonly path: string; readonly url: string }[];
  /** `access` and scope rules that name everybody or everything, by key path. */
  readonly wildcards: readonly { readonly path: string; readonly who: string; readonly may: string }[];
  readonly limits: readonly string[];
  /** True: some limit counts money. */
  readonly limitsMoney: boolean;
  readonly unpriced: 'free' | 'warn' | 'refuse';
  readonly tools: readonly CatalogTool[];
}

export interface CatalogTool {
  readonly server: string;
  readonly name: string;
  /** The whole definition as the server gave it. */
  readonly definition: unknown;
  readonly priced: boolean;
}

export interface StopView {
  readonly reason: string;
  readonly by: string;
  readonly at: number;
}

/**
 * Methods answer in bounded time or reject with a TollgateError. Authorisation is the business of the operations: the
 * port does what it is told.
 */
export interface OperationsPort {
  readonly preset: 'mcp' | undefined;
  readonly currency: string;
  /** Names that a client can be given, as reported. */
  readonly tiers: readonly string[];
  /** Milliseconds, monotonic; for `processing_time_ms`. */
  now(): number;
  /**
   * The client of an id: `entry/subject` of an entry that exists, or a bare subject while it is unique (else
   * `ambiguous`). An id that nobody has is `unknown`, or with `create` the new principal `ops/<id>`. Takes the same
   * steps for known and unknown ids.
   */
  resolve(id: string, create: boolean): Promise<Client | 'unknown' | 'ambiguous'>;
  /** The client that an authenticated caller is. */
  clientOf(principal: Principal): Client;
  /** A client that nobody has met, for answers about unknown ids: tier and limits of everybody's default. */
  stranger(id: string): Client;
  endpointLimits(endpoint: string, tier: string): EndpointLimits;
  /** True: the endpoint has a limit of its own, so that it does not count as `unknown`. */
  protects(endpoint: string): boolean;
  /** All questions in one call of the limiter, in order; each sees what the earlier ones took. */
  decide(requests: readonly LimitRequest[]): Promise<readonly LimitAnswer[]>;
  reserve(request: HoldRequest): Promise<Reservation>;
  hold(id: string): Promise<HoldView | undefined>;
  /** `cost` undefined: what was reserved. Undefined: no such hold. Once: a repeat answers with the state of the first. */
  settle(id: string, cost: number | undefined): Promise<HoldView | undefined>;
  release(id: string): Promise<HoldView | undefined>;
  setTier(client: Client, tier: string, by: string): Promise<void>;
  statistics(client: Client): Promise<ClientStatistics>;
  globalStatistics(): Promise<GlobalStatistics>;
  status(): LimiterStatus;
  configuration(): ConfigurationView;
  /** Forgets what the client used of every limit that counts by it; money included. Returns the names of the limits. */
  reset(client: Client, by: string): Promise<readonly string[]>;
  /** Stops everything that spends until it is resumed. Returns the stop in force; an earlier one stays as it is. */
  stop(by: string, reason: string): Promise<StopView>;
  /** False: nothing was stopped. */
  resume(by: string): Promise<boolean>;
  stopped(): StopView | undefined;
}
