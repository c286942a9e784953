import { type Ask, MAX_RULES } from './ask.ts';
import { Counters, fingerprintHigh, fingerprintLow } from './counters.ts';
import { EXPIRED, Holds, IN_SKETCH, OPEN, RELEASED, SETTLED, STATES } from './holds.ts';
import { MAX_TIME } from './interval.ts';
import { Journal } from './journal.ts';
import { type Parts, restore, snapshot } from './persistence.ts';
import { BUCKET, CALENDAR, CONCURRENCY, type MemoryRule, own, PER_CALL, Rules, type Seed, SLIDING } from './rule.ts';
import type {
  Admitted,
  Crossing,
  HoldResult,
  Limiter,
  Outcome,
  Rule,
  RuleOptions,
  Settlement,
  Standing,
} from './types.ts';

const NONE: readonly never[] = Object.freeze([]);
const ADMITTED: Admitted = Object.freeze({
  allowed: true,
  wait: 0,
  repeated: false,
  shadowed: NONE,
  crossed: NONE,
  degraded: undefined,
});
const UNKNOWN: HoldResult = Object.freeze({ state: 'unknown', changed: false, crossed: NONE });
/** Expired holds looked after in one call, so that many at once are no pause. */
const SWEPT = 16;

// What the first pass found, by position.
const PLAIN = 0;
/** No slot yet. */
const MISSING = 1;
/** State may be elsewhere, or is charged twice: the long way. */
const CAREFUL = 2;
/** Nothing to charge. */
const IDLE = 3;
/** A shadow rule without room. */
const BLOCKED = 4;

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
  readonly #onExpire: ((id: string, assumed: 'spent' | 'free') => void) | undefined;
  #seed: Seed;
  #originMs: number;
  #originMicros: number;
  #started = false;
  #decision = 0;
  // Scratch of the decision at hand: one position for each rule and key, mentions of the same summed.
  #size = 0;
  /** Positions that the second pass charges. */
  #charges = 0;
  /** True: a family was named more than once. */
  #twins = false;
  #shadowed = false;
  readonly #at = new Int32Array(MAX_RULES);
  readonly #cost = new Float64Array(MAX_RULES);
  readonly #place = new Int32Array(MAX_RULES);
  /** Token bucket: tick at which the key is full again after the charge. Others: units in use before it. */
  readonly #state = new Float64Array(MAX_RULES);
  /** End of the window; 0: none is open. */
  readonly #end = new Float64Array(MAX_RULES);
  readonly #flag = new Uint8Array(MAX_RULES);
  /** Units that earlier mentions take from the same counter under another variant. */
  readonly #lead = new Float64Array(MAX_RULES);

  constructor(options: MemoryLimiterOptions = {}) {
    const { maxKeys = 1_000_000, seed = [random32(), random32()], originMs = 0, persist = false, onExpire } = options;
    if (!(maxKeys >= 1 && maxKeys <= 2 ** 25)) throw new RangeError('maxKeys must be from 1 to 33,554,432');
    this.#seed = [seed[0] >>> 0, seed[1] >>> 0];
    this.#counters = new Counters(maxKeys);
    this.#rules = new Rules(this.#seed);
    this.#holds = new Holds(this.#counters.clock, this.#seed);
    this.#onExpire = onExpire;
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
    const before = previous === undefined ? undefined : this.#own(previous);
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
    if (!this.#examine(ask)) {
      const refusal = this.#refusal(ask);
      wait = patient(refusal, ask.patienceFor);
      if (wait < 0) return refusal;
      if (!refusal.allowed) shadowed = refusal.shadowed;
    } else if (this.#shadowed) shadowed = this.#shadows(ask);
    const crossed = this.#commit(ask, wait, known);
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
    if (!this.#examine(ask)) {
      const refusal = this.#refusal(ask);
      wait = patient(refusal, ask.patienceFor);
      if (wait < 0) return refusal;
      if (!refusal.allowed) shadowed = refusal.shadowed;
    } else if (this.#shadowed) shadowed = this.#shadows(ask);
    if (wait === 0 && shadowed === NONE) return ADMITTED;
    return { allowed: true, wait, repeated: false, shadowed, crossed: NONE, degraded: undefined };
  }

  inspect(ask: Ask, now: number): readonly Standing[] {
    this.#advance(now);
    this.#gather(ask);
    const standings: Standing[] = [];
    for (let i = 0; i < this.#size; i++) standings.push(this.#standing(ask, i));
    return standings;
  }

  take(ask: Ask, now: number): readonly number[] {
    this.#advance(now);
    this.#gather(ask);
    const counters = this.#counters;
    const taken: number[] = [];
    for (let i = 0; i < this.#size; i++) {
      const at = this.#at[i]!;
      const rule = own(ask.rules[at]!);
      if (rule.kind === CONCURRENCY) throw new TypeError(`${rule.name} cannot be taken: its slots need a hold`);
      counters.read(rule, ask.high[at]!, ask.low[at]!);
      counters.measure(rule, ask.high[at]!, ask.low[at]!, 0, rule.capacity + ask.extras[at]!);
      const units = Math.min(this.#cost[i]!, counters.remaining);
      taken.push(units);
      if (units > 0) this.#charge(rule, ask.high[at]!, ask.low[at]!, units);
    }
    return taken;
  }

  adjust(ask: Ask, now: number, at?: number): void {
    this.#advance(now);
    this.#gather(ask);
    for (let i = 0; i < this.#size; i++) {
      const position = this.#at[i]!;
      const rule = own(ask.rules[position]!);
      const amount = this.#cost[i]!;
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
    this.#gather(ask);
    for (let i = 0; i < this.#size; i++) {
      const position = this.#at[i]!;
      const rule = own(ask.rules[position]!);
      const { kind } = rule;
      if (kind === BUCKET || kind === SLIDING || kind === CONCURRENCY || kind === PER_CALL) {
        throw new TypeError(`what ${rule.name} has used cannot be assumed: it is no window or total`);
      }
      this.#counters.assume(rule, ask.high[position]!, ask.low[position]!, Math.max(0, this.#cost[i]!));
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
    const crossed = this.#finish(hold, SETTLED, amounts);
    return crossed === NONE ? CHANGED[SETTLED]! : { state: 'settled', changed: true, crossed };
  }

  release(id: string, now: number): HoldResult {
    this.#advance(now);
    const hold = this.#holds.find(id);
    if (hold < 0) return closed(hold);
    this.#finish(hold, RELEASED, undefined);
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
    this.#gather(ask);
    for (let i = 0; i < this.#size; i++) {
      const at = this.#at[i]!;
      const rule = own(ask.rules[at]!);
      this.#detach(rule, ask.high[at]!, ask.low[at]!);
      this.#counters.forget(rule, ask.high[at]!, ask.low[at]!);
    }
  }

  /** Ends holds that have expired, all of them. Decisions do so a few at a time; call it where none may come for long. */
  sweep(now: number): void {
    this.#move(now);
    this.#expire(Infinity);
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

  #own(given: Rule): MemoryRule {
    const rule = own(given);
    if (this.#rules.all[rule.number] !== rule) throw new TypeError(`rule ${rule.name} was made by another limiter`);
    return rule;
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
    if (this.#holds.due(this.#counters.clock.now) >= 0) this.#expire(SWEPT);
  }

  #expire(most: number): void {
    const holds = this.#holds;
    for (let swept = 0; swept < most; swept++) {
      const hold = holds.due(this.#counters.clock.now);
      if (hold < 0) return;
      const free = holds.free[hold] === 1;
      const id = holds.names[hold]!;
      const first = holds.first[hold]!;
      for (let entry = first; entry < first + holds.count[hold]!; entry++) this.#expireEntry(entry, free);
      const forgotten = holds.expire(hold);
      if (forgotten >= 0) this.#close(forgotten, EXPIRED);
      this.#journal?.hold(hold);
      this.#onExpire?.(id, free ? 'free' : 'spent');
    }
  }

  #expireEntry(entry: number, free: boolean): void {
    const holds = this.#holds;
    const number = holds.rule(entry);
    if (number < 0) return;
    const rule = this.#rules.all[number]!;
    if (rule.kind === CONCURRENCY) {
      this.#freeSlots(rule, entry);
      holds.setRule(entry, -1);
    } else if (rule.settles) {
      const amount = holds.amount(entry);
      const sketched = (holds.flags(entry) & IN_SKETCH) !== 0;
      this.#counters.unhold(rule, holds.high(entry), holds.low(entry), amount, holds.window(entry));
      if (!free) return;
      this.#counters.amend(rule, holds.high(entry), holds.low(entry), -amount, holds.window(entry), sketched);
    }
  }

  /** Settles or releases a hold that is open or has expired. */
  #finish(hold: number, state: number, amounts: Readonly<Record<string, number>> | undefined): readonly Crossing[] {
    const holds = this.#holds;
    const counters = this.#counters;
    const late = holds.state[hold] === EXPIRED;
    const freed = late && holds.free[hold] === 1;
    let crossed: readonly Crossing[] = NONE;
    const first = holds.first[hold]!;
    const end = first + holds.count[hold]!;
    for (let entry = first; entry < end; entry++) {
      const number = holds.rule(entry);
      if (number < 0) continue;
      const rule = this.#rules.all[number]!;
      if (rule.kind === CONCURRENCY) {
        this.#freeSlots(rule, entry);
        continue;
      }
      if (state === SETTLED && !rule.settles) continue;
      const amount = holds.amount(entry);
      const high = holds.high(entry);
      const low = holds.low(entry);
      const window = holds.window(entry);
      const charged = rule.settles && freed ? 0 : amount;
      const by = (state === RELEASED ? 0 : (amounts?.[rule.unit] ?? amount)) - charged;
      const sketched = (holds.flags(entry) & IN_SKETCH) !== 0;
      if (rule.kind !== BUCKET && rule.kind !== SLIDING && !sketched && (by <= 0 || rule.marks.length === 0)) {
        counters.close(rule, high, low, by, rule.settles && !late ? amount : 0, window);
        continue;
      }
      if (rule.settles && !late) counters.unhold(rule, high, low, amount, window);
      if (by === 0) continue;
      if (by < 0 || rule.marks.length === 0) counters.amend(rule, high, low, by, window, sketched);
      else {
        const before = this.#used(rule, high, low);
        counters.amend(rule, high, low, by, window, sketched);
        crossed = cross(rule, before, this.#used(rule, high, low), -1, crossed);
      }
    }
    this.#close(hold, state);
    this.#maintain();
    return crossed;
  }

  #close(hold: number, state: number): void {
    this.#holds.close(hold, state);
    if (this.#journal !== undefined) {
      const [high, low] = this.#holds.lanes(hold);
      this.#journal.closed(high, low, state);
    }
  }

  /** Takes an entry out of the chain of its key and gives its slots back. */
  #freeSlots(rule: MemoryRule, entry: number): void {
    const holds = this.#holds;
    const sketched = (holds.flags(entry) & IN_SKETCH) !== 0;
    let chain = 0;
    if (!sketched) {
      const next = holds.nextOf(entry);
      const previous = holds.previousOf(entry);
      if (next >= 0) holds.setPrevious(next, previous);
      if (previous >= 0) {
        holds.setNext(previous, next);
        chain = this.#counters.chainOf(rule, holds.high(entry), holds.low(entry));
      } else chain = next + 1;
    }
    this.#counters.freeSlots(rule, holds.high(entry), holds.low(entry), holds.amount(entry), sketched, chain);
  }

  /** Lets every hold forget what it charged to a key. */
  #detach(rule: MemoryRule, high: number, low: number): void {
    const holds = this.#holds;
    for (let hold = 0; hold < holds.end; hold++) {
      if (holds.names[hold] === '') continue;
      const first = holds.first[hold]!;
      for (let entry = first; entry < first + holds.count[hold]!; entry++) {
        const number = holds.rule(entry);
        if (number < 0 || holds.high(entry) !== high || holds.low(entry) !== low) continue;
        if (this.#rules.all[number]!.family !== rule.family) continue;
        if (rule.kind === CONCURRENCY && holds.state[hold] === OPEN) this.#freeSlots(rule, entry);
        holds.setRule(entry, -1);
        this.#journal?.hold(hold);
      }
    }
  }

  #repeated(hold: number): Admitted {
    const wait = this.#holds.wait[hold]!;
    return { allowed: true, wait, repeated: true, shadowed: NONE, crossed: NONE, degraded: undefined };
  }

  /**
   * First pass: where every rule would stand after the charge. Reads only. True: all have room. The scratch then has a
   * position for each rule and key.
   */
  #examine(ask: Ask): boolean {
    const decision = ++this.#decision;
    const all = this.#rules.all;
    const { rates, clock } = this.#counters;
    const { now } = clock;
    const held = ask.holdId !== undefined;
    this.#size = ask.size;
    this.#twins = false;
    this.#shadowed = false;
    this.#charges = 0;
    let room = true;
    for (let i = 0; i < ask.size; i++) {
      const rule = ask.rules[i] as MemoryRule;
      if (all[rule.number] !== rule) this.#own(rule);
      const { family } = rule;
      if (family.seenIn === decision) return this.#examineTwins(ask);
      family.seenIn = decision;
      const cost = ask.costs[i]!;
      this.#at[i] = i;
      this.#cost[i] = cost;
      if (rule.needsHold && cost > 0 && !held) complain(rule);
      let fits = true;
      if (rule.kind === BUCKET) {
        const start = now * rule.resolution;
        const place = rates.find(
          fingerprintHigh(rule.high, ask.high[i]!),
          fingerprintLow(rule.low, ask.low[i]!, rule.tag),
        );
        let full = place === -1 ? 0 : rates.value(place);
        this.#place[i] = place;
        this.#flag[i] = place === -1 ? MISSING : PLAIN;
        if (full <= start) {
          full = start;
          if (rule.unsure) fits = this.#weighCarefully(ask, i, rule);
        }
        const next = full + cost * rule.interval;
        this.#state[i] = next;
        const extra = ask.extras[i]!;
        const most = extra === 0 ? rule.refill : (rule.capacity + extra) * rule.interval;
        if (next - start > most && cost > 0) fits = false;
      } else fits = this.#weighOther(ask, i, rule, cost);
      if (cost === 0 && !(held && rule.settles)) this.#flag[i] = IDLE;
      else if (!fits) {
        if (rule.shadow) {
          this.#flag[i] = BLOCKED;
          this.#shadowed = true;
        } else room = false;
      }
      if (this.#flag[i]! < IDLE) this.#charges++;
    }
    return room;
  }

  /** The same for an ask that names a family more than once. */
  #examineTwins(ask: Ask): boolean {
    this.#gather(ask);
    const held = ask.holdId !== undefined;
    this.#charges = 0;
    this.#shadowed = false;
    let room = true;
    for (let i = 0; i < this.#size; i++) {
      const rule = ask.rules[this.#at[i]!] as MemoryRule;
      const cost = this.#cost[i]!;
      if (rule.needsHold && cost > 0 && !held) complain(rule);
      const fits = this.#weighCarefully(ask, i, rule);
      if (rule.kind === PER_CALL || (cost === 0 && !(held && rule.settles))) this.#flag[i] = IDLE;
      else if (!fits && rule.shadow) this.#flag[i] = BLOCKED;
      if (!fits && rule.shadow) this.#shadowed = true;
      else if (!fits) room = false;
      if (this.#flag[i]! < IDLE) this.#charges++;
    }
    return room;
  }

  /** Reads the ask into the scratch: the same rule and key once, with the sum of its costs. */
  #gather(ask: Ask): void {
    let size = 0;
    this.#twins = true;
    for (let i = 0; i < ask.size; i++) {
      const rule = this.#own(ask.rules[i]!);
      this.#lead[size] = 0;
      if (this.#merged(ask, i, size, rule)) continue;
      this.#at[size] = i;
      this.#cost[size] = ask.costs[i]!;
      size++;
    }
    this.#size = size;
  }

  /** True: an earlier mention is of the same rule and key, and now has the sum. */
  #merged(ask: Ask, i: number, size: number, rule: MemoryRule): boolean {
    for (let j = 0; j < size; j++) {
      const at = this.#at[j]!;
      const other = ask.rules[at] as MemoryRule;
      if (other.family !== rule.family || ask.high[at] !== ask.high[i] || ask.low[at] !== ask.low[i]) continue;
      if (other === rule) {
        this.#cost[j]! += ask.costs[i]!;
        return true;
      }
      // Another variant: it charges the same counter.
      this.#lead[size]! += this.#cost[j]!;
    }
    return false;
  }

  #weighOther(ask: Ask, i: number, rule: MemoryRule, cost: number): boolean {
    if (rule.kind === SLIDING) return this.#weighCarefully(ask, i, rule);
    const limit = rule.capacity + ask.extras[i]!;
    if (rule.kind === PER_CALL) {
      this.#flag[i] = IDLE;
      return cost <= limit;
    }
    const { wides, clock } = this.#counters;
    const place = wides.find(fingerprintHigh(rule.high, ask.high[i]!), fingerprintLow(rule.low, ask.low[i]!, rule.tag));
    let used = 0;
    let end = 0;
    if (place !== -1) {
      end = wides.value(place);
      if (end > (rule.kind === CALENDAR ? clock.wall : clock.now)) used = wides.column(place, 2);
      else end = 0;
    }
    if (end === 0 && rule.unsure) return this.#weighCarefully(ask, i, rule);
    this.#flag[i] = place === -1 ? MISSING : PLAIN;
    this.#place[i] = place;
    this.#end[i] = end;
    this.#state[i] = used;
    return cost === 0 || used + cost <= limit;
  }

  #weighCarefully(ask: Ask, i: number, rule: MemoryRule): boolean {
    const at = this.#at[i]!;
    const counters = this.#counters;
    this.#flag[i] = CAREFUL;
    const cost = this.#cost[i]!;
    if (cost === 0) return true;
    counters.read(rule, ask.high[at]!, ask.low[at]!);
    const limit = rule.capacity + ask.extras[at]!;
    return counters.fits(cost + (this.#twins ? this.#lead[i]! : 0), limit);
  }

  /**
   * Second pass: writes what the first found. Slots that were found come first: one found dead is alive then, so that
   * no key added afterwards takes it over and loses the charge.
   */
  #commit(ask: Ask, wait: number, known: number): readonly Crossing[] {
    const holds = this.#holds;
    const { rates, wides, journal } = this.#counters;
    let hold = -1;
    let entry = 0;
    if (ask.holdId !== undefined) {
      if (known >= 0) this.#close(known, EXPIRED);
      const until = this.#counters.clock.now + ask.holdFor;
      hold = holds.add(ask.holdId, ask.holdFor, until, ask.holdExpiry === 'free', wait, this.#charges);
      entry = holds.first[hold]!;
    }
    let crossed: readonly Crossing[] = NONE;
    let missing = 0;
    for (let i = 0; i < this.#size; i++) {
      const flag = this.#flag[i]!;
      if (flag >= IDLE) continue;
      if (flag !== PLAIN) {
        missing++;
        continue;
      }
      const at = this.#at[i]!;
      const rule = ask.rules[at] as MemoryRule;
      if (!rule.plain) {
        crossed = this.#apply(ask, i, wait, hold, entry++, crossed);
        continue;
      }
      const place = this.#place[i]!;
      const next = this.#state[i]!;
      rates.set(place, next);
      if (next > rule.latest) rule.latest = next;
      if (journal !== undefined) journal.rate(rates.high(place), rates.low(place), next);
      if (hold >= 0) {
        holds.setEntry(entry++, rule.number, ask.high[at]!, ask.low[at]!, hold << 8, this.#cost[i]!, next);
      }
    }
    if (missing > 0) {
      rates.makeRoom(missing);
      // A rate that settles needs a second one for what is held.
      wides.makeRoom(2 * missing);
      for (let i = 0; i < this.#size; i++) {
        if (this.#flag[i] === CAREFUL || this.#flag[i] === MISSING) {
          crossed = this.#apply(ask, i, wait, hold, entry++, crossed);
        }
      }
      this.#maintain();
    } else if (rates.moving || wides.moving) this.#maintain();
    if (hold >= 0) journal?.hold(hold);
    return crossed.length < 2 ? crossed : [...crossed].sort((a, b) => a.at - b.at);
  }

  #apply(
    ask: Ask,
    i: number,
    wait: number,
    hold: number,
    entry: number,
    crossed: readonly Crossing[],
  ): readonly Crossing[] {
    const counters = this.#counters;
    const at = this.#at[i]!;
    const rule = ask.rules[at] as MemoryRule;
    const cost = this.#cost[i]!;
    const keyHigh = ask.high[at]!;
    const keyLow = ask.low[at]!;
    const marked = rule.marks.length > 0;
    const before = marked ? this.#used(rule, keyHigh, keyLow) : 0;
    let chain = 0;
    let place = this.#place[i]!;
    const high = fingerprintHigh(rule.high, keyHigh);
    const low = fingerprintLow(rule.low, keyLow, rule.tag);
    if (this.#flag[i] === CAREFUL && rule.kind !== CONCURRENCY) {
      counters.read(rule, keyHigh, keyLow);
      counters.charge(rule, keyHigh, keyLow, cost, counters.clock.now + wait, rule.settles);
    } else if (rule.kind === BUCKET) {
      counters.setRate(rule, high, low, place, this.#state[i]!);
      if (rule.settles) counters.hold(rule, keyHigh, keyLow, cost);
    } else {
      if (this.#flag[i] === CAREFUL) {
        counters.read(rule, keyHigh, keyLow);
        place = counters.place;
        this.#end[i] = counters.end;
        this.#state[i] = counters.sketched ? 0 : counters.used;
      }
      const open = this.#end[i]! > 0 && place !== -1;
      const end = open ? this.#end[i]! : counters.windowEnd(rule);
      const third = open ? counters.wides.column(place, 3) : 0;
      const used = this.#state[i]! + cost;
      if (rule.kind !== CONCURRENCY) {
        counters.setWindow(rule, high, low, place, end, used, rule.settles ? third + cost : third, cost);
      } else if (this.#flag[i] === CAREFUL && counters.sketched) {
        // As long as slots of this key are counted there, all are: else some would be counted nowhere.
        counters.overflow(rule, high, low, cost);
      } else {
        chain = third;
        counters.setWindow(rule, high, low, place, end, used, entry + 1, cost);
      }
    }
    if (hold >= 0) {
      const sketched = Number.isNaN(counters.window) ? IN_SKETCH : 0;
      this.#holds.setEntry(entry, rule.number, keyHigh, keyLow, sketched | (hold << 8), cost, counters.window);
      if (rule.kind === CONCURRENCY && sketched === 0) this.#chain(entry, chain);
    }
    return marked ? cross(rule, before, this.#used(rule, keyHigh, keyLow), at, crossed) : crossed;
  }

  /** Puts an entry in front of the chain of its key; `head`: the first entry so far + 1, 0: none. */
  #chain(entry: number, head: number): void {
    this.#holds.setNext(entry, head - 1);
    this.#holds.setPrevious(entry, -1);
    if (head > 0) this.#holds.setPrevious(head - 1, entry);
  }

  #charge(rule: MemoryRule, high: number, low: number, units: number): void {
    const counters = this.#counters;
    counters.rates.makeRoom(1);
    counters.wides.makeRoom(2);
    counters.read(rule, high, low);
    counters.charge(rule, high, low, units, counters.clock.now, false);
    this.#maintain();
  }

  #maintain(): void {
    this.#counters.rates.maintain();
    this.#counters.wides.maintain();
  }

  #used(rule: MemoryRule, high: number, low: number): number {
    this.#counters.read(rule, high, low);
    this.#counters.measure(rule, high, low, 0, rule.capacity);
    return this.#counters.used;
  }

  #shadows(ask: Ask): readonly Standing[] {
    const standings: Standing[] = [];
    for (let i = 0; i < this.#size; i++) if (this.#flag[i] === BLOCKED) standings.push(this.#standing(ask, i));
    return standings;
  }

  #refusal(ask: Ask): Outcome {
    const violated: Standing[] = [];
    const standings: Standing[] = [];
    const shadowed: Standing[] = [];
    let retryAfter = 0;
    let estimated = false;
    for (let i = 0; i < this.#size; i++) {
      const standing = this.#standing(ask, i);
      const passed = standing.verdict === 'passed';
      if ((standing.rule as MemoryRule).shadow) {
        if (!passed) shadowed.push(standing);
        continue;
      }
      standings.push(standing);
      if (passed) continue;
      violated.push(standing);
      retryAfter = Math.max(retryAfter, standing.retryAfter);
      if (standing.verdict === 'busy') estimated = true;
    }
    return {
      allowed: false,
      retryAfter: retryAfter === Infinity ? undefined : retryAfter,
      estimated,
      violated,
      standings,
      shadowed: shadowed.length === 0 ? NONE : shadowed,
      degraded: undefined,
    };
  }

  #standing(ask: Ask, i: number): Standing {
    const counters = this.#counters;
    const at = this.#at[i]!;
    const rule = ask.rules[at] as MemoryRule;
    const cost = this.#cost[i]!;
    const limit = rule.capacity + ask.extras[at]!;
    const high = ask.high[at]!;
    const low = ask.low[at]!;
    counters.read(rule, high, low);
    counters.measure(rule, high, low, cost === 0 || !this.#twins ? cost : cost + this.#lead[i]!, limit);
    const never = cost > limit;
    const busy = rule.kind === CONCURRENCY;
    let verdict: Standing['verdict'] = 'passed';
    if (never) verdict = 'cost_above_capacity';
    else if (counters.retry > 0) verdict = busy ? 'busy' : 'exhausted';
    const retryAfter = verdict === 'busy' ? this.#firstFree(rule, high, low) : counters.retry;
    return {
      rule,
      verdict,
      cost,
      limit,
      used: counters.used,
      held: counters.held,
      remaining: counters.remaining,
      retryAfter,
      resetAfter: counters.reset,
    };
  }

  /** Microseconds until the first of the slots of a key expires. */
  #firstFree(rule: MemoryRule, high: number, low: number): number {
    const holds = this.#holds;
    let first = Infinity;
    for (let entry = this.#counters.chainOf(rule, high, low) - 1; entry >= 0; entry = holds.nextOf(entry)) {
      first = Math.min(first, holds.until[holds.holdOf(entry)]!);
    }
    // Counted in the sketch only: any hold may be in the way.
    if (first === Infinity) first = holds.next;
    return Math.max(1, first - this.#counters.clock.now);
  }
}

const CHANGED: readonly HoldResult[] = STATES.map((state) => Object.freeze({ state, changed: true, crossed: NONE }));
const CLOSED: readonly HoldResult[] = STATES.map((state) => Object.freeze({ state, changed: false, crossed: NONE }));

/** Result for a hold without entries, by what `Holds.find` said. */
function closed(found: number): HoldResult {
  return found === -1 ? UNKNOWN : CLOSED[-1 - found]!;
}

function complain(rule: MemoryRule): never {
  throw new TypeError(`${rule.name} needs a hold: what it charges has to be ended by somebody`);
}

/** Microseconds to wait, where only rates are in the way and the wait is short enough; else -1. */
function patient(refusal: Outcome, patience: number): number {
  if (refusal.allowed || patience === 0 || !(refusal.retryAfter! <= patience)) return -1;
  for (const { rule, verdict } of refusal.violated) {
    const { kind } = rule as MemoryRule;
    if (verdict !== 'exhausted' || (kind !== BUCKET && kind !== SLIDING)) return -1;
  }
  return refusal.retryAfter!;
}

function cross(
  rule: MemoryRule,
  before: number,
  after: number,
  at: number,
  crossed: readonly Crossing[],
): readonly Crossing[] {
  let found = crossed;
  for (const mark of rule.marks) {
    if (before < mark && mark <= after) found = [...found, { rule, mark, used: after, at }];
  }
  return found;
}

function random32(): number {
  return Math.floor(Math.random() * 2 ** 32);
}
