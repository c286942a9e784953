import { Ask } from '../ask.ts';
import { digest, hex } from './keys.ts';
import { own, type RedisRule } from './rule.ts';

/** Charged by a later part of the same key. */
const CHARGED_LATER = 4;

/** One rule and key of an ask; mentions of the same summed. */
export interface Part {
  readonly rule: RedisRule;
  readonly at: number;
  readonly limit: number;
  readonly high: number;
  readonly low: number;
  readonly key: string;
  cost: number;
  what: number;
}

/** `d` decide, `c` check, `i` inspect, `t` take, `a` adjust, `z` reset, `s` set, `o` open a hold whatever the limits say. */
export type Operation = 'd' | 'c' | 'i' | 't' | 'a' | 'z' | 's' | 'o';

export interface Surroundings {
  /** '' for the server's own clock. */
  readonly time: string;
  /** '' or the latest server time at which the script may still act. */
  readonly latest: string;
  /** The server's time as far as is known, for calendars. */
  readonly now: number;
  readonly shortestTtl: number;
  readonly slack: number;
  readonly ledger: string | undefined;
  readonly at: number | undefined;
}

/** What an ask said when it was read, so that the same ask can be filled again while Redis is asked. */
export class Question {
  readonly tenant: string;
  readonly base: string;
  /** Every distinct rule and key, in the order asked. */
  readonly parts: Part[] = [];
  /** Those with a counter. */
  readonly counted: Part[] = [];
  readonly holdId: string | undefined;
  readonly holdFor: number;
  readonly expiry: 's' | 'f';
  readonly patience: number;
  readonly money: boolean;
  /** True: units beyond a capacity were granted. */
  readonly granted: boolean;
  #plain = true;
  #marks = false;

  /** `separate`: variants of one rule work on a key one after the other, and are not weighed together. */
  constructor(ask: Ask, base: string, separate: boolean = false, keep?: (rule: RedisRule) => boolean) {
    this.tenant = ask.tag;
    this.base = base;
    this.holdId = ask.holdId;
    this.holdFor = ask.holdFor;
    this.expiry = ask.holdExpiry === 'free' ? 'f' : 's';
    this.patience = ask.patienceFor;
    let money = false;
    let granted = false;
    for (let i = 0; i < ask.size; i++) {
      const rule = own(ask.rules[i]!);
      if (keep !== undefined && !keep(rule)) continue;
      const high = ask.high[i]!;
      const low = ask.low[i]!;
      const cost = ask.costs[i]!;
      const same = i === 0 ? undefined : this.#find(rule, high, low);
      if (same !== undefined) {
        same.cost += cost;
        continue;
      }
      const key = rule.kind === 'p' ? '' : `${base}${rule.keyPart}:${hex(high)}${hex(low)}`;
      const limit = rule.capacity + ask.extras[i]!;
      const part: Part = { rule, at: i, limit, high, low, key, cost, what: rule.what };
      this.parts.push(part);
      if (rule.settles) money = true;
      if (ask.extras[i]! > 0) granted = true;
      if (rule.marks.length > 0) this.#marks = true;
      if (rule.what !== 0 || rule.kind === 's' || rule.kind === 'n' || rule.previous.length > 0) this.#plain = false;
      if (rule.kind !== 'p') this.#count(part, separate);
    }
    this.money = money;
    this.granted = granted;
  }

  /** A question about one part of this one, to keep. */
  only(part: Part): Question {
    const one = new Question(new Ask(), this.base, true);
    const copy = { ...part };
    one.parts.push(copy);
    one.counted.push(copy);
    return one;
  }

  /** Several variants of one rule for one key are weighed with what all of them cost, and charged once. */
  #count(part: Part, separate: boolean): void {
    const twin = this.counted.find(({ key }) => key === part.key);
    this.counted.push(part);
    if (twin === undefined) return;
    this.#plain = false;
    if (separate) return;
    const twins = this.counted.filter(({ key }) => key === part.key);
    const all = twins.reduce((sum, { what, cost }) => sum + ((what & CHARGED_LATER) !== 0 ? 0 : cost), 0);
    for (const other of twins) {
      other.cost = all;
      other.what |= CHARGED_LATER;
    }
    part.what &= ~CHARGED_LATER;
  }

  #find(rule: RedisRule, high: number, low: number): Part | undefined {
    return this.parts.find((part) => part.rule === rule && part.high === high && part.low === low);
  }

  /** True: the small script can decide it. */
  get plain(): boolean {
    return this.#plain && !this.#marks && this.holdId === undefined && this.patience === 0;
  }

  /** True: a cost without a counter is too large, so that nothing may be written. */
  get hopeless(): boolean {
    return this.parts.some(({ rule, cost, limit }) => rule.kind === 'p' && !rule.shadow && cost > limit);
  }

  /** A rule that needs a hold and has none. */
  get needy(): RedisRule | undefined {
    if (this.holdId !== undefined) return undefined;
    return this.parts.find(({ rule, cost }) => cost > 0 && (rule.settles || rule.kind === 'n'))?.rule;
  }

  plainArgs({ time, latest, now, shortestTtl }: Surroundings): string[] {
    const args = [time, latest, String(shortestTtl)];
    for (const { rule, cost, limit } of this.counted) {
      if (rule.kind === 'b')
        args.push(rule.fast(now), String(cost * rule.interval), String((limit - cost) * rule.interval));
      else args.push(rule.fast(now), String(cost), String(limit));
    }
    return args;
  }

  get keys(): string[] {
    return this.counted.map(({ key }) => key);
  }

  /** Keys and arguments of the general script, in its order. */
  general(operation: Operation, around: Surroundings): [keys: string[], args: string[]] {
    const keys = this.keys;
    const holds = this.holdId !== undefined && 'dco'.includes(operation);
    const marked = around.ledger !== undefined && this.money && !'so'.includes(operation);
    let flags = '';
    if (holds) {
      flags += 'h';
      keys.push(`${this.base}x`, holdKey(this.base, this.holdId!));
    } else if (this.money) {
      flags += 'x';
      keys.push(`${this.base}x`);
    }
    if (this.patience > 0 && (operation === 'd' || operation === 'c')) flags += 'p';
    if (around.at !== undefined) flags += 'a';
    if (marked) {
      flags += 'm';
      keys.push(`${this.base}m`);
    }
    if (this.#marks || this.parts.some(({ rule }) => rule.shadow)) flags += 'r';
    const previous = this.counted.flatMap((part, i) =>
      part.rule.previous.map((rule) => ({ rule, i: i + 1, key: part.key.replace(part.rule.keyPart, rule.keyPart) })),
    );
    if (previous.length > 0) flags += 'v';
    const args = [operation, around.time, around.latest, String(this.counted.length), flags];
    args.push(String(around.shortestTtl), String(around.slack));
    for (const { rule, what, cost, limit } of this.counted) {
      args.push(rule.kind, String(what), String(cost), String(limit), rule.params(around.now));
    }
    if (holds) {
      args.push(String(this.holdFor), this.expiry);
      for (const { rule } of this.counted) args.push(rule.digest + rule.unit);
    }
    if (flags.includes('p')) args.push(String(this.patience));
    if (around.at !== undefined) args.push(String(around.at));
    if (marked) args.push(around.ledger!);
    for (const { rule, i, key } of previous) {
      keys.push(key);
      args.push(String(i), rule.kind, rule.params(around.now));
    }
    return [keys, args];
  }
}

export function holdKey(base: string, id: string): string {
  return `${base}h:${digest(id, 32)}`;
}
