/** Runtime view of a catalog, for the start-up print, `status` and the console. No secrets. */
import type { Kind } from './items.ts';
import type { Listing } from './listing.ts';
import { entryText, type Merged } from './merge.ts';

export interface CatalogServerView {
  readonly server: string;
  /** `starting`: not tried to the end yet; `failed`: never listed; `stale`: the last attempt failed, old lists serve. */
  readonly state: 'starting' | 'listed' | 'stale' | 'failed';
  /** Why the last attempt failed; undefined when it went well. */
  readonly problem: string | undefined;
  readonly tools: number;
  readonly prompts: number;
  readonly resources: number;
  readonly templates: number;
  /** Size of the advertised tool definitions: UTF-8 bytes, and tokens as bytes / 4. */
  readonly bytes: number;
  readonly tokens: number;
  readonly warnings: readonly string[];
}

export interface CatalogView {
  readonly servers: readonly CatalogServerView[];
  readonly tools: number;
  readonly tokens: number;
}

export function viewServer(listing: Listing, merged: Readonly<Record<Kind, Merged>>): CatalogServerView {
  const server = listing.server.name;
  const of = (kind: Kind) => merged[kind].entries.filter((entry) => entry.server === server && entry.advertised);
  const tools = of('tools');
  let bytes = 0;
  for (const tool of tools) bytes += Buffer.byteLength(entryText(tool, 'legacy'));
  const problem = listing.problem;
  const listed = listing.facts !== undefined;
  return {
    server,
    state: !listing.attempted ? 'starting' : problem === undefined ? 'listed' : listed ? 'stale' : 'failed',
    problem: problem?.message,
    tools: tools.length,
    prompts: of('prompts').length,
    resources: of('resources').length,
    templates: of('templates').length,
    bytes,
    tokens: Math.ceil(bytes / 4),
    warnings: listing.warnings,
  };
}
