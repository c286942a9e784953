/** One decision of the limiter for one call: the hold it opens, what listeners are told of it. */
import type { Admitted, Limiter, Outcome, Refused } from '@tollgate/limiter';
import type { Clock } from '../core/clock.ts';
import { newDecisionId } from '../core/ids.ts';
import type { Log } from '../core/log.ts';
import type { Asking, Problem } from './asking.ts';
import type { LimitCharge } from './charge.ts';
import type { Decision } from './decision.ts';
import type { AdmissionEvents, OpenedHold, RuleRecord } from './events.ts';
import type { Latches } from './latches.ts';
import type { Amount } from './options.ts';
import { admissionRecord, openedHold, rulesAsked } from './records.ts';
import { limitDecision, problemDecision } from './refusing.ts';
import type { Settling } from './settling.ts';

export interface DecidingParts {
  readonly limiter: Limiter;
  readonly asking: Asking;
  readonly latches: Latches;
  readonly settling: Settling;
  readonly events: AdmissionEvents;
  readonly clock: Clock;
  readonly log: Log;
  readonly whenWritten: (() => Promise<void> | undefined) | undefined;
  /** Milliseconds of a call whose target does not say. */
  readonly timeout: number;
}

/** What came of asking: an outcome of the limiter, or what kept the call from being asked about. */
export type Reply = Outcome | Problem;

/** Beyond the deadline of a call: its end may be late, but its hold must not expire under it. */
const SLACK_MS = 30_000;

/** There was nothing to ask. */
const FREE: Admitted = Object.freeze({
  allowed: true,
  wait: 0,
  repeated: false,
  shadowed: [],
  crossed: [],
  degraded: undefined,
});

/** What listeners are told of an admission; made before another ask is filled, told when the limiter has agreed. */
interface Notes {
  readonly hold: OpenedHold | undefined;
  readonly rules: readonly RuleRecord[] | undefined;
}

/** Milliseconds between lines of the log about holds that could not be written. */
const TELL_EVERY = 1000;

export class Deciding {
  readonly #parts: DecidingParts;
  /** Calls refused because their hold could not be written, since that was told last, and when. */
  #unwritten = 0;
  #told = Number.NEGATIVE_INFINITY;

  constructor(parts: DecidingParts) {
    this.#parts = parts;
  }

  /** Works out what the call is expected to cost. A problem: it is refused before anything is asked. */
  estimate(charge: LimitCharge, said?: Amount): Problem | undefined {
    const amounts = this.#parts.asking.estimate(charge, said);
    if (amounts === undefined || Array.isArray(amounts)) {
      charge.amounts = amounts;
      return undefined;
    }
    return amounts as Problem;
  }

  /** Asks all limits at once and, where they agree, charges them. `patience` is in microseconds. */
  ask(charge: LimitCharge, now: number, patience = 0): Reply | Promise<Reply> {
    const { asking, limiter } = this.#parts;
    const problem = asking.fill(charge, charge.amounts, true);
    if (problem !== undefined) return problem;
    this.hold(charge, patience);
    if (asking.ask.size === 0) return this.#agreed(charge, FREE, this.#notes(charge));
    charge.at = Math.floor(now * 1000);
    if (patience > 0) asking.ask.patience(patience);
    const outcome = limiter.decide(asking.ask, charge.at);
    if (!(outcome instanceof Promise)) {
      return outcome.allowed === true ? this.#agreed(charge, outcome, this.#notes(charge)) : outcome;
    }
    charge.shared = true;
    const notes = this.#notes(charge);
    return outcome.then((settled) => (settled.allowed === true ? this.#agreed(charge, settled, notes) : settled));
  }

  /** Makes the ask at hand one that opens a hold, where it has slots or amounts; and an id where money is booked. */
  hold(charge: LimitCharge, patience: number): void {
    const { asking, timeout } = this.#parts;
    // A hold that another system ends must be one, whatever it is of.
    charge.held = asking.amounts || asking.slots || (charge.ttl !== undefined && asking.ask.size > 0);
    charge.booked = charge.amounts !== undefined;
    if (!charge.held && (!charge.booked || charge.logicalId !== undefined)) return;
    charge.holdId = decisionIdOf(charge);
    charge.lasts = charge.ttl ?? (charge.target.timeout ?? timeout) + SLACK_MS + Math.ceil(patience / 1000);
    if (charge.held) asking.ask.hold(charge.holdId, Math.ceil(charge.lasts * 1000));
  }

  /**
   * Whether the hold of an earlier round goes on: true, held by the limiter; false, known to the ledger only;
   * undefined: it does not.
   */
  continues(charge: LimitCharge, holdId: string, now: number): boolean | undefined | Promise<boolean | undefined> {
    const { asking, limiter, timeout } = this.#parts;
    const { plan, asker, caller, target } = charge;
    if (this.estimate(charge) !== undefined || charge.amounts === undefined) return undefined;
    asking.fill({ plan, asker, caller, target, part: 'money' }, charge.amounts, false);
    if (!asking.amounts) return false;
    const ttl = Math.ceil(((target.timeout ?? timeout) + SLACK_MS) * 1000);
    const renewed = limiter.renew(holdId, ttl, Math.floor(now * 1000));
    // What has expired was counted as spent; the settlement at the end replaces that.
    const goesOn = (state: string): true | undefined => (state === 'open' || state === 'expired' ? true : undefined);
    return renewed instanceof Promise ? renewed.then(({ state }) => goesOn(state)) : goesOn(renewed.state);
  }

  /** The record of a refusal, told to whoever listens. Looks at latches: a total that is reached is shut for good. */
  refuse(charge: LimitCharge, reply: Refused | Problem, inSession: boolean, told = true): Decision {
    const { events, asking, clock, latches, log } = this.#parts;
    const wall = clock.wall();
    const facts = { id: decisionIdOf(charge), wall, target: charge.target, inSession };
    const limit = 'violated' in reply;
    const decision = limit ? limitDecision(reply, charge.plan, facts) : problemDecision(reply, facts);
    if (!limit && reply.detail !== undefined) {
      const { plan, target } = charge;
      log.warn({ method: plan.method, object: target.canonicalId, detail: reply.detail }, 'an expression failed');
    }
    if (!told) return decision;
    if (decision.violated.some((violation) => violation.limit.latch))
      latches.look(charge, Math.floor(clock.monotonic() * 1000));
    if (events.refused !== undefined) {
      if (limit) asking.fill(charge, charge.amounts, false);
      const rules = limit ? rulesAsked(asking, reply.standings) : [];
      const degraded = limit ? reply.degraded : undefined;
      events.refused(admissionRecord(charge, { id: facts.id, wall, rules, degraded, refusal: decision }));
    }
    return decision;
  }

  #notes(charge: LimitCharge): Notes | undefined {
    const { events, asking, clock } = this.#parts;
    const opens = events.opened !== undefined && charge.booked && charge.logicalId === undefined;
    if (!opens && events.admitted === undefined) return undefined;
    const wall = clock.wall();
    return {
      hold: opens ? openedHold(charge, asking, wall, wall + charge.lasts) : undefined,
      rules: events.admitted === undefined ? undefined : rulesAsked(asking),
    };
  }

  #agreed(charge: LimitCharge, outcome: Admitted, notes: Notes | undefined): Admitted | Promise<Reply> {
    const { events, settling, clock } = this.#parts;
    charge.wait = outcome.wait;
    charge.shadowed = outcome.shadowed;
    charge.uncounted = outcome.degraded === 'open';
    if (outcome.crossed.length > 0) settling.crossed(charge, outcome.crossed);
    if (notes === undefined) return outcome;
    if (notes.rules !== undefined) {
      const { rules } = notes;
      const { degraded } = outcome;
      const id = decisionIdOf(charge);
      events.admitted?.(admissionRecord(charge, { id, wall: clock.wall(), rules, degraded, refusal: undefined }));
    }
    if (notes.hold === undefined) return outcome;
    events.opened?.(notes.hold);
    const written = this.#parts.whenWritten?.();
    return written === undefined ? outcome : this.#afterWriting(charge, outcome, written);
  }

  /** Money must be in the ledger before a server can spend it. */
  async #afterWriting(charge: LimitCharge, outcome: Admitted, written: Promise<void>): Promise<Reply> {
    try {
      await written;
      return outcome;
    } catch (error) {
      const { settling, clock, log } = this.#parts;
      const now = clock.monotonic();
      this.#unwritten++;
      // A disk that is full has no room for a line about each call either.
      if (now - this.#told >= TELL_EVERY) {
        const calls = this.#unwritten;
        log.error({ err: error, id: charge.holdId, calls }, 'the ledger did not take a hold; its call is refused');
        this.#unwritten = 0;
        this.#told = now;
      }
      settling.finish(charge, { executed: 'no', answer: undefined }, now);
      return {
        reason: 'limit_unavailable',
        because: 'What calls may cost cannot be written down at the moment, so that calls that cost something wait.',
        money: false,
        retryAfterSeconds: undefined,
        detail: undefined,
      };
    }
  }
}

/** One id for the decision, its hold and what the caller is shown. */
export function decisionIdOf(charge: LimitCharge): string {
  charge.asker.decisionId ??= newDecisionId();
  return charge.asker.decisionId;
}
