import { join } from 'node:path';
import { TollgateError } from '../core/errors.ts';
import type { FileSystem } from './file-system.ts';
import type { StateFile } from './journal-files.ts';
import { type FileContent, readFrames } from './journal-format.ts';

/** What was found. Whatever it is, the gateway can go on with what was recovered. */
export interface RecoveryReport {
  /**
   * `absent`: nothing was there. `torn`: the last write did not finish; nobody had been told that it had.
   * `corrupt`: what is delivered is the state as of some moment before the damage; money must be compared with the ledger.
   */
  readonly state: 'clean' | 'torn' | 'corrupt' | 'absent';
  /** Of corrupt state: where the first damaged file is now. Absent when it could not be moved. */
  readonly movedTo?: string;
  /** Records of the journal that are delivered, without the parts of the snapshot. */
  readonly records: number;
  /** Bytes of all files that were read. */
  readonly bytes: number;
}

export interface RecoveredFrames {
  readonly report: RecoveryReport;
  readonly snapshot: readonly Buffer[];
  readonly journal: readonly Buffer[];
}

/**
 * The newest snapshot and the journals since, up to the first damage: always a state that once was. Damaged files and
 * those after them are moved aside; the part of a damaged file that is delivered stays, for the next recovery.
 * @throws `storage_incompatible` for files that need another key or a newer Tollgate.
 */
export function recoverFrames(
  fs: FileSystem,
  folder: string,
  files: readonly StateFile[],
  key: Uint8Array | undefined,
  now: number,
): RecoveredFrames {
  let bytes = 0;
  let movedTo: string | undefined;
  let state: RecoveryReport['state'] = files.length === 0 ? 'absent' : 'clean';

  const read = (file: StateFile): { content: FileContent; raw: Buffer | undefined } => {
    const path = join(folder, file.name);
    try {
      const raw = fs.read(path);
      bytes += raw.length;
      return { content: readFrames(raw, file.kind, path, key), raw };
    } catch (error) {
      if (TollgateError.is(error)) throw error;
      return { content: { state: 'corrupt', frames: [], records: 0, intact: 0, ended: false }, raw: undefined };
    }
  };
  const moveAside = (file: StateFile): void => {
    const to = join(folder, `${file.name}.corrupt-${now}`);
    try {
      fs.rename(join(folder, file.name), to);
      movedTo ??= to;
    } catch {
      // The disk refuses even that: the report has no path, and what is written from now on has a higher number.
    }
  };

  let base: StateFile | undefined;
  let snapshot: readonly Buffer[] = [];
  const snapshots = files.filter((file) => file.kind === 'snapshot');
  const newest = snapshots.at(-1);
  if (newest !== undefined) {
    const { content } = read(newest);
    if (content.state === 'clean' && content.ended) {
      base = newest;
      snapshot = content.frames.slice(0, -1);
    } else {
      // Without what they build on, the records since mean nothing.
      state = 'corrupt';
      for (const file of files.filter((file) => file.number >= newest.number)) moveAside(file);
      return {
        report: { state, records: 0, bytes, ...(movedTo === undefined ? {} : { movedTo }) },
        snapshot: [],
        journal: [],
      };
    }
  }

  const journal: Buffer[] = [];
  let records = 0;
  const journals = files.filter((file) => file.kind === 'journal' && file.number >= (base?.number ?? 0));
  for (const [i, file] of journals.entries()) {
    const { content, raw } = read(file);
    journal.push(...content.frames);
    records += content.records;
    if (content.state === 'torn') state = 'torn';
    if (content.state === 'corrupt') {
      state = 'corrupt';
      for (const later of journals.slice(i)) moveAside(later);
      if (raw !== undefined && content.frames.length > 0) keepIntact(fs, folder, file, raw.subarray(0, content.intact));
      break;
    }
  }
  return { report: { state, records, bytes, ...(movedTo === undefined ? {} : { movedTo }) }, snapshot, journal };
}

function keepIntact(fs: FileSystem, folder: string, file: StateFile, intact: Buffer): void {
  const temporary = join(folder, `${file.name}.tmp`);
  try {
    fs.remove(temporary);
    writeWhole(fs, temporary, [intact]);
    fs.rename(temporary, join(folder, file.name));
    fs.syncFolder(folder);
  } catch {
    // It has been delivered; the owner's next snapshot makes this file needless.
  }
}

/** Writes a new file and syncs it; leaves none when that fails. */
export function writeWhole(fs: FileSystem, path: string, parts: Iterable<Uint8Array>): void {
  const fd = fs.create(path);
  try {
    for (const part of parts) writeAll(fs, fd, part);
    fs.sync(fd);
  } catch (error) {
    fs.close(fd);
    fs.remove(path);
    throw error;
  }
  fs.close(fd);
}

export function writeAll(fs: FileSystem, fd: number, bytes: Uint8Array): void {
  for (let from = 0; from < bytes.length; ) from += fs.write(fd, bytes, from);
}
