/** The catalog of one endpoint at one moment: merged entries and the lookups over them. Never changes once made. */

import type { Kind } from './items.ts';
import type { Listing } from './listing.ts';
import type { Entry, Merged } from './merge.ts';
import { EMPTY_MERGE, mergeByUri, mergeNamed, type Part, type Rules, Sequence } from './merge.ts';
import type { Conflict, NameBook } from './naming.ts';

/** What outlives a snapshot: the names given, and the order of first appearance. */
export interface Memory {
  readonly books: Readonly<Record<'tools' | 'prompts', NameBook>>;
  readonly sequences: Readonly<Record<Kind, Sequence>>;
}

export class Snapshot {
  readonly merged: Readonly<Record<Kind, Merged>>;
  readonly conflicts: readonly Conflict[];
  /** Resources that tools refer to (MCP Apps), where no server lists them, or only one later in order. */
  readonly #referred: ReadonlyMap<string, Entry>;
  /** Most specific first. */
  readonly #templates: readonly Entry[];

  constructor(merged: Readonly<Record<Kind, Merged>>, conflicts: readonly Conflict[]) {
    this.merged = merged;
    this.conflicts = conflicts;
    this.#referred = referred(merged.tools, merged.resources);
    this.#templates = [...merged.templates.entries].sort(
      (a, b) => b.item.template!.prefix.length - a.item.template!.prefix.length || a.rank - b.rank || a.seq - b.seq,
    );
  }

  /** The owner of a URI: referred to by a tool, listed, or fitting a template (the most specific one). */
  resource(uri: string): Entry | undefined {
    const known = this.#referred.get(uri) ?? this.merged.resources.byName.get(uri);
    if (known !== undefined) return known;
    for (const entry of this.#templates) {
      if (entry.item.template!.matches(uri)) {
        return { ...entry, name: uri, upstreamName: uri, canonicalId: `${entry.server}/${uri}` };
      }
    }
    return undefined;
  }
}

export const EMPTY_SNAPSHOT = new Snapshot(
  { tools: EMPTY_MERGE, prompts: EMPTY_MERGE, resources: EMPTY_MERGE, templates: EMPTY_MERGE },
  [],
);

/** Merges what the servers offer now. Entries that did not change are the objects of `before`. */
export function takeSnapshot(listings: readonly Listing[], before: Snapshot, memory: Memory, rules: Rules): Snapshot {
  const { books, sequences } = memory;
  const old = before.merged;
  const named = (kind: 'tools' | 'prompts') =>
    mergeNamed(kind, partsOf(listings, kind), old[kind], books[kind], sequences[kind], rules);
  const byUri = (kind: 'resources' | 'templates') =>
    mergeByUri(kind, partsOf(listings, kind), old[kind], sequences[kind], rules);
  const merged = {
    tools: named('tools'),
    prompts: named('prompts'),
    resources: byUri('resources'),
    templates: byUri('templates'),
  };
  return new Snapshot(
    merged,
    Object.values(merged).flatMap(({ conflicts }) => conflicts),
  );
}

export function newMemory(books: Memory['books']): Memory {
  const sequences = {
    tools: new Sequence(),
    prompts: new Sequence(),
    resources: new Sequence(),
    templates: new Sequence(),
  };
  return { books, sequences };
}

function partsOf(listings: readonly Listing[], kind: Kind): Part[] {
  const parts: Part[] = [];
  listings.forEach((listing, rank) => {
    const list = listing.list(kind);
    if (list !== undefined) {
      parts.push({
        server: listing.server.name,
        rank,
        items: list.items,
        standing: (item) => listing.standing(kind, item),
      });
    }
  });
  return parts;
}

/**
 * Resources that tools refer to and that need not be listed; the first tool in order wins. A reference counts like
 * a listing: a later server cannot slip its own page under the app of an earlier one by listing that URI.
 */
function referred(tools: Merged, resources: Merged): Map<string, Entry> {
  const found = new Map<string, Entry>();
  for (const tool of tools.entries) {
    const uri = tool.item.uiResource;
    if (uri === undefined || found.has(uri)) continue;
    const listed = resources.byName.get(uri);
    if (listed !== undefined && listed.rank <= tool.rank) continue;
    found.set(uri, {
      ...tool,
      kind: 'resources',
      name: uri,
      upstreamName: uri,
      target: undefined,
      canonicalId: `${tool.server}/${uri}`,
      paramHeaders: undefined,
    });
  }
  return found;
}
