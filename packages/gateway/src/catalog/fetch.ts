/** Reads one whole list of one server: every page, within bounds that a hostile server cannot exceed. */
import { TollgateError } from '../core/errors.ts';
import type { Lifetime } from '../core/lifetime.ts';
import type { Connection } from '../protocol/peer.ts';
import { type Item, type Kind, LISTS, readItem, sameItem } from './items.ts';
import { type CatalogClient, request } from './request.ts';

/** Bounds of one list of one server. */
export interface FetchCaps {
  /** Default 1000. */
  readonly pages: number;
  /** Default 20,000. */
  readonly entries: number;
  /** Bytes of all pages together. Default 32 MiB. */
  readonly bytes: number;
}

export const DEFAULT_CAPS: FetchCaps = { pages: 1000, entries: 20_000, bytes: 32 * 1024 * 1024 };

export interface FetchedList {
  readonly items: readonly Item[];
  /** Freshness the server promised, in milliseconds; undefined when it promised none (legacy). */
  readonly ttlMs: number | undefined;
  readonly scope: 'public' | 'private';
  /** Why the list ends before the server's own end; undefined when it is whole. */
  readonly truncated: string | undefined;
}

export const EMPTY_LIST: FetchedList = { items: [], ttlMs: undefined, scope: 'private', truncated: undefined };

export interface FetchContext {
  readonly client: CatalogClient;
  readonly caps: FetchCaps;
  /** Milliseconds for one page. */
  readonly timeout: number;
  readonly lifetime: Lifetime;
  readonly warn: (problem: string) => void;
}

/**
 * Items equal to those of `before` are the same objects. A server that declares the capability but does not know
 * the method has an empty list. Rejects with a TollgateError when a page cannot be had.
 */
export async function fetchList(
  connection: Connection,
  kind: Kind,
  before: FetchedList | undefined,
  context: FetchContext,
): Promise<FetchedList> {
  const { method, member } = LISTS[kind];
  const known = new Map(before?.items.map((item) => [item.name, item]));
  const items = new Map<string, Item>();
  const cursors = new Set<string>();
  let cursor: string | undefined;
  let ttlMs: number | undefined;
  let scope: 'public' | 'private' = connection.era === 'modern' ? 'public' : 'private';
  let bytes = 0;
  for (let page = 1; ; page++) {
    let answer: Awaited<ReturnType<typeof request>>;
    try {
      const params = cursor === undefined ? {} : { cursor };
      answer = await request(connection, context.client, method, params, context.timeout, context.lifetime);
    } catch (error) {
      if (page === 1 && TollgateError.is(error) && error.code === 'method_not_found') return EMPTY_LIST;
      throw error;
    }
    const { result } = answer;
    const entries = result[member];
    if (!Array.isArray(entries)) {
      throw new TollgateError('server_protocol_error', `The server's answer to ${method} has no array "${member}"`);
    }
    bytes += answer.bytes;
    if (connection.era === 'modern') {
      const ttl = typeof result['ttlMs'] === 'number' ? Math.max(0, result['ttlMs']) : 0;
      ttlMs = Math.min(ttlMs ?? ttl, ttl);
      if (result['cacheScope'] !== 'public') scope = 'private';
    }
    const end = (truncated?: string): FetchedList => ({ items: [...items.values()], ttlMs, scope, truncated });
    for (const entry of entries as unknown[]) {
      if (items.size >= context.caps.entries) return end(`more than ${context.caps.entries} entries`);
      const item = readItem(kind, entry, (problem) => context.warn(`${kind}: ${problem}`));
      if (typeof item === 'string') {
        context.warn(`${kind}: an entry is left out: it ${item}`);
      } else if (items.has(item.name)) {
        context.warn(`${kind}: "${item.name}" is listed twice; the first is kept`);
      } else {
        const old = known.get(item.name);
        items.set(item.name, old !== undefined && sameItem(old, item) ? old : item);
      }
    }
    const next = result['nextCursor'];
    // An empty string is a valid cursor; only a missing one ends the list.
    if (typeof next !== 'string') return end();
    if (cursors.has(next)) return end('the server repeats a cursor');
    if (page >= context.caps.pages) return end(`more than ${context.caps.pages} pages`);
    if (bytes > context.caps.bytes) return end(`more than ${context.caps.bytes} bytes`);
    cursors.add(next);
    cursor = next;
  }
}
