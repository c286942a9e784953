import { mixHigh, mixLow } from './hash.ts';
import type { Rule } from './types.ts';

/** More rules in one decision than this are a mistake of the caller, not traffic. */
export const MAX_RULES = 128;

/**
 * The question of one decision: which rules, at what cost, for which keys. Made once and used again for every call:
 * filling it allocates nothing. A limiter reads it before `decide` returns, also when the answer is a promise.
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
  /** Key lanes of each rule; see `hash.ts`. */
  readonly high: Int32Array = new Int32Array(MAX_RULES);
  readonly low: Int32Array = new Int32Array(MAX_RULES);

  /** Forgets everything asked so far. */
  clear(): this {
    this.size = 0;
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
    const i = this.size;
    if (i === MAX_RULES) throw new RangeError(`more than ${MAX_RULES} rules in one decision`);
    this.size = i + 1;
    this.rules[i] = rule;
    this.costs[i] = cost;
    this.high[i] = 0;
    this.low[i] = 0;
    return this;
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
}
