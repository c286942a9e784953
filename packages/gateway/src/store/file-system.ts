import fs from 'node:fs';

/** The operations on files that journal and snapshots use, so that tests can make each of them fail. */
export interface FileSystem {
  mkdir(path: string): void;
  list(path: string): string[];
  read(path: string): Buffer;
  /** A new file, mode 0600; fails when it exists. */
  create(path: string): number;
  /** May write less than asked, as write(2). */
  write(fd: number, bytes: Uint8Array, from: number): number;
  sync(fd: number): void;
  /** fdatasync(2) off this thread. */
  syncLater(fd: number): Promise<void>;
  syncFolder(path: string): void;
  close(fd: number): void;
  rename(from: string, to: string): void;
  remove(path: string): void;
}

export const nodeFileSystem: FileSystem = {
  mkdir: (path) => void fs.mkdirSync(path, { recursive: true, mode: 0o700 }),
  list: (path) => fs.readdirSync(path),
  read: (path) => fs.readFileSync(path),
  create: (path) => fs.openSync(path, 'wx', 0o600),
  write: (fd, bytes, from) => fs.writeSync(fd, bytes, from),
  sync: (fd) => fs.fsyncSync(fd),
  syncLater: (fd) =>
    new Promise((resolve, reject) => fs.fdatasync(fd, (error) => (error === null ? resolve() : reject(error)))),
  syncFolder: (path) => {
    const fd = fs.openSync(path, 'r');
    try {
      fs.fsyncSync(fd);
    } finally {
      fs.closeSync(fd);
    }
  },
  close: (fd) => fs.closeSync(fd),
  rename: (from, to) => fs.renameSync(from, to),
  remove: (path) => fs.rmSync(path, { force: true }),
};
