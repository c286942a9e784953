/** Pages of the gateway's own lists, and the cursors between them. */
import { TollgateError } from '../core/errors.ts';
import { StateSeal } from '../protocol/bridge/seal.ts';
import type { Era } from '../protocol/versions.ts';
import { KINDS, type Kind, LISTS } from './items.ts';
import { type Entry, entryText, type Merged } from './merge.ts';

/** Entries of one page. Default of `CatalogDeps.pageSize`. */
export const PAGE_SIZE = 1000;

/** A place in a list: after the entry with this rank and sequence number, whether or not it still exists. */
export interface Position {
  readonly rank: number;
  readonly seq: number;
}

export interface Page {
  /** JSON texts of the entries, joined by commas. */
  readonly text: string;
  readonly count: number;
  /** After which entry the next page begins; undefined: this is the last. */
  readonly next: Position | undefined;
}

/** What a list shows to some callers. The same object for all of them: pages are kept by it. */
export interface Shown {
  readonly entry: (entry: Entry) => boolean;
  /** False: nothing of this server is for them, so that they do not hear of it either. */
  readonly server: (server: string) => boolean;
}

/** A server left out of a list, or listed in part only. */
export interface Shortfall {
  readonly server: string;
  /** A code of `core/errors.ts`, `starting`, or `truncated`. */
  readonly reason: string;
}

interface SealedPlace extends Position {
  readonly list: string;
  readonly audience: string;
  readonly expires: number;
}

/**
 * Cursors name a place, not an index: entries that come or go while a client pages move nobody else's place.
 * `epoch` changes when the places do; a cursor of another one is refused and the client starts over. In a list that
 * hides something a place would tell how much, so that there cursors are sealed, for one caller each.
 */
export class Cursors {
  readonly #seal = new StateSeal<SealedPlace>({ prefix: 's.', maxLength: 4096 });

  encode(epoch: string, kind: Kind, { rank, seq }: Position, audience: string | undefined): string {
    if (audience === undefined) return plainCursor(epoch, kind, { rank, seq });
    return this.#seal.seal({ rank, seq, list: `${epoch}.${kind}`, audience, expires: 1 });
  }

  /** Throws `invalid_params` for a cursor that this list did not give out to this audience. */
  decode(epoch: string, kind: Kind, cursor: string, audience: string | undefined): Position {
    const place = audience === undefined ? readPlain(epoch, kind, cursor) : this.#seal.open(cursor, 0);
    if (place !== undefined) {
      const { list, audience: whose } = place as Partial<SealedPlace>;
      if (audience === undefined || (list === `${epoch}.${kind}` && whose === audience)) return place;
    }
    throw new TollgateError(
      'invalid_params',
      `The cursor is not one of ${LISTS[kind].method} here, or the list has been rebuilt; start again without a cursor`,
    );
  }
}

function plainCursor(epoch: string, kind: Kind, position: Position): string {
  return [epoch, KINDS.indexOf(kind), position.rank.toString(36), position.seq.toString(36)].join('.');
}

function readPlain(epoch: string, kind: Kind, cursor: string): Position | undefined {
  const parts = cursor.length > 64 ? [] : cursor.split('.');
  const rank = Number.parseInt(parts[2] ?? '', 36);
  const seq = Number.parseInt(parts[3] ?? '', 36);
  const place = { rank, seq };
  const own = Number.isSafeInteger(rank) && Number.isSafeInteger(seq) && cursor === plainCursor(epoch, kind, place);
  return own ? place : undefined;
}

export function makePage(
  merged: Merged,
  era: Era,
  after: Position | undefined,
  size: number,
  shown: Shown | undefined,
): Page {
  const texts: string[] = [];
  let last: Entry | undefined;
  const { entries } = merged;
  for (let i = after === undefined ? 0 : firstAfter(entries, after); i < entries.length; i++) {
    const entry = entries[i]!;
    if (!entry.advertised || (era === 'modern' && !entry.item.modernListed)) continue;
    if (shown !== undefined && !shown.entry(entry)) continue;
    // Only now is it known that the page before this entry is not the last.
    if (texts.length === size) {
      return { text: texts.join(','), count: size, next: { rank: last!.rank, seq: last!.seq } };
    }
    texts.push(entryText(entry, era));
    last = entry;
  }
  return { text: texts.join(','), count: texts.length, next: undefined };
}

/** The last page of a list with the gateway's own entries at its end. */
export function withOwn(page: Page, own: string | undefined): Page {
  if (own === undefined || page.next !== undefined) return page;
  return { ...page, text: page.text === '' ? own : `${page.text},${own}`, count: page.count + 1 };
}

export interface ResultHints {
  readonly ttlMs: number;
  readonly cacheScope: 'public' | 'private';
  readonly partial: readonly Shortfall[];
  readonly serverInfo: Readonly<Record<string, unknown>> | undefined;
}

/** The whole `result` object of a list request, as JSON text. */
export function resultText(kind: Kind, era: Era, page: Page, cursor: string | undefined, hints: ResultHints): string {
  const { ttlMs, cacheScope, partial, serverInfo } = hints;
  const meta: Record<string, unknown> = {};
  if (era === 'modern' && serverInfo !== undefined) meta['io.modelcontextprotocol/serverInfo'] = serverInfo;
  if (partial.length > 0) meta['tollgate/partial'] = partial;
  const list = `"${LISTS[kind].member}":[${page.text}]`;
  const next = cursor === undefined ? '' : `,"nextCursor":${JSON.stringify(cursor)}`;
  const tail = Object.keys(meta).length === 0 ? '' : `,"_meta":${JSON.stringify(meta)}`;
  return era === 'modern'
    ? `{"resultType":"complete",${list}${next},"ttlMs":${ttlMs},"cacheScope":"${cacheScope}"${tail}}`
    : `{${list}${next}${tail}}`;
}

function firstAfter(entries: readonly Entry[], after: Position): number {
  let low = 0;
  let high = entries.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const { rank, seq } = entries[middle]!;
    if (rank < after.rank || (rank === after.rank && seq <= after.seq)) low = middle + 1;
    else high = middle;
  }
  return low;
}
