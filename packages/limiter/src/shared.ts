import { type Ask, MAX_RULES } from './ask.ts';
import { mixHigh, mixLow } from './hash.ts';
import { MAX_TIME } from './interval.ts';
import { SharedCounters, SharedRule, SLOTS } from './shared-counters.ts';
import { marks, SharedHolds } from './shared-holds.ts';
import { DEAD_AT, SharedMemory } from './shared-memory.ts';
import type { Crossing, HoldResult, Limiter, Outcome, Rule, RuleOptions, Settlement, Standing } from './types.ts';

export { type SharedSizes, sharedMemory } from './shared-memory.ts';

/** One rule and key of an ask, mentions of the same summed. */
interface Part {
  readonly rule: SharedRule;
  readonly at: number;
  readonly high: number;
  readonly low: number;
  readonly extra: number;
  readonly keyHigh: number;
  readonly keyLow: number;
  /** What earlier variants of the rule cost the same key in this decision. */
  readonly lead: number;
  cost: number;
}

/**
 * One limiter for all worker threads of a process: its state is in a buffer of fixed size from `sharedMemory()`, and
 * one short lock makes every call a step of its own. Rules of one id and shape are the same in every worker.
 *
 * `now` must count from one origin in all workers (`performance.timeOrigin` differs between them). When all keys,
 * holds or charges are in use, a decision that needs another is refused as `unavailable`, and nothing in use is
 * forgotten. A hold that has ended is remembered for ten minutes, marks that a settlement reaches are told where
 * the settling worker has made the rule, and slots are not carried over to a rule of another id.
 * A worker that ends inside a call leaves the lock: every further call then throws an Error after a second.
 */
export class SharedLimiter implements Limiter {
  readonly #memory: SharedMemory;
  readonly #counters: SharedCounters;
  readonly #holds: SharedHolds;

  constructor(buffer: SharedArrayBuffer) {
    this.#memory = new SharedMemory(buffer);
    this.#counters = new SharedCounters(this.#memory);
    this.#holds = new SharedHolds(this.#memory, this.#counters);
  }

  rule(options: RuleOptions, previous?: Rule): Rule {
    const rule = new SharedRule(options, this.#memory.seed);
    if (previous !== undefined) {
      const before = own(previous);
      if (before.kind !== SLOTS) rule.replace(before);
    }
    this.#holds.learn(rule);
    return rule;
  }

  decide(ask: Ask, now: number): Outcome {
    return this.#locked(now, (time) => this.#decide(ask, time));
  }

  decideAll(asks: readonly Ask[], now: number): readonly Outcome[] {
    return this.#locked(now, (time) => asks.map((ask) => this.#decide(ask, time)));
  }

  check(ask: Ask, now: number): Outcome {
    return this.#locked(now, (time) => this.#repeated(ask) ?? this.#verdict(ask, this.#parts(ask), time));
  }

  inspect(ask: Ask, now: number): readonly Standing[] {
    return this.#locked(now, (time) => this.#parts(ask).map((part) => this.#standing(part, time)));
  }

  take(ask: Ask, now: number): readonly number[] {
    return this.#locked(now, (time) =>
      this.#parts(ask).map((part) => {
        part.cost = Math.min(part.cost, this.#standing(part, time).remaining);
        if (part.cost > 0 && !this.#charge(part, time, time, 0, [])) return 0;
        return part.cost;
      }),
    );
  }

  adjust(ask: Ask, now: number, at: number = now): void {
    this.#locked(now, (time) => {
      for (const part of this.#parts(ask)) {
        if (part.cost > 0) this.#charge(part, time, time, 0, []);
        else if (part.cost < 0) this.#counters.giveBack(part.rule, this.#own(part, time), -part.cost, time, at);
      }
    });
  }

  settle(settlement: Settlement, now: number): HoldResult {
    return this.#locked(now, (time) => this.#holds.settle(settlement, time));
  }

  release(id: string, now: number): HoldResult {
    return this.#locked(now, (time) => this.#holds.release(id, time));
  }

  renew(id: string, ttl: number, now: number): HoldResult {
    return this.#locked(now, (time) => this.#holds.renew(id, ttl, time));
  }

  reset(ask: Ask, now: number): void {
    this.#locked(now, () => {
      for (const { rule, high, low, keyHigh, keyLow } of this.#parts(ask)) {
        const places = [this.#memory.find(high, low)];
        for (let from = rule.previous; from !== undefined; from = from.previous) {
          places.push(this.#find(from, keyHigh, keyLow));
        }
        for (const at of places) if (at >= 0) this.#memory.clear(at);
      }
    });
  }

  /** One step: nothing of another worker comes between. Overdue holds expire first. */
  #locked<T>(now: number, step: (time: number) => T): T {
    const memory = this.#memory;
    if (now > MAX_TIME) throw new RangeError(`now must be at most 2^47 microseconds from its origin, got ${now}`);
    memory.acquire();
    try {
      if (now > memory.time) memory.time = Math.floor(now);
      const time = memory.time;
      if (time >= memory.nextExpiry) this.#holds.expire(time);
      return step(time);
    } finally {
      memory.release();
    }
  }

  #decide(ask: Ask, time: number): Outcome {
    const repeated = this.#repeated(ask);
    if (repeated !== undefined) return repeated;
    const parts = this.#parts(ask);
    const outcome = this.#verdict(ask, parts, time);
    if (!outcome.allowed) return outcome;
    // An estimate of nothing is one all the same: what it comes to is charged when it is settled.
    const charged = parts.filter(
      ({ rule, cost }) =>
        (cost > 0 || (rule.settles && ask.holdId !== undefined)) &&
        !outcome.shadowed.some((standing) => standing.rule === rule),
    );
    if (!this.#makeRoom(charged, ask.holdId, time)) return this.#unavailable(parts, time);
    const hold = ask.holdId === undefined ? 0 : this.#holds.open(ask, outcome.wait, time);
    const crossed: Crossing[] = [];
    for (const part of charged) this.#charge(part, time, time + outcome.wait, hold, crossed);
    return admitted(outcome.wait, false, outcome.shadowed, crossed);
  }

  #repeated(ask: Ask): Outcome | undefined {
    if (ask.holdId === undefined) return undefined;
    const wait = this.#holds.openWait(ask.holdId);
    return wait === undefined ? undefined : admitted(wait, true, [], []);
  }

  #parts(ask: Ask): Part[] {
    const parts: Part[] = [];
    for (let at = 0; at < ask.size && at < MAX_RULES; at++) {
      const rule = own(ask.rules[at]!);
      const [keyHigh, keyLow] = [ask.high[at]!, ask.low[at]!];
      const same = parts.find((part) => part.rule === rule && part.keyHigh === keyHigh && part.keyLow === keyLow);
      if (same !== undefined) {
        same.cost += ask.costs[at]!;
        continue;
      }
      const high = mixHigh(rule.high, keyHigh) >>> 0 || 1;
      const low = mixLow(rule.low, keyLow) >>> 0;
      let lead = 0;
      for (const part of parts) if (part.high === high && part.low === low) lead += part.cost;
      parts.push({ rule, at, high, low, extra: ask.extras[at]!, keyHigh, keyLow, lead, cost: ask.costs[at]! });
    }
    return parts;
  }

  #standing({ rule, high, low, keyHigh, keyLow, lead, cost, extra }: Part, time: number): Standing {
    const counters = this.#counters;
    const at = this.#memory.find(high, low);
    const limit = rule.capacity + extra;
    // What a replaced rule has used comes back as it did there, until the next charge.
    const source = this.#source(rule, at, keyHigh, keyLow, time) ?? rule;
    const place = source === rule ? at : this.#find(source, keyHigh, keyLow);
    const used = counters.used(source, place, time);
    const never = cost > limit;
    let verdict: Standing['verdict'] = 'passed';
    let retryAfter = 0;
    if (never) {
      verdict = 'cost_above_capacity';
      retryAfter = Infinity;
    } else if (cost > 0 && lead + cost > limit - used) {
      verdict = rule.kind === SLOTS ? 'busy' : 'exhausted';
      if (rule.kind === SLOTS) retryAfter = this.#holds.firstSlot(at) - time;
      else if (lead + cost > limit) retryAfter = Infinity;
      else retryAfter = counters.fitsAt(source, place, time, lead + cost, limit) - time;
    }
    return {
      rule,
      verdict,
      cost,
      limit,
      used,
      held: counters.held(rule, at, time),
      remaining: Math.max(0, limit - used),
      retryAfter,
      resetAfter: counters.emptyAt(source, place, time) - time,
    };
  }

  #verdict(ask: Ask, parts: readonly Part[], time: number): Outcome {
    if (ask.holdId === undefined) {
      const needy = parts.find(({ rule, cost }) => cost > 0 && (rule.settles || rule.kind === SLOTS));
      if (needy !== undefined) throw new TypeError(`${needy.rule.name} can only be charged by a decision with a hold`);
    }
    const all = parts.map((part) => this.#standing(part, time));
    const shadow = ({ rule }: Standing) => own(rule).shadow;
    const shadowed = all.filter((standing) => shadow(standing) && standing.verdict !== 'passed');
    const standings = all.filter((standing) => !shadow(standing));
    const violated = standings.filter(({ verdict }) => verdict !== 'passed');
    if (violated.length === 0) return admitted(0, false, shadowed, []);
    const wait = Math.max(...violated.map(({ retryAfter }) => retryAfter));
    const patient = violated.every(
      ({ rule, verdict }) =>
        verdict === 'exhausted' &&
        (rule.options.algorithm === 'token-bucket' || rule.options.algorithm === 'sliding-window'),
    );
    if (patient && wait <= ask.patienceFor) return admitted(wait, false, shadowed, []);
    return refused(violated, standings, shadowed, wait);
  }

  /** The table is full of what is in use: refused by every rule, and nothing is lost. */
  #unavailable(parts: readonly Part[], time: number): Outcome {
    const standings = parts
      .filter(({ rule }) => !rule.shadow)
      .map((part): Standing => ({ ...this.#standing(part, time), verdict: 'unavailable', retryAfter: Infinity }));
    return refused(standings, standings, [], Infinity);
  }

  /** Makes sure of a place for every key, charge and hold before anything is charged. */
  #makeRoom(parts: readonly Part[], holdId: string | undefined, time: number): boolean {
    const memory = this.#memory;
    if (memory.nodesLeft < 2 * parts.length) return false;
    for (const { high, low } of parts) {
      let at = memory.find(high, low);
      if (at < 0) at = memory.insert(high, low, time);
      if (at < 0) return false;
      // Kept from being taken over by the next of them.
      memory.data[at + DEAD_AT] = Math.max(memory.data[at + DEAD_AT]!, time + 1);
    }
    return holdId === undefined || this.#holds.place(holdId, time) >= 0;
  }

  #charge(part: Part, now: number, time: number, hold: number, crossed: Crossing[]): boolean {
    const { rule, cost } = part;
    if (rule.options.algorithm === 'per-call') return true;
    const counters = this.#counters;
    const at = this.#own(part, now);
    if (at < 0) return false;
    const before = counters.used(rule, at, now);
    counters.charge(rule, at, now, time, cost, hold !== 0 && rule.settles);
    if (hold !== 0) this.#holds.remember(rule, at, cost, hold, now, time);
    marks(rule, before, counters.used(rule, at, now), part.at, crossed);
    return true;
  }

  /** The place of a key for a charge, with what a replaced rule had used; -1: no room. */
  #own({ rule, high, low, keyHigh, keyLow }: Part, now: number): number {
    const memory = this.#memory;
    let at = memory.find(high, low);
    const from = this.#source(rule, at, keyHigh, keyLow, now);
    const carried = from === undefined ? 0 : this.#counters.used(from, this.#find(from, keyHigh, keyLow), now);
    if (at < 0) at = memory.insert(high, low, now);
    if (at >= 0 && from !== undefined) {
      this.#counters.charge(rule, at, now, now, carried, false);
      memory.clear(this.#find(from, keyHigh, keyLow));
    }
    return at;
  }

  /** The replaced rule under which a key still has what it used; undefined: it is all under the rule itself. */
  #source(rule: SharedRule, at: number, keyHigh: number, keyLow: number, now: number): SharedRule | undefined {
    if (this.#counters.used(rule, at, now) > 0) return undefined;
    let from = rule.previous;
    while (from !== undefined && this.#counters.used(from, this.#find(from, keyHigh, keyLow), now) === 0) {
      from = from.previous;
    }
    return from;
  }

  #find(rule: SharedRule, keyHigh: number, keyLow: number): number {
    return this.#memory.find(mixHigh(rule.high, keyHigh) >>> 0 || 1, mixLow(rule.low, keyLow) >>> 0);
  }
}

function own(rule: Rule): SharedRule {
  if (!(rule instanceof SharedRule)) throw new TypeError(`rule ${rule.name} was made by another limiter`);
  return rule;
}

function admitted(
  wait: number,
  repeated: boolean,
  shadowed: readonly Standing[],
  crossed: readonly Crossing[],
): Extract<Outcome, { allowed: true }> {
  return { allowed: true, wait, repeated, shadowed, crossed, degraded: undefined };
}

function refused(
  violated: readonly Standing[],
  standings: readonly Standing[],
  shadowed: readonly Standing[],
  wait: number,
): Outcome {
  return {
    allowed: false,
    retryAfter: wait === Infinity ? undefined : wait,
    estimated: violated.some(({ verdict }) => verdict === 'busy'),
    violated,
    standings,
    shadowed,
    degraded: undefined,
  };
}
