/** From decisions and counters of admission to what the operations' port answers. */
import type { Decision, LimitReason, ViolatedLimit } from '../admission/decision.ts';
import { tellsName, tellsNumbers } from '../admission/disclosure.ts';
import type { LimitView } from '../admission/external.ts';
import type { LimitOptions, Quota } from '../admission/options.ts';
import type { LimitViolation } from './operations-port.ts';

const KINDS: Readonly<Partial<Record<LimitReason, LimitViolation['kind']>>> = {
  stopped: 'stop',
  unpriced: 'unpriced',
  price_above_max: 'call',
  concurrency_limited: 'concurrency',
  limit_unavailable: 'unavailable',
  expression_failed: 'unavailable',
};

/** Every limit in the way, in the words of the port; where none has numbers, the reason itself. */
export function violations({ violated, reason, retryAfterSeconds }: Decision): readonly LimitViolation[] {
  if (violated.length > 0) return violated.map(violationOf);
  const kind = KINDS[reason] ?? 'unavailable';
  return [{ rule: reason, kind, retryAfterSeconds, limit: undefined, remaining: undefined }];
}

function violationOf(violated: ViolatedLimit): LimitViolation {
  const { limit, quota, reason, capacity, remaining, retryAfterSeconds } = violated;
  const kind = KINDS[reason] ?? kindOf(quota);
  const told = tellsNumbers(violated);
  return {
    rule: tellsName(violated) ? limit.name : reason,
    kind,
    retryAfterSeconds,
    limit: told ? (quota.kind === 'rate' || quota.kind === 'concurrency' ? quota.count : capacity) : undefined,
    remaining: told ? remaining : undefined,
  };
}

function kindOf(quota: Quota): LimitViolation['kind'] {
  switch (quota.kind) {
    case 'per-call':
      return 'call';
    case 'amount':
      return isPage(quota, 'hour') ? 'hour' : isPage(quota, 'day') ? 'day' : 'amount';
    default:
      return quota.kind;
  }
}

const LENGTHS = { hour: 3_600_000, day: 86_400_000 } as const;

/** A budget of an hour or a day, by the calendar or by its length. */
export function isPage(quota: Quota | undefined, page: 'hour' | 'day'): boolean {
  if (quota?.kind !== 'amount') return false;
  const { period } = quota;
  return period.kind === 'calendar' ? period.page === page : period.ms === LENGTHS[page];
}

/** What the fullest counter of these limits has. */
export function usedOf(views: readonly LimitView[], limits: readonly LimitOptions[]): number {
  const names = new Set(limits.map(({ name }) => name));
  return views.reduce((most, { limit, used }) => (names.has(limit) ? Math.max(most, used) : most), 0);
}

/** The ledger's sum of one unit, open holds included. */
export function spentOf(
  rows: readonly { readonly unit: string; readonly settled: number; readonly open: number }[],
  unit: string,
): number {
  return rows.reduce((sum, row) => (row.unit === unit ? sum + row.settled + row.open : sum), 0);
}
