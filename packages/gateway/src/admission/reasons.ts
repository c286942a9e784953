import { ERROR_SHAPES, type ErrorCode, type ErrorShape } from '../core/errors.ts';
import type { Decision, LimitReason } from './decision.ts';

/** Why admission refused. */
const LIMIT_REASONS: Readonly<Record<LimitReason, string>> = {
  rate_limited: 'A limit is used up. `retryAfterSeconds` says when this same call has room again.',
  concurrency_limited:
    'As many calls run at the same time as a limit allows. `retryAfterSeconds` is the latest moment: `estimated`.',
  cost_above_limit: 'This one call takes more than a limit holds when it is full. Waiting does not help.',
  per_request_cost_exceeded: 'This one call costs more than a limit on single calls allows. `limit` is that limit.',
  hourly_cost_exceeded: 'What this call costs does not fit into the budget of an hour any more.',
  daily_cost_exceeded: 'What this call costs does not fit into the budget of a day any more.',
  budget_exhausted: 'What this call costs does not fit into a budget of another period, or into a total.',
  price_above_max: 'This call would cost more than one call of its tool may cost (`price.max`).',
  unpriced: 'The tool has no price where a limit on money covers it, and `unpriced: refuse` is set.',
  expression_failed: 'The cost or price of the call could not be worked out from its arguments.',
  stopped: 'An operator, or a limit with `latch`, has stopped calls like this one.',
  limit_unavailable: 'The store of a limit cannot be reached, and the limit lets nothing through without it.',
};

/** Codes of the caller's own mistakes and of the protocol keep their JSON-RPC form: the specification owns it. */
function isRefusal(shape: ErrorShape): boolean {
  return shape.rpc > 0;
}

/** True when an error is told in the words of a refusal, with a record. */
export function hasRecord(code: ErrorCode): boolean {
  return code === 'internal' || isRefusal(ERROR_SHAPES[code]);
}

/** JSON-RPC code of a refusal by admission: 429 limit, 402 money, 503 what cannot be decided now. */
export function codeOf({ reason, money }: Pick<Decision, 'reason' | 'money'>): 402 | 429 | 503 {
  if (money) return 402;
  return reason === 'limit_unavailable' || reason === 'stopped' ? 503 : 429;
}

/**
 * The closed list of `reason` in a refusal's record, with what it means. `docs/refusals.md` is kept equal by a test.
 */
export const REASONS: ReadonlyMap<string, string> = new Map([
  ...Object.entries(LIMIT_REASONS),
  ...Object.entries(ERROR_SHAPES)
    .filter(([code]) => hasRecord(code as ErrorCode) && !(code in LIMIT_REASONS))
    .map(([code, shape]): [string, string] => [code, shape.about]),
]);

/** The table of `docs/refusals.md`. */
export function reasonTable(): string {
  const rows = [...REASONS].map(([reason, about]) => `| \`${reason}\` | ${about} |`);
  return ['| `reason` | Meaning |', '|---|---|', ...rows].join('\n');
}

/** The table of `docs/errors.md`. */
export function errorTable(): string {
  const rows = Object.entries(ERROR_SHAPES).map(
    ([code, { rpc, http, about }]) => `| \`${code}\` | ${rpc} | ${http} | ${about} |`,
  );
  return ['| Code | JSON-RPC | HTTP | Meaning |', '|---|---|---|---|', ...rows].join('\n');
}
