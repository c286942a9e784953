import type { Ask } from './ask.ts';
import { Counters } from './counters.ts';
import { Decision } from './decision.ts';
import { Endings } from './endings.ts';
import { Holds, OPEN, RELEASED, SETTLED } from './holds.ts';
import { MAX_TIME } from './interval.ts';
import { Journal } from './journal.ts';
import { ADMITTED, CHANGED, closed, NONE, patient } from './outcome.ts';
import type { Parts } from './piece.ts';
import { restore } from './restore.ts';
import { BUCKET, CONCURRENCY, type MemoryRule, PER_CALL, Rules, type Seed, SLIDING } from './rule.ts';
import { snapshot } from './snapshot.ts';
import type { Admitted, HoldResult, Limiter, Outcome, Rule, RuleOptions, Settlement, Standing } from './types.ts';

/** Expired holds looked after in one call, so that many at once are no pause. */
const SWEPT = 16;

export interface MemoryLimiterOptions {
  /**
   * Keys with anything used that are told apart: so many of token buckets (16 bytes a slot) and so many of other rules
   * (32 bytes a slot). Tables begin with 32 KB and grow as needed. When all are in use at once, further keys are counted
   * in a sketch per rule, which can count too much but never too little. Default 1,000,000.
   */
  readonly maxKeys?: number;
  /** Two 32-bit numbers that decide where keys are kept, so that nobody outside can aim at a slot. Default random. */
  readonly seed?: readonly [number, number];
  /** Unix milliseconds at engine time 0; calendar windows need it. Default 0. */
  readonly originMs?: number;
  /** True: changes are kept until `changes` takes them. Default false. */
  readonly persist?: boolean;
  /** Told of each hold that has expired and what its estimates count as until a late settlement corrects it. */
  readonly onExpire?: (id: string, assumed: 'spent' | 'free') => void;
}

/**
 * The limiter of one process. Synchronous from first to last line of a decision, so atomic without a lock; an
 * admission allocates nothing. State only ever moves forward: a `now` that goes back counts as the latest seen.
 */
export class MemoryLimiter implements Limiter {
  readonly #counters: Counters;
  readonly #rules: Rules;
  readonly #holds: Holds;
  readonly #journal: Journal | undefined;
  readonly #endings: Endings;
  readonly #decision: Decision;
  #seed: Seed;
  #originMs: number;
  #originMicros: number;
  #started = false;
  constructor(options: MemoryLimiterOptions = {}) {
    const { maxKeys = 1_000_000, seed = [random32(), random32()], originMs = 0, persist = false, onExpire } = options;
    if (!(maxKeys >= 1 && maxKeys <= 2 ** 25)) throw new RangeError('maxKeys must be from 1 to 33,554,432');
    this.#seed = [seed[0] >>> 0, seed[1] >>> 0];
    this.#counters = new Counters(maxKeys);
    this.#rules = new Rules(this.#seed);
    this.#holds = new Holds(this.#counters.clock, this.#seed);
    this.#endings = new Endings(this.#counters, this.#rules, this.#holds, onExpire);
    this.#decision = new Decision(this.#counters, this.#rules, this.#holds, this.#endings);
    this.#originMs = 0;
    this.#originMicros = 0;
    this.originMs = originMs;
    this.#journal = persist ? new Journal() : undefined;
    this.#counters.journal = this.#journal;
  }

  /** Decides where keys are kept; part of what a store has to keep. */
  get seed(): readonly [number, number] {
    return this.#seed;
  }

  /** Unix milliseconds at engine time 0. Set it anew when the wall clock was corrected; open windows keep their end. */
  get originMs(): number {
    return this.#originMs;
  }

  set originMs(originMs: number) {
    if (!(Math.abs(originMs) <= 8.64e15)) throw new RangeError(`originMs must be a time, got ${String(originMs)}`);
    this.#originMs = originMs;
    this.#originMicros = Math.round(originMs * 1000);
    this.#counters.clock.wall = this.#originMicros + this.#counters.clock.now;
  }

  rule(options: RuleOptions, previous?: Rule): Rule {
    const before = previous === undefined ? undefined : this.#rules.own(previous);
    const known = this.#rules.all.length;
    const rule = this.#rules.make(options, before, this.#counters.clock.now);
    if (known < this.#rules.all.length || before !== undefined) this.#journal?.defined();
    return rule;
  }

  decide(ask: Ask, now: number): Outcome {
    this.#advance(now);
    const { holdId } = ask;
    let known = -1;
    if (holdId !== undefined) {
      known = this.#holds.find(holdId);
      if (known >= 0 && this.#holds.state[known] === OPEN) return this.#repeated(known);
    }
    let wait = 0;
    let shadowed: readonly Standing[] = NONE;
    if (!this.#decision.examine(ask)) {
      const refusal = this.#decision.refusal(ask);
      wait = patient(refusal, ask.patienceFor);
      if (wait < 0) return refusal;
      if (!refusal.allowed) shadowed = refusal.shadowed;
    } else if (this.#decision.shadowed) shadowed = this.#decision.shadows(ask);
    const crossed = this.#decision.commit(ask, wait, known);
    if (wait === 0 && shadowed === NONE && crossed === NONE) return ADMITTED;
    return { allowed: true, wait, repeated: false, shadowed, crossed, degraded: undefined };
  }

  decideAll(asks: readonly Ask[], now: number): readonly Outcome[] {
    const outcomes: Outcome[] = [];
    for (const ask of asks) outcomes.push(this.decide(ask, now));
    return outcomes;
  }

  check(ask: Ask, now: number): Outcome {
    this.#advance(now);
    if (ask.holdId !== undefined) {
      const known = this.#holds.find(ask.holdId);
      if (known >= 0 && this.#holds.state[known] === OPEN) return this.#repeated(known);
    }
    let wait = 0;
    let shadowed: readonly Standing[] = NONE;
    if (!this.#decision.examine(ask)) {
      const refusal = this.#decision.refusal(ask);
      wait = patient(refusal, ask.patienceFor);
      if (wait < 0) return refusal;
      if (!refusal.allowed) shadowed = refusal.shadowed;
    } else if (this.#decision.shadowed) shadowed = this.#decision.shadows(ask);
    if (wait === 0 && shadowed === NONE) return ADMITTED;
    return { allowed: true, wait, repeated: false, shadowed, crossed: NONE, degraded: undefined };
  }

  inspect(ask: Ask, now: number): readonly Standing[] {
    this.#advance(now);
    this.#decision.gather(ask);
    const standings: Standing[] = [];
    for (let i = 0; i < this.#decision.size; i++) standings.push(this.#decision.standing(ask, i));
    return standings;
  }

  take(ask: Ask, now: number): readonly number[] {
    this.#advance(now);
    this.#decision.gather(ask);
    const counters = this.#counters;
    const taken: number[] = [];
    for (let i = 0; i < this.#decision.size; i++) {
      const at = this.#decision.at[i]!;
      const rule = ask.rules[at] as MemoryRule;
      if (rule.kind === CONCURRENCY) throw new TypeError(`${rule.name} cannot be taken: its slots need a hold`);
      counters.read(rule, ask.high[at]!, ask.low[at]!);
      counters.measure(rule, ask.high[at]!, ask.low[at]!, 0, rule.capacity + ask.extras[at]!);
      const units = Math.min(this.#decision.cost[i]!, counters.remaining);
      taken.push(units);
      if (units > 0) this.#charge(rule, ask.high[at]!, ask.low[at]!, units);
    }
    return taken;
  }

  adjust(ask: Ask, now: number, at?: number): void {
    this.#advance(now);
    this.#decision.gather(ask);
    for (let i = 0; i < this.#decision.size; i++) {
      const position = this.#decision.at[i]!;
      const rule = ask.rules[position] as MemoryRule;
      const amount = this.#decision.cost[i]!;
      if (amount === 0 || rule.kind === PER_CALL || rule.kind === CONCURRENCY) continue;
      const high = ask.high[position]!;
      const low = ask.low[position]!;
      if (amount > 0) this.#charge(rule, high, low, amount);
      else this.#counters.giveBack(rule, high, low, -amount, at);
    }
  }

  /**
   * Sets what the keys of the ask have used in the window at hand to `ask.change` amounts; what open holds cover stays on
   * top. For windows and totals whose counters were lost while a ledger was not. Throws a TypeError for other rules.
   */
  assume(ask: Ask, now: number): void {
    this.#advance(now);
    this.#decision.gather(ask);
    for (let i = 0; i < this.#decision.size; i++) {
      const position = this.#decision.at[i]!;
      const rule = ask.rules[position] as MemoryRule;
      const { kind } = rule;
      if (kind === BUCKET || kind === SLIDING || kind === CONCURRENCY || kind === PER_CALL) {
        throw new TypeError(`what ${rule.name} has used cannot be assumed: it is no window or total`);
      }
      this.#counters.assume(rule, ask.high[position]!, ask.low[position]!, Math.max(0, this.#decision.cost[i]!));
      this.#counters.wides.maintain();
    }
  }

  settle(settlement: Settlement, now: number): HoldResult {
    this.#advance(now);
    const { id, amounts } = settlement;
    const hold = this.#holds.find(id);
    if (hold < 0) return closed(hold);
    if (amounts !== undefined) {
      for (const unit in amounts) {
        const amount = amounts[unit]!;
        if (!(amount >= 0 && Number.isSafeInteger(amount))) {
          throw new RangeError(`a hold settles at a non-negative integer of ${unit}, got ${String(amount)}`);
        }
      }
    }
    const crossed = this.#endings.finish(hold, SETTLED, amounts);
    return crossed === NONE ? CHANGED[SETTLED]! : { state: 'settled', changed: true, crossed };
  }

  release(id: string, now: number): HoldResult {
    this.#advance(now);
    const hold = this.#holds.find(id);
    if (hold < 0) return closed(hold);
    this.#endings.finish(hold, RELEASED, undefined);
    return CHANGED[RELEASED]!;
  }

  renew(id: string, ttl: number, now: number): HoldResult {
    if (!(ttl >= 1 && Number.isSafeInteger(ttl))) {
      throw new RangeError(`a hold must last a positive whole number of microseconds, got ${String(ttl)}`);
    }
    this.#advance(now);
    const hold = this.#holds.find(id);
    if (hold < 0) return closed(hold);
    if (this.#holds.state[hold] !== OPEN) return { state: 'expired', changed: false, crossed: NONE };
    this.#holds.ttl[hold] = Math.max(ttl, this.#holds.ttl[hold]!);
    this.#holds.move(hold, this.#counters.clock.now + ttl);
    this.#journal?.hold(hold);
    return CHANGED[OPEN]!;
  }

  reset(ask: Ask, now: number): void {
    this.#advance(now);
    this.#decision.gather(ask);
    for (let i = 0; i < this.#decision.size; i++) {
      const at = this.#decision.at[i]!;
      const rule = ask.rules[at] as MemoryRule;
      this.#endings.detach(rule, ask.high[at]!, ask.low[at]!);
      this.#counters.forget(rule, ask.high[at]!, ask.low[at]!);
    }
  }

  /** Ends holds that have expired, all of them. Decisions do so a few at a time; call it where none may come for long. */
  sweep(now: number): void {
    this.#move(now);
    this.#endings.expire(Infinity);
  }

  /**
   * Everything that has changed since the last call, in one binary piece; undefined: nothing. Pieces are physical: put
   * into `restore` in their order, after a snapshot or alone, they give the state back, also when some come twice.
   * Call it regularly with `persist`: what is not taken stays in memory.
   */
  changes(): Uint8Array | undefined {
    if (this.#journal === undefined) throw new TypeError('changes are kept only with persist: true');
    return this.#journal.take(this.#parts());
  }

  /**
   * The whole state in binary pieces of about so many bytes (default 64 KB), each read from the tables when it is asked
   * for, so that decisions go on in between: what they change meanwhile is also in `changes`. With `persist` only.
   */
  snapshot(chunkBytes: number = 65_536): IterableIterator<Uint8Array> {
    if (this.#journal === undefined) throw new TypeError('a snapshot needs persist: true, for what changes meanwhile');
    return snapshot(this.#parts(), this.#journal, chunkBytes);
  }

  /**
   * Takes over what `snapshot` and `changes` of an earlier limiter gave, in the order they were written; only before the
   * first decision. The seed becomes that of the state; times are moved by the difference of the origins. Throws an
   * Error for a damaged piece or another version; the limiter is then to be thrown away.
   */
  restore(pieces: Iterable<Uint8Array>): void {
    if (this.#started) throw new TypeError('a limiter is restored before its first decision, not after');
    restore(pieces, this.#parts(), (seed) => {
      this.#seed = seed;
      this.#rules.reseed(seed);
      this.#holds.reseed(seed);
    });
    this.#journal?.defined();
  }

  /** For status and metrics. `overflows` counts charges that found no room of their own since the start; it should stay 0. */
  stats(): {
    readonly keys: number;
    readonly slots: number;
    readonly bytes: number;
    readonly holds: number;
    readonly overflows: number;
  } {
    const { rates, wides, logs, overflows } = this.#counters;
    return {
      keys: rates.keys + wides.keys,
      slots: rates.slots + wides.slots,
      bytes: rates.slots * 16 + wides.slots * 32 + logs.bytes + this.#holds.bytes,
      holds: this.#holds.open,
      overflows,
    };
  }

  #parts(): Parts {
    return {
      counters: this.#counters,
      rules: this.#rules,
      holds: this.#holds,
      seed: this.#seed,
      originMicros: this.#originMicros,
    };
  }

  #move(now: number): void {
    const { clock } = this.#counters;
    this.#started = true;
    if (now > clock.now) {
      if (now > MAX_TIME) throw new RangeError(`now must be at most 2^47 microseconds from its origin, got ${now}`);
      clock.now = Math.floor(now);
      clock.wall = this.#originMicros + clock.now;
    }
  }

  #advance(now: number): void {
    this.#move(now);
    if (this.#holds.due(this.#counters.clock.now) >= 0) this.#endings.expire(SWEPT);
  }

  #repeated(hold: number): Admitted {
    const wait = this.#holds.wait[hold]!;
    return { allowed: true, wait, repeated: true, shadowed: NONE, crossed: NONE, degraded: undefined };
  }

  #charge(rule: MemoryRule, high: number, low: number, units: number): void {
    const counters = this.#counters;
    counters.rates.makeRoom(1);
    counters.wides.makeRoom(2);
    counters.read(rule, high, low);
    counters.charge(rule, high, low, units, counters.clock.now, false);
    this.#counters.maintain();
  }
}

function random32(): number {
  return Math.floor(Math.random() * 2 ** 32);
}
