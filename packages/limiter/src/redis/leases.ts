import type { RedisLimiter } from './limiter.ts';
import type { Question } from './question.ts';

/** Milliseconds after which units that were not used are given back. */
export const LEASE: number = 2_000;
/** Share of a rule's capacity that all gateways together may hold in advance. */
const SHARE = 0.1;
/** Seconds of this gateway's own traffic that one lease is for. */
const AHEAD = 0.1;
/** Milliseconds without asking after the central counter had nothing. */
const BACKOFF = 20;
const ATTEMPTS = 3;

interface Batch {
  units: number;
  /** Server microseconds of its charge, for giving back. */
  readonly charged: number;
  readonly until: number;
}

/**
 * Units of one key that this gateway took centrally in advance: `k = max(1, min(0.1 · capacity / N, local rate · 100
 * ms))`, renewed at half, given back when not used for `LEASE` or at the end. What is admitted was debited before, so
 * over time the rate is exact; in any window at most min(N · k, capacity + rate · LEASE) more than the limit passes.
 */
class Lease {
  readonly #limiter: RedisLimiter;
  readonly #question: Question;
  #batches: Batch[] = [];
  #refill: Promise<number> | undefined;
  #emptyUntil = 0;
  /** Units a second, smoothed. */
  #rate = 0;
  #seen = performance.now();

  constructor(limiter: RedisLimiter, question: Question) {
    this.#limiter = limiter;
    this.#question = question;
  }

  get units(): number {
    return this.#batches.reduce((sum, { units }) => sum + units, 0);
  }

  get busy(): boolean {
    return this.#refill !== undefined;
  }

  /** True: the units are this call's, until `putBack`. */
  async use(cost: number): Promise<boolean> {
    this.#count(cost);
    for (let attempt = 0; ; attempt++) {
      this.#expire();
      if (this.units >= cost) {
        this.#spend(cost);
        if (this.units < this.#size() / 2 && performance.now() >= this.#emptyUntil) {
          void this.#more(this.#size()).catch(() => {});
        }
        return true;
      }
      if (attempt === ATTEMPTS) return false;
      const waited = this.#refill !== undefined;
      const got = await this.#more(Math.max(cost - this.units, this.#size()));
      if (got === 0 && !waited) return false;
    }
  }

  putBack(cost: number): void {
    const last = this.#batches.at(-1);
    if (last !== undefined) last.units += cost;
    else this.#batches.push({ units: cost, charged: this.#limiter.serverTime(), until: performance.now() + LEASE });
  }

  /** Gives back what is overdue, or everything. */
  async giveBack(everything: boolean): Promise<void> {
    if (everything) await this.#refill?.catch(() => {});
    const now = performance.now();
    const back = everything ? this.#batches : this.#batches.filter(({ until }) => until <= now);
    this.#batches = everything ? [] : this.#batches.filter(({ until }) => until > now);
    for (const { units, charged } of back) {
      const part = this.#question.counted[0]!;
      // What a bucket has refilled by itself meanwhile is not given back a second time.
      const perUnit = part.rule.kind === 'b' ? part.rule.refillMicros : Infinity;
      part.cost = -Math.max(0, units - Math.ceil(Math.max(0, this.#limiter.serverTime() - charged) / perUnit));
      if (part.cost < 0) await this.#limiter.send(this.#question, 'a', charged).catch(() => {});
    }
  }

  #size(): number {
    const { limit } = this.#question.counted[0]!;
    return Math.max(1, Math.floor(Math.min((SHARE * limit) / this.#limiter.nodes, this.#rate * AHEAD)));
  }

  #count(cost: number): void {
    const now = performance.now();
    const seconds = Math.max(0.001, (now - this.#seen) / 1000);
    const weight = Math.min(1, seconds);
    this.#rate = this.#rate * (1 - weight) + (cost / seconds) * weight;
    this.#seen = now;
  }

  #more(units: number): Promise<number> {
    this.#refill ??= this.#ask(units).finally(() => {
      this.#refill = undefined;
    });
    return this.#refill;
  }

  async #ask(units: number): Promise<number> {
    this.#question.counted[0]!.cost = units;
    const [, charged, , taken] = await this.#limiter.numbers(this.#question, 't');
    if (taken! > 0) this.#batches.push({ units: taken!, charged: charged!, until: performance.now() + LEASE });
    else this.#emptyUntil = performance.now() + BACKOFF;
    return taken!;
  }

  #spend(cost: number): void {
    for (const batch of this.#batches) {
      const part = Math.min(batch.units, cost);
      batch.units -= part;
      cost -= part;
      if (cost === 0) break;
    }
    this.#batches = this.#batches.filter(({ units }) => units > 0);
  }

  #expire(): void {
    const now = performance.now();
    if (this.#batches.some(({ until }) => until <= now)) void this.giveBack(false);
  }
}

/** The leases of this gateway, by key. Only a cluster has any, and only for rates that tenants share. */
export class Leases {
  readonly #limiter: RedisLimiter;
  readonly #leases = new Map<string, Lease>();
  #timer: NodeJS.Timeout | undefined;

  constructor(limiter: RedisLimiter) {
    this.#limiter = limiter;
  }

  /** `question`: of this one part, in the place that tenants share; kept for renewals. */
  of(key: string, question: () => Question): Lease {
    let lease = this.#leases.get(key);
    if (lease === undefined) {
      lease = new Lease(this.#limiter, question());
      this.#leases.set(key, lease);
      this.#timer ??= setInterval(() => void this.#tidy(), LEASE / 2).unref();
    }
    return lease;
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#timer = undefined;
    await Promise.all([...this.#leases.values()].map((lease) => lease.giveBack(true)));
    this.#leases.clear();
  }

  async #tidy(): Promise<void> {
    for (const [key, lease] of this.#leases) {
      await lease.giveBack(false);
      if (lease.units === 0 && !lease.busy) this.#leases.delete(key);
    }
  }
}

export type { Lease };
