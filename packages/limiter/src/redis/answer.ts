import type { Admitted, Crossing, HoldResult, Outcome, Standing } from '../types.ts';
import type { Part, Question } from './question.ts';
import type { RedisRule } from './rule.ts';

const NONE: readonly never[] = Object.freeze([]);

/** The answer to nearly every ask. */
export const PLAIN: Admitted = Object.freeze({
  allowed: true,
  wait: 0,
  repeated: false,
  shadowed: NONE,
  crossed: NONE,
  degraded: undefined,
});

export function admitted(wait: number, repeated: boolean): Admitted {
  return { allowed: true, wait, repeated, shadowed: NONE, crossed: NONE, degraded: undefined };
}

/** Numbers of the reply before those of the parts. */
const HEAD = 3;
/** Numbers per part: used, held, wait, reset, used after. */
const STRIDE = 5;

/** Standings of all parts, in the order asked, from the numbers of a reply. */
export function standingsOf(question: Question, numbers: readonly number[]): Standing[] {
  let counted = 0;
  return question.parts.map((part) => {
    if (part.rule.kind === 'p') return perCall(part);
    const at = HEAD + STRIDE * counted++;
    return standing(part, numbers[at]!, numbers[at + 1]!, numbers[at + 2]!, numbers[at + 3]!);
  });
}

function perCall(part: Part): Standing {
  return standing(part, 0, 0, part.cost > part.limit ? -1 : 0, 0);
}

function standing({ rule, cost, limit }: Part, used: number, held: number, wait: number, reset: number): Standing {
  const never = cost > limit;
  let verdict: Standing['verdict'] = 'passed';
  if (never) verdict = 'cost_above_capacity';
  else if (wait !== 0) verdict = rule.kind === 'n' ? 'busy' : 'exhausted';
  return {
    rule,
    verdict,
    cost,
    limit,
    used,
    held: rule.settles ? held : 0,
    remaining: Math.max(0, limit - used),
    retryAfter: never || wait < 0 ? Infinity : wait,
    resetAfter: reset < 0 ? Infinity : reset,
  };
}

/** `delay`: the wait that was granted; undefined: refused unless nothing is in the way. */
export function outcomeOf(question: Question, numbers: readonly number[], delay: number | undefined): Outcome {
  return outcomeFrom(question, standingsOf(question, numbers), delay, crossingsOf(question, numbers, delay));
}

export function outcomeFrom(
  question: Question,
  all: readonly Standing[],
  delay: number | undefined,
  crossed: readonly Crossing[],
): Outcome {
  const shadowed: Standing[] = [];
  const standings: Standing[] = [];
  all.forEach((standing, i) => {
    if (!question.parts[i]!.rule.shadow) standings.push(standing);
    else if (standing.verdict !== 'passed') shadowed.push(standing);
  });
  const violated = standings.filter(({ verdict }) => verdict !== 'passed');
  const hopeless = violated.some(({ verdict }) => verdict === 'cost_above_capacity');
  if (violated.length === 0 || (delay !== undefined && !hopeless)) {
    return { allowed: true, wait: delay ?? 0, repeated: false, shadowed, crossed, degraded: undefined };
  }
  const wait = Math.max(...violated.map(({ retryAfter }) => retryAfter));
  return {
    allowed: false,
    retryAfter: wait === Infinity ? undefined : wait,
    estimated: violated.some(({ verdict }) => verdict === 'busy'),
    violated,
    standings,
    shadowed,
    degraded: undefined,
  };
}

function crossingsOf(question: Question, numbers: readonly number[], delay: number | undefined): readonly Crossing[] {
  if (delay === undefined) return NONE;
  const crossed: Crossing[] = [];
  question.counted.forEach(({ rule, at }, i) => {
    const from = HEAD + STRIDE * i;
    reached(rule, numbers[from]!, numbers[from + 4]!, at, crossed);
  });
  return crossed;
}

function reached(rule: RedisRule, before: number, after: number, at: number, crossed: Crossing[]): void {
  for (const mark of rule.marks) if (before < mark && mark <= after) crossed.push({ rule, mark, used: after, at });
}

/** The reply of a settlement, release or renewal. `known` finds a rule by what the hold says of it. */
export function holdResultOf(reply: string, known: (digest: string) => RedisRule | undefined): HoldResult {
  const words = reply.split(' ');
  const crossed: Crossing[] = [];
  for (let at = 2; at + 2 < words.length; at += 3) {
    // A hold that another gateway opened under a rule that this one does not have: it has no marks here.
    const rule = known(words[at]!);
    if (rule !== undefined) reached(rule, Number(words[at + 1]), Number(words[at + 2]), -1, crossed);
  }
  return { state: words[0] as HoldResult['state'], changed: words[1] === '1', crossed };
}
