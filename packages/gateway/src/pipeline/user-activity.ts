/** What is known of one user's calls: from the records of decisions and from the ledger. */
import { formatMicros } from '../config/amounts.ts';
import { readPrincipalId } from '../core/principal.ts';
import type { Ledger } from '../store/storage.ts';
import type { DecisionLog } from '../telemetry/decisions/log.ts';
import { tenantOfRecord } from '../telemetry/decisions/record.ts';

export interface UserActivity {
  readonly calls: {
    readonly admitted: number;
    readonly refused: number;
    /** True: there were more; records of admitted calls are kept for the last ones only. */
    readonly more: boolean;
  };
  /** What money was charged and is held, by tool and unit, as exact decimal text. */
  readonly cost: readonly {
    readonly tool: string;
    readonly unit: string;
    readonly calls: number;
    readonly charged: string;
    readonly held: string;
  }[];
  /** The latest first. */
  readonly recent: readonly {
    readonly id: string;
    readonly at: string;
    readonly verdict: 'admitted' | 'refused';
    readonly tool: string;
    readonly method: string;
    readonly reason: string;
  }[];
}

/** Records that are counted, of each verdict. */
const COUNTED = 1000;
const RECENT = 20;

export async function userActivity(
  decisions: Pick<DecisionLog, 'list'>,
  ledger: Pick<Ledger, 'usage'> | undefined,
  { principal, from, to }: { readonly principal: string; readonly from: number; readonly to: number },
): Promise<UserActivity> {
  const { tenant } = readPrincipalId(principal);
  // Records of before principals had their tenant in the id name the person alone: those of a tenant are not of who has none.
  const theirs = (of: unknown): boolean => of === tenant;
  const of = (verdict: 'admitted' | 'refused') =>
    decisions.list({ verdict, principal, from, to, limit: COUNTED, hidden: false });
  const [admittedOfId, refusedOfId, usageOfId] = await Promise.all([
    of('admitted'),
    of('refused'),
    ledger?.usage({ principal, from, to, groupBy: ['tool', 'tenant'] }) ?? [],
  ]);
  const admitted = admittedOfId.items.filter(({ json }) => theirs(tenantOfRecord(json)));
  const refused = refusedOfId.items.filter(({ json }) => theirs(tenantOfRecord(json)));
  const usage = usageOfId.filter(({ group }) => theirs(group.tenant));
  const latest = [...admitted, ...refused].toSorted((a, b) => b.at - a.at).slice(0, RECENT);
  return {
    calls: {
      admitted: admitted.length,
      refused: refused.length,
      more: admittedOfId.next !== undefined || refusedOfId.next !== undefined,
    },
    cost: usage.map(({ group, unit, calls, settled, open }) => ({
      tool: String(group.tool ?? ''),
      unit,
      calls,
      charged: formatMicros(settled),
      held: formatMicros(open),
    })),
    recent: latest.map(({ id, at, verdict, tool, method, reason }) => ({
      id,
      at: new Date(at).toISOString(),
      verdict,
      // Whether the name exists is not told to who lacks a scope for it.
      tool: reason === 'insufficient_scope' ? '' : tool,
      method,
      reason,
    })),
  };
}
