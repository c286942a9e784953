/** Secrets of tests that can be told from everything else, so that what a whole run leaves behind can be searched for them. */
import { createReadStream } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';

const MARK = 'canary-7c1f20e9d4';
/** Written to Redis at the start of a run: what does not hold it to the end is no evidence of what was written. */
export const CONTROL = 'kept-2b9e61c07a';

/** A secret for a test: of one place, long enough for every rule about secrets. */
export function canary(place: string): string {
  return `${MARK}-${place}-0123456789abcdef`;
}

/** A text as it is, and as it would stand inside of hexadecimal or Base64 text, wherever it begins there. */
function spellings(text: string): readonly Buffer[] {
  const shifted = [0, 1, 2].map((before) => {
    const whole = Buffer.from('x'.repeat(before) + text).toString('base64');
    // Without the letters that other bytes, before and after, have a part in.
    return whole.slice(before === 0 ? 0 : 4, -4);
  });
  return [text, Buffer.from(text).toString('hex'), ...shifted].map((one) => Buffer.from(one));
}

const CANARIES = spellings(MARK);
const LONGEST = Math.max(...CANARIES.map(({ length }) => length));

/** Where a canary stands in these bytes, with what is around it; undefined: nowhere. */
export function canaryIn(bytes: string | Buffer): string | undefined {
  const all = Buffer.from(bytes as string);
  for (const one of CANARIES) {
    const at = all.indexOf(one);
    if (at >= 0) return all.toString('latin1', Math.max(0, at - 100), at + 60);
  }
  return undefined;
}

export interface Swept {
  readonly found: readonly string[];
  readonly control: boolean;
}

/** Searches all files below a folder, in pieces: logs of databases are long. Files that go meanwhile are left out. */
export async function sweep(folder: string): Promise<Swept> {
  const found: string[] = [];
  let control = false;
  const files = await readdir(folder, { recursive: true, withFileTypes: true });
  for (const file of files.filter((one) => one.isFile())) {
    const path = join(file.parentPath, file.name);
    let before: Buffer = Buffer.alloc(0);
    try {
      for await (const chunk of createReadStream(path, { highWaterMark: 1024 * 1024 })) {
        const piece = Buffer.concat([before, chunk as Buffer]);
        const here = canaryIn(piece);
        if (here !== undefined) found.push(`${file.name}: ${here}`);
        control ||= piece.includes(CONTROL);
        before = Buffer.from(piece.subarray(-LONGEST));
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
  }
  return { found, control };
}
