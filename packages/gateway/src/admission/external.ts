/**
 * Checks and holds for callers that are on no connection of this gateway: `/v1/check`, `/v1/holds`, the operations,
 * the middleware of the library. They count against the same counters as calls through the gateway.
 */

import type { Decision } from './decision.ts';
import type { Posting } from './events.ts';
import type { Amount } from './options.ts';

/** Whom a question is about. */
export interface Subject {
  /** The same id has the same counters as that principal on a connection. */
  readonly principal: string;
  /** Need not be told where the id has it. */
  readonly tenant?: string | undefined;
  /** Tier of the credential; a stored tier comes before it. */
  readonly tier?: string | undefined;
  readonly roles?: readonly string[] | undefined;
  readonly client?: string | undefined;
  readonly session?: string | undefined;
  readonly address?: string | undefined;
}

/** What somebody wants to do. */
export interface Question {
  readonly subject: Subject;
  /** Method, `server/initialize`, `server/ping`, or anything else: then limits on `unknown` cover it. */
  readonly method: string;
  /** Endpoint path. Default `/mcp`; who knows the configuration says one that there is. */
  readonly endpoint?: string | undefined;
  /** Canonical id `server/tool`. */
  readonly tool?: string | undefined;
  readonly server?: string | undefined;
  /** Arguments, for expressions, `by: args` and prices. */
  readonly arguments?: unknown;
  /** What it will cost; comes before the tool's price. */
  readonly estimate?: Amount | undefined;
  /** Only for this question, whatever is stored. The caller has made sure that the asker may say so. */
  readonly tier?: string | undefined;
}

/** Where one limit stands, for an answer. Amounts are in micro-units. */
export interface LimitView {
  readonly limit: string;
  readonly unit: string;
  readonly cost: number;
  readonly capacity: number;
  readonly used: number;
  readonly held: number;
  readonly remaining: number;
  /** Seconds, not rounded; undefined: waiting cannot help. */
  readonly retryAfter: number | undefined;
  readonly resetAfter: number | undefined;
  readonly shadow: boolean;
}

export interface Answer {
  readonly allowed: boolean;
  /** The tier that was in force. */
  readonly tier: string;
  readonly decisionId: string;
  /** Undefined: allowed. */
  readonly decision: Decision | undefined;
  /** Where the limits stood before this question. */
  readonly limits: readonly LimitView[];
  /** What was taken as the cost, by unit. */
  readonly cost: Readonly<Record<string, number>>;
}

/** State of a hold of another system, and whether this request changed it. */
export interface HoldAnswer {
  readonly state: 'open' | 'settled' | 'released' | 'expired' | 'unknown';
  readonly changed: boolean;
}

/** A counter that was reset, and what it had counted. */
export interface ResetCounter extends Posting {
  readonly used: number;
  /** True: of an amount, which a ledger keeps. */
  readonly amount: boolean;
}

export interface External {
  /** What `consume` would answer; changes nothing. */
  peek(question: Question, now: number): Promise<Answer>;
  /** Counts the call and charges its estimate at once. */
  consume(question: Question, now: number): Promise<Answer>;
  /**
   * Counts the call and holds its estimate until `settle`, `release`, or `ttl` milliseconds have passed; then the
   * estimate counts as spent. `id` is the other system's own, 1 to 128 characters; repeated, it changes nothing.
   */
  reserve(question: Question, id: string, ttl: number, now: number): Promise<Answer>;
  /** Ends a hold with what it came to. Units left out are charged as they were held. */
  settle(subject: Subject, id: string, amounts: readonly Amount[], now: number): Promise<HoldAnswer>;
  /**
   * Forgets what the asker has used of the limits of this name that cover the question. Holds that are open stay, and
   * settle into nothing that was before. Empty: none covers it.
   */
  reset(question: Question, limit: string, now: number): Promise<readonly ResetCounter[]>;
  /** Gives back everything that `reserve` took. */
  release(subject: Subject, id: string, now: number): Promise<HoldAnswer>;
}
