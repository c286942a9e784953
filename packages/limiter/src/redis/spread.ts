import type { Ask } from '../ask.ts';
import type { Crossing, HoldResult, Outcome, Settlement, Standing } from '../types.ts';
import { outcomeFrom, standingsOf } from './answer.ts';
import { digest } from './keys.ts';
import { type Lease, Leases } from './leases.ts';
import type { RedisLimiter } from './limiter.ts';
import { Question } from './question.ts';
import type { RedisRule } from './rule.ts';

/** Holds whose places are remembered here; older ones are looked up. */
const MAX_HOLDS = 100_000;
/** Milliseconds for which the places of a hold can be looked up after its expiry. */
const KEPT = 3_024_000_000;

interface Places {
  readonly bases: readonly string[];
  readonly leased: readonly (readonly [Lease, number])[];
}

/** An ask taken apart by where its keys live. */
interface Split {
  readonly whole: Question;
  /** In the tenant's slot. */
  readonly tenant: Question;
  /** In the slot that tenants share, decided there: money, slots and totals. */
  readonly exact: Question;
  /** Rates that tenants share. */
  readonly leased: Question;
}

const leases = (rule: RedisRule) => rule.crossTenant && 'bsfc'.includes(rule.kind) && !rule.settles;
const exact = (rule: RedisRule) => rule.crossTenant && rule.kind !== 'p' && !leases(rule);

/**
 * A decision on a cluster, where one script sees one tenant only. Rates that tenants share are taken from leases of
 * this gateway; money and slots that they share are held by a script in their own slot; then the tenant's script
 * decides the rest. Where a later one refuses, the earlier are put back.
 */
export class Spread {
  readonly #limiter: RedisLimiter;
  readonly #leases: Leases;
  readonly #holds = new Map<string, Places>();

  constructor(limiter: RedisLimiter) {
    this.#limiter = limiter;
    this.#leases = new Leases(limiter);
  }

  decide(ask: Ask): Promise<Outcome> {
    return this.#decide(this.#split(ask));
  }

  async check(ask: Ask): Promise<Outcome> {
    return this.#refusal(this.#split(ask), new Set());
  }

  async inspect(ask: Ask): Promise<readonly Standing[]> {
    const split = this.#split(ask, true);
    return this.#standings(split);
  }

  async take(ask: Ask): Promise<readonly number[]> {
    const { whole, tenant, exact: shared } = this.#split(ask, true);
    const taken = new Map<number, number>();
    for (const question of [tenant, shared]) {
      if (question.counted.length === 0) continue;
      const numbers = await this.#limiter.numbers(question, 't');
      question.counted.forEach(({ at }, i) => void taken.set(at, numbers[i + 3]!));
    }
    return whole.parts.map(({ at, cost, limit }) => taken.get(at) ?? Math.min(cost, limit));
  }

  async send(ask: Ask, operation: 'a' | 'z', at: number | undefined): Promise<void> {
    const { tenant, exact: shared } = this.#split(ask, true);
    for (const question of [tenant, shared]) {
      if (question.counted.length > 0) await this.#limiter.send(question, operation, at);
    }
  }

  settle({ id, amounts = {} }: Settlement): Promise<HoldResult> {
    const pairs = Object.entries(amounts).flatMap(([unit, amount]) => [unit, String(amount)]);
    return this.#close('s', id, pairs);
  }

  async release(id: string): Promise<HoldResult> {
    const places = this.#holds.get(id);
    const result = await this.#close('r', id, []);
    if (result.changed) for (const [lease, cost] of places?.leased ?? []) lease.putBack(cost);
    return result;
  }

  renew(id: string, ttl: number): Promise<HoldResult> {
    return this.#close('n', id, [String(ttl)]);
  }

  close(): Promise<void> {
    return this.#leases.close();
  }

  /** `peeking`: leased counters are looked at where they are kept. */
  #split(ask: Ask, peeking: boolean = false): Split {
    const common = this.#limiter.places.common;
    const base = this.#limiter.places.of(ask.tag);
    const away = peeking ? (rule: RedisRule) => exact(rule) || leases(rule) : exact;
    return {
      whole: new Question(ask, base, true),
      tenant: new Question(ask, base, peeking, (rule) => !leases(rule) && !exact(rule)),
      exact: new Question(ask, common, peeking, away),
      leased: new Question(ask, common, peeking, leases),
    };
  }

  async #decide(split: Split): Promise<Outcome> {
    const { whole, tenant, exact: shared, leased } = split;
    if (whole.needy !== undefined) throw new TypeError(`${whole.needy.name} needs a hold`);
    if (tenant.hopeless) return this.#refusal(split, new Set());
    const used: [Lease, number][] = [];
    const undo: (() => unknown)[] = [];
    const putBack = async () => {
      for (const step of undo.reverse()) await step();
    };
    const short = new Set<number>();
    const shadowed = new Set<number>();
    try {
      for (const part of leased.counted) {
        if (part.cost === 0) continue;
        const lease = this.#leases.of(part.key, () => leased.only(part));
        if (await lease.use(part.cost)) {
          used.push([lease, part.cost]);
          undo.push(() => lease.putBack(part.cost));
        } else if (part.rule.shadow) shadowed.add(part.at);
        else short.add(part.at);
      }
      if (short.size > 0) {
        await putBack();
        return await this.#refusal(split, short);
      }
      let first: Outcome | undefined;
      if (shared.counted.length > 0) {
        first = await this.#limiter.outcome(shared, 'd');
        if (!first.allowed) {
          await putBack();
          return await this.#refusal(split, new Set(first.violated.map(({ rule }) => at(shared, rule))));
        }
        if (!first.repeated) undo.push(() => this.#undo(shared));
      }
      const second = await this.#limiter.outcome(tenant, 'd');
      if (!second.allowed) {
        await putBack();
        return await this.#refusal(split, new Set(second.violated.map(({ rule }) => at(tenant, rule))));
      }
      const repeated = second.repeated;
      if (repeated) for (const [lease, cost] of used) lease.putBack(cost);
      else if (whole.holdId !== undefined) this.#remember(whole, shared.counted.length > 0, used);
      return this.#joined(first, second, shadowed.size > 0 ? await this.#standings(split) : [], shadowed, whole);
    } catch (error) {
      // A store that failed half-way: what was taken before goes back, and what cannot be expires.
      await putBack().catch(() => {});
      throw error;
    }
  }

  #joined(
    first: Outcome | undefined,
    second: Outcome,
    standings: readonly Standing[],
    missed: ReadonlySet<number>,
    whole: Question,
  ): Outcome {
    const shadowed: Standing[] = whole.parts.flatMap((part, i) => (missed.has(part.at) ? [standings[i]!] : []));
    const crossed: Crossing[] = [];
    let wait = 0;
    let repeated = false;
    for (const outcome of [first, second]) {
      if (outcome?.allowed !== true) continue;
      wait = Math.max(wait, outcome.wait);
      repeated = outcome.repeated;
      shadowed.push(...outcome.shadowed);
      crossed.push(...outcome.crossed);
    }
    return { allowed: true, wait, repeated, shadowed, crossed, degraded: undefined };
  }

  /** Where all rules stand; those of `in the way` are, whatever became of them since. */
  async #refusal(split: Split, inTheWay: ReadonlySet<number>): Promise<Outcome> {
    const { whole } = split;
    const standings = await this.#standings(split);
    const all = standings.map((standing, i) => {
      if (!inTheWay.has(whole.parts[i]!.at) || standing.verdict !== 'passed') return standing;
      return { ...standing, verdict: 'exhausted' as const, retryAfter: 1 };
    });
    return outcomeFrom(whole, all, undefined, []);
  }

  async #standings({ whole, tenant, exact: shared, leased }: Split): Promise<Standing[]> {
    const found = new Map<number, Standing>();
    for (const question of [tenant, shared, leased]) {
      if (question.parts.length === 0) continue;
      const numbers = question.counted.length > 0 ? await this.#limiter.numbers(question, 'i') : [];
      standingsOf(question, numbers).forEach((standing, i) => void found.set(question.parts[i]!.at, standing));
    }
    return whole.parts.map(({ at }) => found.get(at)!);
  }

  async #undo(shared: Question): Promise<void> {
    if (shared.holdId !== undefined) {
      await this.#limiter.close('r', shared.base, shared.holdId, []);
      return;
    }
    for (const part of shared.counted) part.cost = -part.cost;
    await this.#limiter.send(shared, 'a');
  }

  #remember(whole: Question, shared: boolean, leased: readonly (readonly [Lease, number])[]): void {
    const id = whole.holdId!;
    const bases = shared ? [whole.base, this.#limiter.places.common] : [whole.base];
    if (this.#holds.size === MAX_HOLDS) this.#holds.delete(this.#holds.keys().next().value!);
    this.#holds.set(id, { bases, leased });
    // For whoever ends the hold without having opened it. Nobody waits for it: a hold that is not found expires.
    const key = this.#pointer(id);
    const ttl = String(Math.ceil(whole.holdFor / 1000) + KEPT);
    this.#limiter.link.command(key, ['SET', key, bases.join(' '), 'PX', ttl]).catch(() => {});
  }

  #pointer(id: string): string {
    return `${this.#limiter.places.prefix}:{${digest(id, 32)}}:p`;
  }

  async #close(operation: 's' | 'r' | 'n', id: string, args: readonly string[]): Promise<HoldResult> {
    let bases = this.#holds.get(id)?.bases;
    if (bases === undefined) {
      const key = this.#pointer(id);
      const found = await this.#limiter.link.command(key, ['GET', key]);
      if (typeof found !== 'string') return { state: 'unknown', changed: false, crossed: [] };
      bases = found.split(' ');
    }
    const results = await Promise.all(bases.map((base) => this.#limiter.close(operation, base, id, args)));
    const { state } = results.find((result) => result.state !== 'unknown') ?? results[0]!;
    return {
      state,
      changed: results.some(({ changed }) => changed),
      crossed: results.flatMap(({ crossed }) => crossed),
    };
  }
}

function at(question: Question, rule: unknown): number {
  return question.parts.find((part) => part.rule === rule)?.at ?? -1;
}
