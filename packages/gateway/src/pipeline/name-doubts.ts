/**
 * Names that operators write and that nothing has now. Most may come later (a tool that a server does not list yet, a caller
 * whose first token is not seen), so they are taken, and the answer says what was doubted.
 */
import type { TierBook } from '../admission/tiers.ts';
import { compileCanonicalGlob, compileGlob } from '../core/glob.ts';
import { canonicalPrincipalId, principalId, readPrincipalId } from '../core/principal.ts';
import type { IdentityOptions, TokenEntry } from '../identity/options.ts';
import { type KeyHolders, mayIssue, principalsNamed } from './operations-clients.ts';

/** Why nobody may have this id, or not who is likely meant; undefined: somebody has it, or an issuer may know whom it means. */
export function doubtOfPrincipal(
  written: string,
  identity: IdentityOptions,
  tiers: TierBook,
  keys: KeyHolders,
): string | undefined {
  const id = canonicalPrincipalId(written);
  const { person } = readPrincipalId(id);
  const slash = person.indexOf('/');
  const entry = identity.entries.find(({ name }) => name === person.slice(0, slash));
  const issuer = entry?.kind === 'jwt' || entry?.kind === 'oidc' ? entry : undefined;
  if (issuer !== undefined) return doubtOfTenant(id, issuer);
  const named = principalsNamed(id, identity, tiers, keys);
  if (named.some((principal) => principal.id === id)) return undefined;
  const meant = named.length > 0 ? named : principalsNamed(person.slice(slash + 1), identity, tiers, keys);
  const others = meant.filter((one) => named.length > 0 || one.person === person);
  if (others.length > 0) return `Nobody is called ${id}; did you mean ${others.map((one) => one.id).join(' or ')}?`;
  if (slash < 1 || entry === undefined) {
    const names = identity.entries.map(({ name, kind }) => (kind === 'anonymous' ? name : `${name}/…`));
    return `No entry of auth makes a caller ${id}; callers here are ${[...names, 'local/…'].join(', ')}.`;
  }
  switch (entry.kind) {
    case 'keys':
      return `No API key of ${entry.name} is for ${id} now.`;
    case 'bearer': {
      const only = principalId({ person: `${entry.name}/${entry.subject}`, tenant: entry.tenant });
      return `The only caller of ${entry.name} is ${only}, not ${id}.`;
    }
    case 'anonymous':
      return `Callers without a credential are all called ${entry.name}, not ${id}.`;
    default:
      return undefined;
  }
}

/** The same of who is blocked, where a name without a tenant is this person in every tenant. */
export function doubtOfBlocked(
  who: string,
  identity: IdentityOptions,
  tiers: TierBook,
  keys: KeyHolders,
): string | undefined {
  if (/^(?:tenant|client|key):/.test(who)) return undefined;
  const { person, tenant } = readPrincipalId(who);
  if (tenant === undefined) {
    const slash = person.indexOf('/');
    const entry = identity.entries.find(({ name }) => name === person.slice(0, slash));
    if (entry?.kind === 'jwt' || entry?.kind === 'oidc') return undefined;
    const somewhere = principalsNamed(person.slice(slash + 1), identity, tiers, keys);
    if (somewhere.some((one) => one.person === person)) return undefined;
  }
  return doubtOfPrincipal(who, identity, tiers, keys);
}

/** Which subjects an issuer knows, only its tokens say; which tenants they have, its entry. */
function doubtOfTenant(id: string, { name, rules: { map } }: TokenEntry): string | undefined {
  const { person, tenant } = readPrincipalId(id);
  const subject = person.slice(name.length + 1);
  const written = `${name}@TENANT/${subject}`;
  if (map.tenant === undefined)
    return tenant === undefined ? undefined : `Callers of ${name} have no tenant: write ${person}.`;
  if (!mayIssue(map, tenant)) {
    const tenants = map.tenants!.join(', ');
    return `Callers of ${name} are of the tenants ${tenants}, so nobody is called ${id}: write ${written}.`;
  }
  return tenant === undefined
    ? `${id} is only who has no tenant at ${name}. In a tenant the same subject is another caller: ${written}.`
    : undefined;
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
