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
    writer.settled(settled('a'));
    state.away = false;
    expect(await writer.flush(5000)).toBe(true);
    expect(writes).toEqual(['open a', 'settle a']);
    expect(log.error).toHaveBeenCalledTimes(1);
    expect(log.info).toHaveBeenCalledTimes(1);
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
});
