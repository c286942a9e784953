/**
 * What admission tells whoever listens: the ledger, the records of decisions, alerts and metrics. Plain data, made
 * only for listeners that are there. Listeners must not throw and must not wait. Amounts are in micro-units, times
 * in milliseconds since the epoch.
 */
import type { Stop } from '../core/operator-records.ts';
import type { Decision } from './decision.ts';

/** Amounts by unit: `{ USD: 5000 }`. */
export type Amounts = Readonly<Record<string, number>>;

/** One counter that a hold is charged to. */
export interface Posting {
  /** Id of the rule: what its counters are kept by. */
  readonly rule: string;
  /** Digest of the rule's key, 16 hexadecimal digits. */
  readonly key: string;
  /** Start of the window; 0 where it has no end. Of a window that is no calendar's: the 60th of it that `at` lies in. */
  readonly windowStart: number;
  readonly unit: string;
}

/** Money that was held for a call, before the call runs. */
export interface OpenedHold {
  readonly id: string;
  readonly at: number;
  readonly principal: string;
  readonly tenant: string | undefined;
  readonly server: string;
  /** Canonical id of the tool, or what else was asked for. */
  readonly tool: string;
  readonly endpoint: string;
  readonly session: string | undefined;
  readonly decisionId: string;
  readonly expiresAt: number;
  readonly estimate: Amounts;
  readonly postings: readonly Posting[];
}

export interface SettledHold {
  readonly id: string;
  readonly at: number;
  /** Units left out were charged as they were held. */
  readonly amounts: Amounts;
  /**
   * `fixed`: the price was known before. `reported`: the server said it. `estimated`: nobody knows, what was held.
   */
  readonly source: 'fixed' | 'reported' | 'estimated';
}

export interface ReleasedHold {
  readonly id: string;
  readonly at: number;
}

export interface RenewedHold {
  readonly id: string;
  readonly expiresAt: number;
}

/** A share of a limit that a charge reached, or a price that needs a look. */
export type Alert =
  | {
      readonly kind: 'share';
      readonly at: number;
      readonly limit: string;
      /** 0 to 1. */
      readonly share: number;
      readonly used: number;
      readonly of: number;
      readonly unit: string;
      /** Whose call it was; undefined when a settlement of an earlier process reached it. */
      readonly principal: string | undefined;
      readonly tenant: string | undefined;
    }
  | {
      /**
       * `price_above_max`: the server reported more than `max`; charged in full. `price_unreadable`: the result did
       * not say its price in a form that is accepted; charged what was held.
       */
      readonly kind: 'price_above_max' | 'price_unreadable';
      readonly at: number;
      readonly tool: string;
      readonly principal: string;
      readonly unit: string;
      readonly held: number;
      /** Undefined when unreadable. */
      readonly actual: number | undefined;
      readonly decisionId: string;
    };

/** One rule of an admission, as it was asked. */
export interface RuleRecord {
  readonly limit: string;
  readonly rule: string;
  readonly key: string;
  readonly cost: number;
  readonly unit: string;
  readonly shadow: boolean;
  /** What its `disclose` keeps from the caller: its numbers, or that there is such a limit; undefined: neither. */
  readonly hidden?: 'numbers' | 'limit' | undefined;
  /** Where it stood before the decision; only of a refusal by the limiter, and not of shadow limits. */
  readonly capacity?: number | undefined;
  readonly used?: number | undefined;
  readonly held?: number | undefined;
  readonly remaining?: number | undefined;
}

/** One admission or refusal, for the records of decisions. */
export interface AdmissionRecord {
  readonly id: string;
  readonly at: number;
  readonly principal: string;
  readonly tenant: string | undefined;
  readonly tier: string;
  readonly session: string | undefined;
  readonly endpoint: string;
  readonly server: string | undefined;
  readonly method: string;
  /** Canonical id; undefined for methods without an object. */
  readonly object: string | undefined;
  readonly rules: readonly RuleRecord[];
  /** Shadow limits that would have refused. */
  readonly shadowed: readonly string[];
  /** Milliseconds the call waited for its turn. */
  readonly waited: number;
  readonly holdId: string | undefined;
  /** How an unreachable store was stood in for. */
  readonly degraded: 'local' | 'open' | 'closed' | undefined;
  /** Undefined: admitted. */
  readonly refusal: Decision | undefined;
}

export interface AdmissionEvents {
  opened?(hold: OpenedHold): void;
  settled?(hold: SettledHold): void;
  released?(hold: ReleasedHold): void;
  renewed?(hold: RenewedHold): void;
  /** A hold was found expired before its call ended; a settlement that follows replaces what was assumed. */
  expired?(id: string): void;
  crossed?(alert: Alert): void;
  /** A limit with `latch` was reached and shut itself; the stop is in the StopBook already. */
  stopped?(stop: Stop): void;
  admitted?(record: AdmissionRecord): void;
  refused?(record: AdmissionRecord): void;
}
