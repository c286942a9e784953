import type { Standing } from '@tollgate/limiter';
import type { Charge } from '../protocol/call.ts';
import type { Part, Request } from './asking.ts';
import type { Asker, Caller } from './callers.ts';
import type { Allowed } from './decision.ts';
import type { Target } from './limits.ts';
import type { Plan } from './plan.ts';
import type { Settling } from './settling.ts';

/**
 * One call, from its decision to its end: what was asked, and what the limiter and the ledger hold for it. It is its
 * own verdict when it is admitted, so that a call costs one object here.
 */
export class LimitCharge implements Charge, Request, Allowed {
  readonly allowed = true;
  readonly plan: Plan;
  readonly asker: Asker;
  readonly caller: Caller;
  readonly target: Target;
  readonly part: Part;
  /** Ends it, also when another configuration is in force by then. */
  readonly settling: Settling;
  /** Id of its own hold: money in the ledger, money and slots in the limiter; undefined: it has none. */
  holdId: string | undefined = undefined;
  /** True: the limiter holds something under `holdId`; false: no limit counts what the call costs. */
  held = false;
  /** Id of the hold of a logical call of several rounds, opened by an earlier one. */
  logicalId: string | undefined = undefined;
  /** True: the limiter holds the logical call's money; false: only the ledger knows it. */
  logicalHeld = false;
  /** Micro-units reserved, one for each price of the plan. */
  amounts: readonly number[] | undefined = undefined;
  /** Milliseconds that its hold lasts; undefined: as long as the call may take, and some. */
  ttl: number | undefined = undefined;
  lasts = 0;
  /** True: the ledger was told of `holdId`, or of `logicalId`. */
  booked = false;
  /** Microseconds of the decision, and how long the call waits from there. */
  at = 0;
  wait = 0;
  /** Shadow rules that had no room, so that nothing was charged to them. */
  shadowed: readonly Standing[] = NOTHING;
  /** True: the store could not be reached and let the call through; nothing was charged. */
  uncounted = false;
  /** True: the limiter is shared with other gateways. */
  shared = false;
  /** True: a latch was reached by what is held, and is looked at again when it is settled. */
  reached = false;
  /** True once it ended; nothing happens twice. */
  over = false;

  constructor(plan: Plan, asker: Asker, caller: Caller, target: Target, part: Part, settling: Settling) {
    this.plan = plan;
    this.asker = asker;
    this.caller = caller;
    this.target = target;
    this.part = part;
    this.settling = settling;
  }

  get charge(): LimitCharge {
    return this;
  }
}

const NOTHING: readonly Standing[] = [];
