import type { Checks, ParsedConfig } from './check.ts';
import { isAmount, leadingQuota, rowsOf } from './limit-rows.ts';
import { presetOf } from './preset.ts';
import { doubt, type KeyPath, mistake, suggest } from './problems.ts';
import { asList } from './values.ts';

type Price = Exclude<NonNullable<ParsedConfig['tools'][string]['price']>, readonly unknown[]>;

export function checkPrices(checks: Checks): void {
  const units = new Set<string>();
  for (const [pattern, { price }] of Object.entries(checks.config.tools)) {
    if (price === undefined) continue;
    const path: KeyPath = ['tools', pattern, 'price'];
    const seen = new Set<string>();
    if (Array.isArray(price) && price.length === 0) {
      checks.findings.push(mistake(path, 'An empty list is no price.', 'Write each: 0 USD for what is free.'));
    }
    asList<Price>(price)!.forEach((one, i) => {
      const at = Array.isArray(price) ? [...path, i] : path;
      const unit = checkPrice(checks, one, at);
      if (unit === undefined) return;
      if (seen.has(unit)) checks.findings.push(mistake(at, `There is a price in ${unit} already.`, 'Remove one.'));
      seen.add(unit);
      units.add(unit);
    });
  }
  checkUnits(checks, units);
}

const AMOUNTS = ['each', 'hold', 'max', 'cached'] as const;

/** Finds contradictions; returns the unit. */
function checkPrice(checks: Checks, price: Price, path: KeyPath): string | undefined {
  const { each, times, from, hold, max, cached } = price;
  const refuse = (key: string | undefined, what: string, fix: string) =>
    void checks.findings.push(mistake(key === undefined ? path : [...path, key], what, fix));
  if (each === undefined && from === undefined) {
    if (times !== undefined) refuse('times', '`times` multiplies `each`, which is missing.', 'Write each: 0.002 USD.');
    else if (hold !== undefined)
      refuse('hold', '`hold` needs `from`: where the result says the price.', 'Write `from`.');
    else refuse(undefined, 'This is no price.', 'Write each: 0.005 USD, or `from` and `hold`.');
  } else if (each !== undefined && from !== undefined) {
    refuse('from', 'A price is known before the call (`each`) or after it (`from`), not both.', 'Remove one.');
  } else if (from !== undefined && hold === undefined) {
    refuse('from', 'Before the call something must be held.', 'Write hold: 0.10 USD: the most that is likely.');
  } else if (each !== undefined && hold !== undefined) {
    refuse('hold', 'What `each` comes to is held already.', 'Remove `hold`.');
  }
  if (from !== undefined && times !== undefined)
    refuse('times', '`times` goes with `each`, not with `from`.', 'Remove one.');
  const first = AMOUNTS.find((key) => price[key] !== undefined);
  if (first === undefined) return undefined;
  const { unit } = price[first]!;
  for (const key of AMOUNTS) {
    const amount = price[key];
    if (amount !== undefined && amount.unit !== unit) {
      refuse(key, `\`${first}\` is in ${unit}; one price has one unit.`, 'Write a list with a price for each unit.');
      return unit;
    }
  }
  if (max !== undefined && each !== undefined && each.micros > max.micros && times === undefined) {
    refuse('max', 'Every call costs more than `max`, so all would be refused.', 'Raise it, or remove it.');
  } else if (max !== undefined && hold !== undefined && hold.micros > max.micros) {
    refuse('max', '`hold` is more than `max`, so all calls would be refused.', 'Raise it, or lower `hold`.');
  }
  if (cached !== undefined && each !== undefined && times === undefined && cached.micros > each.micros) {
    refuse('cached', 'An answer from the cache costs more than a call.', 'Lower `cached`.');
  }
  return unit;
}

/** A limit on an amount that no price and no cost ever charges lets everything through. */
function checkUnits(checks: Checks, units: ReadonlySet<string>): void {
  const { config } = checks;
  if (config.unpriced === 'free' || checks.isAnyDamaged('tools')) return;
  const preset = presetOf(config);
  for (const [name, limit] of Object.entries(config.limits)) {
    // Costs of the preset may be reported by `check_mcp_limit` only.
    if (preset !== undefined && Object.hasOwn(preset.limits, name)) continue;
    if (limit.cost !== undefined || limit.mode === 'off') continue;
    const quota = leadingQuota(limit, rowsOf(config.tiers, name));
    if (quota === undefined || !isAmount(quota) || units.has(quota.amount.unit)) continue;
    const { unit } = quota.amount;
    const others = [...units];
    const fix =
      others.length > 0
        ? suggest(unit, others)
        : `Write tools: { "*": { price: { each: 0.01 ${unit} } } }, or \`cost\`.`;
    const what = `No tool has a price in ${unit}, so calls through the gateway charge nothing here.`;
    checks.findings.push(doubt(['limits', name, 'limit'], what, fix));
  }
}
