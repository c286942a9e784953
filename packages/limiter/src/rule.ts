import { type CalendarPeriod, calendarWindow } from './calendar.ts';
import { foldHigh, mixHigh, mixLow } from './hash.ts';
import { intervalOf } from './interval.ts';
import type { Sketch } from './sketch.ts';
import { LANE_MASK, LANE_SHIFT, TAG_CHAIN, TAG_LOG, TAG_TIME, TAG_WALL } from './slots.ts';
import type { Rule, RuleOptions } from './types.ts';

/** Algorithms as small integers: what the hot path switches on. */
export const BUCKET = 0;
export const SLIDING = 1;
export const FIXED = 2;
export const CALENDAR = 3;
export const TOTAL = 4;
export const CONCURRENCY = 5;
export const PER_CALL = 6;

const KINDS = ['token-bucket', 'sliding-window', 'fixed-window', 'calendar-window', 'total', 'concurrency', 'per-call'];
const PERIODS: readonly string[] = ['minute', 'hour', 'day', 'week', 'month'];
/** Up to so many units a sliding window keeps every charge at its own moment. */
export const EXACT_LOG = 100;
/** Parts of its period in which a larger sliding window counts together; one leaves when all of it has left. */
const SUB_WINDOWS = 60;
/** Longest period of a window, in microseconds (100 years). */
const MAX_PERIOD = 3.2e15;

export type Seed = readonly [number, number];

/** Where keys are counted for which there was no room: of token buckets each rule has its own. */
export interface SketchOwner {
  sketch: Sketch | undefined;
}

/** What rules of one id and shape share: where the state of their keys is, and whose state they have taken over. */
export class Family {
  readonly kind: number;
  /** Microseconds; 0 where there is none. */
  readonly period: number;
  readonly calendar: CalendarPeriod | undefined;
  readonly timezone: string;
  /** Name of the state: id, algorithm, period and zone of the rule that first had it. */
  readonly shape: string;
  readonly rules: MemoryRule[] = [];
  /** Families that this one replaced, and at which microsecond. */
  readonly ancestors: { readonly family: Family; readonly since: number }[] = [];
  high = 0;
  low = 0;
  /** Its place in the blocks of its table, above the bits of a tag. */
  seat = 0;
  /** Where keys are counted for which there was no room. Of token buckets each rule has its own. */
  sketch: Sketch | undefined;
  /** Number of the last decision that met this family, to see a second mention at once. */
  seenIn = 0;
  /** The calendar window found last, in Unix microseconds. */
  start = 0;
  end = 0;

  constructor(options: RuleOptions, shape: string) {
    this.kind = KINDS.indexOf(options.algorithm);
    this.period = 'periodMs' in options ? Math.round(options.periodMs * 1000) : 0;
    this.calendar = options.algorithm === 'calendar-window' ? options.period : undefined;
    this.timezone = options.algorithm === 'calendar-window' ? (options.timezone ?? 'UTC') : '';
    this.shape = shape;
  }

  seed(seed: Seed): void {
    this.high = foldHigh(mixHigh(seed[0], 1), this.shape);
    // The same for all, so that what a key has under several rules lies in one block.
    this.low = mixLow(seed[1], 1);
    for (const rule of this.rules) rule.place();
  }
}

/** A rule of the limiter in memory: its numbers in ticks, and where the state of its keys is. */
export class MemoryRule implements Rule {
  readonly name: string;
  readonly options: RuleOptions;
  readonly capacity: number;
  readonly kind: number;
  readonly unit: string;
  readonly shadow: boolean;
  readonly settles: boolean;
  /** True: it charges only with a hold. */
  readonly needsHold: boolean;
  readonly marks: readonly number[];
  /** True: a token bucket with nothing else to note. */
  readonly plain: boolean;
  /** True: a window or a total with nothing else to note. */
  readonly paged: boolean;
  readonly family: Family;
  /** Position among the rules of the limiter. */
  readonly number: number;
  readonly resolution: number;
  readonly interval: number;
  readonly refill: number;
  readonly period: number;
  /** Microseconds that a sliding window counts together; 0: it keeps every charge. */
  readonly grid: number;
  readonly tag: number;
  /** Lanes that the fingerprints of its keys start from, and the low bits that are the rule's: seat and tag. */
  high = 0;
  low = 0;
  seat = 0;
  /** True: a key without state here may have some elsewhere: under a variant, a replaced rule, or in the sketch. */
  unsure = false;
  /** Latest tick written under these numbers: later than that no key has anything used under them. */
  latest = 0;
  sketch: Sketch | undefined;
  /** True: known from a store only, nobody has asked for it since. */
  restored = false;

  constructor(options: RuleOptions, family: Family, number: number) {
    const { name, limit } = options;
    this.name = name;
    this.options = options;
    this.kind = family.kind;
    this.capacity = limit + (options.algorithm === 'token-bucket' ? (options.burst ?? 0) : 0);
    this.unit = options.unit ?? 'requests';
    this.shadow = options.shadow === true;
    this.settles = options.settles === true && this.kind !== CONCURRENCY && this.kind !== PER_CALL;
    this.needsHold = this.settles || this.kind === CONCURRENCY;
    this.marks = options.marks ?? [];
    this.plain = this.kind === BUCKET && !this.settles && this.marks.length === 0;
    const windowed = this.kind === FIXED || this.kind === CALENDAR || this.kind === TOTAL;
    this.paged = windowed && this.marks.length === 0;
    this.family = family;
    this.number = number;
    this.period = family.period;
    this.resolution = 1;
    this.interval = 0;
    this.refill = 0;
    this.grid = this.kind === SLIDING && this.capacity > EXACT_LOG ? Math.ceil(this.period / SUB_WINDOWS) : 0;
    this.tag = TAG_TIME;
    if (this.kind === SLIDING) this.tag = TAG_LOG;
    else if (this.kind === CALENDAR) this.tag = TAG_WALL;
    else if (this.kind === CONCURRENCY) this.tag = TAG_CHAIN;
    if (this.kind === BUCKET) {
      const { resolution, interval, refill } = intervalOf(limit, this.period, this.capacity);
      this.resolution = resolution;
      this.interval = interval;
      this.refill = refill;
      this.tag = resolution - 1;
    }
  }

  /** Takes the lanes of its family. */
  place(): void {
    this.high = this.family.high;
    this.low = this.family.low;
    this.seat = this.family.seat | this.tag;
    // A slot says in how many ticks it counts, not how many make a unit: so each variant has its own.
    if (this.kind === BUCKET) {
      this.high = mixHigh(mixHigh(this.high, this.interval | 0), (this.interval / 2 ** 32) | 0);
    }
  }

  /** First microsecond at which a charge made at `at` no longer counts in a sliding window. */
  leavesAt(at: number): number {
    return this.grid === 0 ? at + this.period : (Math.floor(at / this.grid) + 1) * this.grid + this.period;
  }
}

/** The rules of a limiter, by family. */
export class Rules {
  readonly all: MemoryRule[] = [];
  /** By id and shape; a renamed rule is found under both names. */
  readonly families = new Map<string, Family>();
  #seed: Seed;
  /** Families made so far, of token buckets and of others: their tables differ. */
  #rates = 0;
  #wides = 0;

  constructor(seed: Seed) {
    this.#seed = seed;
  }

  /** The rule as this limiter made it. */
  own(given: Rule): MemoryRule {
    if (!(given instanceof MemoryRule) || this.all[given.number] !== given) {
      throw new TypeError(`rule ${given.name} was made by another limiter`);
    }
    return given;
  }

  make(options: RuleOptions, previous: MemoryRule | undefined, now: number): MemoryRule {
    validate(options);
    const shape = shapeOf(options);
    let family = this.families.get(shape);
    if (family === undefined && previous !== undefined && sameShape(previous.options, options)) {
      // Another name for the same state: nothing has to be moved, and what holds have open stays where it is.
      family = previous.family;
      this.families.set(shape, family);
    }
    const made = family ?? this.#found(options, shape);
    for (const rule of made.rules) {
      if (!sameOptions(rule.options, options)) continue;
      rule.restored = false;
      return this.#replace(rule, previous, now);
    }
    // Numbers that cannot be kept are refused before anything is changed.
    const rule = new MemoryRule(options, made, this.all.length);
    if (family === undefined) {
      this.families.set(shape, made);
      // Back from a store under other numbers: the first rule of this id continues what the last one counted.
      previous ??= this.all.findLast((other) => other.restored && idOf(other.options) === idOf(options));
    }
    this.all.push(rule);
    made.rules.push(rule);
    made.seed(this.#seed);
    return this.#replace(rule, previous, now);
  }

  #found(options: RuleOptions, shape: string): Family {
    const family = new Family(options, shape);
    const number = family.kind === BUCKET ? this.#rates++ : this.#wides++;
    family.seat = (number << LANE_SHIFT) & LANE_MASK;
    return family;
  }

  /** A rule that a store knows, by its options, the name of the state it shares, and the seat of that. */
  known(options: RuleOptions, shape: string, seat: number): MemoryRule {
    validate(options);
    const own = shapeOf(options);
    const family = this.families.get(shape) ?? this.families.get(own) ?? this.#found(options, shape);
    family.seat = seat & LANE_MASK;
    this.families.set(shape, family);
    this.families.set(own, family);
    for (const rule of family.rules) {
      if (!sameOptions(rule.options, options)) continue;
      rule.latest = Infinity;
      family.seed(this.#seed);
      return rule;
    }
    const rule = new MemoryRule(options, family, this.all.length);
    rule.restored = true;
    rule.latest = Infinity;
    const asked = family.rules.some((other) => !other.restored);
    this.all.push(rule);
    family.rules.push(rule);
    family.seed(this.#seed);
    this.#replace(rule, undefined, 0);
    if (asked) return rule;
    // A rule of this id was made before the state was read, under other numbers: it continues what this one counted.
    const heir = this.all.findLast((other) => !other.restored && idOf(other.options) === idOf(options));
    if (heir !== undefined) this.#replace(heir, rule, 0);
    return rule;
  }

  sketch(rule: MemoryRule, sketch: Sketch): void {
    const owner: SketchOwner = rule.kind === BUCKET ? rule : rule.family;
    owner.sketch = sketch;
    for (const other of rule.family.rules) other.unsure = true;
  }

  /** Another seed: every fingerprint is another one from here on. */
  reseed(seed: Seed): void {
    this.#seed = seed;
    for (const family of this.families.values()) family.seed(seed);
  }

  #replace(rule: MemoryRule, previous: MemoryRule | undefined, now: number): MemoryRule {
    const { family } = rule;
    if (previous !== undefined && previous.family !== family) {
      const known = family.ancestors.some((ancestor) => ancestor.family === previous.family);
      // There and back again: what this one still has is found without going round.
      unlink(previous.family, family);
      if (!known) family.ancestors.push({ family: previous.family, since: now });
      if (family.ancestors.length > MAX_ANCESTORS) family.ancestors.shift();
    }
    if (family.sketch !== undefined) rule.unsure = true;
    const variants = new Set(family.rules.map((other) => `${other.interval} ${other.resolution}`));
    for (const other of family.rules) {
      other.unsure ||= variants.size > 1 || family.ancestors.length > 0;
    }
    return rule;
  }
}

/** Rules of which one rule carries over what was used. */
const MAX_ANCESTORS = 8;

function unlink(from: Family, target: Family): void {
  const at = from.ancestors.findIndex((ancestor) => ancestor.family === target);
  if (at >= 0) from.ancestors.splice(at, 1);
  for (const { family } of from.ancestors) unlink(family, target);
}

/** What the state of a rule is kept by. */
function shapeOf(options: RuleOptions): string {
  const period =
    'periodMs' in options ? Math.round(options.periodMs * 1000) : 'period' in options ? options.period : '';
  const timezone = options.algorithm === 'calendar-window' ? (options.timezone ?? 'UTC') : '';
  return JSON.stringify([idOf(options), options.algorithm, period, timezone]);
}

function idOf(options: RuleOptions): string {
  return options.id ?? options.name;
}

function sameShape(a: RuleOptions, b: RuleOptions): boolean {
  return shapeOf({ ...a, id: '' }) === shapeOf({ ...b, id: '' });
}

function sameOptions(a: RuleOptions, b: RuleOptions): boolean {
  return JSON.stringify(normal(a)) === JSON.stringify(normal(b));
}

function normal(options: RuleOptions): unknown[] {
  return Object.entries(options)
    .filter(([, value]) => value !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1));
}

function validate(options: RuleOptions): void {
  const { name, limit, marks = [] } = options;
  const fail = (what: string): never => {
    throw new RangeError(`${name}: ${what}`);
  };
  if (!KINDS.includes(options.algorithm)) fail(`there is no algorithm ${String(options.algorithm)}`);
  if (!Number.isSafeInteger(limit) || limit < 1) fail('limit must be an integer of at least 1');
  if (options.algorithm === 'token-bucket') {
    const { burst = 0 } = options;
    if (!Number.isSafeInteger(burst) || burst < 0) fail('burst must be a non-negative integer');
    if (!Number.isSafeInteger(limit + burst)) fail('limit and burst must fit 53 bits together');
  }
  if ('periodMs' in options) {
    const period = Math.round(options.periodMs * 1000);
    if (!(period >= 1 && period <= MAX_PERIOD)) fail('periodMs must be from 0.001 to 100 years');
  }
  if (options.algorithm === 'calendar-window' && !PERIODS.includes(options.period)) {
    fail(`period must be one of ${PERIODS.join(', ')}`);
  }
  // Also the check that the zone exists: better now than with the first call.
  if (options.algorithm === 'calendar-window') calendarWindow(options.period, options.timezone ?? 'UTC', 0);
  for (const [i, mark] of marks.entries()) {
    if (!Number.isSafeInteger(mark) || mark < 1) fail('marks must be integers of at least 1');
    if (i > 0 && mark <= marks[i - 1]!) fail('marks must be ascending');
  }
}
