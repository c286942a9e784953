import type { StatusReport } from '../pipeline/status-report.ts';
import { loadForCommand } from './configuration.ts';
import { json, out } from './output.ts';
import { renderStatus } from './report.ts';
import { control } from './running.ts';

/** `tollgate status`: what runs, what is wrong, and the fix. */
export async function status(
  [config]: readonly (string | undefined)[],
  options: { readonly json?: boolean },
): Promise<void> {
  const { dataDir } = await loadForCommand(config, { unapproved: true });
  const report = (await (await control(dataDir, '/status')).json()) as StatusReport;
  if (options.json === true) json(report);
  else out(renderStatus(report));
}
