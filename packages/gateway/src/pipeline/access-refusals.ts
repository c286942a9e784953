/**
 * Records of what access refused. Whoever refuses says why beside the error, never in it: the error is the caller's, the
 * reason is the operator's.
 */
import { type AccessRefusal, reasonOf } from '../core/access-refusal.ts';
import type { Clock } from '../core/clock.ts';
import type { TollgateError } from '../core/errors.ts';
import { newDecisionId, randomId } from '../core/ids.ts';
import type { Principal } from '../core/principal.ts';
import type { Call } from '../protocol/call.ts';
import type { DecisionLog } from '../telemetry/decisions/log.ts';

const WHY = new WeakMap<TollgateError, AccessRefusal>();

/** Says why access refused. Gives the error back. */
export function refusedBy(error: TollgateError, refusal: AccessRefusal): TollgateError {
  WHY.set(error, refusal);
  return error;
}

interface AccessRefusalsParts {
  /** Undefined: no records are kept. */
  readonly decisions: DecisionLog | undefined;
  readonly clock: Clock;
  readonly tiers: () => { of(principal: Principal): string };
}

/** Where a refusal happened, as far as it is known. */
interface Place {
  readonly endpoint: string;
  /** Empty: refused before anything was read. */
  readonly method: string;
  readonly session: string | undefined;
}

export class AccessRefusals {
  readonly #parts: AccessRefusalsParts;

  constructor(parts: AccessRefusalsParts) {
    this.#parts = parts;
  }

  /** A call failed: where access refused it, it gets a record, under the id that its answer shows. */
  ofCall(call: Call, error: TollgateError): void {
    const refusal = WHY.get(error);
    if (refusal === undefined) return;
    call.decisionId ??= idOf(refusal);
    const { principal, endpoint, method, session, decisionId } = call;
    this.#tell(decisionId, refusal, principal, { endpoint, method, session: session?.id }, call);
  }

  /** A caller was kept out under an id that it is shown. */
  ofCaller(id: string, refusal: AccessRefusal, principal: Principal, endpoint: string): void {
    this.#tell(id, refusal, principal, { endpoint, method: '', session: undefined }, undefined);
  }

  #tell(id: string, refusal: AccessRefusal, principal: Principal, place: Place, call: Call | undefined): void {
    const { decisions, clock, tiers } = this.#parts;
    if (decisions === undefined) return;
    const facts = {
      id,
      at: clock.wall(),
      principal: principal.id,
      tenant: principal.tenant,
      tier: tiers().of(principal),
      session: place.session,
      endpoint: place.endpoint,
      server: refusal.server,
      method: place.method,
      object: refusal.object,
      rules: [],
      shadowed: [],
      waited: 0,
      holdId: undefined,
      degraded: undefined,
      refusal: {
        reason: reasonOf(refusal),
        violated: [],
        retryAfterSeconds: undefined,
        estimated: false,
        because: undefined,
      },
      access: refusal,
    };
    // Anonymous callers have as many addresses as they like: all of them are one.
    decisions.denied(facts, principal.entry === 'anonymous' ? 'anonymous' : principal.id, principal, call);
  }
}

/** Shown ids are counted up, so that a gap between two of them would tell a caller of a refusal it must not know of. */
function idOf(refusal: AccessRefusal): string {
  return reasonOf(refusal) === 'hidden' ? `tg-${randomId(12)}` : newDecisionId();
}
