import { join } from 'node:path';
import type { FileSystem } from './file-system.ts';
import { fileName, type StateFile, stateFiles } from './journal-files.ts';
import { FrameWriter, type Sealing } from './journal-format.ts';
import { type RecoveredFrames, recoverFrames, writeAll } from './journal-recovery.ts';

/** A journal file that grew to this size is followed by the next one. */
const LARGEST_FILE = 64 * 1024 * 1024;

interface OpenFile {
  readonly fd: number;
  readonly frames: FrameWriter;
  size: number;
}

/**
 * The journal and its snapshots in one folder. A file is never continued: not after a restart, since a torn end would
 * become damage in the middle, and not after a failed write or sync, since nobody knows what of it is on the disk.
 */
export class JournalWriter {
  readonly #fs: FileSystem;
  readonly #folder: string;
  readonly #sealing: Sealing;
  /** What an earlier process left. */
  readonly #found: readonly StateFile[];
  /** Number of the open file, or else of the next one. */
  #number: number;
  #file: OpenFile | undefined;
  #syncing: Promise<void> | undefined;
  #nextSync: Promise<void> | undefined;
  /** Files that are done with, but in the hands of a running sync. */
  #closeLater: number[] = [];
  /** Why records that were written may not reach the disk; told to whoever asks for a sync next. */
  #unsynced: unknown;

  constructor(fs: FileSystem, folder: string, sealing: Sealing) {
    this.#fs = fs;
    this.#folder = folder;
    this.#sealing = sealing;
    this.#found = stateFiles(listing(fs, folder));
    this.#number = (this.#found.at(-1)?.number ?? 0) + 1;
  }

  recover(now: number): RecoveredFrames {
    return recoverFrames(this.#fs, this.#folder, this.#found, this.#sealing.key, now);
  }

  /** Writes `records` records, each behind its length, as one frame. Survives the process, not a power loss. */
  append(content: Uint8Array, records: number): void {
    this.#file ??= this.#create();
    const file = this.#file;
    const frame = file.frames.frame(content, records);
    try {
      writeAll(this.#fs, file.fd, frame);
    } catch (error) {
      this.#leave();
      throw error;
    }
    file.size += frame.length;
    if (file.size > LARGEST_FILE) this.#leave();
  }

  /** Resolves when everything appended before is on the disk. Calls that come while one sync runs share the next. */
  sync(): Promise<void> {
    if (this.#nextSync !== undefined) return this.#nextSync;
    const next = (async () => {
      await this.#syncing?.catch(() => {});
      await new Promise((resolve) => setImmediate(resolve));
      this.#nextSync = undefined;
      this.#syncing = this.#syncNow();
      await this.#syncing;
    })();
    this.#nextSync = next;
    return next;
  }

  async #syncNow(): Promise<void> {
    const file = this.#file;
    const unsynced = this.#unsynced;
    this.#unsynced = undefined;
    if (unsynced !== undefined) throw unsynced;
    if (file === undefined) return;
    try {
      await this.#fs.syncLater(file.fd);
    } catch (error) {
      // The kernel may have dropped the pages: a second sync that succeeds would prove nothing.
      if (this.#file === file) {
        this.#file = undefined;
        this.#number++;
        this.#closeLater.push(file.fd);
      }
      throw error;
    } finally {
      this.#syncing = undefined;
      for (const fd of this.#closeLater.splice(0)) this.#close(fd);
    }
  }

  /** Begins a snapshot of everything appended so far; what is appended from now on comes after it. */
  snapshot(): SnapshotWriter {
    this.#leave();
    this.#fs.mkdir(this.#folder);
    return new SnapshotWriter(this.#fs, this.#folder, this.#number, this.#sealing);
  }

  /** Syncs and closes. */
  async close(): Promise<void> {
    await this.#nextSync?.catch(() => {});
    await this.#syncing?.catch(() => {});
    this.#leave();
  }

  #create(): OpenFile {
    this.#fs.mkdir(this.#folder);
    const path = join(this.#folder, fileName('journal', this.#number));
    const frames = new FrameWriter('journal', this.#number, this.#sealing);
    const fd = this.#fs.create(path);
    try {
      writeAll(this.#fs, fd, frames.header);
      this.#fs.syncFolder(this.#folder);
    } catch (error) {
      this.#close(fd);
      this.#fs.remove(path);
      throw error;
    }
    return { fd, frames, size: frames.header.length };
  }

  /** Done with the open file: what was written to it is synced, and the next record begins a new one. */
  #leave(): void {
    const file = this.#file;
    if (file === undefined) return;
    this.#file = undefined;
    this.#number++;
    try {
      this.#fs.sync(file.fd);
    } catch (error) {
      this.#unsynced = error;
    }
    if (this.#syncing === undefined) this.#close(file.fd);
    else this.#closeLater.push(file.fd);
  }

  #close(fd: number): void {
    try {
      this.#fs.close(fd);
    } catch {
      // Its content was synced, or reported as not synced, before.
    }
  }
}

/** Writes one snapshot beside the old one and puts it in its place when it is whole. */
export class SnapshotWriter {
  readonly #fs: FileSystem;
  readonly #folder: string;
  readonly #number: number;
  readonly #frames: FrameWriter;
  readonly #temporary: string;
  #fd: number | undefined;

  constructor(fs: FileSystem, folder: string, number: number, sealing: Sealing) {
    this.#fs = fs;
    this.#folder = folder;
    this.#number = number;
    this.#frames = new FrameWriter('snapshot', number, sealing);
    this.#temporary = join(folder, `${fileName('snapshot', number)}.tmp`);
  }

  /** On failure nothing of it is left, and the earlier state still recovers. */
  add(chunk: Uint8Array): void {
    this.#orAbandon(() => writeAll(this.#fs, this.#begun(), this.#frames.frame(chunk, 1)));
  }

  #begun(): number {
    if (this.#fd === undefined) {
      this.#fs.remove(this.#temporary);
      this.#fd = this.#fs.create(this.#temporary);
      writeAll(this.#fs, this.#fd, this.#frames.header);
    }
    return this.#fd;
  }

  /** Syncs, takes the place of the earlier snapshot and removes it with the journals before it. */
  finish(): void {
    this.#orAbandon(() => {
      const fd = this.#begun();
      writeAll(this.#fs, fd, this.#frames.frame(new Uint8Array(0), 0, true));
      this.#fs.sync(fd);
      this.#fs.close(fd);
      this.#fd = undefined;
      this.#fs.rename(this.#temporary, join(this.#folder, fileName('snapshot', this.#number)));
      this.#fs.syncFolder(this.#folder);
    });
    for (const file of stateFiles(listing(this.#fs, this.#folder))) {
      if (file.number >= this.#number) continue;
      try {
        this.#fs.remove(join(this.#folder, file.name));
      } catch {
        // Recovery passes over files that a newer snapshot covers.
      }
    }
  }

  abandon(): void {
    try {
      if (this.#fd !== undefined) this.#fs.close(this.#fd);
      this.#fd = undefined;
      this.#fs.remove(this.#temporary);
    } catch {
      // The next snapshot of this number removes it.
    }
  }

  #orAbandon(action: () => void): void {
    try {
      action();
    } catch (error) {
      this.abandon();
      throw error;
    }
  }
}

function listing(fs: FileSystem, folder: string): string[] {
  try {
    return fs.list(folder);
  } catch {
    return [];
  }
}
