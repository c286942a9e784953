import { resolve } from 'node:path';
import { TollgateError } from '../core/errors.ts';
import { addEntry, removeEntry } from './client-files.ts';
import { type ClientTarget, clientTargets, userFolders } from './clients.ts';
import { type CommandConfig, loadForCommand, stateFolder } from './configuration.ts';
import { commandLine } from './next-command.ts';
import { json, out } from './output.ts';
import { findRunning } from './running.ts';

interface Options {
  readonly json?: boolean;
}

/** `tollgate connect CLIENT`: adds one entry to the client's user configuration; `disconnect` takes it back. */
export async function connect([id, config]: readonly (string | undefined)[], options: Options): Promise<void> {
  const target = targetOf(id);
  // The entry names the file, which is consent for whatever starts it: that must not come without being asked.
  const loaded = await loadForCommand(config, { unapproved: target.starts !== true });
  const running = await findRunning(loaded.dataDir);
  // Audiences of tokens and names in certificates are those of `publicUrl`, not of the address listened on.
  const base = loaded.compiled.publicUrl ?? running?.url ?? loaded.url;
  const url = base.replace(/\/$/, '') + loaded.mainPath;
  const script = process.argv[1];
  if (script === undefined) throw new TollgateError('usage', 'connect must be run through the tollgate command');
  const entry = target.entry({
    url,
    stdio: [process.execPath, resolve(script), 'serve', loaded.file, '--stdio'],
  });
  await addEntry(target, entry, stateFolder());
  if (options.json === true) json({ client: target.id, file: target.file, entry });
  else {
    const what = target.starts === true ? `now starts the gateway of ${loaded.file} itself` : `now uses ${url}`;
    const lines = [`${target.title} ${what} (entry "tollgate" in ${target.file}).`, target.after];
    if (target.starts !== true && running === undefined)
      lines.push(`No gateway runs there yet. Start it with: ${commandLine('serve', loaded.file)}`);
    if (target.starts !== true) lines.push(...credentialWords(loaded));
    out([...lines, `Undo: ${commandLine('disconnect', target.id)}`].join('\n'));
  }
}

/** `tollgate disconnect CLIENT`: restores what the entry was before. */
export async function disconnect([id]: readonly (string | undefined)[], options: Options): Promise<void> {
  const target = targetOf(id);
  const removed = await removeEntry(target, stateFolder());
  if (options.json === true) json({ client: target.id, file: target.file, removed });
  else
    out(
      removed
        ? `Taken back from ${target.file}. A session that is open keeps it until it is restarted.`
        : `${target.title} was not connected by tollgate.`,
    );
}

/** What the entry still lacks where the endpoint lets nobody in without a credential. */
function credentialWords({ compiled, mainPath }: CommandConfig): string[] {
  const { entries, endpointEntries } = compiled.identity;
  const names = endpointEntries.get(mainPath);
  const accepted = entries.filter(({ name }) => names === undefined || names.includes(name));
  if (accepted.some(({ kind }) => kind === 'anonymous')) return [];
  const signsIn = accepted.some(({ kind }) => kind === 'oidc') ? ', unless the client signs you in by itself' : '';
  return [`Callers need a credential there: add the header "Authorization: Bearer <key>" to the entry${signsIn}.`];
}

function targetOf(id: string | undefined): ClientTarget {
  const targets = clientTargets(userFolders());
  const target = targets.find((candidate) => candidate.id === id);
  if (target === undefined) {
    throw new TollgateError(
      'usage',
      `Unknown client ${JSON.stringify(id)}. Known: ${targets.map((t) => t.id).join(', ')}.`,
    );
  }
  return target;
}
