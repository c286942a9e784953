/** Why an operation was not done. A closed list, documented in `docs/operations-api.md`. */
export type ProblemReason =
  | 'invalid_input'
  | 'input_too_large'
  | 'unknown_operation'
  | 'invalid_tier'
  | 'unknown_client'
  | 'ambiguous_client'
  | 'user_mismatch'
  | 'access_denied'
  | 'unknown_hold'
  | 'unavailable'
  | 'internal';

/** HTTP status of each reason, for `/v1`. */
export const PROBLEM_STATUS: Readonly<Record<ProblemReason, number>> = {
  invalid_input: 400,
  input_too_large: 413,
  unknown_operation: 400,
  invalid_tier: 400,
  unknown_client: 404,
  ambiguous_client: 409,
  user_mismatch: 403,
  access_denied: 403,
  unknown_hold: 404,
  unavailable: 503,
  internal: 500,
};

/** Bad input, or a right that is missing: answered as `status: error`, never thrown to the caller. */
export class OperationProblem extends Error {
  readonly reason: ProblemReason;
  /** Further members of the answer, for example `valid_tiers`. */
  readonly extra: Readonly<Record<string, unknown>>;

  constructor(reason: ProblemReason, message: string, extra: Readonly<Record<string, unknown>> = {}) {
    super(message);
    this.reason = reason;
    this.extra = extra;
  }
}
