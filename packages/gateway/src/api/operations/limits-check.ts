/** Names of `check_mcp_limit` for what the limits answered: the words of R0-31 to R0-33, X0-01 and C-06. */
import type { LimitAnswer, LimitViolation } from '../../pipeline/operations-port.ts';
import { fromMicros } from './fields.ts';

const REASONS: Readonly<Record<LimitViolation['kind'], string>> = {
  rate: 'rate_limit_exceeded',
  concurrency: 'concurrency_exceeded',
  holds: 'too_many_holds',
  call: 'per_request_cost_exceeded',
  hour: 'hourly_cost_exceeded',
  day: 'daily_cost_exceeded',
  total: 'emergency_stop',
  stop: 'emergency_stop',
  amount: 'cost_exceeded',
  unpriced: 'unpriced',
  unavailable: 'limit_unavailable',
};

/** The order in which the original looks (R0-43): rate first, then the cost from the smallest span to the largest. */
const ORDER: readonly LimitViolation['kind'][] = [
  'stop',
  'unavailable',
  'rate',
  'concurrency',
  'holds',
  'call',
  'hour',
  'day',
  'total',
  'amount',
  'unpriced',
];

/** Why a check was denied, in one word of the closed list. */
export function denialOf(answer: LimitAnswer): {
  readonly reason: string;
  readonly violation: LimitViolation | undefined;
} {
  const violation = ORDER.map((kind) => answer.violated.find((one) => one.kind === kind)).find(
    (one) => one !== undefined,
  );
  return { reason: violation === undefined ? 'denied' : REASONS[violation.kind], violation };
}

const COUNTED: ReadonlySet<LimitViolation['kind']> = new Set(['rate', 'concurrency', 'holds']);

/** `limit` of X0-01: money in its unit, counts as they are. */
export function limitOf(violation: LimitViolation): number | undefined {
  if (violation.limit === undefined) return undefined;
  return COUNTED.has(violation.kind) ? violation.limit : fromMicros(violation.limit);
}
