/** `tollgate vault import FILE`: what stands in the file in plain text goes into the vault, a reference takes its place. */
import { readFile, realpath, rename, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { findPlainSecrets, type PlainSecret } from '../config/plain-secrets.ts';
import { MAX_CONFIG_BYTES } from '../config/tree.ts';
import { TollgateError } from '../core/errors.ts';
import { randomId } from '../core/ids.ts';
import { loadForCommand } from './configuration.ts';
import { json, out } from './output.ts';
import { withVaultOf } from './vault-port.ts';

export async function importSecrets(
  [name]: readonly (string | undefined)[],
  options: { readonly config?: string; readonly dryRun?: boolean; readonly json?: boolean },
): Promise<void> {
  const { file, text } = await readWhole(path.resolve(name!));
  const { secrets, replaced } = findPlainSecrets(text, file);
  const moved = secrets.map(({ server, key, name: kept }) => ({ server, key, name: kept }));
  if (secrets.length === 0 || options.dryRun === true) {
    if (options.json === true) json({ moved: [], found: moved });
    else if (secrets.length === 0) out('No secret stands in this file in plain text.');
    else out(`Would move:\n${secrets.map(line).join('\n')}`);
    return;
  }
  // The vault is that of the gateway which will serve the file.
  const command = await loadForCommand(options.config ?? file, { unapproved: true });
  // Before anything is moved: a folder that takes no file must not leave the secrets in two places.
  const change = await prepare(file, text, replaced);
  try {
    await withVaultOf(command, async (vault) => {
      const there = new Set(
        (await vault.list()).filter(({ id }) => id.owner.kind === 'gateway').map(({ id }) => id.name),
      );
      const taken = secrets.find((secret) => there.has(secret.name));
      if (taken !== undefined) {
        throw new TollgateError(
          'usage',
          `The vault has a secret ${taken.name} already. Remove it, or write \${vault:${taken.name}} yourself.`,
        );
      }
      for (const { name: kept, value, served } of secrets) {
        await vault.set({ name: kept, value, server: served, expires: undefined, overlap: undefined });
      }
    });
    if ((await readFile(file, 'utf8')) !== text) {
      throw new TollgateError('usage', `${file} changed meanwhile and is left as it is; its secrets are in the vault.`);
    }
    await rename(change.temporary, file);
  } catch (error) {
    await Promise.all([rm(change.temporary, { force: true }), rm(change.backup, { force: true })]);
    throw error;
  }
  const { backup } = change;
  if (options.json === true) json({ moved, backup });
  else {
    out(
      `Moved into the vault:\n${secrets.map(line).join('\n')}\nThe file as it was is ${backup} (0600): delete it once all works. Clients that read this file themselves cannot use the references.`,
    );
  }
}

function line({ server, key, name }: PlainSecret): string {
  return `  ${server}: ${key} → \${vault:${name}}`;
}

/** The file that is meant: behind a link the secrets would stay where they were. */
async function readWhole(named: string): Promise<{ readonly file: string; readonly text: string }> {
  try {
    const file = await realpath(named);
    const info = await stat(file);
    if (!info.isFile()) throw new TollgateError('usage', `${named} is no file`);
    if (info.size > MAX_CONFIG_BYTES) throw new TollgateError('usage', `${named} is larger than 1 MiB`);
    // What is not UTF-8 could not be written back as it was.
    return { file, text: new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(await readFile(file)) };
  } catch (error) {
    if (TollgateError.is(error)) throw error;
    const { code } = error as NodeJS.ErrnoException;
    const why = code === 'ERR_ENCODING_INVALID_ENCODED_DATA' ? 'is not UTF-8 text' : `cannot be read (${code})`;
    throw new TollgateError('usage', `${named} ${why}`);
  }
}

/** The file as it was and as it will be, beside it: nobody reads half a file. */
async function prepare(
  file: string,
  before: string,
  after: string,
): Promise<{ readonly backup: string; readonly temporary: string }> {
  const { mode } = await stat(file);
  const backup = `${file}.before-vault-${randomId(6)}`;
  const temporary = `${file}.tollgate-${randomId(12)}`;
  try {
    await writeFile(backup, before, { mode: 0o600, flag: 'wx', flush: true });
    await writeFile(temporary, after, { mode: mode & 0o777, flag: 'wx', flush: true });
    return { backup, temporary };
  } catch (error) {
    await rm(backup, { force: true });
    throw new TollgateError('usage', `Nothing was moved: ${path.dirname(file)} takes no file`, { cause: error });
  }
}
