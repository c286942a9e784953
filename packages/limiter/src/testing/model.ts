import type { Ask } from '../ask.ts';
import type { Crossing, HoldResult, Limiter, Outcome, Rule, RuleOptions, Settlement, Standing } from '../types.ts';
import { type Charge, type Counter, counterFor, micros } from './model-counters.ts';

/** One rule and key of an ask, mentions of the same summed. */
interface Part {
  readonly rule: ModelRule;
  readonly entry: Entry;
  readonly at: number;
  readonly extra: bigint;
  /** What earlier variants of the rule cost the same key in this decision. */
  readonly lead: bigint;
  cost: bigint;
}

/** What is kept of one key: its counter, and what open holds have charged to it. */
interface Entry {
  counter: Counter;
  options: RuleOptions;
  held: HeldCharge[];
}

interface HeldCharge {
  readonly hold: ModelHold;
  readonly entry: Entry;
  /** The counter it was charged to; another one after a reset. */
  readonly counter: Counter;
  readonly rule: ModelRule;
  readonly estimate: bigint;
  readonly charge: Charge;
}

interface ModelHold {
  readonly id: string;
  readonly wait: number;
  readonly expiry: 'spent' | 'free';
  state: HoldResult['state'];
  expiresAt: bigint;
  readonly charges: HeldCharge[];
}

class ModelRule implements Rule {
  readonly name: string;
  readonly options: RuleOptions;
  readonly capacity: number;
  readonly shape: string;

  constructor(options: RuleOptions) {
    const whole = Number.isSafeInteger(options.limit) && options.limit >= 1;
    if (!whole) throw new RangeError(`${options.name}: limit must be an integer of at least 1`);
    if ('periodMs' in options && !(options.periodMs >= 0.001 && options.periodMs < Infinity)) {
      throw new RangeError(`${options.name}: periodMs must be more than 0`);
    }
    this.name = options.name;
    this.options = options;
    this.capacity = options.limit + (options.algorithm === 'token-bucket' ? (options.burst ?? 0) : 0);
    const period = 'periodMs' in options ? micros(options.periodMs) : 'period' in options ? options.period : '';
    const zone = options.algorithm === 'calendar-window' ? (options.timezone ?? 'UTC') : '';
    this.shape = JSON.stringify([options.id ?? options.name, options.algorithm, String(period), zone]);
  }

  get settles(): boolean {
    return this.options.settles === true;
  }

  get shadow(): boolean {
    return this.options.shadow === true;
  }

  get slots(): boolean {
    return this.options.algorithm === 'concurrency';
  }
}

/**
 * The whole contract of `Limiter`, slow and written to be obviously right: big integers, a list of every charge,
 * nothing packed, nothing lazy. What every other implementation is compared with.
 */
export class ModelLimiter implements Limiter {
  readonly #origin: number;
  readonly #entries = new Map<string, Entry>();
  readonly #holds = new Map<string, ModelHold>();
  #now = 0n;

  /** `origin`: Unix milliseconds of time 0, for calendar windows. */
  constructor(origin: number = 0) {
    this.#origin = origin;
  }

  rule(options: RuleOptions, previous?: Rule): Rule {
    const rule = new ModelRule(options);
    if (previous instanceof ModelRule && previous.shape !== rule.shape) this.#carryOver(previous, rule);
    return rule;
  }

  decide(ask: Ask, now: number): Outcome {
    this.#advance(now);
    const open = ask.holdId === undefined ? undefined : this.#holds.get(ask.holdId);
    if (open?.state === 'open') return admitted(open.wait, true, [], []);
    const parts = this.#parts(ask);
    const outcome = this.#verdict(ask, parts);
    if (!outcome.allowed) return outcome;
    const crossed: Crossing[] = [];
    const hold = ask.holdId === undefined ? undefined : this.#open(ask, outcome.wait);
    for (const part of parts) {
      const shadowed = outcome.shadowed.some((standing) => standing.rule === part.rule);
      // An estimate of nothing is one all the same: what it comes to is charged when it is settled.
      const counts = part.cost > 0n || (part.rule.settles && hold !== undefined);
      if (counts && !shadowed) this.#charge(part, this.#now + BigInt(outcome.wait), hold, crossed);
    }
    return admitted(outcome.wait, false, outcome.shadowed, crossed);
  }

  decideAll(asks: readonly Ask[], now: number): readonly Outcome[] {
    return asks.map((ask) => this.decide(ask, now));
  }

  check(ask: Ask, now: number): Outcome {
    this.#advance(now);
    const open = ask.holdId === undefined ? undefined : this.#holds.get(ask.holdId);
    if (open?.state === 'open') return admitted(open.wait, true, [], []);
    return this.#verdict(ask, this.#parts(ask));
  }

  inspect(ask: Ask, now: number): readonly Standing[] {
    this.#advance(now);
    return this.#parts(ask).map((part) => this.#standing(part));
  }

  take(ask: Ask, now: number): readonly number[] {
    this.#advance(now);
    const taken: number[] = [];
    for (const part of this.#parts(ask)) {
      // One after the other: what an earlier variant takes is used by then.
      const { remaining } = this.#standing(part);
      part.cost = part.cost < BigInt(remaining) ? part.cost : BigInt(remaining);
      if (part.cost > 0n) this.#charge(part, this.#now, undefined, []);
      taken.push(Number(part.cost));
    }
    return taken;
  }

  adjust(ask: Ask, now: number, at: number = now): void {
    this.#advance(now);
    for (const part of this.#parts(ask)) {
      if (part.cost > 0n) this.#charge(part, this.#now, undefined, []);
      else if (part.cost < 0n) part.entry.counter.giveBack(-part.cost, this.#now, BigInt(at));
    }
  }

  settle({ id, amounts = {} }: Settlement, now: number): HoldResult {
    this.#advance(now);
    const hold = this.#holds.get(id);
    if (hold === undefined) return { state: 'unknown', changed: false, crossed: [] };
    if (hold.state !== 'open' && hold.state !== 'expired') return { state: hold.state, changed: false, crossed: [] };
    const late = hold.state === 'expired';
    const crossed: Crossing[] = [];
    for (const held of hold.charges) {
      const { rule, estimate, charge } = held;
      if (rule.slots) {
        if (!late) this.#amend(held, -estimate, crossed);
      } else if (rule.settles) {
        const actual = amounts[rule.options.unit ?? 'requests'];
        this.#amend(held, (actual === undefined ? estimate : BigInt(actual)) - charge.live, crossed);
      }
    }
    this.#close(hold, 'settled');
    return { state: 'settled', changed: true, crossed };
  }

  release(id: string, now: number): HoldResult {
    this.#advance(now);
    const hold = this.#holds.get(id);
    if (hold === undefined) return { state: 'unknown', changed: false, crossed: [] };
    if (hold.state !== 'open' && hold.state !== 'expired') return { state: hold.state, changed: false, crossed: [] };
    for (const held of hold.charges) this.#amend(held, -held.charge.live, []);
    this.#close(hold, 'released');
    return { state: 'released', changed: true, crossed: [] };
  }

  renew(id: string, ttl: number, now: number): HoldResult {
    this.#advance(now);
    const hold = this.#holds.get(id);
    if (hold?.state !== 'open') return { state: hold?.state ?? 'unknown', changed: false, crossed: [] };
    hold.expiresAt = this.#now + BigInt(ttl);
    return { state: 'open', changed: true, crossed: [] };
  }

  reset(ask: Ask, now: number): void {
    this.#advance(now);
    for (const { entry } of this.#parts(ask)) {
      entry.counter = counterFor(entry.options, this.#origin);
      entry.held = [];
    }
  }

  #advance(now: number): void {
    const time = Number.isNaN(now) ? this.#now : BigInt(Math.floor(now));
    const until = time > this.#now ? time : this.#now;
    const due = [...this.#holds.values()].filter(({ state, expiresAt }) => state === 'open' && expiresAt <= until);
    for (const hold of due.sort((a, b) => (a.expiresAt < b.expiresAt ? -1 : 1))) {
      this.#now = hold.expiresAt;
      for (const held of hold.charges) {
        const free = held.rule.slots || (held.rule.settles && hold.expiry === 'free');
        if (free) this.#amend(held, -held.charge.live, []);
      }
      this.#close(hold, 'expired');
    }
    this.#now = until;
  }

  #parts(ask: Ask): Part[] {
    const parts: Part[] = [];
    for (let i = 0; i < ask.size; i++) {
      const rule = ask.rules[i]!;
      if (!(rule instanceof ModelRule)) throw new TypeError(`rule ${rule.name} was made by another limiter`);
      const entry = this.#entry(rule, `${ask.high[i]} ${ask.low[i]}`);
      const same = parts.find((part) => part.rule === rule && part.entry === entry);
      if (same !== undefined) same.cost += BigInt(ask.costs[i]!);
      else {
        const lead = parts.reduce((sum, part) => (part.entry === entry ? sum + part.cost : sum), 0n);
        parts.push({ rule, entry, at: i, lead, cost: BigInt(ask.costs[i]!), extra: BigInt(ask.extras[i]!) });
      }
    }
    return parts;
  }

  #entry(rule: ModelRule, key: string): Entry {
    const name = `${rule.shape} ${key}`;
    let entry = this.#entries.get(name);
    if (entry === undefined) {
      entry = { counter: counterFor(rule.options, this.#origin), options: rule.options, held: [] };
      this.#entries.set(name, entry);
    }
    return entry;
  }

  #standing({ rule, entry, lead, cost, extra }: Part): Standing {
    const now = this.#now;
    const { counter } = entry;
    const limit = BigInt(rule.capacity) + extra;
    const used = counter.used(now);
    const fits = cost === 0n ? now : counter.fitsAt(now, lead + cost, limit);
    const never = cost > limit;
    let verdict: Standing['verdict'] = 'passed';
    if (never) verdict = 'cost_above_capacity';
    else if (fits !== now) verdict = rule.slots ? 'busy' : 'exhausted';
    let retryAfter = fits === undefined ? Infinity : Number(fits - now);
    if (verdict === 'busy') {
      const first = entry.held.reduce((least, { hold }) => Math.min(least, Number(hold.expiresAt - now)), Infinity);
      retryAfter = first;
    }
    const empty = counter.emptyAt(now);
    return {
      rule,
      verdict,
      cost: Number(cost),
      limit: Number(limit),
      used: Number(used),
      held: rule.settles
        ? Number(
            counter.held(
              now,
              entry.held.map(({ charge }) => charge),
            ),
          )
        : 0,
      remaining: used >= limit ? 0 : Number(limit - used),
      retryAfter: never ? Infinity : retryAfter,
      resetAfter: empty === undefined ? Infinity : Number(empty - now),
    };
  }

  #verdict(ask: Ask, parts: readonly Part[]): Outcome {
    if (ask.holdId === undefined) {
      const needy = parts.find(({ rule, cost }) => cost > 0n && (rule.slots || rule.settles));
      if (needy !== undefined) throw new TypeError(`${needy.rule.name} needs a hold`);
    }
    const all = parts.map((part) => ({ part, standing: this.#standing(part) }));
    const shadowed = all.filter(({ part, standing }) => part.rule.shadow && standing.verdict !== 'passed');
    const standings = all.filter(({ part }) => !part.rule.shadow).map(({ standing }) => standing);
    const violated = standings.filter(({ verdict }) => verdict !== 'passed');
    const wait = Math.max(0, ...violated.map(({ retryAfter }) => retryAfter));
    const patient = violated.every(
      ({ rule, verdict }) =>
        verdict === 'exhausted' &&
        (rule.options.algorithm === 'token-bucket' || rule.options.algorithm === 'sliding-window'),
    );
    const would = shadowed.map(({ standing }) => standing);
    if (violated.length === 0 || (patient && wait <= ask.patienceFor)) return admitted(wait, false, would, []);
    return {
      allowed: false,
      retryAfter: wait === Infinity ? undefined : wait,
      estimated: violated.some(({ verdict }) => verdict === 'busy'),
      violated,
      standings,
      shadowed: would,
      degraded: undefined,
    };
  }

  #open(ask: Ask, wait: number): ModelHold {
    const hold: ModelHold = {
      id: ask.holdId!,
      wait,
      expiry: ask.holdExpiry,
      state: 'open',
      expiresAt: this.#now + BigInt(ask.holdFor),
      charges: [],
    };
    this.#holds.set(hold.id, hold);
    return hold;
  }

  #charge(part: Part, at: bigint, hold: ModelHold | undefined, crossed: Crossing[]): void {
    const { rule, entry, cost } = part;
    if (rule.options.algorithm === 'per-call') return;
    const before = entry.counter.used(this.#now);
    entry.counter.become(rule.options, this.#now);
    // A rate counts the call when it runs, everything else when it is admitted.
    const rate = rule.options.algorithm === 'token-bucket' || rule.options.algorithm === 'sliding-window';
    const charge = entry.counter.charge(rate ? at : this.#now, cost);
    if (hold !== undefined) {
      const held: HeldCharge = { hold, entry, counter: entry.counter, rule, estimate: cost, charge };
      hold.charges.push(held);
      entry.held.push(held);
    }
    marks(rule, before, entry.counter.used(this.#now), part.at, crossed);
  }

  /** After a reset the counter is another one: the hold settles into what was forgotten. */
  #amend(held: HeldCharge, by: bigint, crossed: Crossing[]): void {
    const before = held.counter.used(this.#now);
    held.counter.amend(held.charge, by, this.#now);
    if (held.counter !== held.entry.counter) return;
    marks(held.rule, before, held.counter.used(this.#now), -1, crossed);
  }

  #close(hold: ModelHold, state: HoldResult['state']): void {
    hold.state = state;
    for (const { entry } of hold.charges) entry.held = entry.held.filter((held) => held.hold !== hold);
  }

  #carryOver(previous: ModelRule, rule: ModelRule): void {
    for (const [name, { counter }] of [...this.#entries]) {
      if (!name.startsWith(`${previous.shape} `)) continue;
      const used = counter.used(this.#now);
      const entry = this.#entry(rule, name.slice(previous.shape.length + 1));
      if (used > 0n) entry.counter.charge(this.#now, used);
      // It is there now: should the old rule ever come back, it begins with nothing of its own.
      this.#entries.delete(name);
    }
  }
}

function admitted(
  wait: number,
  repeated: boolean,
  shadowed: readonly Standing[],
  crossed: readonly Crossing[],
): Extract<Outcome, { allowed: true }> {
  return { allowed: true, wait, repeated, shadowed, crossed, degraded: undefined };
}

function marks(rule: ModelRule, before: bigint, after: bigint, at: number, crossed: Crossing[]): void {
  for (const mark of rule.options.marks ?? []) {
    if (before < BigInt(mark) && BigInt(mark) <= after) crossed.push({ rule, mark, used: Number(after), at });
  }
}
