import type { PriceOptions } from '../admission/options.ts';
import { compileCanonicalGlob, type Glob } from '../core/glob.ts';
import { formatAmount } from './amounts.ts';
import { specificity } from './globs.ts';
import { parsePath } from './paths.ts';
import type { Config } from './schema.ts';
import { asList } from './values.ts';

type WrittenPrice = NonNullable<Config['tools'][string]['price']>;

export interface PriceList {
  /** The prices of a canonical id, one per unit: those of the most specific pattern that has any. */
  readonly of: (canonicalId: string) => readonly PriceOptions[] | undefined;
  /** The pattern, as written, that the prices of a canonical id stand under. */
  readonly patternOf: (canonicalId: string) => string | undefined;
}

/** Prices by pattern. For plans, not per call. */
export function compilePrices(tools: Config['tools']): PriceList {
  const exact = new Map<string, Priced>();
  const patterns: Priced[] = [];
  for (const [written, { price }] of Object.entries(tools)) {
    if (price === undefined) continue;
    const glob = compileCanonicalGlob(written);
    const priced = { written, glob, prices: compilePrice(price) };
    if (glob.exact === undefined) patterns.push(priced);
    else exact.set(glob.exact, priced);
  }
  patterns.sort((a, b) => specificity(b.glob.source) - specificity(a.glob.source));
  const find = (id: string) => exact.get(id) ?? patterns.find(({ glob }) => glob.matches(id));
  return { of: (id) => find(id)?.prices, patternOf: (id) => find(id)?.written };
}

interface Priced {
  readonly written: string;
  readonly glob: Glob;
  readonly prices: readonly PriceOptions[];
}

function compilePrice(price: WrittenPrice): readonly PriceOptions[] {
  return Object.freeze(
    asList(price)!.map((one) =>
      Object.freeze({
        each: one.each,
        times: one.times,
        from: one.from === undefined ? undefined : Object.freeze([...parsePath(one.from)]),
        hold: one.hold,
        max: one.max,
        cached: one.cached,
      }),
    ),
  );
}

/** `0.002 USD × size(args.pages), at most 5 USD`, `what result._meta.cost says, 0.1 USD held`. */
export function priceWords(price: PriceOptions): string {
  const parts: string[] = [];
  if (price.each !== undefined) {
    parts.push(formatAmount(price.each) + (price.times === undefined ? ' a call' : ` × ${price.times}`));
  }
  if (price.from !== undefined) parts.push(`what ${formatPath(price.from)} says`);
  if (price.hold !== undefined) parts.push(`${formatAmount(price.hold)} held before`);
  if (price.max !== undefined) parts.push(`at most ${formatAmount(price.max)}`);
  if (price.cached !== undefined) parts.push(`from the cache ${formatAmount(price.cached)}`);
  return parts.join(', ');
}

function formatPath(path: readonly (string | number)[]): string {
  const steps = path.map((step) => {
    if (typeof step === 'number') return `[${step}]`;
    return /^[A-Za-z_$][\w$-]*$/.test(step) ? `.${step}` : `[${JSON.stringify(step)}]`;
  });
  return `result${steps.join('')}`;
}
