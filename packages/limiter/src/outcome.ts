import { STATES } from './holds.ts';
import { BUCKET, type MemoryRule, SLIDING } from './rule.ts';
import type { Admitted, Crossing, HoldResult, Outcome } from './types.ts';

export const NONE: readonly never[] = Object.freeze([]);
/** An admission with nothing to tell. */
export const ADMITTED: Admitted = Object.freeze({
  allowed: true,
  wait: 0,
  repeated: false,
  shadowed: NONE,
  crossed: NONE,
  degraded: undefined,
});
export const UNKNOWN: HoldResult = Object.freeze({ state: 'unknown', changed: false, crossed: NONE });
export const CHANGED: readonly HoldResult[] = STATES.map((state) =>
  Object.freeze({ state, changed: true, crossed: NONE }),
);
export const CLOSED: readonly HoldResult[] = STATES.map((state) =>
  Object.freeze({ state, changed: false, crossed: NONE }),
);

/** Result for a hold without entries, by what `Holds.find` said. */
export function closed(found: number): HoldResult {
  return found === -1 ? UNKNOWN : CLOSED[-1 - found]!;
}

/** Microseconds to wait, where only rates are in the way and the wait is short enough; else -1. */
export function patient(refusal: Outcome, patience: number): number {
  if (refusal.allowed || patience === 0 || !(refusal.retryAfter! <= patience)) return -1;
  for (const { rule, verdict } of refusal.violated) {
    const { kind } = rule as MemoryRule;
    if (verdict !== 'exhausted' || (kind !== BUCKET && kind !== SLIDING)) return -1;
  }
  return refusal.retryAfter!;
}

/** The marks that a charge has reached, after those found already. */
export function cross(
  rule: MemoryRule,
  before: number,
  after: number,
  at: number,
  crossed: readonly Crossing[],
): readonly Crossing[] {
  let found = crossed;
  for (const mark of rule.marks) {
    if (before < mark && mark <= after) found = [...found, { rule, mark, used: after, at }];
  }
  return found;
}
