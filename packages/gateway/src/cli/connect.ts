import { resolve } from 'node:path';
import { TollgateError } from '../core/errors.ts';
import { addEntry, removeEntry } from './client-files.ts';
import { type ClientTarget, clientTargets, userFolders } from './clients.ts';
import { loadForCommand, stateFolder } from './configuration.ts';
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
  const url = new URL(loaded.mainPath, running?.url ?? loaded.url).href;
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
      lines.push(`No gateway runs there yet. Start it with: tollgate serve ${loaded.file}`);
    out([...lines, `Undo: tollgate disconnect ${target.id}`].join('\n'));
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
