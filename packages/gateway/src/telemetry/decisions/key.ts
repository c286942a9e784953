import { randomBytes } from 'node:crypto';
import { link, lstat, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { TollgateError } from '../../core/errors.ts';

const FILE = 'decisions.key';
const BYTES = 32;

/**
 * The key of this installation's digests: 256 random bits, made once, in a file of the data folder that only its owner
 * reads. It lies beside the database and not in it, so that a copy of the records alone tells nothing.
 * Throws `config_invalid` for a file that is a link, damaged, or open to other users.
 */
export async function decisionKey(dataDir: string): Promise<Buffer> {
  const file = join(dataDir, FILE);
  const known = await read(file);
  if (known !== undefined) return known;
  const key = randomBytes(BYTES);
  await mkdir(dataDir, { recursive: true, mode: 0o700 });
  const whole = `${file}.${randomBytes(6).toString('hex')}`;
  await writeFile(whole, `${key.toString('hex')}\n`, { mode: 0o600, flag: 'wx' });
  try {
    // A link appears with its whole content, and only once: of several processes that start together, one makes the key.
    await link(whole, file);
    return key;
  } catch (error) {
    const winner = (error as NodeJS.ErrnoException).code === 'EEXIST' ? await read(file) : undefined;
    if (winner === undefined) throw error;
    return winner;
  } finally {
    await rm(whole, { force: true });
  }
}

async function read(file: string): Promise<Buffer | undefined> {
  try {
    const found = await lstat(file);
    if (!found.isFile()) throw unsafe(file, 'it is no regular file');
    const uid = process.getuid?.() ?? found.uid;
    if (process.platform !== 'win32' && ((found.mode & 0o077) !== 0 || (uid !== 0 && found.uid !== uid))) {
      throw unsafe(file, 'others can read it');
    }
    const text = (await readFile(file, 'utf8')).trim();
    if (!/^[0-9a-f]{64}$/.test(text)) throw unsafe(file, 'it does not hold 64 hexadecimal digits');
    return Buffer.from(text, 'hex');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

function unsafe(file: string, why: string): TollgateError {
  return new TollgateError(
    'config_invalid',
    `The key of decision records in ${file} is not used: ${why}. Delete it; a new one is made, and older digests cannot be compared with newer ones.`,
  );
}
