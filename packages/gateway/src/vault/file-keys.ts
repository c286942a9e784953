import type { KeyObject } from 'node:crypto';
import { randomBytes } from 'node:crypto';
import { type BigIntStats, constants } from 'node:fs';
import { link, mkdir, open, rename, rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { TollgateError } from '../core/errors.ts';
import { randomId } from '../core/ids.ts';
import type { KeyProvider } from './key-provider.ts';
import { keyName, parseKeys, unwrapLocally, wrapLocally, wrong } from './local-keys.ts';

const HEAD =
  '# Master key of a Tollgate vault. Keep a copy apart from the database: one is useless without the other.\n';
/** Not blocking: the opening of a pipe would wait for its other end for ever. */
const READ = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
const MAX_FILE = 64 * 1024;

/**
 * Keys in a file of mode 0600, one a line, the first for new data keys. Made by the first secret that is kept. Protects
 * copies of the database, not against somebody who can read this user's files.
 */
export function fileKeys(file: string): KeyProvider {
  let known: { readonly keys: Map<string, KeyObject>; readonly stamp: string } | undefined;

  async function read(): Promise<Map<string, KeyObject>> {
    // A link is followed nowhere: in a folder that came with a repository it could lead anywhere.
    const handle = await open(file, READ).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined;
      throw wrong(`The master key ${file} cannot be read (${error.code ?? 'unknown'})`, error);
    });
    if (handle === undefined) return new Map();
    try {
      const stat = await handle.stat({ bigint: true });
      refuseOpen(file, stat);
      const stamp = `${stat.ino} ${stat.mtimeNs} ${stat.size}`;
      if (known?.stamp !== stamp) known = { keys: parseKeys(await handle.readFile('utf8'), `The file ${file}`), stamp };
      if (known.keys.size === 0) throw wrong(`The master key ${file} is empty`);
      return known.keys;
    } finally {
      await handle.close();
    }
  }

  async function keyOf(name: string): Promise<KeyObject> {
    const key = known?.keys.get(name) ?? (await read()).get(name);
    if (key === undefined) throw wrong(`The file ${file} does not hold the master key ${name} of this vault`);
    return key;
  }

  async function rewrite(lines: readonly string[]): Promise<void> {
    const temporary = `${file}.${randomId(8)}`;
    await writeSynced(temporary, HEAD + lines.map((line) => `${line}\n`).join(''));
    await rename(temporary, file);
    await syncFolder(file);
  }

  return {
    kind: 'file',
    remote: false,
    keys: async () => [...(await read()).keys()],
    create: async () => {
      const bytes = randomBytes(32);
      await mkdir(dirname(file), { recursive: true, mode: 0o700 });
      const whole = `${file}.${randomId(8)}`;
      try {
        await writeSynced(whole, `${HEAD}${bytes.toString('base64')}\n`);
        // A link appears with its whole content, and only once: of several processes, one makes the key.
        await link(whole, file);
        await syncFolder(file);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') {
          throw wrong(`The master key ${file} cannot be written (${(error as NodeJS.ErrnoException).code})`, error);
        }
      } finally {
        bytes.fill(0);
        await rm(whole, { force: true });
      }
      return [...(await read()).keys()][0]!;
    },
    rotate: async () => {
      const bytes = randomBytes(32);
      const old = [...(await read()).values()].map((key) => key.export().toString('base64'));
      await rewrite([bytes.toString('base64'), ...old]);
      const name = keyName(bytes);
      bytes.fill(0);
      await read();
      return name;
    },
    wrap: async (name, dataKey, context) => wrapLocally(await keyOf(name), dataKey, context),
    unwrap: async (name, wrapped, context) => unwrapLocally(await keyOf(name), wrapped, context),
    destroy: async (name) => {
      const keys = await read();
      if (!keys.has(name)) return;
      if (keys.size === 1) throw new TollgateError('usage', `${name} is the only master key in ${file}; it is kept`);
      await rewrite([...keys].filter(([other]) => other !== name).map(([, key]) => key.export().toString('base64')));
      await read();
    },
    close: async () => {
      known = undefined;
    },
  };
}

function refuseOpen(file: string, stat: BigIntStats): void {
  if (!stat.isFile()) throw wrong(`The master key ${file} is no regular file`);
  if (stat.size > MAX_FILE) throw wrong(`The master key ${file} is larger than 64 KiB`);
  if (process.platform === 'win32') return;
  if ((stat.mode & 0o077n) !== 0n) throw wrong(`Other users may read the master key ${file}: chmod 600 it`);
  const user = process.getuid?.();
  if (user !== undefined && user !== 0 && stat.uid !== BigInt(user)) {
    throw wrong(`The master key ${file} belongs to another user`);
  }
}

async function writeSynced(file: string, text: string): Promise<void> {
  await writeFile(file, text, { mode: 0o600, flag: 'wx', flush: true });
}

/** The name of a file is its folder's: after a power cut a key whose name was not written is gone, and all it sealed. */
async function syncFolder(file: string): Promise<void> {
  if (process.platform === 'win32') return;
  const folder = await open(dirname(file), constants.O_RDONLY);
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
