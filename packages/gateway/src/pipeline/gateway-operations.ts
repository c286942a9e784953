/** The operations' port over a running gateway: admission for counters and money, the books for tiers and stops. */
import type { Admission } from '../admission/contract.ts';
import { tellsNumbers } from '../admission/disclosure.ts';
import type { Answer, LimitView, Question } from '../admission/external.ts';
import type { Target } from '../admission/limits.ts';
import type { LimitKey, LimitOptions, Quota } from '../admission/options.ts';
import type { CompiledConfig } from '../config/compile.ts';
import { BASE_TIERS } from '../config/preset.ts';
import type { Clock } from '../core/clock.ts';
import type { Principal } from '../core/principal.ts';
import { methodInfo } from '../protocol/methods.ts';
import type { Ledger } from '../store/storage.ts';
import type { Books } from './books.ts';
import { LedgerTotals } from './ledger-totals.ts';
import { mainEndpoint } from './main-endpoint.ts';
import { isPage, usedOf, violations } from './operations-answers.ts';
import { type KeyHolders, OPS, principalOf, principalsNamed, subjectOf } from './operations-clients.ts';
import { ExternalHolds } from './operations-holds.ts';
import type {
  Client,
  ClientStatistics,
  ConfigurationView,
  EndpointLimits,
  GlobalStatistics,
  HoldRequest,
  HoldView,
  LimitAnswer,
  LimiterStatus,
  LimitRequest,
  OperationsPort,
  Reservation,
  StopView,
} from './operations-port.ts';

export interface GatewayOperationsDeps {
  readonly clock: Clock;
  /** In force now; a reload changes both. */
  readonly config: () => CompiledConfig;
  readonly admission: () => Admission;
  readonly books: Books;
  readonly keys: KeyHolders;
  /** Undefined: totals are those that the limits count, and holds are known only to this process. */
  readonly ledger: Ledger | undefined;
  readonly status: () => Omit<LimiterStatus, 'limiter'>;
  readonly configuration: () => ConfigurationView;
  /** Forgets what one principal used, stored with who did it and why; the names of the limits. */
  readonly reset: (principal: string, by: string, reason: string) => Promise<readonly string[]>;
}

/** Clients that were charged here, to count them. */
const MAX_SEEN = 100_000;
const OPERATIONS: ReadonlySet<string> = new Set(['server/initialize', 'server/ping']);
const UNKNOWN = 'unknown';
const EVERYTHING = 'everything';
const LOOKED_AT = 'tools/call';
/** A limit that counts by anything else (tool, arguments, session) has its number for some calls of an endpoint. */
const OF_ENDPOINT: ReadonlySet<LimitKey> = new Set(['everyone', 'principal', 'tenant', 'client', 'endpoint']);

export class GatewayOperations implements OperationsPort {
  readonly #deps: GatewayOperationsDeps;
  readonly #seen = new Set<string>();
  readonly #holds: ExternalHolds;
  readonly #totals: LedgerTotals;
  #allowed = 0;
  #denied = 0;

  constructor(deps: GatewayOperationsDeps) {
    this.#deps = deps;
    this.#totals = new LedgerTotals(deps.ledger, deps.clock, () => this.currency);
    const external = () => deps.admission().external;
    this.#holds = new ExternalHolds({
      external,
      clock: deps.clock,
      ledger: deps.ledger,
      currency: () => this.currency,
    });
  }

  get preset(): 'mcp' | undefined {
    return this.#deps.config().admission.preset;
  }

  get currency(): string {
    return this.#deps.config().currency;
  }

  get tiers(): readonly string[] {
    return [...new Set([...this.#deps.books.tiers.known].map((tier) => this.#reported(tier)))];
  }

  now(): number {
    return this.#deps.clock.monotonic();
  }

  async resolve(id: string, create: boolean): Promise<Client | 'unknown' | 'ambiguous'> {
    const known = principalsNamed(id, this.#deps.config().identity, this.#deps.books.tiers, this.#deps.keys);
    if (known.length > 1) return 'ambiguous';
    if (known[0] !== undefined) return this.clientOf(known[0]);
    return create ? this.stranger(id) : 'unknown';
  }

  clientOf(principal: Principal): Client {
    return { principal, tier: this.#reported(this.#deps.books.tiers.of(principal)) };
  }

  stranger(id: string): Client {
    return this.clientOf(principalOf(id.includes('/') ? id : `${OPS}/${id}`));
  }

  endpointLimits(endpoint: string, tier: string): EndpointLimits {
    const stored = this.#stored(tier);
    const told = this.#rates(this.#methodOf(endpoint)).filter(
      (limit) => limit.mode === 'enforce' && tellsNumbers({ limit }),
    );
    const whole = told.filter(({ by }) => by.every((key) => OF_ENDPOINT.has(key)));
    const rates = (whole.length > 0 ? whole : told).flatMap((limit) => {
      const effective = limit.rows.get(stored) ?? limit.quota;
      return effective?.kind === 'rate' ? [{ base: limit.quota, effective }] : [];
    });
    // The one that is reached first.
    const tightest = rates.toSorted((a, b) => a.effective.count - b.effective.count)[0];
    return {
      base: tightest?.base?.kind === 'rate' ? tightest.base.count : undefined,
      effective: tightest?.effective.count,
      burst: tightest?.effective.burst,
    };
  }

  protects(endpoint: string): boolean {
    const method = this.#methodOf(endpoint);
    if (method === UNKNOWN) return endpoint === UNKNOWN;
    const ofUnknown = new Set(this.#rates(UNKNOWN));
    return this.#rates(method).some((limit) => !ofUnknown.has(limit));
  }

  async decide(requests: readonly LimitRequest[]): Promise<readonly LimitAnswer[]> {
    const { external } = this.#deps.admission();
    const now = this.now();
    // Asked one after the other without waiting between: a limiter behind a network has them all in one go.
    return Promise.all(
      requests.map(async (request) => {
        const question = this.#question(request);
        const answer =
          request.mode === 'consume' ? await external.consume(question, now) : await external.peek(question, now);
        if (request.mode === 'consume') this.#count(request.client, answer.allowed);
        return this.#answer(request, answer, request.mode === 'consume');
      }),
    );
  }

  async reserve({ ttl, ...request }: HoldRequest): Promise<Reservation> {
    const question = this.#question({ ...request, mode: 'consume' });
    const outcome = await this.#holds.reserve(question, request.endpoint, ttl);
    if (outcome.full !== undefined) {
      this.#count(request.client, false);
      const { bound, until } = outcome.full;
      return { allowed: false, answer: this.#tooManyOpen(request, bound, until) };
    }
    const { answer, hold } = outcome;
    this.#count(request.client, hold !== undefined);
    if (hold !== undefined) return { allowed: true, hold };
    return { allowed: false, answer: this.#answer(request, answer, true) };
  }

  hold(id: string): Promise<HoldView | undefined> {
    return this.#holds.find(id);
  }

  settle(id: string, cost: number | undefined): Promise<HoldView | undefined> {
    return this.#holds.settle(id, cost);
  }

  release(id: string): Promise<HoldView | undefined> {
    return this.#holds.release(id);
  }

  async setTier({ principal }: Client, tier: string, by: string): Promise<void> {
    await this.#deps.books.setTier(principal.id, this.#stored(tier), by);
  }

  async statistics(client: Client): Promise<ClientStatistics> {
    // A budget of some tools is not what the client may spend in all.
    const general = new Set(this.#deps.admission().covering(LOOKED_AT, this.#nothing));
    const own = this.#money().filter((limit) => limit.by.includes('principal') && general.has(limit));
    const views = await this.#look(client);
    const used = (page: 'hour' | 'day') =>
      usedOf(
        views,
        own.filter(({ quota }) => isPage(quota, page)),
      );
    const ofTier = (fits: (quota: Quota) => boolean) => this.#smallest(own, client, fits);
    const daily = used('day');
    return {
      // What the counters have is never older than what the ledger was told.
      costs: { hourly: used('hour'), daily, total: Math.max(await this.#totals.of(client.principal.id), daily) },
      limits: {
        perRequest: ofTier((quota) => quota.kind === 'per-call'),
        hourly: ofTier((quota) => isPage(quota, 'hour')),
        daily: ofTier((quota) => isPage(quota, 'day')),
      },
    };
  }

  async globalStatistics(): Promise<GlobalStatistics> {
    const { books, status } = this.#deps;
    const spent = await this.#totals.all();
    let clients = this.#seen.size;
    const clientTiers = new Map<string, string>();
    for (const [principal, tier] of books.tiers.entries()) {
      if (!this.#seen.has(principal)) clients++;
      clientTiers.set(principal, this.#reported(tier));
    }
    for (const principal of spent.principals) {
      if (!this.#seen.has(principal) && !clientTiers.has(principal)) clients++;
    }
    const everybody = this.#money().filter(({ by, quota }) => quota?.kind === 'total' && !by.includes('principal'));
    const counted = usedOf(await this.#look(this.stranger('anonymous')), everybody);
    const { calls } = status();
    return {
      totalClients: clients,
      clientTiers,
      totalCost: Math.max(counted, spent.total),
      allowed: this.#allowed + calls.total - calls.refused,
      denied: this.#denied + calls.refused,
    };
  }

  status(): LimiterStatus {
    const status = this.#deps.status();
    const limiter = this.stopped() !== undefined ? 'stopped' : status.problems.length > 0 ? 'degraded' : 'operational';
    return { ...status, limiter };
  }

  configuration(): ConfigurationView {
    return this.#deps.configuration();
  }

  reset({ principal }: Client, by: string): Promise<readonly string[]> {
    return this.#deps.reset(principal.id, by, 'reset_limits operation');
  }

  async stop(by: string, reason: string): Promise<StopView> {
    return this.stopped() ?? (await this.#deps.books.stop({ scope: EVERYTHING, reason, by }));
  }

  async resume(by: string): Promise<boolean> {
    const stops = this.#stops();
    for (const { id } of stops) await this.#deps.books.resume(id, by);
    return stops.length > 0;
  }

  stopped(): StopView | undefined {
    const [first] = this.#stops();
    return first === undefined ? undefined : { by: first.by, reason: first.reason, at: first.at };
  }

  #stops() {
    const { books, clock } = this.#deps;
    return books.stops.list(clock.wall()).filter(({ scope }) => scope === EVERYTHING);
  }

  /** Under the preset `basic` is how the row `default` is called (product: operations). */
  #reported(tier: string): string {
    return this.preset === 'mcp' && tier === BASE_TIERS.default ? BASE_TIERS.mcp : tier;
  }

  #stored(tier: string): string {
    return this.preset === 'mcp' && tier === BASE_TIERS.mcp ? BASE_TIERS.default : tier;
  }

  #methodOf(endpoint: string): string {
    return methodInfo(endpoint) !== undefined || OPERATIONS.has(endpoint) ? endpoint : UNKNOWN;
  }

  /** No object in particular, at the endpoint that all questions are about. */
  get #nothing(): Target {
    return { kind: 'none', canonicalId: undefined, server: undefined, endpoint: this.#endpoint };
  }

  get #endpoint(): string {
    return mainEndpoint(this.#deps.config().endpoints.map(({ path }) => path));
  }

  #rates(method: string): readonly LimitOptions[] {
    return this.#deps
      .admission()
      .covering(method, this.#nothing)
      .filter(({ quota, rows }) => (quota ?? [...rows.values()][0])?.kind === 'rate');
  }

  #money(): readonly LimitOptions[] {
    const { currency } = this;
    return this.#deps.admission().limits.filter(({ quota, rows, mode }) => {
      const any = quota ?? [...rows.values()][0];
      return mode === 'enforce' && any !== undefined && 'amount' in any && any.amount.unit === currency;
    });
  }

  /** The smallest amount among limits of one kind, in the client's tier. */
  #smallest(limits: readonly LimitOptions[], { tier }: Client, fits: (quota: Quota) => boolean): number | undefined {
    const amounts = limits.flatMap((limit) => {
      const quota = limit.rows.get(this.#stored(tier)) ?? limit.quota;
      return quota !== undefined && fits(quota) && 'amount' in quota ? [quota.amount.micros] : [];
    });
    return amounts.length === 0 ? undefined : Math.min(...amounts);
  }

  async #look(client: Client): Promise<readonly LimitView[]> {
    const request = { client, endpoint: LOOKED_AT, name: undefined, cost: 0, tier: undefined, mode: 'peek' } as const;
    return (await this.#deps.admission().external.peek(this.#question(request), this.now())).limits;
  }

  #question({ client, endpoint, name, cost, tier }: LimitRequest): Question {
    return {
      subject: subjectOf(client.principal),
      method: endpoint,
      endpoint: this.#endpoint,
      tool: name,
      // A named tool without an estimate costs its price.
      estimate: name !== undefined && cost === 0 ? undefined : { unit: this.currency, micros: cost },
      tier: tier === undefined ? undefined : this.#stored(tier),
    };
  }

  #tooManyOpen(
    { client, endpoint, tier = client.tier }: Omit<HoldRequest, 'ttl'>,
    bound: number,
    until: number,
  ): LimitAnswer {
    const retryAfterSeconds = Math.max(1, Math.ceil((until - this.now()) / 1000));
    return {
      allowed: false,
      tier,
      limits: this.endpointLimits(endpoint, tier),
      violated: [{ rule: 'open_holds', kind: 'holds', retryAfterSeconds, limit: bound, remaining: 0 }],
      retryAfterSeconds,
      decisionId: undefined,
    };
  }

  #answer(
    { endpoint }: Pick<LimitRequest, 'endpoint'>,
    { decision, tier, decisionId, allowed }: Answer,
    kept: boolean,
  ): LimitAnswer {
    const reported = this.#reported(tier);
    const limits = this.endpointLimits(endpoint, reported);
    if (allowed === true && decision === undefined) {
      return {
        allowed: true,
        tier: reported,
        limits,
        violated: [],
        retryAfterSeconds: undefined,
        decisionId: undefined,
      };
    }
    return {
      allowed: false,
      tier: reported,
      limits,
      violated: decision === undefined ? [] : violations(decision),
      retryAfterSeconds: decision?.retryAfterSeconds,
      decisionId: kept ? decisionId : undefined,
    };
  }

  #count({ principal: { id } }: Client, allowed: boolean): void {
    if (allowed) this.#allowed++;
    else this.#denied++;
    if (this.#seen.size < MAX_SEEN) this.#seen.add(id);
  }
}
