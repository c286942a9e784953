import { Ask } from '../ask.ts';
import type { Admitted, HoldResult, Limiter, Outcome, Refused, Rule, RuleOptions, Standing } from '../types.ts';

export const MILLISECOND = 1000;
export const SECOND: number = 1000 * MILLISECOND;
export const MINUTE: number = 60 * SECOND;
export const HOUR: number = 60 * MINUTE;
export const DAY: number = 24 * HOUR;

/** A limiter under test with a clock that the test moves. */
export interface Subject {
  readonly limiter: Limiter;
  /** Moves the limiter's clock forward. */
  advance(micros: number): void | Promise<void>;
  /** The limiter's time in microseconds. */
  now(): number;
  close(): Promise<void>;
  /** Everything kept, in any form that two equal states share: shows that nothing was written. */
  dump?(): unknown | Promise<unknown>;
  /** Writing commands that a store has run since it began. */
  writes?(): Promise<number>;
}

/** One mention of a rule. `key` is a number or a text; none: all share one. */
export interface Mention {
  readonly rule: Rule;
  readonly cost?: number;
  readonly key?: number | string;
  readonly extra?: number;
}

export interface AskOptions {
  readonly hold?: string;
  /** Microseconds; default one hour. */
  readonly ttl?: number;
  readonly expiry?: 'spent' | 'free';
  readonly patience?: number;
}

/** Short words for what tests do with a subject. Every answer is a promise, whatever the limiter gives. */
export class Stand {
  readonly subject: Subject;
  readonly #ask = new Ask();

  constructor(subject: Subject) {
    this.subject = subject;
  }

  get limiter(): Limiter {
    return this.subject.limiter;
  }

  get now(): number {
    return this.subject.now();
  }

  async advance(micros: number): Promise<void> {
    await this.subject.advance(micros);
  }

  rule(options: RuleOptions, previous?: Rule): Rule {
    return this.limiter.rule(options, previous);
  }

  ask(mentions: readonly Mention[], options: AskOptions = {}): Ask {
    return fill(this.#ask, mentions, options);
  }

  async decide(mentions: readonly Mention[], options?: AskOptions): Promise<Outcome> {
    return this.limiter.decide(this.ask(mentions, options), this.now);
  }

  async allows(mentions: readonly Mention[], options?: AskOptions): Promise<boolean> {
    return (await this.decide(mentions, options)).allowed;
  }

  async admitted(mentions: readonly Mention[], options?: AskOptions): Promise<Admitted> {
    const outcome = await this.decide(mentions, options);
    if (!outcome.allowed) {
      const why = outcome.violated.map(({ rule, verdict, used, limit }) => `${rule.name} ${verdict} ${used}/${limit}`);
      throw new Error(`expected an admission, refused by ${why.join(', ')}`);
    }
    return outcome;
  }

  async refused(mentions: readonly Mention[], options?: AskOptions): Promise<Refused> {
    const outcome = await this.decide(mentions, options);
    if (outcome.allowed) throw new Error('expected a refusal');
    return outcome;
  }

  async check(mentions: readonly Mention[], options?: AskOptions): Promise<Outcome> {
    return this.limiter.check(this.ask(mentions, options), this.now);
  }

  async inspect(mentions: readonly Mention[]): Promise<readonly Standing[]> {
    return this.limiter.inspect(this.ask(mentions), this.now);
  }

  /** Where one rule stands, asked with cost 0. */
  async standing(rule: Rule, key?: number | string): Promise<Standing> {
    const [standing] = await this.inspect([{ rule, cost: 0, ...(key === undefined ? {} : { key }) }]);
    return standing!;
  }

  async remaining(rule: Rule, key?: number | string): Promise<number> {
    return (await this.standing(rule, key)).remaining;
  }

  async take(mentions: readonly Mention[]): Promise<readonly number[]> {
    return this.limiter.take(this.ask(mentions), this.now);
  }

  /** `cost` of a mention is the change here. */
  async adjust(mentions: readonly Mention[], at?: number): Promise<void> {
    this.#ask.clear();
    for (const { rule, cost = 1, key } of mentions) keyed(this.#ask.change(rule, cost), key);
    await (at === undefined ? this.limiter.adjust(this.#ask, this.now) : this.limiter.adjust(this.#ask, this.now, at));
  }

  async settle(id: string, amounts?: Readonly<Record<string, number>>): Promise<HoldResult> {
    return this.limiter.settle(amounts === undefined ? { id } : { id, amounts }, this.now);
  }

  async release(id: string): Promise<HoldResult> {
    return this.limiter.release(id, this.now);
  }

  async renew(id: string, ttl: number): Promise<HoldResult> {
    return this.limiter.renew(id, ttl, this.now);
  }

  async reset(mentions: readonly Mention[]): Promise<void> {
    await this.limiter.reset(this.ask(mentions), this.now);
  }
}

export function fill(ask: Ask, mentions: readonly Mention[], options: AskOptions = {}): Ask {
  ask.clear();
  for (const { rule, cost = 1, key, extra } of mentions) {
    keyed(ask.rule(rule, cost), key);
    if (extra !== undefined) ask.extra(extra);
  }
  const { hold, ttl = HOUR, expiry = 'spent', patience } = options;
  if (hold !== undefined) ask.hold(hold, ttl, expiry);
  if (patience !== undefined) ask.patience(patience);
  return ask;
}

function keyed(ask: Ask, key: number | string | undefined): void {
  if (typeof key === 'number') ask.key(key);
  else if (key !== undefined) ask.text(key);
}

export const FULL: boolean = process.env['TOLLGATE_PROOF'] === 'full';

export interface ContractOptions {
  /** Unix milliseconds of the limiter's time 0. Default 0. */
  readonly origin?: number;
  /** One subject for all runs of a property, because making one is slow. Default false. */
  readonly reuse?: boolean;
  /** Share of the usual runs; default 1. */
  readonly effort?: number;
}

/** What every part of the contract is given. */
export interface Given {
  readonly name: string;
  readonly options: ContractOptions;
  /** Runs a test on a limiter of its own. */
  with(test: (stand: Stand) => Promise<void>): Promise<void>;
  /** For properties: a limiter of its own or, where making one is slow, the same with other names. */
  each(test: (stand: Stand, unique: string) => Promise<void>): Promise<void>;
  /** How often a property runs. */
  runs(usual: number): number;
}
