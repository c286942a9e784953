import type { AuthEntry, ClaimMap, KeyOptions, TokenRules } from '../identity/options.ts';
import type { BridgeEntry } from '../oauth-bridge/options.ts';
import type { AuthConfig } from './schema.ts';
import { asList } from './values.ts';

type Jwt = NonNullable<AuthConfig['jwt']>;
type Oidc = Exclude<NonNullable<AuthConfig['oidc']>, string>;

const SKEW = 60_000;

/** An auth entry as the identity room takes it. */
export function compileAuthEntry(entry: AuthConfig): AuthEntry {
  if (entry.bearer !== undefined) {
    const { token, subject, tenant, tier, roles, scopes } = entry.bearer;
    return { kind: 'bearer', name: entry.name!, token, subject: subject ?? entry.name!, tenant, tier, roles, scopes };
  }
  if (entry.keys !== undefined) return { kind: 'keys', name: entry.name!, tier: entry.keys.tier };
  const map = compileMap(entry.map);
  if (entry.jwt !== undefined) {
    const { jwt } = entry;
    const algorithms = jwt.algorithms ?? (jwt.secret === undefined ? ['RS256', 'ES256', 'EdDSA'] : ['HS256']);
    const rules = { ...compileRules(jwt, map), issuer: jwt.issuer, algorithms, verifyExpiry: jwt.verifyExpiry };
    return { kind: 'jwt', name: entry.name!, rules, keys: compileKeys(jwt) };
  }
  if (entry.oidc !== undefined) {
    const { oidc } = entry;
    const more = typeof oidc === 'string' ? { issuer: oidc, skew: SKEW, scopes: [], require: [] } : oidc;
    const algorithms = ('algorithms' in more ? more.algorithms : undefined) ?? ['RS256', 'ES256'];
    const rules = { ...compileRules(more, map), issuer: more.issuer, algorithms, verifyExpiry: true };
    return { kind: 'oidc', name: entry.name!, rules, keys: { kind: 'discovery' } };
  }
  const { anonymous } = entry;
  return { kind: 'anonymous', name: 'anonymous', tier: typeof anonymous === 'object' ? anonymous.tier : undefined };
}

/** The bridge of an entry, as a list of none or one. */
export function compileBridge({ name, oidc, bridge }: AuthConfig): BridgeEntry[] {
  if (bridge === undefined || oidc === undefined) return [];
  const { clientId, clientSecret, scopes, ask, parameters } = bridge;
  const issuer = typeof oidc === 'string' ? oidc : oidc.issuer;
  return [{ name: name!, issuer, clientId, clientSecret, scopes, ask, parameters }];
}

type Common = Pick<Oidc, 'skew' | 'scopes' | 'require'> & Partial<Pick<Oidc, 'audience' | 'typ' | 'tier'>>;

function compileRules(from: Common, map: ClaimMap): Omit<TokenRules, 'issuer' | 'algorithms' | 'verifyExpiry'> {
  const { skew, scopes, require, typ, tier } = from;
  return { audience: asList(from.audience), skew, type: typ, scopes, require, tier, map };
}

function compileKeys({ jwks, secret, publicKey }: Jwt): KeyOptions {
  if (secret !== undefined) return { kind: 'secret', secret };
  if (publicKey !== undefined) return { kind: 'publicKey', pem: publicKey };
  if (typeof jwks === 'object') return { kind: 'inline', jwks };
  return /^https?:\/\//i.test(jwks!) ? { kind: 'url', url: jwks! } : { kind: 'file', path: jwks! };
}

function compileMap(map: AuthConfig['map']): ClaimMap {
  const grant = Object.entries(map?.roles?.grant ?? {}).map(([value, roles]) => [value, asList(roles)!] as const);
  return {
    subject: map?.subject,
    tenant: map?.tenant,
    tenants: map?.tenants,
    tier: map?.tier,
    roles: map?.roles === undefined ? undefined : { claim: map.roles.claim, grant: new Map(grant) },
    session: map?.session,
  };
}
