import { calendarWindow } from '../calendar.ts';
import { intervalOf } from '../interval.ts';
import type { Rule, RuleOptions } from '../types.ts';
import { digest } from './keys.ts';

/** Up to this limit a sliding window keeps every charge; above it charges of one sub-window are kept as one. */
export const LOG_LIMIT = 100;
/** Sub-windows of a large sliding window: so much of a period may a charge count too long. */
export const RING_PARTS = 60;
/** How many replaced rules are looked through for what a key has used. */
const MAX_PREVIOUS = 3;
/** Longest period in microseconds (71 years). */
const MAX_PERIOD = 2 ** 51;

export type Kind = 'b' | 's' | 'f' | 'c' | 't' | 'n' | 'p';

const KINDS: Readonly<Record<RuleOptions['algorithm'], Kind>> = {
  'token-bucket': 'b',
  'sliding-window': 's',
  'fixed-window': 'f',
  'calendar-window': 'c',
  total: 't',
  concurrency: 'n',
  'per-call': 'p',
};

/** A rule as the scripts know it. Nothing of it is kept in Redis but digests, so every gateway makes the same one. */
export class RedisRule implements Rule {
  readonly name: string;
  readonly options: RuleOptions;
  readonly capacity: number;
  readonly kind: Kind;
  readonly unit: string;
  readonly shadow: boolean;
  readonly settles: boolean;
  readonly marks: readonly number[];
  readonly crossTenant: boolean;
  /** 1 shadow, 2 settles. */
  readonly what: number;
  /** Of id and shape: variants share it. */
  readonly keyPart: string;
  /** Of all options, to recognise a rule by what a hold says of it. */
  readonly digest: string;
  readonly previous: readonly RedisRule[];
  /** Token bucket: ticks per unit. */
  readonly interval: number;
  /** Token bucket: ticks per microsecond. */
  readonly resolution: number;
  /** Token bucket: microseconds until a unit is back. */
  readonly refillMicros: number;
  readonly #params: string;
  readonly #fast: string;
  #from = 0;
  #until = 0;
  #calendar = '';

  constructor(options: RuleOptions, previous?: RedisRule) {
    const { name, limit } = options;
    const burst = options.algorithm === 'token-bucket' ? (options.burst ?? 0) : 0;
    whole(name, 'limit', limit, 1);
    whole(name, 'burst', burst, 0);
    for (const mark of options.marks ?? []) whole(name, 'marks', mark, 0);
    this.name = name;
    this.options = options;
    this.capacity = limit + burst;
    if (!Number.isSafeInteger(this.capacity)) throw new RangeError(`${name}: limit and burst together are too large`);
    this.kind = KINDS[options.algorithm];
    this.unit = options.unit ?? 'requests';
    this.shadow = options.shadow === true;
    this.settles = options.settles === true;
    this.marks = options.marks ?? [];
    this.crossTenant = options.crossTenant === true;
    this.what = (this.shadow ? 1 : 0) + (this.settles ? 2 : 0);
    const [shape, interval, params] = shapeOf(options, this.capacity);
    this.interval = interval;
    this.resolution = this.kind === 'b' ? Number(params.slice(0, 2)) : 1;
    this.refillMicros = interval / this.resolution;
    this.#params = params;
    this.#fast = this.kind === 'b' ? params : this.kind + params;
    this.keyPart = digest(JSON.stringify([options.id ?? name, options.algorithm, ...shape]), 16);
    this.digest = digest(JSON.stringify([this.keyPart, name, limit, burst, this.unit, this.what, this.marks]), 16);
    const different = previous !== undefined && previous.keyPart !== this.keyPart && previous.kind !== 'p';
    this.previous = different ? [previous, ...previous.previous].slice(0, MAX_PREVIOUS) : [];
  }

  /** What the script needs to know beside cost and limit. `now`: the server's microseconds, as far as is known. */
  params(now: number): string {
    if (this.kind === 'c' && !(now >= this.#from && now < this.#until)) this.#look(now);
    return this.kind === 'c' ? this.#calendar : this.#params;
  }

  fast(now: number): string {
    return this.kind === 'c' ? `c${this.params(now)}` : this.#fast;
  }

  /** This window and the next, so that the script can choose by its own clock. */
  #look(now: number): void {
    if (this.options.algorithm !== 'calendar-window') return;
    const { period, timezone = 'UTC' } = this.options;
    const first = calendarWindow(period, timezone, Math.floor(now / 1000));
    const next = calendarWindow(period, timezone, first.end);
    this.#from = first.start * 1000;
    this.#until = first.end * 1000;
    this.#calendar = [first.start, first.end, next.end].map((ms) => String(ms * 1000).padStart(16, '0')).join('');
  }
}

type Shape = readonly [shape: readonly (string | number)[], interval: number, params: string];

function shapeOf(options: RuleOptions, capacity: number): Shape {
  switch (options.algorithm) {
    case 'token-bucket': {
      const period = periodOf(options.name, options.periodMs);
      const { resolution, interval } = intervalOf(options.limit, period, capacity);
      return [[period], interval, `${String(resolution).padStart(2, '0')}${interval}`];
    }
    case 'sliding-window': {
      const period = periodOf(options.name, options.periodMs);
      const quantum = options.limit <= LOG_LIMIT ? 1 : Math.max(1, Math.ceil(period / RING_PARTS));
      return [[period], 0, `${String(quantum).padStart(16, '0')}${period}`];
    }
    case 'fixed-window': {
      const period = periodOf(options.name, options.periodMs);
      return [[period], 0, String(period)];
    }
    case 'calendar-window': {
      const { period, timezone = 'UTC' } = options;
      // Throws the RangeError for a zone that does not exist.
      calendarWindow(period, timezone, 0);
      return [[period, timezone], 0, ''];
    }
    default:
      return [[], 0, ''];
  }
}

function periodOf(name: string, periodMs: number): number {
  const period = Math.round(periodMs * 1000);
  if (!(Number.isSafeInteger(period) && period >= 1 && period <= MAX_PERIOD)) {
    throw new RangeError(`${name}: periodMs must be from 0.001 to ${MAX_PERIOD / 1000}, got ${String(periodMs)}`);
  }
  return period;
}

function whole(name: string, what: string, value: number, least: number): void {
  if (!(Number.isSafeInteger(value) && value >= least)) {
    throw new RangeError(`${name}: ${what} must be an integer of at least ${least}, got ${String(value)}`);
  }
}

export function own(rule: Rule): RedisRule {
  if (!(rule instanceof RedisRule)) throw new TypeError(`rule ${rule.name} was made by another limiter`);
  return rule;
}
