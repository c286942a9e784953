import { quotientUp } from '../interval.ts';
import type { Part, Question } from './question.ts';

/** Counters that are remembered; past it all are forgotten. */
const MAX_COUNTERS = 10_000;

interface Seen {
  readonly used: number;
  /** Server microseconds: a bucket is full again, a window ends; Infinity where neither comes. */
  readonly end: number;
  /** Server's time in the reply, and this process's milliseconds when the question left and when the reply came. */
  readonly time: number;
  readonly sent: number;
  readonly received: number;
}

/**
 * What refused lately, so that a flood of calls that cannot pass does not reach Redis. Kept is the state that refused,
 * not the refusal: a counter only fills, so a cost that does not fit what was seen does not fit what is there, whatever
 * it is. Only what is given back breaks that: by this gateway it is forgotten at once, by another after `staleness`.
 */
export class Denials {
  readonly #staleness: number;
  readonly #seen = new Map<string, Seen>();

  /** `staleness` in milliseconds; 0: nothing is kept. */
  constructor(staleness: number) {
    this.#staleness = staleness;
  }

  forget(): void {
    if (this.#seen.size > 0) this.#seen.clear();
  }

  /** Remembers a refusal: the numbers of its reply. */
  keep(question: Question, numbers: readonly number[], sent: number): void {
    if (this.#staleness === 0 || !question.plain || question.granted) return;
    if (this.#seen.size + question.counted.length > MAX_COUNTERS) this.#seen.clear();
    const time = numbers[1]!;
    const received = performance.now();
    question.counted.forEach(({ key }, i) => {
      const used = numbers[3 + 5 * i]!;
      const reset = numbers[6 + 5 * i]!;
      this.#seen.set(key, { used, end: reset < 0 ? Infinity : time + reset, time, sent, received });
    });
  }

  /** The numbers that Redis would reply, where it is sure to refuse; undefined: ask it. */
  recall(question: Question): number[] | undefined {
    if (this.#seen.size === 0 || !question.plain || question.granted) return undefined;
    const now = performance.now();
    let refuses = false;
    const numbers: number[] = [0, 0, 0];
    for (const part of question.counted) {
      const seen = this.#seen.get(part.key);
      if (seen === undefined || now - seen.sent > this.#staleness) return undefined;
      // The server's clock is between these two: the later one must not let pass, the earlier one says how long to wait.
      const latest = Math.ceil(seen.time + (now - seen.sent) * 1000);
      const earliest = Math.floor(seen.time + (now - seen.received) * 1000);
      if (part.cost > 0 && waitOf(part, seen, latest) > 1) refuses = true;
      const wait = part.cost > part.limit ? -1 : waitOf(part, seen, earliest);
      const used = usedOf(part, seen, earliest);
      const reset = seen.end === Infinity ? -1 : Math.max(0, seen.end - earliest);
      numbers.push(used, 0, part.cost === 0 ? 0 : wait === Infinity ? -1 : wait, reset, used);
    }
    return refuses ? numbers : undefined;
  }
}

function usedOf({ rule }: Part, { used, end }: Seen, now: number): number {
  if (rule.kind !== 'b') return now < end ? used : 0;
  return Math.min(used, quotientUp(Math.ceil(Math.max(0, end - now) * rule.resolution), rule.interval));
}

/** Microseconds until the cost fits what was seen. */
function waitOf({ rule, cost, limit }: Part, { used, end }: Seen, now: number): number {
  if (rule.kind !== 'b') return now < end && used + cost > limit ? end - now : 0;
  const missing = Math.max(0, end - now) * rule.resolution - (limit - cost) * rule.interval;
  return missing <= 0 ? 0 : quotientUp(missing, rule.resolution);
}
