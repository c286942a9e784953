import type { Counters } from './counters.ts';
import { fingerprintHigh, fingerprintLow } from './reading.ts';
import type { MemoryRule } from './rule.ts';
import { TAG_CHAIN, TAG_LOG, TAG_MASK, TAG_WALL } from './slots.ts';
import type { Table } from './table.ts';

// Slots as a store knows them: by fingerprint, whatever rule they belong to.

/** Writes a wide slot as a change. */
export function note(counters: Counters, place: number): void {
  const { wides } = counters;
  const high = wides.high(place);
  const low = wides.low(place);
  const tag = low & TAG_MASK;
  if (tag === TAG_LOG) {
    counters.logs.open(wides.column(place, 3));
    counters.noteLog(high, low, place, true, 0);
    return;
  }
  const third = tag === TAG_CHAIN ? 0 : wides.column(place, 3);
  counters.journal?.wide(high, low, wides.value(place), wides.column(place, 2), third);
}

export function putRate(counters: Counters, high: number, low: number, value: number): void {
  const place = counters.rates.find(high, low);
  if (place !== -1) counters.rates.set(place, value);
  else if (value > 0) put(counters.rates, high, low, value);
}

/** A log keeps its own sum. */
export function putWide(
  counters: Counters,
  high: number,
  low: number,
  end: number,
  second: number,
  third: number,
): void {
  const log = (low & TAG_MASK) === TAG_LOG;
  let place = counters.wides.find(high, low);
  if (place === -1) {
    if (end <= ((low & TAG_MASK) === TAG_WALL ? counters.clock.wall : counters.clock.now)) return;
    place = put(counters.wides, high, low, end);
    counters.wides.setWide(place, end, log ? 0 : second, third);
  } else if (!log) counters.wides.setWide(place, end, second, third);
  else
    counters.wides.setWide(
      place,
      end,
      end === 0 ? 0 : counters.wides.column(place, 2),
      counters.wides.column(place, 3),
    );
}

export function putEntry(counters: Counters, high: number, low: number, leaves: number, amount: number): void {
  const place = counters.wides.find(high, low);
  if (place === -1) return;
  const { logs } = counters;
  logs.open(counters.wides.column(place, 3));
  if (leaves === -Infinity) logs.drop(Infinity);
  else {
    const at = logs.indexOf(leaves);
    if (at >= 0) logs.setAmount(at, amount);
    else logs.add(leaves, amount);
  }
  let used = 0;
  for (let i = 0; i < logs.count; i++) used += logs.amount(i);
  counters.wides.setWide(place, counters.wides.value(place), used, logs.pointer());
}

/** Puts a hold entry in front of the chain of a key; returns the head before. */
export function link(counters: Counters, rule: MemoryRule, keyHigh: number, keyLow: number, head: number): number {
  const high = fingerprintHigh(rule.high, keyHigh);
  const place = counters.wides.find(high, fingerprintLow(rule.low, keyLow, rule.seat));
  if (place === -1) return 0;
  const before = counters.wides.column(place, 3);
  counters.wides.setWide(place, counters.wides.value(place), counters.wides.column(place, 2), head);
  return before;
}

function put(table: Table, high: number, low: number, value: number): number {
  table.makeRoom(1);
  if (table.add(high, low, value) < 0) throw new Error('the state has more keys than maxKeys allows');
  table.maintain();
  return table.find(high, low);
}
