import { explainConfig, formatExplanation } from '../config/explain.ts';
import { explainCall, formatCall } from '../config/explain-call.ts';
import { TollgateError } from '../core/errors.ts';
import { loadForCommand } from './configuration.ts';
import { json, out } from './output.ts';

/** `tollgate explain`: every value in force and its origin; with `--tool`, what applies to that call. */
export async function explain(
  [config]: readonly (string | undefined)[],
  options: {
    readonly caller?: string;
    readonly tool?: string;
    readonly roles?: string;
    readonly scopes?: string;
    readonly tenant?: string;
    readonly json?: boolean;
  },
): Promise<void> {
  const { caller, tool, tenant } = options;
  const said = { roles: list(options.roles), scopes: list(options.scopes), tenant };
  const asked = caller ?? said.roles ?? said.scopes ?? tenant;
  if (asked !== undefined && tool === undefined) {
    throw new TollgateError(
      'usage',
      '--caller goes with --tool: what applies depends on both. Add --tool SERVER/TOOL.',
    );
  }
  const { loaded, compiled } = await loadForCommand(config, { unapproved: true });
  const call = tool === undefined ? undefined : explainCall(loaded, { tool, caller, said }, compiled);
  if (options.json === true) {
    json(call ?? { values: explainConfig(loaded, compiled) });
  } else {
    out(call === undefined ? formatExplanation(explainConfig(loaded, compiled)) : formatCall(call));
  }
}

function list(names: string | undefined): readonly string[] | undefined {
  return names?.split(',').map((name) => name.trim());
}
