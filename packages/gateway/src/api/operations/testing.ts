/** A complete port without a gateway: the tables of `preset: mcp` over plain counters and a clock that tests move. */
import type { Principal } from '../../core/principal.ts';
import { lanesOf } from '../../core/principal.ts';
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
  LimitViolation,
  OperationsPort,
  Reservation,
  StopView,
} from '../../pipeline/operations-port.ts';

const BASE = new Map([
  ['tools/call', 30],
  ['resources/read', 60],
  ['prompts/get', 20],
  ['server/initialize', 10],
  ['server/ping', 1000],
  ['unknown', 30],
]);
const TIERS = new Map([
  ['basic', { rates: new Map<string, number>(), burst: 10, call: 1, hour: 50, day: 500 }],
  ['standard', { rates: tierRates(150, 300, 100), burst: 50, call: 5, hour: 200, day: 2000 }],
  ['premium', { rates: tierRates(500, 1000, 300), burst: 200, call: 25, hour: 800, day: 8000 }],
]);
const STOP_AT = 1000e6;
const HOUR = 3_600_000;

function tierRates(tools: number, resources: number, prompts: number): Map<string, number> {
  return new Map([
    ['tools/call', tools],
    ['resources/read', resources],
    ['prompts/get', prompts],
  ]);
}

interface Used {
  readonly buckets: Map<string, { level: number; at: number }>;
  hour: { page: number; spent: number };
  day: { page: number; spent: number };
  total: number;
}

export function principal(id: string, roles: readonly string[] = ['user']): Principal {
  const [entry = '', subject = entry] = id.split('/');
  return {
    id,
    person: id,
    key: 1,
    lanes: lanesOf(id),
    entry,
    subject,
    tenant: undefined,
    tier: undefined,
    roles,
    scopes: undefined,
    clientId: undefined,
  };
}

export class FakePort implements OperationsPort {
  readonly preset = 'mcp';
  readonly currency = 'USD';
  readonly tiers: readonly string[] = [...TIERS.keys()];
  /** Wall milliseconds; tests move it. */
  wall = Date.UTC(2026, 10, 21, 12);
  /** Calls of `decide`, to see what was batched. */
  readonly batches: number[] = [];
  /** Steps taken for ids, to compare known with unknown ones. */
  readonly resolved: string[] = [];
  problems: string[] = [];
  view: ConfigurationView = {
    plainSecrets: [],
    listenHost: '127.0.0.1',
    adminHost: '127.0.0.1',
    anonymous: true,
    hasAuth: false,
    urls: [],
    wildcards: [],
    limits: ['calls'],
    limitsMoney: false,
    unpriced: 'warn',
    tools: [],
  };
  readonly #known = new Map<string, Principal>();
  readonly #stored = new Map<string, string>();
  readonly #used = new Map<string, Used>();
  readonly #holds = new Map<string, HoldView>();
  #stop: StopView | undefined;
  #allowed = 0;
  #denied = 0;

  constructor(...ids: readonly string[]) {
    for (const id of ['anonymous', ...ids]) this.#known.set(id, principal(id));
  }

  now(): number {
    return performance.now();
  }

  async resolve(id: string, create: boolean): Promise<Client | 'unknown' | 'ambiguous'> {
    this.resolved.push(id);
    const exact = this.#known.get(id);
    const found = exact !== undefined ? [exact] : [...this.#known.values()].filter((one) => one.subject === id);
    if (found.length > 1) return 'ambiguous';
    if (found[0] !== undefined) return this.clientOf(found[0]);
    if (!create) return 'unknown';
    const made = principal(`ops/${id}`);
    this.#known.set(made.id, made);
    return this.clientOf(made);
  }

  clientOf(one: Principal): Client {
    return { principal: one, tier: this.#stored.get(one.id) ?? 'basic' };
  }

  stranger(id: string): Client {
    return { principal: principal(`ops/${id}`), tier: 'basic' };
  }

  endpointLimits(endpoint: string, tier: string): EndpointLimits {
    const name = this.protects(endpoint) ? endpoint : 'unknown';
    const row = TIERS.get(tier);
    const base = BASE.get(name);
    return { base, effective: row?.rates.get(name) ?? base, burst: row?.burst };
  }

  protects(endpoint: string): boolean {
    return BASE.has(endpoint);
  }

  async decide(requests: readonly LimitRequest[]): Promise<readonly LimitAnswer[]> {
    this.batches.push(requests.length);
    return requests.map((request) => this.#decide(request));
  }

  async reserve({ ttl, ...request }: HoldRequest): Promise<Reservation> {
    const answer = this.#decide({ ...request, mode: 'consume' });
    if (!answer.allowed) return { allowed: false, answer };
    const hold: HoldView = {
      id: `hold-${this.#holds.size + 1}`,
      state: 'open',
      client: request.client.principal.id,
      endpoint: request.endpoint,
      reserved: request.cost,
      charged: undefined,
      expiresAt: this.wall + ttl,
    };
    this.#holds.set(hold.id, hold);
    return { allowed: true, hold };
  }

  async hold(id: string): Promise<HoldView | undefined> {
    return this.#holds.get(id);
  }

  async settle(id: string, cost: number | undefined): Promise<HoldView | undefined> {
    return this.#end(id, 'settled', (hold) => cost ?? hold.reserved);
  }

  async release(id: string): Promise<HoldView | undefined> {
    return this.#end(id, 'released', () => 0);
  }

  async setTier(client: Client, tier: string): Promise<void> {
    this.#stored.set(client.principal.id, tier);
  }

  async statistics(client: Client): Promise<ClientStatistics> {
    const used = this.#usedOf(client.principal.id);
    const row = TIERS.get(client.tier);
    return {
      costs: { hourly: used.hour.spent, daily: used.day.spent, total: used.total },
      limits: {
        perRequest: (row?.call ?? 0) * 1e6,
        hourly: (row?.hour ?? 0) * 1e6,
        daily: (row?.day ?? 0) * 1e6,
      },
    };
  }

  async globalStatistics(): Promise<GlobalStatistics> {
    return {
      totalClients: this.#used.size,
      clientTiers: this.#stored,
      totalCost: this.#total(),
      allowed: this.#allowed,
      denied: this.#denied,
    };
  }

  status(): LimiterStatus {
    return {
      limiter: this.#stop !== undefined ? 'stopped' : this.problems.length > 0 ? 'degraded' : 'operational',
      problems: this.problems,
      version: '0.0.0',
      startedAt: new Date(this.wall).toISOString(),
      ready: true,
      calls: { total: this.#allowed + this.#denied, refused: this.#denied },
    };
  }

  configuration(): ConfigurationView {
    return this.view;
  }

  async reset(client: Client): Promise<readonly string[]> {
    this.#used.delete(client.principal.id);
    return ['calls', 'hour', 'day'];
  }

  async stop(by: string, reason: string): Promise<StopView> {
    this.#stop ??= { by, reason, at: this.wall };
    return this.#stop;
  }

  async resume(): Promise<boolean> {
    const stopped = this.#stop !== undefined;
    this.#stop = undefined;
    return stopped;
  }

  stopped(): StopView | undefined {
    return this.#stop;
  }

  #decide({ client, endpoint, cost, tier: asked, mode }: LimitRequest): LimitAnswer {
    const tier = asked ?? this.clientOf(client.principal).tier;
    const limits = this.endpointLimits(endpoint, tier);
    const used = this.#usedOf(client.principal.id);
    const name = this.protects(endpoint) ? endpoint : 'unknown';
    const bucket = this.#bucket(used, name, limits);
    const violated = this.#violations(cost, TIERS.get(tier)!, used, bucket.level, limits);
    const allowed = violated.length === 0;
    if (mode === 'consume') {
      if (allowed) {
        this.#allowed++;
        bucket.level -= 1;
        used.hour.spent += cost;
        used.day.spent += cost;
        used.total += cost;
      } else this.#denied++;
    }
    const waits = violated.map(({ retryAfterSeconds }) => retryAfterSeconds);
    const retryAfterSeconds = waits.includes(undefined) ? undefined : Math.max(0, ...(waits as number[]));
    return {
      allowed,
      tier,
      limits,
      violated,
      retryAfterSeconds: allowed ? undefined : retryAfterSeconds,
      decisionId: allowed ? undefined : 'tg-fake',
    };
  }

  #violations(
    cost: number,
    row: { readonly call: number; readonly hour: number; readonly day: number },
    used: Used,
    level: number,
    limits: EndpointLimits,
  ): LimitViolation[] {
    const found: LimitViolation[] = [];
    const add = (kind: LimitViolation['kind'], limit: number | undefined, retryAfterSeconds: number | undefined) =>
      found.push({ rule: kind, kind, limit, remaining: 0, retryAfterSeconds });
    if (this.#stop !== undefined) add('stop', undefined, undefined);
    if (level < 1) add('rate', limits.effective, Math.ceil((1 - level) * (60 / (limits.effective ?? 1))));
    if (cost > row.call * 1e6) add('call', row.call * 1e6, undefined);
    if (used.hour.spent + cost > row.hour * 1e6) add('hour', row.hour * 1e6, 1800);
    if (used.day.spent + cost > row.day * 1e6) add('day', row.day * 1e6, 7200);
    if (cost > 0 && this.#total() + cost > STOP_AT) add('total', STOP_AT, undefined);
    return found;
  }

  #bucket(used: Used, endpoint: string, { effective = 0, burst = 0 }: EndpointLimits): { level: number; at: number } {
    const bucket = used.buckets.get(endpoint) ?? { level: Infinity, at: this.wall };
    bucket.level = Math.min(effective + burst, bucket.level + ((this.wall - bucket.at) * effective) / 60_000);
    bucket.at = this.wall;
    used.buckets.set(endpoint, bucket);
    return bucket;
  }

  #usedOf(id: string): Used {
    const hour = Math.floor(this.wall / HOUR);
    const day = Math.floor(this.wall / (24 * HOUR));
    let used = this.#used.get(id);
    if (used === undefined) {
      used = { buckets: new Map(), hour: { page: hour, spent: 0 }, day: { page: day, spent: 0 }, total: 0 };
      this.#used.set(id, used);
    }
    if (used.hour.page !== hour) used.hour = { page: hour, spent: 0 };
    if (used.day.page !== day) used.day = { page: day, spent: 0 };
    return used;
  }

  #total(): number {
    return [...this.#used.values()].reduce((sum, { total }) => sum + total, 0);
  }

  #end(id: string, state: 'settled' | 'released', charge: (hold: HoldView) => number): HoldView | undefined {
    const hold = this.#holds.get(id);
    if (hold === undefined || hold.state !== 'open') return hold;
    const charged = charge(hold);
    const used = this.#usedOf(hold.client);
    for (const counter of [used.hour, used.day]) counter.spent += charged - hold.reserved;
    used.total += charged - hold.reserved;
    const ended: HoldView = { ...hold, state, charged };
    this.#holds.set(id, ended);
    return ended;
  }
}
