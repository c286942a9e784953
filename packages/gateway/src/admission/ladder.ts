/** `then: [wait D, refuse]`: what a call does that a limit has no room for. */
import type { Admitted, Refused } from '@tollgate/limiter';
import type { Clock } from '../core/clock.ts';
import type { Lifetime } from '../core/lifetime.ts';
import type { Call } from '../protocol/call.ts';
import { encode } from '../protocol/json/splice.ts';
import { Field } from '../protocol/message.ts';
import type { Asking } from './asking.ts';
import type { LimitCharge } from './charge.ts';
import type { Reply } from './deciding.ts';
import type { Plan } from './plan.ts';
import { stepOf } from './refusing.ts';
import { type Place, sleep, type WaitingRoom } from './waiting.ts';

/** Between two notifications that a call still waits. */
const PROGRESS_MS = 5000;
/** Slots of a shared store are given back by other gateways too, which wake nobody here. */
const POLL_MS = 250;

export interface LadderParts {
  readonly room: WaitingRoom;
  readonly asking: Asking;
  readonly clock: Clock;
  readonly decide: (charge: LimitCharge, now: number, patience: number) => Reply | Promise<Reply>;
  /** Gives back what a decision took for a call that ended while it waited. */
  readonly giveBack: (charge: LimitCharge) => void;
}

export class Ladder {
  readonly #parts: LadderParts;

  constructor(parts: LadderParts) {
    this.#parts = parts;
  }

  /**
   * Waits until the limits have room, as long as every limit in the way allows. Undefined: it may not wait, or there
   * is no room to wait in. Resolves with the last outcome; rejects with the reason of a call that ended.
   */
  wait(charge: LimitCharge, call: Call, refused: Refused): Promise<Reply> | undefined {
    const ms = patience(charge.plan, refused);
    if (ms === 0 || !this.#parts.room.enter(call.principal.id)) return undefined;
    return this.#wait(call, ms, (until) =>
      isCommitted(charge.plan, refused)
        ? this.#commit(charge, call.lifetime, ms)
        : this.#queue(charge, call.lifetime, this.#lineOf(charge, refused), refused, until),
    );
  }

  /**
   * A newcomer goes behind those who wait for the same; asks nothing before its turn. For the ask at hand. Undefined:
   * nobody waits for what it needs, or there is no room to wait in.
   */
  behind(charge: LimitCharge, call: Call): Promise<Reply> | undefined {
    const { room, asking } = this.#parts;
    for (let i = 0; i < asking.ask.size; i++) {
      const { patience: ms } = asking.asked[i]!.limit;
      const line = asking.lineOf(i);
      if (ms === 0 || !room.hasLine(line)) continue;
      if (!room.enter(call.principal.id)) return undefined;
      return this.#wait(call, ms, (until) => this.#queue(charge, call.lifetime, line, undefined, until));
    }
    return undefined;
  }

  async #wait(call: Call, ms: number, waiting: (until: number) => Promise<Reply>): Promise<Reply> {
    const { room, clock } = this.#parts;
    const progress = reportProgress(call, ms, clock);
    try {
      return await waiting(clock.monotonic() + ms);
    } finally {
      progress();
      room.leave(call.principal.id);
    }
  }

  /** Rates only: the limiter takes a place in the future, once, and the call sleeps until it comes. */
  async #commit(charge: LimitCharge, lifetime: Lifetime, ms: number): Promise<Reply> {
    const { clock, decide, giveBack } = this.#parts;
    const reply = await decide(charge, clock.monotonic(), ms * 1000);
    if (isAdmitted(reply) && !(await sleep(reply.wait / 1000, lifetime))) {
      giveBack(charge);
      throw lifetime.reason!;
    }
    return reply;
  }

  /** Slots and windows: stands in line, and asks again whenever something may have come free. */
  async #queue(
    charge: LimitCharge,
    lifetime: Lifetime,
    first: string,
    refused: Refused | undefined,
    until: number,
  ): Promise<Reply> {
    const { room, clock, decide, giveBack } = this.#parts;
    let place = room.join(first, lifetime);
    let last = refused;
    try {
      for (;;) {
        const turn = await place.turn(this.#retryOf(charge, last, place), until - clock.monotonic());
        if (turn === 'ended') throw lifetime.reason!;
        const asked = decide(charge, clock.monotonic(), 0);
        const reply = asked instanceof Promise ? await asked : asked;
        if (isAdmitted(reply) && lifetime.over) {
          giveBack(charge);
          throw lifetime.reason!;
        }
        if (turn === 'late' || !isRefused(reply) || patience(charge.plan, reply) === 0) return reply;
        last = reply;
        place = this.#moved(place, this.#lineOf(charge, reply), lifetime);
      }
    } finally {
      place.leave();
    }
  }

  #moved(place: Place, line: string, lifetime: Lifetime): Place {
    if (place.key === line) return place;
    place.leave();
    return this.#parts.room.join(line, lifetime);
  }

  #retryOf(charge: LimitCharge, refused: Refused | undefined, place: Place): number {
    // Whoever is not the first waits to become it.
    if (refused === undefined || !this.#parts.room.first(place)) return Number.POSITIVE_INFINITY;
    const ms = refused.retryAfter === undefined ? POLL_MS : refused.retryAfter / 1000;
    return refused.estimated && charge.shared ? Math.min(ms, POLL_MS) : ms;
  }

  /** The line of the first rule in the way that cannot take a place in the future. */
  #lineOf(charge: LimitCharge, refused: Refused): string {
    const { asking } = this.#parts;
    const { plan, asker, caller, target, part } = charge;
    asking.fill({ plan, asker, caller, target, part }, charge.amounts, false);
    const blocking = refused.violated.find((standing) => !isRate(plan, standing)) ?? refused.violated[0]!;
    const at = asking.asked.findIndex((step, i) => i < asking.ask.size && step.rule === blocking.rule);
    return asking.lineOf(Math.max(0, at));
  }
}

export function isAdmitted(reply: Reply): reply is Admitted {
  return 'allowed' in reply && reply.allowed === true;
}

export function isRefused(reply: Reply): reply is Refused {
  return 'allowed' in reply && reply.allowed === false;
}

/** Milliseconds that every limit in the way allows; 0: at least one refuses at once, or waiting so long cannot help. */
function patience(plan: Plan, refused: Refused): number {
  let ms = Number.POSITIVE_INFINITY;
  for (const standing of refused.violated) {
    if (standing.verdict !== 'exhausted' && standing.verdict !== 'busy') return 0;
    ms = Math.min(ms, stepOf(plan, standing).limit.patience);
  }
  const inTime = refused.estimated || (refused.retryAfter !== undefined && refused.retryAfter <= ms * 1000);
  return inTime ? ms : 0;
}

/** A place in the future can be taken when only rates are in the way, and no slot would be held while the call sleeps. */
function isCommitted(plan: Plan, refused: Refused): boolean {
  return !plan.slots && refused.violated.every((standing) => isRate(plan, standing));
}

function isRate(plan: Plan, standing: Refused['violated'][number]): boolean {
  const { algorithm } = stepOf(plan, standing).rule.options;
  return algorithm === 'token-bucket' || algorithm === 'sliding-window';
}

/** Tells a client that asked for progress that its call waits; returns the way to stop. */
function reportProgress(call: Call, ms: number, clock: Clock): () => void {
  const progressToken = call.message.json(Field.metaProgressToken);
  if (progressToken === undefined) return noop;
  const until = clock.monotonic() + ms;
  const report = (): void => {
    const left = Math.max(0, until - clock.monotonic()) / 1000;
    const message = `Waiting for a limit to have room, ${Math.ceil(left)} s at most`;
    // Progress must grow and the server's own begins at 0: what is left of the wait counts up to it.
    const params = { progressToken, progress: -left, message };
    call.reply.notify(encode({ jsonrpc: '2.0', method: 'notifications/progress', params }));
  };
  report();
  const timer = setInterval(report, PROGRESS_MS);
  return () => clearInterval(timer);
}

function noop(): void {}
