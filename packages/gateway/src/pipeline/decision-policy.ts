/** What records of decisions say of the configuration they were made under. */
import { createHash } from 'node:crypto';
import type { AdmissionOptions, PriceOptions } from '../admission/options.ts';
import type { CompiledConfig } from '../config/compile.ts';
import { compileExpression, type Expression, type ExpressionKind } from '../core/expression.ts';
import type { DecisionPolicy } from '../telemetry/decisions/document.ts';

/** The expressions of limits and prices, each source once, and a digest of the limits. Undefined: nothing is limited. */
export function decisionPolicy(config: Pick<CompiledConfig, 'admission'> | undefined): DecisionPolicy {
  if (config === undefined) return { digest: '', expressionsOf: () => [], priceOf: () => 'none' };
  const options = config.admission;
  const limits = expressionsOfLimits(options);
  const byPrices = new WeakMap<readonly PriceOptions[], readonly Expression[]>();
  return {
    digest: digestOf(options),
    expressionsOf: (id) => {
      const prices = id === undefined ? undefined : options.pricesOf(id);
      if (prices === undefined) return limits;
      let all = byPrices.get(prices);
      if (all === undefined) {
        all = withPrices(limits, prices);
        byPrices.set(prices, all);
      }
      return all;
    },
    priceOf: (id) => priceOf(id === undefined ? undefined : options.pricesOf(id)),
  };
}

/** Every expression that stands in a limit, with what it must give. */
function* sourcesOf(options: AdmissionOptions): Generator<readonly [source: string, kind: ExpressionKind]> {
  for (const { when, cost } of options.limits) {
    if (when !== undefined) yield [when, 'boolean'];
    if (cost?.kind === 'expression') yield [cost.source, 'integer'];
  }
}

function expressionsOfLimits(options: AdmissionOptions): readonly Expression[] {
  const found = new Map<string, Expression>();
  for (const [source, kind] of sourcesOf(options)) {
    if (!found.has(source)) found.set(source, compileExpression(source, kind));
  }
  return [...found.values()];
}

function withPrices(limits: readonly Expression[], prices: readonly PriceOptions[]): readonly Expression[] {
  const found = new Map(limits.map((expression) => [expression.source, expression]));
  for (const { times } of prices) {
    if (times !== undefined && !found.has(times)) found.set(times, compileExpression(times, 'number'));
  }
  return [...found.values()];
}

function priceOf(prices: readonly PriceOptions[] | undefined): ReturnType<DecisionPolicy['priceOf']> {
  if (prices === undefined || prices.length === 0) return 'none';
  if (prices.some((price) => price.from !== undefined)) return 'reported';
  return prices.some((price) => price.times !== undefined) ? 'computed' : 'fixed';
}

function digestOf({ limits, tiers, unpriced, preset, sessionGuard }: AdmissionOptions): string {
  const plain = (_key: string, value: unknown): unknown => (value instanceof Map ? [...value] : value);
  const text = JSON.stringify({ limits, tiers, unpriced, preset, sessionGuard }, plain);
  return createHash('sha256').update(text).digest('hex');
}
