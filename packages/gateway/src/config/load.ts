import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { TollgateError } from '../core/errors.ts';
import { type LoadedConfig, processTree, type TreeContext } from './assemble.ts';
import { type ConsentReview, ensureConsent, reviewConfig } from './consent.ts';
import type { Environment } from './expand.ts';
import { type ConfigKind, findConfig, kindOfFile } from './find.ts';
import { blankComments, importMcpJson, isOwnFormat } from './mcp-json.ts';
import { invalidConfig, shortPath } from './problems.ts';
import type { Config } from './schema.ts';
import { isGeneratedFile } from './toolhive/generated.ts';
import { hasManifests } from './toolhive/manifests.ts';
import { importToolhive } from './toolhive/translate.ts';
import { MAX_CONFIG_BYTES, parseText, SourceTree } from './tree.ts';

export type { LoadedConfig } from './assemble.ts';

export interface LoadOptions {
  /** Default: the process's own. */
  readonly cwd?: string;
  readonly env?: Environment;
  /** `host:port` in place of the configured address (`--listen`); checked as if it stood in the file. */
  readonly listen?: string;
  /** Approves an implicitly found file without asking, and remembers it (`--trust`). */
  readonly trust?: boolean;
  /** Loads an implicitly found file without consent: only for commands that start nothing. Default false. */
  readonly unapproved?: boolean;
  /** The given file was found once, not named: it needs consent like one that is found now. */
  readonly found?: boolean;
  /** Asks the person at the terminal; absent: there is none. */
  readonly ask?: (review: ConsentReview) => Promise<boolean>;
}

/**
 * Loads a configuration: the given file (a path on the command line is consent), or the first one found in `cwd`.
 * Throws `config_not_found`, `config_invalid` (every mistake at once, with file, line, key and fix) or
 * `consent_required`.
 */
export async function loadConfig(file: string | undefined, options: LoadOptions = {}): Promise<LoadedConfig> {
  const cwd = options.cwd ?? process.cwd();
  const env = options.env ?? process.env;
  const found =
    file === undefined ? await findConfig(cwd) : { file: path.resolve(cwd, file), implicit: options.found === true };
  const bytes = await readConfigFile(found.file, cwd);
  const kind = kindOfFile(found.file);
  const result = processText(bytes, {
    file: found.file,
    kind,
    env,
    name: shortPath(found.file, cwd),
    cwd,
    listen: options.listen,
  });
  if (found.implicit && options.unapproved !== true) {
    await ensureConsent(reviewConfig(result), { env, trust: options.trust === true, ask: options.ask });
  }
  return result;
}

/**
 * Checks a configuration given as an object (the form of `tollgate.yaml`) and returns it complete and frozen.
 * Relative paths start at `baseDir` (default: the current folder). Throws `config_invalid` with every mistake.
 */
export function parseConfigObject(value: unknown, options: { baseDir?: string; env?: Environment } = {}): Config {
  return loadConfigObject(value, options).config;
}

/** Like `parseConfigObject`, with the warnings and the source that `explain` needs. */
export function loadConfigObject(value: unknown, options: { baseDir?: string; env?: Environment } = {}): LoadedConfig {
  const baseDir = path.resolve(options.baseDir ?? process.cwd());
  const tree = new SourceTree(undefined, plainCopy(value, []));
  return processTree(tree, {
    kind: 'object',
    file: undefined,
    baseDir,
    sha256: undefined,
    env: options.env ?? process.env,
    name: 'The configuration',
    cwd: baseDir,
    problems: [],
  });
}

async function readConfigFile(file: string, cwd: string): Promise<Buffer> {
  const name = shortPath(file, cwd);
  try {
    const info = await stat(file);
    if (info.isDirectory()) {
      throw new TollgateError(
        'config_not_found',
        `${name} is a folder. Name a file, for example ${path.join(name, 'tollgate.yaml')}.`,
      );
    }
    if (info.size > MAX_CONFIG_BYTES) {
      throw new TollgateError('config_invalid', `${name} is larger than 1 MiB; a configuration is not that large.`);
    }
    const bytes = await readFile(file);
    // A device or a file that grew since `stat` is held to the same bound.
    if (bytes.length > MAX_CONFIG_BYTES) throw new TollgateError('config_invalid', `${name} is larger than 1 MiB.`);
    return bytes;
  } catch (error) {
    if (TollgateError.is(error)) throw error;
    const code = (error as NodeJS.ErrnoException).code;
    const why =
      code === 'ENOENT'
        ? 'does not exist'
        : code === 'EACCES'
          ? 'may not be read by this user'
          : `cannot be read (${code})`;
    throw new TollgateError('config_not_found', `${name} ${why}.`, { cause: error });
  }
}

interface TextContext {
  readonly file: string;
  readonly kind: ConfigKind;
  readonly env: Environment;
  readonly name: string;
  readonly cwd: string;
  readonly listen?: string | undefined;
}

/** A file's bytes to a complete configuration; the part of loading that needs no file system but for `${file:}`. */
export function processText(bytes: Buffer, context: TextContext): LoadedConfig {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new TollgateError('config_invalid', `${context.name} is not UTF-8 text.`);
  }
  const baseDir = projectFolder(context.file);
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  const manifests = hasManifests(text);
  const parsed = parseText(context.kind === 'mcp-json' ? blankComments(text) : text, context.file, manifests);
  // After a slip of syntax the tree is guesswork: more sentences about it would mislead.
  if (parsed.problems.length > 0) throw invalidConfig(context.name, parsed.problems, context.cwd);
  const base = { ...context, baseDir, sha256 };
  const importer = manifests ? fromManifests : importerOf(context.kind, parsed.tree.value);
  if (importer === undefined) return processTree(parsed.tree, { ...base, kind: 'yaml', problems: [] });
  const imported = importer(parsed.tree, { env: context.env, baseDir });
  return processTree(imported.tree, { ...base, ...imported.context });
}

/** Turns a file of another product into a tree of ours, with what it says about it and positions in its own file. */
type Importer = (
  tree: SourceTree,
  options: { readonly env: Environment; readonly baseDir: string },
) => {
  readonly tree: SourceTree;
  readonly context: Pick<TreeContext, 'problems' | 'expanded' | 'origin' | 'toolhive'> &
    Partial<Pick<TreeContext, 'kind'>>;
};

/** Who reads this file; undefined: it is in our own format, whatever its name. */
function importerOf(kind: ConfigKind, value: unknown): Importer | undefined {
  if (isGeneratedFile(value)) return fromGenerated;
  if (kind === 'mcp-json' && !isOwnFormat(value)) return fromMcpJson;
  return undefined;
}

const fromMcpJson: Importer = (tree, options) => {
  const { tree: own, ...context } = importMcpJson(tree, options);
  return { tree: own, context };
};

const toolhiveImporter =
  (manifests: boolean): Importer =>
  (tree, { env }) => {
    const { tree: own, ...context } = importToolhive(tree, { env, manifests });
    return { tree: own, context: { ...context, kind: 'toolhive', origin: 'toolhive' } };
  };
const fromManifests = toolhiveImporter(true);
const fromGenerated = toolhiveImporter(false);

/** Files in `.vscode` and the like speak about the folder above. */
function projectFolder(file: string): string {
  const folder = path.dirname(file);
  return ['.vscode', '.cursor', '.claude'].includes(path.basename(folder)) ? path.dirname(folder) : folder;
}

const MAX_DEPTH = 64;

/** A copy without prototypes, functions or cycles, so that nothing changes under the checks. */
function plainCopy(value: unknown, trail: readonly object[]): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (trail.includes(value) || trail.length > MAX_DEPTH) {
    throw new TollgateError('config_invalid', 'The configuration refers to itself or is nested too deeply.');
  }
  const inner = [...trail, value];
  if (Array.isArray(value)) return value.map((item) => plainCopy(item, inner));
  const out: Record<string, unknown> = {};
  for (const [key, item] of Object.entries(value)) {
    if (key === '__proto__' || key === 'constructor' || key === 'prototype') {
      throw new TollgateError('config_invalid', `"${key}" cannot be used as a name.`);
    }
    // An absent option is often written as undefined in code.
    if (item !== undefined) out[key] = plainCopy(item, inner);
  }
  return out;
}
