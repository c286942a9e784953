import type { Ask } from './ask.ts';
import {
  CHARGE_AT,
  CHARGE_ESTIMATE,
  CHARGE_FULL,
  CHARGE_GENERATION,
  CHARGE_HIGH,
  CHARGE_INTERVAL,
  CHARGE_KIND,
  CHARGE_LIVE,
  CHARGE_LOW,
  CHARGE_RESOLUTION,
  CHARGE_RULE,
  CHARGE_SETTLES,
  CHARGE_UNIT,
  type SharedCounters,
  type SharedRule,
  SLOTS,
  tagOf,
} from './shared-counters.ts';
import { A, lanesOf, type SharedMemory } from './shared-memory.ts';
import type { Crossing, HoldResult, Settlement } from './types.ts';

/** Fields of a hold. */
const STATE = 2;
const EXPIRES_AT = 3;
const FREE_EXPIRY = 4;
const FIRST_CHARGE = 5;
const WAIT = 6;
const CLOSED_AT = 7;
const STATES = ['unknown', 'open', 'settled', 'released', 'expired'] as const;
const OPEN = 1;
const SETTLED = 2;
const RELEASED = 3;
const EXPIRED = 4;
/** Microseconds for which an ended hold is remembered, so that a repeat or a late settlement finds it. */
const REMEMBERED = 600_000_000;

/** The holds of a shared limiter. Only for who has the lock. */
export class SharedHolds {
  readonly #memory: SharedMemory;
  readonly #counters: SharedCounters;
  /** Rules that this worker has made, by their tag. */
  readonly #rules = new Map<number, SharedRule>();

  constructor(memory: SharedMemory, counters: SharedCounters) {
    this.#memory = memory;
    this.#counters = counters;
  }

  learn(rule: SharedRule): void {
    this.#rules.set(rule.tag, rule);
  }

  /** How long the call of an open hold was told to wait; undefined: no hold of that id is open. */
  openWait(id: string): number | undefined {
    const hold = this.#find(id);
    const { data } = this.#memory;
    return hold >= 0 && data[hold + STATE] === OPEN ? data[hold + WAIT]! : undefined;
  }

  settle({ id, amounts = {} }: Settlement, time: number): HoldResult {
    const { data, seed } = this.#memory;
    const actuals = new Map<number, number>();
    for (const [unit, actual] of Object.entries(amounts)) {
      if (!(actual >= 0 && Number.isSafeInteger(actual))) {
        throw new RangeError(`the amount of ${unit} must be a non-negative integer, got ${String(actual)}`);
      }
      actuals.set(tagOf(unit, seed), actual);
    }
    return this.#end(id, SETTLED, time, (charge, late) => {
      if (data[charge + CHARGE_KIND] === SLOTS) return late ? 0 : -data[charge + CHARGE_LIVE]!;
      if (data[charge + CHARGE_SETTLES] === 0) return 0;
      const actual = actuals.get(data[charge + CHARGE_UNIT]!) ?? data[charge + CHARGE_ESTIMATE]!;
      return actual - data[charge + CHARGE_LIVE]!;
    });
  }

  release(id: string, time: number): HoldResult {
    return this.#end(id, RELEASED, time, (charge) => -this.#memory.data[charge + CHARGE_LIVE]!);
  }

  renew(id: string, ttl: number, time: number): HoldResult {
    const hold = this.#find(id);
    const { data } = this.#memory;
    const state = hold < 0 ? 0 : data[hold + STATE]!;
    if (state === OPEN) {
      data[hold + EXPIRES_AT] = time + ttl;
      this.#memory.nextExpiry = Math.min(this.#memory.nextExpiry, time + ttl);
    }
    return { state: STATES[state]!, changed: state === OPEN, crossed: [] };
  }

  #find(id: string): number {
    const [high, low] = lanesOf(id, this.#memory.seed);
    return this.#memory.findHold(high, low);
  }

  place(id: string, time: number): number {
    const [high, low] = lanesOf(id, this.#memory.seed);
    const memory = this.#memory;
    const { data } = memory;
    const known = memory.findHold(high, low);
    if (known >= 0) return known;
    const forgotten = (hold: number) => data[hold + STATE] !== OPEN && data[hold + CLOSED_AT]! + REMEMBERED <= time;
    const hold = memory.insertHold(high, low, forgotten, FIRST_CHARGE);
    if (hold >= 0) {
      memory.freeList(data[hold + FIRST_CHARGE]!);
      data[hold + FIRST_CHARGE] = 0;
      data[hold + STATE] = 0;
      data[hold + CLOSED_AT] = -REMEMBERED;
    }
    return hold;
  }

  open(ask: Ask, wait: number, time: number): number {
    const memory = this.#memory;
    const { data } = memory;
    const hold = this.place(ask.holdId!, time);
    memory.freeList(data[hold + FIRST_CHARGE]!);
    data[hold + FIRST_CHARGE] = 0;
    data[hold + STATE] = OPEN;
    data[hold + EXPIRES_AT] = time + ask.holdFor;
    data[hold + FREE_EXPIRY] = ask.holdExpiry === 'free' ? 1 : 0;
    data[hold + WAIT] = wait;
    memory.nextExpiry = Math.min(memory.nextExpiry, time + ask.holdFor);
    return hold;
  }

  remember(rule: SharedRule, at: number, cost: number, hold: number, now: number, time: number): void {
    const memory = this.#memory;
    const { data } = memory;
    const charge = memory.node();
    data[charge] = data[hold + FIRST_CHARGE]!;
    data[hold + FIRST_CHARGE] = charge;
    data[charge + CHARGE_HIGH] = data[at]!;
    data[charge + CHARGE_LOW] = data[at + 1]!;
    data[charge + CHARGE_GENERATION] = memory.generation(at);
    data[charge + CHARGE_KIND] = rule.kind;
    data[charge + CHARGE_ESTIMATE] = cost;
    data[charge + CHARGE_LIVE] = cost;
    data[charge + CHARGE_SETTLES] = rule.settles ? 1 : 0;
    data[charge + CHARGE_UNIT] = rule.unit;
    data[charge + CHARGE_AT] = rule.options.algorithm === 'sliding-window' ? time : now;
    const { algorithm } = rule.options;
    const [start, end] = this.#counters.windowAt(rule, at, now);
    const bucket = algorithm === 'token-bucket';
    data[charge + CHARGE_FULL] = bucket ? data[at + A]! : end;
    data[charge + CHARGE_RESOLUTION] = rule.resolution;
    data[charge + CHARGE_INTERVAL] = bucket ? rule.interval : algorithm === 'sliding-window' ? rule.period : start;
    data[charge + CHARGE_RULE] = rule.tag;
  }

  /** Ends a hold once; `change` says by how much each of its charges changes. */
  #end(id: string, state: number, time: number, change: (charge: number, late: boolean) => number): HoldResult {
    const memory = this.#memory;
    const { data } = memory;
    const hold = this.#find(id);
    const before = hold < 0 ? 0 : data[hold + STATE]!;
    if (before !== OPEN && before !== EXPIRED) return { state: STATES[before]!, changed: false, crossed: [] };
    const crossed: Crossing[] = [];
    for (let charge = data[hold + FIRST_CHARGE]!; charge !== 0; charge = data[charge]!) {
      const rule = this.#rules.get(data[charge + CHARGE_RULE]!);
      const at = this.#counters.entryOf(charge);
      const used = () => (rule === undefined ? 0 : this.#counters.used(rule, at, time));
      const earlier = used();
      const by = change(charge, before === EXPIRED);
      if (before === OPEN) this.#counters.unhold(charge, time);
      this.#counters.amend(charge, by, time);
      if (rule !== undefined && state === SETTLED) marks(rule, earlier, used(), -1, crossed);
    }
    memory.freeList(data[hold + FIRST_CHARGE]!);
    data[hold + FIRST_CHARGE] = 0;
    data[hold + STATE] = state;
    data[hold + CLOSED_AT] = time;
    return { state: STATES[state]!, changed: true, crossed: crossed.reverse() };
  }

  expire(time: number): void {
    const memory = this.#memory;
    const { data } = memory;
    let next = Infinity;
    for (const hold of memory.holds()) {
      if (data[hold + STATE] !== OPEN) continue;
      if (data[hold + EXPIRES_AT]! > time) {
        next = Math.min(next, data[hold + EXPIRES_AT]!);
        continue;
      }
      for (let charge = data[hold + FIRST_CHARGE]!; charge !== 0; charge = data[charge]!) {
        this.#counters.unhold(charge, time);
        const free = data[charge + CHARGE_SETTLES] === 1 && data[hold + FREE_EXPIRY] === 1;
        if (free || data[charge + CHARGE_KIND] === SLOTS) {
          this.#counters.amend(charge, -data[charge + CHARGE_LIVE]!, time);
        }
      }
      data[hold + STATE] = EXPIRED;
      data[hold + CLOSED_AT] = time;
    }
    memory.nextExpiry = next;
  }

  /** When the first open hold of a key expires. */
  firstSlot(at: number): number {
    const { data } = this.#memory;
    let first = Infinity;
    for (const hold of this.#memory.holds()) {
      if (data[hold + STATE] !== OPEN || data[hold + EXPIRES_AT]! >= first) continue;
      for (let charge = data[hold + FIRST_CHARGE]!; charge !== 0; charge = data[charge]!) {
        if (this.#counters.entryOf(charge) === at) {
          first = data[hold + EXPIRES_AT]!;
        }
      }
    }
    return first;
  }
}

/** The marks that a charge reached, after those of earlier charges. */
export function marks(rule: SharedRule, before: number, after: number, at: number, crossed: Crossing[]): void {
  const reached = (rule.options.marks ?? []).filter((mark) => before < mark && mark <= after);
  const found = reached.map((mark) => ({ rule, mark, used: after, at }));
  // The charges of a hold are listed last first, and so are the marks of each.
  crossed.push(...(at === -1 ? found.reverse() : found));
}
