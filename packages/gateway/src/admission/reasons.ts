import { ERROR_SHAPES, type ErrorCode, type ErrorShape } from '../core/errors.ts';
import type { Decision } from './decision.ts';

/** Why a limit refused. */
const LIMIT_REASONS: Readonly<Record<Decision['reason'], string>> = {
  rate_limited: 'A limit is used up. `retryAfterSeconds` says when this same call has room again.',
  cost_above_limit: 'This one call takes more than a limit holds when it is full. Waiting does not help.',
};

/** Codes of the caller's own mistakes and of the protocol keep their JSON-RPC form: the specification owns it. */
function isRefusal(shape: ErrorShape): boolean {
  return shape.rpc > 0;
}

/** True when an error is told in the words of a refusal, with a record. */
export function hasRecord(code: ErrorCode): boolean {
  return code === 'internal' || isRefusal(ERROR_SHAPES[code]);
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
