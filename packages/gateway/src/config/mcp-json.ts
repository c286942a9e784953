/**
 * The files of MCP clients: `.mcp.json` and `mcpServers` (Claude, Cursor, Windsurf, Gemini, Cline), and
 * `.vscode/mcp.json` (`servers` and `inputs`). Their keys are translated or warned about one by one, because
 * strictness is for `tollgate.yaml`: such a file belongs to other programs too.
 */
import type { Environment, Expanded } from './expand.ts';
import { translateEntry } from './mcp-json-entry.ts';
import { ForeignText } from './mcp-json-text.ts';
import { doubt, type Finding, type KeyPath, mistake } from './problems.ts';
import { serverNameProblem } from './schema/names.ts';
import { configSchema } from './schema.ts';
import { placeKey, type SourceTree } from './tree.ts';
import { isRecord } from './values.ts';

export interface Imported {
  /** In the form of `tollgate.yaml`, expanded; positions are those of the imported file. */
  readonly tree: SourceTree;
  readonly expanded: Omit<Expanded, 'value'>;
  readonly problems: readonly Finding[];
}

/** Keys beside the map of servers that say nothing about servers. */
const QUIET_KEYS = new Set(['$schema', 'inputs', 'version']);

/** Keys that only a `tollgate.yaml` has. */
const OWN_KEYS = new Set(Object.keys(configSchema.shape).filter((key) => !['servers', 'version'].includes(key)));

/** True for a JSON file that is a `tollgate.yaml` in another spelling (JSON is YAML): to import it would drop its rules. */
export function isOwnFormat(value: unknown): boolean {
  return isRecord(value) && !('mcpServers' in value) && Object.keys(value).some((key) => OWN_KEYS.has(key));
}

/** Turns the tree of a client's file into that of a `tollgate.yaml`. */
export function importMcpJson(
  tree: SourceTree,
  options: { readonly env: Environment; readonly baseDir: string },
): Imported {
  const problems: Finding[] = [];
  const moves = new Map<string, KeyPath>([['', []]]);
  const root = isRecord(tree.value) ? tree.value : {};
  const home = findServers(root);
  const servers: Record<string, unknown> = {};
  if (home === undefined) {
    problems.push(mistake([], 'There is no map of servers in this file.', 'It needs "mcpServers": { … }.'));
  }
  const text = new ForeignText({ ...options, inputs: root['inputs'] });
  for (const key of Object.keys(root)) {
    if (key === home?.path[0] || QUIET_KEYS.has(key)) continue;
    // Somebody believes that this rule is in force.
    if (OWN_KEYS.has(key))
      problems.push(mistake([key], `"${key}" has no effect in a file of MCP clients.`, 'Write a tollgate.yaml.'));
    else problems.push(doubt([key], `"${key}" is not used by Tollgate.`));
  }
  for (const [written, entry] of Object.entries(home?.entries ?? {})) {
    const name = freeName(written, servers);
    const path = ['servers', name];
    moves.set(placeKey(path), [...home!.path, written]);
    if (name !== written) {
      problems.push(
        doubt(
          path,
          `${JSON.stringify(written.slice(0, 80))} cannot be the name of a server here; it is called "${name}".`,
        ),
      );
    }
    if (!isRecord(entry)) {
      problems.push(
        mistake(path, 'A server must be a map.', 'For example { "command": "npx", "args": ["-y", "my-server"] }.'),
      );
      continue;
    }
    const translated = translateEntry(entry, path, text, problems);
    if (translated !== undefined) servers[name] = translated;
  }
  return {
    tree: tree.moved({ servers }, moves),
    expanded: { expansions: text.expansions, originals: text.originals, problems: text.problems },
    problems,
  };
}

function findServers(root: Record<string, unknown>): { path: KeyPath; entries: Record<string, unknown> } | undefined {
  if (isRecord(root['mcpServers'])) return { path: ['mcpServers'], entries: root['mcpServers'] };
  if (isRecord(root['servers'])) return { path: ['servers'], entries: root['servers'] };
  const settings = root['mcp'];
  if (isRecord(settings) && isRecord(settings['servers']))
    return { path: ['mcp', 'servers'], entries: settings['servers'] };
  return undefined;
}

/** Under which names the servers of a file of MCP clients are served, by the names in the file. */
export function servedNames(root: unknown): ReadonlyMap<string, string> {
  const home = isRecord(root) ? findServers(root) : undefined;
  const taken: Record<string, unknown> = {};
  const names = new Map<string, string>();
  for (const [written, entry] of Object.entries(home?.entries ?? {})) {
    if (!isRecord(entry)) continue;
    const name = freeName(written, taken);
    taken[name] = entry;
    names.set(written, name);
  }
  return names;
}

/** The nearest name that may stand in a path and in tool names. */
function freeName(written: string, taken: Record<string, unknown>): string {
  let name = written
    .replaceAll(/[^A-Za-z0-9_.-]+/g, '-')
    .replaceAll(/^[^A-Za-z0-9]+|-+$/g, '')
    .slice(0, 60);
  if (name === '' || serverNameProblem(name) !== undefined) name = name === '' ? 'server' : `server-${name}`;
  if (!Object.hasOwn(taken, name)) return name;
  for (let i = 2; ; i++) if (!Object.hasOwn(taken, `${name}-${i}`)) return `${name}-${i}`;
}

/** Comments and tabs of JSON files as blanks, so that every offset stays what it was. */
export function blankComments(text: string): string {
  let out = '';
  for (let i = 0; i < text.length; ) {
    const char = text[i]!;
    if (char === '"') {
      let end = i + 1;
      while (end < text.length && text[end] !== '"' && text[end] !== '\n') end += text[end] === '\\' ? 2 : 1;
      out += text.slice(i, end + 1);
      i = end + 1;
    } else if (char === '/' && (text[i + 1] === '/' || text[i + 1] === '*')) {
      const close = text[i + 1] === '/' ? text.indexOf('\n', i) : text.indexOf('*/', i + 2) + 2;
      const end = close < i + 2 ? text.length : close;
      out += text.slice(i, end).replaceAll(/[^\n]/g, ' ');
      i = end;
    } else {
      out += char === '\t' ? ' ' : char;
      i++;
    }
  }
  return out;
}
