/**
 * The limits of a configuration on a virtual clock, without servers, connections or state: for `tollgate test` and
 * `tollgate simulate`. What decides is the real admission over the real limiter.
 */
import { Ask, type Limiter, MemoryLimiter, type Outcome } from '@tollgate/limiter';
import { createAdmission } from '../admission/admission.ts';
import type { Admission } from '../admission/contract.ts';
import type { Answer, Question } from '../admission/external.ts';
import type { AdmissionOptions, LimitOptions } from '../admission/options.ts';
import type { Clock } from '../core/clock.ts';

/** A hold that ends at its time. */
interface Ending {
  readonly at: number;
  readonly id: string;
  readonly subject: Question['subject'];
}

/** Longer than any case: a hold is ended by `takes`, never by expiry. */
const HOLD_MS = 366 * 86_400_000;

export class Rehearsal {
  readonly #admission: Admission;
  readonly #clock: VirtualClock;
  readonly #routeOf: AdmissionOptions['routeOf'];
  #endings: Ending[] = [];
  #holds = 0;

  /**
   * `used`: what every counter of a limit, by its name, has used when it is asked for the first time; in calls or
   * micro-units. Throws `config_invalid` for options that admission does not take.
   */
  constructor(options: AdmissionOptions, start: number, used: ReadonlyMap<string, number> = new Map()) {
    this.#clock = new VirtualClock(start);
    this.#routeOf = options.routeOf;
    const memory = new MemoryLimiter({ seed: [1, 2], originMs: start });
    this.#admission = createAdmission(options, {
      clock: this.#clock,
      limiter: used.size === 0 ? memory : new UsedLimiter(memory, used),
    });
  }

  /**
   * Decides over a call at a moment (wall time in milliseconds, never before an earlier one). With `takes` it holds
   * its slots for so many milliseconds, without it ends at once.
   */
  async decide(question: Question, at: number, takes?: number): Promise<Answer> {
    await this.#endUntil(at);
    this.#clock.moveTo(at);
    const { external } = this.#admission;
    const now = this.#clock.monotonic();
    if (takes === undefined) return external.consume(question, now);
    const id = `rehearsal-${++this.#holds}`;
    const answer = await external.reserve(question, id, HOLD_MS, now);
    if (answer.allowed) {
      this.#endings.push({ at: at + takes, id, subject: question.subject });
      this.#endings.sort((a, b) => a.at - b.at);
    }
    return answer;
  }

  /** The limits that cover such a call. */
  covering(question: Question): readonly LimitOptions[] {
    const { method, endpoint = '/mcp', tool, server } = question;
    const kind = tool === undefined ? 'none' : kindOf(method);
    return this.#admission.covering(method, {
      kind,
      canonicalId: tool,
      server: server ?? tool?.split('/', 1)[0],
      endpoint,
      route: kind === 'none' || tool === undefined ? undefined : this.#routeOf?.(kind, tool),
    });
  }

  close(): void {
    this.#admission.close();
  }

  async #endUntil(at: number): Promise<void> {
    while (this.#endings.length > 0 && this.#endings[0]!.at <= at) {
      const ending = this.#endings.shift()!;
      this.#clock.moveTo(ending.at);
      await this.#admission.external.settle(ending.subject, ending.id, [], this.#clock.monotonic());
    }
  }
}

function kindOf(method: string): 'tool' | 'resource' | 'prompt' {
  if (method.startsWith('resources/')) return 'resource';
  return method.startsWith('prompts/') ? 'prompt' : 'tool';
}

/** Monotonic time begins with the rehearsal; rehearsals know no corrections of the clock. */
class VirtualClock implements Clock {
  readonly #start: number;
  #now: number;

  constructor(start: number) {
    this.#start = start;
    this.#now = start;
  }

  wall(): number {
    return this.#now;
  }

  monotonic(): number {
    return this.#now - this.#start;
  }

  moveTo(at: number): void {
    if (at < this.#now) throw new RangeError('virtual time does not go back');
    this.#now = at;
  }
}

/** A limiter whose counters begin with something used: each is charged when it is first asked for. */
class UsedLimiter implements Limiter {
  readonly #memory: MemoryLimiter;
  readonly #used: ReadonlyMap<string, number>;
  /** Rule and key of every counter that was charged already. */
  readonly #charged = new Set<string>();
  readonly #charge = new Ask();

  constructor(memory: MemoryLimiter, used: ReadonlyMap<string, number>) {
    this.#memory = memory;
    this.#used = used;
  }

  rule(...args: Parameters<Limiter['rule']>): ReturnType<Limiter['rule']> {
    return this.#memory.rule(...args);
  }

  decide(ask: Ask, now: number): Outcome {
    this.#begin(ask, now);
    return this.#memory.decide(ask, now);
  }

  decideAll(asks: readonly Ask[], now: number): readonly Outcome[] {
    for (const ask of asks) this.#begin(ask, now);
    return this.#memory.decideAll(asks, now);
  }

  check(ask: Ask, now: number): Outcome {
    this.#begin(ask, now);
    return this.#memory.check(ask, now);
  }

  inspect(ask: Ask, now: number): ReturnType<MemoryLimiter['inspect']> {
    this.#begin(ask, now);
    return this.#memory.inspect(ask, now);
  }

  take(ask: Ask, now: number): ReturnType<MemoryLimiter['take']> {
    this.#begin(ask, now);
    return this.#memory.take(ask, now);
  }

  adjust(...args: Parameters<MemoryLimiter['adjust']>): void {
    this.#memory.adjust(...args);
  }

  settle(...args: Parameters<MemoryLimiter['settle']>): ReturnType<MemoryLimiter['settle']> {
    return this.#memory.settle(...args);
  }

  release(...args: Parameters<MemoryLimiter['release']>): ReturnType<MemoryLimiter['release']> {
    return this.#memory.release(...args);
  }

  renew(...args: Parameters<MemoryLimiter['renew']>): ReturnType<MemoryLimiter['renew']> {
    return this.#memory.renew(...args);
  }

  reset(...args: Parameters<MemoryLimiter['reset']>): void {
    this.#memory.reset(...args);
  }

  #begin(ask: Ask, now: number): void {
    for (let i = 0; i < ask.size; i++) {
      const rule = ask.rules[i]!;
      const used = this.#used.get(rule.name);
      if (used === undefined) continue;
      // Tiers of one limit share their counters by its id.
      const counter = `${rule.options.id ?? rule.name} ${ask.high[i]} ${ask.low[i]}`;
      if (this.#charged.has(counter)) continue;
      this.#charged.add(counter);
      const charge = this.#charge.clear().change(rule, used);
      charge.high[0] = ask.high[i]!;
      charge.low[0] = ask.low[i]!;
      this.#memory.adjust(charge, now);
    }
  }
}
