import { join } from 'node:path';
import { TollgateError } from '../core/errors.ts';
import { nodeFileSystem } from './file-system.ts';
import { ensureFolder, refuseStrangeState } from './folder.ts';
import { JournalWriter, type SnapshotWriter } from './journal-writer.ts';
import type { ThreadService } from './messages.ts';
import type { StoreOptions } from './options.ts';

/** What the thread of the journal does. */
export function journalThread(options: StoreOptions): ThreadService {
  const folder = join(options.dataDir, 'state');
  const writer = new JournalWriter(nodeFileSystem, folder, {
    key: options.encryptionKey,
    compress: options.compress ?? false,
  });
  let snapshot: SnapshotWriter | undefined;
  return {
    open: () => ensureFolder(options.dataDir),

    /** Answers with the buffer itself, so that the main thread can fill it again. */
    append: (buffer: ArrayBuffer, used: number, records: number) => {
      writer.append(new Uint8Array(buffer, 0, used), records);
      return buffer;
    },

    sync: () => writer.sync(),

    recover: (now: number) => {
      refuseStrangeState(folder);
      const { report, snapshot, journal } = writer.recover(now);
      const [chunks, records] = [joined(snapshot.flatMap(prefixed)), joined(journal)];
      return { report, snapshot: chunks, journal: records, transfer: [chunks, records] };
    },

    snapshotBegin: () => {
      snapshot?.abandon();
      snapshot = writer.snapshot();
    },
    snapshotAdd: (chunk: Uint8Array) => begun(snapshot).add(chunk),
    snapshotFinish: () => {
      const done = begun(snapshot);
      snapshot = undefined;
      done.finish();
    },
    snapshotAbandon: () => {
      snapshot?.abandon();
      snapshot = undefined;
    },

    close: () => {
      snapshot?.abandon();
      return writer.close();
    },
  };
}

/** One buffer for all: handing over a hundred thousand small ones takes seconds. */
function joined(parts: readonly Uint8Array[]): ArrayBuffer {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole.buffer;
}

/** A chunk of a snapshot behind its length, as records of the journal are. */
function prefixed(chunk: Buffer): Uint8Array[] {
  const length = Buffer.alloc(4);
  length.writeUInt32LE(chunk.length);
  return [length, chunk];
}

/** A thread that was started anew in the middle of a snapshot knows nothing of its beginning. */
function begun(snapshot: SnapshotWriter | undefined): SnapshotWriter {
  if (snapshot !== undefined) return snapshot;
  throw new TollgateError('storage_unavailable', 'The snapshot was interrupted');
}
