/** `tollgate vault import FILE`: what stands in the file in plain text goes into the vault, a reference takes its place. */
import { readFile, rename, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { findPlainSecrets, type PlainSecret } from '../config/plain-secrets.ts';
import { TollgateError } from '../core/errors.ts';
import { randomId } from '../core/ids.ts';
import { loadForCommand } from './configuration.ts';
import { json, out } from './output.ts';
import { withVaultOf } from './vault-port.ts';

export async function importSecrets(
  [name]: readonly (string | undefined)[],
  options: { readonly config?: string; readonly dryRun?: boolean; readonly json?: boolean },
): Promise<void> {
  const file = path.resolve(name!);
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw new TollgateError('usage', `${file} cannot be read (${error.code ?? 'unknown'})`);
  });
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
    for (const secret of secrets) {
      await vault.set({
        name: secret.name,
        value: secret.value,
        server: secret.server,
        expires: undefined,
        overlap: undefined,
      });
    }
  });
  const backup = await replace(file, text, replaced);
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

/** Writes beside and renames, so that nobody reads half a file; refuses when it changed meanwhile. Answers with the copy. */
async function replace(file: string, before: string, after: string): Promise<string> {
  const { mode } = await stat(file);
  const backup = `${file}.before-vault-${randomId(6)}`;
  await writeFile(backup, before, { mode: 0o600, flag: 'wx', flush: true });
  const temporary = `${file}.tollgate-${randomId(12)}`;
  await writeFile(temporary, after, { mode: mode & 0o777, flag: 'wx', flush: true });
  if ((await readFile(file, 'utf8')) !== before) {
    throw new TollgateError('usage', `${file} changed meanwhile and is left as it is; its secrets are in the vault.`);
  }
  await rename(temporary, file);
  return backup;
}
