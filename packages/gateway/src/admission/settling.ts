/** How admitted calls end: charged, given back or parked, each exactly once and without ever throwing. */
import type { Crossing, HoldResult, Limiter } from '@tollgate/limiter';
import type { Clock } from '../core/clock.ts';
import { newDecisionId } from '../core/ids.ts';
import type { Log } from '../core/log.ts';
import { Field, type Message } from '../protocol/message.ts';
import type { Asking, Part } from './asking.ts';
import type { LimitCharge } from './charge.ts';
import type { CallEnd } from './contract.ts';
import type { AdmissionEvents, SettledHold } from './events.ts';
import type { Latches } from './latches.ts';
import { amountsOf, openedHold } from './records.ts';
import type { WaitingRoom } from './waiting.ts';

export interface SettlingParts {
  readonly limiter: Limiter;
  readonly asking: Asking;
  readonly latches: Latches;
  readonly waiting: WaitingRoom;
  readonly events: AdmissionEvents;
  readonly clock: Clock;
  readonly log: Log;
  /** Holds of logical calls that a round runs for now: two rounds at once are two calls. */
  readonly rounds: Set<string>;
}

/** What the server says a call came to, one for each price; undefined: what was held. */
interface Actual {
  readonly amounts: readonly (number | undefined)[];
  readonly source: SettledHold['source'];
}

export class Settling {
  readonly #parts: SettlingParts;

  constructor(parts: SettlingParts) {
    this.#parts = parts;
  }

  finish(charge: LimitCharge, end: CallEnd, now: number): void {
    if (charge.over) return;
    charge.over = true;
    // Rates of a call that ran: they are counted already, and nothing else has an end.
    const counted = !charge.held && !charge.booked && charge.logicalId === undefined && !charge.reached;
    if (counted && end.executed !== 'no') return;
    try {
      if (end.executed === 'no') this.#giveBack(charge, micros(now));
      else this.#settle(charge, this.#actual(charge, end), micros(now));
    } catch (error) {
      this.#failed(error, charge);
    }
  }

  /** See `Admission.park`. */
  park(charge: LimitCharge, ttl: number, now: number): string | undefined {
    if (charge.over) return undefined;
    if (charge.amounts === undefined) {
      this.finish(charge, { executed: 'yes', answer: undefined }, now);
      return undefined;
    }
    charge.over = true;
    try {
      return this.#park(charge, ttl, micros(now));
    } catch (error) {
      this.#failed(error, charge);
      return charge.logicalId ?? charge.holdId;
    }
  }

  #giveBack(charge: LimitCharge, now: number): void {
    const { limiter, events, clock } = this.#parts;
    if (charge.held) {
      this.#watch(charge, limiter.release(charge.holdId!, now), () => this.#wake(charge));
    } else if (!charge.uncounted && this.#fill(charge, charge.part) > 0) {
      const { ask, asked } = this.#parts.asking;
      for (let i = 0; i < ask.size; i++) {
        const spared = charge.shadowed.some((standing) => standing.rule === asked[i]!.rule);
        ask.costs[i] = spared ? 0 : -ask.costs[i]!;
      }
      this.#watch(charge, limiter.adjust(ask, now, charge.at + charge.wait), noop);
    }
    // The hold of earlier rounds stays for the next one: they did run.
    if (charge.logicalId !== undefined) this.#parts.rounds.delete(charge.logicalId);
    else if (charge.booked) events.released?.({ id: charge.holdId!, at: Math.floor(clock.wall()) });
  }

  #settle(charge: LimitCharge, { amounts, source }: Actual, now: number): void {
    const { limiter, events, clock, rounds } = this.#parts;
    const byUnit = amountsOf(charge, amounts);
    if (charge.held) {
      const settlement =
        charge.logicalId === undefined ? { id: charge.holdId!, amounts: byUnit } : { id: charge.holdId! };
      this.#watch(charge, limiter.settle(settlement, now), (result) => this.#settled(charge, result, now));
    }
    if (charge.logicalId !== undefined) {
      rounds.delete(charge.logicalId);
      if (charge.logicalHeld) {
        this.#watch(charge, limiter.settle({ id: charge.logicalId, amounts: byUnit }, now), (result) => {
          this.#settled(charge, result, now);
          if (result.state === 'settled' && !result.changed) this.#chargeAgain(charge, amounts, now);
        });
      }
    }
    if (!charge.held && charge.reached) this.#parts.latches.look(charge, now);
    const id = charge.logicalId ?? charge.holdId;
    if (charge.booked && id !== undefined) {
      events.settled?.({ id, at: Math.floor(clock.wall()), amounts: byUnit, source });
    }
  }

  /** Another gateway settled the logical call while this round ran: the server worked twice, so it is charged twice. */
  #chargeAgain(charge: LimitCharge, amounts: Actual['amounts'], now: number): void {
    const due = charge.amounts!.map((held, i) => amounts[i] ?? held);
    if (this.#fill(charge, 'money', due) > 0) {
      this.#watch(charge, this.#parts.limiter.adjust(this.#parts.asking.ask, now), noop);
    }
  }

  #settled(charge: LimitCharge, result: HoldResult, now: number): void {
    const { latches, events } = this.#parts;
    if (result.state === 'expired') events.expired?.(charge.logicalId ?? charge.holdId!);
    if (result.state === 'unknown') {
      this.#parts.log.warn({ id: charge.holdId, method: charge.plan.method }, 'a hold was gone before its call ended');
    }
    this.crossed(charge, result.crossed);
    if (charge.reached) latches.look(charge, now);
    this.#wake(charge);
  }

  /** Tells of the shares that a charge reached. */
  crossed(charge: LimitCharge, crossed: readonly Crossing[]): void {
    if (crossed.length > 0) this.#parts.latches.crossed(charge, crossed);
  }

  #park(charge: LimitCharge, ttl: number, now: number): string {
    const { limiter, events, clock, rounds } = this.#parts;
    const id = charge.logicalId ?? charge.holdId!;
    const expiresAt = Math.ceil(clock.wall() + ttl);
    if (charge.logicalId !== undefined) {
      rounds.delete(id);
      if (charge.held) this.#watch(charge, limiter.settle({ id: charge.holdId! }, now), () => this.#wake(charge));
      if (charge.logicalHeld) this.#watch(charge, limiter.renew(id, micros(ttl), now), noop);
    } else if (charge.held && charge.plan.slots) {
      return this.#swap(charge, ttl, now);
    } else if (charge.held) {
      this.#watch(charge, limiter.renew(id, micros(ttl), now), noop);
    }
    if (charge.booked) events.renewed?.({ id, expiresAt });
    return id;
  }

  /**
   * A hold that has slots and money: a parked call keeps only the money, in a hold of its own. The first one is
   * settled at nothing, which frees its slots and leaves the rates counted; what it held is held again at once.
   */
  #swap(charge: LimitCharge, ttl: number, now: number): string {
    const { limiter, asking, events, clock } = this.#parts;
    const wall = clock.wall();
    const nothing = amountsOf(
      charge,
      charge.amounts!.map(() => 0),
    );
    this.#watch(charge, limiter.settle({ id: charge.holdId!, amounts: nothing }, now), () => this.#wake(charge));
    if (charge.booked) {
      events.settled?.({ id: charge.holdId!, at: Math.floor(wall), amounts: nothing, source: 'fixed' });
    }
    charge.holdId = newDecisionId();
    if (this.#fill(charge, 'money') > 0) {
      asking.ask.hold(charge.holdId, micros(ttl));
      if (charge.booked) events.opened?.(openedHold(charge, asking, wall, wall + ttl));
      const id = charge.holdId;
      this.#watch(charge, limiter.decide(asking.ask, now), (outcome) => {
        // Somebody was faster on a shared store: then the call is charged when it ends, into debt if need be.
        if (!outcome.allowed) this.#parts.log.warn({ id }, 'the money of a parked call could not be held again');
      });
    }
    return charge.holdId;
  }

  /** Number of rules that the ask of this charge has now. */
  #fill(charge: LimitCharge, part: Part, amounts: readonly number[] | undefined = charge.amounts): number {
    const { asking } = this.#parts;
    const { plan, asker, caller, target } = charge;
    asking.fill({ plan, asker, caller, target, part }, amounts, false);
    return asking.ask.size;
  }

  /** Whoever waits for a slot of this call may ask again. */
  #wake(charge: LimitCharge): void {
    const { waiting, asking } = this.#parts;
    if (waiting.size === 0 || !charge.plan.slots || this.#fill(charge, 'slots') === 0) return;
    const keys = Array.from({ length: asking.ask.size }, (_, i) => asking.lineOf(i));
    for (const key of keys) waiting.wake(key);
  }

  #actual(charge: LimitCharge, { executed, answer }: CallEnd): Actual {
    const { prices } = charge.plan;
    if (executed === 'unknown') return { amounts: [], source: 'estimated' };
    if (charge.part === 'hit' || !prices.some((price) => price.reported)) return { amounts: [], source: 'fixed' };
    const result = parsed(answer);
    const amounts = prices.map((price, i) => {
      if (!price.reported) return undefined;
      const actual = result === undefined ? undefined : price.actual(result);
      const { max } = price.options;
      if (actual === undefined && result !== undefined) this.#alarm(charge, 'price_unreadable', i, undefined);
      if (actual !== undefined && max !== undefined && actual > max.micros) {
        this.#alarm(charge, 'price_above_max', i, actual);
      }
      return actual;
    });
    return { amounts, source: amounts.some((amount) => amount !== undefined) ? 'reported' : 'estimated' };
  }

  #alarm(
    charge: LimitCharge,
    kind: 'price_above_max' | 'price_unreadable',
    price: number,
    actual: number | undefined,
  ): void {
    const { log, events, clock } = this.#parts;
    const alert = {
      kind,
      at: clock.wall(),
      tool: charge.target.canonicalId ?? charge.plan.method,
      principal: charge.asker.principal.id,
      unit: charge.plan.prices[price]!.unit,
      held: charge.amounts![price]!,
      actual,
      decisionId: charge.asker.decisionId ?? charge.holdId!,
    };
    log.warn(
      alert,
      kind === 'price_above_max'
        ? 'a server reported a price above `max`; it is charged in full'
        : 'a server did not report its price in a form that is accepted; what was held is charged',
    );
    events.crossed?.(alert);
  }

  #watch<T>(charge: LimitCharge, answer: T | Promise<T>, then: (result: T) => void): void {
    if (answer instanceof Promise) answer.then(then).catch((error: unknown) => this.#failed(error, charge));
    else then(answer);
  }

  /** The limiter repeats what it could not write; here is only left to say so. */
  #failed(error: unknown, charge: LimitCharge): void {
    const id = charge.logicalId ?? charge.holdId;
    this.#parts.log.error({ err: error, id, method: charge.plan.method }, 'the end of a call could not be counted');
  }
}

function parsed(answer: Message | undefined): unknown {
  return answer?.kind === 'result' ? answer.json(Field.result) : undefined;
}

function micros(ms: number): number {
  return Math.floor(ms * 1000);
}

function noop(): void {}
