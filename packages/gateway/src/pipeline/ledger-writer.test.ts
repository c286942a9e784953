import { afterEach, describe, expect, it, vi } from 'vitest';
import type { OpenedHold } from '../admission/events.ts';
import { systemClock } from '../core/clock.ts';
import { TollgateError } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import type { Ledger } from '../store/storage.ts';
import { LedgerWriter } from './ledger-writer.ts';

/** A ledger that notes what it is told, in order, and fails as long as it is told to. */
function fakeLedger() {
  const writes: string[] = [];
  const state = { away: false, refuses: '' };
  const method = (kind: string) => async (items: readonly { id: string }[]) => {
    if (state.away) throw new TollgateError('storage_unavailable', 'away');
    if (items.some((item) => item.id === state.refuses)) throw new TollgateError('invalid_params', 'no');
    writes.push(`${kind} ${items.map((item) => item.id).join(',')}`);
    return [];
  };
  const ledger = Object.fromEntries(
    ['open', 'renew', 'expire', 'settle', 'release'].map((kind) => [kind, method(kind)]),
  ) as unknown as Ledger;
  return { ledger, writes, state };
}

const log = { error: vi.fn(), info: vi.fn() } as unknown as Log;
afterEach(() => vi.clearAllMocks());
const hold = (id: string) => ({ id }) as OpenedHold;
const settled = (id: string) => ({ id, at: 1, amounts: {}, source: 'fixed' as const });

describe('the ledger writer', () => {
  it('writes a turn in one batch, each hold in the order of its life', async () => {
    const { ledger, writes } = fakeLedger();
    const writer = new LedgerWriter(ledger, { clock: systemClock, log });
    writer.opened(hold('a'));
    writer.settled(settled('a'));
    writer.opened(hold('b'));
    writer.released({ id: 'b', at: 1 });
    expect(writer.waiting).toBe(4);
    expect(await writer.flush(1000)).toBe(true);
    expect(writes).toEqual(['open a,b', 'settle a', 'release b']);
  });

  it('loses nothing while the database is away, and says so once', async () => {
    const { ledger, writes, state } = fakeLedger();
    const writer = new LedgerWriter(ledger, { clock: systemClock, log });
    state.away = true;
    writer.opened(hold('a'));
    expect(await writer.flush(150)).toBe(false);
    expect(writer.failure).toMatchObject({ since: expect.any(Number), error: expect.any(String) });
    writer.settled(settled('a'));
    state.away = false;
    expect(await writer.flush(5000)).toBe(true);
    expect(writes).toEqual(['open a', 'settle a']);
    expect(log.error).toHaveBeenCalledTimes(1);
    expect(log.info).toHaveBeenCalledTimes(1);
    expect(writer.failure).toBeUndefined();
  });

  it('lets no write that will never be taken hold up the others', async () => {
    const { ledger, writes, state } = fakeLedger();
    const writer = new LedgerWriter(ledger, { clock: systemClock, log });
    state.refuses = 'bad';
    for (const id of ['a', 'bad', 'b']) writer.opened(hold(id));
    expect(await writer.flush(1000)).toBe(true);
    expect(writes).toEqual(['open a', 'open b']);
    expect(log.error).toHaveBeenCalledWith(expect.objectContaining({ write: expect.anything() }), expect.any(String));
  });

  it('lets a call wait until its hold is written, and refuses at once while the database is away', async () => {
    const { ledger, writes, state } = fakeLedger();
    const writer = new LedgerWriter(ledger, { clock: systemClock, log });
    expect(writer.whenWritten()).toBeUndefined();
    writer.opened(hold('a'));
    await writer.whenWritten();
    expect(writes).toEqual(['open a']);
    state.away = true;
    writer.opened(hold('b'));
    await expect(writer.whenWritten()).rejects.toMatchObject({ code: 'storage_unavailable' });
    // Such calls are refused and given back: neither write is needed, and a long outage fills no memory.
    for (let i = 0; i < 1000; i++) {
      writer.opened(hold(`c${i}`));
      await expect(writer.whenWritten()).rejects.toMatchObject({ code: 'storage_unavailable' });
      writer.released({ id: `c${i}`, at: 1 });
    }
    expect(writer.waiting).toBe(1);
    state.away = false;
    expect(await writer.flush(5000)).toBe(true);
    expect(writes).toEqual(['open a', 'open b']);
    writer.opened(hold('d'));
    await writer.whenWritten();
    expect(writes).toContain('open d');
  });

  it('grows no further by the calls that are refused because it is too far behind, many in one turn', async () => {
    const { ledger } = fakeLedger();
    const gate = Promise.withResolvers<void>();
    const slow = { ...ledger, open: () => gate.promise } as unknown as Ledger;
    const writer = new LedgerWriter(slow, { clock: systemClock, log });
    for (let i = 0; !writer.full; i++) writer.opened(hold(`a${i}`));
    const { waiting } = writer;
    for (let turn = 0; turn < 5; turn++) {
      const refused = Array.from({ length: 1000 }, (_, i) => `b${turn}-${i}`);
      for (const id of refused) writer.opened(hold(id));
      for (const id of refused) writer.released({ id, at: 1 });
    }
    expect(writer.waiting).toBe(waiting);
    gate.resolve();
    await writer.close(0);
  });

  it('hands a journal what it is told once, and what is not confirmed as often as asked', async () => {
    const { ledger, writes, state } = fakeLedger();
    state.away = true;
    const writer = new LedgerWriter(ledger, { clock: systemClock, log, journaled: true });
    writer.opened(hold('a'));
    writer.settled(settled('a'));
    expect(writer.takeFresh()).toMatchObject({ opened: [{ id: 'a' }], settled: [{ id: 'a' }] });
    expect(writer.takeFresh()).toBeUndefined();
    const left = writer.pending();
    expect(left).toMatchObject([{ opened: [{ id: 'a' }] }]);
    // The process ends here; the next one has it from the journal.
    await writer.close(0);
    state.away = false;
    const next = new LedgerWriter(ledger, { clock: systemClock, log, journaled: true });
    next.replay(left);
    next.opened(hold('b'));
    expect(next.pending().flatMap(({ opened }) => opened.map(({ id }) => id))).toEqual(['a', 'b']);
    expect(await next.flush(1000)).toBe(true);
    expect(writes).toEqual(['open a', 'settle a', 'open b']);
    expect(next.pending()).toEqual([]);
  });
});
