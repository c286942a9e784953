/** The merged view of one kind: which entries an endpoint has, under which names, in which order. */
import type { Glob } from '../core/glob.ts';
import type { ParamHeaders } from '../protocol/headers.ts';
import type { Era } from '../protocol/versions.ts';
import { type Item, itemText, type Kind } from './items.ts';
import type { Conflict, NameBook } from './naming.ts';
import type { Standing } from './trust.ts';

/** One entry of an endpoint's catalog. The object stays the same while nothing about it changes. */
export interface Entry {
  readonly kind: Kind;
  readonly server: string;
  /** As clients know it: advertised name, URI, or URI template. */
  readonly name: string;
  /** The server's own name of it. */
  readonly upstreamName: string;
  /** `upstreamName` as JSON text, to put in place of the advertised name; undefined when they are equal. */
  readonly target: string | undefined;
  /** `server/upstreamName`: what rules match. */
  readonly canonicalId: string;
  /** Compiled `x-mcp-header` annotations of a tool. */
  readonly paramHeaders: ParamHeaders | undefined;
  /** False: exists, but is not advertised, as no route takes it. */
  readonly advertised: boolean;
  readonly item: Item;
  /** Blocked: neither listed nor called. Undefined: nobody judges it. */
  readonly standing: Standing | undefined;
  /** Place in the list: rank of the server, then order of first appearance. */
  readonly rank: number;
  readonly seq: number;
}

/** A server's contribution to a merge. */
export interface Part {
  readonly server: string;
  readonly rank: number;
  readonly items: readonly Item[];
  readonly standing: (item: Item) => Standing | undefined;
}

export interface Merged {
  readonly entries: readonly Entry[];
  readonly byName: ReadonlyMap<string, Entry>;
  /** What servers offer and this endpoint has not, by the names it could have: for the operator's records alone. */
  readonly withheld: ReadonlyMap<string, Withheld>;
}

/** `endpoint`: its `tools` leave it out. `pin`: nobody has approved it. */
export interface Withheld {
  readonly by: 'endpoint' | 'pin';
  readonly server: string;
  readonly canonicalId: string;
}

export const EMPTY_MERGE: Merged = { entries: [], byName: new Map(), withheld: new Map() };

export interface Rules {
  readonly allow: readonly Glob[] | undefined;
  readonly deny: readonly Glob[];
  readonly advertise: (entry: Entry) => boolean;
}

/** Order of first appearance within each server, kept while the catalog lives so that cursors stay good. */
export class Sequence {
  readonly #of = new Map<string, number>();
  #next = 1;

  of(canonicalId: string): number {
    let seq = this.#of.get(canonicalId);
    if (seq === undefined) {
      seq = this.#next++;
      this.#of.set(canonicalId, seq);
    }
    return seq;
  }

  /** Forgets all but the ids given, once there are far more than that. */
  trim(present: readonly Entry[]): void {
    if (this.#of.size < 2 * present.length + 10_000) return;
    const kept = new Set(present.map((entry) => entry.canonicalId));
    for (const id of this.#of.keys()) if (!kept.has(id)) this.#of.delete(id);
  }
}

/** Merges tools or prompts: by name, as the book assigns it. */
export function mergeNamed(
  kind: 'tools' | 'prompts',
  parts: readonly Part[],
  before: Merged,
  book: NameBook,
  sequence: Sequence,
  rules: Rules,
): Merged & { readonly conflicts: readonly Conflict[] } {
  const claims: (Claimed & { readonly name: string })[] = [];
  const withheld = new Map<string, Withheld>();
  for (const { server, rank, items, standing: standingOf } of parts) {
    for (const item of items) {
      const canonicalId = `${server}/${item.name}`;
      const standing = standingOf(item);
      // What is blocked claims no name; one that it was given before stays its own.
      const blocked = standing?.blocked === true;
      if (blocked || (kind === 'tools' && !isAllowed(canonicalId, rules))) {
        const out: Withheld = { by: blocked ? 'pin' : 'endpoint', server, canonicalId };
        for (const name of [item.name, `${server}_${item.name}`]) if (!withheld.has(name)) withheld.set(name, out);
        continue;
      }
      claims.push({ server, rank, name: item.name, canonicalId, item, standing });
    }
  }
  const { names, conflicts } = book.assign(claims);
  const known = byCanonicalId(before);
  const entries: Entry[] = [];
  claims.forEach((claim, i) => {
    const name = names[i];
    if (name !== undefined) entries.push(toEntry(kind, name, claim, known, sequence, rules));
  });
  return { ...finish(entries, withheld, sequence), conflicts };
}

/** Merges resources or templates: by URI, which is never renamed; the first server in order owns it. */
export function mergeByUri(
  kind: 'resources' | 'templates',
  parts: readonly Part[],
  before: Merged,
  sequence: Sequence,
  rules: Rules,
): Merged & { readonly conflicts: readonly Conflict[] } {
  const known = byCanonicalId(before);
  const owners = new Map<string, { readonly canonicalId: string; readonly entry: Entry | undefined }>();
  const conflicts: Conflict[] = [];
  const withheld = new Map<string, Withheld>();
  for (const { server, rank, items, standing: standingOf } of parts) {
    for (const item of items) {
      const canonicalId = `${server}/${item.name}`;
      const owner = owners.get(item.name);
      if (owner !== undefined) {
        conflicts.push({
          name: item.name,
          owner: owner.canonicalId,
          newcomer: canonicalId,
          renamed: undefined,
          reason: 'collision',
        });
        continue;
      }
      const standing = standingOf(item);
      const claim = { server, rank, canonicalId, item, standing };
      // A later server does not get a URI because the one of an earlier one is blocked.
      const entry = standing?.blocked === true ? undefined : toEntry(kind, item.name, claim, known, sequence, rules);
      if (entry === undefined) withheld.set(item.name, { by: 'pin', server, canonicalId });
      owners.set(item.name, { canonicalId, entry });
    }
  }
  const entries = [...owners.values()].flatMap(({ entry }) => entry ?? []);
  return { ...finish(entries, withheld, sequence), conflicts };
}

/** True when a client that reads both lists sees no difference. */
export function sameAdvertised(a: Merged, b: Merged): boolean {
  if (a.entries.length !== b.entries.length) return false;
  return a.entries.every((entry, i) => {
    const other = b.entries[i]!;
    return (
      entry === other ||
      (entry.name === other.name && entry.item === other.item && entry.advertised === other.advertised)
    );
  });
}

export function entryText(entry: Entry, era: Era): string {
  return itemText(entry.kind, entry.item, entry.name, era);
}

interface Claimed {
  readonly server: string;
  readonly rank: number;
  readonly canonicalId: string;
  readonly item: Item;
  readonly standing: Standing | undefined;
}

function toEntry(
  kind: Kind,
  name: string,
  claim: Claimed,
  known: ReadonlyMap<string, Entry>,
  sequence: Sequence,
  rules: Rules,
): Entry {
  const { server, rank, canonicalId, item, standing } = claim;
  const draft: Entry = {
    kind,
    server,
    name,
    upstreamName: item.name,
    target: name === item.name ? undefined : JSON.stringify(item.name),
    canonicalId,
    paramHeaders: item.paramHeaders,
    advertised: true,
    item,
    standing,
    rank,
    seq: sequence.of(canonicalId),
  };
  const entry = rules.advertise(draft) ? draft : { ...draft, advertised: false };
  const old = known.get(canonicalId);
  const same =
    old !== undefined &&
    old.name === name &&
    old.item === item &&
    old.standing === standing &&
    old.rank === rank &&
    old.seq === entry.seq &&
    old.advertised === entry.advertised;
  return same ? old : entry;
}

function finish(entries: Entry[], withheld: ReadonlyMap<string, Withheld>, sequence: Sequence): Merged {
  entries.sort((a, b) => a.rank - b.rank || a.seq - b.seq);
  sequence.trim(entries);
  return { entries, byName: new Map(entries.map((entry) => [entry.name, entry])), withheld };
}

function byCanonicalId(merged: Merged): Map<string, Entry> {
  return new Map(merged.entries.map((entry) => [entry.canonicalId, entry]));
}

function isAllowed(canonicalId: string, rules: Rules): boolean {
  const hit = (glob: Glob): boolean => glob.matches(canonicalId);
  return (rules.allow === undefined || rules.allow.some(hit)) && !rules.deny.some(hit);
}
