import fc from 'fast-check';
import type { Crossing, HoldResult, Outcome, Rule, RuleOptions, Standing } from '../types.ts';
import { ModelLimiter } from './model.ts';
import { type AskOptions, DAY, HOUR, type Mention, MINUTE, SECOND, Stand } from './stand.ts';

/** Numbers that every limiter keeps exactly: at most 32 units per common divisor of limit and period. */
const rate = fc.oneof(fc.integer({ min: 1, max: 32 }), fc.constantFrom(60, 100, 150, 1000));
const periodMs = fc.constantFrom(1, 10, 1000, 1500, 60_000, 3_600_000, 86_400_000, 2_592_000_000);
const zone = fc.constantFrom('UTC', 'Europe/Berlin', 'America/New_York', 'Asia/Kathmandu', 'Australia/Lord_Howe');
const calendarPeriod = fc.constantFrom('minute', 'hour', 'day', 'week', 'month');
const amount = fc.integer({ min: 1, max: 60 });

export const anyRate: fc.Arbitrary<RuleOptions> = fc.oneof(
  fc.record({
    algorithm: fc.constant('token-bucket' as const),
    name: fc.constant('bucket'),
    limit: rate,
    periodMs,
    burst: fc.integer({ min: 0, max: 30 }),
  }),
  fc.record({
    algorithm: fc.constant('sliding-window' as const),
    name: fc.constant('sliding'),
    limit: amount,
    periodMs,
  }),
);

export const anyWindow: fc.Arbitrary<RuleOptions> = fc.oneof(
  fc.record({ algorithm: fc.constant('fixed-window' as const), name: fc.constant('fixed'), limit: amount, periodMs }),
  fc.record({
    algorithm: fc.constant('calendar-window' as const),
    name: fc.constant('calendar'),
    limit: amount,
    period: calendarPeriod,
    timezone: zone,
  }),
  fc.record({ algorithm: fc.constant('total' as const), name: fc.constant('total'), limit: amount }),
);

const anyOther: fc.Arbitrary<RuleOptions> = fc.oneof(
  fc.record({
    algorithm: fc.constant('concurrency' as const),
    name: fc.constant('slots'),
    limit: fc.integer({ min: 1, max: 40 }),
  }),
  fc.record({ algorithm: fc.constant('per-call' as const), name: fc.constant('call'), limit: amount }),
);

const anyBudget: fc.Arbitrary<RuleOptions> = anyWindow.map((options) => ({ ...options, settles: true, unit: 'money' }));

/** Rules of every kind; each may also have marks, or be a shadow. */
export const anyRule: fc.Arbitrary<RuleOptions> = fc
  .tuple(
    fc.oneof(
      { weight: 3, arbitrary: anyRate },
      { weight: 3, arbitrary: anyWindow },
      { weight: 2, arbitrary: anyOther },
      { weight: 3, arbitrary: anyBudget },
    ),
    fc.option(fc.uniqueArray(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 3 }), { freq: 4 }),
    fc.oneof({ weight: 7, arbitrary: fc.constant(false) }, { weight: 1, arbitrary: fc.constant(true) }),
  )
  .map(([options, marks, shadow]) => ({
    ...options,
    ...(marks === null ? {} : { marks: marks.sort((a, b) => a - b) }),
    ...(shadow ? { shadow } : {}),
  }));

export const anyAdvance: fc.Arbitrary<number> = fc.oneof(
  { weight: 3, arbitrary: fc.constant(0) },
  { weight: 2, arbitrary: fc.integer({ min: 0, max: 3000 }) },
  { weight: 2, arbitrary: fc.integer({ min: 0, max: 5 * SECOND }) },
  { weight: 2, arbitrary: fc.integer({ min: 0, max: 2 * HOUR }) },
  { weight: 1, arbitrary: fc.integer({ min: 0, max: 20 * DAY }) },
);

type Operation = (typeof OPERATIONS)[number];
const OPERATIONS = [
  'decide',
  'decide',
  'decide',
  'decide',
  'hold',
  'hold',
  'again',
  'check',
  'take',
  'adjust',
  'settle',
  'settle',
  'release',
  'renew',
  'reset',
  'resize',
] as const;

/** One step of a program. Fields that the operation has no use for are ignored. */
export interface Step {
  readonly operation: Operation;
  readonly advance: number;
  readonly key: number;
  readonly costs: readonly number[];
  readonly extra: number;
  /** Counts back from the hold opened last. */
  readonly pick: number;
  readonly actual: number | null;
  readonly ttl: number;
  readonly expiry: 'spent' | 'free';
  readonly patience: number;
}

export const anyProgram: fc.Arbitrary<Program> = fc.record({
  rules: fc.array(anyRule, { minLength: 1, maxLength: 5 }),
  steps: fc.array(
    fc.record({
      operation: fc.constantFrom(...OPERATIONS),
      advance: anyAdvance,
      key: fc.integer({ min: 0, max: 1 }),
      costs: fc.array(fc.oneof(fc.integer({ min: 0, max: 5 }), fc.integer({ min: 0, max: 70 })), {
        minLength: 5,
        maxLength: 5,
      }),
      extra: fc.oneof(
        { weight: 5, arbitrary: fc.constant(0) },
        { weight: 1, arbitrary: fc.integer({ min: 0, max: 20 }) },
      ),
      pick: fc.integer({ min: 0, max: 3 }),
      actual: fc.option(fc.integer({ min: 0, max: 90 })),
      ttl: fc.oneof(fc.integer({ min: 1, max: 10 * SECOND }), fc.integer({ min: 1, max: 3 * DAY })),
      expiry: fc.constantFrom('spent' as const, 'free' as const),
      patience: fc.oneof(
        { weight: 5, arbitrary: fc.constant(0) },
        { weight: 1, arbitrary: fc.integer({ min: 0, max: HOUR }) },
      ),
    }),
    { maxLength: 40 },
  ),
});

export interface Program {
  readonly rules: readonly RuleOptions[];
  readonly steps: readonly Step[];
}

/** A program on one limiter. Two plays of one program that have come equally far can be compared. */
export class Play {
  readonly stand: Stand;
  readonly #rules: Rule[];
  readonly #unique: string;
  /** Ids of holds with the time up to which they are open at the longest. */
  readonly #holds: [id: string, until: number][];
  #at: number;

  /** `after`: goes on where another play is, with the rules as that one has them by now. */
  constructor(stand: Stand, rules: readonly RuleOptions[], unique: string, after?: Play) {
    this.stand = stand;
    this.#unique = unique;
    this.#rules =
      after === undefined
        ? rules.map((rule, i) => stand.rule({ ...rule, name: `${unique}${i} ${rule.name}` }))
        : after.#rules.map(({ options }) => stand.rule(options));
    // The clocks of the two may count from different origins.
    const shift = after === undefined ? 0 : stand.now - after.stand.now;
    this.#holds = after === undefined ? [] : after.#holds.map(([id, until]): [string, number] => [id, until + shift]);
    this.#at = after === undefined ? 0 : after.#at;
  }

  /** Does a step, without its advance, and says in words what came of it and how all rules stand then. */
  async step(step: Step): Promise<string> {
    const at = this.#at++;
    const answer = await this.#act(step, `${this.#unique}hold ${at}`);
    if (step.operation === 'hold') this.#holds.push([`${this.#unique}hold ${at}`, this.stand.now + step.ttl]);
    return `step ${at} ${step.operation}: ${show(answer)}\n  then ${await this.standings(step)}`;
  }

  async #renew(hold: [string, number] | undefined, id: string, ttl: number): Promise<HoldResult> {
    const result = await this.stand.renew(id, ttl);
    if (hold !== undefined && result.changed) hold[1] = this.stand.now + ttl;
    return result;
  }

  async standings({ costs, key }: Step): Promise<string> {
    const standings = await this.stand.inspect(this.#rules.map((rule, i) => ({ rule, cost: costs[i]!, key })));
    return show(standings.map(plain));
  }

  async #act(step: Step, fresh: string): Promise<unknown> {
    const { stand } = this;
    const rules = this.#rules;
    const { key, extra, costs, operation } = step;
    const mentions: Mention[] = rules.map((rule, i) => ({ rule, key, cost: costs[i]!, extra }));
    const free = mentions.filter(({ rule }) => !needsHold(rule));
    const hold = this.#holds.at(-1 - step.pick);
    // A limiter may forget what ended long ago.
    const id = hold === undefined || hold[1] + 5 * MINUTE < stand.now ? 'never' : hold[0];
    switch (operation) {
      case 'decide': {
        const options: AskOptions = { patience: patienceOf(step, free) };
        return summary(await stand.decide(free, options));
      }
      case 'hold': {
        const { ttl, expiry } = step;
        return summary(
          await stand.decide(mentions, { hold: fresh, ttl, expiry, patience: patienceOf(step, mentions) }),
        );
      }
      case 'again': {
        if ((await this.#renew(hold, id, step.ttl)).state !== 'open') return undefined;
        return summary(await stand.decide(mentions, { hold: id, ttl: step.ttl }));
      }
      case 'check':
        return summary(await stand.check(free));
      case 'take':
        return stand.take(free.filter(({ rule }) => rule.options.shadow !== true));
      case 'adjust':
        // Which of several charges a sliding window gives back is not said: there only all of them.
        await stand.adjust(
          free
            .filter(({ rule }) => rule.options.algorithm !== 'concurrency')
            .map(({ rule, cost = 0 }, i) => {
              const back = rule.options.algorithm === 'sliding-window' ? -1000 : -cost;
              return { rule, key, cost: (step.pick + i) % 2 === 0 ? cost : back };
            }),
        );
        return undefined;
      case 'settle':
        return ended(await stand.settle(id, step.actual === null ? undefined : { money: step.actual }));
      case 'release':
        return ended(await stand.release(id));
      case 'renew':
        return ended(await this.#renew(hold, id, step.ttl));
      case 'reset':
        return stand.reset([mentions[step.pick % mentions.length]!]);
      case 'resize': {
        const at = step.pick % rules.length;
        const { options } = rules[at]!;
        // A bucket rounds what it carries over to another rate.
        if (options.algorithm !== 'token-bucket') rules[at] = stand.rule({ ...options, limit: 1 + costs[0]! });
        return undefined;
      }
    }
  }
}

/**
 * Runs a program on a limiter and on the model, and throws at the first answer that differs, or where after a step
 * the two stand differently.
 */
export async function compareWithModel(stand: Stand, unique: string, program: Program, origin: number): Promise<void> {
  const twin = new Stand({
    limiter: new ModelLimiter(origin),
    now: () => stand.now,
    advance() {},
    close: () => Promise.resolve(),
  });
  const [play, model] = [new Play(stand, program.rules, unique), new Play(twin, program.rules, unique)];
  for (const step of program.steps) {
    await stand.advance(step.advance);
    expectSame(await play.step(step), await model.step(step));
  }
}

/** Where several rates would have to wait, each may count the place from now or from then; one rate has no choice. */
function patienceOf(step: Step, mentions: readonly Mention[]): number {
  const rates = mentions.filter(({ rule }) => ['token-bucket', 'sliding-window'].includes(rule.options.algorithm));
  return rates.length === 1 && mentions.length === 1 ? step.patience : 0;
}

export function needsHold({ options }: Rule): boolean {
  return options.settles === true || options.algorithm === 'concurrency';
}

/** What two limiters must agree on. Buckets say when they are full again; what others mean by it is their window. */
function plain({ rule, verdict, cost, limit, used, held, remaining, retryAfter, resetAfter }: Standing): object {
  const reset = rule.options.algorithm === 'token-bucket' ? { resetAfter } : {};
  return { rule: rule.name, verdict, cost, limit, used, held, remaining, retryAfter, ...reset };
}

function summary(outcome: Outcome): object {
  const shadowed = outcome.shadowed.map(plain);
  if (!outcome.allowed) {
    const { retryAfter, estimated, violated, standings } = outcome;
    return { retryAfter, estimated, violated: violated.map(plain), standings: standings.map(plain), shadowed };
  }
  const { wait, repeated, crossed } = outcome;
  return { wait, repeated, shadowed, crossed: reached(crossed) };
}

/** In which order marks of different rules are told is not said. */
function reached(crossed: readonly Crossing[]): readonly string[] {
  return crossed.map(({ rule, mark, used, at }) => `${rule.name} ${mark} ${used} ${at}`).sort();
}

function ended({ state, changed, crossed }: HoldResult): object {
  return { state, changed, crossed: reached(crossed) };
}

export function expectSame(got: string, wanted: string): void {
  if (got !== wanted) throw new Error(`differs:\n  got    ${got}\n  wanted ${wanted}`);
}

function show(value: unknown): string {
  const text = (_: string, part: unknown) => (part === Infinity ? 'Infinity' : part);
  return JSON.stringify(value, text) ?? 'nothing';
}

/** One rule of every kind that counts. */
export function kinds(limit: number, periodMs: number): RuleOptions[] {
  return [
    { algorithm: 'token-bucket', name: 'bucket', limit, periodMs },
    { algorithm: 'sliding-window', name: 'sliding', limit, periodMs },
    { algorithm: 'fixed-window', name: 'fixed', limit, periodMs },
    { algorithm: 'total', name: 'total', limit },
  ];
}
