import { note } from './counter-store.ts';
import type { Counters } from './counters.ts';
import type { Journal } from './journal.ts';
import { type Parts, Piece, putClosed, putHolds, putRules, putSketches, SECTIONS } from './piece.ts';
import { type Slots, TAG_CHAIN, TAG_LOG, TAG_MASK } from './slots.ts';

/** Slots looked at for one piece, however few of them live. */
const SCANNED = 16_384;

/** Goes over the tables a piece at a time; see `MemoryLimiter.snapshot`. */
export function* snapshot(parts: Parts, journal: Journal, chunkBytes: number): Generator<Uint8Array, void, undefined> {
  const { counters, holds } = parts;
  const { rates, wides, clock } = counters;
  const tables = [...rates.parts(), ...wides.parts()];
  // What moves while the tables are read is written as a change, lest it moves from ahead to behind.
  rates.mover = { moved: (table, at) => journal.rate(table.high(at), table.low(at), table.value(at)) };
  wides.mover = { moved: (_, at) => note(counters, at) };
  journal.reading++;
  try {
    const first = new Piece(parts);
    putRules(first, parts);
    putSketches(first, parts, false);
    let { length: defined } = parts.rules.all;
    yield first.finish();
    for (const slots of tables) {
      for (let at = 0; at < slots.size; ) {
        const piece = new Piece(parts);
        const live: number[] = [];
        const end = Math.min(slots.size, at + SCANNED);
        const room = Math.max(1, Math.floor(chunkBytes / (slots.width * 8)));
        for (; at < end && live.length < room; at++) if (slots.live(at, clock)) live.push(at);
        if (live.length === 0) continue;
        putSlots(piece, slots, live);
        if (slots.width === 4) putEntries(piece, slots, live, counters);
        yield piece.finish();
      }
    }
    for (const slots of holds.ids.parts()) {
      for (let at = 0; at < slots.size; ) {
        const piece = new Piece(parts);
        const closed: number[] = [];
        const open: number[] = [];
        const end = Math.min(slots.size, at + SCANNED);
        for (let bytes = 0; at < end && bytes < chunkBytes; at++) {
          if (!slots.live(at, clock)) continue;
          const hold = holds.heldBy(slots.value(at));
          if (hold < 0) closed.push(at);
          else open.push(hold);
          bytes += hold < 0 ? 16 : 300;
        }
        putClosed(piece, slots, closed);
        // A rule that was made since the first piece may have been charged by a hold of this one.
        if (open.length > 0 && parts.rules.all.length !== defined) {
          defined = parts.rules.all.length;
          putRules(piece, parts);
        }
        putHolds(piece, parts, open);
        if (!piece.empty) yield piece.finish();
      }
    }
  } finally {
    journal.reading--;
    if (journal.reading === 0) {
      rates.mover = undefined;
      wides.mover = undefined;
    }
  }
}

function putSlots(piece: Piece, slots: Slots, live: readonly number[]): void {
  piece.section(slots.width === 2 ? SECTIONS.rates : SECTIONS.wides, live.length * slots.width * 8);
  for (const at of live) {
    piece.uint(slots.high(at));
    piece.uint(slots.low(at));
    piece.double(slots.value(at));
    if (slots.width === 2) continue;
    piece.double(slots.column(at, 2));
    piece.double(thirdToKeep(slots.low(at), slots.column(at, 3)));
  }
}

/** Logs and chains are written on their own: what leads to them means nothing elsewhere. */
function thirdToKeep(low: number, third: number): number {
  const tag = low & TAG_MASK;
  return tag === TAG_LOG || tag === TAG_CHAIN ? 0 : third;
}

function putEntries(piece: Piece, slots: Slots, live: readonly number[], { logs, clock }: Counters): void {
  const records: number[] = [];
  for (const at of live) {
    if ((slots.low(at) & TAG_MASK) !== TAG_LOG) continue;
    records.push(slots.high(at), slots.low(at), -Infinity, 0);
    logs.open(slots.column(at, 3));
    for (let i = 0; i < logs.count; i++) {
      if (logs.leaves(i) > clock.now) records.push(slots.high(at), slots.low(at), logs.leaves(i), logs.amount(i));
    }
  }
  if (records.length === 0) return;
  piece.section(SECTIONS.entries, records.length * 6);
  for (let i = 0; i < records.length; i += 4) {
    piece.uint(records[i]!);
    piece.uint(records[i + 1]!);
    piece.double(records[i + 2]!);
    piece.double(records[i + 3]!);
  }
}
