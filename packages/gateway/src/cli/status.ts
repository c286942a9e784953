import type { Block, Stop } from '../core/operator-records.ts';
import type { StatusReport } from '../pipeline/status-report.ts';
import { blockLines } from './block.ts';
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
  const { blocks } = (await (await control(dataDir, '/blocks')).json()) as { blocks: readonly Block[] };
  if (options.json === true) {
    json({ ...report, stops, blocks });
    return;
  }
  const parts = [renderStatus(report)];
  if (stops.length > 0) parts.push(`Stopped:\n${stopLines(stops)}`);
  if (blocks.length > 0) parts.push(`Blocked:\n${blockLines(blocks)}`);
  out(parts.join('\n'));
}
