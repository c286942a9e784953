/**
 * Counts callers that were turned away before limits were asked. Only numbers under fixed reasons: a flood of refusals
 * costs one addition each, and nothing that a stranger sent is kept.
 */
import type { TollgateError } from '../core/errors.ts';

/**
 * `no_credential`: none was sent, as every sign-in of a client begins. `not_accepted`: no entry accepts it. `unchecked`:
 * it could not be judged. `blocked`: by an operator. `insufficient_scope`: 403. `access_rule`: rules give the name, but
 * not with these arguments. `hidden`: rules do not give the name, so that it does not exist for this caller.
 */
export type RefusedReason = keyof typeof NONE;
export type RefusedCounts = Readonly<Record<RefusedReason, number>>;

const NONE = {
  no_credential: 0,
  not_accepted: 0,
  unchecked: 0,
  blocked: 0,
  insufficient_scope: 0,
  access_rule: 0,
  hidden: 0,
};

export class RefusedCallers {
  readonly #counts: Record<RefusedReason, number> = { ...NONE };

  /** Counts a refusal by its code and gives it back. `sent`: with a credential. Other codes are not counted. */
  refused(error: TollgateError, sent: boolean): TollgateError {
    switch (error.code) {
      case 'unauthorized':
        this.#counts[sent ? 'not_accepted' : 'no_credential']++;
        break;
      case 'identity_unavailable':
        this.#counts.unchecked++;
        break;
      case 'blocked':
      case 'insufficient_scope':
        this.#counts[error.code]++;
        break;
      case 'access_denied':
        this.#counts.access_rule++;
        break;
    }
    return error;
  }

  /** A name that rules hide from this caller was asked for. */
  hidden(): void {
    this.#counts.hidden++;
  }

  get counts(): RefusedCounts {
    return { ...this.#counts };
  }
}
