/** From the claims of a verified token to what the configuration lets them say. */
import { type Principal, principalId } from '../core/principal.ts';
import type { Audience } from './method.ts';
import type { ClaimMap, TokenRules } from './options.ts';
import { callerPrincipal, type PrincipalKeys } from './principals.ts';
import type { ParsedToken } from './token.ts';

/** Roles that open the admin surfaces: a claim gives them only through `grant`. */
const ADMIN_ROLES: ReadonlySet<string> = new Set(['user', 'operator', 'auditor', 'admin']);
const MAX_ROLES = 500;
/** Scope tokens of RFC 6749 section 3.3. */
const SCOPE = /^[\x21\x23-\x5b\x5d-\x7e]{1,256}$/;
/** Names of people and tenants: no control characters, no blanks at the ends, nothing longer than a line. */
const NAME = /^(?!\s)[^\p{C}]{1,256}(?<!\s)$/u;
/** X4-04. */
const SESSION = /^[A-Za-z0-9._-]{1,128}$/;
const TIER = /^[A-Za-z0-9_-]{1,64}$/;

type Claims = ParsedToken['claims'];

/**
 * What is asked of the claims before the signature is looked at; the same refusal for all of it. Undefined: they hold.
 * The words are for the log of the operator, and hold nothing of the token.
 */
export function claimsFault(
  token: ParsedToken,
  rules: TokenRules,
  audience: Audience,
  wall: number,
): string | undefined {
  const { claims } = token;
  if (claims['iss'] !== rules.issuer) return 'iss is another issuer';
  if (rules.type !== undefined && mediaType(token.type) !== mediaType(rules.type)) return 'typ is another';
  if (!namesAudience(claims['aud'], rules.audience ?? audience.resource)) return 'aud does not name what is called';
  const { exp, nbf } = claims;
  if (rules.verifyExpiry && !(isTime(exp) && wall < exp * 1000 + rules.skew)) return 'exp is over or missing';
  if (nbf !== undefined && !(isTime(nbf) && wall >= nbf * 1000 - rules.skew)) return 'nbf is to come';
  for (const name of rules.require)
    if (!Object.hasOwn(claims, name) || claims[name] === null) return `${name} is missing`;
  return undefined;
}

/**
 * The caller that a verified token speaks for; undefined: it says something that this entry does not take, such as no
 * subject, or a tenant that is not in `tenants`.
 */
export function principalOf(
  entry: string,
  claims: Claims,
  rules: TokenRules,
  keys: PrincipalKeys,
): Principal | undefined {
  const { map } = rules;
  const subject = claimAt(claims, map.subject ?? 'sub');
  if (typeof subject !== 'string' || !NAME.test(subject)) return undefined;
  const tenant = map.tenant === undefined ? undefined : claimAt(claims, map.tenant);
  if (tenant !== undefined && (typeof tenant !== 'string' || !NAME.test(tenant))) return undefined;
  if (map.tenants !== undefined && !(typeof tenant === 'string' && map.tenants.includes(tenant))) return undefined;
  const roles = rolesOf(claims, map);
  const scopes = scopesOf(claims);
  if (roles === undefined || !rules.scopes.every((scope) => scopes.includes(scope))) return undefined;
  const tier = map.tier === undefined ? undefined : claimAt(claims, map.tier);
  const session = map.session === undefined ? undefined : claimAt(claims, map.session);
  if (session !== undefined && !(typeof session === 'string' && SESSION.test(session))) return undefined;
  const client = claims['client_id'] ?? claims['azp'];
  const { exp } = claims;
  return callerPrincipal(keys, {
    entry,
    subject,
    tenant,
    tier: typeof tier === 'string' && TIER.test(tier) ? tier : rules.tier,
    roles: Object.freeze(roles),
    scopes: Object.freeze(scopes),
    clientId: typeof client === 'string' && NAME.test(client) ? client : undefined,
    issuer: rules.issuer,
    claims: frozen(claims) as Claims,
    expiresAt: rules.verifyExpiry && isTime(exp) ? exp * 1000 + rules.skew : undefined,
    ...(session === undefined
      ? {}
      : { session: Object.freeze({ id: `${principalId({ person: `${entry}/${subject}`, tenant })}/${session}` }) }),
  });
}

/** A claim by its whole name, which may hold dots (`https://idp/tenant`), else by the path that the dots make. */
function claimAt(claims: Claims, name: string): unknown {
  if (Object.hasOwn(claims, name)) return claims[name] ?? undefined;
  let value: unknown = claims;
  for (const step of name.split('.')) {
    if (typeof value !== 'object' || value === null || Array.isArray(value) || !Object.hasOwn(value, step))
      return undefined;
    value = (value as Record<string, unknown>)[step];
  }
  return value ?? undefined;
}

function rolesOf(claims: Claims, { roles }: ClaimMap): string[] | undefined {
  if (roles === undefined) return [];
  const claim = claimAt(claims, roles.claim) ?? [];
  const values: readonly unknown[] = typeof claim === 'string' ? [claim] : Array.isArray(claim) ? claim : [undefined];
  if (values.length > MAX_ROLES) return undefined;
  const given = new Set<string>();
  for (const value of values) {
    if (typeof value !== 'string' || !NAME.test(value)) return undefined;
    const granted = roles.grant.get(value);
    if (granted !== undefined) for (const role of granted) given.add(role);
    else if (!ADMIN_ROLES.has(value)) given.add(value);
  }
  return [...given];
}

/** All of `scope` (RFC 8693 section 4.2), `scopes` and `scp`: a text with blanks, or a list. */
function scopesOf(claims: Claims): string[] {
  const given = new Set<string>();
  for (const name of ['scope', 'scopes', 'scp']) {
    const claim = Object.hasOwn(claims, name) ? claims[name] : undefined;
    const values: readonly unknown[] = typeof claim === 'string' ? claim.split(' ') : Array.isArray(claim) ? claim : [];
    for (const value of values) if (typeof value === 'string' && SCOPE.test(value)) given.add(value);
  }
  return [...given];
}

/** RFC 7519 section 4.1.3: a text or a list of texts, one of which is ours, to the letter. */
function namesAudience(claim: unknown, expected: string | readonly string[]): boolean {
  const named: readonly unknown[] = Array.isArray(claim) ? claim : [claim];
  return named.some(
    (one) => typeof one === 'string' && (typeof expected === 'string' ? one === expected : expected.includes(one)),
  );
}

/** NumericDate (RFC 7519 section 2). */
function isTime(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value) && value >= 0 && value < 1e11;
}

/** RFC 7515 section 4.1.9: `application/` may be left out, case does not count. */
function mediaType(type: string | undefined): string | undefined {
  const lower = type?.toLowerCase();
  return lower === undefined || lower.includes('/') ? lower : `application/${lower}`;
}

function frozen(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  for (const item of Object.values(value)) frozen(item);
  return Object.freeze(value);
}
