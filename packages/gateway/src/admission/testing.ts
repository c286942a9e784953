/** Limits, calls and a clock for the tests of this room. */
import { type Limiter, MemoryLimiter } from '@tollgate/limiter';
import type { Clock } from '../core/clock.ts';
import { Lifetime } from '../core/lifetime.ts';
import { lanesOf, type Principal } from '../core/principal.ts';
import { Call, type ClientSession, type Reply } from '../protocol/call.ts';
import { encode } from '../protocol/json/splice.ts';
import type { Message } from '../protocol/message.ts';
import type { Era } from '../protocol/versions.ts';
import { createAdmission } from './admission.ts';
import type { Admission, AdmissionDeps, CallEnd } from './contract.ts';
import type { Decision, Verdict } from './decision.ts';
import type { Target } from './limits.ts';
import type { AdmissionOptions, Amount, LimitOptions, Period, PriceOptions, Quota } from './options.ts';

/** 2026-11-20T18:48:00Z: 5 h 12 min before the end of the day. */
export const START = Date.UTC(2026, 10, 20, 18, 48);

/** Moves only when told. Monotonic time begins at 0. */
export class TestClock implements Clock {
  now = 0;
  wall(): number {
    return START + this.now;
  }
  monotonic(): number {
    return this.now;
  }
}

const MINUTE: Period = { kind: 'length', ms: 60_000 };
export const DAY: Period = { kind: 'calendar', page: 'day' };

export function usd(units: number): Amount {
  return { unit: 'USD', micros: Math.round(units * 1e6) };
}

export function rate(count: number, burst = 0, period = MINUTE): Quota {
  return { kind: 'rate', count, period, burst };
}

export function atOnce(count: number): Quota {
  return { kind: 'concurrency', count };
}

export function budget(units: number, period: Period = DAY): Quota {
  return { kind: 'amount', amount: usd(units), period, burst: 0 };
}

export function total(units: number): Quota {
  return { kind: 'total', amount: usd(units) };
}

export function perCall(units: number): Quota {
  return { kind: 'per-call', amount: usd(units) };
}

/** A limit as `config/compile` makes it: by principal, token bucket for rates, fixed windows for the rest. */
export function limit(name: string, quota: Quota | undefined, over: Partial<LimitOptions> = {}): LimitOptions {
  return {
    name,
    was: undefined,
    on: undefined,
    tool: undefined,
    resource: undefined,
    prompt: undefined,
    server: undefined,
    endpoint: undefined,
    tenant: undefined,
    tier: undefined,
    when: undefined,
    by: ['principal'],
    quota,
    rows: new Map(),
    algorithm: quota?.kind === 'rate' ? 'token-bucket' : 'fixed-window',
    cost: undefined,
    hits: false,
    // biome-ignore lint/suspicious/noThenProperty: the option is called so, and holds no function.
    then: [{ kind: 'refuse' }],
    mode: 'enforce',
    onError: 'local',
    replaces: [],
    latch: false,
    alerts: [],
    timezone: 'UTC',
    message: undefined,
    disclose: 'mine',
    origin: 'file',
    ...over,
  };
}

export function price(over: Partial<PriceOptions>): PriceOptions {
  return {
    each: undefined,
    times: undefined,
    from: undefined,
    hold: undefined,
    max: undefined,
    cached: undefined,
    ...over,
  };
}

export interface RigOptions extends Partial<Omit<AdmissionOptions, 'limits' | 'pricesOf'>> {
  readonly limits?: readonly LimitOptions[];
  /** By canonical id. */
  readonly prices?: Readonly<Record<string, PriceOptions | readonly PriceOptions[]>>;
  readonly deps?: Partial<AdmissionDeps>;
}

export class Rig {
  readonly clock = new TestClock();
  readonly limiter: Limiter;
  admission: Admission;

  constructor(options: RigOptions) {
    this.limiter = options.deps?.limiter ?? new MemoryLimiter({ seed: [1, 2], originMs: START });
    this.admission = this.#create(options, undefined);
  }

  /** Another configuration takes over, as on a reload. */
  reload(options: RigOptions): void {
    this.admission = this.#create(options, this.admission);
  }

  /** Admits a call now; the verdict of a limiter in memory without waits. */
  admit(call: Call, target: Target = toolTarget()): Verdict {
    const verdict = this.admission.admit(call, target, this.clock.now);
    if (verdict instanceof Promise) throw new Error('the verdict is a promise');
    if (verdict.allowed) call.charge = verdict.charge;
    return verdict;
  }

  async admitted(call: Call, target: Target = toolTarget()): Promise<Verdict> {
    const verdict = await this.admission.admit(call, target, this.clock.now);
    if (verdict.allowed) call.charge = verdict.charge;
    return verdict;
  }

  /** Admits and finishes a call that ran. Undefined: allowed. */
  run(call: Call, target: Target = toolTarget()): Decision | undefined {
    const verdict = this.admit(call, target);
    if (!verdict.allowed) return verdict.decision;
    this.finish(call);
    return undefined;
  }

  finish(call: Call, executed: CallEnd['executed'] = 'yes', answer?: Message): void {
    this.admission.finish(call, { executed, answer }, this.clock.now);
  }

  #create({ limits = [], prices = {}, deps, ...rest }: RigOptions, previous: Admission | undefined): Admission {
    const options: AdmissionOptions = {
      limits,
      tiers: ['default'],
      pricesOf: (tool) => {
        const found = prices[tool];
        return found === undefined || Array.isArray(found)
          ? (found as readonly PriceOptions[])
          : [found as PriceOptions];
      },
      unpriced: 'free',
      sessionGuard: undefined,
      preset: undefined,
      ...rest,
    };
    return createAdmission(options, { clock: this.clock, limiter: this.limiter, previous, ...deps });
  }
}

export function toolTarget(canonicalId = 'math/add', over: Partial<Target> = {}): Target {
  return { kind: 'tool', canonicalId, server: canonicalId.split('/')[0], endpoint: '/mcp', timeout: 30_000, ...over };
}

let principals = 0;

export function principal(id = `test/p${++principals}`, over: Partial<Principal> = {}): Principal {
  const [entry = '', subject = ''] = id.split('/');
  return {
    id,
    person: id,
    key: ++principals,
    lanes: lanesOf(id),
    entry,
    subject,
    tenant: undefined,
    tier: undefined,
    roles: [],
    scopes: undefined,
    clientId: undefined,
    ...over,
  };
}

/** Keeps what was sent to the client of a call. */
export class Sent implements Reply {
  readonly canAsk = false;
  readonly notified: Record<string, unknown>[] = [];
  notify(message: Message): void {
    this.notified.push(message.object());
  }
  ask(): () => void {
    throw new Error('nobody asks here');
  }
  respond(): void {}
}

export interface CallOptions {
  readonly principal?: Principal;
  readonly method?: string;
  readonly args?: unknown;
  readonly session?: ClientSession;
  readonly address?: string;
  readonly progressToken?: string | number;
  readonly reply?: Reply;
  readonly era?: Era;
  /** A notification otherwise. */
  readonly id?: unknown;
}

export const ADA = principal('test/ada');

export function call(options: CallOptions = {}): Call {
  const { method = 'tools/call', args, progressToken } = options;
  const params = {
    name: 'add',
    ...(args === undefined ? {} : { arguments: args }),
    ...(progressToken === undefined ? {} : { _meta: { progressToken } }),
  };
  const id = 'id' in options ? options.id : 1;
  return new Call({
    message: encode({ jsonrpc: '2.0', ...(id === undefined ? {} : { id }), method, params }),
    era: options.era ?? 'modern',
    version: '2026-07-28',
    endpoint: '/mcp',
    principal: options.principal ?? ADA,
    session: options.session,
    transport: 'http',
    lifetime: new Lifetime(),
    reply: options.reply ?? new Sent(),
    address: options.address,
    paramHeaders: undefined,
    startedAt: 0,
  });
}

export function session(id: string): ClientSession {
  return { id } as ClientSession;
}

/** The answer of a server. */
export function answer(result: unknown): Message {
  return encode({ jsonrpc: '2.0', id: 1, result });
}

/** The same limiter behind a network. */
export function remote(limiter: MemoryLimiter): Limiter {
  return {
    rule: (...args) => limiter.rule(...args),
    decide: (...args) => Promise.resolve(limiter.decide(...args)),
    decideAll: (...args) => Promise.resolve(limiter.decideAll(...args)),
    check: (...args) => Promise.resolve(limiter.check(...args)),
    inspect: (...args) => Promise.resolve(limiter.inspect(...args)),
    take: (...args) => Promise.resolve(limiter.take(...args)),
    adjust: (...args) => Promise.resolve(limiter.adjust(...args)),
    settle: (...args) => Promise.resolve(limiter.settle(...args)),
    release: (...args) => Promise.resolve(limiter.release(...args)),
    renew: (...args) => Promise.resolve(limiter.renew(...args)),
    reset: (...args) => Promise.resolve(limiter.reset(...args)),
  };
}
