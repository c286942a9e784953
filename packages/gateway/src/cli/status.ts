import type { Stop } from '../admission/stops.ts';
import type { StatusReport } from '../pipeline/status-report.ts';
import { loadForCommand } from './configuration.ts';
import { json, out } from './output.ts';
import { renderStatus } from './report.ts';
import { control } from './running.ts';
import { stopLines } from './stop.ts';

/** `tollgate status`: what runs, what is wrong, and the fix. */
export async function status(
  [config]: readonly (string | undefined)[],
  options: { readonly json?: boolean },
): Promise<void> {
  const { dataDir } = await loadForCommand(config, { unapproved: true });
  const report = (await (await control(dataDir, '/status')).json()) as StatusReport;
  const { stops } = (await (await control(dataDir, '/stops')).json()) as { stops: readonly Stop[] };
  if (options.json === true) json({ ...report, stops });
  else out(stops.length === 0 ? renderStatus(report) : `${renderStatus(report)}\nStopped:\n${stopLines(stops)}`);
}
