/** Whom an id means that comes without a connection. */
import type { Subject } from '../admission/external.ts';
import type { TierBook } from '../admission/tiers.ts';
import { canonicalPrincipalId, identityOf, type Principal, readPrincipalId } from '../core/principal.ts';
import type { ClaimMap, IdentityOptions } from '../identity/options.ts';

/** Entry of clients that only operations know. No entry of `auth` can have this name. */
export const OPS = 'ops';

/** The API keys in force, by whose they are. */
export interface KeyHolders {
  of(entry: string, subject: string): readonly (PrincipalParts & { readonly subject: string })[];
}

/** Keys of one holder may differ in roles; a limit asks for any of them. */
function keyPrincipals(id: string, entry: string, tier: string | undefined, keys: KeyHolders): readonly Principal[] {
  const { person } = readPrincipalId(id);
  const subject = person.startsWith(`${entry}/`) ? person.slice(entry.length + 1) : id;
  const held = keys.of(entry, subject);
  const [first] = held;
  if (first === undefined) return [];
  const roles = [...new Set(held.flatMap((key) => key.roles ?? []))];
  return [principalOf(`${entry}/${subject}`, { tenant: first.tenant, tier: first.tier ?? tier, roles })];
}

/**
 * Whether an entry whose callers come with tokens may make this one: whom its issuer knows, only tokens say. A name
 * without a tenant is who has none, never the same subject in some tenant: a tier or a grant must not reach more people
 * than were named.
 */
export function mayIssue(map: ClaimMap, tenant: string | undefined): boolean {
  if (tenant === undefined) return map.tenants === undefined;
  return map.tenant !== undefined && map.tenants?.includes(tenant) !== false;
}

/**
 * Principals of this id: named by the configuration, given a tier, or known to an issuer as far as can be told. A bare id
 * is looked for under every entry, so that the work does not depend on who exists.
 */
export function principalsNamed(
  written: string,
  identity: IdentityOptions,
  tiers: TierBook,
  keys: KeyHolders,
): readonly Principal[] {
  const id = canonicalPrincipalId(written);
  const name = readPrincipalId(id);
  const found = new Map<string, Principal>();
  const configured = identity.entries.flatMap((entry) => {
    switch (entry.kind) {
      case 'keys':
        return keyPrincipals(id, entry.name, entry.tier, keys);
      case 'bearer':
        return [principalOf(`${entry.name}/${entry.subject}`, entry)];
      case 'anonymous':
        return [principalOf(entry.name, { tier: entry.tier, roles: ['user'] })];
      default:
        if (!name.person.startsWith(`${entry.name}/`) || !mayIssue(entry.rules.map, name.tenant)) return [];
        return [principalOf(id, { tier: entry.rules.tier })];
    }
  });
  for (const principal of configured) {
    if (principal.id === id || principal.subject === id) found.set(principal.id, principal);
  }
  const ids = id.includes('/')
    ? [id]
    : [...identity.entries.map(({ name }) => name), 'local', OPS].map((entry) => `${entry}/${id}`);
  for (const candidate of ids) {
    if (!found.has(candidate) && tiers.get(candidate) !== undefined) found.set(candidate, principalOf(candidate));
  }
  // `local/<user>` comes over the attach socket; `ops/<id>` exists as soon as it is named.
  if (found.size === 0 && /^(?:local|ops)\/[A-Za-z0-9_.@-]{1,100}$/.test(id)) found.set(id, principalOf(id));
  return [...found.values()];
}

/** A principal as admission's desk takes it. */
export function subjectOf({ id, tenant, tier, roles, clientId }: Principal): Subject {
  return { principal: id, tenant, tier, roles, client: clientId };
}

type PrincipalParts = Partial<Pick<Principal, 'tenant' | 'tier' | 'roles'>>;

/** A principal that is on no connection. */
export function principalOf(id: string, { tenant: told, tier, roles = [] }: PrincipalParts = {}): Principal {
  const { person, tenant = told } = readPrincipalId(id);
  const slash = person.indexOf('/');
  return {
    ...identityOf({ person, tenant }),
    key: 0,
    entry: slash < 0 ? person : person.slice(0, slash),
    subject: person.slice(slash + 1),
    tenant,
    tier,
    roles,
    scopes: undefined,
    clientId: undefined,
  };
}
