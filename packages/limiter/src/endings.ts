import type { Counters } from './counters.ts';
import { EXPIRED, type Holds, IN_SKETCH, OPEN, RELEASED, SETTLED } from './holds.ts';
import { cross, NONE } from './outcome.ts';
import { BUCKET, CONCURRENCY, type MemoryRule, type Rules, SLIDING } from './rule.ts';
import type { Crossing } from './types.ts';

/** How holds end, and what that does to the counters: settled, released, expired, or forgotten by a reset. */
export class Endings {
  readonly #counters: Counters;
  readonly #rules: Rules;
  readonly #holds: Holds;
  readonly #onExpire: ((id: string, assumed: 'spent' | 'free') => void) | undefined;

  constructor(
    counters: Counters,
    rules: Rules,
    holds: Holds,
    onExpire: ((id: string, assumed: 'spent' | 'free') => void) | undefined,
  ) {
    this.#counters = counters;
    this.#rules = rules;
    this.#holds = holds;
    this.#onExpire = onExpire;
  }

  expire(most: number): void {
    const holds = this.#holds;
    for (let swept = 0; swept < most; swept++) {
      const hold = holds.due(this.#counters.clock.now);
      if (hold < 0) return;
      const free = holds.free[hold] === 1;
      const id = holds.names[hold]!;
      const first = holds.first[hold]!;
      for (let entry = first; entry < first + holds.count[hold]!; entry++) this.#expireEntry(entry, free);
      const forgotten = holds.expire(hold);
      if (forgotten >= 0) this.close(forgotten, EXPIRED);
      this.#counters.journal?.hold(hold);
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
  finish(hold: number, state: number, amounts: Readonly<Record<string, number>> | undefined): readonly Crossing[] {
    const holds = this.#holds;
    const counters = this.#counters;
    const late = holds.state[hold] === EXPIRED;
    const freed = late && holds.free[hold] === 1;
    let crossed: readonly Crossing[] = NONE;
    // What the unit of the rule before came to: mostly all are of one.
    let unit: string | undefined;
    let given: number | undefined;
    const first = holds.first[hold]!;
    const end = first + (state === SETTLED ? holds.ends[hold]! : holds.count[hold]!);
    const words = holds.words(first);
    const numbers = holds.numbers(first);
    for (let entry = first; entry < end; entry++) {
      const at = holds.wordAt(entry);
      const number = words[at]!;
      if (number < 0) continue;
      const rule = this.#rules.all[number]!;
      if (rule.kind === CONCURRENCY) {
        this.#freeSlots(rule, entry);
        continue;
      }
      if (state === SETTLED && !rule.settles) continue;
      const high = words[at + 1]!;
      const low = words[at + 2]!;
      const amount = numbers[(at >>> 1) + 2]!;
      const window = numbers[(at >>> 1) + 3]!;
      const charged = rule.settles && freed ? 0 : amount;
      if (amounts !== undefined && rule.unit !== unit) {
        unit = rule.unit;
        given = amounts[unit];
      }
      const by = (state === RELEASED ? 0 : (given ?? amount)) - charged;
      const sketched = (words[at + 3]! & IN_SKETCH) !== 0;
      // What was estimated at nothing may have no window yet.
      if (
        rule.kind !== BUCKET &&
        rule.kind !== SLIDING &&
        !sketched &&
        (by <= 0 || (amount > 0 && rule.marks.length === 0))
      ) {
        counters.close(rule, high, low, by, rule.settles && !late ? amount : 0, window);
        continue;
      }
      if (rule.settles && !late) counters.unhold(rule, high, low, amount, window);
      if (by === 0) continue;
      if (by < 0 || rule.marks.length === 0) counters.amend(rule, high, low, by, window, sketched);
      else {
        const before = this.#counters.usedOf(rule, high, low);
        counters.amend(rule, high, low, by, window, sketched);
        crossed = cross(rule, before, this.#counters.usedOf(rule, high, low), -1, crossed);
      }
    }
    this.close(hold, state);
    this.#counters.maintain();
    return crossed;
  }

  close(hold: number, state: number): void {
    this.#holds.close(hold, state);
    if (this.#counters.journal !== undefined) {
      const [high, low] = this.#holds.lanes(hold);
      this.#counters.journal.closed(high, low, state);
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
  detach(rule: MemoryRule, high: number, low: number): void {
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
        this.#counters.journal?.hold(hold);
      }
    }
  }
}
