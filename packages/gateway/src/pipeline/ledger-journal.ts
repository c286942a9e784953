/**
 * Writes to the ledger beside the changes of the limiter, in one record of the journal: a process that is killed
 * leaves both or neither, so that the ledger catches up with what the counters say.
 *
 *   record   "TGLW", length of the limiter's bytes (u32, little-endian), those bytes, JSON
 */
import type { LedgerWrites } from './ledger-writer.ts';

const MAGIC = 0x574c4754;
const HEADER = 8;

export interface JournalNotes {
  /** Writes that the database has not confirmed. */
  readonly writes?: LedgerWrites | undefined;
  /** The counters began empty and have not been read back from the ledger. */
  readonly lost?: true | undefined;
}

/** One record of both. */
export function withNotes(changes: Uint8Array | undefined, notes: JournalNotes): Uint8Array {
  const json = new TextEncoder().encode(JSON.stringify(notes));
  const length = changes?.length ?? 0;
  const record = new Uint8Array(HEADER + length + json.length);
  const view = new DataView(record.buffer);
  view.setUint32(0, MAGIC, true);
  view.setUint32(4, length, true);
  if (changes !== undefined) record.set(changes, HEADER);
  record.set(json, HEADER + length);
  return record;
}

/** The limiter's bytes of a record, and what was noted beside them. Throws a RangeError for a record that is cut. */
export function readRecord(record: Uint8Array): {
  readonly changes: Uint8Array | undefined;
  readonly notes: JournalNotes | undefined;
} {
  const view = new DataView(record.buffer, record.byteOffset, record.byteLength);
  if (record.length < HEADER || view.getUint32(0, true) !== MAGIC) return { changes: record, notes: undefined };
  const length = view.getUint32(4, true);
  if (HEADER + length > record.length) throw new RangeError('a record of the journal is shorter than it says');
  const notes = JSON.parse(new TextDecoder().decode(record.subarray(HEADER + length))) as JournalNotes;
  return { changes: length === 0 ? undefined : record.subarray(HEADER, HEADER + length), notes };
}
