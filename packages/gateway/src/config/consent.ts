import { mkdir, open, readFile, rename, unlink } from 'node:fs/promises';
import { homedir } from 'node:os';
import path from 'node:path';
import { TollgateError } from '../core/errors.ts';
import { randomId } from '../core/ids.ts';
import type { LoadedConfig } from './assemble.ts';
import { carriesCode } from './check-trust.ts';
import type { Environment } from './expand.ts';
import { placeKey } from './tree.ts';

/** What an implicitly found configuration would do, for a person to approve. Holds no secret. */
export interface ConsentReview {
  readonly file: string;
  readonly sha256: string;
  readonly servers: readonly ConsentServer[];
  /** Names of the variables and files whose values the configuration takes. */
  readonly variables: readonly string[];
  readonly files: readonly string[];
  /** Names of the secrets of the vault that it uses. */
  readonly secrets: readonly string[];
  /** What it runs or asks for the master key of its vault, as a sentence; undefined: a file or a variable. */
  readonly keys: string | undefined;
  /** Another version of this file was approved before. */
  readonly changed: boolean;
}

interface ConsentServer {
  readonly name: string;
  /** The exact program and arguments, or undefined for an HTTP server. */
  readonly argv: readonly string[] | undefined;
  readonly cwd: string | undefined;
  /** As written, variables unexpanded. */
  readonly url: string | undefined;
  /** Names of the variables it is given; with the value, as written, where one decides which code runs. */
  readonly env: readonly string[];
  readonly headers: readonly string[];
}

export interface ConsentOptions {
  readonly env: Environment;
  readonly trust: boolean;
  readonly ask: ((review: ConsentReview) => Promise<boolean>) | undefined;
}

/** What there is to approve in a configuration. */
export function reviewConfig(loaded: LoadedConfig): Omit<ConsentReview, 'changed'> {
  const { config, source } = loaded;
  const written = (value: string, ...keys: (string | number)[]) => source.originals.get(placeKey(keys)) ?? value;
  const named = (kind: 'env' | 'file' | 'vault') =>
    [...new Set(source.expansions.filter((item) => item.kind === kind).map((item) => item.name))].sort();
  return {
    file: source.file ?? '',
    sha256: source.sha256 ?? '',
    variables: named('env'),
    files: named('file'),
    secrets: named('vault'),
    keys: keysOf(config.vault.keys),
    servers: Object.entries(config.servers).map(([name, server]) => ({
      name,
      argv:
        server.command === undefined
          ? undefined
          : [
              written(server.command, 'servers', name, 'command'),
              ...(server.args ?? []).map((arg, i) => written(arg, 'servers', name, 'args', i)),
            ],
      cwd: server.cwd,
      url: server.url === undefined ? undefined : written(server.url, 'servers', name, 'url'),
      // Those that decide which code runs are part of the command, so with what they hold.
      env: Object.entries(server.env ?? {}).map(([variable, value]) =>
        carriesCode(variable) ? `${variable}=${written(value, 'servers', name, 'env', variable)}` : variable,
      ),
      headers: Object.keys(server.headers ?? {}),
    })),
  };
}

/** A helper is a program like any server's, and the token of an engine goes where the file says. */
function keysOf(keys: LoadedConfig['config']['vault']['keys']): string | undefined {
  if (typeof keys === 'string') return undefined;
  const { command, socket, transit } = keys;
  if (command !== undefined) return `It runs  ${command.map(shellWord).join(' ')}  for the keys of its vault.`;
  if (socket !== undefined) return `It asks ${clean(socket)} for the keys of its vault.`;
  if (transit === undefined) return undefined;
  return `It sends the token in ${clean(transit.tokenFile)} to ${clean(transit.url)} for the keys of its vault.`;
}

/** The review as text: exact argv, URLs, names of variables. Control characters are shown as escapes. */
export function formatReview(review: ConsentReview): string {
  const lines = [
    review.changed
      ? `${clean(review.file)} has changed since it was approved. It would now:`
      : `${clean(review.file)} was found here. It would:`,
  ];
  for (const server of review.servers) {
    if (server.argv !== undefined)
      lines.push(`  ${server.name}: run  ${server.argv.map(shellWord).join(' ')}`, `    in ${clean(server.cwd ?? '')}`);
    else lines.push(`  ${server.name}: connect to  ${clean(server.url ?? '')}`);
    if (server.env.length > 0) lines.push(`    with the variables ${server.env.map(clean).join(', ')}`);
    if (server.headers.length > 0) lines.push(`    with the headers ${server.headers.map(clean).join(', ')}`);
  }
  if (review.variables.length > 0)
    lines.push(`It takes the values of ${review.variables.map(clean).join(', ')} from your environment.`);
  if (review.secrets.length > 0)
    lines.push(`It uses the secrets ${review.secrets.map(clean).join(', ')} of the vault.`);
  if (review.keys !== undefined) lines.push(review.keys);
  if (review.files.length > 0) lines.push(`It reads ${review.files.map(clean).join(', ')}.`);
  return lines.join('\n');
}

/** Text from a stranger's file must not steer the terminal on which it is judged. */
function clean(text: string): string {
  return text.replaceAll(
    /[\p{Cc}\p{Cf}\u2028\u2029]/gu,
    (char) => `\\u${char.codePointAt(0)!.toString(16).padStart(4, '0')}`,
  );
}

function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${clean(text).replaceAll("'", `'\\''`)}'`;
}

/**
 * Returns when the file is approved: remembered by path and SHA-256, by `trust`, or by the person asked.
 * Otherwise throws `consent_required`. Any change of the file asks again.
 */
export async function ensureConsent(found: Omit<ConsentReview, 'changed'>, options: ConsentOptions): Promise<void> {
  const store = trustFile(options.env);
  const approved = await readApprovals(store);
  const before = approved.get(found.file);
  if (before === found.sha256) return;
  const review: ConsentReview = { ...found, changed: before !== undefined };
  if (!options.trust) {
    if (options.ask === undefined) {
      throw new TollgateError(
        'consent_required',
        `${formatReview(review)}\nA configuration that was not named is run only after you approved it: in a terminal tollgate asks, serve and reload take --trust. Or name the file: tollgate serve ${clean(path.basename(found.file))}.`,
      );
    }
    if (!(await options.ask(review))) {
      throw new TollgateError('consent_required', `${clean(found.file)} was not approved. Nothing was started.`);
    }
  }
  approved.set(found.file, found.sha256);
  await writeApprovals(store, approved);
}

/** In the user's own folder, never in the repository: a repository must not approve itself. */
export function trustFile(env: Environment): string {
  const base = env['XDG_CONFIG_HOME'];
  const folder = base !== undefined && path.isAbsolute(base) ? base : path.join(env['HOME'] || homedir(), '.config');
  return path.join(folder, 'tollgate', 'trust.json');
}

const MAX_APPROVALS = 1000;

async function readApprovals(file: string): Promise<Map<string, string>> {
  try {
    const value: unknown = JSON.parse(await readFile(file, 'utf8'));
    const approved = (value as { approved?: unknown } | null)?.approved;
    if (typeof approved !== 'object' || approved === null) return new Map();
    return new Map(Object.entries(approved).filter((entry): entry is [string, string] => typeof entry[1] === 'string'));
  } catch {
    // No file, or one that cannot be read: nothing is approved, and the next approval writes it anew.
    return new Map();
  }
}

async function writeApprovals(file: string, approved: Map<string, string>): Promise<void> {
  const kept = [...approved].slice(-MAX_APPROVALS);
  const text = `${JSON.stringify({ version: 1, approved: Object.fromEntries(kept) }, undefined, 2)}\n`;
  await mkdir(path.dirname(file), { recursive: true, mode: 0o700 });
  const temporary = `${file}.${randomId(8)}`;
  const handle = await open(temporary, 'wx', 0o600);
  try {
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
  try {
    await rename(temporary, file);
  } catch (error) {
    await unlink(temporary).catch(() => undefined);
    throw error;
  }
}
