import { intervalOf, quotientUp } from './interval.ts';
import type { Rule, RuleOptions } from './types.ts';

/** Changes of numbers, within the time a rule takes to refill, of which the state is carried over. */
const MAX_CHANGES = 100;

/** A rule of the limiter in memory: its numbers in ticks, and the state that is not any single key's. */
export class MemoryRule implements Rule {
  readonly name: string;
  readonly options: RuleOptions;
  readonly capacity: number;
  readonly resolution: number;
  readonly interval: number;
  readonly refill: number;
  /** Lanes that the fingerprints of its keys start from. */
  readonly high: number;
  readonly low: number;
  /** Tick at which the keys without a slot of their own are full again. */
  shared = 0;
  /** Number of the last decision that met this rule, to see a second mention at once. */
  seenIn = 0;
  /** The rule this one replaced, at which microsecond, and until when a key's state under it can still matter. */
  previous: MemoryRule | undefined;
  since = 0;
  previousUntil = 0;

  constructor(options: RuleOptions, high: number, low: number) {
    if (options.algorithm !== 'token-bucket') throw new RangeError(`${options.algorithm} is not available yet`);
    const { name, limit, periodMs, burst = 0 } = options;
    const period = Math.round(periodMs * 1000);
    if (!Number.isSafeInteger(limit) || limit < 1)
      throw new RangeError(`${name}: limit must be an integer of at least 1`);
    if (!Number.isSafeInteger(burst) || burst < 0)
      throw new RangeError(`${name}: burst must be a non-negative integer`);
    if (!Number.isSafeInteger(period) || period < 1) throw new RangeError(`${name}: periodMs must be at least 0.001`);
    this.name = name;
    this.options = options;
    this.capacity = limit + burst;
    const { resolution, interval, refill } = intervalOf(limit, period, this.capacity);
    this.resolution = resolution;
    this.interval = interval;
    this.refill = refill;
    this.high = high;
    this.low = low;
  }

  /** Takes the place of another rule from `now` on. */
  replace(before: MemoryRule, now: number): void {
    this.previous = before;
    this.since = now;
    this.previousUntil =
      now + Math.min(quotientUp(before.refill, before.resolution), quotientUp(this.refill, this.resolution));
    this.shared = this.converted(before.shared, before, now);
    let depth = 1;
    let oldest = before;
    while (oldest.previous !== undefined && depth < MAX_CHANGES) {
      oldest = oldest.previous;
      depth++;
    }
    oldest.previous = undefined;
  }

  /**
   * A state under the rule before as a state of this one: what was used, in units, when this rule began, and never
   * more than it holds. It comes back at the rate of this rule, so that retry times hold, but not later than under
   * the rule before: there the key is then full, and its slot may be gone.
   */
  converted(full: number, from: MemoryRule, time: number): number {
    if (full <= time * from.resolution) return 0;
    const used = full - this.since * from.resolution;
    if (used <= 0) return 0;
    return this.since * this.resolution + Math.min(this.refill, Math.ceil((used / from.interval) * this.interval));
  }
}

export function own(rule: Rule): MemoryRule {
  if (!(rule instanceof MemoryRule)) throw new TypeError(`rule ${rule.name} was made by another limiter`);
  return rule;
}

export function sameNumbers(a: RuleOptions, b: RuleOptions): boolean {
  if (a.algorithm !== 'token-bucket' || b.algorithm !== 'token-bucket') return false;
  return (
    a.algorithm === b.algorithm && a.limit === b.limit && a.periodMs === b.periodMs && (a.burst ?? 0) === (b.burst ?? 0)
  );
}
