import { type Ask, MAX_RULES } from './ask.ts';
import type { Counters } from './counters.ts';
import type { Endings } from './endings.ts';
import { EXPIRED, type Holds, IN_SKETCH } from './holds.ts';
import { cross, NONE } from './outcome.ts';
import { fingerprintHigh, fingerprintLow } from './reading.ts';
import { BUCKET, CALENDAR, CONCURRENCY, type MemoryRule, PER_CALL, type Rules, SLIDING } from './rule.ts';
import type { Crossing, Outcome, Standing } from './types.ts';

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

/**
 * One decision over many rules: `examine` reads, `commit` writes, `refusal` explains. Between the two nothing else may
 * happen to the counters. The scratch is made once, so that an admission allocates nothing.
 */
export class Decision {
  readonly #counters: Counters;
  readonly #rules: Rules;
  readonly #holds: Holds;
  readonly #endings: Endings;
  #decision = 0;
  // Scratch of the decision at hand: one position for each rule and key, mentions of the same summed.
  size = 0;
  /** Positions that the second pass charges. */
  #charges = 0;
  /** True: a family was named more than once. */
  #twins = false;
  shadowed = false;
  readonly at = new Int32Array(MAX_RULES);
  readonly cost = new Float64Array(MAX_RULES);
  readonly #place = new Int32Array(MAX_RULES);
  /** Token bucket: tick at which the key is full again after the charge. Others: units in use before it. */
  readonly #state = new Float64Array(MAX_RULES);
  /** End of the window; 0: none is open. */
  readonly #end = new Float64Array(MAX_RULES);
  readonly #flag = new Uint8Array(MAX_RULES);
  /** Units that earlier mentions take from the same counter under another variant. */
  readonly #lead = new Float64Array(MAX_RULES);

  constructor(counters: Counters, rules: Rules, holds: Holds, endings: Endings) {
    this.#counters = counters;
    this.#rules = rules;
    this.#holds = holds;
    this.#endings = endings;
  }

  /**
   * First pass: where every rule would stand after the charge. Reads only. True: all have room. The scratch then has a
   * position for each rule and key.
   */
  examine(ask: Ask): boolean {
    const decision = ++this.#decision;
    const all = this.#rules.all;
    const { rates, clock } = this.#counters;
    const { now } = clock;
    const held = ask.holdId !== undefined;
    this.size = ask.size;
    this.#twins = false;
    this.shadowed = false;
    this.#charges = 0;
    let room = true;
    for (let i = 0; i < ask.size; i++) {
      const rule = ask.rules[i] as MemoryRule;
      if (all[rule.number] !== rule) this.#rules.own(rule);
      const { family } = rule;
      if (family.seenIn === decision) return this.#examineTwins(ask);
      family.seenIn = decision;
      const cost = ask.costs[i]!;
      this.at[i] = i;
      this.cost[i] = cost;
      if (rule.needsHold && cost > 0 && !held) complain(rule);
      let fits = true;
      if (rule.kind === BUCKET) {
        const start = now * rule.resolution;
        const place = rates.find(
          fingerprintHigh(rule.high, ask.high[i]!),
          fingerprintLow(rule.low, ask.low[i]!, rule.seat),
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
          this.shadowed = true;
        } else room = false;
      }
      if (this.#flag[i]! < IDLE) this.#charges++;
    }
    return room;
  }

  /** The same for an ask that names a family more than once. */
  #examineTwins(ask: Ask): boolean {
    this.gather(ask);
    const held = ask.holdId !== undefined;
    this.#charges = 0;
    this.shadowed = false;
    let room = true;
    for (let i = 0; i < this.size; i++) {
      const rule = ask.rules[this.at[i]!] as MemoryRule;
      const cost = this.cost[i]!;
      if (rule.needsHold && cost > 0 && !held) complain(rule);
      const fits = this.#weighCarefully(ask, i, rule);
      if (rule.kind === PER_CALL || (cost === 0 && !(held && rule.settles))) this.#flag[i] = IDLE;
      else if (!fits && rule.shadow) this.#flag[i] = BLOCKED;
      if (!fits && rule.shadow) this.shadowed = true;
      else if (!fits) room = false;
      if (this.#flag[i]! < IDLE) this.#charges++;
    }
    return room;
  }

  /** Reads the ask into the scratch: the same rule and key once, with the sum of its costs. */
  gather(ask: Ask): void {
    let size = 0;
    this.#twins = true;
    for (let i = 0; i < ask.size; i++) {
      const rule = this.#rules.own(ask.rules[i]!);
      this.#lead[size] = 0;
      if (this.#merged(ask, i, size, rule)) continue;
      this.at[size] = i;
      this.cost[size] = ask.costs[i]!;
      size++;
    }
    this.size = size;
  }

  /** True: an earlier mention is of the same rule and key, and now has the sum. */
  #merged(ask: Ask, i: number, size: number, rule: MemoryRule): boolean {
    for (let j = 0; j < size; j++) {
      const at = this.at[j]!;
      const other = ask.rules[at] as MemoryRule;
      if (other.family !== rule.family || ask.high[at] !== ask.high[i] || ask.low[at] !== ask.low[i]) continue;
      if (other === rule) {
        this.cost[j]! += ask.costs[i]!;
        return true;
      }
      // Another variant: it charges the same counter.
      this.#lead[size]! += this.cost[j]!;
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
    const place = wides.find(
      fingerprintHigh(rule.high, ask.high[i]!),
      fingerprintLow(rule.low, ask.low[i]!, rule.seat),
    );
    let used = 0;
    let end = 0;
    if (place !== -1) {
      const page = wides.page(place);
      const base = wides.base(place);
      end = page[base + 1]!;
      if (end > (rule.kind === CALENDAR ? clock.wall : clock.now)) used = page[base + 2]!;
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
    const at = this.at[i]!;
    const counters = this.#counters;
    this.#flag[i] = CAREFUL;
    const cost = this.cost[i]!;
    if (cost === 0) return true;
    counters.read(rule, ask.high[at]!, ask.low[at]!);
    const limit = rule.capacity + ask.extras[at]!;
    return counters.fits(cost + (this.#twins ? this.#lead[i]! : 0), limit);
  }

  /**
   * Second pass: writes what the first found. Slots that were found come first: one found dead is alive then, so that
   * no key added afterwards takes it over and loses the charge.
   */
  commit(ask: Ask, wait: number, known: number): readonly Crossing[] {
    const holds = this.#holds;
    const { rates, wides, journal } = this.#counters;
    let hold = -1;
    // Entries of plain rates from the end, others from the front: only those a settlement looks at.
    let entry = 0;
    let rear = 0;
    if (ask.holdId !== undefined) {
      if (known >= 0) this.#endings.close(known, EXPIRED);
      const until = this.#counters.clock.now + ask.holdFor;
      hold = holds.add(ask.holdId, ask.holdFor, until, ask.holdExpiry === 'free', wait, this.#charges);
      entry = holds.first[hold]!;
      rear = entry + this.#charges;
    }
    const words = holds.words(entry);
    const numbers = holds.numbers(entry);
    let crossed: readonly Crossing[] = NONE;
    let missing = 0;
    for (let i = 0; i < this.size; i++) {
      const flag = this.#flag[i]!;
      if (flag >= IDLE) continue;
      if (flag !== PLAIN) {
        missing++;
        continue;
      }
      const at = this.at[i]!;
      const rule = ask.rules[at] as MemoryRule;
      const place = this.#place[i]!;
      if (rule.paged && hold >= 0 && this.#end[i]! > 0) {
        const end = this.#end[i]!;
        const cost = this.cost[i]!;
        const used = this.#state[i]! + cost;
        const page = wides.page(place);
        const base = wides.base(place);
        const held = page[base + 3]! + (rule.settles ? cost : 0);
        page[base + 2] = used;
        page[base + 3] = held;
        if (journal !== undefined) journal.wide(wides.high(place), wides.low(place), end, used, held);
        holds.setEntry(entry++, rule.number, ask.high[at]!, ask.low[at]!, hold << 8, cost, end);
        continue;
      }
      if (!rule.plain) {
        crossed = this.#apply(ask, i, wait, hold, entry++, crossed);
        continue;
      }
      const next = this.#state[i]!;
      rates.set(place, next);
      if (next > rule.latest) rule.latest = next;
      if (journal !== undefined) journal.rate(rates.high(place), rates.low(place), next);
      if (hold >= 0) {
        const word = holds.wordAt(--rear);
        words[word] = rule.number;
        words[word + 1] = ask.high[at]!;
        words[word + 2] = ask.low[at]!;
        words[word + 3] = hold << 8;
        numbers[(word >>> 1) + 2] = this.cost[i]!;
        numbers[(word >>> 1) + 3] = next;
      }
    }
    if (missing > 0) {
      rates.makeRoom(missing);
      // A rate that settles needs a second one for what is held.
      wides.makeRoom(2 * missing);
      for (let i = 0; i < this.size; i++) {
        if (this.#flag[i] === CAREFUL || this.#flag[i] === MISSING) {
          crossed = this.#apply(ask, i, wait, hold, entry++, crossed);
        }
      }
      this.#counters.maintain();
    } else if (rates.moving || wides.moving) this.#counters.maintain();
    if (hold >= 0) {
      holds.ends[hold] = entry - holds.first[hold]!;
      journal?.hold(hold);
    }
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
    const at = this.at[i]!;
    const rule = ask.rules[at] as MemoryRule;
    const cost = this.cost[i]!;
    const keyHigh = ask.high[at]!;
    const keyLow = ask.low[at]!;
    if (cost === 0) {
      // An estimate of nothing is one all the same: what it comes to is charged when it is settled.
      const window = counters.windowOf(rule, keyHigh, keyLow, wait);
      this.#holds.setEntry(entry, rule.number, keyHigh, keyLow, hold << 8, 0, window);
      return crossed;
    }
    const marked = rule.marks.length > 0;
    const before = marked ? this.#counters.usedOf(rule, keyHigh, keyLow) : 0;
    let chain = 0;
    let place = this.#place[i]!;
    const high = fingerprintHigh(rule.high, keyHigh);
    const low = fingerprintLow(rule.low, keyLow, rule.seat);
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
    return marked ? cross(rule, before, this.#counters.usedOf(rule, keyHigh, keyLow), at, crossed) : crossed;
  }

  /** Puts an entry in front of the chain of its key; `head`: the first entry so far + 1, 0: none. */
  #chain(entry: number, head: number): void {
    this.#holds.setNext(entry, head - 1);
    this.#holds.setPrevious(entry, -1);
    if (head > 0) this.#holds.setPrevious(head - 1, entry);
  }

  shadows(ask: Ask): readonly Standing[] {
    const standings: Standing[] = [];
    for (let i = 0; i < this.size; i++) if (this.#flag[i] === BLOCKED) standings.push(this.standing(ask, i));
    return standings;
  }

  refusal(ask: Ask): Outcome {
    const violated: Standing[] = [];
    const standings: Standing[] = [];
    const shadowed: Standing[] = [];
    let retryAfter = 0;
    let estimated = false;
    for (let i = 0; i < this.size; i++) {
      const standing = this.standing(ask, i);
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

  standing(ask: Ask, i: number): Standing {
    const counters = this.#counters;
    const at = this.at[i]!;
    const rule = ask.rules[at] as MemoryRule;
    const cost = this.cost[i]!;
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

function complain(rule: MemoryRule): never {
  throw new TypeError(`${rule.name} needs a hold: what it charges has to be ended by somebody`);
}
