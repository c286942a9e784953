import { MemoryLimiter } from '@tollgate/limiter';
import { describe, expect, it } from 'vitest';
import type { OpenedHold } from '../admission/events.ts';
import { readRecord, withNotes } from './ledger-journal.ts';

const writes = { opened: [{ id: 'ä' } as OpenedHold], renewed: [], expired: [], settled: [], released: [] };

describe('a record of the journal', () => {
  it('gives back the bytes of the limiter and what was noted beside them', () => {
    const limiter = new MemoryLimiter({ persist: true });
    limiter.rule({ algorithm: 'total', name: 'total', limit: 1 });
    const changes = limiter.changes()!;
    expect(readRecord(changes)).toEqual({ changes, notes: undefined });
    const both = readRecord(withNotes(changes, { writes }));
    expect(both.changes).toEqual(changes);
    expect(both.notes).toEqual({ writes });
    expect(readRecord(withNotes(undefined, { lost: true }))).toEqual({ changes: undefined, notes: { lost: true } });
  });

  it('is not read when it was cut', () => {
    const record = withNotes(new Uint8Array(100), { writes });
    for (let length = 8; length < record.length; length++) {
      expect(() => readRecord(record.subarray(0, length))).toThrow();
    }
  });
});
