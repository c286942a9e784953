import type { AppliedChanges } from '../config/diff.ts';
import { TollgateError } from '../core/errors.ts';
import { loadForCommand } from './configuration.ts';
import { json, out } from './output.ts';
import { control } from './running.ts';

/**
 * `tollgate reload`: the running gateway applies its file; on a mistake it says which and keeps the old one. A change of
 * a file that the gateway found must be approved first.
 */
export async function reload(
  [config]: readonly (string | undefined)[],
  options: { readonly trust?: boolean; readonly json?: boolean },
): Promise<void> {
  const { dataDir, file } = await loadForCommand(config, { unapproved: true });
  const apply = (): Promise<Response> => control(dataDir, '/reload', { method: 'POST' });
  const response = await apply().catch(async (error: unknown) => {
    if (!TollgateError.is(error) || error.code !== 'consent_required') throw error;
    // The gateway has nobody to ask; here there may be somebody. A path on this command line is consent.
    await loadForCommand(file, { found: true, trust: options.trust === true || config !== undefined });
    return apply();
  });
  const report = (await response.json()) as AppliedChanges;
  if (options.json === true) {
    json(report);
    return;
  }
  const { changes, warnings } = report;
  if (changes.length === 0) out('Nothing has changed.');
  else
    out(['Applied.', ...changes.map((line) => `  ${line}`), ...warnings.map((line) => `Warning: ${line}.`)].join('\n'));
}
