import { TollgateError } from '../core/errors.ts';
import type { Stop } from '../core/operator-records.ts';
import { loadForCommand } from './configuration.ts';
import { commandLine } from './next-command.ts';
import { err, json, out } from './output.ts';
import { control } from './running.ts';

interface ScopeOptions {
  readonly server?: string;
  readonly tool?: string;
  readonly tenant?: string;
  readonly json?: boolean;
}

/** `tollgate stop`: nothing of the scope runs any more until it is resumed or `--until` is over. */
export async function stop(
  [config]: readonly (string | undefined)[],
  options: ScopeOptions & { readonly reason?: string; readonly until?: string },
): Promise<void> {
  const { dataDir } = await loadForCommand(config, { unapproved: true });
  const scope = scopeOf(options);
  if (options.reason === undefined) throw new TollgateError('usage', 'Say why: --reason "…"; callers are told.');
  const body = JSON.stringify({ scope, reason: options.reason, until: options.until });
  const response = await control(dataDir, '/stops', { method: 'POST', body });
  const made = (await response.json()) as Stop & { readonly warning?: string };
  if (made.warning !== undefined) err(`Warning: ${made.warning}`);
  if (options.json === true) json(made);
  else out(`Stopped ${words(made.scope)}${endOf(made)}. Resume with: ${resumeCommand(config, options)}`);
}

/** `tollgate resume`: ends the stops of exactly this scope; `--all` ends every one, of limits that latched too. */
export async function resume(
  [config]: readonly (string | undefined)[],
  options: ScopeOptions & { readonly limit?: string; readonly all?: boolean },
): Promise<void> {
  const { dataDir } = await loadForCommand(config, { unapproved: true });
  const { stops } = (await (await control(dataDir, '/stops')).json()) as { stops: readonly Stop[] };
  const scope = options.limit === undefined ? scopeOf(options) : `rule:${options.limit}`;
  const chosen = options.all === true ? stops : stops.filter((candidate) => candidate.scope === scope);
  for (const { id } of chosen) await control(dataDir, `/stops/${encodeURIComponent(id)}`, { method: 'DELETE' });
  if (options.json === true) json({ resumed: chosen });
  else if (chosen.length > 0) out(chosen.map((one) => `Resumed ${words(one.scope)} (${one.reason}).`).join('\n'));
  else out(stops.length === 0 ? 'Nothing is stopped.' : `Not stopped. In force:\n${stopLines(stops)}`);
}

/** What is stopped, a line each: scope, by whom, since when, why. */
export function stopLines(stops: readonly Stop[]): string {
  return stops.map(line).join('\n');
}

function scopeOf({ server, tool, tenant }: ScopeOptions): string {
  const scopes = Object.entries({ server, tool, tenant }).filter(([, value]) => value !== undefined);
  if (scopes.length > 1) throw new TollgateError('usage', 'Give one of --server, --tool and --tenant.');
  const [scope] = scopes;
  return scope === undefined ? 'everything' : `${scope[0]}:${scope[1]}`;
}

function resumeCommand(config: string | undefined, { server, tool, tenant }: ScopeOptions): string {
  const option = Object.entries({ server, tool, tenant }).find(([, value]) => value !== undefined);
  return commandLine('resume', config, ...(option === undefined ? [] : [`--${option[0]}`, option[1]]));
}

function words(scope: string): string {
  return scope === 'everything' ? scope : scope.replace(/^rule:/, 'limit:').replace(':', ' ');
}

function endOf({ until }: Stop): string {
  return until === undefined ? '' : ` until ${new Date(until).toISOString()}`;
}

function line(stop: Stop): string {
  return `  ${words(stop.scope)}, by ${stop.by} since ${new Date(stop.at).toISOString()}${endOf(stop)}: ${stop.reason}`;
}
