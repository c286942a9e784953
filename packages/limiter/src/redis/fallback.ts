import { Ask } from '../ask.ts';
import type { Crossing, Degraded, Limiter, Outcome, Rule, RuleOptions, Standing } from '../types.ts';
import { own, type RedisRule } from './rule.ts';

/** Microseconds after which a call that nobody could decide may be tried again. */
const TRY_AGAIN = 1_000_000;

/** What a rule does without its store. Money is never spent unseen. */
export function policyOf(rule: RedisRule): Degraded {
  return rule.settles ? 'closed' : (rule.options.onError ?? 'local');
}

interface Stand {
  readonly rule: RedisRule;
  readonly at: number;
  readonly high: number;
  readonly low: number;
  readonly extra: number;
  cost: number;
}

/** What an ask said, for when the store fails after the ask has been filled anew. */
export class Snapshot {
  readonly parts: Stand[] = [];
  readonly tenant: string;
  readonly holdId: string | undefined;
  readonly holdFor: number;
  readonly expiry: 'spent' | 'free';
  readonly patience: number;

  constructor(ask: Ask) {
    this.tenant = ask.tag;
    this.holdId = ask.holdId;
    this.holdFor = ask.holdFor;
    this.expiry = ask.holdExpiry;
    this.patience = ask.patienceFor;
    for (let at = 0; at < ask.size; at++) {
      const rule = own(ask.rules[at]!);
      const high = ask.high[at]!;
      const low = ask.low[at]!;
      const same = this.parts.find((part) => part.rule === rule && part.high === high && part.low === low);
      if (same === undefined) this.parts.push({ rule, at, high, low, extra: ask.extras[at]!, cost: ask.costs[at]! });
      else same.cost += ask.costs[at]!;
    }
  }
}

export interface Told {
  readonly outcome: Outcome;
  readonly how: Degraded;
}

/** Decides in this process what the store could not, rule by rule as each says. */
export class Fallback {
  readonly #local: Limiter;
  readonly #nodes: () => number;
  readonly #shares = new WeakMap<RedisRule, { readonly nodes: number; readonly rule: Rule }>();
  readonly #ask = new Ask();

  constructor(local: Limiter, nodes: () => number) {
    this.#local = local;
    this.#nodes = nodes;
  }

  async decide(asked: Snapshot, now: number, charging: boolean): Promise<Told> {
    const counting = asked.parts.filter(({ rule }) => !rule.shadow);
    const local = counting.filter(({ rule }) => policyOf(rule) === 'local');
    const closed = counting.filter(({ rule, cost }) => cost > 0 && policyOf(rule) === 'closed');
    let answer: Outcome | undefined;
    let standings: readonly Standing[] = [];
    if (local.length > 0) {
      const ask = this.#fill(asked, local);
      answer = await (charging && closed.length === 0 ? this.#local.decide(ask, now) : this.#local.check(ask, now));
      if (!answer.allowed) standings = answer.standings;
      else if (closed.length > 0) standings = await this.#local.inspect(this.#fill(asked, local), now);
    }
    const how: Degraded = closed.length > 0 ? 'closed' : local.length > 0 ? 'local' : 'open';
    if (closed.length === 0 && (answer === undefined || answer.allowed)) {
      return { how, outcome: this.#admitted(answer, how, local) };
    }
    return { how, outcome: refused(counting, local, standings, how) };
  }

  async inspect(asked: Snapshot, now: number): Promise<readonly Standing[]> {
    const local = asked.parts.filter(({ rule }) => policyOf(rule) === 'local');
    const standings = local.length === 0 ? [] : await this.#local.inspect(this.#fill(asked, local), now);
    return asked.parts.map((part) => standingOf(part, local, standings));
  }

  async take(asked: Snapshot, now: number): Promise<readonly number[]> {
    const local = asked.parts.filter(({ rule }) => policyOf(rule) === 'local');
    const taken = local.length === 0 ? [] : await this.#local.take(this.#fill(asked, local), now);
    return asked.parts.map((part) => {
      const at = local.indexOf(part);
      if (at >= 0) return taken[at]!;
      return policyOf(part.rule) === 'open' ? part.cost : 0;
    });
  }

  #fill(asked: Snapshot, parts: readonly Stand[]): Ask {
    const ask = this.#ask.clear();
    const nodes = this.#nodes();
    parts.forEach(({ rule, high, low, extra, cost }, i) => {
      ask.rule(this.#share(rule, nodes), cost).extra(Math.floor(extra / nodes));
      ask.high[i] = high;
      ask.low[i] = low;
    });
    if (asked.holdId !== undefined) ask.hold(asked.holdId, asked.holdFor, asked.expiry);
    return asked.patience > 0 ? ask.patience(asked.patience) : ask;
  }

  /** The rule with this gateway's part of its numbers; variants of it, so that what was used stays when nodes come and go. */
  #share(rule: RedisRule, nodes: number): Rule {
    const known = this.#shares.get(rule);
    if (known?.nodes === nodes) return known.rule;
    const share = this.#local.rule(shareOf(rule, nodes));
    this.#shares.set(rule, { nodes, rule: share });
    return share;
  }

  #admitted(answer: Outcome | undefined, degraded: Degraded, local: readonly Stand[]): Outcome {
    const wait = answer?.allowed === true ? answer.wait : 0;
    const repeated = answer?.allowed === true && answer.repeated;
    const crossed: Crossing[] = [];
    if (answer?.allowed === true) {
      for (const crossing of answer.crossed) {
        const part = local[crossing.at];
        if (part !== undefined) crossed.push({ ...crossing, rule: part.rule, at: part.at });
      }
    }
    return { allowed: true, wait, repeated, shadowed: [], crossed, degraded };
  }
}

/** At least 1: where there are more gateways than units, each lets one through. Marks are told by the store only. */
function shareOf(rule: RedisRule, nodes: number): RuleOptions {
  const { marks: _, ...options } = rule.options;
  const common = { ...options, id: `${rule.keyPart}`, shadow: false };
  if (common.algorithm === 'per-call') return common;
  const limit = Math.max(1, Math.floor(common.limit / nodes));
  if (common.algorithm !== 'token-bucket') return { ...common, limit };
  return { ...common, limit, burst: Math.floor((common.burst ?? 0) / nodes) };
}

function standingOf(part: Stand, local: readonly Stand[], standings: readonly Standing[]): Standing {
  const { rule, cost, extra } = part;
  const at = local.indexOf(part);
  const known = at < 0 ? undefined : standings[at];
  if (known !== undefined) return { ...known, rule };
  const limit = rule.capacity + extra;
  const shut = policyOf(rule) === 'closed' && cost > 0;
  return {
    rule,
    verdict: shut ? 'unavailable' : 'passed',
    cost,
    limit,
    used: 0,
    held: 0,
    remaining: shut ? 0 : limit,
    retryAfter: shut ? TRY_AGAIN : 0,
    resetAfter: 0,
  };
}

function refused(
  counting: readonly Stand[],
  local: readonly Stand[],
  known: readonly Standing[],
  degraded: Degraded,
): Outcome {
  const standings = counting.map((part) => standingOf(part, local, known));
  const violated = standings.filter(({ verdict }) => verdict !== 'passed');
  const wait = Math.max(...violated.map(({ retryAfter }) => retryAfter));
  return {
    allowed: false,
    retryAfter: wait === Infinity ? undefined : wait,
    estimated: violated.some(({ verdict }) => verdict === 'busy' || verdict === 'unavailable'),
    violated,
    standings,
    shadowed: [],
    degraded,
  };
}
