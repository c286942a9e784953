/**
 * Names that operators write and that nothing has now. Most may come later (a tool that a server does not list yet, a caller
 * whose first token is not seen), so they are taken, and the answer says what was doubted.
 */
import type { TierBook } from '../admission/tiers.ts';
import { compileCanonicalGlob, compileGlob } from '../core/glob.ts';
import type { IdentityOptions } from '../identity/options.ts';
import { type KeyHolders, principalsNamed } from './operations-clients.ts';

/** Why nobody may have this id; undefined: somebody has it, or an issuer may know whom it means. */
export function doubtOfPrincipal(
  id: string,
  identity: IdentityOptions,
  tiers: TierBook,
  keys: KeyHolders,
): string | undefined {
  const named = principalsNamed(id, identity, tiers, keys);
  if (named.some((principal) => principal.id === id)) return undefined;
  if (named.length > 0) return `Nobody is called ${id}; did you mean ${named.map((one) => one.id).join(' or ')}?`;
  const slash = id.indexOf('/');
  const entry = identity.entries.find(({ name }) => name === id.slice(0, slash));
  if (slash < 1 || entry === undefined) {
    const names = identity.entries.map(({ name, kind }) => (kind === 'anonymous' ? name : `${name}/…`));
    return `No entry of auth makes a caller ${id}; callers here are ${[...names, 'local/…'].join(', ')}.`;
  }
  switch (entry.kind) {
    case 'keys':
      return `No API key of ${entry.name} is for ${id} now.`;
    case 'bearer':
      return `The only caller of ${entry.name} is ${entry.name}/${entry.subject}, not ${id}.`;
    case 'anonymous':
      return `Callers without a credential are all called ${entry.name}, not ${id}.`;
    default:
      return undefined;
  }
}

/** Why a tool pattern covers nothing now; undefined: a listed tool has it. */
export function doubtOfTool(pattern: string, tools: readonly string[]): string | undefined {
  const glob = compileCanonicalGlob(pattern);
  return tools.some((tool) => glob.matches(tool))
    ? undefined
    : `No tool that is listed now matches ${pattern}; ids are like ${tools[0] ?? 'server/tool'}.`;
}

/** The same of servers of the configuration. */
export function doubtOfServer(pattern: string, servers: readonly string[]): string | undefined {
  const glob = compileGlob(pattern);
  return servers.some((server) => glob.matches(server))
    ? undefined
    : `No server matches ${pattern}; there are ${servers.join(', ') || 'none'}.`;
}
