/**
 * What the four roles of the admin surfaces may do: the one table that the control API, `/v1`, operations, metrics and the
 * console ask. What is not in it nobody may do, and a route that names no right cannot be registered.
 * `docs/access-matrix.md` is made from it.
 */
import { TollgateError } from '../core/errors.ts';

/** Roles that open the admin surfaces; all others are free names for `access`. */
export const ROLES = ['user', 'operator', 'auditor', 'admin'] as const;

export type Role = (typeof ROLES)[number];

/** Whose the object is: the caller's own, or somebody else's; what belongs to the gateway is nobody's own. */
export type Whose = 'own' | 'others';

/** Also who has none of the four roles, as long as a credential says who it is. */
export const ANYBODY = 'anybody';

interface Right {
  readonly object: string;
  readonly action: string;
  readonly own: readonly (Role | typeof ANYBODY)[];
  readonly others: readonly Role[];
}

const NOBODY: readonly Role[] = [];
const ALL: readonly Role[] = ROLES;
const SEE: readonly Role[] = ['operator', 'auditor', 'admin'];
const ACT: readonly Role[] = ['operator', 'admin'];
const ADMIN: readonly Role[] = ['admin'];

const EVERY: Right['own'] = [ANYBODY, ...ROLES];

const of = (object: string, action: string, others: readonly Role[], own: Right['own'] = others): Right => ({
  object,
  action,
  own,
  others,
});

/** Every right there is. `own` is never narrower than `others`. */
export const RIGHTS = {
  'status.read': of('gateway', 'see its status', SEE),
  'metrics.read': of('gateway', 'read its metrics', SEE),
  'configuration.reload': of('gateway', 'apply the configuration file', ACT),
  'traffic.watch': of('calls', 'watch them as they end', SEE),
  'decisions.read': of('records of decisions', 'read', SEE, ALL),
  'budgets.read': of('budgets', 'read', SEE),
  'budgets.reset': of('budgets', 'start anew', ADMIN),
  'ledger.accept-loss': of('ledger', 'accept its loss', ADMIN),
  'grants.read': of('grants', 'read', SEE),
  'grants.make': of('grants', 'make and end', ACT),
  'stops.read': of('stops', 'read', SEE),
  'stops.make': of('stops', 'make and end', ACT),
  'stops.open-latched': of('limits that shut themselves', 'open', ADMIN),
  'blocks.read': of('blocks', 'read', SEE),
  'blocks.make': of('blocks', 'make and end', ACT),
  'keys.read': of('API keys', 'see which there are', SEE),
  'keys.make': of('API keys', 'make, replace and revoke', ADMIN),
  'sign-ins.read': of('sign-ins at the OAuth bridge', 'see which there are', SEE),
  'sign-ins.end': of('sign-ins at the OAuth bridge', 'end all of a person', ACT),
  'vault.read': of('secrets', 'see which there are, never their values', ['auditor', 'admin']),
  'vault.write': of('secrets', 'set, remove and revoke', ADMIN),
  'vault.keys': of('master keys of the vault', 'rotate, rewrap, retire and destroy', ADMIN),
  'trust.read': of('definitions of servers', 'read and compare', SEE),
  'trust.approve': of('definitions of servers', 'approve', ACT),
  'clients.read': of('clients of operations', 'see limits, tier and numbers of', SEE, ALL),
  'clients.charge': of('clients of operations', 'consume limits of', ADMIN, ALL),
  'clients.tier': of('clients of operations', 'set the tier of', ADMIN),
  'clients.all': of('clients of operations', 'see the numbers of all at once', ADMIN),
  'checks.tier': of('checks of limits', 'assume a tier', ADMIN),
  'holds.read': of('holds', 'read', SEE, ALL),
  'holds.end': of('holds', 'settle and release', ADMIN, ALL),
  'operations.list': of('operations', 'list', NOBODY, ALL),
  'insight.read': of('gateway', 'see configuration and findings of scans', SEE),
  'provider-keys.read': of('keys of providers', 'see state and age of', ADMIN, EVERY),
  'provider-keys.write': of('keys of providers', 'store, replace and delete', ADMIN, EVERY),
  'accounts.read': of('accounts at servers', 'see which are connected', ADMIN, EVERY),
  'accounts.end': of('accounts at servers', 'disconnect', ADMIN, EVERY),
  'activity.read': of('activity', 'read', ADMIN, EVERY),
  'tools.call': of('tools over REST', 'list and call, as access allows', NOBODY, EVERY),
  'op.check_mcp_limit': of('operation check_mcp_limit', 'ask', NOBODY, ALL),
  'op.set_client_tier': of('operation set_client_tier', 'ask', ADMIN),
  'op.get_mcp_statistics': of('operation get_mcp_statistics', 'ask', NOBODY, ALL),
  'op.scan': of('operation scan', 'ask', NOBODY, ALL),
  'op.security_scan': of('operation security_scan', 'ask', NOBODY, ALL),
  'op.get_status': of('operation get_status', 'ask', NOBODY, ALL),
  'op.validate_endpoint': of('operation validate_endpoint', 'ask', NOBODY, ALL),
  'op.emergency_stop': of('operation emergency_stop', 'ask', ACT),
  'op.reset_limits': of('operation reset_limits', 'ask', ADMIN),
} as const satisfies Readonly<Record<string, Right>>;

export type RightName = keyof typeof RIGHTS;

/** True when one of the roles has the right over what is the caller's own, or over what is others'. */
export function mayDo(roles: readonly string[], right: RightName, whose: Whose): boolean {
  const holders: readonly string[] = RIGHTS[right][whose];
  return holders.includes(ANYBODY) || roles.some((role) => holders.includes(role));
}

/** The roles that have a right at all. Never empty. */
export function rolesOf(right: RightName): readonly [Role, ...Role[]] {
  const { own, others } = RIGHTS[right];
  const roles = ROLES.filter(
    (role) => (own as readonly Role[]).includes(role) || (others as readonly Role[]).includes(role),
  );
  return roles as readonly Role[] as readonly [Role, ...Role[]];
}

/**
 * How far the right of a caller goes: `others` includes its own. Throws `access_denied` (403) for who has it not at all,
 * before anything is looked up.
 */
export function reachOf(caller: { readonly roles: readonly string[] }, right: RightName): Whose {
  if (mayDo(caller.roles, right, 'others')) return 'others';
  if (mayDo(caller.roles, right, 'own')) return 'own';
  throw new TollgateError('access_denied', `This needs one of the roles ${rolesOf(right).join(', ')}`, { http: 403 });
}
