import type { Cursor } from './cursor.ts';
import type { Aggregation, ToolView } from './model.ts';

const DEFAULT_PREFIX = '{workload}_';

/** A MCPToolConfig by name; undefined: the file has none. */
export type ToolConfigs = (name: string) => Cursor | undefined;

const EVERYTHING: ToolView = { filter: undefined, renamed: new Map() };

/** `aggregation`: how names of several servers meet, and which tools are seen. Without it: prefixed, all of them. */
export function readAggregation(cursor: Cursor, toolConfigs: ToolConfigs | undefined): Aggregation {
  cursor.strict({
    used: ['conflictResolution', 'conflictResolutionConfig', 'tools', 'excludeAllTools', 'defaultToolVisibility'],
  });
  const naming = cursor.at('conflictResolution').choice(['prefix', 'priority', 'manual'], 'prefix');
  const details = cursor.at('conflictResolutionConfig');
  details.strict({ used: ['prefixFormat', 'priorityOrder'] });
  const prefix = details.at('prefixFormat').text();
  if (naming === 'prefix' && prefix !== undefined && prefix !== DEFAULT_PREFIX) {
    details
      .at('prefixFormat')
      .refuse('Other prefixes are not in this version of Tollgate.', `Write "${DEFAULT_PREFIX}".`);
  }
  const order = details.at('priorityOrder').texts();
  if (naming === 'priority' && order.length === 0) {
    details.refuse('Who comes first?', 'Write priorityOrder: [first, second].');
  }
  const tools = new Map<string, ToolView>();
  for (const entry of cursor.at('tools').items()) {
    entry.strict({ used: ['workload', 'filter', 'overrides', 'excludeAll', 'toolConfigRef'] });
    const workload = entry.at('workload').text();
    if (workload === undefined) entry.refuse('Whose tools?', 'Write workload: <name of the server>.');
    else tools.set(workload, readTools(entry, toolConfigs));
  }
  return {
    naming,
    order: naming === 'priority' ? order : [],
    tools,
    denyUnlisted: cursor.at('defaultToolVisibility').choice(['allow', 'deny'], 'allow') === 'deny',
    excludeAll: cursor.at('excludeAllTools').flag(),
    from: cursor.path,
  };
}

function readTools(entry: Cursor, toolConfigs: ToolConfigs | undefined): ToolView {
  const reference = entry.at('toolConfigRef');
  let view: ToolView;
  if (reference.present) view = readToolConfig(reference, toolConfigs);
  else view = viewOf(entry.at('filter'), entry.at('overrides'));
  return entry.at('excludeAll').flag() ? { ...view, filter: [] } : view;
}

/** What a `toolConfigRef` names; it stands in place of `filter` and `overrides`. */
export function readToolConfig(reference: Cursor, toolConfigs: ToolConfigs | undefined): ToolView {
  reference.strict({ used: ['name'] });
  const name = reference.at('name').text();
  const found = name === undefined ? undefined : toolConfigs?.(name);
  if (found === undefined) {
    const fix = toolConfigs === undefined ? 'Write `filter` and `overrides`.' : 'Put its manifest into this file.';
    reference.refuse(`There is no MCPToolConfig "${(name ?? '').slice(0, 60)}" here.`, fix);
    return EVERYTHING;
  }
  found.strict({ used: ['toolsFilter', 'toolsOverride'] });
  return viewOf(found.at('toolsFilter'), found.at('toolsOverride'));
}

function viewOf(filter: Cursor, overrides: Cursor): ToolView {
  const renamed = new Map<string, { name: string; from: Cursor['path'] }>();
  for (const [tool, override] of overrides.entries()) {
    override.strict({ used: ['name'], later: ['description', 'annotations'] });
    const name = override.at('name').text();
    if (name !== undefined && name !== tool) renamed.set(tool, { name, from: override.at('name').path });
  }
  const seen = filter.texts();
  if (seen.length === 0) return { filter: undefined, renamed };
  // ToolHive compares the filter with the names after the overrides.
  const original = new Map([...renamed].map(([tool, { name }]) => [name, tool]));
  return { filter: seen.flatMap((name) => original.get(name) ?? (renamed.has(name) ? [] : name)), renamed };
}

/** The pattern that stands for exactly one tool of a server. */
export function exactly(server: string, tool: string): string {
  return `${server}/${tool.replaceAll(/[*?[\]\\]/g, '\\$&')}`;
}

/**
 * The canonical patterns of a tool by its advertised name. More than one where the servers' names leave open whose it
 * is (`a_b` of the server `a`, or `b` of … ): the tools then share the limit. Empty: no server can have such a tool.
 */
export function advertisedPatterns(name: string, servers: readonly string[], aggregation: Aggregation): string[] {
  return servers.flatMap((server) => {
    const own = aggregation.naming === 'prefix' ? unprefixed(name, server) : name;
    if (own === undefined) return [];
    const renamed = aggregation.tools.get(server)?.renamed ?? new Map<string, { name: string }>();
    const before = [...renamed].find(([, override]) => override.name === own)?.[0];
    // Its own name is not advertised any more.
    if (before === undefined && renamed.has(own)) return [];
    return [exactly(server, before ?? own)];
  });
}

function unprefixed(name: string, server: string): string | undefined {
  return name.startsWith(`${server}_`) && name.length > server.length + 1 ? name.slice(server.length + 1) : undefined;
}
