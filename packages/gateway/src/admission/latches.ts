/** Shares of limits that are told of, and limits that shut themselves when their total is reached. */

import type { Crossing, Limiter, Standing } from '@tollgate/limiter';
import type { Clock } from '../core/clock.ts';
import { randomId } from '../core/ids.ts';
import type { Log } from '../core/log.ts';
import type { Stop } from '../core/operator-records.ts';
import type { Asking } from './asking.ts';
import type { LimitCharge } from './charge.ts';
import type { AdmissionEvents } from './events.ts';
import { stepOf } from './refusing.ts';
import { numberOf } from './rules.ts';
import type { StopBook } from './stops.ts';

export interface LatchParts {
  readonly limiter: Limiter;
  readonly asking: Asking;
  readonly stops: StopBook;
  readonly events: AdmissionEvents;
  readonly clock: Clock;
  readonly log: Log;
}

export class Latches {
  readonly #parts: LatchParts;

  constructor(parts: LatchParts) {
    this.#parts = parts;
  }

  /** Tells of alerts, and marks the charge when a latch was reached: what is held may still be given back. */
  crossed(charge: LimitCharge, crossed: readonly Crossing[]): void {
    const { log, events, clock } = this.#parts;
    for (const { rule, mark, used } of crossed) {
      const step = charge.plan.steps.find((known) => known.rule === rule);
      if (step === undefined) continue;
      const { options } = step.limit;
      const number = numberOf(step.quota);
      if (options.latch && mark === number) charge.reached = true;
      for (const share of options.alerts) {
        if (Math.ceil(share * number) !== mark) continue;
        const { principal } = charge.asker;
        const alert = {
          kind: 'share',
          at: clock.wall(),
          limit: options.name,
          share,
          used,
          of: number,
          unit: step.unit,
          principal: principal.id,
          tenant: principal.tenant,
        } as const;
        log.warn(alert, 'a share of a limit is used up');
        events.crossed?.(alert);
      }
    }
  }

  /** Looks whether a latch of this call is reached by what was really spent, and shuts it. */
  look(charge: LimitCharge, now: number): void {
    const { asking, limiter } = this.#parts;
    const { plan, asker, caller, target } = charge;
    asking.fill({ plan, asker, caller, target, part: charge.part === 'hit' ? 'hit' : 'call' }, charge.amounts, false);
    const keys = Array.from({ length: asking.ask.size }, (_, i) => asking.keyOf(i));
    const standings = limiter.inspect(asking.ask, now);
    if (standings instanceof Promise) {
      standings.then(
        (found) => this.#shut(charge, found, keys),
        (error: unknown) => this.#parts.log.error({ err: error }, 'a latch could not be looked at'),
      );
    } else {
      this.#shut(charge, standings, keys);
    }
  }

  /** `keys` in the order of the standings. */
  #shut({ plan }: LimitCharge, standings: readonly Standing[], keys: readonly string[]): void {
    const { stops, clock } = this.#parts;
    standings.forEach((standing, i) => {
      const { limit } = stepOf(plan, standing);
      const { name, latch, by } = limit.options;
      if (!latch || limit.shadow || standing.used - standing.held < standing.limit) return;
      const wall = clock.wall();
      if (stops.latched(name, keys[i]!, wall) !== undefined) return;
      this.#stop({
        id: `latch-${randomId(16)}`,
        scope: `rule:${name}`,
        key: by.every((key) => key === 'everyone') ? undefined : keys[i]!,
        reason: `The limit ${name} is reached; an administrator must reset it.`,
        by: `limit ${name}`,
        at: Math.floor(wall),
      });
    });
  }

  #stop(stop: Stop): void {
    const { stops, events, log } = this.#parts;
    try {
      if (!stops.add(stop)) return;
    } catch (error) {
      // The limit itself goes on refusing: only that it stays shut after a reset of its counter is lost.
      log.error({ err: error, limit: stop.scope }, 'a limit was reached and could not be shut for good');
      return;
    }
    log.error({ scope: stop.scope, key: stop.key }, 'a limit was reached and is shut until an administrator resets it');
    events.stopped?.(stop);
  }
}
