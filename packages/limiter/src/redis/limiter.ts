import type { Ask } from '../ask.ts';
import type { HoldResult, Limiter, Outcome, Rule, RuleOptions, Settlement, Standing } from '../types.ts';
import { admitted, holdResultOf, outcomeOf, PLAIN, standingsOf } from './answer.ts';
import { Denials } from './denials.ts';
import { StoreError } from './errors.ts';
import { Places } from './keys.ts';
import { type BreakerState, Link, Script } from './link.ts';
import type { RedisPort } from './port.ts';
import { holdKey, type Operation, Question, type Surroundings } from './question.ts';
import { own, RedisRule } from './rule.ts';
import { CLOSE, DECIDE } from './script-decide.ts';
import { FAST } from './script-fast.ts';
import { Spread } from './spread.ts';

export interface RedisLimiterOptions {
  /** First part of every key, up to 320 characters of `A-Za-z0-9._:-`. Default `tg`. */
  readonly prefix?: string;
  /** Hash tag of all keys that tenants share, up to 320 characters of `A-Za-z0-9._:-`. Default `all`. */
  readonly tag?: string;
  /** Milliseconds that one decision may take. Default 50. */
  readonly deadline?: number;
  /** Failures in a row after which Redis is left alone. Default 3. */
  readonly failures?: number;
  /** Milliseconds of the first pause; doubled up to `longestPause`, ±20 %. Default 100 and 5,000. */
  readonly pause?: number;
  readonly longestPause?: number;
  /** The ledger whose money is counted here; with it, money is decided only where its marker stands. Default none. */
  readonly ledgerId?: string;
  /** Milliseconds for which ends of holds and ended windows of money are remembered. Default 1 hour. */
  readonly remember?: number;
  /** Milliseconds for which a counter that refused may refuse again without asking Redis. 0: never. Default 250. */
  readonly denials?: number;
  /** A clock in microseconds in place of the server's, for tests. Nothing expires by Redis' own clock then. */
  readonly clock?: 'server' | (() => number);
  /** Unix microseconds of 0 of that clock. Default 0. */
  readonly origin?: number;
  readonly random?: () => number;
}

/** Attempts at a decision whose calendar or latest moment the server's clock did not fit. */
const ATTEMPTS = 3;
/** Microseconds beside the deadline that the two clocks may be apart without asking twice. */
const CLOCK_MARGIN = 200_000;
/** Milliseconds after which the server's clock is looked at again. */
const CLOCK_AGE = 10_000;
/** Shortest life of a key under a clock of the test's own. */
const TEST_TTL = 3_600_000;

/** Operations after which a counter may stand lower. */
const GIVING = 'azs';

const FAST_SCRIPT = new Script(FAST);
const DECIDE_SCRIPT = new Script(DECIDE);
const CLOSE_SCRIPT = new Script(CLOSE);

/**
 * The limiter that gateways share: one script and one round trip per decision, by the server's clock, in one step for
 * all rules of the ask; a refusal writes nothing. Rejects with a `StoreError` when Redis cannot decide: what that means
 * is for `ResilientLimiter`. A decision is never sent twice; with a hold, asking again with the same id is safe.
 *
 * On a cluster one script sees the keys of one tenant. Rates with `crossTenant` are leased: each gateway takes
 * k = max(1, min(0.1 · capacity / N, its rate · 100 ms)) units in advance, so that in any window at most
 * min(N · k, capacity + rate · 2 s) more than the limit passes, and over time exactly the rate. Money, slots and totals
 * with `crossTenant` are held exactly, in a slot of their own, by one more round trip.
 */
export class RedisLimiter implements Limiter {
  readonly link: Link;
  readonly places: Places;
  /** May be told later: until then another's is in force. */
  ledgerId: string | undefined;
  /** Gateways that share this Redis; leases are sized by it. */
  nodes = 1;
  readonly #port: RedisPort;
  /** Only on a cluster. */
  readonly #spread: Spread | undefined;
  readonly #rules = new Map<string, RedisRule>();
  readonly #denials: Denials;
  readonly #clock: (() => number) | undefined;
  readonly #origin: number;
  readonly #shortestTtl: number;
  readonly #slack: number;
  readonly #deadline: number;
  /** What the server's clock is ahead of this process's, in microseconds; undefined: not known yet. */
  #ahead: number | undefined;
  #lookedAt = 0;

  constructor(port: RedisPort, options: RedisLimiterOptions = {}) {
    const { prefix = 'tg', tag = 'all', deadline = 50, clock = 'server', origin = 0, remember = 3_600_000 } = options;
    // Two tags must not nest, or a cluster would read another one out of the key.
    if (!/^[A-Za-z0-9_:.-]{1,320}$/.test(prefix)) throw new RangeError('prefix must be 1 to 320 of A-Za-z0-9_:.-');
    if (!/^[A-Za-z0-9_:.-]{1,320}$/.test(tag)) throw new RangeError('tag must be 1 to 320 of A-Za-z0-9_:.-');
    this.#port = port;
    this.#deadline = deadline;
    this.link = new Link(port, {
      deadline,
      failures: options.failures ?? 3,
      pause: options.pause ?? 100,
      longestPause: options.longestPause ?? 5_000,
      random: options.random ?? Math.random,
    });
    this.places = new Places(prefix, port.cluster, tag);
    this.ledgerId = options.ledgerId;
    this.#spread = port.cluster ? new Spread(this) : undefined;
    this.#denials = new Denials(clock === 'server' ? (options.denials ?? 250) : 0);
    this.#clock = clock === 'server' ? undefined : clock;
    this.#origin = origin;
    this.#shortestTtl = clock === 'server' ? 1 : TEST_TTL;
    this.#slack = remember;
  }

  get breaker(): BreakerState {
    return this.link.breaker;
  }

  rule(options: RuleOptions, previous?: Rule): Rule {
    const rule = new RedisRule(options, previous === undefined ? undefined : own(previous));
    this.#rules.set(rule.digest, rule);
    this.#denials.forget();
    return rule;
  }

  decide(ask: Ask, _now?: number): Promise<Outcome> {
    return this.#spread?.decide(ask) ?? this.outcome(this.read(ask), 'd');
  }

  decideAll(asks: readonly Ask[], _now?: number): Promise<readonly Outcome[]> {
    // Sent in one go: the client pipelines them, and the server runs them in order.
    return Promise.all(asks.map((ask) => this.decide(ask)));
  }

  check(ask: Ask, _now?: number): Promise<Outcome> {
    return this.#spread?.check(ask) ?? this.outcome(this.read(ask), 'c');
  }

  async inspect(ask: Ask, _now?: number): Promise<readonly Standing[]> {
    if (this.#spread !== undefined) return this.#spread.inspect(ask);
    const question = this.read(ask);
    return standingsOf(question, question.counted.length === 0 ? [] : await this.numbers(question, 'i'));
  }

  async take(ask: Ask, _now?: number): Promise<readonly number[]> {
    if (this.#spread !== undefined) return this.#spread.take(ask);
    const question = this.read(ask, true);
    const numbers = question.counted.length === 0 ? [] : await this.numbers(question, 't');
    let counted = 3;
    return question.parts.map(({ rule, cost, limit }) =>
      rule.kind === 'p' ? Math.min(cost, limit) : numbers[counted++]!,
    );
  }

  async adjust(ask: Ask, _now?: number, at?: number): Promise<void> {
    const when = at === undefined ? undefined : at + this.#origin;
    if (this.#spread !== undefined) return this.#spread.send(ask, 'a', when);
    const question = this.read(ask, true);
    if (question.counted.length > 0) await this.send(question, 'a', when);
  }

  async reset(ask: Ask, _now?: number): Promise<void> {
    if (this.#spread !== undefined) return this.#spread.send(ask, 'z', undefined);
    const question = this.read(ask);
    if (question.counted.length > 0) await this.send(question, 'z');
  }

  settle(settlement: Settlement, _now?: number): Promise<HoldResult> {
    if (this.#spread !== undefined) return this.#spread.settle(settlement);
    const { id, amounts = {} } = settlement;
    const pairs = Object.entries(amounts).flatMap(([unit, amount]) => [unit, String(amount)]);
    return this.close('s', this.places.common, id, pairs);
  }

  release(id: string, _now?: number): Promise<HoldResult> {
    return this.#spread?.release(id) ?? this.close('r', this.places.common, id, []);
  }

  renew(id: string, ttl: number, _now?: number): Promise<HoldResult> {
    return this.#spread?.renew(id, ttl) ?? this.close('n', this.places.common, id, [String(ttl)]);
  }

  read(ask: Ask, separate: boolean = false): Question {
    return new Question(ask, this.places.of(ask.tag), separate);
  }

  async outcome(question: Question, operation: 'd' | 'c'): Promise<Outcome> {
    const { needy, counted, holdId } = question;
    if (needy !== undefined) throw new TypeError(`${needy.name} needs a hold`);
    if (counted.length === 0 && holdId === undefined) return outcomeOf(question, [], undefined);
    const only = question.hopeless ? 'c' : operation;
    const known = only === 'd' ? this.#denials.recall(question) : undefined;
    if (known !== undefined) return outcomeOf(question, known, undefined);
    const sent = performance.now();
    const reply = await this.send(question, only);
    if (reply === 1) return PLAIN;
    const numbers = numbersOf(reply);
    const [status, , wait] = numbers;
    if (status === 2) return admitted(wait!, true);
    if (status === 0) this.#denials.keep(question, numbers, sent);
    return outcomeOf(question, numbers, status === 1 ? wait : undefined);
  }

  async numbers(question: Question, operation: Operation): Promise<number[]> {
    return numbersOf(await this.send(question, operation));
  }

  /** Asks once, and again only where the script did nothing because a clock was off. */
  async send(question: Question, operation: Operation, at?: number): Promise<unknown> {
    if (GIVING.includes(operation)) this.#denials.forget();
    let plain = operation === 'd' && question.plain && question.counted.length > 0;
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const around = this.#surroundings(at);
      const sent = performance.now();
      let reply: unknown;
      if (plain) {
        reply = await this.link.run(FAST_SCRIPT, question.base, question.keys, question.plainArgs(around));
        if (reply === 'G') {
          plain = false;
          continue;
        }
      } else {
        const [keys, args] = question.general(operation, around);
        reply = await this.link.run(DECIDE_SCRIPT, question.base, keys, args);
      }
      if (typeof reply === 'string') {
        if (reply.startsWith('L')) throw this.#unmarked(reply, question.tenant);
        if (this.#clock === undefined) this.#learn(reply, sent);
        if (reply.startsWith('3 ')) continue;
      }
      return reply;
    }
    throw new StoreError('clock', "the clock of Redis and this machine's do not run alike: synchronise them");
  }

  async close(operation: 's' | 'r' | 'n', base: string, id: string, args: readonly string[]): Promise<HoldResult> {
    this.#denials.forget();
    const keys = [`${base}x`, holdKey(base, id)];
    if (this.ledgerId !== undefined) keys.push(`${base}m`);
    const { time, shortestTtl, slack } = this.#surroundings(undefined);
    const head = [operation, time, String(shortestTtl), String(slack), this.ledgerId ?? ''];
    const reply = String(await this.link.run(CLOSE_SCRIPT, base, keys, [...head, ...args]));
    if (reply.startsWith('L')) throw this.#unmarked(reply, '');
    return holdResultOf(reply, (name) => this.#rules.get(name));
  }

  /** What INFO says of every node that takes writes. */
  async info(): Promise<readonly string[]> {
    return (await this.#port.sendAll(['INFO'])).map(String);
  }

  #unmarked(reply: string, tenant: string): StoreError {
    const found = reply.slice(1);
    if (found === '' || found.startsWith('seeding ')) {
      const message = 'Redis holds no money of this ledger yet (new, flushed or lost): seed it from the ledger';
      return new StoreError('unseeded', message, { tenant });
    }
    const message = `Redis holds the money of ledger ${found}, not of ${String(this.ledgerId)}: use another Redis or prefix`;
    return new StoreError('foreign', message, { tenant });
  }

  #surroundings(at: number | undefined): Surroundings {
    const common = { shortestTtl: this.#shortestTtl, slack: this.#slack, ledger: this.ledgerId, at };
    if (this.#clock !== undefined) {
      const now = this.#clock() + this.#origin;
      return { ...common, time: String(now), latest: '', now };
    }
    const local = performance.now();
    if (local - this.#lookedAt > CLOCK_AGE || this.#lookedAt === 0) this.#look(local);
    if (this.#ahead === undefined) return { ...common, time: '', latest: '', now: Date.now() * 1000 };
    const now = Math.floor(local * 1000 + this.#ahead);
    return { ...common, time: '', latest: String(now + this.#deadline * 1000 + CLOCK_MARGIN), now };
  }

  /** Beside the decisions, so that none waits for it. */
  #look(local: number): void {
    this.#lookedAt = local;
    this.link.command(this.places.common, ['TIME']).then(
      (reply) => {
        if (!Array.isArray(reply)) return;
        this.#ahead = Number(reply[0]) * 1e6 + Number(reply[1]) - performance.now() * 1000;
      },
      () => {},
    );
  }

  #learn(reply: string, sent: number): void {
    const time = Number(reply.slice(2, reply.indexOf(' ', 2)));
    if (Number.isSafeInteger(time)) this.#ahead = time - ((sent + performance.now()) / 2) * 1000;
  }

  /** The server's time in microseconds, as far as is known. */
  serverTime(): number {
    return this.#surroundings(undefined).now;
  }

  /** Gives leases back and ends what is under way. */
  async end(): Promise<void> {
    await this.#spread?.close();
    this.link.close();
  }
}

function numbersOf(reply: unknown): number[] {
  return String(reply).split(' ').map(Number);
}
