/**
 * What admission offers the pipeline. Every call that was admitted ends in exactly one of `finish` and `park`; both
 * may be called again and then do nothing, and neither ever throws.
 */
import type { Limiter } from '@tollgate/limiter';
import type { Clock } from '../core/clock.ts';
import type { Log } from '../core/log.ts';
import type { Call } from '../protocol/call.ts';
import type { Message } from '../protocol/message.ts';
import type { Verdict } from './decision.ts';
import type { AdmissionEvents } from './events.ts';
import type { External } from './external.ts';
import type { GrantBook } from './grants.ts';
import type { Target } from './limits.ts';
import type { LimitOptions } from './options.ts';
import type { QuotaReport } from './quota.ts';
import type { Restoring } from './restoring.ts';
import type { StopBook } from './stops.ts';
import type { TierBook } from './tiers.ts';

/** How an admitted call ended. */
export interface CallEnd {
  /**
   * `no`: nothing reached a server, so everything is given back, rates too. `yes`: it ran, and is charged what the
   * answer says or what was held. `unknown`: it was sent and nobody knows; charged what was held.
   */
  readonly executed: 'no' | 'yes' | 'unknown';
  /** The server's final answer; prices that the result tells are read from it. */
  readonly answer: Message | undefined;
}

/** The limits, prices, tiers and stops of one configuration, in force. */
export interface Admission {
  /** In the order of the configuration. */
  readonly limits: readonly LimitOptions[];

  /** Which tier a caller is in; `version` counts changes. */
  readonly tiers: Pick<TierBook, 'of' | 'version'>;

  /**
   * Decides over every limit that covers the call, in one step: all have room and are charged, or nothing is. With
   * `then: [wait]` the answer may be a promise that waits for its turn (at most 30 s, with progress notifications);
   * when the call's lifetime ends first, it rejects with the reason and everything is given back.
   * `now` is `call.startedAt`. A verdict with a charge has to be finished: the caller keeps it as `call.charge`.
   */
  admit(call: Call, target: Target, now: number): Verdict | Promise<Verdict>;

  /** The same for a result from the cache: rates only of limits with `hits`, no slots, the tool's `cached` price. */
  admitHit(call: Call, target: Target, now: number): Verdict | Promise<Verdict>;

  /**
   * A further round of a call that was parked with this hold id: rates and slots count, money does not count again.
   * Where the hold is over, unknown, or running in another round, the round is admitted as a call of its own.
   * The caller has opened the seal around the id: nobody else may name it.
   */
  resume(call: Call, target: Target, holdId: string, now: number): Verdict | Promise<Verdict>;

  /**
   * Ends a round that wants input (`input_required`): slots are free, money stays held for `ttl` milliseconds until
   * `resume`. Returns the hold id to be sealed into `requestState`; undefined: the call holds no money.
   */
  park(call: Call, ttl: number, now: number): string | undefined;

  /** Ends an admitted call: settles, gives back, wakes who waits. Safe also after a reload, and for calls never admitted. */
  finish(call: Call, end: CallEnd, now: number): void;

  /** What is left for this caller, for the tool `tollgate_quota`; charges nothing. Undefined: no limit applies. */
  quota(call: Call, targets: readonly Target[], now: number): Promise<QuotaReport | undefined>;

  /** True when some limit can refuse a request of this method on this target, for any caller. */
  covers(method: string, target: Target): boolean;

  /** The limits that cover a method on a target, in the order of the configuration; `replaces` is honoured. */
  covering(method: string, target: Target): readonly LimitOptions[];

  /** One sentence a limit that covers one of these targets, for `instructions`; undefined: none does. */
  standingRules(targets: readonly Target[]): string | undefined;

  /** Checks and holds for callers that are on no connection of this gateway. */
  readonly external: External;

  /** What a ledger says of money, as questions to the limiter: for counters that were lost. */
  readonly restoring: Restoring;

  /** Wakes and refuses everybody who waits for a turn. */
  close(): void;
}

export interface AdmissionDeps {
  readonly clock: Clock;
  /** Default: silent. */
  readonly log?: Log | undefined;
  /** The admission that this one replaces on a reload: counters, books, waits and charges continue. */
  readonly previous?: Admission | undefined;
  /** Default: that of `previous`, else one in memory. */
  readonly limiter?: Limiter | undefined;
  /** Default: those of `previous`, else empty ones. */
  readonly tiers?: TierBook | undefined;
  readonly grants?: GrantBook | undefined;
  readonly stops?: StopBook | undefined;
  /** Default: those of `previous`. */
  readonly events?: AdmissionEvents | undefined;
  /**
   * Resolves when everything that `events.opened` was told is written; undefined: it is already. A call that holds
   * money is dispatched only then; when it rejects the call is refused with `limit_unavailable`.
   */
  readonly whenWritten?: (() => Promise<void> | undefined) | undefined;
  /** What stands for an address in `by: ip`. Default: the address itself. */
  readonly addressPrefix?: ((address: string) => string) | undefined;
  /** Milliseconds a call may take where its target does not say. Default 60,000. */
  readonly defaultTimeout?: number | undefined;
}
