import { createHash } from 'node:crypto';
import { homedir } from 'node:os';
import path from 'node:path';
import type { LimitOptions } from '../admission/options.ts';
import { checkConfig, type ParsedConfig } from './check.ts';
import { type Environment, type Expanded, type Expansion, expand, isOfServer } from './expand.ts';
import type { ConfigKind } from './find.ts';
import { explainIssues } from './issues.ts';
import { leavesOf } from './leaves.ts';
import { type Preset, presetOf, withPreset } from './preset.ts';
import { type Finding, invalidConfig, isWithin, type KeyPath, mistake, type Problem } from './problems.ts';
import { type AuthConfig, type Config, configSchema } from './schema.ts';
import type { ToolhiveView } from './toolhive/view.ts';
import { placeKey, type SourceTree } from './tree.ts';
import { deepFreeze, isRecord, valueAt } from './values.ts';

/** Where a configuration came from, and where each of its values did. */
export interface ConfigSource {
  readonly kind: ConfigKind | 'toolhive' | 'object';
  /** Absolute; undefined for an object. */
  readonly file: string | undefined;
  /** Folder at which relative paths start. */
  readonly baseDir: string;
  /** SHA-256 of the file's bytes, in hex; undefined for an object. */
  readonly sha256: string | undefined;
  readonly tree: SourceTree;
  readonly expansions: readonly Expansion[];
  /** Texts as written (with `${…}`), by place. */
  readonly originals: ReadonlyMap<string, string>;
  /** Top-level keys that an option of the command line replaced. */
  readonly overridden: readonly string[];
  /** What the file's `preset` stands for; undefined: it names none. */
  readonly preset: Preset | undefined;
}

export interface LoadedConfig {
  readonly config: Config;
  readonly source: ConfigSource;
  readonly warnings: readonly Problem[];
  /** Secrets of the vault that it needs outside `headers` and `env`, and the same configuration with their values. */
  readonly secrets: {
    readonly names: readonly string[];
    /** Throws `config_invalid` when a value does not fit its place. Names that are left out stay closed. */
    readonly resolve: (values: ReadonlyMap<string, string>) => LoadedConfig;
  };
}

export interface TreeContext {
  readonly kind: ConfigKind | 'toolhive' | 'object';
  readonly file: string | undefined;
  readonly baseDir: string;
  readonly sha256: string | undefined;
  readonly env: Environment;
  readonly name: string;
  readonly cwd: string;
  /** Takes the place of the written `listen`. */
  readonly listen?: string | undefined;
  readonly problems: readonly Finding[];
  /** Where limits of the tree come from, when that is not a file of our own format. */
  readonly origin?: LimitOptions['origin'] | undefined;
  /** What a file of ToolHive says beyond its translation. */
  readonly toolhive?: ToolhiveView | undefined;
  /** Values of the gateway's secrets; absent: not read yet. */
  readonly secrets?: ReadonlyMap<string, string> | undefined;
  /** Set when the importer has expanded already, by the rules of its own format. */
  readonly expanded?: Omit<Expanded, 'value'>;
}

/** A tree of plain values to a complete configuration. Throws `config_invalid` with every mistake. */
export function processTree(tree: SourceTree, context: TreeContext): LoadedConfig {
  const given: Expanded =
    context.expanded === undefined
      ? expand(tree.value, { env: context.env, baseDir: context.baseDir, secrets: context.secrets })
      : { ...context.expanded, value: tree.value };
  const value =
    context.listen === undefined
      ? given.value
      : { ...(isRecord(given.value) ? given.value : {}), listen: context.listen };
  const expanded: Expanded = { ...given, value };
  const source: ConfigSource = {
    kind: context.kind,
    file: context.file,
    baseDir: context.baseDir,
    sha256: context.sha256,
    tree,
    expansions: expanded.expansions,
    originals: expanded.originals,
    overridden: context.listen === undefined ? [] : ['listen'],
    preset: presetOf(value),
  };
  const findings: Finding[] = [...context.problems, ...expanded.problems];
  const broken = expanded.problems.map((problem) => problem.path);

  const removed: KeyPath[] = [];
  const parsed = parseSound(expanded, source.preset, tree, { broken, removed }, findings);
  if (parsed !== undefined) {
    const imported = context.problems
      .filter((problem) => problem.severity === 'error')
      .map((problem) => problem.path.slice(0, 1));
    const damaged = [...broken.map(entryOf), ...imported];
    const checkContext = {
      written: tree.value,
      damaged,
      originals: expanded.originals,
      variable: context.kind === 'mcp-json' ? '${NAME}' : '${env:NAME}',
      place: (path: KeyPath) => writtenPath(path, removed),
      translated: context.kind === 'toolhive',
    };
    const checks = checkConfig(parsed, checkContext);
    findings.push(...checks.filter((finding) => !broken.some((path) => isWithin(finding.path, path))));
  }

  if (parsed !== undefined && broken.length === 0) findings.push(...misplacedSecrets(expanded.expansions, parsed));
  const problems = findings.map(
    (finding): Problem =>
      // The file is not to blame for what stands on the command line.
      source.overridden.includes(String(finding.path[0]))
        ? { ...finding, path: [`--${finding.path[0]}`, ...finding.path.slice(1)], position: undefined }
        : { ...finding, position: tree.at(finding.path) },
  );
  if (parsed === undefined || problems.some((problem) => problem.severity === 'error')) {
    throw invalidConfig(context.name, problems, context.cwd);
  }
  const written = valueAt(tree.value, ['limits']);
  const own = context.origin ?? 'file';
  const origins = Object.fromEntries(
    Object.keys(parsed.limits).map((name) => [name, isRecord(written) && name in written ? own : 'preset'] as const),
  );
  const secrets = {
    names: [...new Set(expanded.expansions.flatMap((one) => (isLoaded(one) ? [one.name] : [])))],
    resolve: (values: ReadonlyMap<string, string>) => processTree(tree, { ...context, secrets: values }),
  };
  return { config: complete(parsed, context, origins), source, warnings: problems, secrets };
}

/** A secret whose value is needed as soon as the configuration is applied. */
function isLoaded({ kind, path }: Expansion): boolean {
  return kind === 'vault' && !isOfServer(path);
}

/** What is not marked as secret in the schema is shown in logs and `explain`. */
function misplacedSecrets(expansions: readonly Expansion[], parsed: ParsedConfig): Finding[] {
  const written = expansions.filter(({ kind }) => kind === 'vault');
  if (written.length === 0) return [];
  const places = new Set(leavesOf(parsed).flatMap((leaf) => (leaf.secret ? [placeKey(leaf.path)] : [])));
  return written
    .filter(({ path }) => !places.has(placeKey(path)))
    .map(({ path, name }) =>
      mistake(
        path,
        `\${vault:${name}} can stand only where a secret can, and this value is shown.`,
        'Write the value.',
      ),
    );
}

/** Each round sets at least one entry aside; real files need two or three. */
const MAX_ROUNDS = 64;

/**
 * What the schema accepts. Its complaints go to `findings` and their places to `broken`; the entries concerned are
 * set aside and the rest is tried again, because the cross-checks on sound parts show all mistakes in one run.
 * `removed` is what was set aside in the end: nothing, where only variables were missing.
 */
function parseSound(
  expanded: Expanded,
  preset: Preset | undefined,
  tree: SourceTree,
  { broken, removed }: { readonly broken: KeyPath[]; readonly removed: KeyPath[] },
  findings: Finding[],
): ParsedConfig | undefined {
  let value: unknown = withPreset(expanded.value === null ? {} : expanded.value, preset);
  for (let round = 0; round < MAX_ROUNDS; round++) {
    const result = configSchema.safeParse(value);
    if (result.success) return result.data;
    const issues = explainIssues(result.error.issues, value).map((issue) => ({
      ...issue,
      path: writtenPath(issue.path, removed),
    }));
    for (const issue of issues) {
      if (!broken.some((path) => isWithin(issue.path, path)))
        findings.push(withoutExpandedValue(issue, expanded, tree));
    }
    broken.push(...issues.map((issue) => issue.path));
    if (issues.some((issue) => issue.path.length === 0)) return undefined;
    removed.splice(0, removed.length, ...broken);
    value = withPreset(withoutBroken(expanded.value, removed), preset);
  }
  return undefined;
}

/** A message that quotes a value must not quote what came out of a variable or a secret file. */
function withoutExpandedValue(finding: Finding, expanded: Expanded, tree: SourceTree): Finding {
  const written = expanded.originals.get(placeKey(finding.path));
  if (written === undefined) return finding;
  const value = valueAt(expanded.value, finding.path);
  if (typeof value !== 'string' || value === valueAt(tree.value, finding.path)) return finding;
  return {
    ...finding,
    what: `The value of ${written} does not fit here.`,
    fix: finding.what.includes(value) ? finding.fix.replaceAll(value, '…') : finding.fix,
  };
}

const MAPS = new Set(['servers', 'endpoints', 'tools', 'limits', 'tiers']);
const LISTS = new Set(['auth', 'routes', 'webhooks']);

/** The piece that is set aside when something in it is wrong: an entry of a map or list, else a whole top-level key. */
function entryOf(path: KeyPath): KeyPath {
  const section = String(path[0]);
  const cut = (MAPS.has(section) && typeof path[1] === 'string') || (LISTS.has(section) && typeof path[1] === 'number');
  return path.slice(0, cut ? 2 : 1);
}

/** The value without its broken pieces. Lists get shorter; `writtenPath` finds the way back. */
function withoutBroken(value: unknown, broken: readonly KeyPath[]): Record<string, unknown> {
  const copy: Record<string, unknown> = isRecord(value) ? { ...value } : {};
  const pieces = broken.map(entryOf);
  for (const [section, entry] of pieces) if (section !== undefined && entry === undefined) delete copy[section];
  for (const [section, content] of Object.entries(copy)) {
    const entries = new Set(pieces.filter((piece) => piece[0] === section).map((piece) => piece[1]));
    if (entries.size === 0) continue;
    if (Array.isArray(content)) copy[section] = content.filter((_, i) => !entries.has(i));
    else if (isRecord(content))
      copy[section] = Object.fromEntries(Object.entries(content).filter(([key]) => !entries.has(key)));
  }
  return copy;
}

/** The path of a finding about the shortened lists as it is in the file. */
function writtenPath(path: KeyPath, broken: readonly KeyPath[]): KeyPath {
  const [section, index, ...rest] = path;
  if (typeof index !== 'number' || !LISTS.has(String(section))) return path;
  const gone = new Set(
    broken
      .map(entryOf)
      .filter((piece) => piece[0] === section)
      .map((piece) => piece[1]),
  );
  let at = -1;
  for (let left = index; left >= 0; left--)
    do at++;
    while (gone.has(at));
  return [section!, at, ...rest];
}

function complete(parsed: ParsedConfig, context: TreeContext, origins: Config['origins']): Config {
  const { baseDir, env } = context;
  const servers: Record<string, Config['servers'][string]> = {};
  for (const [name, server] of Object.entries(parsed.servers)) {
    if (server.command === undefined) {
      const ca = server.tls?.ca;
      servers[name] = ca === undefined ? server : { ...server, tls: { ...server.tls!, ca: path.resolve(baseDir, ca) } };
      continue;
    }
    const command = /^\.{1,2}[\\/]/.test(server.command) ? path.resolve(baseDir, server.command) : server.command;
    servers[name] = { ...server, command, cwd: path.resolve(baseDir, expandHome(server.cwd ?? '.', env)) };
  }
  const dataDir =
    parsed.dataDir === undefined ? defaultDataDir(context) : path.resolve(baseDir, expandHome(parsed.dataDir, env));
  const { toolhive } = context;
  const vault = completeVault(parsed.vault, baseDir);
  const state = completeState(parsed.state, baseDir);
  const { tls: files } = parsed;
  const tls = files && { ...files, cert: path.resolve(baseDir, files.cert), key: path.resolve(baseDir, files.key) };
  const auth = parsed.auth?.map((entry) => completeAuth(entry, baseDir));
  return deepFreeze({ ...parsed, auth, state, tls, vault, servers, dataDir, origins, toolhive });
}

/** A file of keys starts at the folder of the configuration. */
function completeAuth(entry: AuthConfig, baseDir: string): AuthConfig {
  const jwks = entry.jwt?.jwks;
  if (typeof jwks !== 'string' || /^https?:\/\//i.test(jwks)) return entry;
  return { ...entry, jwt: { ...entry.jwt!, jwks: path.resolve(baseDir, jwks) } };
}

/** Files of certificates start at the folder of the configuration. */
function completeState(state: ParsedConfig['state'], baseDir: string): Config['state'] {
  if (typeof state === 'string' || typeof state.tls !== 'object') return state;
  const { serverName, ...files } = state.tls;
  const paths = Object.fromEntries(
    Object.entries(files).flatMap(([key, file]) => (file === undefined ? [] : [[key, path.resolve(baseDir, file)]])),
  );
  return { ...state, tls: { ...paths, ...(serverName === undefined ? {} : { serverName }) } };
}

function completeVault(vault: ParsedConfig['vault'], baseDir: string): Config['vault'] {
  const { keys } = vault;
  if (typeof keys === 'string') return vault;
  const at = (file: string): string => path.resolve(baseDir, file);
  const { file, socket, command, transit } = keys;
  const program = command?.[0];
  return {
    ...vault,
    keys: {
      ...keys,
      ...(file === undefined ? {} : { file: at(file) }),
      ...(socket === undefined ? {} : { socket: at(socket) }),
      ...(program !== undefined && /^\.{1,2}[\\/]/.test(program)
        ? { command: [at(program), ...command!.slice(1)] }
        : {}),
      ...(transit === undefined
        ? {}
        : {
            transit: {
              ...transit,
              tokenFile: at(transit.tokenFile),
              ...(transit.ca === undefined ? {} : { ca: at(transit.ca) }),
            },
          }),
    },
  };
}

function defaultDataDir(context: TreeContext): string {
  if (context.kind === 'yaml') return path.join(context.baseDir, '.tollgate');
  // Without a tollgate.yaml the project is somebody else's: state lives in the user's own folder.
  const identity = context.file ?? `object:${context.baseDir}`;
  return path.join(stateFolder(context.env), createHash('sha256').update(identity).digest('hex').slice(0, 16));
}

/** `$XDG_STATE_HOME/tollgate`, by default `~/.local/state/tollgate`. */
export function stateFolder(env: Environment): string {
  const base = env['XDG_STATE_HOME'];
  return base !== undefined && path.isAbsolute(base)
    ? path.join(base, 'tollgate')
    : path.join(env['HOME'] || homedir(), '.local', 'state', 'tollgate');
}

function expandHome(folder: string, env: Environment): string {
  return folder === '~' || folder.startsWith('~/') ? path.join(env['HOME'] || homedir(), folder.slice(1)) : folder;
}
