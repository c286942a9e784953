import type { ConfigSource, LoadedConfig } from './assemble.ts';
import { type CompiledConfig, compile } from './compile.ts';
import { effectiveConfig } from './effective.ts';
import { formatLeaf, leavesOf } from './leaves.ts';
import { formatPath, formatPosition, isWithin, type KeyPath } from './problems.ts';
import { showLeaf } from './redact.ts';
import { valueAt } from './values.ts';

/** One value in force, and where it came from. */
export interface ExplainedValue {
  readonly key: string;
  /** Never a secret. */
  readonly value: string;
  /** `tollgate.yaml:3:5`, `default`, `preset mcp`, `command line` or `given`, then the variables and files it took. */
  readonly from: string;
}

/** Every value in force with its origin, defaults included, in the order of the reference page. */
export function explainConfig(
  loaded: LoadedConfig,
  compiled: CompiledConfig = compile(loaded.config),
): ExplainedValue[] {
  const { source } = loaded;
  const own = leavesOf(effectiveConfig(loaded.config, compiled)).map((leaf) => ({
    key: formatPath(leaf.path),
    value: formatLeaf({ value: showLeaf(leaf, source), unit: undefined }),
    from: originOf(leaf.path, source),
  }));
  return [...own, ...toolhiveValues(loaded)];
}

/** What a file of ToolHive means in the words of ToolHive: the form in which its operator generates it. */
function toolhiveValues({ config, source }: LoadedConfig): ExplainedValue[] {
  return (config.toolhive?.effective ?? []).flatMap(({ key, value, from }) => {
    const position = source.tree.at(from);
    const place = position === undefined ? 'given' : formatPosition(position, source.baseDir);
    return plainLeaves(value, `toolhive.${key}`).map(([name, leaf]) => ({
      key: name,
      value: formatLeaf({ value: leaf, unit: undefined }),
      from: place,
    }));
  });
}

function plainLeaves(value: unknown, key: string): [string, unknown][] {
  if (value === undefined) return [];
  if (typeof value !== 'object' || value === null) return [[key, value]];
  const named = (inner: string) => (Array.isArray(value) ? `${key}[${inner}]` : `${key}.${inner}`);
  return Object.entries(value).flatMap(([inner, item]) => plainLeaves(item, named(inner)));
}

/** Where the value of a key came from, in words. */
export function originOf(path: KeyPath, source: ConfigSource, cwd = source.baseDir): string {
  if (source.overridden.includes(String(path[0]))) return 'command line';
  if (valueAt(source.tree.value, path) === undefined) {
    return valueAt(source.preset, path) === undefined ? 'default' : 'preset mcp';
  }
  const position = source.tree.at(path);
  const place = position === undefined ? 'given' : formatPosition(position, cwd);
  const taken = source.expansions
    .filter((expansion) => isWithin(expansion.path, path))
    .map(({ kind, name, defaulted }) => {
      if (kind === 'file') return `file ${name}`;
      if (kind === 'vault') return `secret ${name} of the vault`;
      return defaulted ? `${name} is not set` : `variable ${name}`;
    });
  return [place, ...new Set(taken)].join(', ');
}

/** As aligned lines `key  value  from`. */
export function formatExplanation(values: readonly ExplainedValue[]): string {
  const width = (pick: (value: ExplainedValue) => string, most: number) =>
    Math.min(most, Math.max(0, ...values.map((value) => pick(value).length)));
  const key = width((value) => value.key, 48);
  const text = width((value) => value.value, 48);
  return values.map((value) => `${value.key.padEnd(key)}  ${value.value.padEnd(text)}  ${value.from}`).join('\n');
}
