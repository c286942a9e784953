/** From what a ledger says back to questions to the limiter: for counters that were lost. */
import { Ask, calendarWindow, MAX_RULES, type Rule } from '@tollgate/limiter';
import type { CompiledLimit, Variant } from './limits.ts';
import type { Quota } from './options.ts';
import { isAmount, lengthOf } from './rules.ts';

/** The sum of one counter in a ledger; amounts in micro-units. */
export interface LedgerSum {
  readonly rule: string;
  readonly key: string;
  readonly windowStart: number;
  readonly unit: string;
  readonly total: number;
}

/** A hold that a ledger has open. */
export interface LedgerHold {
  readonly id: string;
  readonly expiresAt: number;
  readonly postings: readonly (Pick<LedgerSum, 'rule' | 'key' | 'windowStart' | 'unit'> & {
    readonly amount: number;
  })[];
}

/** Asks of `change` amounts, at most 128 each. */
export interface RestoredCounters {
  /** Windows and totals: what they hold is known exactly. */
  readonly windows: readonly Ask[];
  /** Token buckets and sliding windows: when it was charged is not known, so all of it is charged now. */
  readonly rates: readonly Ask[];
}

export class Restoring {
  readonly #variants = new Map<string, Variant>();

  constructor(limits: readonly CompiledLimit[]) {
    for (const limit of limits) {
      for (const variant of limit.variants) {
        const { rule, quota } = variant;
        if (isAmount(quota) && quota.kind !== 'per-call') this.#variants.set(rule.options.id ?? rule.name, variant);
      }
    }
  }

  /** Ids of the rules whose window has no end. */
  get totals(): readonly string[] {
    return [...this.#variants].filter(([, { quota }]) => quota.kind === 'total').map(([id]) => id);
  }

  /** The counters that limits in force still count at this wall time. */
  counters(sums: Iterable<LedgerSum>, wall: number): RestoredCounters {
    const found = new Map<string, { readonly variant: Variant; readonly key: string; total: number }>();
    for (const { rule, key, windowStart, unit, total } of sums) {
      const variant = this.#variants.get(rule);
      if (variant === undefined || variant.rule.options.unit !== unit || !isCurrent(variant, windowStart, wall))
        continue;
      // A window without calendar is kept in parts; together they are at least what it holds.
      const id = `${rule} ${key}`;
      const known = found.get(id);
      if (known === undefined) found.set(id, { variant, key, total });
      else known.total += total;
    }
    const windows = new Asks();
    const rates = new Asks();
    for (const { variant, key, total } of found.values()) {
      const { algorithm } = variant.rule.options;
      const asks = algorithm === 'token-bucket' || algorithm === 'sliding-window' ? rates : windows;
      asks.add(variant.rule, key, total);
    }
    return { windows: windows.all, rates: rates.all };
  }

  /** A hold as it was asked for; undefined: no limit in force counts it, or its time is over. */
  hold({ id, expiresAt, postings }: LedgerHold, wall: number): Ask | undefined {
    const left = Math.ceil((expiresAt - wall) * 1000);
    if (left < 1) return undefined;
    const ask = new Ask().hold(id, left);
    for (const { rule, key, windowStart, unit, amount } of postings) {
      const variant = this.#variants.get(rule);
      if (variant === undefined || variant.rule.options.unit !== unit || !isCurrent(variant, windowStart, wall))
        continue;
      place(ask.rule(variant.rule, Math.max(0, amount)), key);
    }
    return ask.size === 0 ? undefined : ask;
  }
}

class Asks {
  readonly all: Ask[] = [];

  add(rule: Rule, key: string, total: number): void {
    let ask = this.all.at(-1);
    if (ask === undefined || ask.size === MAX_RULES) {
      ask = new Ask();
      this.all.push(ask);
    }
    place(ask.change(rule, total), key);
  }
}

/** The key as the limiter was asked with it: its two lanes. */
function place(ask: Ask, key: string): void {
  const i = ask.size - 1;
  ask.high[i] = Number.parseInt(key.slice(0, 8), 16) | 0;
  ask.low[i] = Number.parseInt(key.slice(8, 16), 16) | 0;
}

function isCurrent({ quota, limit }: Variant, windowStart: number, wall: number): boolean {
  if (!('period' in quota)) return windowStart === 0;
  const { period } = quota as Extract<Quota, { readonly period: unknown }>;
  if (period.kind === 'calendar' && limit.options.algorithm === 'fixed-window') {
    return windowStart === calendarWindow(period.page, limit.options.timezone, wall).start;
  }
  return windowStart > wall - lengthOf(period);
}
