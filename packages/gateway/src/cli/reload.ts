import { loadForCommand } from './configuration.ts';
import { json, out } from './output.ts';
import { control } from './running.ts';

/** `tollgate reload`: the running gateway applies its file; on a mistake it says which and keeps the old one. */
export async function reload(
  [config]: readonly (string | undefined)[],
  options: { readonly json?: boolean },
): Promise<void> {
  const { dataDir } = await loadForCommand(config, { unapproved: true });
  const report = (await (await control(dataDir, '/reload', { method: 'POST' })).json()) as { changes: string[] };
  if (options.json === true) json(report);
  else
    out(
      report.changes.length === 0
        ? 'Nothing has changed.'
        : `Applied.\n${report.changes.map((c) => `  ${c}`).join('\n')}`,
    );
}
