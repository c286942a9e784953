import { compileCanonicalGlob, type Glob } from '../core/glob.ts';
import { specificity } from './globs.ts';
import type { Config } from './schema.ts';

/** Settings of one tool; undefined where nothing was written. */
interface ToolSettings {
  /** Milliseconds of the whole call, in place of the server's. */
  readonly timeout: number | undefined;
  /** Check arguments against the input schema. */
  readonly validate: boolean | undefined;
}

export interface ToolRules {
  /** False: no tool has settings, so nobody need ask. */
  readonly any: boolean;
  /** The settings of a canonical id: the most specific pattern wins each value. For the catalog, not per call. */
  of(canonicalId: string): ToolSettings;
}

const NONE: ToolSettings = Object.freeze({ timeout: undefined, validate: undefined });

/** `rules`: look-up of settings; `names`: the advertised names that the operator chose, by canonical id. */
export function compileToolRules(tools: Config['tools']): {
  readonly rules: ToolRules;
  readonly names: ReadonlyMap<string, string>;
} {
  const names = new Map<string, string>();
  const exact = new Map<string, ToolSettings>();
  const patterns: { readonly glob: Glob; readonly settings: ToolSettings }[] = [];
  for (const [written, tool] of Object.entries(tools)) {
    const glob = compileCanonicalGlob(written);
    if (tool.as !== undefined) names.set(glob.source, tool.as);
    if (tool.timeout === undefined && tool.validate === undefined) continue;
    const settings = { timeout: tool.timeout, validate: tool.validate };
    if (glob.exact !== undefined) exact.set(glob.exact, settings);
    else patterns.push({ glob, settings });
  }
  patterns.sort((a, b) => specificity(b.glob.source) - specificity(a.glob.source));
  const rules: ToolRules = {
    any: exact.size + patterns.length > 0,
    of(canonicalId) {
      const own = exact.get(canonicalId);
      if (own === undefined && patterns.length === 0) return NONE;
      const found = patterns.filter((item) => item.glob.matches(canonicalId)).map((item) => item.settings);
      const all = own === undefined ? found : [own, ...found];
      return {
        timeout: all.find((item) => item.timeout !== undefined)?.timeout,
        validate: all.find((item) => item.validate !== undefined)?.validate,
      };
    },
  };
  return { rules, names };
}
