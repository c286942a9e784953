import { explainConfig, formatExplanation } from '../config/explain.ts';
import { explainCall, formatCall } from '../config/explain-call.ts';
import { TollgateError } from '../core/errors.ts';
import { loadForCommand } from './configuration.ts';
import { json, out } from './output.ts';

/** `tollgate explain`: every value in force and its origin; with `--tool`, what applies to that call. */
export async function explain(
  [config]: readonly (string | undefined)[],
  options: { readonly caller?: string; readonly tool?: string; readonly json?: boolean },
): Promise<void> {
  if (options.caller !== undefined && options.tool === undefined) {
    throw new TollgateError(
      'usage',
      '--caller goes with --tool: what applies depends on both. Add --tool SERVER/TOOL.',
    );
  }
  const { loaded, compiled } = await loadForCommand(config, { unapproved: true });
  const call =
    options.tool === undefined
      ? undefined
      : explainCall(loaded, { tool: options.tool, caller: options.caller }, compiled);
  if (options.json === true) {
    json(call ?? { values: explainConfig(loaded, compiled) });
  } else {
    out(call === undefined ? formatExplanation(explainConfig(loaded, compiled)) : formatCall(call));
  }
}
