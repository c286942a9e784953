import { describeLimits } from '../config/explain-limits.ts';
import { countedLimits, forgottenUse } from '../config/forgotten.ts';
import { formatProblems } from '../config/problems.ts';
import { silentLog } from '../core/log.ts';
import { Gateway } from '../pipeline/gateway.ts';
import { needsVault, openVault } from '../pipeline/sign-ins.ts';
import { type StatusReport, statusReport } from '../pipeline/status-report.ts';
import { type CommandConfig, loadForCommand } from './configuration.ts';
import { Exit, json, out } from './output.ts';
import { count, isSilent, renderEndpoints, renderServers } from './report.ts';
import { control, findRunning } from './running.ts';

/**
 * `tollgate validate`: every mistake at once (exit 2), else what the configuration says. With `--probe` every server
 * is started once, without listening anywhere; exit 1 when one cannot be used or has not answered in time.
 */
export async function validate(
  [config]: readonly (string | undefined)[],
  options: { readonly probe?: boolean; readonly json?: boolean },
): Promise<number> {
  const command = await loadForCommand(config, { unapproved: options.probe !== true });
  const { compiled, loaded } = command;
  const probed = options.probe === true ? await probe(command) : undefined;
  const usable = probed?.servers.every((server) => server.problem === undefined && !isSilent(server)) ?? true;
  const warnings = formatProblems(loaded.warnings);
  const forgotten = await forgottenNow(command);
  if (options.json === true) {
    json({
      valid: true,
      file: command.file,
      warnings: loaded.warnings.map(({ what, fix, path }) => ({ path: path.join('.'), what, fix })),
      forgotten,
      servers: compiled.servers.map((server) => server.name),
      endpoints: compiled.endpoints.filter((endpoint) => !endpoint.implicit).map((endpoint) => endpoint.path),
      limits: describeLimits(compiled),
      ...(probed === undefined ? {} : { probe: { servers: probed.servers, endpoints: probed.endpoints } }),
    });
    return usable ? Exit.ok : Exit.failure;
  }
  if (warnings !== '') out(warnings);
  for (const line of forgotten) out(`Warning, for the gateway that runs now: ${line}.`);
  out(
    `${command.file} is valid: ${count(compiled.servers.length, 'server')}, ${count(compiled.admission.limits.length, 'limit')}.`,
  );
  for (const limit of describeLimits(compiled)) out(`  ${limit}`);
  if (probed !== undefined)
    out(['', ...renderServers(probed.servers), '', ...renderEndpoints(probed.endpoints)].join('\n'));
  return usable ? Exit.ok : Exit.failure;
}

/** What the running gateway would forget by this file. Empty: nothing, or none runs that can be asked. */
async function forgottenNow({ dataDir, compiled }: CommandConfig): Promise<readonly string[]> {
  try {
    if ((await findRunning(dataDir)) === undefined) return [];
    const { counters = [] } = (await (await control(dataDir, '/status')).json()) as Partial<StatusReport>;
    return forgottenUse(counters, countedLimits(compiled.admission));
  } catch {
    // A file is as valid as it is, whatever runs.
    return [];
  }
}

async function probe(command: CommandConfig): Promise<StatusReport> {
  const { compiled } = command;
  const vault = compiled.servers.some(needsVault) ? await openVault(compiled) : undefined;
  const gateway = new Gateway(compiled, {
    log: silentLog,
    ...(vault && { secrets: vault.secrets, secretSource: vault.source }),
  });
  try {
    await gateway.settled();
    return statusReport(gateway, { configuration: command.file, reloadProblem: undefined });
  } finally {
    await gateway.close();
    await vault?.close();
  }
}
