import type { Log } from '../core/log.ts';
import type { AdmissionOptions } from './options.ts';
import { Price } from './price.ts';

/** Tools that are remembered; then all are forgotten and worked out again. */
const MAX_TOOLS = 10_000;
/** Longer names are not remembered: other systems may ask about any. */
const MAX_NAME = 512;

/** The compiled prices of tools, and which tools were said to have none. */
export class PriceTable {
  readonly #options: Pick<AdmissionOptions, 'pricesOf' | 'unpriced'>;
  readonly #log: Log;
  readonly #prices = new Map<string, readonly Price[]>();
  readonly #warned = new Set<string>();

  constructor(options: Pick<AdmissionOptions, 'pricesOf' | 'unpriced'>, log: Log) {
    this.#options = options;
    this.#log = log;
  }

  of(tool: string): readonly Price[] {
    let prices = this.#prices.get(tool);
    if (prices === undefined) {
      prices = (this.#options.pricesOf(tool) ?? []).map((options) => new Price(options, tool));
      if (tool.length > MAX_NAME) return prices;
      if (this.#prices.size >= MAX_TOOLS) this.#prices.clear();
      this.#prices.set(tool, prices);
    }
    return prices;
  }

  /** `unpriced: warn`: says once of each tool that a limit on money covers it for nothing. */
  unpriced(tool: string, limit: string): void {
    if (this.#options.unpriced !== 'warn' || this.#warned.has(tool) || this.#warned.size >= MAX_TOOLS) return;
    if (tool.length > MAX_NAME) return;
    this.#warned.add(tool);
    this.#log.warn({ tool, limit }, 'a limit on money covers a tool that has no price; its calls count as free');
  }
}
