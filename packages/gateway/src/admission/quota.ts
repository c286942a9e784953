/** What is left for a caller: the data of the tool `tollgate_quota`, and the standing rules for `instructions`. */
import type { Limiter, Standing } from '@tollgate/limiter';
import type { Clock } from '../core/clock.ts';
import type { Asking } from './asking.ts';
import type { Asker, Callers } from './callers.ts';
import { isOwn } from './disclosure.ts';
import type { CompiledLimit, Target } from './limits.ts';
import type { LimitOptions } from './options.ts';
import type { Plans, Step } from './plan.ts';
import { amountText, decimalText, isCurrency, type Price } from './price.ts';
import { resetAtOf } from './refusing.ts';
import { DEFAULT_TIER } from './tiers.ts';
import { quotaWords } from './words.ts';

export interface QuotaLimit {
  readonly limit: string;
  /** What it is, in words: `30 calls a minute, 40 at once`. Absent where `disclose` keeps numbers back. */
  readonly rule: string | undefined;
  /** Canonical ids of the targets asked about that it covers. */
  readonly covers: readonly string[];
  /** Exact decimal text; absent where `disclose` keeps numbers back. */
  readonly remaining: string | undefined;
  readonly of: string | undefined;
  readonly unit: string;
  /** Seconds until one more call has room; 0: now. Absent where waiting cannot help. */
  readonly retryAfterSeconds: number | undefined;
  /** ISO 8601; when all of it is back. */
  readonly resetAt: string | undefined;
}

export interface QuotaPrice {
  readonly tool: string;
  /** `0.005 USD`, `0.002 USD × size(args.pages), at most 5.00 USD`. */
  readonly price: string;
}

export interface QuotaReport {
  readonly tier: string;
  readonly limits: readonly QuotaLimit[];
  readonly prices: readonly QuotaPrice[];
}

export interface QuotaParts {
  readonly limiter: Limiter;
  readonly asking: Asking;
  readonly plans: Plans;
  readonly callers: Callers;
  readonly clock: Clock;
  readonly limits: readonly CompiledLimit[];
}

/** Targets that one report looks at. */
const MAX_TARGETS = 200;
/** Standing rules that one sentence names. */
const MAX_RULES_TOLD = 10;

const METHOD_OF: Readonly<Record<Target['kind'], string | undefined>> = {
  tool: 'tools/call',
  resource: 'resources/read',
  prompt: 'prompts/get',
  none: undefined,
};

/** One counter that limits the caller, and the targets it is shared by. */
interface Line {
  readonly step: Step;
  readonly standing: Standing;
  readonly covers: string[];
}

export class QuotaDesk {
  readonly #parts: QuotaParts;

  constructor(parts: QuotaParts) {
    this.#parts = parts;
  }

  /** Undefined: no limit applies and nothing has a price. */
  async report(asker: Asker, targets: readonly Target[], now: number): Promise<QuotaReport | undefined> {
    const { callers, plans } = this.#parts;
    const caller = callers.of(asker.principal);
    const lines = new Map<string, Line>();
    const prices: QuotaPrice[] = [];
    for (const target of targets.slice(0, MAX_TARGETS)) {
      const method = METHOD_OF[target.kind];
      if (method === undefined) continue;
      const plan = plans.of(method, target, caller.tier);
      const name = target.canonicalId ?? method;
      if (plan.prices.length > 0) prices.push({ tool: name, price: plan.prices.map(priceWords).join(' and ') });
      await this.#look({ plan, asker, caller, target, part: 'look' }, name, lines, now);
    }
    if (lines.size === 0 && prices.length === 0) return undefined;
    const limits = [...lines.values()].toSorted((a, b) => a.step.limit.index - b.step.limit.index);
    return { tier: caller.tier, limits: limits.map((line) => this.#limit(line)), prices };
  }

  /** See `Admission.standingRules`. */
  sentence(targets: readonly Target[]): string | undefined {
    const covering = this.#parts.limits.filter(
      (limit) =>
        !limit.shadow &&
        limit.options.disclose !== 'none' &&
        targets.some((target) => limit.covers(METHOD_OF[target.kind] ?? '', target)),
    );
    if (covering.length === 0) return undefined;
    const told = covering.slice(0, MAX_RULES_TOLD).map(ruleWords);
    const more = covering.length > told.length ? `, and ${covering.length - told.length} more` : '';
    return `Limits apply: ${told.join('; ')}${more}.`;
  }

  async #look(
    request: Parameters<Asking['fill']>[0],
    name: string,
    lines: Map<string, Line>,
    now: number,
  ): Promise<void> {
    const { asking, limiter } = this.#parts;
    const amounts = asking.estimate(request, undefined);
    asking.fill(request, Array.isArray(amounts) ? amounts : undefined, false);
    if (asking.ask.size === 0) return;
    const steps = asking.asked.slice(0, asking.ask.size);
    const keys = steps.map((_, i) => asking.lineOf(i));
    const standings = await limiter.inspect(asking.ask, Math.floor(now * 1000));
    steps.forEach((step, i) => {
      if (step.limit.shadow || step.limit.options.disclose === 'none') return;
      const line = lines.get(keys[i]!);
      if (line === undefined) lines.set(keys[i]!, { step, standing: standings[i]!, covers: [name] });
      else line.covers.push(name);
    });
  }

  #limit({ step, standing, covers }: Line): QuotaLimit {
    const { options } = step.limit;
    const told = tellsNumbers(options);
    const text = (value: number): string | undefined => {
      if (!told) return undefined;
      return step.amount ? decimalText(value, isCurrency(step.unit) ? 2 : 0) : String(value);
    };
    const { retryAfter, resetAfter, verdict } = standing;
    const resets = step.quota.kind === 'rate' || step.quota.kind === 'amount';
    const resetAt = resets ? resetAtOf(resetAfter, step.quota, this.#parts.clock.wall()) : undefined;
    return {
      limit: options.name,
      rule: told ? quotaWords(step.quota, options.algorithm) : undefined,
      covers,
      // A limit on single calls has nothing that could be left.
      remaining: step.quota.kind === 'per-call' ? undefined : text(standing.remaining),
      of: text(standing.limit),
      unit: step.amount ? step.unit : 'calls',
      retryAfterSeconds:
        verdict === 'unavailable' || !Number.isFinite(retryAfter) ? undefined : Math.ceil(retryAfter / 1e6),
      resetAt: resetAt === undefined ? undefined : new Date(resetAt).toISOString(),
    };
  }
}

function tellsNumbers(options: LimitOptions): boolean {
  return options.disclose === 'full' || (options.disclose === 'mine' && isOwn(options));
}

function ruleWords({ options }: CompiledLimit): string {
  const quota = options.quota ?? options.rows.get(DEFAULT_TIER);
  if (quota === undefined || !tellsNumbers(options)) return `${options.name}, shared with other callers`;
  const words = quotaWords(quota, options.algorithm);
  const varies = [...options.rows.values()].some((row) => quotaWords(row, options.algorithm) !== words);
  return `${words}${varies ? ' or what your tier gives' : ''} (${options.name})`;
}

/** What a call costs: `0.002 USD × size(args.pages), at most 5.00 USD`. */
function priceWords({ options, unit }: Price): string {
  const { each, times, from, hold, max } = options;
  const parts: string[] = [];
  if (from !== undefined) {
    parts.push('what its result says');
    if (hold !== undefined) parts.push(`${amountText(hold.micros, unit)} are held meanwhile`);
  } else if (each !== undefined) {
    parts.push(`${amountText(each.micros, unit)}${times === undefined ? '' : ` × ${times}`}`);
  }
  if (max !== undefined) parts.push(`at most ${amountText(max.micros, unit)}`);
  return parts.join(', ');
}
