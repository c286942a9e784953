import { durationWords } from '../admission/words.ts';
import { TollgateError } from '../core/errors.ts';
import type { Grant } from '../core/operator-records.ts';
import type { BudgetView, Doubted } from '../pipeline/gateway-administration.ts';
import { loadForCommand } from './configuration.ts';
import { err, json, out } from './output.ts';
import { control } from './running.ts';

interface Options {
  readonly config?: string;
  readonly json?: boolean;
}

/** `tollgate budget show WHO`: what the limits of a caller stand at. */
export async function showBudget(
  [who]: readonly (string | undefined)[],
  options: Options & { readonly tool?: string },
): Promise<void> {
  const { dataDir } = await loadForCommand(options.config, { unapproved: true });
  const query = new URLSearchParams({ principal: who!, ...(options.tool === undefined ? {} : { tool: options.tool }) });
  const response = await control(dataDir, `/budgets?${query}`);
  const report = (await response.json()) as { tier: string; limits: readonly BudgetView[] } & Doubted;
  warn(report);
  if (options.json === true) {
    json(report);
    return;
  }
  out(`${who} is in tier ${report.tier}.`);
  out(report.limits.length === 0 ? 'No limit covers it.' : report.limits.map(line).join('\n'));
}

/** `tollgate budget grant WHO AMOUNT --limit L --until T --reason R`: more room for a while. */
export async function grantBudget(
  [who, amount]: readonly (string | undefined)[],
  options: Options & { readonly limit?: string; readonly until?: string; readonly reason?: string },
): Promise<void> {
  const { dataDir } = await loadForCommand(options.config, { unapproved: true });
  const { limit, until, reason } = options;
  if (limit === undefined || until === undefined || reason === undefined) {
    throw new TollgateError(
      'usage',
      'A grant needs --limit NAME, --until (2h, 2030-01-31T18:00:00Z) and --reason "…".',
    );
  }
  const principal = who === 'everyone' ? undefined : who;
  const response = await control(dataDir, '/grants', {
    method: 'POST',
    body: JSON.stringify({ limit, principal, amount, until, reason }),
  });
  const grant = (await response.json()) as Grant & Doubted;
  warn(grant);
  if (options.json === true) json(grant);
  else out(`Granted ${amount} under ${limit} to ${who} until ${new Date(grant.until).toISOString()} (${grant.id}).`);
}

/** `tollgate budget grants [LIMIT]`: what is granted now, a line each. */
export async function listGrants([limit]: readonly (string | undefined)[], options: Options): Promise<void> {
  const { dataDir } = await loadForCommand(options.config, { unapproved: true });
  const all = ((await (await control(dataDir, '/grants')).json()) as { grants: readonly Grant[] }).grants;
  const grants = all.filter(({ rule }) => limit === undefined || rule === limit);
  if (options.json === true) json({ grants });
  else if (grants.length > 0) out(grants.map(grantLine).join('\n'));
  else out(limit === undefined ? 'Nothing is granted.' : `Nothing is granted under ${limit}.`);
}

/** `tollgate budget revoke ID`: ends a grant before its time; what was used of it stays used. */
export async function revokeGrant([id]: readonly (string | undefined)[], options: Options): Promise<void> {
  const { dataDir } = await loadForCommand(options.config, { unapproved: true });
  await control(dataDir, `/grants/${encodeURIComponent(id!)}`, { method: 'DELETE' });
  if (options.json === true) json({ id, revoked: true });
  else out(`Revoked ${id}.`);
}

/** `tollgate budget reset WHO --limit L --reason R`: forgets what was used. `--lost`: of what nobody knows any more. */
export async function resetBudget(
  [who]: readonly (string | undefined)[],
  options: Options & { readonly limit?: string; readonly reason?: string; readonly lost?: boolean },
): Promise<void> {
  const { dataDir } = await loadForCommand(options.config, { unapproved: true });
  const { limit, reason } = options;
  if (options.lost === true) {
    if (who !== undefined || limit !== undefined || reason === undefined) {
      throw new TollgateError('usage', 'A reset with --lost is for all budgets: give only --reason "…".');
    }
    await control(dataDir, '/budgets/accept-loss', { method: 'POST', body: JSON.stringify({ reason }) });
    if (options.json === true) json({ accepted: true });
    else out('The loss of the ledger is accepted. Budgets go on from what is known.');
    return;
  }
  if (who === undefined || limit === undefined || reason === undefined) {
    throw new TollgateError('usage', 'A reset needs WHO, --limit NAME and --reason "…".');
  }
  const principal = who === 'everyone' ? undefined : who;
  await control(dataDir, '/budgets/reset', { method: 'POST', body: JSON.stringify({ limit, principal, reason }) });
  if (options.json === true) json({ limit, principal, reset: true });
  else out(`What ${who} used of ${limit} is forgotten.`);
}

function warn({ warning }: Doubted): void {
  if (warning !== undefined) err(`Warning: ${warning}`);
}

function grantLine({ id, rule, principal = 'everyone', amount, unit, until, by, reason }: Grant): string {
  const much = unit === 'requests' ? `${amount} calls` : `${decimal(amount)} ${unit}`;
  return `  ${id}: ${much} under ${rule} to ${principal} until ${new Date(until).toISOString()}, by ${by}: ${reason}`;
}

function line({ limit, unit, used, held, capacity, remaining, granted, resetAfter, shadow }: BudgetView): string {
  const money = unit !== 'requests' && unit !== 'concurrent-requests';
  const amount = (value: number): string => (money ? decimal(value) : String(value));
  const parts = [
    `${amount(used)} of ${amount(capacity)} ${unit} used, ${amount(remaining)} left`,
    held > 0 && `${amount(held)} held by calls that run`,
    granted > 0 && `${amount(granted)} granted`,
    resetAfter !== undefined && resetAfter > 0 && `full again in ${durationWords(Math.ceil(resetAfter))}`,
    shadow && 'shadow: refuses nothing',
  ];
  return `  ${limit}: ${parts.filter((part) => part !== false).join('; ')}`;
}

/** Millionths as exact decimal text. */
function decimal(micros: number): string {
  const sign = micros < 0 ? '-' : '';
  const digits = String(Math.abs(micros)).padStart(7, '0');
  const cut = digits.length - 6;
  return `${sign}${digits.slice(0, cut)}.${digits.slice(cut).replace(/0{1,4}$/, '')}`;
}
