import { mixHigh, mixLow } from './hash.ts';
import type { Rule } from './types.ts';

/** More rules in one decision than this are a mistake of the caller, not traffic. */
export const MAX_RULES = 128;
/** Longest id of a hold. */
export const MAX_HOLD_ID = 128;

/**
 * The question of one decision: which rules, at what cost, for which keys. Made once and used again for every call:
 * filling it allocates nothing. A limiter reads it before its method returns, also when the answer is a promise.
 *
 * ```ts
 * ask.clear().rule(perUser, 1).key(user.number).rule(perTool, 1).key(user.number).key(tool.number);
 * ```
 */
export class Ask {
  /** Number of rules asked for. */
  size = 0;
  readonly rules: Rule[] = [];
  readonly costs: Float64Array = new Float64Array(MAX_RULES);
  /** Units granted on top of each rule's capacity. */
  readonly extras: Float64Array = new Float64Array(MAX_RULES);
  /** Key lanes of each rule; see `hash.ts`. */
  readonly high: Int32Array = new Int32Array(MAX_RULES);
  readonly low: Int32Array = new Int32Array(MAX_RULES);
  /** Id of the hold that the decision opens; undefined: none. */
  holdId: string | undefined = undefined;
  /** Microseconds after which the hold expires. */
  holdFor = 0;
  /** What an expired hold counts as. */
  holdExpiry: 'spent' | 'free' = 'spent';
  /** Microseconds that the call would wait for its turn. */
  patienceFor = 0;
  /** Whose keys these are, where a store keeps tenants apart; see `tenant`. */
  tag = '';

  /** Forgets everything asked so far. */
  clear(): this {
    this.size = 0;
    this.holdId = undefined;
    this.holdFor = 0;
    this.holdExpiry = 'spent';
    this.patienceFor = 0;
    this.tag = '';
    return this;
  }

  /**
   * Adds a rule with what the call costs under it, in the rule's own unit: a non-negative safe integer, default 1.
   * Cost 0 asks without taking. The same rule and key added twice are one rule with the sum of both costs.
   * Throws a RangeError for any other cost.
   */
  rule(rule: Rule, cost: number = 1): this {
    if (!(cost >= 0 && Number.isSafeInteger(cost))) {
      throw new RangeError(`the cost of ${rule.name} must be a non-negative integer, got ${String(cost)}`);
    }
    return this.#add(rule, cost);
  }

  /** Adds a rule with an amount for `adjust`: positive is charged, negative given back. A safe integer. */
  change(rule: Rule, amount: number): this {
    if (!Number.isSafeInteger(amount)) {
      throw new RangeError(`the change of ${rule.name} must be an integer, got ${String(amount)}`);
    }
    return this.#add(rule, amount);
  }

  /** Adds a numeric part (an integer from 0 to 2^32 - 1) to the key of the last rule. Without parts all share one key. */
  key(part: number): this {
    if (part >>> 0 !== part) throw new RangeError(`a key part must be an integer from 0 to 2^32 - 1, got ${part}`);
    const i = this.size - 1;
    this.high[i] = mixHigh(this.high[i]! + 1, part);
    this.low[i] = mixLow(this.low[i]! ^ 0x5bd1e995, part);
    return this;
  }

  /** Adds a text part of any length and content to the key of the last rule. Slower than a number: hash once, keep it. */
  text(part: string): this {
    for (let at = 0; at < part.length; at++) this.key(part.charCodeAt(at));
    // The length last: ('ab', 'c') and ('a', 'bc') are different keys.
    return this.key(part.length).key(0xffffffff);
  }

  /** Grants the last rule so many units more than it holds, for this decision: a non-negative safe integer. */
  extra(units: number): this {
    if (!(units >= 0 && Number.isSafeInteger(units))) {
      throw new RangeError(`extra units must be a non-negative integer, got ${String(units)}`);
    }
    this.extras[this.size - 1] = units;
    return this;
  }

  /**
   * The decision opens a hold: its charges belong to `id` (1 to 128 characters) until it is settled, released, or
   * `ttl` microseconds have passed. Expired, estimates count as `spent` (the default) or are `free`; slots are free.
   */
  hold(id: string, ttl: number, expiry: 'spent' | 'free' = 'spent'): this {
    if (id.length === 0 || id.length > MAX_HOLD_ID) {
      throw new RangeError(`the id of a hold must have 1 to ${MAX_HOLD_ID} characters, got ${id.length}`);
    }
    if (!(ttl >= 1 && Number.isSafeInteger(ttl))) {
      throw new RangeError(`a hold must last a positive whole number of microseconds, got ${String(ttl)}`);
    }
    this.holdId = id;
    this.holdFor = ttl;
    this.holdExpiry = expiry;
    return this;
  }

  /**
   * Where only rates are in the way, takes the first place that comes free within so many microseconds; the outcome
   * says how long to wait. Token buckets and sliding windows only: with another rule in the way it is a refusal. Every
   * rule is charged now; only sliding windows note the moment at which the call runs.
   */
  patience(micros: number): this {
    if (!(micros >= 0 && Number.isSafeInteger(micros))) {
      throw new RangeError(`patience must be a non-negative whole number of microseconds, got ${String(micros)}`);
    }
    this.patienceFor = micros;
    return this;
  }

  /** Names the tenant that the keys belong to. On a cluster all keys of one tenant live in one slot. */
  tenant(name: string): this {
    this.tag = name;
    return this;
  }

  #add(rule: Rule, cost: number): this {
    const i = this.size;
    if (i === MAX_RULES) throw new RangeError(`more than ${MAX_RULES} rules in one decision`);
    this.size = i + 1;
    this.rules[i] = rule;
    this.costs[i] = cost;
    this.extras[i] = 0;
    this.high[i] = 0;
    this.low[i] = 0;
    return this;
  }
}
